"""A packet while a walk carries it, and what netfilter made of it (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from labnet.model.packet import Frame, NetfilterRule, Probe
from labnet.model.values import frozen

PROTOCOL_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
MARK_BITS = 0xFFFFFFFF
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"


@frozen
class InFlight:
    """A packet in one namespace: headers, marks, and the links it came by and leaves by ("" = not yet or local).

    `answers`: connection tracking of this namespace knows it for an answer to a flow that went through; else it is the first of its flow.
    """

    src: str
    dst: str
    protocol: str
    src_port: int = 0
    dst_port: int = 0
    ttl: int = 64
    length: int = 0
    src_mac: str = ""
    dst_mac: str = ""
    mark: int = 0
    ct_mark: int = 0
    priority: int = 0
    iif: str = ""
    oif: str = ""
    answers: bool = False

    def frame(self) -> Frame:
        """The packet as it stands on a link."""
        return Frame(
            self.src_mac, self.dst_mac, self.src, self.dst, self.protocol, self.src_port, self.dst_port, self.ttl, self.length,
            mark=self.mark or None,
        )

    def arrived(self, link: str) -> InFlight:
        """The packet behind a wire: marks and connection tracking begin anew in another namespace."""
        return replace(self, mark=0, ct_mark=0, priority=0, iif=link, oif="", answers=False)


def from_probe(probe: Probe) -> InFlight:
    """The packet that a probe sends, before any routing."""
    return InFlight(probe.src, probe.dst, probe.protocol, probe.src_port, probe.dst_port, probe.ttl, probe.length)


@frozen
class Outcome:
    """What a netfilter hook did: the packet afterwards, the verdict, the rules that acted, and what could not be judged.

    `rules`: every rule that matched, those without effect too.
    `rule` and `counter` name the rule that dropped and the comment of its counter; `nat` tells a translation as ``SNAT a → b``.
    """

    packet: InFlight
    verdict: Literal["accept", "drop"] = "accept"
    matched: tuple[str, ...] = ()
    rule: str = ""
    counter: str = ""
    nat: str = ""
    unknown: tuple[str, ...] = ()
    rules: tuple[NetfilterRule, ...] = ()

    def then(self, later: Outcome) -> Outcome:
        """Both outcomes as one, the later one deciding."""
        nat = "; ".join(filter(None, (self.nat, later.nat)))
        unknown, rules = self.unknown + later.unknown, self.rules + later.rules
        return replace(later, matched=self.matched + later.matched, nat=nat, unknown=unknown, rules=rules)
