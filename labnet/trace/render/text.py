"""A path as text for a terminal of 100 columns: hop by hop what the packet looked like and why it went on (pure)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from labnet.model.packet import Decision, Drop, Frame, Hop, Path
from labnet.trace.routing import table_name

COLUMNS = 100
WHERE_COLUMNS = 34
INDENT = " " * 6
REASON_COLUMNS = 10


def render_text(path: Path, macs: Mapping[str, str] | None = None) -> str:
    """The whole trace; `macs` says whose each MAC is (`labels.mac_labels`). Ends with the verdict, no newline behind it."""
    probe = path.probe
    ports = f" port {probe.dst_port}" if probe.dst_port else ""
    lines = [f"{path.source} → {path.target}: {probe.protocol}{ports}, {probe.src} → {probe.dst}", ""]
    previous: Hop | None = None
    for hop in path.hops:
        lines += _hop(hop, previous, macs or {})
        previous = hop
    lines += ["", *_notes(path), verdict(path)]
    return "\n".join(line.rstrip() for line in lines)


def verdict(path: Path) -> str:
    """``delivered``, or ``dropped at hop N: CHECK: sentence (counter …)``, wrapped."""
    if path.delivered:
        lost = path.answer_drop
        return _filled(f"delivered; its answer was dropped: {_why(lost)}") if lost is not None else "delivered"
    if path.drop is None:
        return "not delivered"
    return _filled(f"dropped at hop {path.drop.hop}: {_why(path.drop)}")


def _why(drop: Drop) -> str:
    """Check, sentence and counter; a sentence that quotes its counter says it once."""
    counter = f' (counter "{drop.counter}")' if drop.counter and drop.counter not in drop.text else ""
    return f"{drop.check}: {drop.text}{counter}"


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def _hop(hop: Hop, previous: Hop | None, macs: Mapping[str, str]) -> Iterator[str]:
    """One hop: a headline with the addresses, the MACs, then the reasons.

    The frame that comes in at the other end of a wire is the one that went out: its MACs are not repeated.
    """
    where = f"{hop.n:>3}  {hop.owner}  {hop.link} {hop.direction}" if hop.link else f"{hop.n:>3}  {hop.owner}"
    if hop.frame is None:
        yield f"{where:<{WHERE_COLUMNS}}  (never left)"
    else:
        yield f"{where:<{WHERE_COLUMNS}}  {_ends(hop.frame)}  ttl {hop.frame.ttl}"
        if previous is None or previous.frame is None or _macs(previous.frame) != _macs(hop.frame):
            yield from _wrapped("frame", f"{_mac(hop.frame.src_mac, macs)} → {_mac(hop.frame.dst_mac, macs)}")
    if hop.decision is not None:
        yield from _reasons(hop.decision)


def _reasons(decision: Decision) -> Iterator[str]:
    if decision.rule is not None:
        yield from _wrapped("rule", f"{decision.rule.priority}: {decision.rule.text}")
    if decision.table is not None:
        agreed = {None: "", True: "", False: "   (the kernel's own lookup differs)"}[decision.confirmed]
        yield from _wrapped("table", f"{table_name(decision.table)}: {decision.route or 'no route'}{agreed}")
    elif decision.route:
        yield from _wrapped("route", decision.route)
    if decision.neighbour:
        yield from _wrapped("neigh", decision.neighbour)
    for rule in decision.netfilter:
        if not _is_plumbing(rule):
            yield from _wrapped("filter", rule)
    if decision.nat:
        yield from _wrapped("nat", decision.nat)
    if decision.check:
        yield from _wrapped("check", decision.check)


def _is_plumbing(rule: str) -> bool:
    """Rules by which the VPC's namespaces imitate AWS (lists of allowed pairs, TTL upkeep) say nothing that AWS would."""
    return rule.startswith(("netdev ", "ip vpc ", "ip igw ")) or "-m ttl " in rule or "-j TTL " in rule


def _wrapped(word: str, text: str) -> Iterator[str]:
    head = f"{INDENT}{word:<{REASON_COLUMNS}}"
    yield from textwrap.wrap(
        text, COLUMNS, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    )


def _notes(path: Path) -> list[str]:
    lines: list[str] = []
    for note in path.notes:
        lines += textwrap.wrap(note, COLUMNS, initial_indent="note: ", subsequent_indent="      ", break_on_hyphens=False)
    return [*lines, ""] if lines else []


def _ends(frame: Frame) -> str:
    if frame.protocol == "icmp":
        return f"{frame.src} → {frame.dst}"
    return f"{frame.src}:{frame.src_port} → {frame.dst}:{frame.dst_port}"


def _macs(frame: Frame) -> tuple[str, str]:
    return frame.src_mac, frame.dst_mac


def _mac(mac: str, macs: Mapping[str, str]) -> str:
    owner = macs.get(mac)
    return f"{mac} ({owner})" if owner else mac
