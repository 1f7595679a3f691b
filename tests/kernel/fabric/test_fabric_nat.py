"""NAT gateways with real packets: port translation, nothing from outside, the subnet of the gateway decides where its packets go."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from builders_cloud import a_cloud, with_node
from fabric_world import World

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.fabric import tables
from labnet.model.names import nat_netns

pytestmark = pytest.mark.kernel


class Api:
    """EC2 requests whose outcome the fabric follows."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(self, name: str, **params: object) -> dict[str, Any]:
        state, answer = execute(self.world.cloud, name, params, Context(0.0, limits.load()))
        self.world.go(state)
        return answer


class Behind:
    """node1 and node2 in private subnet-b, a NAT gateway in public subnet-a."""

    def __init__(self, world: World) -> None:
        self.world, self.api = world, Api(world)
        cloud = with_node(a_cloud(world.lab), "node1", "10.10.32.10", subnet="subnet-b")
        world.go(with_node(cloud, "node2", "10.10.32.20", subnet="subnet-b"))
        self.eip = self.api("AllocateAddress")
        made = self.api("CreateNatGateway", SubnetId="subnet-a", AllocationId=self.eip["AllocationId"], ClientToken="one")
        self.nat_id = made["NatGateway"]["NatGatewayId"]
        self.table = self.api("CreateRouteTable", VpcId="vpc-1")["RouteTable"]["RouteTableId"]
        self.api("AssociateRouteTable", RouteTableId=self.table, SubnetId="subnet-b")
        self.api("CreateRoute", RouteTableId=self.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=self.nat_id)

    @property
    def netns(self) -> str:
        return nat_netns(self.world.lab, self.nat_id)

    @property
    def private(self) -> str:
        return self.world.cloud.nat_gateways[self.nat_id].private_address

    def udp(self, netns: str, port: int, address: str = "0.0.0.0") -> socket.socket:
        sock = self.world.socket(netns, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.settimeout(2)
        return sock


@pytest.fixture
def behind(world: World) -> Behind:
    return Behind(world)


def test_the_internet_sees_the_elastic_ip_and_two_nodes_share_it(behind: Behind) -> None:
    world = behind.world
    server = behind.udp(f"{world.lab}-internet", 53, "8.8.8.8")
    senders = set()
    for node in ("node1", "node2"):
        client = behind.udp(world.node(node), 5000)
        client.sendto(node.encode(), ("8.8.8.8", 53))
        data, sender = server.recvfrom(100)
        assert (data, sender[0]) == (node.encode(), behind.eip["PublicIp"])
        server.sendto(b"to " + data, sender)
        assert client.recv(100) == b"to " + data, "each gets its own answer"
        senders.add(sender)
    assert len(senders) == 2, "one address, two ports"
    answer = world.ping(world.node("node1"), "8.8.8.8")
    assert answer is not None and answer.ttl == 63, "a NAT gateway is a hop"


def test_nothing_comes_in(behind: Behind) -> None:
    world = behind.world
    assert world.ping(f"{world.lab}-internet", behind.eip["PublicIp"], silence=True) is None
    assert world.ping(world.node("node1"), behind.private, silence=True) is None
    assert world.dropped(tables.DROP_NAT_INBOUND, behind.netns) == 2
    assert world.connect(f"{world.lab}-internet", behind.eip["PublicIp"], 22, silence=True) is None


def test_without_a_way_out_of_its_own_subnet_it_leads_nowhere(behind: Behind) -> None:
    world = behind.world
    behind.api("DeleteRoute", RouteTableId="rtb-vpc-1", DestinationCidrBlock="0.0.0.0/0")
    assert world.ping(world.node("node1"), "8.8.8.8", silence=True) is None


def test_a_private_gateway_has_no_way_through_the_internet_gateway(behind: Behind) -> None:
    world = behind.world
    made = behind.api("CreateNatGateway", SubnetId="subnet-a", ConnectivityType="private", ClientToken="two")
    behind.api("ReplaceRoute", RouteTableId=behind.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=made["NatGateway"]["NatGatewayId"])
    assert world.ping(world.node("node1"), "8.8.8.8", silence=True) is None
    assert world.dropped(tables.DROP_IGW_UNMAPPED, f"{world.lab}-igw") == 1


def test_a_deleted_gateway_leaves_a_blackhole_and_no_namespace(behind: Behind) -> None:
    world = behind.world
    behind.api("DeleteNatGateway", NatGatewayId=behind.nat_id)
    assert world.ping(world.node("node1"), "8.8.8.8", silence=True) is None
    assert not world.kernel.exists(behind.netns)
    assert world.book.drift(world.vpc) == ()
    assert not [item for item in world.kernel.observe(world.vpc) if behind.nat_id[-13:] in item.text]


def test_a_tcp_flow_that_it_does_not_know_is_reset(behind: Behind) -> None:
    world = behind.world
    server = world.listen(f"{world.lab}-internet", 8443)
    client = world.connect(world.node("node1"), "8.8.8.8", 8443)
    assert client is not None
    accepted = server.accept()[0]
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # nobody will answer its FIN
    world.open.append(accepted)
    accepted.sendall(b"hello")
    assert client.recv(10) == b"hello"
    world.kernel.forget_flows(behind.netns, ["10.10.32.10"])
    client.sendall(b"more")
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_what_is_too_big_is_said_by_the_gateway(behind: Behind) -> None:
    """Path MTU discovery works through NAT: 1500 towards the Internet, 8500 at the gateway itself."""
    for size, mtu_bytes, source in ((2000, 1500, behind.private), (8800, 8500, "10.10.32.1")):
        error = behind.world.ping(behind.world.node("node1"), "8.8.8.8", size=size, dont_fragment=True)
        assert error is not None
        assert (error.type, error.code, error.mtu, error.source) == (3, 4, mtu_bytes, source)


def test_only_tcp_udp_and_icmp_are_translated(behind: Behind) -> None:
    world = behind.world
    world.socket(world.node("node1"), socket.SOCK_RAW, 47).sendto(struct.pack("!HH", 0, 0x0800), ("8.8.8.8", 0))
    assert world.dropped(tables.DROP_NAT_PROTOCOL, behind.netns) == 1


def test_a_live_flow_moves_with_its_route(behind: Behind) -> None:
    """B4: from the NAT gateway to the internet gateway and back, each time from the next packet on."""
    world = behind.world
    server = behind.udp(f"{world.lab}-internet", 53, "8.8.8.8")
    client = behind.udp(world.node("node1"), 5000)
    own = behind.api("AllocateAddress")
    eni = world.cloud.enis_of("i-node1")[0].id
    behind.api("AssociateAddress", AllocationId=own["AllocationId"], NetworkInterfaceId=eni)
    for route, seen in (
        ({"NatGatewayId": behind.nat_id}, behind.eip), ({"GatewayId": "igw-vpc-1"}, own), ({"NatGatewayId": behind.nat_id}, behind.eip),
    ):  # fmt: skip
        behind.api("ReplaceRoute", RouteTableId=behind.table, DestinationCidrBlock="0.0.0.0/0", **route)
        client.sendto(b"q", ("8.8.8.8", 53))
        sender = server.recvfrom(10)[1]
        assert sender[0] == seen["PublicIp"]
        server.sendto(b"a", sender)
        assert client.recv(10) == b"a"
