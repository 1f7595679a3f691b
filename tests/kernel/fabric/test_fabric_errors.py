"""ICMP errors of the fabric (S6), routes to an ENI whose check is off, and the destination check (S7)."""

from __future__ import annotations

import pytest
from builders_cloud import a_cloud, with_eni, with_node, with_table
from fabric_world import World

from labnet.fabric import tables
from labnet.model.netstate import Addr, Neigh, Slice

pytestmark = pytest.mark.kernel


def test_frag_needed_comes_from_the_router_of_the_askers_subnet(world: World) -> None:
    """S6, and again and again: the kernel's limit of one error a second and destination is off."""
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"})
    world.go(with_node(cloud, "node3", "10.10.32.20", subnet="subnet-b", public={"10.10.32.20": "203.0.113.2"}))
    for node, router in (("node1", "10.10.0.1"), ("node3", "10.10.32.1")):
        for _ in range(8):
            error = world.ping(world.node(node), "8.8.8.8", size=2000, dont_fragment=True)
            assert error is not None
            assert (error.source, error.type, error.code, error.mtu) == (router, 3, 4, 1500)


@pytest.mark.parametrize("target", ["10.10.0.99", "10.10.200.1", "198.18.0.1"])
def test_what_has_no_route_is_silence(world: World, target: str) -> None:
    """S6: unassigned, outside every subnet, outside the VPC without a gateway."""
    world.go(with_node(a_cloud(world.lab, igw=False), "node1", "10.10.0.10"))
    world.ping(world.node("node1"), "10.10.0.1", silence=True)
    world.book.set([(world.node("node1"), Slice("known", (Neigh("eth0", "10.10.0.99", tables.ROUTER_MAC),)))])
    assert world.ping(world.node("node1"), target, silence=True) is None


def test_the_destination_check_guards_routes_to_an_eni(world: World) -> None:
    """S7: a route of a table to an ENI goes `via PRIMARY onlink`; the ENI takes it only with its check off."""
    cloud = with_node(with_node(a_cloud(world.lab), "node1", "10.10.0.10"), "box", "10.10.0.20")
    world.go(cloud)
    world.also(world.node("box"), Addr("lo", "100.96.2.7", 32))
    world.go(with_table(world.cloud, "rtb-vpc-1", "vpc-1", {"100.96.2.0/24": "eni-box-0"}, main=True))
    assert world.ping(world.node("node1"), "100.96.2.7", silence=True) is None
    assert world.dropped(tables.DROP_DESTINATION) == 1
    world.go(with_eni(world.cloud, "box", 0, "10.10.0.20", check=False))
    asked = world.raw(world.node("box"), "eth0", 0x0806)
    asked.settimeout(0.1)
    assert world.ping(world.node("node1"), "100.96.2.7"), "out to the box, and its answer back with a foreign source"
    with pytest.raises(TimeoutError):
        while True:
            frame = asked.recv(100)
            assert frame[20:22] == b"\0\x02", "the fabric answers ARP; it never asks"
