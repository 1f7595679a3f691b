"""The corpus of broken labs as values: tests/corpus/*.yaml, read and checked. What is not understood fails loudly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "corpus"
KEYS = {"title", "shows", "scenario", "set", "listen", "prepare", "before", "break", "probe", "evidence", "trace", "explain", "mend"}
NEEDED = {"title", "shows", "scenario", "break", "probe", "evidence", "trace", "explain", "mend"}
PROBE = {"from", "to", "protocol", "port", "size", "ttl", "asks"}
TRACE = {"check", "at", "link", "text", "way", "error", "finding"}
EXPLAIN = {"kind", "id", "code", "reason", "difference", "way", "error"}
EVIDENCE: dict[str, set[str]] = {
    "counter": {"in", "counter"}, "stat": {"in", "stat"}, "rule": {"in", "table", "rule"}, "prints": {"in", "command", "prints"},
    "seen": {"in", "link", "seen", "src", "dst"}, "says": {"says"},
}
"""Kind of evidence, told by its own key → the keys that it takes."""
CAUSES = frozenset({
    "missing rule", "wrong rule", "wrong table", "rp_filter", "mark lost", "wrong SNAT", "source/dest check", "group egress", "group ingress",
    "ACL", "ACL return path", "missing route", "blackhole", "MTU", "neighbour", "exhausted pool", "ENI detached", "hop limit", "DNS off",
    "doubt", "zone", "VPN", "forwarding", "netfilter", "link down", "gateway", "peering", "nobody listens", "TTL", "address",
})
"""What a case `shows`: the causes that the corpus must have, and further ones."""


class CorpusError(Exception):
    """A case that is not of the form."""


@dataclass(frozen=True)
class Case:
    """One broken lab. `text` of a scenario is a built-in's name or a whole scenario; steps and evidence are as they stand in the file."""

    name: str
    title: str
    shows: str
    scenario: str
    sets: tuple[str, ...]
    listen: tuple[Mapping[str, Any], ...]
    prepare: tuple[Mapping[str, Any], ...]
    works_before: bool
    breaks: tuple[Mapping[str, Any], ...]
    probe: Mapping[str, Any]
    evidence: tuple[Mapping[str, Any], ...]
    trace: Mapping[str, Any]
    explain: Mapping[str, Any]
    mend: tuple[Mapping[str, Any], ...] = field(default=())


def paths() -> list[Path]:
    """Every case's file, in order of names."""
    return sorted(FOLDER.glob("*.yaml"))


def cases() -> list[Case]:
    """The whole corpus."""
    return [read(path.stem, path.read_text(encoding="utf-8")) for path in paths()]


def read(name: str, text: str) -> Case:
    """One case. Errors: CorpusError naming the case and what is wrong with it."""
    said = yaml.safe_load(text)
    if not isinstance(said, dict):
        raise CorpusError(f"{name}: no mapping")
    _keys(name, "case", said, KEYS, NEEDED)
    _keys(name, "probe", said["probe"], PROBE, {"from", "to"})
    _keys(name, "trace", said["trace"], TRACE, set() if {"error", "finding"} & set(said["trace"]) else {"check", "at"})
    _keys(name, "explain", said["explain"], EXPLAIN, {"error"} if "error" in said["explain"] else {"kind"})
    if said["shows"] not in CAUSES:
        raise CorpusError(f"{name}: shows {said['shows']!r}, which is no cause of {', '.join(sorted(CAUSES))}")
    if "before" in said and said["before"] is not False:
        raise CorpusError(f"{name}: before can only be false, where the break makes the sender")
    for item in said["evidence"]:
        _evidence(name, item)
    for part in ("break", "mend", "evidence"):
        if not said[part]:
            raise CorpusError(f"{name}: {part} is empty")
    for step in (*said["break"], *said["mend"], *said.get("prepare", ())):
        _step(name, step)
    return Case(
        name, said["title"], said["shows"], said["scenario"], tuple(said.get("set", ())), tuple(said.get("listen", ())),
        tuple(said.get("prepare", ())), said.get("before", True), tuple(said["break"]), said["probe"], tuple(said["evidence"]),
        said["trace"], said["explain"], tuple(said["mend"]),
    )


def _keys(name: str, what: str, said: Mapping[str, Any], known: set[str], needed: set[str]) -> None:
    unknown, missing = set(said) - known, needed - set(said)
    if unknown or missing:
        raise CorpusError(f"{name}: {what}: unknown {sorted(unknown)}, missing {sorted(missing)}")


def _evidence(name: str, item: Mapping[str, Any]) -> None:
    kinds = [kind for kind in EVIDENCE if kind in item]
    if len(kinds) != 1:
        raise CorpusError(f"{name}: evidence {dict(item)} is none of {sorted(EVIDENCE)}")
    needed = EVIDENCE[kinds[0]]
    _keys(name, f"evidence {kinds[0]}", item, needed, needed)


def _step(name: str, step: Mapping[str, Any]) -> None:
    if "ec2" in step or "labnet" in step:
        known, needed = {"ec2", "with"} if "ec2" in step else {"labnet", "with"}, {"with"}
        _keys(name, "step", step, known, needed)
    elif len(step) != 1:
        raise CorpusError(f"{name}: a step is one target and a command: {dict(step)}")
