"""Packets on their way: what a tap saw, what a walk predicts, and the path that a trace tells (pure)."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from labnet.model.drops import DropCheck
from labnet.model.values import frozen

Direction = Literal["in", "out"]


@frozen
class Probe:
    """The packet that a trace sends: ports 0 for icmp; `ident` tells it from other traffic."""

    protocol: Literal["icmp", "tcp", "udp"]
    src: str
    dst: str
    src_port: int = 0
    dst_port: int = 0
    ident: int = 0
    ttl: int = 64
    length: int = 0


@frozen
class Frame:
    """One frame as it stood on a link; `time_ns` from one monotonic clock; `length` in bytes from the IP header on."""

    src_mac: str
    dst_mac: str
    src: str
    dst: str
    protocol: str
    src_port: int
    dst_port: int
    ttl: int
    length: int
    time_ns: int = 0
    mark: int | None = None


@frozen
class RuleChoice:
    """The policy rule that chose a table."""

    priority: int
    text: str


@frozen
class RuleTried:
    """A policy rule that the routing decision came to, in order: the one that `won`, or `reason` says why it was passed over."""

    priority: int
    text: str
    won: bool = False
    reason: str = ""


@frozen
class RouteTried:
    """A route that was looked at: the one that `won`, or `reason` says why it did not."""

    table: int
    text: str
    won: bool = False
    reason: str = ""


@frozen
class KernelLookup:
    """What the kernel answered to the same question (RTM_GETROUTE with RTM_F_FIB_MATCH): `agrees` compares table and route.

    `error` is an errno (0 = routed); `mark` and `iif` are part of the question.
    """

    agrees: bool
    table: int = 0
    route: str = ""
    error: int = 0
    mark: int = 0
    iif: str = ""


@frozen
class NetfilterRule:
    """A rule of netfilter that matched. `number` is its place in the chain (from 1; 0 = the chain's policy).

    `handle` is nf_tables' own (0 = none).
    `backend`: who made the table. `traced`: did the kernel's own trace events name it? None = they could not be had there.
    """

    backend: Literal["legacy", "iptables-nft", "nft"]
    family: str
    table: str
    chain: str
    number: int
    handle: int
    text: str
    verdict: str
    traced: bool | None = None


@frozen
class FlowTuple:
    """One direction of a tracked flow; ports 0 for icmp."""

    src: str
    dst: str
    src_port: int = 0
    dst_port: int = 0


@frozen
class TrackedFlow:
    """A conntrack entry: both directions, its mark, and one line for people."""

    protocol: str
    original: FlowTuple
    reply: FlowTuple
    mark: int = 0
    text: str = ""


@frozen
class FlowChange:
    """The probe's conntrack entry in a namespace, before the probe was sent and after the trace; None = there was none."""

    before: TrackedFlow | None = None
    after: TrackedFlow | None = None


@frozen
class ReversePath:
    """What rp_filter said of the packet's source on the link by which it came: `value` is the mode that counts (0 off, 1 strict, 2 loose)."""

    link: str
    value: int
    verdict: Literal["off", "passes", "drops"]
    text: str = ""


@frozen
class FabricCheck:
    """One thing that AWS decides. `id` is the table, group, ACL, gateway or ENI.

    `rule` is its rule (``sgr-…``, an ACL rule's number, a route's destination), `target` is where a route leads, or what a gateway
    makes of the address (``10.0.1.5 → 203.0.113.7``).
    """

    kind: Literal["source-dest-check", "route-table", "security-group", "acl", "gateway", "zone"]
    id: str
    way: Literal["egress", "ingress", ""]
    verdict: Literal["passes", "stops"]
    rule: str = ""
    target: str = ""
    text: str = ""


@frozen
class Decision:
    """Why a packet went on as it did from this hop; empty fields do not apply."""

    rule: RuleChoice | None = None
    table: int | None = None
    route: str = ""
    neighbour: str = ""
    netfilter: tuple[str, ...] = ()
    nat: str = ""
    check: str = ""
    confirmed: bool | None = None
    """Did the kernel's own route lookup agree? None = not asked."""
    rules: tuple[RuleTried, ...] = ()
    """Every policy rule up to the winning one, in order."""
    routes: tuple[RouteTried, ...] = ()
    """The winning route and, of the table that had it, those that could have been meant: less specific ones, and a few that just miss."""
    kernel: KernelLookup | None = None
    matched: tuple[NetfilterRule, ...] = ()
    """Every netfilter rule that matched, in order."""
    conntrack: FlowChange | None = None
    mark_in: int | None = None
    mark_out: int | None = None
    rp_filter: ReversePath | None = None
    ttl_in: int | None = None
    ttl_out: int | None = None
    mtu_bytes: int | None = None
    """Of the way out: the route's, else the link's."""
    fabric: tuple[FabricCheck, ...] = ()


@frozen
class Hop:
    """One step of a path: where, which way, the frame there, and the decision taken next."""

    n: int
    netns: str
    owner: str
    link: str
    direction: Direction
    frame: Frame | None
    decision: Decision | None = None


@frozen
class Counterfactual:
    """A change that was tried on a copy of the state. `change` says it in words, `verdict` what the walk came to then.

    `change` "" = none of the `tried` single changes lets the packet pass.
    """

    change: str
    verdict: str
    tried: int = 0


@frozen
class Drop:
    """Where a packet ended and why: `counter` names what counted it, if anything did; `state` the facts that caused it, one a line.

    An answer ends at no hop of the way there: `owner` and `link` say where it did.
    """

    hop: int
    check: DropCheck
    text: str
    counter: str = ""
    state: tuple[str, ...] = ()
    counterfactual: Counterfactual | None = None
    owner: str = ""
    link: str = ""


@frozen
class Finding:
    """Something that does not fit together. `kind`: the walk and the frames (``seen``), the kernel's lookup (``lookup``) or its
    trace events (``netfilter``), or `explain` (``explain``); `hop` 0 = the whole path.
    """

    kind: Literal["seen", "lookup", "netfilter", "explain"]
    hop: int
    text: str


@frozen
class Symmetry:
    """Is the way back the way there, reversed? `text` says where they first differ."""

    symmetric: bool
    text: str = ""
    there: str = ""
    back: str = ""


@frozen
class Path:
    """A whole trace. `answer`: did what the target sent back reach the source, was it seen and then lost, or not seen at all ("")?

    `answer_drop` is what counted the lost answer, if anything did; its hop is the last one, where the answer started.
    """

    source: str
    target: str
    probe: Probe
    delivered: bool
    hops: tuple[Hop, ...] = ()
    drop: Drop | None = None
    lost: int = 0
    notes: tuple[str, ...] = field(default=())
    answer: Literal["", "arrived", "lost"] = ""
    answer_drop: Drop | None = None
    findings: tuple[Finding, ...] = ()
    back: Path | None = None
    """The trace in the other direction, where it was asked for."""
    symmetry: Symmetry | None = None
