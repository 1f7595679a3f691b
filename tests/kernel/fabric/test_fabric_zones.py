"""Zones with real packets: one that has failed carries nothing, and between two as many packets are lost as are set."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
from builders_cloud import a_cloud, entry, with_acl, with_eni, with_node, with_subnet
from fabric_world import World

from labnet.ec2 import limits, zone_faults
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.fabric import tables, zones
from labnet.model.cloud import CloudState
from labnet.model.names import nat_netns
from labnet.model.netstate import NftTable
from labnet.model.zones import ZoneLink, ZoneLinkSpec

pytestmark = pytest.mark.kernel

A, B, C = "us-west-2a", "us-west-2b", "us-west-2c"
PUBLIC = "203.0.113.10"
PACKETS = 400


def three_nodes(world: World) -> CloudState:
    """near and beside in zone a, far in zone b."""
    cloud = with_node(with_node(a_cloud(world.lab), "near", "10.10.0.10"), "beside", "10.10.0.11")
    return with_node(cloud, "far", "10.10.32.10", subnet="subnet-b", public={"10.10.32.10": PUBLIC})


def linked(cloud: CloudState, loss: float, *between: str) -> CloudState:
    return zone_faults.set_link(cloud, ZoneLink(ZoneLinkSpec(between, loss_percent=loss)))


def burst(world: World, node: str, address: str, ttl: int = 64) -> None:
    """So many datagrams to a port where nobody has to answer."""
    with world.kernel.open_socket(world.node(node), socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        for _ in range(PACKETS):
            sock.sendto(b"x", (address, 9))


def sink(world: World, node: str) -> socket.socket:
    """Takes what comes and says nothing."""
    sock = world.socket(world.node(node), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("0.0.0.0", 9))
    sock.setblocking(False)
    return sock


def waiting(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            sock.recv(10)
        except BlockingIOError:
            return count
        count += 1


def test_a_lab_that_sets_nothing_has_no_table(world: World) -> None:
    world.go(three_nodes(world))
    names = [item.name for item in world.kernel.observe(world.vpc) if isinstance(item, NftTable)]
    assert names and zones.TABLE not in names
    world.go(linked(world.cloud, 0, A, B))
    assert zones.TABLE not in [item.name for item in world.kernel.observe(world.vpc) if isinstance(item, NftTable)]


def test_half_of_the_packets_between_two_zones_are_lost_and_none_inside_one(world: World) -> None:
    world.go(three_nodes(world))
    assert world.ping(world.node("near"), "10.10.32.10") and world.ping(world.node("near"), "10.10.0.11"), "now the MACs are known"
    world.go(linked(world.cloud, 50, A, B))
    far, beside = sink(world, "far"), sink(world, "beside")
    for ttl in (64, 255):
        before = world.dropped(zones.loss_comment(B, A))
        burst(world, "near", "10.10.32.10", ttl)
        burst(world, "near", "10.10.0.11", ttl)
        arrived, lost = waiting(far), world.dropped(zones.loss_comment(B, A)) - before
        assert PACKETS * 0.3 < arrived < PACKETS * 0.7, f"TTL {ttl}"
        assert arrived + lost == PACKETS, "each is counted, one way or the other"
        assert waiting(beside) == PACKETS


def test_a_link_counts_in_both_directions_and_for_its_own_pair_alone(world: World) -> None:
    cloud = with_subnet(three_nodes(world), "subnet-c", "vpc-1", "10.10.64.0/19", C)
    world.go(linked(with_node(cloud, "third", "10.10.64.10", subnet="subnet-c"), 100, B, A))
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    assert world.ping(world.node("far"), "10.10.0.10", silence=True) is None
    assert world.dropped(zones.loss_comment(A, B)) == 2
    assert world.ping(world.node("third"), "10.10.32.10") and world.ping(world.node("third"), "10.10.0.10")
    assert world.ping(world.node("far"), "8.8.8.8"), "the Internet is in no zone"


def test_a_pair_of_its_own_goes_before_all_pairs(world: World) -> None:
    world.go(linked(three_nodes(world), 100))
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    world.go(linked(world.cloud, 0, A, B))
    assert world.ping(world.node("near"), "10.10.32.10")
    world.go(zone_faults.clear(world.cloud, [f"{A}:{B}"]))
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    world.go(zone_faults.clear(world.cloud, ["all-zones"]))
    assert world.ping(world.node("near"), "10.10.32.10")
    assert world.book.drift(world.vpc) == ()


def test_what_is_lost_is_lost_for_established_flows_too(world: World) -> None:
    world.go(three_nodes(world))
    server = world.listen(world.node("far"), 8080)
    client = world.connect(world.node("near"), "10.10.32.10", 8080)
    assert client is not None
    accepted = server.accept()[0]
    world.open.append(accepted)
    world.go(linked(world.cloud, 100))
    accepted.settimeout(0.25)
    client.sendall(b"hello")
    with pytest.raises(TimeoutError):
        accepted.recv(10)
    world.go(zone_faults.clear(world.cloud, ["all-zones"]))
    accepted.settimeout(10)
    assert accepted.recv(10) == b"hello", "TCP sends it again"


def test_an_acl_behind_it_still_knows_the_subnets(world: World) -> None:
    world.go(with_acl(linked(three_nodes(world), 1, A, B), "acl-x", entry(100, out=True), subnets=("subnet-b",)))
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    assert world.ping(world.node("near"), "10.10.0.11")


def test_a_failed_zone_carries_nothing_until_it_is_back(world: World) -> None:
    world.go(three_nodes(world))
    world.listen(world.vpc, 80, tables.IMDS_ADDRESS)
    node = world.node
    assert world.ping(node("far"), "10.10.0.10") and world.ping(f"{world.lab}-internet", PUBLIC)
    assert world.connect(node("far"), tables.IMDS_ADDRESS, 80)
    world.go(zone_faults.fail_zone(world.cloud, B, 0.0))
    assert world.ping(node("far"), "10.10.0.10", silence=True) is None
    assert world.ping(node("far"), "8.8.8.8", silence=True) is None
    assert world.dropped(zones.sent_comment(B)) == 2
    assert world.connect(node("far"), tables.IMDS_ADDRESS, 80, silence=True) is None, "what the router answers is gone too"
    assert world.ping(node("near"), "10.10.32.10", silence=True) is None
    assert world.ping(f"{world.lab}-internet", PUBLIC, silence=True) is None
    assert world.dropped(zones.received_comment(B)) == 2
    assert world.ping(node("near"), "10.10.0.11") and world.ping(node("beside"), "10.10.0.10"), "the other zone goes on"
    world.go(zone_faults.clear(world.cloud, [B]))
    assert world.ping(node("far"), "10.10.0.10") and world.ping(node("near"), "10.10.32.10") and world.ping(f"{world.lab}-internet", PUBLIC)
    assert world.book.drift(world.vpc) == ()


def test_inside_a_failed_zone_nobody_reaches_anybody(world: World) -> None:
    world.go(zone_faults.fail_zone(three_nodes(world), A, 0.0))
    assert world.ping(world.node("near"), "10.10.0.11", silence=True) is None
    assert world.dropped(zones.sent_comment(A)) == 1
    assert world.ping(world.node("far"), "8.8.8.8"), "the other zone has its own way out"


def test_an_eni_that_comes_while_its_zone_is_down_is_down_too(world: World) -> None:
    world.go(zone_faults.fail_zone(three_nodes(world), B, 0.0))
    world.go(with_eni(world.cloud, "far", 1, "10.10.32.77", subnet="subnet-b"))
    world.second_link("far", 1, "10.10.32.77", 19, "10.10.32.1")
    assert world.ping(world.node("near"), "10.10.32.77", silence=True) is None
    assert world.ping(world.node("far"), "10.10.0.10", src="10.10.32.77", silence=True) is None
    world.go(replace(world.cloud, zone_failures={}))
    assert world.ping(world.node("near"), "10.10.32.77")


def test_the_nat_gateway_of_a_failed_zone_is_gone_with_it(world: World) -> None:
    world.go(with_subnet(three_nodes(world), "subnet-c", "vpc-1", "10.10.64.0/19", C))

    def api(name: str, **params: object) -> dict[str, Any]:
        state, answer = execute(world.cloud, name, params, Context(0.0, limits.load()))
        world.go(state)
        return answer

    eip = api("AllocateAddress")["AllocationId"]
    nat = api("CreateNatGateway", SubnetId="subnet-c", AllocationId=eip, ClientToken="one")["NatGateway"]["NatGatewayId"]
    table = api("CreateRouteTable", VpcId="vpc-1")["RouteTable"]["RouteTableId"]
    api("AssociateRouteTable", RouteTableId=table, SubnetId="subnet-a")
    api("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    assert world.ping(world.node("near"), "8.8.8.8")
    world.go(zone_faults.fail_zone(world.cloud, C, 0.0))
    assert world.ping(world.node("near"), "8.8.8.8", silence=True) is None
    assert world.dropped(zones.received_comment(C)) == 1
    world.go(zone_faults.clear(world.cloud, [C]))
    assert world.ping(world.node("near"), "8.8.8.8")
    world.go(linked(world.cloud, 100, A, C))
    assert world.ping(world.node("near"), "8.8.8.8", silence=True) is None, "the way to another zone's NAT gateway is one between zones"
    assert world.kernel.exists(nat_netns(world.lab, nat))
