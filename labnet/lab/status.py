"""The Status document: what a lab is, from the cloud's objects, the cluster's objects and each node's pool (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from labnet.lab.sites_setup import sites
from labnet.model import names
from labnet.model.addressing import contains
from labnet.model.cloud import Attachment, CloudState, Eni, Instance
from labnet.model.cloud_vpc import NatGateway
from labnet.model.cluster import Document, PodView
from labnet.model.netstate import TABLE_MAIN
from labnet.model.values import frozen


@frozen
class Pool:
    """How the pod addresses of one ENI are used: `warm` free and assignable, `cooling` free but not yet; `max` of the type."""

    used: int = 0
    warm: int = 0
    cooling: int = 0
    max: int = 0
    table: int = TABLE_MAIN


@frozen
class Facts:
    """What the status is made of: `pools` by node and ENI id, `host_links` of pods by node and hash, `changed_env` since the scenario."""

    lab: str
    scenario: str
    state: str
    time_s: float
    cloud: CloudState
    nodes: tuple[Document, ...]
    pods: tuple[PodView, ...]
    pools: Mapping[str, Mapping[str, Pool]]
    host_links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    changed_env: Mapping[str, str | None] = field(default_factory=dict)


def status(facts: Facts) -> dict[str, Any]:
    """The document of the project's interfaces: `ip` without mask, nodes, pods and NAT gateways in order of making."""
    carriers = _carriers(facts.cloud)
    return {
        "apiVersion": "labnet/v1", "kind": "Status", "lab": facts.lab, "scenario": facts.scenario, "state": facts.state,
        "time": facts.time_s, "changedEnv": dict(facts.changed_env), "nodes": [_node(facts, instance) for instance in _running(facts.cloud)],
        "pods": [_pod(facts, pod, carriers) for pod in facts.pods],
        "natGateways": [_nat(facts.cloud, nat) for nat in facts.cloud.nat_gateways.values() if nat.state == "available"],
        "onPremises": sites(facts.cloud),
    }


def _nat(cloud: CloudState, nat: NatGateway) -> dict[str, Any]:
    subnet = cloud.subnets[nat.subnet_id]
    return {
        "name": nat.tags.get("Name", nat.id), "id": nat.id, "subnet": subnet.tags.get("Name", subnet.id), "ip": nat.private_address,
        "publicIp": nat.public_ip, "netns": names.nat_netns(cloud.lab, nat.id),
    }


def _running(cloud: CloudState) -> Iterable[Instance]:
    return (instance for instance in cloud.instances.values() if instance.state in ("pending", "running"))


def _node(facts: Facts, instance: Instance) -> dict[str, Any]:
    enis = facts.cloud.enis_of(instance.id)
    primary = enis[0].addresses[0] if enis else None
    capacity = {doc["metadata"]["name"]: doc["status"]["capacity"]["pods"] for doc in facts.nodes}
    return {
        "name": instance.name, "instanceId": instance.id, "instanceType": instance.instance_type,
        "netns": names.node_netns(facts.lab, instance.name), "ip": primary.address if primary else "",
        "publicIp": (primary.public or "") if primary else "", "maxPods": int(capacity.get(instance.name, 0)),
        "ready": _ready(facts, instance.name), "enis": [_eni(facts, instance, eni) for eni in enis],
    }


def _ready(facts: Facts, node: str) -> bool:
    for doc in facts.nodes:
        if doc["metadata"]["name"] == node:
            return any(item["type"] == "Ready" and item["status"] == "True" for item in doc["status"]["conditions"])
    return False


def _eni(facts: Facts, instance: Instance, eni: Eni) -> dict[str, Any]:
    assert eni.attachment is not None, "only attached ENIs are asked for"
    pool = facts.pools.get(instance.name, {}).get(eni.id, Pool())
    subnet = facts.cloud.subnets[eni.subnet_id]
    return {
        "id": eni.id, "deviceIndex": eni.attachment.device_index, "name": _link(eni.attachment), "mac": eni.mac,
        "subnet": subnet.tags.get("Name", subnet.id), "ip": eni.primary, "table": pool.table, "prefixes": list(eni.prefixes),
        "addresses": {"used": pool.used, "warm": pool.warm, "cooling": pool.cooling, "max": pool.max},
    }


def _link(at: Attachment) -> str:
    return names.eni_link(at.device_index, at.network_card_index)


def _pod(facts: Facts, pod: PodView, carriers: Carriers) -> dict[str, Any]:
    out: dict[str, Any] = {
        "namespace": pod.namespace, "name": pod.name, "node": pod.node, "phase": pod.phase, "reason": pod.reason, "ip": pod.ip,
        "eni": "", "device": "", "table": None, "hostLink": "", "netns": names.pod_netns(facts.lab, pod.namespace, pod.name),
    }
    if pod.host_network:
        return {**out, "netns": names.node_netns(facts.lab, pod.node) if pod.node else ""}
    eni = _eni_of(carriers.get(pod.node, ()), pod.ip)
    if eni is None or eni.attachment is None:
        return out
    pool = facts.pools.get(pod.node, {}).get(eni.id, Pool())
    return {
        **out, "eni": eni.id, "device": _link(eni.attachment), "table": pool.table,
        "hostLink": facts.host_links.get(pod.node, {}).get(names.pod_hash(pod.namespace, pod.name), ""),
    }


Carriers = Mapping[str, Sequence[tuple[Eni, frozenset[str]]]]
"""The ENIs of each node by its name, with their addresses."""


def _carriers(cloud: CloudState) -> Carriers:
    names_of = {instance.id: instance.name for instance in _running(cloud)}
    found: dict[str, list[tuple[Eni, frozenset[str]]]] = {}
    for eni in cloud.enis.values():
        if eni.attachment is not None and eni.attachment.instance_id in names_of:
            addresses = frozenset(item.address for item in eni.addresses)
            found.setdefault(names_of[eni.attachment.instance_id], []).append((eni, addresses))
    return found


def _eni_of(enis: Sequence[tuple[Eni, frozenset[str]]], address: str) -> Eni | None:
    """The ENI that carries a pod's address, by itself or in a prefix."""
    if not address:
        return None
    return next((eni for eni, own in enis if address in own or any(contains(prefix, address) for prefix in eni.prefixes)), None)
