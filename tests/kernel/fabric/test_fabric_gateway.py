"""The internet gateway with real packets: 1:1 NAT, no hop, MTU, spoofing (S9), several VPCs side by side."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from builders_cloud import a_cloud, associated, eni_mac, with_eni, with_node, with_subnet, with_vpc
from fabric_world import World, udp_frame

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.fabric import tables
from labnet.fabric.gateway import INTERNET_ADDRESSES, internet_port
from labnet.model.netstate import Addr, Route

pytestmark = pytest.mark.kernel
PUBLIC_1, PUBLIC_2 = "203.0.113.10", "203.0.113.20"


@pytest.fixture
def public(world: World) -> World:
    """node1 and node2 with public addresses, node3 without."""
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10", public={"10.10.0.10": PUBLIC_1})
    cloud = with_node(cloud, "node2", "10.10.0.20", public={"10.10.0.20": PUBLIC_2})
    world.go(with_node(cloud, "node3", "10.10.0.30"))
    return world


def igw(world: World) -> str:
    return f"{world.lab}-igw"


def internet(world: World) -> str:
    return f"{world.lab}-internet"


def udp_seen(world: World, netns: str, port: int, address: str = "0.0.0.0") -> socket.socket:
    sock = world.socket(netns, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(2)
    return sock


@pytest.mark.parametrize("address", INTERNET_ADDRESSES)
def test_the_internet_answers(public: World, address: str) -> None:
    assert public.ping(public.node("node1"), address)


def test_a_private_address_is_seen_as_its_public_one_and_reached_by_it(public: World) -> None:
    server = udp_seen(public, internet(public), 53, "8.8.8.8")
    public.socket(public.node("node1"), socket.SOCK_DGRAM).sendto(b"q", ("8.8.8.8", 53))
    assert server.recvfrom(100)[1][0] == PUBLIC_1
    assert public.ping(internet(public), PUBLIC_2)


def test_an_address_without_a_public_one_gets_nowhere(public: World) -> None:
    assert public.ping(public.node("node3"), "8.8.8.8", silence=True) is None
    assert public.dropped(tables.DROP_IGW_UNMAPPED, igw(public)) == 1


def test_packets_follow_an_elastic_ip_through_the_api(public: World) -> None:
    def call(name: str, **params: object) -> dict[str, Any]:
        state, answer = execute(public.cloud, name, params, Context(0.0, limits.load()))
        public.go(state)
        return answer

    made = call("AllocateAddress")
    node3 = public.node("node3")
    association = call("AssociateAddress", AllocationId=made["AllocationId"], NetworkInterfaceId="eni-node3-0")["AssociationId"]
    server = udp_seen(public, internet(public), 53, "8.8.8.8")
    public.socket(node3, socket.SOCK_DGRAM).sendto(b"q", ("8.8.8.8", 53))
    assert server.recvfrom(100)[1][0] == made["PublicIp"]
    assert public.ping(internet(public), made["PublicIp"])
    public.go(with_node(public.cloud, "node4", "10.10.0.40"))
    call("AssociateAddress", AllocationId=made["AllocationId"], NetworkInterfaceId="eni-node4-0", AllowReassociation=True)
    assert public.ping(public.node("node4"), "8.8.8.8")
    assert public.ping(node3, "8.8.8.8", silence=True) is None
    (address,) = public.cloud.addresses.values()
    assert address.association is not None and address.association.id != association
    call("DisassociateAddress", AssociationId=address.association.id)
    assert public.ping(public.node("node4"), "8.8.8.8", silence=True) is None


def test_a_public_address_that_nobody_has_is_silence(public: World) -> None:
    assert public.ping(public.node("node1"), "198.51.100.1", silence=True) is None
    assert public.ping(public.node("node1"), "203.0.113.99", silence=True) is None


def test_public_to_public_inside_one_vpc_passes_the_gateway(public: World) -> None:
    """S9: the source is the sender's public address, as on AWS."""
    server = udp_seen(public, public.node("node2"), 7000)
    public.socket(public.node("node1"), socket.SOCK_DGRAM).sendto(b"q", (PUBLIC_2, 7000))
    assert server.recvfrom(100)[1][0] == PUBLIC_1
    assert public.ping(public.node("node1"), PUBLIC_2)


@pytest.mark.parametrize("ttl", [1, 64, 255])
def test_the_gateway_is_no_hop(public: World, ttl: int) -> None:
    """S5, in the gateway too."""
    seen = public.raw(internet(public), internet_port("igw-vpc-1"), 0x0800)
    public.ping(public.node("node1"), "1.1.1.1", ttl=ttl)
    frame = next(frame for frame in iter(lambda: seen.recv(2000), b"") if frame[23] == 1 and frame[34] == 8)
    assert frame[22] == ttl
    node2 = public.raw(public.node("node2"), "eth0", 0x0800)
    public.ping(public.node("node1"), PUBLIC_2, ttl=ttl)
    frame = next(frame for frame in iter(lambda: node2.recv(2000), b"") if frame[23] == 1 and frame[34] == 8)
    assert frame[22] == ttl


def test_inside_9001_bytes_pass_and_1500_at_the_gateway(public: World) -> None:
    node1 = public.node("node1")
    assert public.ping(node1, "10.10.0.20", size=9001 - 28, dont_fragment=True)
    assert public.ping(node1, "8.8.8.8", size=1500 - 28, dont_fragment=True)
    error = public.ping(node1, "8.8.8.8", size=1501 - 28, dont_fragment=True)
    assert error is not None
    assert (error.type, error.code, error.mtu, error.source) == (3, 4, 1500, "10.10.0.1")
    assert public.ping(node1, "8.8.8.8", size=3000), "without DF it is fragmented"


def test_the_internet_cannot_pose_as_the_vpc(public: World) -> None:
    """S9: caught by the gateway, and by the fabric should a gateway let it pass."""
    seen = public.raw(public.node("node1"), "eth0", 0x0800)
    seen.settimeout(0.1)
    out = public.raw(internet(public), internet_port("igw-vpc-1"))
    out.send(udp_frame("0e:00:00:00:00:04", "0e:00:00:00:00:03", "10.10.0.20", PUBLIC_1, 1, 2))
    assert public.dropped(tables.DROP_IGW_SPOOFED, igw(public)) == 1
    behind = public.raw(igw(public), "vpc")
    behind.send(udp_frame("0e:00:00:00:00:02", tables.ROUTER_MAC, "10.10.0.20", "10.10.0.10", 1, 2))
    assert public.dropped(tables.DROP_SPOOFED) == 1
    behind.send(udp_frame("0e:00:00:00:00:02", tables.ROUTER_MAC, "8.8.8.8", tables.IMDS_ADDRESS, 1, 80))
    assert public.dropped(tables.DROP_TRANSIT) == 1, "nor reach the metadata service"
    behind.send(udp_frame("0e:00:00:00:00:02", tables.ROUTER_MAC, tables.IMDS_ADDRESS, "10.10.0.10", 80, 1))  # nor speak for it
    with pytest.raises(TimeoutError):
        seen.recv(2000)


def test_inbound_obeys_security_groups(public: World) -> None:
    public.go(with_eni(public.cloud, "node2", 0, "10.10.0.20", groups=(), public={"10.10.0.20": PUBLIC_2}))
    assert public.ping(internet(public), PUBLIC_2, silence=True) is None
    assert public.dropped(tables.DROP_INGRESS) == 1


def test_a_public_address_taken_from_a_live_flow_is_not_used_any_more(public: World) -> None:
    """B4: the gateway's conntrack forgets; and what is unmapped is never confirmed, so a later association takes effect."""
    server = udp_seen(public, internet(public), 53, "8.8.8.8")
    client = public.socket(public.node("node1"), socket.SOCK_DGRAM)
    client.bind(("10.10.0.10", 5000))
    client.sendto(b"1", ("8.8.8.8", 53))
    assert server.recvfrom(100)[1] == (PUBLIC_1, 5000)
    public.go(associated(public.cloud, "eni-node1-0", "10.10.0.10", None))
    client.sendto(b"2", ("8.8.8.8", 53))
    assert public.dropped(tables.DROP_IGW_UNMAPPED, igw(public)) == 1
    public.go(associated(public.cloud, "eni-node1-0", "10.10.0.10", "203.0.113.77"))
    client.sendto(b"3", ("8.8.8.8", 53))
    data, sender = server.recvfrom(100)
    assert (data, sender) == (b"3", ("203.0.113.77", 5000)), "the very next packet, and nothing of the second"


def test_two_vpcs_with_one_range_live_side_by_side(world: World) -> None:
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10", public={"10.10.0.10": PUBLIC_1})
    cloud = with_vpc(cloud, "vpc-2", "10.10.0.0/16", name="blue")
    cloud = with_subnet(cloud, "subnet-c", "vpc-2", "10.10.0.0/24")
    cloud = with_node(cloud, "node2", "10.10.0.20", subnet="subnet-c", public={"10.10.0.20": PUBLIC_2})
    world.go(with_node(cloud, "node3", "10.10.0.30", subnet="subnet-c"))
    assert set(world.kernel.known) >= {f"{world.lab}-{name}" for name in ("vpc", "igw", "vpc.blue", "igw.blue", "internet")}
    assert world.ping(world.node("node2"), "10.10.0.30")
    assert world.ping(world.node("node1"), "10.10.0.30", silence=True) is None, "another VPC's private address"
    assert world.ping(world.node("node1"), "8.8.8.8")
    assert world.ping(world.node("node1"), PUBLIC_2), "but its public address, over the one Internet"
    server = udp_seen(world, world.node("node2"), 7000)
    world.socket(world.node("node1"), socket.SOCK_DGRAM).sendto(b"q", (PUBLIC_2, 7000))
    assert server.recvfrom(100)[1][0] == PUBLIC_1


def test_a_node_with_a_route_of_its_own_cannot_send_unassigned_sources_out(public: World) -> None:
    public.also(public.node("node1"), Addr("lo", "192.168.7.7", 32), Route("8.8.8.8/32", dev="eth0", via="10.10.0.1"))
    public.ping(public.node("node1"), "8.8.8.8")
    public.ping(public.node("node1"), "8.8.8.8", src="192.168.7.7", silence=True)
    assert public.dropped(tables.DROP_SOURCE) + public.dropped(tables.DROP_ARP_SENDER) >= 1
    assert eni_mac("node1", 0) != tables.ROUTER_MAC
