"""Is there room: pods for the addresses of their nodes, nodes for the addresses of their subnets, one port for one server (pure).

Source: docs/sources.md#max-pods
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labnet.lab import scenario_schema as schema
from labnet.lab.scenario_build import node_names, vpcs_of
from labnet.lab.scenario_problems import Findings, Path
from labnet.lab.scenario_rules_cluster import DEFAULT_SERVE
from labnet.model import addressing
from labnet.model.cloud import InstanceType
from labnet.model.cluster import HOST_NETWORK_PODS

_WAY_OUT = "take a larger instance type, more nodes, or say 'pending: allowed'"


@dataclass(slots=True)
class _Room:
    """What a node offers and what is pinned to it."""

    node: schema.Node
    limits: InstanceType
    addresses: int
    pods: list[Path] = field(default_factory=list)
    ports: dict[tuple[str, int], str] = field(default_factory=dict)


def check_room(document: schema.Document, types: Mapping[str, InstanceType], findings: Findings) -> None:
    """Note what does not fit. The document's names, types and subnets are known to be good."""
    _subnets(document, findings)
    rooms = {
        name: _Room(node, types[node.instance_type], _pod_addresses(document, types[node.instance_type]))
        for node in document.nodes for name in node_names(node)
    }
    asking: list[Path] = []
    for n, pod in enumerate(document.pods):
        path: Path = ("pods", n)
        room = rooms.get(pod.node or "")
        if pod.host_network:
            if room is not None:
                _ports(pod, path, room, findings)
            continue
        asking.append(path)
        if room is not None:
            room.pods.append(path)
    if document.pending != "allowed":
        _pinned(rooms, findings)
        _total(document, rooms, asking, findings)


def _pod_addresses(document: schema.Document, limits: InstanceType) -> int:
    """ENIs × (IPv4 per ENI − 1); MAX_ENI lowers the first, prefix delegation makes each address a /28."""
    if document.cni.kind == "none":
        return 0
    env = document.cni.env
    wanted = env.get("MAX_ENI", "")
    enis = min(limits.enis, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else limits.enis
    each = addressing.PREFIX_ADDRESSES if env.get("ENABLE_PREFIX_DELEGATION", "").lower() in ("true", "1", "t") else 1
    return enis * (limits.ipv4_per_eni - 1) * each


def _pinned(rooms: Mapping[str, _Room], findings: Findings) -> None:
    for name, room in rooms.items():
        over = len(room.pods) - room.addresses
        if over <= 0 or not room.addresses:
            continue
        limits = room.limits
        enis = room.addresses // max(1, limits.ipv4_per_eni - 1)
        sum_text = f"{_many(enis, 'ENI')} × ({limits.ipv4_per_eni} − 1)" if enis <= limits.enis else f"{_many(limits.enis, 'ENI')} of prefixes"
        offered = _many(room.addresses, "pod address")
        message = f"{_many(len(room.pods), 'pod')} on {name}, but a {limits.name} has {offered} here: {sum_text}"
        hint = f"{_WAY_OUT}; max-pods is {limits.max_pods} because it counts {HOST_NETWORK_PODS} host-network pods on top"
        findings.add((*room.pods[room.addresses], "node"), message, hint)


def _total(document: schema.Document, rooms: Mapping[str, _Room], asking: list[Path], findings: Findings) -> None:
    room = sum(item.addresses for item in rooms.values())
    if len(asking) <= room or any(len(item.pods) > item.addresses > 0 for item in rooms.values()):
        return
    if document.cni.kind == "none":
        hint = "set kind: vpc, make the pod hostNetwork, or say 'pending: allowed'"
        findings.add(asking[0], "no pod gets an address: cni.kind is none", hint)
        return
    if not rooms:
        findings.add(asking[0], f"{_many(len(asking), 'pod')}, but no node", "add nodes")
        return
    message = f"{_many(len(asking), 'pod')}, but {_many(len(rooms), 'node')} with {_many(room, 'pod address')} together"
    findings.add(asking[room], message, _WAY_OUT)


def _many(number: int, word: str) -> str:
    ending = "" if number == 1 else "es" if word.endswith("s") else "s"
    return f"{number} {word}{ending}"


def _subnets(document: schema.Document, findings: Findings) -> None:
    for path, vpc in vpcs_of(document):
        for n, subnet in enumerate(vpc.subnets):
            wanted = sum(node.count or 1 for node in document.nodes if node.subnet == subnet.name)
            offered = addressing.usable_count(subnet.cidr)
            if wanted > offered:
                message = f"{wanted} nodes in {subnet.name}, but {subnet.cidr} has {offered} addresses: AWS keeps five"
                findings.add((*path, "subnets", n, "cidr"), message, "make the subnet larger or spread the nodes")


def _ports(pod: schema.Pod, path: Path, room: _Room, findings: Findings) -> None:
    """Pods with hostNetwork share their node's ports."""
    served = [
        (str(key), port) for item in pod.containers if item.command is None
        for key, port in (item.serve.items() if item.serve else DEFAULT_SERVE)
    ]
    for wanted in served if pod.containers else DEFAULT_SERVE:
        if wanted in room.ports:
            message = f"{wanted[0]} port {wanted[1]} of {pod.node} is served by pod {room.ports[wanted]} already"
            findings.add(path, message, "pods with hostNetwork share their node's ports: say 'serve' for one of them")
            return
        room.ports[wanted] = pod.name
