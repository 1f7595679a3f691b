"""The CheckReport document: lines for people, JUnit XML for build servers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from labnet.cli.output import color_wanted, counted


def check_lines(report: Mapping[str, Any]) -> list[str]:
    """A line for each check, what was expected and seen below each that failed, a sum at the end."""
    good, bad = ("✓", "✗")
    if color_wanted(sys.stdout):
        good, bad = "\x1b[32m✓\x1b[0m", "\x1b[31m✗\x1b[0m"
    lines = []
    for item in report["checks"]:
        lines.append(f"{good if item['ok'] else bad} {item['title']}")
        if not item["ok"]:
            lines += [f"    expected: {item['expected']}", f"    seen:     {item['seen']}"]
            lines += [f"    {line}" for line in item["detail"].splitlines()]
    if not report["checks"]:
        return [f"scenario {report['scenario']} promises nothing: it has no checks"]
    total = counted(len(report["checks"]), "check")
    lines += ["", f"{total}: all hold" if not report["failed"] else f"{total}: {report['failed']} failed"]
    return lines


def junit(report: Mapping[str, Any]) -> str:
    """The report as JUnit XML: one suite, a test case for each check."""
    from xml.etree import ElementTree  # late: only --junit needs it

    counts = {"tests": str(len(report["checks"])), "failures": str(report["failed"])}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"labnet.{report['scenario']}", **counts})
    for item in report["checks"]:
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"{report['lab']}.{item['kind']}", "name": item["title"]})
        if not item["ok"]:
            failure = ElementTree.SubElement(case, "failure", {"message": f"expected {item['expected']}, seen {item['seen']}"})
            failure.text = item["detail"] or None
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
