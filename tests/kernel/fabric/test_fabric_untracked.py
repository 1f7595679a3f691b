"""What a change of rules does to flows under way: tracked ones go on, untracked ones end at once."""

from __future__ import annotations

import socket
import struct

import pytest
from builders_cloud import ALL_IN, a_cloud, changed, tcp, with_group, with_node
from fabric_world import World

from labnet.fabric import tables
from labnet.fabric.untracked import is_untracked
from labnet.model.cloud import SecurityGroupRule

pytestmark = pytest.mark.kernel


def udp(port: int, cidr: str = "0.0.0.0/0") -> SecurityGroupRule:
    return SecurityGroupRule("udp", port, port, cidr)


class Flow:
    """client (which lets nobody start) and server on UDP port 53, a datagram each way already."""

    def __init__(self, world: World, *ingress: SecurityGroupRule, **server: tuple[SecurityGroupRule, ...]) -> None:
        self.world = world
        cloud = with_group(with_group(a_cloud(world.lab), "sg-deaf"), "sg-dns", ingress=ingress, **server)
        cloud = with_node(with_node(cloud, "client", "10.10.0.10", groups=("sg-deaf",)), "server", "10.10.0.20", groups=("sg-dns",))
        world.go(cloud)
        self.ends = {}
        for name, address, port in (("client", "10.10.0.10", 5000), ("server", "10.10.0.20", 53)):
            self.ends[name] = world.socket(world.node(name), socket.SOCK_DGRAM)
            self.ends[name].bind((address, port))
            self.ends[name].settimeout(2)
        assert self.asks() and self.answers()

    def asks(self) -> bool:
        return self._passes("client", "server")

    def answers(self) -> bool:
        return self._passes("server", "client")

    def _passes(self, sender: str, receiver: str) -> bool:
        before = self._dropped()
        self.ends[sender].sendto(b"x", self.ends[receiver].getsockname())
        if self._dropped() > before:  # a veth hands a packet over within the call that sends it
            return False
        return self.ends[receiver].recvfrom(10)[0] == b"x"

    def _dropped(self) -> int:
        return self.world.dropped(tables.DROP_INGRESS) + self.world.dropped(tables.DROP_EGRESS)


def test_a_tracked_flow_outlives_its_rule(world: World) -> None:
    flow = Flow(world, udp(53, "10.10.0.0/16"))
    world.go(with_group(world.cloud, "sg-dns"))
    assert flow.asks() and flow.answers()


def test_an_untracked_flow_ends_with_its_rule(world: World) -> None:
    flow = Flow(world, udp(53))
    world.go(with_group(world.cloud, "sg-dns"))
    assert not flow.asks()


def test_it_goes_on_where_another_rule_still_allows_it(world: World) -> None:
    flow = Flow(world, udp(53))
    world.go(with_group(world.cloud, "sg-dns", ingress=(udp(53, "10.10.0.0/24"),)))
    assert flow.answers(), "without the client asking again: nothing was forgotten"
    assert flow.asks()
    world.go(with_group(world.cloud, "sg-dns"))
    assert flow.asks(), "it has been tracked since"


def test_it_goes_on_where_a_group_that_the_client_has_is_named(world: World) -> None:
    flow = Flow(world, udp(53))
    world.go(with_group(world.cloud, "sg-dns", ingress=(SecurityGroupRule("udp", 53, 53, group_id="sg-deaf"),)))
    assert flow.answers() and flow.asks()


def test_the_rule_for_answers_counts_too(world: World) -> None:
    flow = Flow(world, udp(53))
    world.go(with_group(world.cloud, "sg-dns", ingress=(udp(53),), egress=()))
    assert not flow.answers()


def test_without_a_full_way_back_it_is_tracked(world: World) -> None:
    flow = Flow(world, udp(53), egress=(udp(9),))
    world.go(with_group(world.cloud, "sg-dns", egress=(udp(9),)))
    assert flow.asks() and flow.answers()


def test_an_eni_that_gets_other_groups(world: World) -> None:
    flow = Flow(world, udp(53))
    world.go(changed(world.cloud, "eni-server-0", security_groups=("sg-deaf",)))
    assert not flow.asks()


def test_a_tcp_connection_and_only_that_one(world: World) -> None:
    cloud = with_group(with_group(a_cloud(world.lab), "sg-deaf"), "sg-web", ingress=(tcp(80), tcp(81, cidr="10.10.0.0/16")))
    cloud = with_node(cloud, "client", "10.10.0.10", groups=("sg-deaf",))
    world.go(with_node(cloud, "web", "10.10.0.20", groups=("sg-web",)))
    ends = {}
    for port in (80, 81):
        listener = world.listen(world.node("web"), port)
        client = world.connect(world.node("client"), "10.10.0.20", port)
        assert client is not None
        accepted, _ = listener.accept()
        world.open.append(accepted)
        for end in (client, accepted):  # what is never acknowledged must not keep the namespace
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.settimeout(0.3 if port == 80 else 2)
        ends[port] = client, accepted
    world.go(with_group(world.cloud, "sg-web"))
    for port in (80, 81):
        ends[port][0].send(b"x")
    assert ends[81][1].recv(10) == b"x", "81 was open for the VPC alone: tracked"
    with pytest.raises(TimeoutError):
        ends[80][1].recv(10)
    assert world.dropped(tables.DROP_INGRESS) >= 1


def test_icmp_is_always_tracked() -> None:
    assert is_untracked((ALL_IN,), (ALL_IN,), 6, 80)
    assert not is_untracked((tcp(80),), (tcp(1, 65535),), 6, 80), "the way back must be for every port"
    assert is_untracked((tcp(80),), (tcp(0, 65535),), 6, 80)
    assert not is_untracked((tcp(80),), (SecurityGroupRule("udp", 0, 65535, "0.0.0.0/0"),), 6, 80)
