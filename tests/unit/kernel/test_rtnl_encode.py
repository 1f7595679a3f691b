"""Every stencil gives the bytes that pyroute2 gives, and those say what was meant."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from labnet.kernel import codec, rtnl_encode
from labnet.kernel.rtnl_encode import Encoder, Shaped
from labnet.kernel.rtnl_socket import attributes
from labnet.model.netstate import Addr, Link, LinkMtu, LinkUp, Neigh, Route, Rule, VethPeer

MAC, FAR = "02:00:00:00:01:05", "02:00:00:00:01:06"
VETH = Link("eni12345678901", MAC, mtu_bytes=9001, txqlen=0, peer=VethPeer("pod", "eth0", FAR))
ROUTE = Route("10.1.2.0/24", "eth0", "10.0.0.1", src="10.0.0.9", metric=7, mtu_bytes=1400, onlink=True)
RULE = Rule(1536, 2, src="10.0.0.1/32", dst="10.0.0.0/16", fwmark=0x80, fwmask=0xFF, iif="e", oif="eth10")
SHAPES: dict[str, tuple[Shaped, Shaped]] = {
    # two messages of one shape each: the first makes the stencil, the second fills it with other values
    "veth": (rtnl_encode.veth(VETH, 100, 3, 9), rtnl_encode.veth(replace(VETH, name="eni00000000000", mac=FAR, mtu_bytes=1500), 70000, 4, 12)),
    "veth bare": (
        rtnl_encode.veth(Link("a", peer=VethPeer("p", "b")), 1, 2, 3),
        rtnl_encode.veth(Link("z", peer=VethPeer("p", "y")), 400, 500, 600),
    ),
    "up": (rtnl_encode.link_change(LinkUp("x"), 7), rtnl_encode.link_change(LinkUp("x"), 8)),
    "down": (rtnl_encode.link_change(LinkUp("x"), 7, up=False), rtnl_encode.link_change(LinkUp("x"), 8, up=False)),
    "mtu": (rtnl_encode.link_change(LinkMtu("x", 9001), 7), rtnl_encode.link_change(LinkMtu("x", 68), 70)),
    "values": (rtnl_encode.link_change(VETH, 7), rtnl_encode.link_change(replace(VETH, mac=FAR, txqlen=3), 70)),
    "gone": (rtnl_encode.link_gone(4), rtnl_encode.link_gone(5)),
    "group": (rtnl_encode.link_group(4, 77), rtnl_encode.link_group(5, 78)),
    "group gone": (rtnl_encode.group_gone(77), rtnl_encode.group_gone(78)),
    "address": (rtnl_encode.addr(Addr("e", "10.0.0.1", 32), "add", 3), rtnl_encode.addr(Addr("e", "10.0.0.2", 32), "add", 4)),
    "broadcast": (
        rtnl_encode.addr(Addr("e", "10.0.0.1", 19, broadcast="10.0.31.255"), "add", 3),
        rtnl_encode.addr(Addr("e", "10.0.32.1", 19, broadcast="10.0.63.255"), "add", 3),
    ),
    "address gone": (rtnl_encode.addr(Addr("e", "10.0.0.1", 32), "remove", 3), rtnl_encode.addr(Addr("e", "10.0.0.2", 32), "remove", 4)),
    "address 6": (
        rtnl_encode.addr(Addr("e", "fd00::1", 64, "inet6"), "add", 3),
        rtnl_encode.addr(Addr("e", "fd00:1:2:3:4:5:6:7", 64, "inet6"), "add", 4),
    ),
    "route": (rtnl_encode.route(ROUTE, "add", 5), rtnl_encode.route(replace(ROUTE, dst="10.9.9.0/24", metric=4294967295), "add", 6)),
    "default": (
        rtnl_encode.route(Route("default", "e", "10.0.0.1"), "replace", 5),
        rtnl_encode.route(Route("default", "e", "10.0.0.2"), "replace", 6),
    ),
    "far table": (
        rtnl_encode.route(Route("10.0.0.1/32", "e", table=10101, scope="link"), "add", 5),
        rtnl_encode.route(Route("10.0.0.2/32", "e", table=256, scope="link"), "add", 5),
    ),
    "blackhole": (
        rtnl_encode.route(Route("10.0.0.0/16", type="blackhole"), "add", None),
        rtnl_encode.route(Route("10.1.0.0/16", type="blackhole"), "add", None),
    ),
    "route gone": (rtnl_encode.route(ROUTE, "remove", 5), rtnl_encode.route(replace(ROUTE, via="10.9.9.9", dst="10.7.7.0/24"), "remove", 8)),
    "route 6": (
        rtnl_encode.route(Route("fd00::/64", "e", "fe80::1", family="inet6"), "add", 5),
        rtnl_encode.route(Route("fd01::/64", "e", "ab::1234:5678:9ab", family="inet6"), "add", 6),
    ),
    "rule": (rtnl_encode.rule(RULE, "add"), rtnl_encode.rule(replace(RULE, priority=0, src="10.0.0.2/32", iif="x", oif="eth11"), "add")),
    "rule far table": (rtnl_encode.rule(Rule(5, 300), "add"), rtnl_encode.rule(Rule(6, 70000), "add")),
    "rule gone": (rtnl_encode.rule(RULE, "remove"), rtnl_encode.rule(replace(RULE, priority=9, fwmark=1), "remove")),
    "rule 6": (
        rtnl_encode.rule(Rule(5, 2, "inet6", src="fd00::1/128"), "add"),
        rtnl_encode.rule(Rule(6, 2, "inet6", src="fd00::2/128"), "add"),
    ),
    "neighbour": (rtnl_encode.neigh(Neigh("e", "10.0.0.1", MAC), "add", 3), rtnl_encode.neigh(Neigh("e", "10.0.0.2", FAR), "add", 4)),
    "neighbour gone": (
        rtnl_encode.neigh(Neigh("e", "10.0.0.1", MAC), "remove", 3),
        rtnl_encode.neigh(Neigh("e", "10.0.0.2", FAR), "remove", 4),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_stencil_and_pyroute2_agree(name: str) -> None:
    encoder = Encoder()
    first, second = SHAPES[name]
    assert encoder.fast(*first) == encoder.in_full(*first)
    assert encoder.fast(*second) == encoder.in_full(*second)
    assert len(encoder._stencils) == 1


def test_names_of_other_lengths_are_other_shapes() -> None:
    encoder = Encoder()
    for name in ("a", "ab", "abcdefghijklmno"):
        shaped = rtnl_encode.veth(replace(VETH, name=name), 1, 2, 3)
        assert encoder.fast(*shaped) == encoder.in_full(*shaped)


def test_a_veth_message_names_both_ends() -> None:
    data = Encoder().fast(*rtnl_encode.veth(VETH, 100, 3, 9))
    mine = attributes(data, 32)
    assert (data[20:24], mine[3], mine[1].hex(":")) == ((100).to_bytes(4, sys.byteorder), b"eni12345678901\0", MAC)
    peer = attributes(attributes(mine[18], 0)[2], 0)[1]
    theirs = attributes(peer, 16)
    assert (peer[4:8], theirs[3], theirs[1].hex(":")) == ((3).to_bytes(4, sys.byteorder), b"eth0\0", FAR)
    assert theirs[28] == (9).to_bytes(4, sys.byteorder)


def test_routes_are_boot_and_rules_have_no_protocol() -> None:
    encoder = Encoder()
    assert encoder.fast(*rtnl_encode.route(ROUTE, "add", 5))[21] == 3
    assert 21 not in attributes(encoder.fast(*rtnl_encode.rule(RULE, "add")), 28)


@pytest.mark.parametrize("prefix", ["10.0.0.1", "10.0.0.0/33", "10.0.0.0/x"])
def test_a_prefix_needs_a_good_mask(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        rtnl_encode.route(Route(prefix, "e"), "add", 1)


def test_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="no address"):
        Encoder().fast(*rtnl_encode.neigh(Neigh("e", "10.0.0", MAC), "add", 3))


def test_loading_the_codecs_does_not_load_pyroute2_whole() -> None:
    program = """
import sys
from labnet.kernel import codec
found = codec.load()
assert "pyroute2.iproute" not in sys.modules and "asyncio" not in sys.modules
from pyroute2 import NetNS, config
import pyroute2
assert pyroute2.IPRoute and pyroute2.netlink and sys.modules["pyroute2"] is pyroute2
from pyroute2.netlink.rtnl.rtmsg import rtmsg
assert rtmsg is found.rtmsg
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    assert codec.load() is codec.load()
