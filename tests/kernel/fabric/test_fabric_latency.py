"""Latency between zones with real packets: never less than was asked for, in order, nothing lost, and gone with the process."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, with_node, with_subnet
from fabric_world import World

from labnet.ec2 import zone_faults
from labnet.errors import KernelError
from labnet.fabric.zones import queues_of
from labnet.kernel.delay import DelayProcess
from labnet.model.cloud import CloudState
from labnet.model.zones import ZoneLink, ZoneLinkSpec

pytestmark = pytest.mark.kernel

A, B, C = "us-west-2a", "us-west-2b", "us-west-2c"
NETLINK_NETFILTER = 12
NEAR, BESIDE, FAR = "10.10.0.10", "10.10.0.11", "10.10.32.10"


class Held:
    """near and beside in zone a, far in zone b, and a process that holds packets back as the cloud says."""

    def __init__(self, world: World) -> None:
        self.world, self.process = world, DelayProcess()
        cloud = with_node(with_node(a_cloud(world.lab), "near", NEAR), "beside", BESIDE)
        world.go(with_node(cloud, "far", FAR, subnet="subnet-b"))

    def go(self, cloud: CloudState) -> None:
        self.world.go(cloud)
        with self.world.kernel.open_socket(self.world.vpc, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
            self.process.hold(self.world.vpc, queues_of(cloud, "vpc-1"), sock)

    def set(self, round_trip_ms: float, *between: str) -> None:
        """Also longer than a user may: what must not wait is told from what waits by seconds."""
        spec = ZoneLinkSpec(between, round_trip_ms)
        self.go(replace(self.world.cloud, zone_links={**self.world.cloud.zone_links, spec.id: ZoneLink(spec)}))

    def round_trip_ms(self, source: str, address: str, ttl: int = 64) -> float:
        """The quickest of three: a first one may have been lost and sent again."""
        taken = []
        for _ in range(3):
            began = time.monotonic()
            assert self.world.ping(self.world.node(source), address, ttl=ttl), (source, address)
            taken.append((time.monotonic() - began) * 1000)
        return min(taken)


@pytest.fixture
def held(world: World) -> Iterator[Held]:
    made = Held(world)
    try:
        yield made
    finally:
        made.process.end()


@pytest.mark.parametrize("ttl", [64, 255])
def test_a_round_trip_takes_as_long_as_is_set_at_least(held: Held, ttl: int) -> None:
    held.set(400, B, A)
    assert held.round_trip_ms("near", FAR, ttl) >= 400
    assert held.round_trip_ms("far", NEAR, ttl) >= 400
    assert held.round_trip_ms("near", BESIDE, ttl) < 400, "inside a zone nobody waits: a veth takes a tenth of a millisecond"


def test_each_pair_has_its_own_and_another_one_when_it_is_set_anew(held: Held) -> None:
    cloud = with_subnet(held.world.cloud, "subnet-c", "vpc-1", "10.10.64.0/19", C)
    held.go(with_node(cloud, "third", "10.10.64.10", subnet="subnet-c"))
    held.set(200, A, B)
    held.set(550, A, C)
    assert 200 <= held.round_trip_ms("near", FAR) < 550 <= held.round_trip_ms("near", "10.10.64.10")
    assert held.round_trip_ms("far", "10.10.64.10") < 200
    held.set(300, A, B)
    assert held.round_trip_ms("near", FAR) >= 300
    held.go(zone_faults.clear(held.world.cloud, [f"{A}:{B}", f"{A}:{C}"]))
    assert held.round_trip_ms("near", FAR) < 200
    assert held.world.book.drift(held.world.vpc) == ()


def test_packets_leave_in_the_order_in_which_they_came_and_none_is_lost(held: Held) -> None:
    world, count = held.world, 500
    held.set(20)
    assert world.ping(world.node("near"), FAR), "now the MACs are known"
    server, client = world.socket(world.node("far"), socket.SOCK_DGRAM), world.socket(world.node("near"), socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    server.bind(("0.0.0.0", 7000))
    server.settimeout(5)
    client.connect((FAR, 7000))
    for number in range(count):
        client.send(number.to_bytes(4, "big"))
    assert [int.from_bytes(server.recv(4), "big") for _ in range(count)] == list(range(count))


def test_a_large_transfer_comes_through_whole(held: Held) -> None:
    world, size = held.world, 32 << 20
    held.set(5, A, B)
    server = world.listen(world.node("far"), 8080)
    client = world.connect(world.node("near"), FAR, 8080)
    assert client is not None
    accepted = server.accept()[0]
    world.open.append(accepted)
    client.settimeout(60)
    accepted.settimeout(60)
    sent = os.urandom(1 << 20) * (size >> 20)
    sender = threading.Thread(target=client.sendall, args=(sent,))
    sender.start()
    got = bytearray()
    while len(got) < size:
        got += accepted.recv(1 << 20)
    sender.join()
    assert bytes(got) == sent


def test_an_established_flow_waits_too(held: Held) -> None:
    world = held.world
    server = world.listen(world.node("far"), 8080)
    client = world.connect(world.node("near"), FAR, 8080)
    assert client is not None
    accepted = server.accept()[0]
    world.open.append(accepted)
    held.set(60)
    began = time.monotonic()
    client.sendall(b"there")
    accepted.recv(10)
    accepted.sendall(b"and back")
    client.recv(10)
    assert time.monotonic() - began >= 0.06


def test_an_established_flow_waits_no_longer_when_its_pair_is_cleared(held: Held) -> None:
    """Another pair waits in the same queue, and the connection has been marked for it."""
    world = held.world
    held.go(with_node(with_subnet(world.cloud, "subnet-c", "vpc-1", "10.10.64.0/19", C), "third", "10.10.64.10", subnet="subnet-c"))
    held.set(5000, A, B)
    held.set(5000, A, C)
    server, client = world.socket(world.node("far"), socket.SOCK_DGRAM), world.socket(world.node("near"), socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 7000))
    client.connect((FAR, 7000))
    server.settimeout(5)
    client.send(b"slow")
    assert server.recv(10) == b"slow"
    held.go(zone_faults.clear(world.cloud, [f"{A}:{B}"]))
    server.settimeout(2.4)
    client.send(b"quick")
    assert server.recv(10) == b"quick"


def test_what_leads_to_no_zone_does_not_wait(held: Held) -> None:
    held.go(with_node(held.world.cloud, "public", "10.10.0.12", public={"10.10.0.12": "203.0.113.10"}))
    held.set(400)
    assert held.round_trip_ms("public", "8.8.8.8") < 400


def test_a_zone_that_fails_takes_what_still_waits(held: Held) -> None:
    world = held.world
    held.set(1000)
    server, client = world.socket(world.node("far"), socket.SOCK_DGRAM), world.socket(world.node("near"), socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 7000))
    client.connect((FAR, 7000))
    client.send(b"late")
    world.go(zone_faults.fail_zone(world.cloud, B, 0.0))
    server.settimeout(1.0)
    with pytest.raises(TimeoutError):
        server.recv(10)


def test_without_the_process_packets_pass(held: Held) -> None:
    held.set(400)
    os.kill(held.process.pid, signal.SIGKILL)
    assert held.round_trip_ms("near", FAR) < 400
    with pytest.raises(KernelError):
        held.process.hold(held.world.vpc, (), None)


def test_what_is_held_goes_when_nobody_is_to_hold_it(held: Held) -> None:
    world = held.world
    held.set(5000)
    server, client = world.socket(world.node("far"), socket.SOCK_DGRAM), world.socket(world.node("near"), socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 7000))
    server.settimeout(2)
    client.connect((FAR, 7000))
    client.send(b"soon")
    held.process.hold(world.vpc, (), None)
    assert server.recv(10) == b"soon"
    assert held.round_trip_ms("near", FAR) < 5000


def test_a_queue_that_somebody_else_serves_is_refused(held: Held) -> None:
    held.set(20)
    other = DelayProcess()
    try:
        sock = held.world.socket(held.world.vpc, socket.SOCK_RAW, NETLINK_NETFILTER, socket.AF_NETLINK)
        with pytest.raises(KernelError, match="queues 200"):
            other.hold(held.world.vpc, (200,), sock)
        sock.close()
        held.process.hold(held.world.vpc, (), None)
        free = held.world.socket(held.world.vpc, socket.SOCK_RAW, NETLINK_NETFILTER, socket.AF_NETLINK)
        other.hold(held.world.vpc, (200,), free)
        free.close()
    finally:
        other.end()
