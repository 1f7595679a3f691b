"""What every Kernel must do with whole namespaces, and with a pod in one, in memory and for real."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from kernel_steps import Kernel, refused, remove, settled

from labnet.errors import KernelError
from labnet.kernel.diff import surplus
from labnet.kernel.door import LinuxKernel
from labnet.kernel.slices import SliceBook
from labnet.model.netstate import Addr, Link, LinkUp, Neigh, Route, Rule, Slice, Sysctl, VethPeer

Name = Callable[[str], str]
MAC, FAR_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def test_a_new_namespace_has_nothing_but_the_kernels_own_things_and_lo_up(kernel: Kernel, name: Name) -> None:
    kernel.create_netns([name("a")])
    state = kernel.observe(name("a"))
    assert kernel.exists(name("a"))
    assert surplus(state, ()) == ()
    assert LinkUp("lo") in state
    assert [(rule.priority, rule.table) for rule in state.all(Rule) if rule.family == "inet"] == [(0, 255), (32766, 254), (32767, 253)]
    assert Addr("lo", "127.0.0.1", 8, scope="host", derived=True) in state
    assert Route("127.0.0.1/32", "lo", table=255, type="local", scope="host", src="127.0.0.1", protocol="kernel") in state


def test_a_taken_name_is_refused_and_none_is_left(kernel: Kernel, name: Name) -> None:
    kernel.create_netns([name("b")])
    with pytest.raises(KernelError) as caught:
        kernel.create_netns([name("a"), name("b")])
    assert caught.value.errno == errno.EEXIST
    assert not kernel.exists(name("a"))
    assert kernel.exists(name("b"))


def test_unknown_namespaces(kernel: Kernel, name: Name) -> None:
    assert not kernel.exists(name("a"))
    kernel.remove_netns([name("a")])
    assert refused(kernel, name("a"), Rule(1)) == errno.ENOENT
    with pytest.raises(KernelError) as caught:
        kernel.observe(name("a"))
    assert caught.value.errno == errno.ENOENT


def test_an_opened_namespace_keeps_its_name(kernel: Kernel, name: Name) -> None:
    kernel.create_netns([name("a"), name("b")])
    descriptor = kernel.open_netns(name("b"))
    try:
        assert kernel.adopt(descriptor) == name("b")
    finally:
        if isinstance(kernel, LinuxKernel):
            os.close(descriptor)


def test_a_pod_by_slices(kernel: Kernel, name: Name) -> None:
    node, pod = name("n"), name("p")
    kernel.create_netns([node, pod])
    book = SliceBook(kernel)
    before = settled(kernel, node), settled(kernel, pod)
    host = Slice(
        "cni:a",
        (
            Link("eni1", peer=VethPeer(pod, "eth0", MAC)),
            Sysctl("net/ipv4/conf/eni1/rp_filter", "0"),
            LinkUp("eni1"),
            Route("10.0.0.1/32", "eni1", scope="link"),
            Rule(512, dst="10.0.0.1/32"),
            Rule(1536, 2, src="10.0.0.1/32"),
        ),
    )
    inside = Slice(
        "cni:a",
        (
            Link("eth0", MAC, made_by="peer"),
            LinkUp("eth0"),
            Addr("eth0", "10.0.0.1", 32),
            Neigh("eth0", "169.254.1.1", FAR_MAC),
            Route("169.254.1.1/32", "eth0", scope="link"),
            Route("default", "eth0", "169.254.1.1"),
        ),
    )
    book.set([(node, host), (pod, inside)])
    assert book.drift(node) == book.drift(pod) == ()
    assert book.foreign(node) == book.foreign(pod) == ()
    remove(kernel, node, Rule(1536, 2, src="10.0.0.1/32"))
    remove(kernel, pod, LinkUp("eth0"))
    assert [change.object.kind for _slice, change in book.drift(pod)] == ["link-up", "neigh", "route", "route"]
    book.repair(node)
    book.repair(pod)
    assert book.drift(node) == book.drift(pod) == ()
    book.set([(pod, Slice("cni:a")), (node, Slice("cni:a"))])
    assert (settled(kernel, node), settled(kernel, pod)) == before
