"""`explain` in a running lab: what nodes and pods shall hold and what they hold now, and who is at either end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

from labnet.errors import UsageError
from labnet.fabric.places import site_netns_of, vpc_netns_of
from labnet.kernel import listening
from labnet.kernel.door import LinuxKernel
from labnet.lab.addressless import addressless
from labnet.lab.targets import Known, Target
from labnet.model import names

if TYPE_CHECKING:
    from labnet.explain.explain import End
    from labnet.explain.now import Difference, Observed
    from labnet.explain.verdict import Explanation
    from labnet.lab.tracing import Tracer
    from labnet.lab.world import World as Lab
    from labnet.model.cloud import CloudState
    from labnet.model.packet import Path
    from labnet.trace.world import Role, World

SOURCE_PORT = 40_000


async def explained(
    lab: Lab, tracer: Tracer, source: Target, target: Target, protocol: str, port: int | None, *, size_bytes: int = 0,
    desired_only: bool,
) -> Mapping[str, Any]:
    """The Explanation document: by what the lab's actors claim and, unless `desired_only`, by what is there now.

    Only looks at the kernel. Errors: UsageError for what cannot be an end.
    """
    from labnet.explain.now import judged

    desired = explanation(lab, tracer.known(), source, target, protocol, port, size_bytes)
    if desired_only or not isinstance(lab.kernel, LinuxKernel):
        return desired.document()
    claims, ends = _world(lab, tracer.known()), (_end(lab, source), _end(lab, target))
    now, spaces = await asyncio.to_thread(_observed, tracer, lab.ec2.state, claims, source, desired, ends, size_bytes)
    return judged(desired, replace(now, differences=_differences(lab, spaces)))


def explanation(
    lab: Lab, known: Known, source: Target, target: Target, protocol: str, port: int | None, size_bytes: int = 0
) -> Explanation:
    """The verdict of the desired state. Errors: UsageError for what cannot be an end."""
    from labnet.explain.explain import explain  # late: only this verb needs it

    for end in (source, target):
        if not end.address:
            raise addressless(lab, end)
    if source.kind == "address":
        hint = "a way begins at a pod, a node, the internet or a network outside"
        raise UsageError(f"nothing of this lab has the address {source.name}", hint)
    if {source.kind, target.kind} <= {"internet", "onprem"}:
        both = "in the Internet" if source.kind == target.kind == "internet" else "outside of AWS"
        raise UsageError(f"both ends are {both}", "one of them is a pod, a node or an address of a VPC")
    return explain(lab.ec2.state, _world(lab, known), _end(lab, source), _end(lab, target), protocol, port, size_bytes)


def _observed(
    tracer: Tracer, cloud: CloudState, claims: World, source: Target, desired: Explanation, ends: tuple[End, End], size_bytes: int,
) -> tuple[Observed, tuple[tuple[str, str], ...]]:
    """The same way by what is there, on a door of its own, and the namespaces that it touches, each with its owner."""
    from labnet.explain.explain import explain
    from labnet.explain.now import Observed

    door = tracer.kernel()
    try:
        there = tracer.world(door)
        ours = {netns: there.states[netns] for netns in claims.states if netns in there.states}
        now = explain(cloud, replace(there, states=ours), *ends, desired.protocol, desired.port, size_bytes)
        walked = _walked(there, source, ends[1], desired.protocol, desired.port, size_bytes)
        listens = _listens(door, walked) if walked is not None and desired.port is not None else None
        return Observed(now, walked, there.roles, listens), _on_the_way(there, desired, now, walked)
    finally:
        door.close()


def _walked(there: World, source: Target, target: End, protocol: str, port: int | None, size_bytes: int) -> Path | None:
    """The way there through all that was observed; from the Internet the VPC's own verdict has to do."""
    from labnet.model.packet import Probe
    from labnet.trace.predict import predict
    from labnet.trace.world import Host

    if source.kind == "internet" or not source.netns:
        return None
    sport, dport = (SOURCE_PORT, port) if port is not None else (0, 0)
    ttl = Host(there, source.netns).default_ttl
    probe = Probe(cast(Literal["icmp", "tcp", "udp"], protocol), source.address, target.address, sport, dport, 1, ttl, size_bytes)
    return predict(there, source.netns, probe)


def _listens(door: LinuxKernel, walked: Path) -> bool | None:
    """Does anything listen where the walk ends? None where it does not get there."""
    frame = walked.hops[-1].frame
    if not walked.delivered or frame is None:
        return None
    descriptor = door.open_netns(walked.hops[-1].netns)
    try:
        return any(one.takes(frame.protocol, frame.dst, frame.dst_port) for one in listening.listeners(descriptor))
    finally:
        os.close(descriptor)


def _on_the_way(there: World, desired: Explanation, now: Explanation, walked: Path | None) -> tuple[tuple[str, str], ...]:
    """The namespaces of nodes, pods and the fabric that the way touches, each with its owner."""
    owners = {one.id for one in (*desired.components, *now.components)}
    crossed = [hop.netns for hop in walked.hops] if walked is not None else []
    names_there = dict.fromkeys([*crossed, *(netns for netns in there.states if there.owner(netns) in owners)])
    return tuple((netns, there.owner(netns)) for netns in names_there)


def _differences(lab: Lab, spaces: tuple[tuple[str, str], ...]) -> tuple[Difference, ...]:
    """What is not as claimed in some namespaces, and what nobody claimed."""
    from labnet.explain.now import Difference

    words = {"add": "missing", "replace": "other", "remove": "foreign"}
    found: list[Difference] = []
    for netns, owner in spaces:
        found += [Difference(owner, netns, words[change.op], change.text) for _part, change in lab.slices.drift(netns)]
        found += [Difference(owner, netns, "foreign", item.text) for item in lab.slices.foreign(netns)]
    return tuple(found)


def _end(lab: Lab, target: Target) -> End:
    from labnet.explain.explain import End

    if target.kind == "onprem":
        site = next(name for name in lab.ec2.state.sites if site_netns_of(lab.ec2.state, name) == target.netns)
        return End(target.name, target.address, site=site)
    if target.kind == "internet":
        return End(target.name, target.address, internet=True)
    return End(target.name.removeprefix("default/"), target.address, _host(lab).get(target.netns, target.netns))


def _host(lab: Lab) -> dict[str, str]:
    """The namespace that a pod would have → its node's, for pods that live there."""
    return {
        names.pod_netns(lab.lab, pod.namespace, pod.name): names.node_netns(lab.lab, pod.node) for pod in lab.pods() if pod.host_network
    }


def _world(lab: Lab, known: Known) -> World:
    from labnet.explain.desired import desired_world

    roles: dict[str, Role] = {}
    owners: dict[str, str] = {}
    for node in known.nodes:
        netns = names.node_netns(lab.lab, node)
        roles[netns], owners[netns] = "node", node
    for pod in lab.pods():
        netns = names.pod_netns(lab.lab, pod.namespace, pod.name)
        if not pod.host_network and pod.ip:
            roles[netns], owners[netns] = "pod", pod.name if pod.namespace == "default" else pod.key
    cloud = lab.ec2.state
    vpcs = [vpc_netns_of(cloud, vpc_id) for vpc_id in cloud.vpcs]
    claimed = {netns: lab.slices.desired(netns) for netns in roles}
    return desired_world(claimed, roles, owners, [(netns, lab.slices.desired(netns)) for netns in vpcs])
