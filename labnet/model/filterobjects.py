"""iptables and nftables objects of a network namespace, as values (pure; see `model.netstate`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from labnet.model.netobjects import Backend, Family, Key
from labnet.model.values import frozen


@frozen
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


@frozen
class IptPolicy:
    """The policy of a built-in chain where it is not ACCEPT. Nothing of labnet sets one; who looks must know of those that others set."""

    kind: ClassVar[str] = "iptables-policy"
    table: str
    chain: str
    policy: str
    backend: Backend = "nft"
    family: Family = "inet"
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One per built-in chain."""
        return ("iptables-policy", self.backend, self.family, self.table, self.chain)

    @property
    def text(self) -> str:
        """As iptables-save prints it."""
        return f"*{self.table} :{self.chain} {self.policy}"


@frozen
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


@frozen
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


@frozen
class NftPortChain:
    """A netdev base chain on one device whose single rule jumps to a chain of the same table: one per port and hook.

    With `mark` (not 0) the rule sets the packet's mark first: what the chain it jumps to shall know of the port, without a look-up.
    """

    kind: ClassVar[str] = "nft-port-chain"
    table: str
    name: str
    device: str
    hook: Literal["ingress", "egress"]
    jump: str
    family: str = "netdev"
    priority: int = 0
    mark: int = 0
    derived: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """One chain per table and name."""
        return ("nft-port-chain", self.family, self.table, self.name)

    @property
    def text(self) -> str:
        """As `nft` would show it."""
        hook = f"type filter hook {self.hook} device {self.device} priority {self.priority}; policy accept;"
        mark = f"meta mark set {self.mark:#010x} " if self.mark else ""
        return f"chain {self.family} {self.table} {self.name} {{ {hook} {mark}jump {self.jump} }}"


@frozen
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
