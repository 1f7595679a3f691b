"""Where a pod without a node goes: room first, then the fewest pods, then the name (pure).

A node takes as many pods as its allocatable `pods`, host-network pods included. The lab runs no pods for aws-node and
kube-proxy, which every EKS node has and which max-pods counts: two places of each node are theirs.
Source: docs/sources.md#max-pods, docs/sources.md#taints
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from labnet.model.cluster import HOST_NETWORK_PODS, UNSCHEDULABLE_TAINT, Document
from labnet.model.values import frozen

SYSTEM_NAMESPACE = "kube-system"
UNSCHEDULABLE = "Unschedulable"
_TOO_MANY = "Too many pods"
_NOT_READY = "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"
_CORDONED = "node(s) were unschedulable"
_NO_MATCH = "node(s) didn't match Pod's node affinity/selector"


@frozen
class Placement:
    """Where a pod goes; `node` empty = nowhere, and `message` says why, node by node, as kube-scheduler does."""

    namespace: str
    name: str
    node: str
    message: str = ""


@dataclass(slots=True)
class _Room:
    name: str
    labels: Mapping[str, str]
    taint: str
    ready: bool
    free: int
    pods: int


def place(pods: Sequence[Document], nodes: Sequence[Document], bound: Iterable[Document]) -> tuple[Placement, ...]:
    """Place pods in the order given on nodes that already carry `bound`; each placement counts for the next."""
    rooms = _rooms(nodes, bound)
    return tuple(_place_one(pod, rooms) for pod in pods)


def _rooms(nodes: Sequence[Document], bound: Iterable[Document]) -> list[_Room]:
    taken: Counter[str] = Counter()
    system: Counter[str] = Counter()
    for pod in bound:
        node = pod["spec"].get("nodeName", "")
        taken[node] += 1
        system[node] += pod["metadata"].get("namespace") == SYSTEM_NAMESPACE and bool(pod["spec"].get("hostNetwork"))
    rooms = []
    for node in sorted(nodes, key=lambda item: str(item["metadata"]["name"])):
        name = str(node["metadata"]["name"])
        unseen = max(0, HOST_NETWORK_PODS - system[name])
        free = int(node["status"]["allocatable"]["pods"]) - taken[name] - unseen
        rooms.append(_Room(name, node["metadata"].get("labels", {}), _taint(node), is_ready(node), free, taken[name]))
    return rooms


def _place_one(pod: Document, rooms: list[_Room]) -> Placement:
    namespace, name = str(pod["metadata"].get("namespace", "default")), str(pod["metadata"]["name"])
    wanted = pod["spec"].get("nodeSelector", {}).items()
    refused: Counter[str] = Counter()
    best: _Room | None = None
    for room in rooms:
        reason = _refusal(room, wanted)
        if reason:
            refused[reason] += 1
        elif best is None or room.pods < best.pods:
            best = room
    if best is None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
        return Placement(namespace, name, "", f"0/{len(rooms)} nodes are available{f': {reasons}' if reasons else ''}.")
    best.free -= 1
    best.pods += 1
    return Placement(namespace, name, best.name)


def _refusal(room: _Room, wanted: Collection[tuple[str, str]]) -> str:
    if not room.ready:
        return _NOT_READY
    if room.taint:
        return room.taint
    if wanted and any(room.labels.get(key) != value for key, value in wanted):
        return _NO_MATCH
    return _TOO_MANY if room.free < 1 else ""


def _taint(node: Document) -> str:
    """What the node's first taint makes kube-scheduler say; pods of a lab tolerate none."""
    for taint in node["spec"].get("taints", ()):
        if taint["effect"] == "NoSchedule":
            text = f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
            return _CORDONED if taint["key"] == UNSCHEDULABLE_TAINT else text
    return ""


def is_ready(node: Document) -> bool:
    """Does the node's condition Ready say True?"""
    return any(item["type"] == "Ready" and item["status"] == "True" for item in node.get("status", {}).get("conditions", ()))
