"""Connections that nobody has any more: ended before their namespace is let go, and no others."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from labnet.kernel.door import LinuxKernel
from labnet.kernel.netns import enter, open_ns
from labnet.kernel.orphans import end_orphans
from labnet.model.netstate import Addr, Change, Link, LinkUp, VethPeer

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]


@pytest.fixture
def pair(kernel: LinuxKernel, name: Name) -> Iterator[tuple[str, str]]:
    """Two namespaces with a wire between them."""
    left, right = name("left"), name("right")
    kernel.create_netns([left, right])
    up = Change("add", LinkUp("eth0"))
    kernel.apply([
        (left, (Change("add", Link("eth0", peer=VethPeer(right, "eth0"))), up, Change("add", Addr("eth0", "10.9.0.1", 24)))),
        (right, (up, Change("add", Addr("eth0", "10.9.0.2", 24)))),
    ])
    yield left, right


def connections(netns: str, state: str) -> list[str]:
    listed = subprocess.run(["ip", "netns", "exec", netns, "ss", "-Htn", "state", state], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def orphaned(kernel: LinuxKernel, pair: tuple[str, str]) -> tuple[socket.socket, socket.socket]:
    """One connection that is closed on the left while nothing comes through any more, and one that stays with its owners."""
    left, right = pair
    server = kernel.open_socket(right, socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("10.9.0.2", 8080))
    server.listen()
    clients = [kernel.open_socket(left, socket.AF_INET, socket.SOCK_STREAM) for _ in range(2)]
    for client in clients:
        client.settimeout(10)
        client.connect(("10.9.0.2", 8080))
    kernel.apply([(right, (Change("remove", LinkUp("eth0")),))])
    clients[0].send(b"nobody will acknowledge this")
    clients[0].close()
    return clients[1], server


def test_orphans_are_ended_and_what_has_an_owner_stays(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    kept, server = orphaned(kernel, pair)
    try:
        assert len(connections(pair[0], "fin-wait-1")) == 1
        fd = open_ns(pair[0])
        with enter(fd):
            assert end_orphans() == 1
            assert end_orphans() == 0
        os.close(fd)
        assert connections(pair[0], "fin-wait-1") == []
        assert len(connections(pair[0], "established")) == 1
    finally:
        kept.close()
        server.close()


def test_a_namespace_with_an_orphan_goes(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    kept, server = orphaned(kernel, pair)
    kept.close()
    server.close()
    kernel.remove_netns(pair)  # raises when somebody still holds one at the end of its patience
    assert not kernel.exists(pair[0])
