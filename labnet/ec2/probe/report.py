"""Results as text, JSON and JUnit's XML (pure)."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from labnet.ec2.probe.check import Result

WIDTH = 120
INDENT = 12
LONGEST = 400


def summary(results: Sequence[Result]) -> str:
    """`N of M checks pass`."""
    return f"{sum(one.passed for one in results)} of {len(results)} checks pass"


def table(results: Sequence[Result], *, width: int = WIDTH) -> str:
    """By group and row of EC2's rules; under a check that failed what the endpoint did."""
    lines: list[str] = []
    for group, found in _by_group(results):
        count = f"{sum(one.passed for one in found)} of {len(found)}"
        lines += ["", f"{group} {'.' * max(2, width - len(group) - len(count) - 2)} {count}"]
        for row, checks in groupby(found, key=lambda one: one.check.row):
            lines.append(f"  {row}")
            for one in checks:
                lines += _lines(one, width)
    left = [_legal(f"left behind by {one.check.name}: {what}") for one in results for what in one.left]
    return "\n".join([*lines, "", *left, summary(results)]).lstrip("\n")


def _lines(result: Result, width: int) -> Iterator[str]:
    mark = "pass" if result.passed else "FAIL"
    said = f"{result.check.name}: {result.check.says}"
    yield textwrap.fill(said, width, initial_indent=f"    {mark}    ", subsequent_indent=" " * INDENT)
    if not result.passed:
        reason = textwrap.shorten(_legal(result.reason), LONGEST, placeholder=" …")
        yield textwrap.fill(reason, width, initial_indent=" " * INDENT + "> ", subsequent_indent=" " * INDENT + "  ")


def document(results: Sequence[Result], url: str, region: str) -> dict[str, Any]:
    """The same as data."""
    return {
        "kind": "Ec2Probe", "endpoint": url, "region": region, "passed": sum(one.passed for one in results), "total": len(results),
        "groups": [
            {"group": group, "passed": sum(one.passed for one in found), "total": len(found)} for group, found in _by_group(results)
        ],
        "checks": [
            {
                "name": one.check.name, "group": one.check.group, "row": one.check.row, "says": one.check.says, "passed": one.passed,
                "reason": one.reason, "seconds": round(one.seconds, 3), "left": list(one.left),
            }
            for one in results
        ],
    }


def as_json(results: Sequence[Result], url: str, region: str) -> str:
    """The document as text."""
    return json.dumps(document(results, url, region), indent=2)


def junit(results: Sequence[Result]) -> str:
    """JUnit's XML: a suite for each group, a case for each check."""
    suites = []
    for group, found in _by_group(results):
        cases = "".join(_case(one) for one in found)
        failures = sum(not one.passed for one in found)
        seconds = sum(one.seconds for one in found)
        suites.append(f'<testsuite name={quoteattr(group)} tests="{len(found)}" failures="{failures}" time="{seconds:.3f}">{cases}</testsuite>')
    failures = sum(not one.passed for one in results)
    head = f'<testsuites name="labnet.ec2.probe" tests="{len(results)}" failures="{failures}">'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{"".join(suites)}</testsuites>\n'


def _case(one: Result) -> str:
    name = quoteattr(f"{one.check.row}: {one.check.says}")
    failed = "" if one.passed else f"<failure message={quoteattr(_legal(one.reason))}>{escape(_legal(one.reason))}</failure>"
    return f'<testcase classname={quoteattr(one.check.name)} name={name} time="{one.seconds:.3f}">{failed}</testcase>'


def _legal(text: str) -> str:
    """Without what XML cannot carry and a terminal would obey: an endpoint may answer with anything."""
    return "".join(letter if letter in "\t\n" or letter.isprintable() else "?" for letter in text)


def _by_group(results: Iterable[Result]) -> Iterator[tuple[str, list[Result]]]:
    for group, found in groupby(results, key=lambda one: one.check.group):
        yield group, list(found)
