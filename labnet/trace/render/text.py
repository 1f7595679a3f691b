"""A path as text for a terminal of 100 columns: hop by hop what the packet looked like and why it went on (pure)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from labnet.model.packet import Decision, Drop, FabricCheck, Frame, Hop, Path, Symmetry
from labnet.trace.routing import table_name

COLUMNS = 100
WHERE_COLUMNS = 34
INDENT = " " * 6
REASON_COLUMNS = 10
WON, PASSED_OVER = "*", "-"


def render_text(path: Path, macs: Mapping[str, str] | None = None, verbose: bool = False) -> str:
    """The whole trace; `macs` says whose each MAC is (`labels.mac_labels`). Ends with the verdict, no newline behind it.

    `verbose`: what was passed over too, every netfilter rule that matched, tracked flows, TTL, MTU and rp_filter.
    """
    probe = path.probe
    ports = f" port {probe.dst_port}" if probe.dst_port else ""
    lines = [f"{path.source} → {path.target}: {probe.protocol}{ports}, {probe.src} → {probe.dst}", ""]
    previous: Hop | None = None
    for hop in path.hops:
        lines += _hop(hop, previous, macs or {}, verbose)
        previous = hop
    lines += ["", *_notes(path), verdict(path), *_remedy(path.drop)]
    if path.symmetry is not None and not path.symmetry.symmetric:
        lines += [render_symmetry(path.symmetry)]
    return "\n".join(line.rstrip() for line in lines)


def render_symmetry(said: Symmetry) -> str:
    """Whether the way back is the way there, and where they first differ."""
    return _filled(f"{'symmetric' if said.symmetric else 'not symmetric'}: {said.text}")


def _remedy(drop: Drop | None) -> list[str]:
    if drop is None or drop.counterfactual is None:
        return []
    return [_filled(drop.counterfactual.verdict)]


def verdict(path: Path) -> str:
    """``delivered``, or ``dropped at hop N: CHECK: sentence (counter …)``, wrapped."""
    if path.delivered:
        lost = path.answer_drop
        where = f", in {lost.owner}" if lost is not None and lost.owner else ""
        return _filled(f"delivered; its answer was dropped: {_why(lost)}{where}") if lost is not None else "delivered"
    if path.drop is None:
        return "not delivered"
    return _filled(f"dropped at hop {path.drop.hop}: {_why(path.drop)}")


def _why(drop: Drop) -> str:
    """Check, sentence and counter; a sentence that quotes its counter says it once."""
    counter = f' (counter "{drop.counter}")' if drop.counter and drop.counter not in drop.text else ""
    return f"{drop.check}: {drop.text}{counter}"


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def _hop(hop: Hop, previous: Hop | None, macs: Mapping[str, str], verbose: bool) -> Iterator[str]:
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
        yield from _routing(hop.decision, verbose)
        yield from _filters(hop.decision, verbose)
        yield from _packet(hop.decision, verbose)


def _routing(decision: Decision, verbose: bool) -> Iterator[str]:
    """The rule and the route that won; with `verbose` the others in their order, the winner marked."""
    if verbose and decision.rules:
        word = "rules"
        for rule in decision.rules:
            yield from _wrapped(word, f"{_mark(rule.won)} {rule.priority}: {rule.text}" + (f"   ({rule.reason})" if rule.reason else ""))
            word = ""
    elif decision.rule is not None:
        yield from _wrapped("rule", f"{decision.rule.priority}: {decision.rule.text}")
    if decision.table is not None:
        agreed = {None: "", True: "", False: "   (the kernel's own lookup differs)"}[decision.confirmed]
        mark = f"{WON} " if verbose and decision.routes else ""
        yield from _wrapped("table", f"{mark}{table_name(decision.table)}: {decision.route or 'no route'}{agreed}")
        for route in decision.routes if verbose else ():
            if not route.won:
                yield from _wrapped("", f"{PASSED_OVER} {table_name(route.table)}: {route.text}   ({route.reason})")
    elif decision.route:
        yield from _wrapped("route", decision.route)
    if decision.neighbour:
        yield from _wrapped("neigh", decision.neighbour)


def _filters(decision: Decision, verbose: bool) -> Iterator[str]:
    """Rules of netfilter that did something; with `verbose` all that matched and whether the kernel's trace named them."""
    for one in decision.fabric:
        yield from _wrapped("aws", _check(one))
    if verbose and decision.matched:
        for rule in decision.matched:
            seen = {None: "", True: "   (seen by the kernel's trace)", False: "   (NOT seen by the kernel's trace)"}[rule.traced]
            yield from _wrapped("filter", f"{rule.family} {rule.table} {rule.chain} {rule.number}: {rule.text}{seen}")
    else:
        for text in decision.netfilter:
            if not _is_plumbing(text):
                yield from _wrapped("filter", text)
    if decision.nat:
        yield from _wrapped("nat", decision.nat)


def _packet(decision: Decision, verbose: bool) -> Iterator[str]:
    """What happened to the packet itself."""
    if decision.mark_in != decision.mark_out and decision.mark_out is not None and (verbose or not decision.fabric):
        yield from _wrapped("mark", f"{decision.mark_in or 0:#x} → {decision.mark_out:#x}")
    flow, path = decision.conntrack, decision.rp_filter
    if verbose:
        if flow is not None:
            yield from _wrapped("flow", f"{flow.before.text if flow.before else 'none'} → {flow.after.text if flow.after else 'none'}")
        if path is not None:
            yield from _wrapped("rp_filter", f"{path.value} on {path.link}: {path.verdict}" + (f", {path.text}" if path.text else ""))
        if decision.ttl_out is not None and decision.ttl_in != decision.ttl_out:
            yield from _wrapped("ttl", f"{decision.ttl_in} → {decision.ttl_out}")
        if decision.mtu_bytes:
            yield from _wrapped("mtu", f"{decision.mtu_bytes} bytes")
    if decision.check:
        yield from _wrapped("check", decision.check)


def _check(one: FabricCheck) -> str:
    """``security-group sg-… egress: sgr-… …``."""
    words = [one.kind, one.id, *([one.way] if one.way else [])]
    rule = f"{one.rule}: " if one.rule.startswith("sgr-") else ""
    return f"{' '.join(words)}: {rule}{one.text}" + ("" if one.verdict == "passes" else "   (stops it)")


def _mark(won: bool) -> str:
    return WON if won else PASSED_OVER


def _is_plumbing(rule: str) -> bool:
    """Rules by which the VPC's namespaces imitate AWS (lists of allowed pairs, TTL upkeep) say nothing that AWS would."""
    return rule.startswith(("netdev ", "ip vpc ", "ip igw ")) or "-m ttl " in rule or "-j TTL " in rule


def _wrapped(word: str, text: str) -> Iterator[str]:
    head = f"{INDENT}{word:<{REASON_COLUMNS}}"
    yield from textwrap.wrap(
        text, COLUMNS, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    )


def _notes(path: Path) -> list[str]:
    """Notes, then findings that no note says already."""
    lines: list[str] = []
    said = [("note: ", note) for note in path.notes]
    said += [("finding: ", one.text) for one in path.findings if one.kind != "seen"]
    for word, text in said:
        lines += textwrap.wrap(text, COLUMNS, initial_indent=word, subsequent_indent=" " * len(word), break_on_hyphens=False)
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
