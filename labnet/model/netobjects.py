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


RuleAction = Literal["lookup", "goto", "nop", "blackhole", "unreachable", "prohibit"]
Range = tuple[int, int]
IP_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}


@frozen
class RuleExtras:
    """What a rule says beyond prefixes, mark, links and table: nothing that labnet's own actors write, but others may.

    `inverted`: it applies to all that it does not name. `goto` is the priority that such a rule jumps to. `suppress_bits`: a route
    with so many bits or fewer does not count. `unread` is told as it stands: what it means is not judged here.
    """

    action: RuleAction = "lookup"
    goto: int = 0
    inverted: bool = False
    tos: int = 0
    ip_protocol: int = 0
    sport: Range | None = None
    dport: Range | None = None
    uids: Range | None = None
    suppress_bits: int | None = None
    unread: tuple[tuple[str, int], ...] = ()

    @property
    def matches(self) -> list[str]:
        """The conditions, as `ip rule` prints them behind the links."""
        words = ["uidrange", f"{self.uids[0]}-{self.uids[1]}"] if self.uids else []
        words += ["ipproto", IP_PROTOCOLS.get(self.ip_protocol, f"ipproto-{self.ip_protocol}")] if self.ip_protocol else []
        for name, ports in (("sport", self.sport), ("dport", self.dport)):
            words += [name, _range(ports)] if ports else []
        return words


@frozen
class Rule:
    """A policy rule: prefixes with mask or None for "all"; mark and mask None where the rule names none; no `extras` in what is planned."""

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
    extras: RuleExtras | None = None

    @property
    def key(self) -> Key:
        """The kernel tells rules apart by everything they say."""
        said = ("rule", self.family, self.priority, self.src, self.dst, self.fwmark, self.fwmask, self.iif, self.oif, self.table)
        return said if self.extras is None else (*said, self.extras)

    @property
    def action(self) -> RuleAction:
        """What it does with a packet that it applies to."""
        return self.extras.action if self.extras else "lookup"

    @property
    def derived(self) -> bool:
        """The three rules with which every namespace is born."""
        bare = not (self.src or self.dst or self.fwmark or self.iif or self.oif or self.extras)
        return bare and (self.priority, self.table) in ((0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT))

    @property
    def text(self) -> str:
        """As `ip rule` prints it, the priority in front."""
        bits, extras = "/32" if self.family == "inet" else "/128", self.extras
        words = [f"{self.priority}:", *(["not"] if extras and extras.inverted else [])]
        words += ["from", self.src.removesuffix(bits) if self.src else "all"]
        words += ["to", self.dst.removesuffix(bits)] if self.dst else []
        words += ["tos", f"{extras.tos:#04x}"] if extras and extras.tos else []
        if self.fwmark is not None:
            mask = "" if self.fwmask in (None, 0xFFFFFFFF) else f"/{self.fwmask:#x}"
            words += ["fwmark", f"{self.fwmark:#x}{mask}"]
        words += ["iif", self.iif] if self.iif else []
        words += ["oif", self.oif] if self.oif else []
        words += extras.matches if extras else []
        return " ".join([*words, *self._deed()])

    def _deed(self) -> list[str]:
        extras = self.extras
        if self.action == "goto" and extras:
            words = ["goto", str(extras.goto)]
        elif self.action == "lookup":
            words = ["lookup", TABLE_NAMES.get(self.table, str(self.table))]
        else:
            words = [self.action]
        if extras is None:
            return words
        words += ["suppress_prefixlength", str(extras.suppress_bits)] if extras.suppress_bits is not None else []
        return words + [word for name, value in extras.unread for word in (name, str(value))]


def _range(ports: Range) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


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
