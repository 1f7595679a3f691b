"""Listening in real namespaces: everything is seen or counted as lost, nothing is seen that was not asked for."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from labnet.errors import KernelError
from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Addr, Change, Link, LinkUp, VethPeer
from labnet.trace.bpf import EVERYTHING, Program
from labnet.trace.capture import Capture
from labnet.trace.dissect import Captured

pytestmark = pytest.mark.kernel

NAMESPACES, PACKETS, A_SECOND = 50, 1_000, 10_000
UDP_PORT_9: Program = (
    (0x28, 0, 0, 12), (0x15, 0, 5, 0x0800), (0x30, 0, 0, 23), (0x15, 0, 3, 17), (0x28, 0, 0, 36), (0x15, 0, 1, 9), (0x06, 0, 0, 0x40000),
    (0x06, 0, 0, 0),
)
PACED_SENDER = """
import socket, sys, time
sockets = [socket.socket(fileno=int(word)) for word in sys.argv[3:]]
start, sent = time.monotonic(), 0
for _ in range(int(sys.argv[1])):
    for one in sockets:
        one.sendto(b"x" * 60, ("127.0.0.1", 9))
        sent += 1
    ahead = sent / int(sys.argv[2]) - (time.monotonic() - start)
    if ahead > 0:
        time.sleep(ahead)
"""
FLOOD = """
import socket, sys
one = socket.socket(fileno=int(sys.argv[1]))
print("sending", flush=True)
while True:
    one.sendto(b"x", ("127.0.0.1", 7))
"""


def until_ended(capture: Capture, sender: subprocess.Popen[bytes]) -> list[Captured]:
    found: list[Captured] = []
    while sender.poll() is None:
        found += capture.take(0.05)
    assert sender.returncode == 0
    return found + capture.finish()


def test_ten_thousand_packets_a_second_over_fifty_namespaces(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    names = [name(f"c{number}") for number in range(NAMESPACES)]
    kernel.create_netns(names)
    senders = [kernel.open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) for netns in names]
    try:
        with Capture(kernel, names, UDP_PORT_9) as capture:
            numbers = [one.fileno() for one in senders]
            words = [sys.executable, "-c", PACED_SENDER, str(PACKETS), str(A_SECOND), *map(str, numbers)]
            with subprocess.Popen(words, pass_fds=numbers) as sender:
                frames = until_ended(capture, sender)
    finally:
        for one in senders:
            one.close()
    sent = 2 * NAMESPACES * PACKETS  # on a loopback each is seen going out and coming in
    assert len(frames) + capture.lost == sent
    assert capture.lost == 0 and capture.lost_in == dict.fromkeys(names, 0)
    assert all(sum(1 for frame in frames if frame.netns == netns) == 2 * PACKETS for netns in names[:3])
    stamps = [frame.time_ns for frame in frames]
    assert stamps == sorted(stamps)


def test_what_finds_no_room_is_counted_exactly(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    netns = name("flood")
    kernel.create_netns([netns])
    with Capture(kernel, [netns], UDP_PORT_9) as capture, kernel.open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(8_000):
            sender.sendto(bytes(1_400), ("127.0.0.1", 9))
        frames = capture.finish()
        lost = capture.lost
        sender.sendto(b"late", ("127.0.0.1", 9))
        assert capture.take(0.05) == []
    assert lost > 0 and lost == capture.lost == capture.lost_in[netns]
    assert len(frames) + lost == 16_000


def test_nothing_is_seen_that_was_not_asked_for(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    """Other traffic runs all the time: a socket that hears before its filter stands would catch some of it."""
    netns = name("noise")
    kernel.create_netns([netns])
    with kernel.open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as noise:
        words = [sys.executable, "-c", FLOOD, str(noise.fileno())]
        with subprocess.Popen(words, pass_fds=[noise.fileno()], stdout=subprocess.PIPE) as sender:
            try:
                assert sender.stdout is not None and sender.stdout.readline() == b"sending\n"
                caught: list[Captured] = []
                for _ in range(150):
                    with Capture(kernel, [netns], UDP_PORT_9) as capture:
                        caught += capture.finish()
                with Capture(kernel, [netns], EVERYTHING) as capture:
                    heard = list(capture.frames_for(0.2))
            finally:
                sender.kill()
    assert caught == [] and heard


@contextmanager
def two_ends(kernel: LinuxKernel, name: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    near, far = name("near"), name("far")
    kernel.create_netns([near, far])
    kernel.apply([
        (near, tuple(Change("add", one) for one in (Link("wire", peer=VethPeer(far, "eth0")), Addr("wire", "10.0.0.1", 24), LinkUp("wire")))),
        (far, tuple(Change("add", one) for one in (Addr("eth0", "10.0.0.2", 24), LinkUp("eth0")))),
    ])
    yield near, far


def pinged(kernel: LinuxKernel, netns: str, address: str) -> None:
    assert any(kernel.run(netns, ["ping", "-c1", "-W1", address]).exit_code == 0 for _ in range(3))


def test_a_frame_is_seen_at_both_ends_in_order_of_time(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    with two_ends(kernel, name) as (near, far):
        pinged(kernel, near, "10.0.0.2")
        with Capture(kernel, [far, near]) as capture:
            pinged(kernel, near, "10.0.0.2")
            frames = capture.finish()
    assert [(frame.netns, frame.link, frame.direction) for frame in frames[:4]] == [
        (near, "wire", "out"), (far, "eth0", "in"), (far, "eth0", "out"), (near, "wire", "in"),
    ]
    assert frames[0].data == frames[1].data and capture.unstamped == 0


def test_only_the_links_that_are_named(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    with two_ends(kernel, name) as (near, _far):
        pinged(kernel, near, "10.0.0.2")
        for links, wanted in ((["wire"], {"wire"}), (["lo"], {"lo"}), (["wire", "lo"], {"wire", "lo"})):
            with Capture(kernel, [near], links={near: links}) as capture:
                pinged(kernel, near, "10.0.0.2")
                pinged(kernel, near, "127.0.0.1")
                assert {frame.link for frame in capture.finish()} == wanted
        with pytest.raises(KernelError, match="eth7"), Capture(kernel, [near], links={near: ["eth7"]}):
            pass


def test_a_namespace_comes_while_it_runs_and_can_die_after_it_was_let_go(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    first, later = name("first"), name("later")
    kernel.create_netns([first])
    with Capture(kernel, [first], UDP_PORT_9) as capture:
        kernel.create_netns([later])
        capture.add(later)
        assert capture.namespaces == (first, later)
        with kernel.open_socket(later, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", 9))
        capture.drop(later)
        kernel.remove_netns([later])  # waits until the kernel has let go
        assert [frame.netns for frame in capture.finish()] == [later, later]
        assert capture.lost_in == {first: 0, later: 0}
