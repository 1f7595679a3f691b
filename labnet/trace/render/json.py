"""A path as the document of `trace -o json` (pure). Keys are added, never renamed."""

from __future__ import annotations

from typing import Any

from labnet.model.packet import Decision, Drop, Frame, Hop, Path, Probe

API_VERSION = "labnet/v1"


def render_json(path: Path) -> dict[str, Any]:
    """The whole trace; what does not apply is null or an empty text, never left out."""
    return {
        "apiVersion": API_VERSION, "kind": "Trace", "from": path.source, "to": path.target, "probe": _probe(path.probe),
        "delivered": path.delivered, "hops": [_hop(hop) for hop in path.hops], "drop": _drop(path.drop), "lost": path.lost,
        "notes": list(path.notes), "answer": path.answer, "answerDrop": _drop(path.answer_drop),
    }


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "protocol": probe.protocol, "src": probe.src, "dst": probe.dst, "srcPort": probe.src_port, "dstPort": probe.dst_port,
        "ident": probe.ident, "ttl": probe.ttl, "length": probe.length,
    }


def _hop(hop: Hop) -> dict[str, Any]:
    return {
        "n": hop.n, "netns": hop.netns, "owner": hop.owner, "link": hop.link, "direction": hop.direction,
        "time_ns": hop.frame.time_ns if hop.frame else None, "frame": _frame(hop.frame), "decision": _decision(hop.decision),
    }


def _frame(frame: Frame | None) -> dict[str, Any] | None:
    if frame is None:
        return None
    return {
        "srcMac": frame.src_mac, "dstMac": frame.dst_mac, "src": frame.src, "dst": frame.dst, "protocol": frame.protocol,
        "srcPort": frame.src_port, "dstPort": frame.dst_port, "ttl": frame.ttl, "length": frame.length, "mark": frame.mark,
    }


def _decision(decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    rule = decision.rule
    return {
        "rule": {"priority": rule.priority, "text": rule.text} if rule else None, "table": decision.table, "route": decision.route,
        "neighbour": decision.neighbour, "netfilter": list(decision.netfilter), "nat": decision.nat, "check": decision.check,
        "confirmed": decision.confirmed,
    }


def _drop(drop: Drop | None) -> dict[str, Any] | None:
    return None if drop is None else {"hop": drop.hop, "check": drop.check, "text": drop.text, "counter": drop.counter}
