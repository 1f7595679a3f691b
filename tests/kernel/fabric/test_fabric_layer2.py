"""ARP and layer 2: what the mapping service answers (B1), which frames a port takes (B2), who is known by heart (B6)."""

from __future__ import annotations

import socket

import pytest
from builders_cloud import a_cloud, eni_mac, with_node
from fabric_world import World, udp_frame

from labnet.fabric import tables
from labnet.model.netstate import Neigh, Slice

pytestmark = pytest.mark.kernel
N1, N2 = eni_mac("node1", 0), eni_mac("node2", 0)
ASK = {"sender": "10.10.0.10", "mac": N1}


@pytest.fixture
def three(world: World) -> World:
    """node1 and node2 in subnet-a, node3 in subnet-b."""
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10")
    cloud = with_node(cloud, "node2", "10.10.0.20")
    world.go(with_node(cloud, "node3", "10.10.32.20", subnet="subnet-b"))
    return world


def test_arp_gives_the_enis_mac_for_peers_and_the_routers_for_the_router_and_imds(three: World) -> None:
    node1 = three.node("node1")
    assert three.arp(node1, "eth0", "10.10.0.20", **ASK) == N2
    assert three.arp(node1, "eth0", "10.10.0.1", **ASK) == tables.ROUTER_MAC
    assert three.arp(node1, "eth0", tables.IMDS_ADDRESS, **ASK) == tables.ROUTER_MAC


@pytest.mark.parametrize("target", ["10.10.0.99", "8.8.8.8", "10.10.32.20", "10.10.32.1", "192.0.2.10", "169.254.200.2"])
def test_arp_is_silent_for_all_else_although_there_is_a_default_route(three: World, target: str) -> None:
    """B1: unassigned, outside, of another subnet, another subnet's router."""
    assert three.arp(three.node("node1"), "eth0", target, **ASK, silence=True) is None
    assert three.dropped(tables.DROP_ARP_UNKNOWN) == 1


def test_arp_of_the_other_subnet_is_answered_there(three: World) -> None:
    ask = {"sender": "10.10.32.20", "mac": eni_mac("node3", 0)}
    assert three.arp(three.node("node3"), "eth0", "10.10.32.1", **ask) == tables.ROUTER_MAC
    assert three.arp(three.node("node3"), "eth0", "10.10.0.20", **ask, silence=True) is None


def test_arp_with_a_foreign_sender_is_dropped(three: World) -> None:
    """B2: neither another's address nor another's MAC."""
    node1 = three.node("node1")
    assert three.arp(node1, "eth0", "10.10.0.1", sender="10.10.0.20", mac=N1, silence=True) is None
    assert three.arp(node1, "eth0", "10.10.0.1", sender="10.10.0.20", mac=N1, sha=N2, silence=True) is None
    assert three.dropped(tables.DROP_ARP_SENDER) == 2


def test_arp_probe_to_the_right_mac_is_answered_and_to_a_wrong_one_not(three: World) -> None:
    """A kernel refreshes a stale neighbour by a unicast request."""
    node1 = three.node("node1")
    assert three.arp(node1, "eth0", "10.10.0.20", **ASK, daddr=N2) == N2
    assert three.arp(node1, "eth0", "10.10.0.20", **ASK, daddr="02:de:ad:be:ef:00", silence=True) is None
    assert three.dropped(tables.DROP_DESTINATION_MAC) == 1


@pytest.mark.parametrize("mac", ["02:de:ad:be:ef:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"])
def test_frames_for_a_wrong_mac_are_lost_and_counted(three: World, mac: str) -> None:
    """B2: a stale neighbour loses packets."""
    node1 = three.node("node1")
    three.book.set([(node1, Slice("stale", (Neigh("eth0", "10.10.0.20", mac),)))])
    assert three.ping(node1, "10.10.0.20", silence=True) is None
    assert three.dropped(tables.DROP_DESTINATION_MAC) == 1
    three.book.set([(node1, Slice("stale"))])
    assert three.ping(node1, "10.10.0.20")


def test_frames_for_another_enis_mac_are_lost(three: World) -> None:
    """B2: the MAC of node3 does not take what is addressed to node2."""
    three.book.set([(three.node("node1"), Slice("stale", (Neigh("eth0", "10.10.0.20", eni_mac("node3", 0)),)))])
    assert three.ping(three.node("node1"), "10.10.0.20", silence=True) is None
    assert three.dropped(tables.DROP_DESTINATION_MAC) == 1


def test_frames_with_a_changed_source_mac_are_lost_and_counted(three: World) -> None:
    """B2: a port sends with its ENI's MAC only."""
    link = three.raw(three.node("node1"), "eth0")
    seen = three.raw(three.node("node2"), "eth0", 0x0800)
    for src_mac in ("02:00:00:00:00:99", N1):
        link.send(udp_frame(src_mac, N2, "10.10.0.10", "10.10.0.20", 1, 2, src_mac.encode()))
    assert three.dropped(tables.DROP_SOURCE_MAC) == 1
    assert N1.encode() in seen.recv(2000), "only the second one came"


def test_ipv6_and_multicast_end_at_the_port(three: World) -> None:
    link = three.raw(three.node("node1"), "eth0")
    before = three.dropped(tables.DROP_PROTOCOL)
    link.send(bytes.fromhex("333300000001") + bytes.fromhex(N1.replace(":", "")) + b"\x86\xdd" + bytes(60))
    assert three.dropped(tables.DROP_PROTOCOL) >= before + 1


def test_inside_a_subnet_frames_come_from_the_senders_mac_across_from_the_router(three: World) -> None:
    for node, mac in (("node2", N1), ("node3", tables.ROUTER_MAC)):
        seen = three.raw(three.node(node), "eth0", 0x0800)
        three.ping(three.node("node1"), three.cloud.enis[f"eni-{node}-0"].primary)
        frame = next(frame for frame in iter(lambda sock=seen: sock.recv(2000), b"") if frame[26:30] == socket.inet_aton("10.10.0.10"))
        assert frame[6:12].hex(":") == mac


def test_the_fabric_learns_no_neighbour(three: World) -> None:
    """B6: the neighbour table is shared by the whole machine; every entry of the fabric is permanent."""
    for node in ("node2", "node3"):
        three.ping(three.node("node1"), three.cloud.enis[f"eni-{node}-0"].primary)
    for netns in (three.vpc, f"{three.lab}-igw", f"{three.lab}-internet"):
        state = three.kernel.observe(netns)
        assert state.all(Neigh)
        assert not [item for item in state.all(Neigh) if item.state != "permanent"]
