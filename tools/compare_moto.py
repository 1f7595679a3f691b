#!/usr/bin/env python3
"""`make conformance`: the EC2 probe against labnet's server and against moto's in one run, and the README's section from its result.

Writes docs/conformance.json and what stands between the markers in README.md. Exit 3 when labnet fails a check. About half a minute.

Usage: python -m tools.compare_moto [--check]      --check writes nothing, and says whether the README is what the file says
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.ec2_servers import client_environment, labnet_server, moto_server

ROOT = Path(__file__).resolve().parent.parent
RESULT, README = ROOT / "docs" / "conformance.json", ROOT / "README.md"
BEGIN, END = "<!-- conformance: written by make conformance -->", "<!-- end of conformance -->"
LIMIT_S = 600
PATIENCE_S = 2  # neither server takes time for anything; the probe fails what does not come by then
EXIT_FAILED_CHECKS = 3


def main() -> int:
    """Probe both, write both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        right = section(json.loads(RESULT.read_text())) == between(README.read_text())
        print("README.md is what docs/conformance.json says" if right else "README.md is not what docs/conformance.json says: make conformance")
        return 0 if right else 1
    with labnet_server() as variables:
        ours = probe(variables)
    with moto_server() as variables:
        theirs = probe(variables)
    result = compared(ours, theirs, version("moto"))
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    README.write_text(with_section(README.read_text(), section(result)))
    print(section(result))
    failed = [one for one in ours["checks"] if not one["passed"]]
    for one in failed:
        print(f"labnet fails {one['name']}: {one['reason']}", file=sys.stderr)
    return EXIT_FAILED_CHECKS if failed else 0


def probe(variables: Mapping[str, str]) -> dict[str, Any]:
    """The probe's document about one endpoint. Errors: RuntimeError when it could not be made."""
    with tempfile.TemporaryDirectory(prefix="lnp") as home:
        command = [sys.executable, "-m", "labnet.ec2.probe", "-o", "json", "--patience", str(PATIENCE_S)]
        environ = client_environment(variables, Path(home))
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode not in (0, EXIT_FAILED_CHECKS):
        raise RuntimeError(f"the probe: exit {done.returncode}\n{done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def compared(ours: Mapping[str, Any], theirs: Mapping[str, Any], moto: str) -> dict[str, Any]:
    """Both results by group of rules, and which checks fail where."""
    passed = {one["group"]: one["passed"] for one in theirs["groups"]}
    return {
        "moto": moto,
        "groups": [
            {"group": one["group"], "total": one["total"], "labnet": one["passed"], "moto": passed[one["group"]]} for one in ours["groups"]
        ],
        "total": ours["total"], "labnet": ours["passed"], "motoPassed": theirs["passed"],
        "failed": {name: [one["name"] for one in found["checks"] if not one["passed"]] for name, found in (("labnet", ours), ("moto", theirs))},
    }


def section(result: Mapping[str, Any]) -> str:
    """The README's table."""
    lines = [f"| rules of EC2 | checks | labnet | moto {result['moto']} |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {one['group']} | {one['total']} | {one['labnet']} | {one['moto']} |" for one in result["groups"]]
    lines.append(f"| **all** | **{result['total']}** | **{result['labnet']}** | **{result['motoPassed']}** |")
    return "\n".join(lines)


def between(text: str) -> str:
    """What stands between the markers. Errors: ValueError when a marker is missing."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[start:end].strip()


def with_section(text: str, table: str) -> str:
    """The text with another table between the markers. Errors: ValueError when a marker is missing."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:start]}\n{table}\n{text[end:]}"


if __name__ == "__main__":
    sys.exit(main())
