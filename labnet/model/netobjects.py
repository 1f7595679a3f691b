"""Links, addresses, routes, rules, neighbours and sysctls of a network namespace, as values (pure; see `model.netstate`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from labnet.model.values import frozen

Family = Literal["inet", "inet6"]
Backend = Literal["nft", "legacy"]
Key = tuple[object, ...]

TABLE_DEFAULT = 253
TABLE_MAIN = 254
TABLE_LOCAL = 255
TABLE_NAMES = {TABLE_DEFAULT: "default", TABLE_MAIN: "main", TABLE_LOCAL: "local"}


@frozen
class VethPeer:
    """The other end of a veth, made by the same message: its namespace, name, MAC (None = kernel's choice)."""

    netns: str
    name: str
    mac: str | None = None


@frozen
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


@frozen
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


@frozen
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


@frozen
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


@frozen
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


RuleAction = Literal["lookup", "blackhole", "unreachable", "prohibit"]


@frozen
class Rule:
    """A policy rule: prefixes with mask or None for "all"; mark and mask None where the rule names none.

    No plan has rules with another `action` than "lookup" (they look no table up, and end the packet) or with a
    `suppress_prefixlength` (routes with a prefix that short do not count): they are read only, for traces.
    """

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
    action: RuleAction = "lookup"
    suppress_prefixlength: int | None = None

    @property
    def key(self) -> Key:
        """The kernel tells rules apart by everything they say."""
        plain = ("rule", self.family, self.priority, self.src, self.dst, self.fwmark, self.fwmask, self.iif, self.oif, self.table)
        special = self.action != "lookup" or self.suppress_prefixlength is not None
        return (*plain, self.action, self.suppress_prefixlength) if special else plain

    @property
    def derived(self) -> bool:
        """The three rules with which every namespace is born, and those that no plan can have."""
        if self.action != "lookup":
            return True
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
        if self.action != "lookup":
            return " ".join([*words, self.action])
        words += ["lookup", TABLE_NAMES.get(self.table, str(self.table))]
        words += ["suppress_prefixlength", str(self.suppress_prefixlength)] if self.suppress_prefixlength is not None else []
        return " ".join(words)


@frozen
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


@frozen
class Sysctl:
    """A value under /proc/sys, by its dotted or slashed path below it: ``net/ipv4/ip_forward``.

    An `optional` one is written only where the kernel has the path.
    """

    kind: ClassVar[str] = "sysctl"
    path: str
    value: str
    optional: bool = False
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One value per path."""
        return ("sysctl", self.path)

    @property
    def text(self) -> str:
        """As `sysctl -w` takes it."""
        return f"{self.path.replace('/', '.')} = {self.value}"
