"""A path as the document of `trace -o json` (pure). Keys are added, never renamed."""

from __future__ import annotations

from typing import Any

from labnet.model.packet import (
    Decision,
    Drop,
    FabricCheck,
    FlowTuple,
    Frame,
    Hop,
    KernelLookup,
    NetfilterRule,
    Path,
    Probe,
    ReversePath,
    Symmetry,
    TrackedFlow,
)

API_VERSION = "labnet/v1"


def render_json(path: Path) -> dict[str, Any]:
    """The whole trace; what does not apply is null or an empty text, never left out."""
    return {
        "apiVersion": API_VERSION, "kind": "Trace", "from": path.source, "to": path.target, "probe": _probe(path.probe),
        "delivered": path.delivered, "hops": [_hop(hop) for hop in path.hops], "drop": _drop(path.drop), "lost": path.lost,
        "notes": list(path.notes), "answer": path.answer, "answerDrop": _drop(path.answer_drop),
        "findings": [{"kind": one.kind, "hop": one.hop, "text": one.text} for one in path.findings],
        "back": render_json(path.back) if path.back is not None else None, "symmetric": _symmetry(path.symmetry),
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
    rule, flow = decision.rule, decision.conntrack
    return {
        "rule": {"priority": rule.priority, "text": rule.text} if rule else None, "table": decision.table, "route": decision.route,
        "neighbour": decision.neighbour, "netfilter": list(decision.netfilter), "nat": decision.nat, "check": decision.check,
        "confirmed": decision.confirmed,
        "rules": [{"priority": one.priority, "text": one.text, "won": one.won, "reason": one.reason} for one in decision.rules],
        "routes": [{"table": one.table, "text": one.text, "won": one.won, "reason": one.reason} for one in decision.routes],
        "kernel": _lookup(decision.kernel), "matched": [_matched(one) for one in decision.matched],
        "conntrack": {"before": _flow(flow.before), "after": _flow(flow.after)} if flow is not None else None,
        "mark": {"in": decision.mark_in, "out": decision.mark_out}, "rpFilter": _reverse_path(decision.rp_filter),
        "ttl": {"in": decision.ttl_in, "out": decision.ttl_out}, "mtu": decision.mtu_bytes,
        "fabric": [_fabric(one) for one in decision.fabric],
    }


def _lookup(said: KernelLookup | None) -> dict[str, Any] | None:
    if said is None:
        return None
    return {"agrees": said.agrees, "table": said.table, "route": said.route, "error": said.error, "mark": said.mark, "iif": said.iif}


def _matched(rule: NetfilterRule) -> dict[str, Any]:
    return {
        "backend": rule.backend, "family": rule.family, "table": rule.table, "chain": rule.chain, "number": rule.number,
        "handle": rule.handle, "text": rule.text, "verdict": rule.verdict, "traced": rule.traced,
    }


def _flow(flow: TrackedFlow | None) -> dict[str, Any] | None:
    if flow is None:
        return None
    return {
        "protocol": flow.protocol, "original": _tuple(flow.original), "reply": _tuple(flow.reply), "mark": flow.mark, "text": flow.text,
    }


def _tuple(one: FlowTuple) -> dict[str, Any]:
    return {"src": one.src, "dst": one.dst, "srcPort": one.src_port, "dstPort": one.dst_port}


def _reverse_path(said: ReversePath | None) -> dict[str, Any] | None:
    return None if said is None else {"link": said.link, "value": said.value, "verdict": said.verdict, "text": said.text}


def _fabric(one: FabricCheck) -> dict[str, Any]:
    return {
        "kind": one.kind, "id": one.id, "way": one.way, "verdict": one.verdict, "rule": one.rule, "target": one.target, "text": one.text,
    }


def _drop(drop: Drop | None) -> dict[str, Any] | None:
    if drop is None:
        return None
    other = drop.counterfactual
    return {
        "hop": drop.hop, "check": drop.check, "text": drop.text, "counter": drop.counter, "state": list(drop.state),
        "counterfactual": {"change": other.change, "verdict": other.verdict, "tried": other.tried} if other is not None else None,
        "owner": drop.owner, "link": drop.link,
    }


def _symmetry(said: Symmetry | None) -> dict[str, Any] | None:
    return None if said is None else {"verdict": said.symmetric, "text": said.text, "there": said.there, "back": said.back}
