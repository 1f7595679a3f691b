"""What the door does beside other work: namespaces made ahead, jobs on a thread of its own."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from labnet.errors import KernelError
from labnet.kernel.door import LinuxKernel
from labnet.kernel.netns import create, remove_name
from labnet.model.netstate import Batch, Change, Link, LinkUp, Route, VethPeer

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]


def test_a_prepared_namespace_is_taken_and_is_like_any_other(kernel: LinuxKernel, name: Name) -> None:
    wanted = [name(f"p{number}") for number in range(8)]
    kernel.prepare_netns(wanted)
    kernel.create_netns(wanted[:5])
    assert all(kernel.exists(one) for one in wanted[:5])
    assert LinkUp("lo") in kernel.observe(wanted[0])
    assert kernel.inode(wanted[0]) == Path(f"/run/netns/{wanted[0]}").stat().st_ino
    kernel.finish_preparing()
    assert not [one for one in wanted[5:] if Path(f"/run/netns/{one}").exists()], "what nobody asked for is gone"
    kernel.finish_preparing()


def test_names_that_were_not_prepared_are_made_beside_those_that_were(kernel: LinuxKernel, name: Name) -> None:
    kernel.prepare_netns([name("p0"), name("p1")])
    kernel.create_netns([name("other"), name("p1"), name("p0")])
    assert all(kernel.exists(name(one)) for one in ("other", "p0", "p1"))


def test_a_taken_name_is_told_and_nothing_of_the_call_is_left(kernel: LinuxKernel, name: Name) -> None:
    create([name("taken")])
    try:
        kernel.prepare_netns([name("p0"), name("taken")])
        with pytest.raises(KernelError) as caught:
            kernel.create_netns([name("p0"), name("taken")])
        assert caught.value.errno == errno.EEXIST
        assert not Path(f"/run/netns/{name('p0')}").exists()
        assert Path(f"/run/netns/{name('taken')}").exists(), "it is somebody else's"
    finally:
        remove_name(name("taken"))


def pod(netns: str, node: str, number: int) -> list[Batch]:
    peer = f"eni{number}"
    return [
        (netns, (Change("add", Link("eth0", peer=VethPeer(node, peer))), Change("add", LinkUp("eth0")))),
        (node, (Change("add", LinkUp(peer)), Change("add", Route(f"10.9.0.{number}/32", peer, scope="link")))),
    ]


def test_jobs_go_together_and_the_one_that_fails_fails_alone(kernel: LinuxKernel, name: Name) -> None:
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


def test_sockets_are_opened_all_or_none(kernel: LinuxKernel, name: Name) -> None:
    kernel.create_netns([name("a")])
    opened = kernel.open_sockets(name("a"), [(socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET, socket.SOCK_DGRAM, 0)])
    assert [one.type for one in opened] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
    for one in opened:
        one.close()
    with pytest.raises(KernelError, match="open socket"):
        kernel.open_sockets(name("a"), [(socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET, 77, 0)])
