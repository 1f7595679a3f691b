"""What a namespace's rtnetlink tables hold, as values: links, addresses, routes, rules, neighbours; and its sysctls.

Read with plain structs, since a whole lab is thousands of messages (pyroute2's decoder takes 0.1 to 1 ms for one).
The kernel's order is kept. Entries that are no state of a plan (NOARP neighbours) are left out.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import Literal, cast

from labnet.kernel.diff import IPV6_DEFAULT_METRIC, sysctl_path
from labnet.kernel.netns import enter
from labnet.kernel.rtnl_encode import (
    FAMILIES,
    FIB_RULE_INVERT,
    NLM_F_REQUEST,
    NUD_PERMANENT,
    PROTOCOLS,
    ROUTE_TYPES,
    RTNH_F_ONLINK,
    RULE_ACTIONS,
    SCOPES,
)
from labnet.kernel.rtnl_socket import RtnlSocket, attribute, attributes
from labnet.model.netstate import (
    TABLE_MAIN,
    Addr,
    Family,
    KernelObject,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    Route,
    RouteType,
    Rule,
    RuleAction,
    RuleExtras,
    Sysctl,
)

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETRULE = 18, 22, 26, 30, 34
RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x1000, 0x2000
ARPHRD_LOOPBACK = 772
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_TXQLEN, IFLA_LINKINFO, IFLA_EXT_MASK = 1, 3, 4, 13, 18, 29
SKIP_STATS = 1 << 3
IFA_F_NOPREFIXROUTE = 0x200
PROC_SYS = "/proc/sys"
_FAMILY_NAMES: dict[int, Family] = {number: name for name, number in FAMILIES.items()}
_SCOPE_NAMES = {number: name for name, number in SCOPES.items()}
_TYPE_NAMES = {number: name for name, number in ROUTE_TYPES.items()}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
UNREAD_RULE_ATTRIBUTES = {12: "tun_id", 13: "suppress_ifgroup", 19: "l3mdev", 25: "dscp"}
TRANSPORTS = {"icmp": 1, "tcp": 6, "udp": 17}
NOTHING = 0xFFFFFFFF
"""How the kernel says that a rule suppresses nothing."""
_SILENT_TYPES = ("blackhole", "unreachable", "prohibit", "throw")
_NEIGH_STATES = {1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", NUD_PERMANENT: "permanent"}
_ABSENT_TABLES = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)

_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGH = struct.Struct("=BxxxiHBB")
Scope = Literal["global", "link", "host"]


def request(kind: int, body: bytes) -> bytes:
    """A question to rtnetlink, sequence number 0."""
    return struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST, 0, 0) + body


def links(door: RtnlSocket) -> list[tuple[int, int, Link]]:
    """(index, flags, link) of every link, `lo` first."""
    body = _LINK.pack(0, 0, 0, 0, 0) + struct.pack("=HHI", 8, IFLA_EXT_MASK, SKIP_STATS)
    return [_link(row) for row in door.dump(request(RTM_GETLINK, body))]


def link_names(door: RtnlSocket) -> frozenset[str]:
    """The names of all links, without reading on: for every ENI a node is asked for them. Errors: OSError."""
    body = _LINK.pack(0, 0, 0, 0, 0) + struct.pack("=HHI", 8, IFLA_EXT_MASK, SKIP_STATS)
    return frozenset(_text(attribute(row, 16, IFLA_IFNAME)) for row in door.dump(request(RTM_GETLINK, body)))


def _link(row: bytes) -> tuple[int, int, Link]:
    _family, arp_type, index, flags, _change = _LINK.unpack_from(row)
    found = attributes(row, 16)
    info = attributes(found.get(IFLA_LINKINFO, b""), 0)
    kind = "loopback" if arp_type == ARPHRD_LOOPBACK else info[1].rstrip(b"\0").decode() if 1 in info else "ether"
    mtu = _u32(found.get(IFLA_MTU))
    address = found.get(IFLA_ADDRESS)
    return index, flags, Link(_text(found[IFLA_IFNAME]), _mac(address) if address else None, kind, _u32(found.get(IFLA_TXQLEN)), mtu)


def rtnetlink(door: RtnlSocket, *, routing: bool = True) -> list[KernelObject]:
    """Every link, address, route, rule and neighbour; without `routing` links and rules alone. Errors: OSError."""
    found = links(door)
    objects: list[KernelObject] = [link for _index, _flags, link in found]
    objects += [LinkMtu(link.name, link.mtu_bytes) for _index, _flags, link in found if link.mtu_bytes is not None]
    objects += [LinkUp(link.name) for _index, flags, link in found if flags & 1]
    if not routing:
        return [*objects, *_rules(door)]
    names = {index: link.name for index, _flags, link in found}
    routed = routes(door, names)
    connected = {(route.dev, route.dst) for route in routed if route.protocol == "kernel" and route.table == TABLE_MAIN}
    up = {link.name for _index, flags, link in found if flags & 1 and link.type != "loopback"}
    objects += _addrs(door, names, connected, up)
    objects += routed
    objects += _rules(door)
    objects += neighbours(door, names)
    return objects


def _addrs(door: RtnlSocket, names: Mapping[int, str], connected: set[tuple[str | None, str]], up: set[str]) -> list[Addr]:
    found: list[Addr] = []
    for row in door.dump(request(RTM_GETADDR, _ADDR.pack(0, 0, 0, 0, 0))):
        number, bits, _flags, scope, index = _ADDR.unpack_from(row)
        family = _FAMILY_NAMES.get(number)
        if family is None:
            continue
        said = attributes(row, 8)
        address = _address(said.get(2) or said[1])
        link = names.get(index, str(index))
        network = str(ip_interface(f"{address}/{bits}").network)
        could = link in up and bits < (32 if family == "inet" else 128)
        found.append(Addr(
            link, address, bits, family,
            broadcast=_address(said[4]) if 4 in said else None,
            scope=cast(Scope, _SCOPE_NAMES.get(scope, "global")),
            connected_route=not could or (link, network) in connected,
            derived=(link == "lo" and (address, bits) in (("127.0.0.1", 8), ("::1", 128))) or (family == "inet6" and scope == SCOPES["link"]),
        ))
    return found


def addresses_on(door: RtnlSocket, link_index: int) -> frozenset[str]:
    """The IPv4 addresses on one link, without masks."""
    rows = door.dump(request(RTM_GETADDR, _ADDR.pack(socket.AF_INET, 0, 0, 0, 0)))
    said = [attributes(row, 8) for row in rows if _ADDR.unpack_from(row)[4] == link_index]
    return frozenset(_address(one.get(2) or one[1]) for one in said)


def routes(door: RtnlSocket, names: Mapping[int, str]) -> list[Route]:
    """The routes of all tables, IPv4 first."""
    found: list[Route] = []
    for family, number in FAMILIES.items():
        try:
            rows = door.dump(request(RTM_GETROUTE, _ROUTE.pack(number, 0, 0, 0, 0, 0, 0, 0, 0)))
        except OSError as error:
            if error.errno in _ABSENT_TABLES:
                continue
            raise
        found += [route_of(row, family, names) for row in rows]
    return found


def route_of(row: bytes, family: Family, names: Mapping[int, str]) -> Route:
    """One route message; of several next hops the first is told."""
    _family, bits, _src_bits, _tos, table, protocol, scope, kind, flags = _ROUTE.unpack_from(row)
    said = attributes(row, 12)
    if 9 in said and len(said[9]) >= 8:  # RTA_MULTIPATH: struct rtnexthop, then its own attributes
        size, flags, _hops, index = struct.unpack_from("=HBBi", said[9])
        said |= attributes(said[9][:size], 8)
        said[4] = struct.pack("=i", index)
    name = cast(RouteType, _TYPE_NAMES.get(kind, "unicast"))
    metrics = attributes(said.get(8, b""), 0)
    metric = _u32(said.get(6)) or 0
    dst = f"{_address(said[1])}/{bits}" if 1 in said else "default" if not bits else f"::/{bits}"
    via = _address(said[5]) if 5 in said else _address(said[18][2:]) if 18 in said else None
    dev = None if name in _SILENT_TYPES or 4 not in said else names.get(_u32(said[4]) or 0, str(_u32(said[4])))
    return Route(
        dst, dev, via, _u32(said.get(15)) or table, family, name,
        scope=cast(Scope, _SCOPE_NAMES.get(scope, "global")),
        src=_address(said[7]) if 7 in said else None,
        metric=0 if family == "inet6" and metric == IPV6_DEFAULT_METRIC else metric,
        onlink=bool(flags & RTNH_F_ONLINK),
        mtu_bytes=_u32(metrics.get(2)),
        protocol=_PROTOCOL_NAMES.get(protocol, str(protocol)),
    )


def route_question(
    family: Family, dst: str, src: str, iif: int | None, mark: int, matched: bool = False, transport: tuple[str, int, int] | None = None
) -> bytes:
    """RTM_GETROUTE for one packet; `matched`: the route that matched, not what comes of it. Errors: OSError for no address."""
    number = FAMILIES[family]
    bits = 32 if family == "inet" else 128
    flags = RTM_F_LOOKUP_TABLE | (RTM_F_FIB_MATCH if matched else 0)
    body = struct.pack("=BBBBBBBBI", number, bits, bits if src else 0, 0, 0, 0, 0, 0, flags)
    parts = [(1, socket.inet_pton(number, dst))]
    parts += [(2, socket.inet_pton(number, src))] if src else []
    parts += [(3, struct.pack("=I", iif))] if iif is not None else []
    parts += [(16, struct.pack("=I", mark))] if mark else []
    if transport is not None and transport[0] in TRANSPORTS:
        protocol, *ports = transport
        parts += [(27, bytes([TRANSPORTS[protocol]]))]
        parts += [(kind, struct.pack("!H", port)) for kind, port in zip((28, 29), ports, strict=True) if port]
    for kind, value in parts:
        body += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return request(RTM_GETROUTE, body)


def _rules(door: RtnlSocket) -> list[Rule]:
    found: list[Rule] = []
    for family, number in FAMILIES.items():
        try:
            rows = door.dump(request(RTM_GETRULE, _ROUTE.pack(number, 0, 0, 0, 0, 0, 0, 0, 0)))
        except OSError as error:
            if error.errno in _ABSENT_TABLES:
                continue
            raise
        found += [rule for rule in (_rule(row, family) for row in rows) if rule is not None]
    return found


def _rule(row: bytes, family: Family) -> Rule | None:
    """One rule; None for an action that no kernel known here has."""
    _family, dst_bits, src_bits, _tos, table, _res1, _res2, action, _flags = _ROUTE.unpack_from(row)
    said = attributes(row, 12)
    if action not in RULE_ACTIONS.values():
        return None
    mask = _u32(said.get(16))
    marked = 10 in said and not (mask == 0 and not _u32(said[10]))
    extras = _extras(row, said)
    return Rule(
        _u32(said.get(6)) or 0, _u32(said.get(15)) or table, family,
        src=f"{_address(said[2])}/{src_bits}" if 2 in said else None,
        dst=f"{_address(said[1])}/{dst_bits}" if 1 in said else None,
        fwmark=_u32(said[10]) if marked else None,
        fwmask=mask if marked and mask != 0xFFFFFFFF else None,
        iif=_text(said[3]) if 3 in said else None,
        oif=_text(said[17]) if 17 in said else None,
        extras=extras if extras != RuleExtras() else None,
    )


def _extras(row: bytes, said: Mapping[int, bytes]) -> RuleExtras:
    """What a rule says that no plan does. Source: include/uapi/linux/fib_rules.h"""
    _family, _dst, _src, tos, _table, _res1, _res2, action, flags = _ROUTE.unpack_from(row)
    suppress = _u32(said.get(14))
    unread = [(word, int.from_bytes(said[number], sys.byteorder)) for number, word in UNREAD_RULE_ATTRIBUTES.items() if number in said]
    return RuleExtras(
        action=cast(RuleAction, next(word for word, number in RULE_ACTIONS.items() if number == action)), goto=_u32(said.get(4)) or 0,
        inverted=bool(flags & FIB_RULE_INVERT), tos=tos, ip_protocol=said[22][0] if 22 in said else 0,
        sport=_pair("=HH", said.get(23)), dport=_pair("=HH", said.get(24)), uids=_pair("=II", said.get(20)),
        suppress_bits=None if suppress in (None, NOTHING) else suppress,
        unread=tuple((word, value) for word, value in unread if value != NOTHING and (value or word == "suppress_ifgroup")),
    )


def _pair(shape: str, value: bytes | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, last = struct.unpack_from(shape, value)
    return (first, last) if first or last else None


def neighbours(door: RtnlSocket, names: Mapping[int, str]) -> list[Neigh]:
    """Permanent and learned neighbours of both families."""
    found: list[Neigh] = []
    for row in door.dump(request(RTM_GETNEIGH, _NEIGH.pack(0, 0, 0, 0, 0))):
        number, index, state, _flags, _type = _NEIGH.unpack_from(row)
        family, word = _FAMILY_NAMES.get(number), _NEIGH_STATES.get(state)
        if family is None or word is None:
            continue
        said = attributes(row, 12)
        found.append(Neigh(names.get(index, str(index)), _address(said[1]), _mac(said[2]) if 2 in said else "", family, word))
    return found


def read_sysctls(fd: int, paths: Iterable[str]) -> list[Sysctl]:
    """The values of those sysctls that exist in the namespace, blanks made single. /proc/sys/net follows the thread that opens."""
    found: list[Sysctl] = []
    with enter(fd):
        for path in dict.fromkeys(paths):
            try:
                with open(f"{PROC_SYS}/{sysctl_path(path)}", "rb") as file:  # noqa: PTH123 - some thirty for every node
                    text = file.read().decode("ascii", errors="replace")
            except OSError:
                continue
            found.append(Sysctl(path, " ".join(text.split())))
    return found


def _u32(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value[:4], sys.byteorder)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def _mac(value: bytes) -> str:
    return value.hex(":")


def _address(value: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


