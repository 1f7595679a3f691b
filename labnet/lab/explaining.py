"""`explain` in a running lab: what nodes and pods shall hold, and who is at either end. Nothing of the kernel is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labnet.errors import UsageError
from labnet.fabric.places import vpc_netns_of
from labnet.lab.targets import Known, Target
from labnet.model import names

if TYPE_CHECKING:
    from labnet.explain.explain import End
    from labnet.explain.verdict import Explanation
    from labnet.lab.world import World as Lab
    from labnet.trace.world import Role, World


def explained(lab: Lab, known: Known, source: Target, target: Target, protocol: str, port: int | None) -> Mapping[str, Any]:
    """The Explanation document. Errors: UsageError for what cannot be an end."""
    return explanation(lab, known, source, target, protocol, port).document()


def explanation(lab: Lab, known: Known, source: Target, target: Target, protocol: str, port: int | None) -> Explanation:
    """The verdict. Errors: UsageError for what cannot be an end."""
    from labnet.explain.explain import explain  # late: only this verb needs it

    for end in (source, target):
        if not end.address:
            raise UsageError(f"{end.name} has no address", "'labnet status' says why")
    if source.kind == "address":
        raise UsageError(f"nothing of this lab has the address {source.name}", "a way begins at a pod, a node or the internet")
    if source.kind == "internet" and target.kind == "internet":
        raise UsageError("both ends are in the Internet", "one of them is a pod, a node or an address of a VPC")
    return explain(lab.ec2.state, _world(lab, known), _end(lab, source), _end(lab, target), protocol, port)


def _end(lab: Lab, target: Target) -> End:
    from labnet.explain.explain import End

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
