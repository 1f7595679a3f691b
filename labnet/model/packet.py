"""Packets on their way: what a tap saw, what a walk predicts, and the path that a trace tells (pure)."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from labnet.model.values import frozen

Direction = Literal["in", "out"]
DropCheck = Literal[
    "source-dest-check", "forwarding-off", "rp-filter", "no-route", "blackhole", "neighbour", "security-group-egress",
    "security-group-ingress", "acl", "netfilter", "mtu", "ttl", "not-listening", "unknown",
    "zone-failure", "zone-loss",
]


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
class Drop:
    """Where a packet ended and why: `counter` names what counted it, if anything did."""

    hop: int
    check: DropCheck
    text: str
    counter: str = ""


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
