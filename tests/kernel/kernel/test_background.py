"""What passes beside the door's other work: namespaces made ahead by a process, jobs done by a thread or by another process."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labnet.errors import KernelError
from labnet.kernel.door import LinuxKernel
from labnet.kernel.netns import create, remove_name
from labnet.kernel.nursery import Nursery
from labnet.kernel.worker import start_worker
from labnet.model.netstate import Batch, Change, Link, LinkUp, NftTable, Route, VethPeer

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]


@pytest.fixture
def helped(name: Name) -> Iterator[Callable[[list[str]], LinuxKernel]]:
    """A door whose namespaces of these names are made ahead."""
    made: list[LinuxKernel] = []

    def make(names: list[str]) -> LinuxKernel:
        made.append(LinuxKernel(nursery=Nursery(names)))
        return made[-1]

    yield make
    for door in made:
        door.remove_netns(list(door.known))
        door.close()


@pytest.fixture
def helping(name: Name) -> Iterator[LinuxKernel]:
    """A door whose jobs another process does."""
    door = LinuxKernel(worker=start_worker())
    yield door
    door.remove_netns(list(door.known))
    door.close()


def test_a_prepared_namespace_is_taken_and_is_like_any_other(helped: Callable[[list[str]], LinuxKernel], name: Name) -> None:
    wanted = [name(f"p{number}") for number in range(8)]
    kernel = helped(wanted)
    assert kernel.prepared(wanted[7])
    kernel.create_netns(wanted[:5])
    assert all(kernel.exists(one) for one in wanted[:5]) and not kernel.prepared(wanted[0])
    assert LinkUp("lo") in kernel.observe(wanted[0])
    assert kernel.inode(wanted[0]) == Path(f"/run/netns/{wanted[0]}").stat().st_ino
    kernel.finish_preparing()
    assert not [one for one in wanted[5:] if Path(f"/run/netns/{one}").exists()], "what nobody asked for is gone"
    assert not kernel.prepared(wanted[7])
    kernel.finish_preparing()


def test_names_that_were_not_prepared_are_made_beside_those_that_were(helped: Callable[[list[str]], LinuxKernel], name: Name) -> None:
    kernel = helped([name("p0"), name("p1")])
    kernel.create_netns([name("other"), name("p1"), name("p0")])
    assert all(kernel.exists(name(one)) for one in ("other", "p0", "p1"))


def test_a_taken_name_is_told_and_nothing_of_the_call_is_left(helped: Callable[[list[str]], LinuxKernel], name: Name) -> None:
    create([name("taken")])
    try:
        kernel = helped([name("p0"), name("taken")])
        with pytest.raises(KernelError) as caught:
            kernel.create_netns([name("p0"), name("taken")])
        assert caught.value.errno == errno.EEXIST
        assert not Path(f"/run/netns/{name('p0')}").exists()
        assert Path(f"/run/netns/{name('taken')}").exists(), "it is somebody else's"
        kernel.close()
        assert Path(f"/run/netns/{name('taken')}").exists(), "and stays when the nursery closes"
    finally:
        remove_name(name("taken"))


def test_when_the_nursery_was_killed_namespaces_are_made_here(name: Name) -> None:
    nursery = Nursery([])
    wanted = [name("p0"), name("p1")]
    nursery._names, nursery._coming = tuple(wanted), set(wanted)  # it has named them, and ends before it makes one
    kernel = LinuxKernel(nursery=nursery)
    try:
        kernel.create_netns(wanted)
        assert all(kernel.exists(one) for one in wanted)
    finally:
        kernel.remove_netns(wanted)
        kernel.close()


def test_servers_of_a_prepared_namespace_are_there_when_it_is_fetched(name: Name) -> None:
    ports = (("tcp", 80), ("udp", 7))
    wanted = [name("p0"), name("p1"), name("p2"), name("p3")]
    kernel = LinuxKernel(nursery=Nursery(wanted, ports={wanted[0]: ports, wanted[1]: ports, wanted[2]: ports}))
    opened: list[socket.socket] = []
    try:
        kernel.create_netns(wanted)
        assert kernel._nursery is not None and set(kernel._nursery._stock) == set(wanted[:3])
        inside = [handle.fileno() for handle in kernel._nursery._stock[wanted[0]].values()]
        opened += kernel.listen(wanted[0], ports)
        assert [sock.fileno() for sock in opened] == inside, "the ones that were opened over there"
        opened += kernel.listen(wanted[1], (("tcp", 8080),))  # another port than was said: opened here, and what was there is closed
        opened += kernel.listen(wanted[3], ports)
        assert wanted[1] not in kernel._nursery._stock
        assert [(sock.type, sock.getsockname()[1], sock.getblocking()) for sock in opened] == [
            (socket.SOCK_STREAM, 80, False), (socket.SOCK_DGRAM, 7, False), (socket.SOCK_STREAM, 8080, False),
            (socket.SOCK_STREAM, 80, False), (socket.SOCK_DGRAM, 7, False),
        ]
        for netns, port in ((wanted[0], 80), (wanted[1], 8080), (wanted[3], 80)):
            client = kernel.open_socket(netns, socket.AF_INET, socket.SOCK_STREAM)
            opened.append(client)
            client.connect(("127.0.0.1", port))
            assert client.getpeername() == ("127.0.0.1", port)
        with pytest.raises(KernelError) as caught:
            kernel.listen(wanted[0], (("tcp", 81), ("tcp", 80)))
        assert caught.value.errno == errno.EADDRINUSE and "tcp port 80" in str(caught.value)
        opened += kernel.listen(wanted[0], (("tcp", 81),))
    finally:
        for sock in opened:
            sock.close()
        kernel.remove_netns(wanted)  # returns when they are gone: nobody holds the sockets of p2, which nobody asked for
        kernel.close()


def test_servers_that_nobody_asked_for_keep_no_namespace(name: Name) -> None:
    ports = (("tcp", 80),)
    kernel = LinuxKernel(nursery=Nursery([name("p0"), name("p1")], ports={name("p0"): ports, name("p1"): ports}))
    try:
        kernel.create_netns([name("p0")])
        kernel.finish_preparing()
        assert not Path(f"/run/netns/{name('p1')}").exists()
        for sock in kernel.listen(name("p0"), ports):
            sock.close()
    finally:
        kernel.remove_netns([name("p0")])
        kernel.close()


def test_more_is_made_ahead_than_a_socket_takes_by_itself(name: Name) -> None:
    """Some hundred records fill a socket's usual room: a nursery that waits for its reader makes nothing ahead."""
    wanted = [name(f"p{number}") for number in range(400)]
    nursery = Nursery(wanted)
    kernel = LinuxKernel(nursery=nursery)
    try:
        deadline = time.monotonic() + 60
        while not Path(f"/run/netns/{wanted[-1]}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert Path(f"/run/netns/{wanted[-1]}").exists() and not nursery._made, "all are there, and nobody has listened"
    finally:
        kernel.close()


def pod(netns: str, node: str, number: int) -> list[Batch]:
    peer = f"eni{number}"
    return [
        (netns, (Change("add", Link("eth0", peer=VethPeer(node, peer))), Change("add", LinkUp("eth0")))),
        (node, (Change("add", LinkUp(peer)), Change("add", Route(f"10.9.0.{number}/32", peer, scope="link")))),
    ]


@pytest.mark.parametrize("by", ["kernel", "helping"])
def test_jobs_go_together_and_the_one_that_fails_fails_alone(request: pytest.FixtureRequest, by: str, name: Name) -> None:
    kernel: LinuxKernel = request.getfixturevalue(by)
    node, pods = name("node"), [name(f"pod{number}") for number in range(4)]
    kernel.create_netns([node, *pods])
    jobs = [pod(netns, node, number) for number, netns in enumerate(pods)]
    jobs[2][1] = (node, (*jobs[2][1][1], Change("add", Route("10.9.1.0/24", "nowhere"))))
    outcome = kernel.submit(jobs).result(timeout=30)
    assert [error is None for error in outcome] == [True, True, False, True]
    failed = outcome[2]
    assert isinstance(failed, KernelError) and failed.netns == node and "nowhere" in failed.target
    assert kernel.links(node) == {"lo", "eni0", "eni1", "eni3"}
    assert kernel.links(pods[2]) == {"lo"}, "all or nothing"
    assert {item.dst for item in kernel.observe(node).all(Route) if item.protocol == "boot"} == {"10.9.0.0/32", "10.9.0.1/32", "10.9.0.3/32"}


def test_answers_come_in_the_order_of_the_jobs(helping: LinuxKernel, name: Name) -> None:
    nodes, pods = [name("n0"), name("n1")], [name(f"pod{number}") for number in range(6)]
    helping.create_netns([*nodes, *pods])
    jobs = [pod(netns, nodes[number % 2], number) for number, netns in enumerate(pods)]
    jobs[3][1] = (nodes[1], (*jobs[3][1][1], Change("add", Route("10.9.1.0/24", "nowhere"))))
    outcome = helping.submit(jobs).result(timeout=30)
    assert [error is None for error in outcome] == [True, True, True, False, True, True]
    assert helping.links(nodes[0]) == {"lo", "eni0", "eni2", "eni4"} and helping.links(nodes[1]) == {"lo", "eni1", "eni5"}


def test_what_a_worker_did_and_what_this_door_does_go_on_from_each_other(helping: LinuxKernel, name: Name) -> None:
    node, pods = name("node"), [name(f"pod{number}") for number in range(5)]
    helping.create_netns([node, *pods])
    assert helping.submit([pod(pods[0], node, 0)]).result(timeout=30) == [None]
    helping.apply(pod(pods[1], node, 1))  # the index that the worker gave away is known here
    assert helping.submit([pod(pods[2], node, 2)]).result(timeout=30) == [None], "an index that was used meanwhile is no obstacle"
    helping.finish_preparing()
    assert helping.submit([pod(pods[3], node, 3)]).result(timeout=30) == [None], "afterwards a thread does it"
    helping.apply(pod(pods[4], node, 4))
    assert helping.links(node) == {"lo", *(f"eni{number}" for number in range(5))}
    indexes = sorted(item.name for item in helping.observe(node).all(Link) if item.name != "lo")
    assert indexes == [f"eni{number}" for number in range(5)]


def test_a_worker_hears_of_links_that_came_meanwhile(helping: LinuxKernel, name: Name) -> None:
    node, pods = name("node"), [name(f"pod{number}") for number in range(3)]
    helping.create_netns([node, *pods])
    assert helping.submit([pod(pods[0], node, 0)]).result(timeout=30) == [None]
    helping.apply(pod(pods[1], node, 1))
    assert node not in helping._told and pods[1] not in helping._told
    assert helping.submit([pod(pods[2], node, 2)]).result(timeout=30) == [None]
    assert helping._writer.book.index(node, "eni2") == helping._writer.book.links(node)[-1][0] == 4, "the next one, not found by a refusal"


def test_a_table_that_a_worker_loaded_is_known_here(helping: LinuxKernel, name: Name) -> None:
    table = NftTable("ip", "mine", "\tchain c {\n\t\tcounter accept\n\t}")
    helping.create_netns([name("a")])
    assert helping.submit([[(name("a"), (Change("add", table),))]]).result(timeout=30) == [None]
    assert table in helping.observe(name("a"))


def test_jobs_of_a_killed_worker_fail_and_the_next_ones_are_done_here(helping: LinuxKernel, name: Name) -> None:
    node, pods = name("node"), [name("pod0"), name("pod1")]
    helping.create_netns([node, *pods])
    assert helping._worker is not None
    pid = helping._worker._forked.pid
    os.kill(pid, signal.SIGSTOP)
    waiting = helping.submit([pod(pods[0], node, 0)])
    os.kill(pid, signal.SIGKILL)
    (error,) = waiting.result(timeout=30)
    assert isinstance(error, KernelError) and "has ended" in str(error)
    assert helping.submit([pod(pods[1], node, 1)]).result(timeout=30) == [None]
    assert helping.links(node) == {"lo", "eni1"}


def test_helpers_do_not_outlive_whoever_made_them(name: Name) -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        worker = start_worker()
        os.write(writer, struct.pack("=I", worker._forked.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    (helper,) = struct.unpack("=I", os.read(reader, 4))
    os.close(reader)
    try:
        handle = os.pidfd_open(helper)
    except ProcessLookupError:
        handle = None
    os.waitpid(parent, 0)
    if handle is not None:
        assert select.select([handle], [], [], 30)[0], "it ends with its parent"
        os.close(handle)


def test_sockets_are_opened_all_or_none(kernel: LinuxKernel, name: Name) -> None:
    kernel.create_netns([name("a")])
    opened = kernel.open_sockets(name("a"), [(socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET, socket.SOCK_DGRAM, 0)])
    assert [one.type for one in opened] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
    for one in opened:
        one.close()
    with pytest.raises(KernelError, match="open socket"):
        kernel.open_sockets(name("a"), [(socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET, 77, 0)])
