"""What `the VPC in one namespace` must show, line by line: delivery, source/dest check, TTL, IMDS."""

from __future__ import annotations

import socket

import pytest
from builders_cloud import a_cloud, assigned, eni_mac, unassigned, with_eni, with_node
from fabric_world import World, udp_frame

from labnet.fabric import tables
from labnet.model.netstate import Addr, Link, Rule, Slice

pytestmark = pytest.mark.kernel


@pytest.fixture
def two_nodes(world: World) -> World:
    """node1 with eth0 10.10.0.10 and eth1 10.10.0.11 (pod address .12), node2 with 10.10.0.20, node3 in the other subnet."""
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.10"})
    cloud = with_eni(cloud, "node1", 1, "10.10.0.11", "10.10.0.12", public={"10.10.0.12": "203.0.113.12"})
    cloud = with_node(cloud, "node2", "10.10.0.20")
    world.go(with_node(cloud, "node3", "10.10.32.20", subnet="subnet-b"))
    world.second_link("node1", 1, "10.10.0.11", 19, "10.10.0.1")
    return world


def test_node_to_node_answers_in_and_across_subnets(two_nodes: World) -> None:
    assert two_nodes.ping(two_nodes.node("node1"), "10.10.0.20")
    assert two_nodes.ping(two_nodes.node("node1"), "10.10.32.20")
    assert two_nodes.ping(two_nodes.node("node3"), "10.10.0.10")


def test_the_router_answers_no_ping_and_counts_it(two_nodes: World) -> None:
    assert two_nodes.ping(two_nodes.node("node1"), "10.10.0.1", silence=True) is None
    assert two_nodes.dropped(tables.DROP_ROUTER) >= 1


@pytest.mark.parametrize("ttl", [1, 2, 63, 64, 127, 128, 254, 255])
def test_the_vpc_is_no_hop(two_nodes: World, ttl: int) -> None:
    """S5."""
    seen = two_nodes.raw(two_nodes.node("node2"), "eth0", 0x0800)
    two_nodes.ping(two_nodes.node("node1"), "10.10.0.20", ttl=ttl)
    frame = next(frame for frame in iter(lambda: seen.recv(2000), b"") if frame[23] == 1 and frame[34] == 8)
    assert frame[22] == ttl


def test_ttl_255_is_kept_for_the_first_packet_and_for_established_flows(two_nodes: World) -> None:
    """S5: the groups' gates use the packet's mark, and must give bit 31 back."""
    seen = two_nodes.raw(two_nodes.node("node2"), "eth0", 0x0800)
    sender = two_nodes.socket(two_nodes.node("node1"), socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
    ttls = []
    for _ in range(2):
        sender.sendto(b"x", ("10.10.0.20", 7777))
        ttls.append(next(frame for frame in iter(lambda: seen.recv(2000), b"") if frame[23] == 17)[22])
    assert ttls == [255, 255]


def test_a_pod_on_eth1_is_answered_and_without_its_rule_the_vpc_drops_it(two_nodes: World) -> None:
    pod = two_nodes.pod("pod2", "node1", "10.10.0.12", table=2)
    assert two_nodes.ping(pod, "10.10.0.20")
    assert two_nodes.dropped(tables.DROP_SOURCE) == 0
    claimed = two_nodes.book.claimed(two_nodes.node("node1"), "cni:pod2")
    assert claimed is not None
    without = tuple(item for item in claimed.objects if not (isinstance(item, Rule) and item.priority == 1536))
    two_nodes.book.set([(two_nodes.node("node1"), Slice("cni:pod2", without))])
    assert two_nodes.ping(pod, "10.10.0.20", silence=True) is None
    assert two_nodes.dropped(tables.DROP_SOURCE) == 1


def test_only_assigned_addresses_are_delivered_and_only_while_they_are(two_nodes: World) -> None:
    node1, node2 = two_nodes.node("node1"), two_nodes.node("node2")
    two_nodes.also(node2, Addr("lo", "10.10.0.77", 32))
    assert two_nodes.ping(node1, "10.10.0.77", silence=True) is None
    two_nodes.go(assigned(two_nodes.cloud, "eni-node2-0", "10.10.0.77"))
    assert two_nodes.ping(node1, "10.10.0.77")
    two_nodes.go(unassigned(two_nodes.cloud, "eni-node2-0", "10.10.0.77"))
    assert two_nodes.ping(node1, "10.10.0.77", silence=True) is None


def test_a_prefix_is_delivered_with_all_its_sixteen_addresses(two_nodes: World) -> None:
    two_nodes.go(with_eni(two_nodes.cloud, "node2", 0, "10.10.0.20", prefixes=("10.10.4.0/28",)))
    two_nodes.also(two_nodes.node("node2"), Addr("lo", "10.10.4.0", 32), Addr("lo", "10.10.4.15", 32), Addr("lo", "10.10.4.16", 32))
    node1 = two_nodes.node("node1")
    assert two_nodes.ping(node1, "10.10.4.0")
    assert two_nodes.ping(node1, "10.10.4.15")
    assert two_nodes.ping(node1, "10.10.4.16", silence=True) is None
    asked = {"sender": "10.10.0.10", "mac": eni_mac("node1", 0)}
    assert two_nodes.arp(node1, "eth0", "10.10.4.3", **asked) == eni_mac("node2", 0)
    assert two_nodes.ping(two_nodes.node("node2"), "10.10.0.10", src="10.10.4.15")


def test_a_source_that_is_not_the_enis_is_dropped_unless_the_check_is_off(two_nodes: World) -> None:
    node1, node2 = two_nodes.node("node1"), two_nodes.node("node2")
    two_nodes.also(node1, Addr("lo", "10.10.0.99", 32))
    assert two_nodes.ping(node1, "10.10.0.20")  # the neighbour is known: ARP for a foreign sender would not be answered
    seen = two_nodes.raw(node2, "eth0", 0x0800)
    two_nodes.ping(node1, "10.10.0.20", src="10.10.0.99", silence=True)
    assert two_nodes.dropped(tables.DROP_SOURCE) == 1
    two_nodes.go(with_eni(two_nodes.cloud, "node1", 0, "10.10.0.10", check=False))
    two_nodes.ping(node1, "10.10.0.20", src="10.10.0.99", silence=True)
    assert two_nodes.dropped(tables.DROP_SOURCE) == 1
    assert any(frame[26:30] == socket.inet_aton("10.10.0.99") for frame in iter(lambda: seen.recv(2000), b"") if frame[23] == 1)


@pytest.mark.parametrize("source", ["10.10.0.1", "10.10.32.1", tables.IMDS_ADDRESS])
def test_nobody_speaks_for_the_router_and_its_services_even_with_the_check_off(two_nodes: World, source: str) -> None:
    two_nodes.go(with_eni(two_nodes.cloud, "node1", 0, "10.10.0.10", check=False))
    link, seen = two_nodes.raw(two_nodes.node("node1"), "eth0"), two_nodes.raw(two_nodes.node("node3"), "eth0", 0x0800)
    for sender in (source, "10.10.0.99"):  # the second goes last: when it is there, the first has had its time
        link.send(udp_frame(eni_mac("node1", 0), tables.ROUTER_MAC, sender, "10.10.32.20", 5000, 5001))
    senders = (frame[26:30] for frame in iter(lambda: seen.recv(2000), b"") if frame[23] == 17)
    assert next(senders) == socket.inet_aton("10.10.0.99")


@pytest.mark.parametrize("address", tables.SERVICES)
def test_the_services_are_reached_by_nodes_and_pods_whatever_their_groups(world: World, address: str) -> None:
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10", groups=())
    world.go(with_eni(cloud, "node1", 1, "10.10.0.11", "10.10.0.12", groups=()))
    world.second_link("node1", 1, "10.10.0.11", 19, "10.10.0.1")
    pod = world.pod("pod2", "node1", "10.10.0.12", table=2)
    listener = world.listen(world.vpc, 80, address)
    for netns, who in ((world.node("node1"), "10.10.0.10"), (pod, "10.10.0.12")):
        assert world.connect(netns, address, 80)
        accepted, peer = listener.accept()
        accepted.close()
        assert peer[0] == who, "the fabric knows who asks by the source address"


def test_dhcp_broadcasts_reach_the_fabric(two_nodes: World) -> None:
    """N1."""
    server = two_nodes.socket(two_nodes.vpc, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    server.bind(("0.0.0.0", 67))
    server.settimeout(2)
    link = two_nodes.raw(two_nodes.node("node2"), "eth0")
    link.send(udp_frame(eni_mac("node2", 0), "ff:ff:ff:ff:ff:ff", "0.0.0.0", "255.255.255.255", 68, 67, b"discover"))
    data, _ancillary, _flags, sender = server.recvmsg(1500, 256)
    assert (data, sender) == (b"discover", ("0.0.0.0", 68))


def test_a_warm_address_sent_back_to_the_router_makes_no_loop(two_nodes: World) -> None:
    """N4: what comes back on the port it left is dropped on the node; no redirect is sent."""
    node1 = two_nodes.node("node1")
    two_nodes.go(assigned(two_nodes.cloud, "eni-node1-0", "10.10.0.15"))  # warm: assigned, no pod
    link = two_nodes.raw(node1, "eth0", 0x0800)
    two_nodes.ping(two_nodes.node("node2"), "10.10.0.15", silence=True)
    link.settimeout(0.2)
    came = []
    with pytest.raises(TimeoutError):
        while True:
            came.append(link.recv(2000))
    assert len([frame for frame in came if frame[30:34] == socket.inet_aton("10.10.0.15")]) <= 3
    assert not [frame for frame in came if frame[23] == 1 and frame[34] == 5], "no ICMP redirect"


def test_an_unattached_eni_has_no_port(two_nodes: World) -> None:
    two_nodes.go(with_eni(two_nodes.cloud, "node2", 1, "10.10.0.21", attached=False))
    assert "10.10.0.21" not in str(two_nodes.book.desired(two_nodes.vpc).objects)
    two_nodes.go(with_eni(two_nodes.cloud, "node2", 1, "10.10.0.21"))
    links = {item.name for item in two_nodes.kernel.observe(two_nodes.node("node2")).all(Link)}
    assert links >= {"eth0", "eth1"}
    two_nodes.go(with_eni(two_nodes.cloud, "node2", 1, "10.10.0.21", attached=False))
    assert "eth1" not in {item.name for item in two_nodes.kernel.observe(two_nodes.node("node2")).all(Link)}
    assert two_nodes.ping(two_nodes.node("node1"), "10.10.0.21", silence=True) is None
