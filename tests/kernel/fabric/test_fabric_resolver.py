"""The resolver's addresses in the fabric: who reaches them, and that they never speak for the router."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, with_node
from fabric_world import ANSWER_S, SILENCE_S, TRIES, World, udp_frame

from labnet.fabric import tables
from labnet.model.cloud import CloudState

pytestmark = pytest.mark.kernel
BASE, LINK_LOCAL = "10.10.0.2", tables.RESOLVER_ADDRESS


def support(cloud: CloudState, on: bool) -> CloudState:
    return replace(cloud, vpcs={**cloud.vpcs, "vpc-1": replace(cloud.vpcs["vpc-1"], dns_support=on)})


@pytest.fixture
def one_by_one() -> Iterator[World]:
    """A VPC that was there before its subnets, as the API makes them: the services' addresses came before any router's."""
    with contextlib.closing(World(f"lnt-r{os.getpid() % 100_000}{os.urandom(2).hex()}")) as made:
        whole = with_node(a_cloud(made.lab), "node1", "10.10.0.10")
        made.go(replace(whole, subnets={}, enis={}, instances={}))
        made.go(whole)
        yield made


def heard(world: World, address: str, *, silence: bool = False) -> bool:
    """Does a query reach a server at the address? `silence` says that none is expected: asked once, with a short wait."""
    with contextlib.closing(world.socket(world.vpc, socket.SOCK_DGRAM)) as server:
        server.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        server.bind((address, 53))
        server.settimeout(SILENCE_S if silence else ANSWER_S / TRIES)
        with contextlib.closing(world.socket(world.node("node1"), socket.SOCK_DGRAM)) as client:
            for _attempt in range(1 if silence else TRIES):
                client.sendto(b"?", (address, 53))
                with contextlib.suppress(TimeoutError):
                    return server.recvfrom(10)[1][0] == "10.10.0.10"
    return False


def test_the_addresses_come_and_go_with_dns_support(one_by_one: World) -> None:
    assert heard(one_by_one, BASE) and heard(one_by_one, LINK_LOCAL)
    one_by_one.go(support(one_by_one.cloud, False))
    assert not heard(one_by_one, BASE, silence=True) and not heard(one_by_one, LINK_LOCAL, silence=True)
    one_by_one.go(support(one_by_one.cloud, True))
    assert heard(one_by_one, BASE) and heard(one_by_one, LINK_LOCAL)


def test_errors_carry_the_routers_address_whatever_addresses_were_there_first(one_by_one: World) -> None:
    error = one_by_one.ping(one_by_one.node("node1"), "8.8.8.8", size=1501 - 28, dont_fragment=True)
    assert error is not None and (error.source, error.type, error.code, error.mtu) == ("10.10.0.1", 3, 4, 1500)


def test_a_service_without_a_listener_says_so_itself(one_by_one: World) -> None:
    with contextlib.closing(one_by_one.socket(one_by_one.node("node1"), socket.SOCK_DGRAM)) as client:
        client.settimeout(2.0)
        client.connect((BASE, 99))
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(10)


def test_nobody_reaches_it_through_a_gateway(one_by_one: World) -> None:
    """Neither another VPC nor what stands behind a gateway: its address is in the VPC, and it is no ENI's."""
    behind = one_by_one.raw(f"{one_by_one.lab}-igw", "vpc")
    with contextlib.closing(one_by_one.socket(one_by_one.vpc, socket.SOCK_DGRAM)) as server:
        server.bind((BASE, 53))
        server.settimeout(SILENCE_S)
        behind.send(udp_frame("0e:00:00:00:00:02", tables.ROUTER_MAC, "8.8.8.8", BASE, 5353, 53))
        with pytest.raises(TimeoutError):
            server.recvfrom(10)
    assert one_by_one.dropped(tables.DROP_ROUTER) == 1
