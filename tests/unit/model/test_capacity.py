"""Pods of a node and nodes of a subnet: by hand, and against the table of every type."""

from __future__ import annotations

import pytest

from labnet.ec2 import limits
from labnet.model.capacity import (
    Holding,
    PodNetworking,
    Question,
    capacity,
    fits,
    holding,
    is_subnet,
    max_pods,
    nodes_that_fit,
    ordinary_pods,
    pod_addresses,
    smallest_subnet,
    subnet_room,
    vcpus_said,
)

PLAIN, PREFIX, CUSTOM = PodNetworking(), PodNetworking(prefix_delegation=True), PodNetworking(custom_networking=True)
BOTH = PodNetworking(prefix_delegation=True, custom_networking=True)
TYPES = limits.load()


@pytest.mark.parametrize(
    ("kind", "networking", "addresses", "most"),
    [
        ("t3.nano", PLAIN, 2 * 1, 2 * 1 + 2),
        ("t3.small", PLAIN, 3 * 3, 3 * 3 + 2),
        ("m5.large", PLAIN, 3 * 9, 29),
        ("m5.24xlarge", PLAIN, 15 * 49, 737),
        ("t3.medium", CUSTOM, 2 * 5, 2 * 5 + 2),
        ("m5.large", CUSTOM, 2 * 9, 20),
        ("hpc6id.32xlarge", CUSTOM, 0, 2),
        ("t3.nano", PREFIX, 2 * 1 * 16, 2 * 16 + 2),
        ("t3.small", PREFIX, 3 * 3 * 16, 110),
        ("m5.large", PREFIX, 3 * 9 * 16, 110),
        ("m5.8xlarge", PREFIX, 8 * 29 * 16, 250),
        ("m5.metal", PREFIX, 15 * 49 * 16, 250),
        ("m4.large", PREFIX, 2 * 9, 20),  # Xen: no prefixes
        ("t3.nano", BOTH, 16, 18),
        ("t3.small", BOTH, 2 * 3 * 16, 98),
        ("m5.large", BOTH, 2 * 9 * 16, 110),
        ("t3.medium", PodNetworking(max_enis=2), 2 * 5, 17),  # who starts the kubelet does not read MAX_ENI
        ("t3.medium", PodNetworking(custom_networking=True, max_enis=2), 5, 12),
    ],
)
def test_pod_addresses_and_max_pods(kind: str, networking: PodNetworking, addresses: int, most: int) -> None:
    assert pod_addresses(TYPES[kind], networking) == addresses
    assert max_pods(TYPES[kind], networking) == most
    assert ordinary_pods(TYPES[kind], networking) == min(addresses, most - 2)


def test_without_settings_every_type_has_the_max_pods_of_its_table() -> None:
    assert [name for name in TYPES if max_pods(TYPES[name], PLAIN) != TYPES[name].max_pods] == []
    assert [name for name in TYPES if pod_addresses(TYPES[name], PLAIN) + 2 != TYPES[name].max_pods] == []


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("t3.nano", False), ("m5.large", False), ("m7i-flex.2xlarge", False), ("c5.4xlarge", False), ("g4dn.8xlarge", True), ("m5.metal", True),
        ("m7i.metal-24xl", True), ("a1.metal", False), ("mac2-m2pro.metal", False), ("hpc7a.12xlarge", False), ("hpc7a.24xlarge", True),
        ("u-6tb1.112xlarge", True), ("c6g.medium", False),
    ],
)
def test_thirty_vcpus_or_more(name: str, many: bool) -> None:
    assert (vcpus_said(name) >= 30) is many


@pytest.mark.parametrize(
    ("kind", "networking", "pods", "held"),
    [
        # the first ENI is the warm one until a pod takes an address of it
        ("m5.large", PLAIN, 0, Holding(1, 10, 0)),
        ("m5.large", PLAIN, 1, Holding(2, 20, 0)),
        ("m5.large", PLAIN, 9, Holding(2, 20, 0)),
        ("m5.large", PLAIN, 10, Holding(3, 30, 0)),
        ("m5.large", PLAIN, 27, Holding(3, 30, 0)),
        ("m5.large", CUSTOM, 0, Holding(1, 10, 0)),
        ("m5.large", CUSTOM, 18, Holding(2, 20, 0)),
        ("m5.large", PREFIX, 0, Holding(1, 1, 1)),
        ("m5.large", PREFIX, 1, Holding(1, 1, 2)),
        ("m5.large", PREFIX, 16, Holding(1, 1, 2)),
        ("m5.large", PREFIX, 108, Holding(1, 1, 7)),  # 112 addresses: as many as max-pods are enough
        ("t3.small", PREFIX, 108, Holding(3, 3, 7)),  # three prefixes an ENI
        ("t3.nano", PREFIX, 32, Holding(2, 2, 2)),
        ("hpc6id.32xlarge", CUSTOM, 0, Holding(0, 0, 0)),
    ],
)
def test_what_a_node_holds(kind: str, networking: PodNetworking, pods: int, held: Holding) -> None:
    assert holding(TYPES[kind], networking, pods) == held


def test_a_subnet_without_prefixes() -> None:
    room = subnet_room("10.10.0.0/24")
    assert (room.size, room.usable, room.blocks, room.outside) == (256, 251, 14, 27)
    full = holding(TYPES["m5.large"], PLAIN, 27)
    assert nodes_that_fit(room, full) == (251 - 3) // 30 == 8
    assert fits(subnet_room("10.10.0.0/27"), Holding(2, 12, 0), 2) is True  # 27 − 24 leaves the three of an upgrade
    assert fits(subnet_room("10.10.0.0/27"), Holding(2, 13, 0), 2) is False  # one is left
    assert nodes_that_fit(subnet_room("10.10.0.0/28"), Holding(1, 6, 0)) == 1


def test_a_subnet_with_prefixes_depends_on_where_single_addresses_lie() -> None:
    room, full = subnet_room("10.10.0.0/24"), Holding(1, 1, 7)
    assert nodes_that_fit(room, full) == 2
    assert nodes_that_fit(room, full, scattered=True) == 1
    assert nodes_that_fit(subnet_room("10.10.0.0/27"), Holding(1, 1, 1)) == 0  # neither of its two blocks is whole
    assert nodes_that_fit(subnet_room("10.10.0.0/26"), Holding(1, 1, 1)) == 2
    assert nodes_that_fit(subnet_room("10.10.0.0/26"), Holding(1, 1, 1), scattered=True) == 1


@pytest.mark.parametrize(
    ("held", "nodes", "bits"),
    [(Holding(1, 10, 0), 1, 27), (Holding(3, 30, 0), 20, 22), (Holding(1, 1, 7), 2, 24), (Holding(1, 50, 0), 5000, None)],
)
def test_the_smallest_subnet(held: Holding, nodes: int, bits: int | None) -> None:
    assert smallest_subnet(held, nodes) == bits


def test_no_nodes_need_nothing() -> None:
    assert fits(subnet_room("10.10.0.0/28"), Holding(1, 11, 0), 0)
    assert nodes_that_fit(subnet_room("10.10.0.0/28"), Holding(0, 0, 0)) == 0


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("10.0.0.0/16", True), ("10.0.0.0/28", True), ("10.0.0.0/29", False), ("10.0.0.0/15", False), ("10.0.0.1/24", False), ("x", False),
        ("10.0.0.0", False),
    ],
)
def test_what_is_a_subnet(text: str, good: bool) -> None:
    assert is_subnet(text) is good


def test_the_document() -> None:
    document = capacity(Question(TYPES["t3.small"], PREFIX, "10.10.0.0/24", 4))
    assert document["node"] == {
        "idle": {"pods": 0, "enis": 1, "addresses": 1, "prefixes": 1, "total": 17},
        "full": {"pods": 108, "enis": 3, "addresses": 3, "prefixes": 7, "total": 115},
    }
    assert document["subnet"] == {
        "cidr": "10.10.0.0/24", "addresses": 256, "usable": 251, "kept": 3, "blocks": 14,
        "idle": {"nodes": 14, "pods": 0, "nodesScattered": 7, "podsScattered": 0},
        "full": {"nodes": 2, "pods": 216, "nodesScattered": 1, "podsScattered": 108},
    }
    assert document["nodes"] == {
        "count": 4, "idle": {"addresses": 68, "smallestSubnet": "/25", "fits": True, "fitsScattered": True},
        "full": {"addresses": 460, "smallestSubnet": "/23", "fits": False, "fitsScattered": False},
    }
