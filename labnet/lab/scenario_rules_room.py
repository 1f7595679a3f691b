"""Is there room: pods for the addresses of their nodes, nodes for the addresses of their subnets, one port for one server (pure).

Source: docs/sources.md#max-pods, docs/sources.md#capacity
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labnet.lab import scenario_schema as schema
from labnet.lab.pod_networking import pod_networking
from labnet.lab.scenario_build import node_names, vpcs_of
from labnet.lab.scenario_problems import Findings, Path
from labnet.lab.scenario_rules_cluster import DEFAULT_SERVE
from labnet.model import addressing, capacity
from labnet.model.capacity import PodNetworking
from labnet.model.cloud import InstanceType
from labnet.model.cluster import HOST_NETWORK_PODS

_WAY_OUT = "take a larger instance type, more nodes, or say 'pending: allowed'"


@dataclass(slots=True)
class _Room:
    """What a node offers and what is pinned to it; `places`: as many pods as it has addresses for, unless max-pods is less."""

    node: schema.Node
    limits: InstanceType
    addresses: int
    places: int
    pods: list[Path] = field(default_factory=list)
    ports: dict[tuple[str, int], str] = field(default_factory=dict)


def _room(document: schema.Document, node: schema.Node, limits: InstanceType) -> _Room:
    if document.cni.kind == "none":
        return _Room(node, limits, 0, 0)
    networking = pod_networking(document.cni.env)
    return _Room(node, limits, capacity.pod_addresses(limits, networking), capacity.ordinary_pods(limits, networking))


def check_room(document: schema.Document, types: Mapping[str, InstanceType], findings: Findings) -> None:
    """Note what does not fit. The document's names, types and subnets are known to be good."""
    _subnets(document, findings)
    rooms = {
        name: _room(document, node, types[node.instance_type]) for node in document.nodes for name in node_names(node)
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
        _pinned(document, rooms, findings)
        _total(document, rooms, asking, findings)


def _pinned(document: schema.Document, rooms: Mapping[str, _Room], findings: Findings) -> None:
    for name, room in rooms.items():
        over = len(room.pods) - room.places
        if over <= 0 or not room.addresses:
            continue
        limits, networking = room.limits, pod_networking(document.cni.env)
        most = capacity.max_pods(limits, networking)
        if room.places < room.addresses:
            offered, why = _many(room.places, "place"), f"max-pods is {most}, and {HOST_NETWORK_PODS} are host-network pods"
            hint = _WAY_OUT
        else:
            offered, why = _many(room.addresses, "pod address"), _sum(limits, networking)
            hint = f"{_WAY_OUT}; max-pods is {most} because it counts {HOST_NETWORK_PODS} host-network pods on top"
        message = f"{_many(len(room.pods), 'pod')} on {name}, but a {limits.name} has {offered} here: {why}"
        findings.add((*room.pods[room.places], "node"), message, hint)


def _sum(limits: InstanceType, networking: PodNetworking) -> str:
    """How many addresses come about: ``2 ENIs × (10 − 1)``."""
    enis = _many(capacity.pod_enis(limits, networking), "ENI")
    first = " beside the first" if networking.custom_networking else ""
    each = " prefixes of 16" if networking.prefix_delegation and capacity.takes_prefixes(limits) else ""
    return f"{enis}{first} × ({limits.ipv4_per_eni} − 1){each}"


def _total(document: schema.Document, rooms: Mapping[str, _Room], asking: list[Path], findings: Findings) -> None:
    room = sum(item.places for item in rooms.values())
    if len(asking) <= room or any(len(item.pods) > item.places and item.addresses for item in rooms.values()):
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
            others = sum(len(eni.private_ip_addresses) for eni in subnet.network_interfaces)
            offered = addressing.usable_count(subnet.cidr)
            if wanted + others > offered:
                beside = f" and {_many(others, 'address')} of other ENIs" if others else ""
                message = f"{wanted} nodes{beside} in {subnet.name}, but {subnet.cidr} has {offered} addresses: AWS keeps five"
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
