"""What a network namespace holds, as values: the common language of planners, the kernel door, goldens and traces (pure).

A namespace's desired state is a union of *slices*, one per actor (``os``, ``fabric``, ``ipamd``, ``cni:<attachment>`` …);
each slice is a tuple of the objects below. Every object has a `key` (what it is, unique in its namespace) and a `text`
(how `ip`, `iptables-save` or `nft` prints it). Two objects of one key and different values are the same thing changed.

What the kernel makes by itself (table local, connected routes, the rules 0, 32766 and 32767, learned neighbours, `lo`)
is observed, because a walk over the state needs it, and answers True to `derived`: no diff ever adds or removes it.
Counters, handles and interface indexes are no part of a state.

Names: addresses are text without mask, prefixes carry theirs; `inet`/`inet6` as iproute2 says; MACs are lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

Family = Literal["inet", "inet6"]
Backend = Literal["nft", "legacy"]
Key = tuple[object, ...]

TABLE_DEFAULT = 253
TABLE_MAIN = 254
TABLE_LOCAL = 255
TABLE_NAMES = {TABLE_DEFAULT: "default", TABLE_MAIN: "main", TABLE_LOCAL: "local"}


@dataclass(frozen=True, slots=True)
class VethPeer:
    """The other end of a veth, made by the same message: its namespace, name, MAC (None = kernel's choice)."""

    netns: str
    name: str
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface that exists. `lo` and the far end of a veth are not made by themselves: `made_by` says so.

    `mtu_bytes` and `txqlen` are those at creation, both ends alike (None = kernel's default, and not compared);
    a planned veth that is made here names its `peer`. An observed link has neither `peer` nor `made_by`.
    """

    kind: ClassVar[str] = "link"
    name: str
    mac: str | None = None
    type: str = "veth"
    txqlen: int | None = None
    mtu_bytes: int | None = None
    peer: VethPeer | None = None
    made_by: Literal["here", "peer", "kernel"] = "here"

    @property
    def key(self) -> Key:
        """One link per name."""
        return ("link", self.name)

    @property
    def derived(self) -> bool:
        """True for what no plan makes: the loopback."""
        return self.made_by == "kernel" or self.type == "loopback"

    @property
    def text(self) -> str:
        """As a command of `ip link add` would say it."""
        mac = f" address {self.mac}" if self.mac else ""
        if self.peer is None:
            return f"link {self.name}{mac} type {self.type}"
        peer = f" peer name {self.peer.name} netns {self.peer.netns}"
        return f"link {self.name}{mac} type {self.type}{peer}{f' address {self.peer.mac}' if self.peer.mac else ''}"


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link is administratively up. A state without it says: down."""

    kind: ClassVar[str] = "link-up"
    name: str
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One per link."""
        return ("link-up", self.name)

    @property
    def text(self) -> str:
        """As `ip link set` takes it."""
        return f"link set {self.name} up"


@dataclass(frozen=True, slots=True)
class LinkMtu:
    """The MTU of a link, in bytes, where an actor sets it after creation."""

    kind: ClassVar[str] = "link-mtu"
    name: str
    mtu_bytes: int
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One per link."""
        return ("link-mtu", self.name)

    @property
    def text(self) -> str:
        """As `ip link set` takes it."""
        return f"link set {self.name} mtu {self.mtu_bytes}"


@dataclass(frozen=True, slots=True)
class Addr:
    """An address on a link. With `connected_route` False the route that the kernel makes for its prefix is deleted again."""

    kind: ClassVar[str] = "addr"
    link: str
    address: str
    prefixlen: int
    family: Family = "inet"
    broadcast: str | None = None
    scope: Literal["global", "link", "host"] = "global"
    connected_route: bool = True
    derived: bool = False

    @property
    def key(self) -> Key:
        """A link carries an address with a prefix length once."""
        return ("addr", self.family, self.link, self.address, self.prefixlen)

    @property
    def text(self) -> str:
        """As `ip addr` prints it."""
        broadcast = f" brd {self.broadcast}" if self.broadcast else ""
        return f"{self.family} {self.address}/{self.prefixlen}{broadcast} scope {self.scope} {self.link}"


RouteType = Literal["unicast", "blackhole", "throw", "unreachable", "prohibit", "local", "broadcast", "anycast", "multicast"]


@dataclass(frozen=True, slots=True)
class Route:
    """A route: `dst` is a prefix with mask or "default"; `via`, `dev`, `src` None where absent.

    `scope` is "global" for routes via a gateway, "link" for those to a device, "host" in table local. `protocol`
    "kernel" marks what the kernel made itself; everything labnet makes is "boot", as the VPC CNI's routes are.
    """

    kind: ClassVar[str] = "route"
    dst: str
    dev: str | None = None
    via: str | None = None
    table: int = TABLE_MAIN
    family: Family = "inet"
    type: RouteType = "unicast"
    scope: Literal["global", "link", "host", "nowhere"] = "global"
    src: str | None = None
    metric: int = 0
    onlink: bool = False
    mtu_bytes: int | None = None
    protocol: str = "boot"

    @property
    def key(self) -> Key:
        """The kernel holds one route per table, destination and metric."""
        return ("route", self.family, self.table, self.dst, self.metric)

    @property
    def derived(self) -> bool:
        """The kernel's own: connected routes and table local."""
        return self.protocol == "kernel" or self.table == TABLE_LOCAL

    @property
    def text(self) -> str:
        """As `ip route show` prints it, plus the table where it is not main."""
        dst = self.dst.removesuffix("/32") if self.family == "inet" else self.dst.removesuffix("/128")
        words = [dst] if self.type == "unicast" else [self.type, dst]
        words += ["via", self.via] if self.via else []
        words += ["dev", self.dev] if self.dev else []
        words += ["table", TABLE_NAMES.get(self.table, str(self.table))] if self.table != TABLE_MAIN else []
        words += ["proto", self.protocol] if self.protocol != "boot" else []
        words += ["scope", self.scope] if self.scope in ("link", "host") and self.type in ("unicast", "local", "broadcast") else []
        words += ["src", self.src] if self.src else []
        words += ["metric", str(self.metric)] if self.metric else []
        words += ["mtu", str(self.mtu_bytes)] if self.mtu_bytes else []
        words += ["onlink"] if self.onlink else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: prefixes with mask or None for "all"; mark and mask None where the rule names none."""

    kind: ClassVar[str] = "rule"
    priority: int
    table: int = TABLE_MAIN
    family: Family = "inet"
    src: str | None = None
    dst: str | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    iif: str | None = None
    oif: str | None = None

    @property
    def key(self) -> Key:
        """The kernel tells rules apart by everything they say."""
        return ("rule", self.family, self.priority, self.src, self.dst, self.fwmark, self.fwmask, self.iif, self.oif, self.table)

    @property
    def derived(self) -> bool:
        """The three rules with which every namespace is born."""
        bare = not (self.src or self.dst or self.fwmark or self.iif or self.oif)
        return bare and (self.priority, self.table) in ((0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT))

    @property
    def text(self) -> str:
        """As `ip rule` prints it, the priority in front."""
        bits = "/32" if self.family == "inet" else "/128"
        words = [f"{self.priority}:", "from", self.src.removesuffix(bits) if self.src else "all"]
        words += ["to", self.dst.removesuffix(bits)] if self.dst else []
        if self.fwmark is not None:
            mask = "" if self.fwmask in (None, 0xFFFFFFFF) else f"/{self.fwmask:#x}"
            words += ["fwmark", f"{self.fwmark:#x}{mask}"]
        words += ["iif", self.iif] if self.iif else []
        words += ["oif", self.oif] if self.oif else []
        return " ".join([*words, "lookup", TABLE_NAMES.get(self.table, str(self.table))])


@dataclass(frozen=True, slots=True)
class Neigh:
    """A neighbour entry. Only permanent ones are planned; learned ones (`state` other) are derived."""

    kind: ClassVar[str] = "neigh"
    link: str
    address: str
    mac: str
    family: Family = "inet"
    state: str = "permanent"

    @property
    def key(self) -> Key:
        """One entry per link and address."""
        return ("neigh", self.family, self.link, self.address)

    @property
    def derived(self) -> bool:
        """Learned by the kernel, not planned."""
        return self.state != "permanent"

    @property
    def text(self) -> str:
        """As `ip neigh` prints it."""
        return f"{self.address} dev {self.link} lladdr {self.mac} {self.state.upper()}"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A value under /proc/sys, by its dotted or slashed path below it: ``net/ipv4/ip_forward``."""

    kind: ClassVar[str] = "sysctl"
    path: str
    value: str
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One value per path."""
        return ("sysctl", self.path)

    @property
    def text(self) -> str:
        """As `sysctl -w` takes it."""
        return f"{self.path.replace('/', '.')} = {self.value}"


@dataclass(frozen=True, slots=True)
class IptChain:
    """A user-defined chain of one actor, with all its rules in order, each as iptables-save prints it after ``-A NAME``."""

    kind: ClassVar[str] = "iptables-chain"
    table: str
    name: str
    rules: tuple[str, ...] = ()
    backend: Backend = "nft"
    family: Family = "inet"
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One chain per table and name."""
        return ("iptables-chain", self.backend, self.family, self.table, self.name)

    @property
    def text(self) -> str:
        """As iptables-save prints it, on several lines."""
        return "\n".join([f"*{self.table} :{self.name} - [0:0]", *(f"-A {self.name} {rule}" for rule in self.rules)])


@dataclass(frozen=True, slots=True)
class IptRule:
    """A rule in a built-in chain (shared by all actors), as iptables-save prints it after ``-A CHAIN``; appended in slice order."""

    kind: ClassVar[str] = "iptables-rule"
    table: str
    chain: str
    spec: str
    backend: Backend = "nft"
    family: Family = "inet"
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """Rules are told apart by their text."""
        return ("iptables-rule", self.backend, self.family, self.table, self.chain, self.spec)

    @property
    def text(self) -> str:
        """As iptables-save prints it, the table in front."""
        return f"*{self.table} -A {self.chain} {self.spec}"


@dataclass(frozen=True, slots=True)
class NftTable:
    """A whole nftables table of one actor but for the elements of its named sets and its per-port chains.

    `body` is what stands between the braces of ``table FAMILY NAME { … }`` in the syntax of `nft -f`, loaded once.
    Observation tells that the table is there and repeats the body that the lab's plan gives it; for tables that are not
    in the plan it holds what `nft list table` prints.
    """

    kind: ClassVar[str] = "nft-table"
    family: str
    name: str
    body: str
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One table per family and name."""
        return ("nft-table", self.family, self.name)

    @property
    def text(self) -> str:
        """As `nft list table` would show it."""
        return f"table {self.family} {self.name} {{\n{self.body.rstrip()}\n}}"


@dataclass(frozen=True, slots=True)
class NftPortChain:
    """A netdev base chain on one device whose single rule jumps to a chain of the same table: one per port and hook."""

    kind: ClassVar[str] = "nft-port-chain"
    table: str
    name: str
    device: str
    hook: Literal["ingress", "egress"]
    jump: str
    family: str = "netdev"
    priority: int = 0
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One chain per table and name."""
        return ("nft-port-chain", self.family, self.table, self.name)

    @property
    def text(self) -> str:
        """As `nft` would show it."""
        hook = f"type filter hook {self.hook} device {self.device} priority {self.priority}; policy accept;"
        return f"chain {self.family} {self.table} {self.name} {{ {hook} jump {self.jump} }}"


@dataclass(frozen=True, slots=True)
class NftElement:
    """One element of a named set, or of a map (`value` set). `fields` are the parts of a concatenation, as nft prints them.

    `types` are nft's type names of the parts, then of the value where there is one, so that the door can encode it:
    ifname, ipv4_addr, ether_addr, inet_service, inet_proto, mark, verdict (value "jump NAME").
    An interval set's element is a prefix with mask in its only field. With `ranges` the set is a concatenation with
    ``flags interval``: each part is one value, a prefix (ipv4_addr) or ``low-high``; marks and class ids stand there in
    network byte order, because nft swaps what it looks up in such a set. Further types there: classid ("1:2", hexadecimal).
    """

    kind: ClassVar[str] = "nft-element"
    table: str
    set: str
    fields: tuple[str, ...]
    types: tuple[str, ...]
    value: str | None = None
    family: str = "inet"
    ranges: bool = False
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """A set holds a key once."""
        return ("nft-element", self.family, self.table, self.set, self.fields)

    @property
    def text(self) -> str:
        """As `nft add element` takes it."""
        value = f" : {self.value}" if self.value is not None else ""
        return f"element {self.family} {self.table} {self.set} {{ {' . '.join(self.fields)}{value} }}"


KernelObject = (
    Link | LinkUp | LinkMtu | Addr | Route | Rule | Neigh | Sysctl | IptChain | IptRule | NftTable | NftPortChain | NftElement
)
T = TypeVar("T", bound=KernelObject)


@dataclass(frozen=True, slots=True)
class KernelState:
    """All that one namespace holds, in the kernel's order (rules by priority, iptables rules by place)."""

    objects: tuple[KernelObject, ...] = ()
    _index: dict[Key, KernelObject] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {item.key: item for item in self.objects})

    def __iter__(self) -> Iterator[KernelObject]:
        return iter(self.objects)

    def __contains__(self, item: KernelObject) -> bool:
        return self._index.get(item.key) == item

    def find(self, key: Key) -> KernelObject | None:
        """The object of that key, or None."""
        return self._index.get(key)

    def all(self, cls: type[T]) -> tuple[T, ...]:
        """Every object of one class, in order."""
        return tuple(item for item in self.objects if isinstance(item, cls))


@dataclass(frozen=True, slots=True)
class Slice:
    """What one actor wants in one namespace: `name` is ``os``, ``fabric``, ``eni:<id>``, ``ipamd``, ``cni:<attachment>``, ``proxy``."""

    name: str
    objects: tuple[KernelObject, ...] = ()


Op = Literal["add", "replace", "remove"]


@dataclass(frozen=True, slots=True)
class Change:
    """One step in one namespace: `object` is what shall be (or shall go), `before` what a replace finds there."""

    op: Op
    object: KernelObject
    before: KernelObject | None = None

    @property
    def text(self) -> str:
        """The change as a plan prints it."""
        return self.object.text

    def undone(self) -> Change:
        """The change that takes this one back."""
        if self.op == "add":
            return Change("remove", self.object)
        if self.op == "remove":
            return Change("add", self.object)
        assert self.before is not None, "a replace knows what it replaces"
        return Change("replace", self.before, self.object)


Batch = tuple[str, tuple[Change, ...]]
"""Changes for one namespace: its name, then the steps in order."""


def merged(slices: Iterable[Slice]) -> KernelState:
    """The union of slices as one state; an object that several slices claim counts once."""
    seen: dict[Key, KernelObject] = {}
    for part in slices:
        for item in part.objects:
            seen.setdefault(item.key, item)
    return KernelState(tuple(seen.values()))
