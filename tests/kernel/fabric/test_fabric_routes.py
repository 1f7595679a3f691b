"""Route tables with real packets: by the sender's subnet, longest prefix, blackholes, middleboxes, at once (S8, B3)."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, changed, terminated, with_eni, with_group, with_node, with_prefix_list, with_subnet, with_table, with_vpc
from fabric_world import SILENCE_S, World

from labnet.fabric import tables
from labnet.fabric.routing import PRIORITY
from labnet.model.cloud import CloudState
from labnet.model.netstate import Addr, Rule

pytestmark = pytest.mark.kernel
MAIN, OUT = "rtb-vpc-1", {"0.0.0.0/0": "igw-vpc-1"}
PUBLIC_1, PUBLIC_2 = "203.0.113.10", "203.0.113.20"


def two_subnets(lab: str) -> CloudState:
    """node1 in subnet-a and node2 in subnet-b, both with a public address."""
    cloud = with_node(a_cloud(lab), "node1", "10.10.0.10", public={"10.10.0.10": PUBLIC_1})
    return with_node(cloud, "node2", "10.10.32.10", subnet="subnet-b", public={"10.10.32.10": PUBLIC_2})


def with_box(lab: str, *, groups: tuple[str, ...] | None = None, check: bool = False) -> CloudState:
    """And a middlebox in a subnet of its own."""
    cloud = with_subnet(two_subnets(lab), "subnet-c", "vpc-1", "10.10.64.0/24")
    return with_node(cloud, "box", "10.10.64.10", subnet="subnet-c", groups=groups, check=check)


def test_a_subnet_has_its_own_table_or_the_main_one_at_once(world: World) -> None:
    world.go(two_subnets(world.lab))
    assert world.ping(world.node("node2"), "8.8.8.8")
    world.go(own := with_table(world.cloud, "rtb-private", "vpc-1", {}, "subnet-b"))
    assert world.ping(world.node("node2"), "8.8.8.8", silence=True) is None, "its own table has no way out"
    assert world.ping(world.node("node1"), "8.8.8.8"), "the main one has"
    assert world.ping(world.node("node2"), "10.10.0.10"), "the local route is in every table"
    world.go(with_table(own, "rtb-private", "vpc-1", OUT, "subnet-b"))
    assert world.ping(world.node("node2"), "8.8.8.8")
    world.go(with_table(with_table(world.cloud, "rtb-private", "vpc-1", OUT), MAIN, "vpc-1", {}, main=True))
    assert world.ping(world.node("node2"), "8.8.8.8", silence=True) is None, "disassociated, and the main table leads nowhere now"
    assert world.book.drift(world.vpc) == ()


def test_the_longest_prefix_wins_and_a_blackhole_is_silence(world: World) -> None:
    cloud = with_table(two_subnets(world.lab), MAIN, "vpc-1", {**OUT, "8.8.0.0/16": "nat-gone", "8.8.8.0/24": "igw-vpc-1"}, main=True)
    world.go(cloud)
    assert world.ping(world.node("node1"), "8.8.8.8")
    assert world.ping(world.node("node1"), "1.1.1.1")
    world.go(with_table(cloud, MAIN, "vpc-1", {**OUT, "8.8.0.0/16": "nat-gone"}, main=True))
    assert world.ping(world.node("node1"), "8.8.8.8", silence=True) is None
    assert world.ping(world.node("node1"), "1.1.1.1")


def test_a_route_to_a_prefix_list_leads_to_each_of_its_blocks_at_once(world: World) -> None:
    """The list changes, and packets obey; a route of its own to the same block comes first."""
    node = world.node("node1")
    cloud = with_table(two_subnets(world.lab), MAIN, "vpc-1", {"pl-1": "igw-vpc-1"}, main=True)
    world.go(with_prefix_list(cloud, "pl-1", "8.8.8.0/24"))
    assert world.ping(node, "8.8.8.8") and world.ping(node, "1.1.1.1", silence=True) is None
    world.go(with_prefix_list(world.cloud, "pl-1", "1.1.1.0/24"))
    assert world.ping(node, "1.1.1.1") and world.ping(node, "8.8.8.8", silence=True) is None
    world.go(with_prefix_list(world.cloud, "pl-1", "1.1.1.0/24", "8.8.8.8/32"))
    assert world.ping(node, "1.1.1.1") and world.ping(node, "8.8.8.8")
    world.go(with_table(world.cloud, MAIN, "vpc-1", {"pl-1": "igw-vpc-1", "1.1.1.0/24": "nat-gone"}, main=True))
    assert world.ping(node, "1.1.1.1", silence=True) is None and world.ping(node, "8.8.8.8")
    world.go(with_prefix_list(world.cloud, "pl-1", "1.1.1.1/32"))
    assert world.ping(node, "1.1.1.1"), "the longer prefix, of whatever kind"
    assert world.book.drift(world.vpc) == ()


def test_every_block_of_a_vpc_is_local(world: World) -> None:
    cloud = with_vpc(world.cloud, "vpc-1", "10.10.0.0/16", "10.20.0.0/16")
    cloud = with_subnet(with_subnet(cloud, "subnet-a", "vpc-1", "10.10.0.0/24"), "subnet-b", "vpc-1", "10.20.0.0/24")
    world.go(with_node(with_node(cloud, "node1", "10.10.0.10"), "node2", "10.20.0.10", subnet="subnet-b"))
    assert world.ping(world.node("node1"), "10.20.0.10")


def test_a_route_more_specific_than_local_leads_through_a_middlebox(world: World) -> None:
    """Both ways, one hop more; its check must be off; when the instance is gone, the route is a blackhole."""
    world.go(with_box(world.lab))
    to_b, to_a = {"10.10.32.0/19": "eni-box-0"}, {"10.10.0.0/19": "eni-box-0"}
    direct = world.ping(world.node("node1"), "10.10.32.10")
    assert direct is not None and direct.ttl == 64
    world.go(with_table(with_table(world.cloud, "rtb-a", "vpc-1", to_b, "subnet-a"), "rtb-b", "vpc-1", to_a, "subnet-b"))
    through = world.ping(world.node("node1"), "10.10.32.10")
    assert through is not None and through.ttl == 63, "the answer came through the box"
    world.go(with_eni(world.cloud, "box", 0, "10.10.64.10", subnet="subnet-c", check=True))
    assert world.ping(world.node("node1"), "10.10.32.10", silence=True) is None
    assert world.dropped(tables.DROP_DESTINATION) == 1
    world.go(terminated(world.cloud, "box"))
    assert world.ping(world.node("node1"), "10.10.32.10", silence=True) is None, "blackhole"
    assert world.dropped(tables.DROP_DESTINATION) == 1
    world.go(with_table(with_table(world.cloud, "rtb-a", "vpc-1", {}, "subnet-a"), "rtb-b", "vpc-1", {}, "subnet-b"))
    assert world.ping(world.node("node1"), "10.10.32.10")


def test_neighbours_of_one_subnet_never_meet_the_router(world: World) -> None:
    cloud = with_node(with_box(world.lab), "node3", "10.10.0.30")
    world.go(with_table(cloud, "rtb-a", "vpc-1", {"10.10.0.0/19": "eni-box-0"}, "subnet-a"))
    answer = world.ping(world.node("node1"), "10.10.0.30")
    assert answer is not None and answer.ttl == 64


def test_a_reply_through_a_middlebox_that_never_saw_the_flow_is_judged_there(world: World) -> None:
    """B3: A → B direct, B → F → A, and F's group lets nothing in."""
    cloud = with_group(with_box(world.lab, groups=("sg-closed",)), "sg-closed")
    world.go(with_table(cloud, "rtb-b", "vpc-1", {"10.10.0.0/19": "eni-box-0"}, "subnet-b"))
    assert world.ping(world.node("node1"), "10.10.32.10", silence=True) is None
    assert world.dropped(tables.DROP_INGRESS) == 1
    world.go(changed(world.cloud, "eni-box-0", security_groups=("sg-open-vpc-1",)))
    assert world.ping(world.node("node1"), "10.10.32.10")


def test_a_live_flow_follows_its_route(world: World) -> None:
    """B4: what is established stays on no way that the table does not name any more."""
    world.go(with_box(world.lab))
    server = world.socket(world.node("node2"), socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 9))
    server.settimeout(2)
    client = world.socket(world.node("node1"), socket.SOCK_DGRAM)
    client.bind(("10.10.0.10", 5000))
    client.settimeout(2)
    for number, routes in enumerate(({}, {"10.10.32.0/19": "eni-box-0"}, {})):
        world.go(with_table(world.cloud, "rtb-a", "vpc-1", routes, "subnet-a"))
        seen = world.raw(world.node("box"), "eth0", 0x0800)
        client.sendto(b"%d" % number, ("10.10.32.10", 9))
        assert server.recvfrom(9)[0] == b"%d" % number
        server.sendto(b"back", ("10.10.0.10", 5000))
        client.recvfrom(9)
        assert len(received(seen)) == bool(routes), "one packet came through the box, or none"


def received(sock: socket.socket) -> list[bytes]:
    """What a packet socket got so far."""
    sock.settimeout(SILENCE_S)
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            found.append(sock.recv(2000))
    return found


def test_what_comes_from_the_internet_needs_no_route_and_its_answer_does(world: World) -> None:
    world.go(with_table(two_subnets(world.lab), "rtb-b", "vpc-1", {}, "subnet-b"))
    assert world.ping(f"{world.lab}-internet", PUBLIC_1)
    assert world.ping(f"{world.lab}-internet", PUBLIC_2, silence=True) is None


def test_a_gateway_that_is_detached_leaves_a_blackhole_and_works_when_it_is_back(world: World) -> None:
    world.go(two_subnets(world.lab))
    gateway, whole = world.cloud.internet_gateways["igw-vpc-1"], world.cloud
    world.go(replace(whole, internet_gateways={gateway.id: replace(gateway, vpc_id=None)}))
    assert world.ping(world.node("node1"), "8.8.8.8", silence=True) is None
    world.go(whole)
    assert world.ping(world.node("node1"), "8.8.8.8")


def test_one_rule_a_table_whatever_the_number_of_enis(world: World) -> None:
    cloud = with_table(a_cloud(world.lab), "rtb-b", "vpc-1", OUT, "subnet-b")
    for number in range(30):
        cloud = with_node(cloud, f"n{number}", f"10.10.{32 * (number % 2)}.{number + 4}", subnet=f"subnet-{'ab'[number % 2]}")
    world.go(cloud)
    assert len([rule for rule in world.kernel.observe(world.vpc).all(Rule) if rule.priority == PRIORITY]) == 2
    told: list[object] = []
    world.book.on_change = lambda netns, name, change: told.append(change)
    world.go(with_table(cloud, "rtb-b", "vpc-1", {}, "subnet-b"))
    assert len(told) == 1, "one route"


def test_a_pod_network_behind_an_instance(world: World) -> None:
    """kubenet's kind of route: a block outside the VPC leads to an instance."""
    cloud = with_table(with_box(world.lab), MAIN, "vpc-1", {**OUT, "100.96.1.0/24": "eni-box-0"}, main=True)
    world.go(cloud)
    world.also(world.node("box"), Addr("lo", "100.96.1.5", 32))
    assert world.ping(world.node("node1"), "100.96.1.5")
    assert world.ping(world.node("node2"), "100.96.1.5")
