"""One namespace of the in-memory kernel: what it holds, what follows by itself, and what it refuses (pure).

It imitates what labnet relies on: a route needs a link that is up and a gateway that is on it, an address brings its
local, connected and broadcast routes, a link that goes takes everything on it. `Refused` carries the errno.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface, ip_network
from itertools import pairwise
from typing import Literal

from labnet.kernel.diff import canonical, link_of
from labnet.model.netstate import (
    TABLE_DEFAULT,
    TABLE_LOCAL,
    TABLE_MAIN,
    Addr,
    Family,
    IptChain,
    IptRule,
    KernelObject,
    Key,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    NftElement,
    NftPortChain,
    NftTable,
    Route,
    RouteType,
    Rule,
    T,
)

LOOPBACK_MTU = 65536
ETHERNET_MTU = 1500
HOST_BITS = {"inet": 32, "inet6": 128}
_ORDER: dict[type, int] = {Link: 0, LinkMtu: 1, LinkUp: 2, Addr: 3, Route: 4, Rule: 5, Neigh: 6}
_TARGETS = frozenset({
    "ACCEPT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CT", "DNAT", "DROP", "DSCP", "HL", "LOG", "MARK", "MASQUERADE", "NETMAP", "NFLOG", "NFQUEUE",
    "NOTRACK", "QUEUE", "REDIRECT", "REJECT", "RETURN", "SET", "SNAT", "TCPMSS", "TOS", "TPROXY", "TRACE", "TTL",
})


class Refused(Exception):
    """The kernel's no: an errno and its words."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason)
        self.number, self.reason = number, reason


@dataclass(slots=True)
class FakeNetns:
    """The objects of one namespace by key, in order of making, and its sysctls by slashed path."""

    name: str
    objects: dict[Key, KernelObject] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)

    @classmethod
    def born(cls, name: str) -> FakeNetns:
        """A new namespace with the kernel's own furniture, `lo` up."""
        made = cls(name)
        made._hold(Link("lo", mac="00:00:00:00:00:00", type="loopback", txqlen=1000, mtu_bytes=LOOPBACK_MTU), LinkMtu("lo", LOOPBACK_MTU))
        made._hold(LinkUp("lo"))
        made._hold(Rule(0, TABLE_LOCAL), Rule(32766), Rule(32767, TABLE_DEFAULT))
        made._hold(Rule(0, TABLE_LOCAL, "inet6"), Rule(32766, family="inet6"))
        made.add_addr(Addr("lo", "127.0.0.1", 8, scope="host", derived=True))
        made.add_addr(Addr("lo", "::1", 128, "inet6", scope="host", derived=True))
        return made

    def copy(self) -> FakeNetns:
        """A copy to return to when a batch fails."""
        return FakeNetns(self.name, dict(self.objects), dict(self.sysctls))

    def all(self, cls: type[T]) -> list[T]:
        """Every object of a class, in order of making."""
        return [item for item in self.objects.values() if isinstance(item, cls)]

    def listed(self) -> list[KernelObject]:
        """Everything in the order in which an observation tells it: by kind, rules by priority."""
        def place(item: KernelObject) -> tuple[int, int]:
            return (_ORDER.get(type(item), 9), item.priority if isinstance(item, Rule) else 0)

        return sorted(self.objects.values(), key=place)

    def find(self, item: KernelObject) -> KernelObject | None:
        """What is held under the key of an object."""
        return self.objects.get(canonical(item).key)

    def link(self, name: str) -> Link | None:
        """A link by name."""
        found = self.objects.get(("link", name))
        return found if isinstance(found, Link) else None

    def is_up(self, name: str) -> bool:
        """Is the link there and up?"""
        return ("link-up", name) in self.objects

    def put(self, item: KernelObject) -> None:
        """Add or overwrite anything but a Link and a Sysctl. Errors: Refused."""
        link = link_of(item)
        if link is not None and self.link(link) is None:
            raise Refused(errno.ENOENT if isinstance(item, NftPortChain) else errno.ENODEV, f"no link {link}")
        if isinstance(item, Addr):
            self.add_addr(item)
        elif isinstance(item, Route):
            self._check_route(item)
            self._hold(item)
        elif isinstance(item, LinkUp):
            self._hold(item)
            for addr in self.all(Addr):
                if addr.link == item.name:
                    self.add_addr(addr)
        elif isinstance(item, LinkMtu):
            self._hold(item, replace(self._link(item.name), mtu_bytes=item.mtu_bytes))
        elif isinstance(item, NftPortChain | NftElement) and ("nft-table", item.family, item.table) not in self.objects:
            raise Refused(errno.ENOENT, f"no table {item.family} {item.table}")
        else:
            self._hold(item)

    def change(self, there: KernelObject | None, item: KernelObject) -> None:
        """As `put`, over what is `there` under the same key. Errors: Refused."""
        if isinstance(there, Addr) and isinstance(item, Addr) and there.connected_route and not item.connected_route:
            made = {route.key for route in _routes_of(there, False) if route.table == TABLE_MAIN}
            self._drop(lambda other: isinstance(other, Route) and other.key in made and other.protocol == "kernel")
        elif isinstance(there, Addr) and isinstance(item, Addr) and there.connected_route == item.connected_route:
            self.take(there)
        self.put(item)

    def take(self, item: KernelObject) -> None:
        """Remove anything but a Sysctl; what is not there is fine."""
        held = self.objects.pop(canonical(item).key, None)
        if held is None or isinstance(held, LinkMtu):
            self._hold(*([held] if held is not None else []))
        elif isinstance(held, Link):
            self._drop(lambda other: link_of(other) == held.name and not isinstance(other, NftPortChain))
        elif isinstance(held, LinkUp):
            self._flush_routes(held.name)
            self._drop(lambda other: isinstance(other, Neigh) and other.link == held.name)
        elif isinstance(held, Addr):
            self._take_addr(held)
        elif isinstance(held, NftTable):
            self._drop(lambda other: isinstance(other, NftPortChain | NftElement) and (other.family, other.table) == (held.family, held.name))

    def hold_link(self, item: Link) -> None:
        """A link that is there now, down, with its MTU."""
        self._hold(item, LinkMtu(item.name, item.mtu_bytes or ETHERNET_MTU))

    def check_chains(self) -> None:
        """Refuse iptables rules that jump to a chain that is not there, as iptables-restore does."""
        chains = {(item.family, item.table, item.name) for item in self.all(IptChain)}
        for chain in self.all(IptChain):
            for rule in chain.rules:
                self._check_jump(chains, chain.family, chain.table, rule)
        for single in self.all(IptRule):
            self._check_jump(chains, single.family, single.table, single.spec)

    def lookup(self, dst: str, src: str = "", iif: str = "", mark: int = 0) -> Route | None:
        """The route that policy rules and longest prefix choose, or None."""
        family: Family = "inet6" if ":" in dst else "inet"
        for rule in sorted((rule for rule in self.all(Rule) if rule.family == family), key=lambda rule: rule.priority):
            if not _rule_fits(rule, dst, src, iif, mark):
                continue
            found = self._longest(dst, family, rule.table)
            if found is not None and found.type != "throw":
                return found
        return None

    def add_addr(self, addr: Addr) -> None:
        """An address with the routes that the kernel makes for it: local always, the rest once the link is up."""
        self._hold(addr)
        for route in _routes_of(addr, self._link(addr.link).type == "loopback"):
            if (route.table == TABLE_LOCAL and route.scope == "host") or self.is_up(addr.link):
                self.objects.setdefault(route.key, route)

    def _take_addr(self, addr: Addr) -> None:
        kept = [other for other in self.all(Addr) if other.link == addr.link and other.family == addr.family]
        still = {route.key for other in kept for route in _routes_of(other, self._link(addr.link).type == "loopback")}
        mine = {route.key for route in _routes_of(addr, self._link(addr.link).type == "loopback")} - still
        self._drop(lambda other: isinstance(other, Route) and other.dev == addr.link and other.key in mine and other.protocol == "kernel")
        self._drop(lambda other: isinstance(other, Route) and other.src == addr.address)
        if not kept and addr.family == "inet":
            self._flush_routes(addr.link)

    def _flush_routes(self, link: str) -> None:
        self._drop(lambda other: isinstance(other, Route) and other.dev == link and not (other.scope == "host" and other.table == TABLE_LOCAL))

    def _check_route(self, route: Route) -> None:
        if route.dev is not None and not self.is_up(route.dev):
            raise Refused(errno.ENETDOWN, "Device for nexthop is not up")
        if route.via is None and route.type == "unicast" and route.dev is None:
            raise Refused(errno.ENODEV, "a route needs a link or a gateway")
        if route.via is None or route.onlink or self._on_link(route.via, route):
            return
        raise Refused(errno.ENETUNREACH if route.family == "inet" else errno.EHOSTUNREACH, "Nexthop has invalid gateway")

    def _on_link(self, gateway: str, route: Route) -> bool:
        for table in (route.table, TABLE_MAIN):
            found = self._longest(gateway, route.family, table)
            if found is not None and found.via is None and found.type == "unicast" and route.dev in (None, found.dev):
                return True
        return False

    def _longest(self, dst: str, family: Family, table: int) -> Route | None:
        best: tuple[int, int] | None = None
        found: Route | None = None
        for route in self.all(Route):
            if route.table != table or route.family != family or not _covers(route.dst, dst):
                continue
            rank = (0 if route.dst == "default" else int(route.dst.rpartition("/")[2]), -route.metric)
            if best is None or rank > best:
                best, found = rank, route
        return found

    def _check_jump(self, chains: Collection[tuple[str, str, str]], family: str, table: str, rule: str) -> None:
        words = rule.split()
        for flag, target in pairwise(words):
            if flag in ("-j", "-g", "--jump", "--goto") and target not in _TARGETS and (family, table, target) not in chains:
                raise Refused(errno.ENOENT, f"no chain {target} in {table}")

    def _link(self, name: str) -> Link:
        found = self.link(name)
        if found is None:
            raise Refused(errno.ENODEV, f"no link {name}")
        return found

    def _hold(self, *items: KernelObject) -> None:
        for item in items:
            self.objects[canonical(item).key] = item

    def _drop(self, goes: Callable[[KernelObject], bool]) -> None:
        for key in [key for key, item in self.objects.items() if goes(item)]:
            del self.objects[key]


def _covers(prefix: str, address: str) -> bool:
    return prefix == "default" or ip_address(address) in ip_network(prefix, strict=False)


def _rule_fits(rule: Rule, dst: str, src: str, iif: str, mark: int) -> bool:
    if rule.dst is not None and not _covers(rule.dst, dst):
        return False
    if rule.src is not None and not (src and _covers(rule.src, src)):
        return False
    if rule.iif is not None and rule.iif != (iif or "lo"):
        return False
    if rule.oif is not None:
        return False
    return rule.fwmark is None or mark & (rule.fwmask if rule.fwmask is not None else 0xFFFFFFFF) == rule.fwmark


def _routes_of(addr: Addr, loopback: bool) -> Iterable[Route]:
    """The kernel's routes for an address, as fib_add_ifaddr makes them (net/ipv4/fib_frontend.c)."""
    bits = HOST_BITS[addr.family]
    network = ip_interface(f"{addr.address}/{addr.prefixlen}").network

    def made(dst: str, table: int, kind: RouteType, scope: Literal["link", "host"]) -> Route:
        if addr.family == "inet6":
            return Route(dst, addr.link, table=table, family="inet6", type=kind, protocol="kernel")
        return Route(dst, addr.link, table=table, type=kind, scope=scope, src=addr.address, protocol="kernel")

    yield made(f"{addr.address}/{bits}", TABLE_LOCAL, "local", "host")
    if addr.family == "inet" and addr.broadcast:
        yield made(f"{addr.broadcast}/32", TABLE_LOCAL, "broadcast", "link")
    if addr.prefixlen == bits:
        return
    if loopback:
        yield made(str(network), TABLE_LOCAL, "local", "host")
    elif addr.connected_route:
        yield made(str(network), TABLE_MAIN, "unicast", "link")
    if addr.family == "inet" and addr.prefixlen < bits - 1:
        yield made(f"{network.broadcast_address}/32", TABLE_LOCAL, "broadcast", "link")
