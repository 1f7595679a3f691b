"""Where packets of a lab can be listened to: namespaces with their owners, interfaces with their names, ENIs with their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labnet.errors import NotFoundError, UsageError
from labnet.fabric.places import igw_netns_of, vpc_netns_of
from labnet.kernel.door import LinuxKernel
from labnet.lab.targets import Known, Target, find_target
from labnet.model import names

if TYPE_CHECKING:
    from labnet.lab.tracing import Tracer
    from labnet.lab.world import World as Lab
    from labnet.trace.world import End

ALL = "all"
ENI = "eni-"


def places(lab: Lab, tracer: Tracer, words: Sequence[str]) -> dict[str, Any]:
    """The Places document: every namespace (``inode``, ``role``, ``owner``), whose each interface is, and what the words choose.

    `chosen` holds namespace → its interfaces, [] for all of them. Errors: NotFoundError, UsageError for what cannot be listened to.
    """
    from labnet.trace.remarks import described  # late: only this verb needs it

    known = lab.kernel.known if isinstance(lab.kernel, LinuxKernel) else {}
    roles, owners, wires = tracer.surroundings(known)
    ends = eni_ends(lab, wires)
    enis = {end: eni for eni, both in ends.items() for end in both}
    return {
        "apiVersion": "labnet/v1", "kind": "Places", "lab": lab.lab,
        "namespaces": {
            netns: {"inode": inode, "role": roles.get(netns, ""), "owner": owners.get(netns, netns)} for netns, inode in known.items()
        },
        "interfaces": {f"{end[0]}/{end[1]}": described(end, owners, roles, wires, enis) for end in wires},
        "chosen": chosen(words, tracer.known(), set(known), ends, _hosted(lab)),
    }


def watched(lab: Lab, tracer: Tracer, word: str) -> dict[str, Any]:
    """What `watch` needs of a pod: its namespace, addresses (its own first, then those that NAT may give it), and who translates.

    Errors: UsageError for what is no pod with an address of its own; NotFoundError.
    """
    target = find_target(tracer.known(), word)
    pod = next((pod for pod in lab.pods() if target.kind == "pod" and pod.key == target.name), None)
    if pod is None:
        raise UsageError(f"{word} is no pod", "watch follows the flows of a pod; 'labnet capture' listens anywhere")
    if pod.host_network:
        raise UsageError(f"{word} lives in its node's own namespace: its flows are the node's", f"labnet capture {pod.node}")
    if not pod.ip:
        raise NotFoundError(f"{word} has no address", "'labnet status' says why")
    cloud = lab.ec2.state
    node = [eni for one in cloud.instances.values() if one.name == pod.node and one.state == "running" for eni in cloud.enis_of(one.id)]
    found = [pod.ip]
    for eni in node:
        for address in eni.addresses:
            if address.primary or address.address == pod.ip:
                found += [address.address, address.public or ""]
    nats = [nat for nat in cloud.nat_gateways.values() if nat.state == "available"]
    for nat in nats:
        found += [nat.private_address, nat.public_ip]
    gateways = [igw_netns_of(cloud, vpc_id) for vpc_id in cloud.vpcs]
    return {
        "pod": pod.name if pod.namespace == "default" else pod.key, "netns": names.pod_netns(lab.lab, pod.namespace, pod.name),
        "ip": pod.ip, "addresses": list(dict.fromkeys(address for address in found if address)),
        "translating": [names.node_netns(lab.lab, pod.node), *gateways, *(names.nat_netns(lab.lab, nat.id) for nat in nats)],
    }


def eni_ends(lab: Lab, wires: Mapping[End, End]) -> dict[str, tuple[End, ...]]:
    """ENI id → its link on the node and its port in the VPC, for those that are plugged in."""
    cloud = lab.ec2.state
    found: dict[str, tuple[End, ...]] = {}
    for eni in cloud.enis.values():
        if eni.vpc_id in cloud.vpcs:
            port = (vpc_netns_of(cloud, eni.vpc_id), names.eni_port(eni.id))
            if port in wires:
                found[eni.id] = (wires[port], port)
    return found


def chosen(
    words: Sequence[str], known: Known, namespaces: set[str], ends: Mapping[str, Sequence[End]], hosted: Mapping[str, str]
) -> dict[str, list[str]]:
    """What words mean: namespace → interfaces, [] for all. A word is a target, ``eni-…``, ``vpc``, ``igw``, ``nat.…``, or ``all``.

    `hosted` maps the namespace that a pod would have to that of the node in which it lives. Errors: NotFoundError, UsageError.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        if word == ALL:
            found |= {netns: [] for netns in sorted(namespaces)}
        elif word.startswith(ENI):
            _add_eni(found, word, ends)
        elif (own := f"{known.lab}-{word}") in namespaces and word.partition(".")[0] in names.RESERVED_NAMES:
            found[own] = []
        else:
            found[_namespace(find_target(known, word), word, namespaces, hosted)] = []
    return found


def _add_eni(found: dict[str, list[str]], eni: str, ends: Mapping[str, Sequence[End]]) -> None:
    if eni not in ends:
        raise NotFoundError(f"no ENI {eni} is plugged in", "'labnet status -o wide' lists those of nodes")
    for netns, link in ends[eni]:
        if found.get(netns) != []:  # else all of it is listened to already
            found.setdefault(netns, []).append(link)


def _namespace(target: Target, word: str, namespaces: set[str], hosted: Mapping[str, str]) -> str:
    if target.port is not None:
        raise UsageError(f"{word}: a port belongs into the filter", f"--filter 'port {target.port}'")
    netns = hosted.get(target.netns, target.netns)
    if not netns:
        raise UsageError(f"nothing of this lab has the address {word}", f"say all --filter 'host {word}'")
    if netns not in namespaces:
        raise NotFoundError(f"{target.name} has no namespace now", "'labnet status' says why")
    return netns


def _hosted(lab: Lab) -> dict[str, str]:
    return {
        names.pod_netns(lab.lab, pod.namespace, pod.name): names.node_netns(lab.lab, pod.node) for pod in lab.pods() if pod.host_network
    }
