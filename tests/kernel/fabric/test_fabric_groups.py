"""Security groups with real packets: gates of sender and receiver, groups that name groups, legs through a middlebox (B3)."""

from __future__ import annotations

import socket

import pytest
from builders_cloud import ALL_IN, ALL_OUT, a_cloud, changed, tcp, with_group, with_node, with_prefix_list
from fabric_world import World

from labnet.fabric import tables
from labnet.model.cloud import SecurityGroupRule
from labnet.model.names import eni_port
from labnet.model.netstate import NftElement, Route, Rule, Slice

pytestmark = pytest.mark.kernel


def test_tcp_is_refused_before_the_group_allows_it_and_flows_after(world: World) -> None:
    cloud = with_group(a_cloud(world.lab), "sg-closed")
    cloud = with_node(with_node(cloud, "node1", "10.10.0.10"), "node2", "10.10.0.20", groups=("sg-closed",))
    world.go(cloud)
    world.listen(world.node("node2"), 8080)
    node1 = world.node("node1")
    assert world.connect(node1, "10.10.0.20", 8080, silence=True) is None
    assert world.dropped(tables.DROP_INGRESS) >= 1
    world.go(with_group(world.cloud, "sg-closed", ingress=(tcp(8000, 8100),)))
    assert world.connect(node1, "10.10.0.20", 8080)
    assert world.ping(node1, "10.10.0.20", silence=True) is None, "TCP 8000-8100 is not ICMP"
    assert world.ping(world.node("node2"), "10.10.0.10"), "what the closed one starts is answered"


def test_egress_rules_hold_the_sender_back(world: World) -> None:
    cloud = with_group(a_cloud(world.lab), "sg-mute", ingress=(ALL_IN,), egress=(tcp(80, cidr="10.10.0.20/32"),))
    cloud = with_node(with_node(cloud, "node1", "10.10.0.10", groups=("sg-mute",)), "node2", "10.10.0.20")
    world.go(with_node(cloud, "node3", "10.10.0.30"))
    for node in ("node2", "node3"):
        world.listen(world.node(node), 80)
    assert world.connect(world.node("node1"), "10.10.0.20", 80)
    assert world.dropped(tables.DROP_EGRESS) == 0
    assert world.connect(world.node("node1"), "10.10.0.30", 80, silence=True) is None
    assert world.dropped(tables.DROP_EGRESS) >= 1
    assert world.ping(world.node("node2"), "10.10.0.10"), "answers of allowed flows pass"


def test_groups_of_an_eni_add_up_and_ranges_may_overlap(world: World) -> None:
    cloud = with_group(a_cloud(world.lab), "sg-one", ingress=(tcp(80, cidr="10.10.0.0/16"), tcp(1, 100, "10.10.0.0/24")))
    cloud = with_group(cloud, "sg-two", ingress=(tcp(443), SecurityGroupRule("icmp", 8, 0, "10.10.0.10/32")))
    cloud = with_node(with_node(cloud, "node1", "10.10.0.10"), "node2", "10.10.0.20", groups=("sg-one", "sg-two"))
    world.go(with_node(cloud, "node3", "10.10.0.30"))
    for port in (80, 90, 443, 444):
        world.listen(world.node("node2"), port)
    assert all(world.connect(world.node("node1"), "10.10.0.20", port) for port in (80, 90, 443))
    assert world.connect(world.node("node1"), "10.10.0.20", 444, silence=True) is None
    assert world.ping(world.node("node1"), "10.10.0.20"), "ICMP type 8 from one address"
    assert world.ping(world.node("node3"), "10.10.0.20", silence=True) is None, "and from no other"


def test_a_group_named_as_source_means_its_members(world: World) -> None:
    cloud = with_group(a_cloud(world.lab), "sg-web")
    cloud = with_group(cloud, "sg-db", ingress=(tcp(5432, group="sg-web"),))
    cloud = with_node(cloud, "web", "10.10.0.10", groups=("sg-web", "sg-open-vpc-1"))
    cloud = with_node(with_node(cloud, "other", "10.10.0.11"), "db", "10.10.0.20", groups=("sg-db",))
    world.go(cloud)
    world.listen(world.node("db"), 5432)
    assert world.connect(world.node("web"), "10.10.0.20", 5432)
    assert world.connect(world.node("other"), "10.10.0.20", 5432, silence=True) is None
    world.go(changed(world.cloud, "eni-other-0", security_groups=("sg-web",)))
    assert world.connect(world.node("other"), "10.10.0.20", 5432), "it has joined"
    world.go(changed(world.cloud, "eni-web-0", security_groups=("sg-open-vpc-1",)))
    assert world.connect(world.node("web"), "10.10.0.20", 5432, silence=True) is None, "it has left"


def test_a_group_named_as_destination_and_itself(world: World) -> None:
    itself = (SecurityGroupRule("-1", group_id="sg-own"),)
    cloud = with_group(a_cloud(world.lab), "sg-own", "vpc-1", itself, itself)
    for place, node in enumerate(("one", "two")):
        cloud = with_node(cloud, node, f"10.10.0.{10 + place}", groups=("sg-own",))
    world.go(with_node(cloud, "three", "10.10.0.30"))
    assert world.ping(world.node("one"), "10.10.0.11")
    assert world.ping(world.node("one"), "10.10.0.30", silence=True) is None
    assert world.dropped(tables.DROP_EGRESS) == 1


def test_other_protocols_and_their_numbers(world: World) -> None:
    cloud = with_group(a_cloud(world.lab), "sg-gre", ingress=(SecurityGroupRule("47", cidr="0.0.0.0/0"),))
    cloud = with_node(with_node(cloud, "node1", "10.10.0.10"), "node2", "10.10.0.20", groups=("sg-gre",))
    world.go(cloud)
    listener = world.socket(world.node("node2"), socket.SOCK_RAW, 47)
    listener.settimeout(2)
    for proto in (50, 47):
        world.socket(world.node("node1"), socket.SOCK_RAW, proto).sendto(b"\0\0\x08\0", ("10.10.0.20", 0))
    assert listener.recv(100)
    assert world.dropped(tables.DROP_INGRESS) == 1


def test_a_change_of_rules_touches_elements_only(world: World) -> None:
    cloud = with_group(a_cloud(world.lab), "sg-x", ingress=(tcp(80),))
    world.go(with_node(cloud, "node1", "10.10.0.10", groups=("sg-x",)))
    told: list[object] = []
    world.book.on_change = lambda netns, name, change: told.append(change.object)
    world.go(with_group(world.cloud, "sg-x", ingress=(tcp(80), tcp(81))))
    assert told
    assert all(isinstance(item, NftElement) and item.set == tables.SG_INGRESS for item in told)


def test_a_reply_through_a_middlebox_is_judged_by_the_middleboxs_groups(world: World) -> None:
    """B3: one conntrack says `established` on both legs, but the leg box → node1 never saw the flow start."""
    cloud = with_group(a_cloud(world.lab), "sg-out-only")
    cloud = with_group(cloud, "sg-closed-both", ingress=(), egress=(ALL_OUT,))
    cloud = with_node(with_node(cloud, "node1", "10.10.0.10", groups=("sg-out-only",)), "node2", "10.10.0.20")
    world.go(with_node(cloud, "box", "10.10.0.30", check=False, groups=("sg-closed-both",)))
    port = eni_port("eni-box-0")
    # in the fabric: what node2 sends to node1 goes to the middlebox, what the middlebox sends goes on
    world.book.set([(world.vpc, Slice("test", (
        Route("10.10.0.10/32", dev=port, via="10.10.0.30", onlink=True, table=99),
    )))])  # fmt: skip
    world.book.set([(world.vpc, Slice("test-rule", (Rule(100, 99, iif=eni_port("eni-node2-0")),)))])
    assert world.ping(world.node("node1"), "10.10.0.20", silence=True) is None
    assert world.dropped(tables.DROP_INGRESS) >= 1
    world.go(with_group(world.cloud, "sg-closed-both", ingress=(ALL_IN,), egress=(ALL_OUT,)))
    assert world.ping(world.node("node1"), "10.10.0.20", silence=True) is None, "node1 allows nothing in, and knows no flow of the box"
    world.go(with_group(world.cloud, "sg-out-only", ingress=(ALL_IN,), egress=(ALL_OUT,)))
    assert world.ping(world.node("node1"), "10.10.0.20"), "now both legs are allowed by rule"


def test_a_flow_that_starts_through_a_middlebox_is_answered_through_it(world: World) -> None:
    """B3: both legs were seen at the start, so the answers pass although nothing is allowed in."""
    cloud = with_group(a_cloud(world.lab), "sg-out-only")
    cloud = with_node(with_node(cloud, "node1", "10.10.0.10", groups=("sg-out-only",)), "node2", "10.10.0.20")
    world.go(with_node(cloud, "box", "10.10.0.30", check=False))
    port = eni_port("eni-box-0")
    world.book.set([(world.vpc, Slice("test", (
        Route("10.10.0.10/32", dev=port, via="10.10.0.30", onlink=True, table=99), Rule(100, 99, iif=eni_port("eni-node2-0")),
        Route("10.10.0.20/32", dev=port, via="10.10.0.30", onlink=True, table=98), Rule(101, 98, iif=eni_port("eni-node1-0")),
    )))])  # fmt: skip
    assert world.ping(world.node("node1"), "10.10.0.20")
    world.ping(world.node("node2"), "10.10.0.10", silence=True)
    assert world.dropped(tables.DROP_INGRESS) >= 1, "node1 lets nobody start"


def test_no_group_no_packet(world: World) -> None:
    cloud = with_node(with_node(a_cloud(world.lab), "node1", "10.10.0.10", groups=()), "node2", "10.10.0.20")
    world.go(cloud)
    assert world.ping(world.node("node1"), "10.10.0.20", silence=True) is None
    assert world.dropped(tables.DROP_EGRESS) == 1



def test_remembered_legs_are_no_drift(world: World) -> None:
    """What the kernel remembers of flows is not state that anybody planned."""
    world.go(with_node(with_node(a_cloud(world.lab), "node1", "10.10.0.10"), "box", "10.10.0.30", check=False))
    assert world.ping(world.node("node1"), "10.10.0.30")
    assert "ct id" in world.kernel.run(world.vpc, ["nft", "list", "set", "ip", "vpc", "legs"]).stdout
    assert world.book.drift(world.vpc) == ()
    assert not [item for item in world.book.foreign(world.vpc) if isinstance(item, NftElement)]


def test_a_prefix_list_means_its_blocks_and_follows_them(world: World) -> None:
    rule = SecurityGroupRule("tcp", 80, 80, prefix_list_id="pl-1")
    cloud = with_group(a_cloud(world.lab), "sg-web", ingress=(rule,))
    cloud = with_node(with_node(cloud, "one", "10.10.0.10"), "two", "10.10.0.11")
    world.go(with_prefix_list(with_node(cloud, "web", "10.10.0.20", groups=("sg-web",)), "pl-1", "10.10.0.10/32", "10.10.0.0/30"))
    world.listen(world.node("web"), 80)
    assert world.connect(world.node("one"), "10.10.0.20", 80)
    assert world.connect(world.node("two"), "10.10.0.20", 80, silence=True) is None
    world.go(with_prefix_list(world.cloud, "pl-1", "10.10.0.11/32"))
    assert world.connect(world.node("two"), "10.10.0.20", 80)
    assert world.connect(world.node("one"), "10.10.0.20", 80, silence=True) is None
    mute = with_group(world.cloud, "sg-mute", egress=(SecurityGroupRule("-1", prefix_list_id="pl-2"),))
    world.go(with_prefix_list(changed(mute, "eni-two-0", security_groups=("sg-mute",)), "pl-2", "10.10.0.30/32"))
    assert world.connect(world.node("two"), "10.10.0.20", 80, silence=True) is None
    world.go(with_prefix_list(world.cloud, "pl-2", "10.10.0.16/28"))
    assert world.connect(world.node("two"), "10.10.0.20", 80), "as a destination too"
    assert world.book.drift(world.vpc) == ()
