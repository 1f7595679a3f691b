"""A path beside what `explain` says of the same pair: the VPC's own checks at their hops, and every disagreement (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from labnet.explain.verdict import Component, Explanation, Flow
from labnet.explain.vpc import Known, Stopped, Walk
from labnet.model.cloud import CloudState
from labnet.model.drops import DropCheck
from labnet.model.packet import Decision, FabricCheck, Finding, Frame, Hop, Path
from labnet.trace.world import Role

Kind = Literal["source-dest-check", "route-table", "security-group", "acl", "gateway", "zone"]
KINDS: Mapping[str, Kind] = {
    "eni": "source-dest-check", "route-table": "route-table", "security-group": "security-group", "network-acl": "acl",
    "internet-gateway": "gateway", "nat-gateway": "gateway", "peering": "gateway",
    "vpn-gateway": "gateway", "zone": "zone",
}
GATEWAY_ROLES: Mapping[str, Role] = {"internet-gateway": "igw", "nat-gateway": "nat", "vpn-gateway": "vgw"}
FILTERS = ("network-acl", "security-group")
"""AWS asks them before the route, the VPC's kernel behind it: where both stop a packet, each names its first."""
SAME: Mapping[DropCheck, frozenset[str]] = {
    "source-dest-check": frozenset({"eni"}), "security-group-egress": frozenset({"security-group"}),
    "security-group-ingress": frozenset({"security-group"}), "acl": frozenset({"network-acl"}),
    "blackhole": frozenset({"route-table", "node", "pod", "internet", "vpc", *FILTERS}),
    "no-route": frozenset({*FILTERS, "route-table", "vpc", "node", "pod", "internet-gateway", "nat-gateway", "vpn-gateway",
                           "internet", "peering", "eni"}),
    "zone-failure": frozenset({"zone"}), "zone-loss": frozenset({"zone"}),
    "neighbour": frozenset({"vpc", "node", "pod", "eni"}),
}
"""What kinds of component of an explanation can be behind a check of a trace; all others are the kernel's: node and pod."""
KERNEL = frozenset({"node", "pod"})


def judged(path: Path, cloud: CloudState, said: Explanation | None, roles: Mapping[str, Role]) -> Path:
    """The path with the VPC's checks of the frames that were seen, and what `explain` says otherwise."""
    finding = disagreement(path, said) if said is not None else None
    hops = list(path.hops)
    for start, components in _crossings(cloud, path.hops, roles):
        _attach(hops, start, components, roles)
    return replace(path, hops=tuple(hops), findings=(*path.findings, *([finding] if finding is not None else [])))


def _crossings(cloud: CloudState, hops: Sequence[Hop], roles: Mapping[str, Role]) -> Iterator[tuple[int, list[Component]]]:
    """Where a frame comes into a VPC, from an ENI, the Internet or a network outside, and what the VPC's components say of it."""
    enis = {eni.mac: eni for eni in cloud.enis.values()}
    for place, hop in enumerate(hops):
        before = roles.get(hops[place - 1].netns) if place else None
        if hop.direction != "in" or hop.frame is None:
            continue
        components: list[Component] = []
        walk = Walk(cloud, "there", Known(), components)
        eni = enis.get(hop.frame.src_mac)
        try:
            if roles.get(hop.netns) == "vpc" and before == "node" and eni is not None:
                walk.leave(eni, _flow(hop.frame))
            elif roles.get(hop.netns) == "igw" and before == "internet":
                walk.internet(_flow(hop.frame))
            elif roles.get(hop.netns) == "vgw" and before == "onprem":
                walk.from_site(hops[place - 1].owner, _flow(hop.frame))
        except (Stopped, KeyError):
            pass
        yield place, components


def _flow(frame: Frame) -> Flow:
    if frame.protocol == "icmp":
        return Flow(frame.src, frame.dst, frame.protocol)
    return Flow(frame.src, frame.dst, frame.protocol, (frame.src_port, frame.src_port), (frame.dst_port, frame.dst_port))


def disagreement(path: Path, said: Explanation) -> Finding | None:
    """Where the prediction from the desired state is not what was seen."""
    stop, drop = said.stopped, path.drop
    where = f"{stop.kind} {stop.id}: {stop.reason}" if stop is not None else ""
    if drop is not None and drop.check in ("not-listening", "zone-loss"):
        return None  # it arrived, and that nothing listens is no part of an explanation; what is lost by chance is foretold by nobody
    if drop is not None and stop is None:
        return Finding("explain", drop.hop, f"by the desired state it is reachable, yet it was dropped: {drop.check}")
    if path.delivered and stop is not None and stop.way == "there":
        return Finding("explain", 0, f"by the desired state it is stopped by {where}; yet it arrived")
    if path.delivered and stop is not None and path.answer == "arrived":
        return Finding("explain", 0, f"by the desired state its answer is stopped by {where}; yet it came back")
    if path.delivered and path.answer == "lost" and stop is None:
        return Finding("explain", 0, "by the desired state the answer comes back, yet it was lost")
    if drop is not None and stop is not None and (stop.way == "back" or stop.kind not in SAME.get(drop.check, KERNEL)):
        return Finding("explain", drop.hop, f"by the desired state it is stopped by {where}; it was dropped by another check: {drop.check}")
    return None


def _attach(hops: list[Hop], start: int, components: Sequence[Component], roles: Mapping[str, Role]) -> None:
    """Each check at the hop by which the packet came into the namespace that makes it."""
    at = start
    for one in components:
        kind = KINDS.get(one.kind)
        role = GATEWAY_ROLES.get(one.kind, "vpc")
        place = next((n for n in range(at, len(hops)) if hops[n].direction == "in" and roles.get(hops[n].netns) == role), None)
        if kind is None or place is None:
            continue
        at = place
        decision = hops[place].decision or Decision()
        check = FabricCheck(kind, one.id, _way(one), "passes" if one.ok else "stops", one.rule, one.target, one.reason)
        hops[place] = replace(hops[place], decision=replace(decision, fabric=(*decision.fabric, check)))


def _way(one: Component) -> Literal["egress", "ingress", ""]:
    words = one.reason.split()
    if "outbound" in words or "sends" in words:
        return "egress"
    return "ingress" if "inbound" in words or "receives" in words else ""
