"""What a walk needs to know: the state of every namespace, how they are wired, and who each one is (pure).

`Host` is one namespace prepared for questions: routes by table and length, links by name, sysctls by path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal

from labnet.model.addressing import bounds, prefix_length, to_int
from labnet.model.netstate import Addr, KernelObject, KernelState, Link, LinkMtu, LinkUp, Neigh, Route, Rule, Sysctl
from labnet.model.values import frozen

Role = Literal["pod", "node", "vpc", "igw", "nat", "internet", "vgw", "onprem"]
End = tuple[str, str]
"""One end of a wire: namespace and link."""

DEFAULT_TTL = 64
RESOLVED = frozenset({"permanent", "reachable", "stale", "delay", "probe", "noarp"})


@frozen
class World:
    """All that is known about a lab: observed states by namespace, wires in both directions, owners (``node1``), roles."""

    states: Mapping[str, KernelState]
    wires: Mapping[End, End]
    owners: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)

    def owner(self, netns: str) -> str:
        """Who the namespace belongs to; its own name where nobody said."""
        return self.owners.get(netns, netns)


def wires_of(parts: Iterable[tuple[str, Iterable[KernelObject]]]) -> dict[End, End]:
    """The wires that plans make: every veth that names its peer, in both directions."""
    wires: dict[End, End] = {}
    for netns, objects in parts:
        for item in objects:
            if isinstance(item, Link) and item.peer is not None:
                near, far = (netns, item.name), (item.peer.netns, item.peer.name)
                wires[near], wires[far] = far, near
    return wires


class Host:
    """One namespace, indexed for a walk. Errors: KeyError when the world does not hold it."""

    def __init__(self, world: World, netns: str) -> None:
        state = world.states[netns]
        self.netns = netns
        self.state = state
        self.owner = world.owner(netns)
        self.role = world.roles.get(netns)
        self.links = {link.name: link for link in state.all(Link)}
        self.up = {item.name for item in state.all(LinkUp)}
        self.mtu_bytes = {name: link.mtu_bytes for name, link in self.links.items() if link.mtu_bytes}
        self.mtu_bytes |= {item.name: item.mtu_bytes for item in state.all(LinkMtu)}
        self.rules = sorted((rule for rule in state.all(Rule) if rule.family == "inet"), key=lambda rule: rule.priority)
        self.sysctls = {item.path.replace(".", "/"): item.value for item in state.all(Sysctl)}
        self.addresses = [item for item in state.all(Addr) if item.family == "inet"]
        self._neighbours = {(item.link, item.address): item for item in state.all(Neigh) if item.state in RESOLVED}
        self._tables = _tables(state.all(Route))

    def mac(self, link: str) -> str:
        """The MAC of a link, "" when it has none or is not there."""
        found = self.links.get(link)
        return (found.mac or "") if found else ""

    def neighbour(self, link: str, address: str) -> Neigh | None:
        """A neighbour entry that the kernel would use without asking."""
        return self._neighbours.get((link, address))

    def sysctl(self, path: str) -> int | None:
        """A number under /proc/sys (``net/ipv4/ip_forward``), None when it was not observed."""
        value = self.sysctls.get(path, "")
        return int(value) if value.lstrip("-").isdigit() else None

    def conf(self, link: str, name: str) -> int | None:
        """The greater of ``net.ipv4.conf.{all,LINK}.NAME``, as the kernel takes rp_filter; None when neither was observed."""
        values = [self.sysctl(f"net/ipv4/conf/{where}/{name}") for where in ("all", link)]
        known = [value for value in values if value is not None]
        return max(known) if known else None

    @property
    def default_ttl(self) -> int:
        """The TTL of packets that start here (net.ipv4.ip_default_ttl)."""
        return self.sysctl("net/ipv4/ip_default_ttl") or DEFAULT_TTL

    def has_address(self, link: str) -> bool:
        """Does the link carry any IPv4 address?"""
        return any(item.link == link for item in self.addresses)

    def is_local(self, address: str, link: str | None = None) -> bool:
        """Is the address the namespace's own (of one link, where given)?"""
        route = self.longest(255, address)
        return route is not None and route.type == "local" and link in (None, route.dev)

    def longest(self, table: int, address: str, oif: str | None = None) -> Route | None:
        """The route of a table with the longest prefix, then the lowest metric, that leads to an address."""
        number = to_int(address)
        for bits, networks in self._tables.get(table, ()):
            for route in networks.get(number >> (32 - bits) if bits else 0, ()):
                if oif is None or route.dev == oif:
                    return route
        return None


    def fitting(self, table: int, address: str) -> list[Route]:
        """Every route of a table that leads to an address, the one that wins first."""
        number = to_int(address)
        return [
            route for bits, networks in self._tables.get(table, ()) for route in networks.get(number >> (32 - bits) if bits else 0, ())
        ]

    def nearly(self, table: int, address: str, limit: int) -> list[Route]:
        """Routes of a table to other addresses, those first that share the most leading bits with this one."""
        number = to_int(address)
        found = [
            ((number >> (32 - bits) ^ network).bit_length() - bits, -bits, route)
            for bits, networks in self._tables.get(table, ()) if bits
            for network, routes in networks.items() if network != number >> (32 - bits)
            for route in routes
        ]
        return [route for _shared, _bits, route in sorted(found, key=lambda one: one[:2])[:limit]]


Networks = dict[int, list[Route]]


def _tables(routes: Iterable[Route]) -> dict[int, list[tuple[int, Networks]]]:
    """Routes by table, then by length (longest first), then by network, cheapest first."""
    found: dict[int, dict[int, Networks]] = {}
    for route in routes:
        if route.family != "inet":
            continue
        cidr = "0.0.0.0/0" if route.dst == "default" else route.dst if "/" in route.dst else f"{route.dst}/32"
        bits = prefix_length(cidr)
        network = bounds(cidr)[0] >> (32 - bits) if bits else 0
        found.setdefault(route.table, {}).setdefault(bits, {}).setdefault(network, []).append(route)
    for lengths in found.values():
        for networks in lengths.values():
            for same in networks.values():
                same.sort(key=lambda route: route.metric)
    return {table: sorted(lengths.items(), reverse=True) for table, lengths in found.items()}
