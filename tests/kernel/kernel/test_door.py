"""The door's own dealings with the kernel: indexes, batches, failures, sockets."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable

import pytest

from labnet.errors import KernelError
from labnet.kernel import observe, spaces
from labnet.kernel.door import LinuxKernel
from labnet.kernel.netns import open_ns
from labnet.kernel.rtnl_socket import RtnlSocket
from labnet.model.netstate import Addr, Change, KernelObject, Link, LinkUp, Neigh, Route, Rule, Sysctl, VethPeer

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]


def add(kernel: LinuxKernel, netns: str, *items: KernelObject) -> None:
    kernel.apply([(netns, tuple(Change("add", item) for item in items))])


def ip(netns: str, command: str) -> str:
    return subprocess.run(["ip", "-n", netns, *command.split()], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def pair(kernel: LinuxKernel, name: Name) -> tuple[str, str]:
    kernel.create_netns([name("a"), name("b")])
    add(kernel, name("a"), Link("one", peer=VethPeer(name("b"), "two")), LinkUp("one"), Addr("one", "10.0.0.1", 24))
    return name("a"), name("b")


def test_what_iproute2_prints(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    rules = (Rule(512, dst="10.0.0.7/32"), Rule(1024, fwmark=0x80, fwmask=0x80), Rule(1536, 2, src="10.0.0.7/32", dst="10.0.0.0/16"))
    routes = (Route("10.0.0.254/32", "one", table=2, scope="link"), Route("default", "one", "10.0.0.254", table=2))
    add(kernel, pair[0], *rules, *routes)
    assert ip(pair[0], "rule").splitlines() == [
        "0:\tfrom all lookup local",
        "512:\tfrom all to 10.0.0.7 lookup main",
        "1024:\tfrom all fwmark 0x80/0x80 lookup main",
        "1536:\tfrom 10.0.0.7 to 10.0.0.0/16 lookup 2",
        "32766:\tfrom all lookup main",
        "32767:\tfrom all lookup default",
    ]
    shown = [line.strip() for line in ip(pair[0], "route show table 2").splitlines()]
    assert shown == ["default via 10.0.0.254 dev one linkdown", "10.0.0.254 dev one scope link linkdown"]


def test_both_ends_of_a_veth_have_one_queue(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    for netns, link in zip(pair, ("one", "two"), strict=True):
        (shown,) = json.loads(ip(netns, f"-d -j link show dev {link}"))
        assert (shown["num_tx_queues"], shown["num_rx_queues"]) == (1, 1)


def test_a_stale_index_is_read_again(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    ip(pair[0], "link del one")
    ip(pair[0], f"link add one type veth peer name two netns {pair[1]}")
    add(kernel, pair[0], LinkUp("one"), Addr("one", "10.0.0.5", 24))
    assert Addr("one", "10.0.0.5", 24) in kernel.observe(pair[0])
    ip(pair[0], "link del one")
    kernel.apply([(pair[0], (Change("remove", Addr("one", "10.0.0.5", 24)), Change("remove", Link("one"))))])


def test_an_index_that_others_took(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    last = int(ip(pair[0], "-o link show one").split(":")[0])
    for number in range(3):
        ip(pair[0], f"link add their{number} index {last + 1 + number} type veth peer name back{number} index {last + 101 + number}")
    add(kernel, pair[0], Link("mine", peer=VethPeer(pair[1], "far")), LinkUp("mine"), Route("10.4.0.0/16", "mine", scope="link"))
    assert Route("10.4.0.0/16", "mine", scope="link") in kernel.observe(pair[0])
    assert kernel.observe(pair[1]).find(("link", "far")) is not None


def test_links_made_by_others_are_found(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    ip(pair[1], "link add late type veth peer name later")
    add(kernel, pair[1], LinkUp("late"))
    assert LinkUp("late") in kernel.observe(pair[1])


def test_thousands_of_changes_in_one_batch(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    routes = [Route(f"10.{number >> 8}.{number & 255}.0/24", "one", table=10101, scope="link") for number in range(4000)]
    add(kernel, pair[0], *routes)
    assert len([route for route in kernel.observe(pair[0]).all(Route) if route.table == 10101]) == 4000
    with pytest.raises(KernelError) as caught:
        add(kernel, pair[0], *[Route(f"11.{number >> 8}.{number & 255}.0/24", "one", "9.9.9.9") for number in range(3000)])
    assert caught.value.errno == errno.ENETUNREACH
    kernel.apply([(pair[0], tuple(Change("remove", route) for route in reversed(routes)))])
    assert [route for route in kernel.observe(pair[0]).all(Route) if route.table == 10101] == []


def test_the_kernels_own_words_are_in_the_error(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    with pytest.raises(KernelError) as caught:
        add(kernel, pair[0], Route("10.9.0.0/16", "one", "9.9.9.9"))
    assert str(caught.value) == f"add in {pair[0]}: 10.9.0.0/16 via 9.9.9.9 dev one: Nexthop has invalid gateway (ENETUNREACH)"


@pytest.mark.parametrize(
    "item",
    [
        Route("10.9.0.0", "one"),
        Addr("one", "10.9", 24),
        Rule(1, src="x/32"),
        Neigh("one", "10.0.0.9", "zz"),
        Link("three"),
        Addr("one", "10.0.0.3", 240),
    ],
)
def test_values_that_cannot_be_are_refused(kernel: LinuxKernel, pair: tuple[str, str], item: KernelObject) -> None:
    with pytest.raises(KernelError) as caught:
        add(kernel, pair[0], Rule(9), item)
    assert caught.value.errno in (errno.EINVAL, errno.EADDRNOTAVAIL)
    assert Rule(9) not in kernel.observe(pair[0])


def test_lost_answers_undo_the_whole_run(kernel: LinuxKernel, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernel.observe(pair[0])
    send = RtnlSocket.send

    def lossy(self: RtnlSocket, messages: list[bytes]) -> object:
        monkeypatch.setattr(RtnlSocket, "send", send)
        send(self, messages)
        raise OSError(errno.ENOBUFS, "lost")

    monkeypatch.setattr(RtnlSocket, "send", lossy)
    with pytest.raises(KernelError) as caught:
        add(kernel, pair[0], Rule(9), Route("10.9.0.0/16", "one", scope="link"))
    assert caught.value.errno == errno.ENOBUFS
    assert kernel.observe(pair[0]) == before


def test_a_silent_kernel_is_waited_for_only_so_long(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    fd = kernel.open_netns(pair[0])
    door = RtnlSocket.opened(fd, timeout_s=0.05)
    try:
        with pytest.raises(OSError, match="did not answer") as caught:
            list(door._receive())  # nothing was asked
        assert caught.value.errno == errno.ETIMEDOUT
    finally:
        door.close()
        os.close(fd)


def test_nodes_keep_their_socket_and_pods_do_not(kernel: LinuxKernel, pair: tuple[str, str], name: Name) -> None:
    kept = kernel._spaces._sockets
    kernel.create_netns([name(f"p{number}") for number in range(spaces.KEPT_NEWBORN + 4)])
    assert len(kernel._spaces._newborn) == spaces.KEPT_NEWBORN
    for number in range(spaces.KEPT_NEWBORN + 4):
        add(kernel, pair[0], Link(f"h{number}", peer=VethPeer(name(f"p{number}"), "eth0")))
        add(kernel, name(f"p{number}"), LinkUp("eth0"))
    assert set(kept) == {pair[0]}
    assert not kernel._spaces._newborn.keys() & {name(f"p{number}") for number in range(spaces.KEPT_NEWBORN + 4)}


def test_a_clamped_sysctl_is_an_error(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    with pytest.raises(KernelError) as caught:
        add(kernel, pair[0], Sysctl("net/ipv4/ip_forward", "1"), Sysctl("net/ipv4/ip_default_ttl", "400"))
    assert caught.value.errno == errno.EINVAL
    assert Sysctl("net/ipv4/ip_forward", "1") not in kernel.observe(pair[0], ["net/ipv4/ip_forward"])
    with pytest.raises(KernelError) as caught:
        add(kernel, pair[0], Sysctl("net/ipv4/no_such_thing", "1"))
    assert caught.value.errno == errno.ENOENT


def test_learned_neighbours_are_seen_and_derived(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    add(kernel, pair[1], LinkUp("two"))
    ip(pair[0], "neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev one nud stale")
    learned = Neigh("one", "10.0.0.7", "02:00:00:00:00:07", state="stale")
    assert learned in kernel.observe(pair[0])
    add(kernel, pair[0], Neigh("one", "10.0.0.7", "02:00:00:00:00:07"))
    assert Neigh("one", "10.0.0.7", "02:00:00:00:00:07") in kernel.observe(pair[0])


def test_dumps_agree_with_pyroute2(kernel: LinuxKernel, pair: tuple[str, str]) -> None:
    """The struct reader and pyroute2's decoder see the same routes and rules."""
    from labnet.kernel import codec

    add(
        kernel,
        pair[0],
        Route("10.2.0.0/16", "one", "10.0.0.3", src="10.0.0.1", metric=77, mtu_bytes=1400, table=10101),
        Rule(5, 300, src="10.0.0.0/8", fwmark=1),
    )
    fd = open_ns(pair[0])
    door = RtnlSocket.opened(fd)
    try:
        names = {index: link.name for index, _flags, link in observe.links(door)}
        rows = door.dump(observe.request(observe.RTM_GETROUTE, bytes([2]) + bytes(11)))
        mine = [(route.dst, route.table, route.via, route.src, route.metric) for route in observe.routes(door, names) if route.family == "inet"]
    finally:
        door.close()
        os.close(fd)
    theirs = []
    for row in rows:
        message = codec.load().rtmsg(observe.request(24, row))
        message.decode()
        said = message.get_attr
        dst = f"{said('RTA_DST')}/{message['dst_len']}" if said("RTA_DST") else "default"
        theirs.append((dst, said("RTA_TABLE"), said("RTA_GATEWAY"), said("RTA_PREFSRC"), said("RTA_PRIORITY") or 0))
    assert mine == theirs
