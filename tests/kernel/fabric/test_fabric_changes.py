"""What moves is forgotten (B4), failures leave all as before, many ports are quick, and what is planned is what is there."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, assigned, changed, tcp, terminated, unassigned, with_eni, with_group, with_node
from builders_routes import routing_steps
from fabric_world import World

from labnet.errors import KernelError
from labnet.fabric import tables
from labnet.fabric.plan import plan_all
from labnet.fabric.reconcile import Fabric
from labnet.kernel.slices import SliceBook
from labnet.model.cloud import SecurityGroupRule
from labnet.model.netstate import Addr, KernelObject, Link, NftElement, NftPortChain, Route, Slice

pytestmark = pytest.mark.kernel
DNS = SecurityGroupRule("udp", 53, 53, "10.10.0.0/16")


def planned(world: World) -> set[KernelObject]:
    """What the VPC holds, less what the kernel adds in its own time (a link's IPv6 address is there after a second or two)."""
    return {item for item in world.kernel.observe(world.vpc) if not item.derived}


def test_a_flow_to_an_address_that_moved_is_judged_anew(world: World) -> None:
    """B4: the old flow's state must not carry it past the groups of the new owner. The client asks by the router: no stale MAC."""
    cloud = with_group(a_cloud(world.lab), "sg-closed")
    cloud = with_node(with_node(cloud, "client", "10.10.32.10", subnet="subnet-b"), "one", "10.10.0.20")
    cloud = with_node(assigned(cloud, "eni-one-0", "10.10.0.50"), "two", "10.10.0.30", groups=("sg-closed",))
    world.go(cloud)
    sockets = {}
    for node in ("one", "two"):
        world.also(world.node(node), Addr("lo", "10.10.0.50", 32))
        sockets[node] = world.socket(world.node(node), socket.SOCK_DGRAM)
        sockets[node].bind(("10.10.0.50", 9))
        sockets[node].settimeout(2)
    client = world.socket(world.node("client"), socket.SOCK_DGRAM)
    client.bind(("10.10.32.10", 5000))
    client.settimeout(2)
    client.sendto(b"1", ("10.10.0.50", 9))
    assert sockets["one"].recvfrom(10)[0] == b"1"
    sockets["one"].sendto(b"answer", ("10.10.32.10", 5000))
    client.recvfrom(10)
    world.go(assigned(unassigned(world.cloud, "eni-one-0", "10.10.0.50"), "eni-two-0", "10.10.0.50"))
    client.sendto(b"2", ("10.10.0.50", 9))
    assert world.dropped(tables.DROP_INGRESS) == 1
    world.go(changed(world.cloud, "eni-two-0", security_groups=("sg-open-vpc-1",)))
    client.sendto(b"3", ("10.10.0.50", 9))
    assert sockets["two"].recvfrom(10)[0] == b"3"


def test_a_swap_of_addresses_in_one_change(world: World) -> None:
    cloud = with_node(with_node(a_cloud(world.lab), "one", "10.10.0.10"), "two", "10.10.0.20")
    world.go(assigned(assigned(cloud, "eni-one-0", "10.10.0.50"), "eni-two-0", "10.10.0.51"))
    swapped = unassigned(unassigned(world.cloud, "eni-one-0", "10.10.0.50"), "eni-two-0", "10.10.0.51")
    world.go(assigned(assigned(swapped, "eni-one-0", "10.10.0.51"), "eni-two-0", "10.10.0.50"))
    assert world.book.drift(world.vpc) == ()
    world.also(world.node("one"), Addr("lo", "10.10.0.51", 32))
    assert world.ping(world.node("two"), "10.10.0.51")


def test_what_is_planned_is_what_the_kernel_holds(world: World) -> None:
    cloud = with_node(a_cloud(world.lab), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"})
    cloud = with_eni(cloud, "node1", 1, "10.10.0.11", "10.10.0.12", prefixes=("10.10.8.0/28",))
    cloud = with_group(with_node(cloud, "node2", "10.10.32.10", subnet="subnet-b", check=False, groups=("sg-x",)), "sg-x")
    world.go(cloud)
    for netns, slices in plan_all(cloud).items():
        assert world.book.drift(netns) == (), netns
        assert {part.name: part for part in slices} == world.book.slices(netns)
        assert not world.book.foreign(netns), netns


def test_changes_one_by_one_end_where_the_whole_plan_ends(world: World) -> None:
    one = with_node(a_cloud(world.lab), "node1", "10.10.0.10")
    for step in (
        one,
        two := with_eni(one, "node1", 1, "10.10.0.11", prefixes=("10.10.8.0/28",)),
        three := assigned(two, "eni-node1-1", "10.10.0.12"),
        four := with_node(three, "node2", "10.10.0.20", public={"10.10.0.20": "203.0.113.2"}),
        five := changed(four, "eni-node1-1", prefixes=()),
        six := with_group(changed(five, "eni-node2-0", security_groups=("sg-y",)), "sg-y"),
        terminated(six, "node1"),
    ):
        world.go(step)
        for netns, slices in plan_all(step).items():
            assert {part.name: part for part in slices} == world.book.slices(netns)
            assert world.book.drift(netns) == ()
    assert world.node("node1") not in world.kernel.known
    left = world.kernel.observe(world.vpc)
    assert not [item for item in left if "node1" in item.text], "nothing of a terminated node stays in the fabric"
    assert len(left.all(NftPortChain)) == 2


def test_routes_gateways_and_peerings_end_where_the_whole_plan_ends(world: World) -> None:
    for step in routing_steps(a_cloud(world.lab)):
        world.go(step)
        assert set(world.kernel.known) == set(plan_all(step))
        for netns, slices in plan_all(step).items():
            assert {part.name: part for part in slices} == world.book.slices(netns)
            assert world.book.drift(netns) == ()


def test_a_terminated_node_is_gone_and_its_address_can_be_given_again(world: World) -> None:
    world.go(with_node(with_node(a_cloud(world.lab), "node1", "10.10.0.10"), "node2", "10.10.0.20"))
    world.go(terminated(world.cloud, "node2"))
    assert not world.kernel.exists(world.node("node2"))
    world.go(with_node(world.cloud, "node3", "10.10.0.20"))
    assert world.ping(world.node("node1"), "10.10.0.20")


def test_without_its_gateway_the_vpc_has_no_internet_and_with_it_again(world: World) -> None:
    world.go(with_node(a_cloud(world.lab), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"}))
    gateway = world.cloud.internet_gateways["igw-vpc-1"]
    with_gateway = world.cloud
    world.go(replace(world.cloud, internet_gateways={gateway.id: replace(gateway, vpc_id=None)}))
    assert not world.kernel.exists(f"{world.lab}-igw")
    assert not world.kernel.exists(f"{world.lab}-internet")
    assert world.ping(world.node("node1"), "8.8.8.8", silence=True) is None
    world.go(with_gateway)
    assert world.ping(world.node("node1"), "8.8.8.8")


def test_a_failed_change_leaves_everything_as_before(world: World) -> None:
    world.go(with_node(a_cloud(world.lab), "node1", "10.10.0.10"))
    world.book.set([(world.vpc, Slice("test", (Route("10.10.0.66/32", type="blackhole"),)))])
    before = planned(world)
    known = set(world.kernel.known)
    # a scenario's sysctl that no kernel has
    world.fabric._sysctls = {"node2": {"net.ipv4.no_such_thing": "1"}}
    with pytest.raises(KernelError) as caught:
        world.go(with_node(world.cloud, "node2", "10.10.0.20"))
    assert caught.value.errno == errno.ENOENT
    assert set(world.kernel.known) == known
    assert planned(world) == before
    world.fabric._sysctls = {}
    world.go(with_node(world.cloud, "node2", "10.10.0.20"))
    assert world.ping(world.node("node1"), "10.10.0.20")


def test_a_failure_after_the_change_takes_the_change_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.go(assigned(with_node(a_cloud(world.lab), "node1", "10.10.0.10"), "eni-node1-0", "10.10.0.11"))
    before = planned(world)

    def refuse(netns: str, addresses: Iterable[str]) -> int:
        raise KernelError("forget flows", netns, "conntrack", errno.EPERM)

    monkeypatch.setattr(world.kernel, "forget_flows", refuse)
    with pytest.raises(KernelError):
        world.go(unassigned(world.cloud, "eni-node1-0", "10.10.0.11"))
    assert planned(world) == before
    assert world.book.drift(world.vpc) == ()


def test_an_earlier_process_can_be_taken_over(world: World) -> None:
    world.go(with_node(a_cloud(world.lab), "node1", "10.10.0.10"))
    book = SliceBook(world.kernel)
    fabric = Fabric(world.lab, world.kernel, book)
    fabric.assume(world.cloud)
    for netns in fabric.namespaces(world.cloud):
        assert book.drift(netns) == ()
    fabric(world.cloud, grown := with_node(world.cloud, "node2", "10.10.0.20"))
    world.cloud = grown
    assert world.ping(world.node("node1"), "10.10.0.20")


def test_two_hundred_enis(world: World) -> None:
    """A hundred nodes with two ENIs each, in one call and without any rule of their own."""
    cloud = a_cloud(world.lab)
    for number in range(100):
        cloud = with_node(cloud, f"n{number}", f"10.10.1.{number + 4}")
        cloud = with_eni(cloud, f"n{number}", 1, f"10.10.2.{number + 4}", f"10.10.3.{number + 4}")
    world.go(cloud)
    state = world.kernel.observe(world.vpc)
    assert len(state.all(NftPortChain)) == 400
    assert len([item for item in state.all(Link) if item.name.startswith("p")]) == 200
    assert len([item for item in state.all(NftElement) if item.set.startswith("sg_")]) == 2
    for number in (0, 50, 99):
        assert world.ping(world.node(f"n{number}"), f"10.10.1.{(number + 1) % 100 + 4}")
    told: list[object] = []
    world.book.on_change = lambda netns, name, change: told.append(change)
    world.go(assigned(world.cloud, "eni-n7-1", "10.10.4.4"))
    assert len(told) == 6, "route, neighbour, four elements"



@pytest.mark.parametrize("how", ["terminated", "moved to another node"])
def test_a_flow_does_not_outlive_the_eni_that_it_went_to(world: World, how: str) -> None:
    """B4: neither a deleted ENI's successor nor an ENI on its new node inherits what was tracked for the old one."""
    cloud = with_group(with_group(a_cloud(world.lab), "sg-closed"), "sg-narrow", ingress=(tcp(1, 65535, "10.10.0.0/16"), DNS))
    cloud = with_node(with_node(cloud, "client", "10.10.32.10", subnet="subnet-b"), "old", "10.10.0.20", groups=("sg-narrow",))
    world.go(with_node(cloud, "other", "10.10.0.40"))
    server = world.socket(world.node("old"), socket.SOCK_DGRAM)
    client = world.socket(world.node("client"), socket.SOCK_DGRAM)
    for sock, address, port in ((server, "10.10.0.20", 53), (client, "10.10.32.10", 5000)):
        sock.bind((address, port))
        sock.settimeout(2)
    client.sendto(b"1", ("10.10.0.20", 53))
    assert server.recvfrom(10)[0] == b"1"
    server.sendto(b"2", ("10.10.32.10", 5000))
    assert client.recvfrom(10)[0] == b"2"
    if how == "terminated":
        server.close()
        world.go(terminated(world.cloud, "old"))
        world.go(with_node(world.cloud, "new", "10.10.0.20", groups=("sg-closed",)))
    else:
        eni = world.cloud.enis["eni-old-0"]
        assert eni.attachment is not None
        plug = replace(eni.attachment, instance_id="i-other", device_index=1)
        world.go(changed(world.cloud, "eni-old-0", attachment=plug, security_groups=("sg-closed",)))
    client.sendto(b"3", ("10.10.0.20", 53))
    assert world.dropped(tables.DROP_INGRESS) == 1
