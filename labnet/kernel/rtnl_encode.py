"""Kernel objects → rtnetlink messages: pyroute2 encodes one message of each shape, later ones are that one with other values.

A *shape* is everything about a message but its values: which attributes it has, prefix lengths, scope, table byte. The
values (index, MAC, address, name, descriptor …) are *holes*: the first message of a shape is encoded by pyroute2 with
marks in the holes, the marks are found in its bytes, and every message is a copy with the holes filled (0.005 ms
instead of 0.1 to 0.5). `Encoder.in_full` is the same message by pyroute2 alone; tests compare both.

What is written as the VPC CNI writes it: routes with protocol boot, rules without one. IPv6 addresses skip duplicate
address detection, because every address of a lab is given out once.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from labnet.kernel import codec
from labnet.model.netstate import Addr, Family, Link, LinkMtu, LinkUp, Neigh, Op, Route, Rule, RuleExtras
from labnet.model.values import frozen

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR = 16, 17, 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH, RTM_NEWRULE, RTM_DELRULE = 24, 25, 28, 29, 32, 33
NLM_F_REQUEST, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x100, 0x200, 0x400
FAMILIES: dict[Family, int] = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
SCOPES = {"global": 0, "link": 253, "host": 254, "nowhere": 255}
ROUTE_TYPES = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9,
}
PROTOCOLS = {"unspec": 0, "redirect": 1, "kernel": 2, "boot": 3, "static": 4, "ra": 9, "dhcp": 16}
RTNH_F_ONLINK = 4
RULE_ACTIONS = {"lookup": 1, "goto": 2, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}
FIB_RULE_INVERT = 2
NUD_PERMANENT = 0x80
IFF_UP = 1
IFA_F_NODAD = 0x02

_HEADER = struct.Struct("=IHHII")
_U32 = struct.Struct("=I")
_MARK_U32 = 0x5EAD0000
_MARK_MAC = "5e:ad:be:ef:5e:"
_MARK_INET, _MARK_INET6 = "94.173.190.", "5ead:beef:5ead:beef:5ead:beef:5ead:"
Holes = dict[str, Any]
"""Values by name: int for 32-bit numbers, text for addresses, MACs and names."""


@frozen
class Message:
    """A message in the codec's own form: which codec, type and flags, header fields, attributes in order."""

    codec: str
    kind: int
    flags: int
    fields: dict[str, Any]
    attrs: list[tuple[str, Any]]


@dataclass(slots=True)
class _Stencil:
    """An encoded message and where its holes are."""

    data: bytes
    places: dict[str, list[int]]

    def filled(self, holes: Holes) -> bytes:
        data = bytearray(self.data)
        places = self.places
        for name, value in holes.items():
            if type(value) is int:
                for place in places[name]:
                    _U32.pack_into(data, place, value)
            else:
                packed = _packed_text(value)
                size = len(packed)
                for place in places[name]:
                    data[place:place + size] = packed
        return bytes(data)


def packed_value(value: int | str) -> bytes:
    """A hole's bytes: u32, MAC, address, else a name with its end. Errors: ValueError for no address."""
    return _U32.pack(value) if isinstance(value, int) else _packed_text(value)


@lru_cache(maxsize=4096)
def _packed_text(value: str) -> bytes:
    if value.startswith("="):
        return value[1:].encode() + b"\0"
    if _is_mac(value):
        return bytes.fromhex(value.replace(":", ""))
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)
    except OSError as error:
        raise ValueError(f"{value!r} is no address") from error


def _is_mac(value: str) -> bool:
    return len(value) == 17 and value[2::3] == ":::::"


@lru_cache(maxsize=4096)
def split_prefix(prefix: str, family: Family) -> tuple[str | None, int]:
    """Address and length of a prefix; (None, 0) for "default" and all of a length 0. Errors: ValueError."""
    if prefix == "default":
        return None, 0
    address, slash, bits = prefix.partition("/")
    if not slash or not bits.isdigit() or int(bits) > (32 if family == "inet" else 128):
        raise ValueError(f"{prefix!r} is no prefix with its mask")
    return (address, int(bits)) if int(bits) else (None, 0)


def with_sequence(message: bytes, sequence: int, flags: int = 0) -> bytes:
    """The message with its sequence number, and with further flags."""
    size, kind, old, _sequence, pid = _HEADER.unpack_from(message)
    return _HEADER.pack(size, kind, old | flags, sequence, pid) + message[16:]


def _new(op: Op) -> int:
    """Flags of a creating message: a replace overwrites, an add refuses what is there."""
    return NLM_F_REQUEST | NLM_F_CREATE | (NLM_F_REPLACE if op == "replace" else NLM_F_EXCL)


@dataclass(slots=True)
class Encoder:
    """Encodes with stencils, made when a shape first appears. Errors of every method: ValueError for a value that cannot be."""

    _stencils: dict[tuple[object, ...], _Stencil] = field(default_factory=dict)

    def in_full(self, shape: tuple[object, ...], holes: Holes) -> bytes:
        """The message by pyroute2 alone."""
        build: Callable[..., Message] = shape[0]  # type: ignore[assignment] # the first part of a shape is its builder
        values = {name: value[1:] if isinstance(value, str) and value.startswith("=") else value for name, value in holes.items()}
        message = build(*shape[1:], values)
        return codec.encode(getattr(codec.load(), message.codec), message.kind, message.flags, message.fields, message.attrs)

    def fast(self, shape: tuple[object, ...], holes: Holes) -> bytes:
        """The same message by stencil."""
        key: tuple[object, ...] = (shape, *holes)
        if shape[0] in _NAMING:  # a name's length is part of a message's shape
            key += tuple([len(value) for value in holes.values() if isinstance(value, str) and value.startswith("=")])
        stencil = self._stencils.get(key)
        if stencil is None:
            stencil = self._stencils[key] = self._make(shape, holes)
        return stencil.filled(holes)

    def _make(self, shape: tuple[object, ...], holes: Holes) -> _Stencil:
        marks = {name: _mark(place, value) for place, (name, value) in enumerate(holes.items())}
        data = self.in_full(shape, marks)
        places: dict[str, list[int]] = {}
        for name, value in marks.items():
            packed = packed_value(value)
            found = [at for at in range(16, len(data)) if data.startswith(packed, at)]
            if isinstance(value, str) and value.startswith("="):  # a short name could look like anything: it follows its attribute's length
                found = [at for at in found if data[at - 4:at - 2] == struct.pack("=H", 4 + len(packed))]
            if not found:
                raise ValueError(f"{name} does not show in the message")
            places[name] = found
        return _Stencil(data, places)


def _mark(place: int, value: int | str) -> int | str:
    """A value of the same kind and length that appears nowhere else in a message."""
    if isinstance(value, int):
        return _MARK_U32 + place + 1
    if value.startswith("="):
        return "=" + chr(0x5A - place) * (len(value) - 1)
    if _is_mac(value):
        return f"{_MARK_MAC}{place + 0xA0:02x}"
    return f"{_MARK_INET6}{place + 0xA0:x}" if ":" in value else f"{_MARK_INET}{place + 0xA0}"


Shaped = tuple[tuple[object, ...], Holes]
"""A shape (its builder first) and the values for its holes."""


def veth(link: Link, index: int, peer_index: int, peer_fd: int) -> Shaped:
    """Both ends of a veth by one message. Errors: ValueError without a peer."""
    if link.peer is None or link.type != "veth":
        raise ValueError("a link that is made here is a veth and names its peer")
    holes: Holes = {"index": index, "name": f"={link.name}", "peer_index": peer_index, "peer": f"={link.peer.name}", "fd": peer_fd}
    options = {"mac": link.mac, "peer_mac": link.peer.mac, "mtu": link.mtu_bytes, "txqlen": link.txqlen}
    return (_veth,), holes | {name: value for name, value in options.items() if value is not None}


_ONE_QUEUE = (("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1))
"""The kernel makes one for each processor, uses the first, and for putting away the others waits until every processor has seen it: with
both ends 0.2 ms of the 1.2 that a pod's wiring took, more while the processors are busy.
"""


def _veth(holes: Holes) -> Message:
    ends = []
    for name, mac in (("name", "mac"), ("peer", "peer_mac")):
        attrs: list[tuple[str, Any]] = [("IFLA_IFNAME", holes[name]), *_ONE_QUEUE]
        for hole, attribute in ((mac, "IFLA_ADDRESS"), ("mtu", "IFLA_MTU"), ("txqlen", "IFLA_TXQLEN")):
            if hole in holes:
                attrs.append((attribute, holes[hole]))
        ends.append(attrs)
    peer = {"index": holes["peer_index"], "attrs": [*ends[1], ("IFLA_NET_NS_FD", holes["fd"])]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]}
    return Message("ifinfmsg", RTM_NEWLINK, _new("add"), {"index": holes["index"]}, [*ends[0], ("IFLA_LINKINFO", info)])


def link_change(link: Link | LinkMtu | LinkUp, index: int, up: bool = True) -> Shaped:
    """MAC, MTU and queue length of a link that is there, or up and down."""
    if isinstance(link, LinkUp):
        return (_link_state, up), {"index": index}
    mac, txqlen = (link.mac, link.txqlen) if isinstance(link, Link) else (None, None)
    options = {"mac": mac, "mtu": link.mtu_bytes, "txqlen": txqlen}
    return (_link_values,), {"index": index} | {name: value for name, value in options.items() if value is not None}


def _link_state(up: bool, holes: Holes) -> Message:
    return Message("ifinfmsg", RTM_NEWLINK, NLM_F_REQUEST, {"index": holes["index"], "flags": IFF_UP if up else 0, "change": IFF_UP}, [])


def _link_values(holes: Holes) -> Message:
    named = (("mac", "IFLA_ADDRESS"), ("mtu", "IFLA_MTU"), ("txqlen", "IFLA_TXQLEN"), ("group", "IFLA_GROUP"))
    attrs = [(attribute, holes[hole]) for hole, attribute in named if hole in holes]
    return Message("ifinfmsg", RTM_NEWLINK, NLM_F_REQUEST, {"index": holes["index"]}, attrs)


def link_group(index: int, group: int) -> Shaped:
    """Put a link into a group, by which many are removed at once."""
    return (_link_values,), {"index": index, "group": group}


def link_gone(index: int) -> Shaped:
    """Remove one link."""
    return (_link_gone,), {"index": index}


def group_gone(group: int) -> Shaped:
    """Remove every link of a group."""
    return (_link_gone,), {"group": group}


def _link_gone(holes: Holes) -> Message:
    attrs = [("IFLA_GROUP", holes["group"])] if "group" in holes else []
    return Message("ifinfmsg", RTM_DELLINK, NLM_F_REQUEST, {"index": holes.get("index", 0)}, attrs)


def addr(item: Addr, op: Op, index: int) -> Shaped:
    """An address comes or goes."""
    holes: Holes = {"index": index, "address": item.address}
    if item.broadcast is not None and op != "remove":
        holes["broadcast"] = item.broadcast
    return (_addr, op, item.family, item.prefixlen, item.scope), holes


def _addr(op: Op, family: Family, bits: int, scope: str, holes: Holes) -> Message:
    kind, flags = (RTM_DELADDR, NLM_F_REQUEST) if op == "remove" else (RTM_NEWADDR, _new(op))
    fields = {
        "family": FAMILIES[family], "prefixlen": bits, "flags": IFA_F_NODAD if family == "inet6" else 0, "scope": SCOPES[scope],
        "index": holes["index"],
    }
    attrs = [("IFA_LOCAL", holes["address"]), ("IFA_ADDRESS", holes["address"])]
    attrs += [("IFA_BROADCAST", holes["broadcast"])] if "broadcast" in holes else []
    return Message("ifaddrmsg", kind, flags, fields, attrs)


def route(item: Route, op: Op, index: int | None) -> Shaped:
    """A route comes, is overwritten or goes; gone is what has its table, destination, type, link and metric, whatever its gateway."""
    dst, bits = split_prefix(item.dst, item.family)
    holes: Holes = {}
    if item.table > 255:
        holes["table"] = item.table
    if dst is not None:
        holes["dst"] = dst
    if index is not None:
        holes["dev"] = index
    if item.metric:
        holes["metric"] = item.metric
    if op != "remove":
        options = {"via": item.via, "src": item.src, "mtu": item.mtu_bytes}
        holes |= {name: value for name, value in options.items() if value is not None}
    table = item.table if item.table <= 255 else 0
    scope = "nowhere" if op == "remove" else item.scope
    return (_route, op, item.family, bits, table, item.type, scope, item.onlink, item.protocol), holes


def _route(op: Op, family: Family, bits: int, table: int, kind: str, scope: str, onlink: bool, protocol: str, holes: Holes) -> Message:
    number, flags = (RTM_DELROUTE, NLM_F_REQUEST) if op == "remove" else (RTM_NEWROUTE, _new(op))
    fields = {
        "family": FAMILIES[family], "dst_len": bits, "table": table, "proto": 0 if op == "remove" else protocol_number(protocol),
        "scope": SCOPES[scope], "type": ROUTE_TYPES[kind], "flags": RTNH_F_ONLINK if onlink and op != "remove" else 0,
    }
    named = (
        ("table", "RTA_TABLE"), ("dst", "RTA_DST"), ("via", "RTA_GATEWAY"), ("dev", "RTA_OIF"), ("src", "RTA_PREFSRC"),
        ("metric", "RTA_PRIORITY"),
    )
    attrs = [(attribute, holes[hole]) for hole, attribute in named if hole in holes]
    attrs += [("RTA_METRICS", {"attrs": [("RTAX_MTU", holes["mtu"])]})] if "mtu" in holes else []
    return Message("rtmsg", number, flags, fields, attrs)


def protocol_number(protocol: str) -> int:
    """A route's protocol as a number. Errors: ValueError for an unknown word."""
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def rule(item: Rule, op: Op) -> Shaped:
    """A policy rule comes or goes."""
    holes: Holes = {"priority": item.priority}
    bits = []
    for name, prefix in (("src", item.src), ("dst", item.dst)):
        address, length = split_prefix(prefix, item.family) if prefix is not None else (None, 0)
        bits.append(length)
        if address is not None:
            holes[name] = address
    options = {"mark": item.fwmark, "mask": item.fwmask, "table": item.table if item.table > 255 else None}
    holes |= {name: value for name, value in options.items() if value is not None}
    holes |= {name: f"={link}" for name, link in (("iif", item.iif), ("oif", item.oif)) if link is not None}
    return (_rule, op, item.family, bits[0], bits[1], item.table if item.table <= 255 else 0, item.extras), holes


def _rule(op: Op, family: Family, src_bits: int, dst_bits: int, table: int, extras: RuleExtras | None, holes: Holes) -> Message:
    number, flags = (RTM_DELRULE, NLM_F_REQUEST) if op == "remove" else (RTM_NEWRULE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL)
    fields = {"family": FAMILIES[family], "src_len": src_bits, "dst_len": dst_bits, "table": table, "action": RULE_ACTIONS["lookup"]}
    more: list[tuple[str, Any]] = []
    if extras is not None:
        fields |= {"action": RULE_ACTIONS[extras.action], "flags": FIB_RULE_INVERT if extras.inverted else 0, "tos": extras.tos}
        more = _rule_extras(extras)
    named = (
        ("priority", "FRA_PRIORITY"), ("src", "FRA_SRC"), ("dst", "FRA_DST"), ("mark", "FRA_FWMARK"), ("mask", "FRA_FWMASK"),
        ("iif", "FRA_IIFNAME"), ("oif", "FRA_OIFNAME"), ("table", "FRA_TABLE"),
    )
    return Message("fibmsg", number, flags, fields, [(attribute, holes[hole]) for hole, attribute in named if hole in holes] + more)


def _rule_extras(extras: RuleExtras) -> list[tuple[str, Any]]:
    """Attributes of rules that others wrote: they can be taken away, and put back."""
    ranges = (("FRA_UID_RANGE", extras.uids), ("FRA_SPORT_RANGE", extras.sport), ("FRA_DPORT_RANGE", extras.dport))
    attrs: list[tuple[str, Any]] = [(name, f"{value[0]}:{value[1]}") for name, value in ranges if value]
    attrs += [("FRA_GOTO", extras.goto)] if extras.action == "goto" else []
    attrs += [("FRA_IP_PROTO", extras.ip_protocol)] if extras.ip_protocol else []
    attrs += [("FRA_SUPPRESS_PREFIXLEN", extras.suppress_bits)] if extras.suppress_bits is not None else []
    return attrs


def neigh(item: Neigh, op: Op, index: int) -> Shaped:
    """A permanent neighbour comes (over whatever was learned) or goes."""
    holes: Holes = {"index": index, "address": item.address}
    if op != "remove":
        holes["mac"] = item.mac
    return (_neigh, op, item.family), holes


def _neigh(op: Op, family: Family, holes: Holes) -> Message:
    number, flags = (RTM_DELNEIGH, NLM_F_REQUEST) if op == "remove" else (RTM_NEWNEIGH, _new("replace"))
    fields = {"family": FAMILIES[family], "ifindex": holes["index"], "state": NUD_PERMANENT}
    attrs = [("NDA_DST", holes["address"])] + ([("NDA_LLADDR", holes["mac"])] if "mac" in holes else [])
    return Message("ndmsg", number, flags, fields, attrs)


_NAMING = frozenset({_veth, _rule})
"""The builders whose messages carry names."""
