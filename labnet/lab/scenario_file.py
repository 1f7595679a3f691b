"""Read a scenario: a path, a built-in name or `-` → `Scenario`, with every problem at its file and line.

The stages: YAML with lines (`scenario_yaml`), `--set` on top, structure (`scenario_structure`), then what must hold
(`scenario_rules_*`), then the frozen values (`scenario_build`). A stage that found something ends the reading with all it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from labnet.lab import scenario_yaml
from labnet.lab.scenario_build import build
from labnet.lab.scenario_cautions import cautions
from labnet.lab.scenario_problems import Findings
from labnet.lab.scenario_rules_checks import check_checks
from labnet.lab.scenario_rules_cluster import check_cluster
from labnet.lab.scenario_rules_lists import check_lists
from labnet.lab.scenario_rules_objects import check_objects
from labnet.lab.scenario_rules_quotas import check_quotas
from labnet.lab.scenario_rules_room import check_room
from labnet.lab.scenario_rules_routes import check_routes
from labnet.lab.scenario_rules_sites import check_sites
from labnet.lab.scenario_rules_vpc import check_vpcs
from labnet.lab.scenario_rules_zones import check_zone_links
from labnet.lab.scenario_schema import Document, Ec2
from labnet.lab.scenario_set import apply_overrides
from labnet.lab.scenario_source import built_in_names, built_in_path, read_text
from labnet.lab.scenario_structure import read_document
from labnet.model.cloud import InstanceType
from labnet.model.scenario import Scenario
from labnet.model.values import frozen

Types = Mapping[str, InstanceType]


@frozen
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
        lambda: check_lists(document, findings),
        lambda: check_cluster(document, known, findings),
        lambda: _check_ec2(document, findings),
        findings.stop,  # what follows counts and resolves names: it needs them to be good
        lambda: check_routes(document, findings),
        lambda: check_sites(document, findings),
        lambda: check_quotas(document, findings),
        lambda: check_zone_links(document, findings),
        lambda: check_objects(document, findings),
        lambda: check_room(document, known, findings),
        lambda: check_checks(document, findings),
        findings.stop,
    )
    for rule in rules:
        rule()
    return replace(build(document, source or file), cautions=cautions(document, known, findings))


def built_ins() -> list[BuiltIn]:
    """Every scenario that comes with labnet, by name."""
    found = []
    for name in built_in_names():
        path = built_in_path(name)
        assert path is not None
        value = scenario_yaml.read(path.read_text(encoding="utf-8"), str(path)).value
        found.append(BuiltIn(name, str(value["metadata"].get("description", "")), path))
    return found


def _instance_types() -> Types:
    from labnet.ec2 import limits  # late: the table is large

    return limits.load()


def _check_ec2(document: Document, findings: Findings) -> None:
    if document.ec2 == Ec2():
        return
    from labnet.lab.scenario_rules_ec2 import check_ec2  # late: it needs the whole table of EC2's actions

    check_ec2(document, findings)
