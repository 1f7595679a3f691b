"""Read a scenario: a path, a built-in name or `-` → `Scenario`, with every problem at its file and line.

The stages: YAML with lines (`scenario_yaml`), `--set` on top, structure (`scenario_structure`), then what must hold
(`scenario_rules_*`), then the frozen values (`scenario_build`). A stage that found something ends the reading with all it found.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from labnet.errors import ScenarioError
from labnet.lab import scenario_yaml
from labnet.lab.scenario_build import build
from labnet.lab.scenario_problems import Findings, nearest
from labnet.lab.scenario_rules_checks import check_checks
from labnet.lab.scenario_rules_cluster import check_cluster
from labnet.lab.scenario_rules_room import check_room
from labnet.lab.scenario_rules_vpc import check_vpcs
from labnet.lab.scenario_schema import Document, Ec2
from labnet.lab.scenario_set import apply_overrides
from labnet.lab.scenario_structure import read_document
from labnet.model.cloud import InstanceType
from labnet.model.scenario import Scenario

MAX_BYTES = 8 << 20
_SUFFIXES = (".yaml", ".yml", ".json")
Types = Mapping[str, InstanceType]


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A scenario that comes with labnet."""

    name: str
    description: str
    path: Path


def load(source: str, *, stdin: TextIO | None = None, overrides: Sequence[str] = (), types: Types | None = None) -> Scenario:
    """The scenario at a path, of a built-in name, or from standard input (`-`); `overrides` are ``path=value`` (`--set`).

    Errors: ScenarioError with file, line and field of the first problem (ScenarioProblems has them all).
    """
    text, file = read_text(source, stdin)
    return parse(text, file, overrides=overrides, types=types, source=source)


def parse(text: str, file: str, *, overrides: Sequence[str] = (), types: Types | None = None, source: str = "") -> Scenario:
    """The scenario that a text stands for; `file` is its name in messages, `types` the instance types (default: EC2's table)."""
    tree = scenario_yaml.read(text, file)
    findings = Findings(file, tree.places)
    if isinstance(tree.value, dict):
        apply_overrides(tree, overrides)
    document = read_document(tree, findings)
    known = _instance_types() if types is None else types
    rules: tuple[Callable[[], None], ...] = (
        lambda: check_vpcs(document, findings),
        lambda: check_cluster(document, known, findings),
        lambda: _check_ec2(document, findings),
        findings.stop,  # what follows counts and resolves names: it needs them to be good
        lambda: check_room(document, known, findings),
        lambda: check_checks(document, findings),
        findings.stop,
    )
    for rule in rules:
        rule()
    return build(document, source or file)


def read_text(source: str, stdin: TextIO | None = None) -> tuple[str, str]:
    """The text of a source and the name it has in messages. Errors: ScenarioError when there is nothing to read."""
    if source == "-":
        return (stdin or sys.stdin).read(), "<stdin>"
    path = Path(source)
    if "/" not in source and path.suffix not in _SUFFIXES:
        found = _built_in_path(source)
        if found is not None:
            return found.read_text(encoding="utf-8"), str(found)
        if not path.is_file():
            known = built_in_names()
            raise ScenarioError(f"there is no scenario {source!r}", nearest(source, known, f"built in: {', '.join(known)}; or give a file"))
    return _read_file(path), source


def _read_file(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise ScenarioError(f"is larger than {MAX_BYTES >> 20} MiB", "is it a scenario?", file=str(path))
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ScenarioError("there is no such file", "'labnet scenarios' lists the built-in ones", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"is not UTF-8 text (byte {error.start})", "save it as UTF-8", file=str(path)) from error
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror}", "give a file that you may read", file=str(path)) from error


def built_ins() -> list[BuiltIn]:
    """Every scenario that comes with labnet, by name."""
    found = []
    for name in built_in_names():
        path = _built_in_path(name)
        assert path is not None
        value = scenario_yaml.read(path.read_text(encoding="utf-8"), str(path)).value
        found.append(BuiltIn(name, str(value["metadata"].get("description", "")), path))
    return found


def built_in_names() -> list[str]:
    """The names of the scenarios that come with labnet."""
    folder = _folder()
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder else []


def _built_in_path(name: str) -> Path | None:
    return _folder() / f"{name}.yaml" if name in built_in_names() else None


def _folder() -> Path:
    spec = importlib.util.find_spec("labnet.scenarios")
    assert spec is not None and spec.submodule_search_locations, "labnet.scenarios travels with the package"
    return Path(spec.submodule_search_locations[0])


def _check_ec2(document: Document, findings: Findings) -> None:
    if document.ec2 == Ec2():
        return
    from labnet.lab.scenario_rules_ec2 import check_ec2  # late: it needs the whole table of EC2's actions

    check_ec2(document, findings)


def _instance_types() -> Types:
    from labnet.ec2 import limits  # late: the table is large

    return limits.load()
