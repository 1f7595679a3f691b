"""A verdict as values: the packet, each component on its way with what it says, and the document (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from labnet.model.values import frozen

Ports = tuple[int, int]
Way = Literal["there", "back"]
NO_PORTS: Ports = (0, 0)
EPHEMERAL: Ports = (32_768, 60_999)
"""Source ports that Linux chooses: net.ipv4.ip_local_port_range of a node."""
TRANSLATED: Ports = (1_024, 65_535)
"""Source ports behind a NAT gateway, or a node's SNAT with --random-fully."""
ECHO_REQUEST, ECHO_REPLY = 8, 0


@frozen
class Flow:
    """The packets of one direction. Ports are ranges: which source port a sender takes is not known beforehand."""

    src: str
    dst: str
    protocol: str
    src_ports: Ports = NO_PORTS
    dst_ports: Ports = NO_PORTS
    icmp_type: int = ECHO_REQUEST
    ttl: int = 64
    length: int = 0
    """Bytes from the IP header on; 0 = small enough for every link."""

    def reply(self) -> Flow:
        """The answers."""
        return replace(
            self, src=self.dst, dst=self.src, src_ports=self.dst_ports, dst_ports=self.src_ports,
            icmp_type=ECHO_REPLY if self.icmp_type == ECHO_REQUEST else ECHO_REQUEST, ttl=64,
            length=self.length if self.protocol == "icmp" else 0,
        )

    @property
    def ends(self) -> str:
        """``source → destination``."""
        return f"{self.src} → {self.dst}"


@frozen
class Component:
    """One thing on the way. `packet` is ``source → destination`` as it stands there; `code` is AWS's, where it stops and there is one."""

    way: Way
    kind: str
    id: str
    ok: bool
    reason: str
    code: str = ""
    packet: str = ""
    rule: str = ""
    """The one rule that let it pass or stopped it: ``sgr-…``, an ACL's number, a route's destination."""
    target: str = ""
    """Where a route leads, what a gateway makes of an address."""


@frozen
class Explanation:
    """The verdict: every component in order, the last one is where it stops, if it does."""

    source: str
    target: str
    protocol: str
    port: int | None
    components: tuple[Component, ...]

    @property
    def stopped(self) -> Component | None:
        """The first component that stops it."""
        return next((one for one in self.components if not one.ok), None)

    @property
    def reachable(self) -> bool:
        """Does it get there, and the answer back?"""
        return self.stopped is None

    def document(self) -> Mapping[str, Any]:
        """The Explanation document."""
        stopped = self.stopped
        return {
            "apiVersion": "labnet/v1", "kind": "Explanation", "from": self.source, "to": self.target, "protocol": self.protocol,
            "port": self.port, "reachable": self.reachable,
            "explanation": None if stopped is None else _shown(stopped),
            "components": [_shown(one) for one in self.components],
        }


def _shown(one: Component) -> dict[str, Any]:
    return {
        "way": one.way, "kind": one.kind, "id": one.id, "verdict": "passes" if one.ok else "stops", "code": one.code or None,
        "reason": one.reason, "packet": one.packet,
    }
