"""What connection tracking remembers of flows that a walk took through namespaces, and what it makes of their answers (pure).

Answers meet no nat chain: addresses are put back, and the connection's mark is there.
"""

from __future__ import annotations

from dataclasses import field, replace

from labnet.model.values import frozen
from labnet.trace.flight import InFlight, Outcome
from labnet.trace.hooks import Netfilter
from labnet.trace.world import Host


@frozen
class Tracked:
    """A flow as one namespace knows it: the packet when it came, and when it left."""

    came: InFlight
    left: InFlight

    def answers(self, packet: InFlight) -> bool:
        """Is it a packet of the way back?"""
        return (packet.src, packet.dst) == (self.left.dst, self.left.src)


@frozen
class Memory:
    """What connection tracking of each namespace holds."""

    flows: dict[str, list[Tracked]] = field(default_factory=dict)

    def find(self, netns: str, packet: InFlight) -> Tracked | None:
        """The flow that a packet answers."""
        return next((one for one in self.flows.get(netns, ()) if one.answers(packet)), None)


class Remembering(Netfilter):
    """Netfilter with connection tracking: flows that come are remembered, what answers one is put back."""

    def __init__(self, host: Host, memory: Memory) -> None:
        super().__init__(host)
        self._known = Netfilter(host, established=True)
        self._netns = host.netns
        self._memory = memory
        self._came: InFlight | None = None
        self._answered: Tracked | None = None

    def hook(self, name: str, packet: InFlight) -> Outcome:
        """A hook as `Netfilter` takes a packet through it; answers of known flows are put back."""
        if name in ("prerouting", "output"):
            self._came, self._answered = packet, self._memory.find(self._netns, packet)
        if self._answered is not None:
            return self._put_back(name, packet, self._answered)
        outcome = super().hook(name, packet)
        if name in ("postrouting", "input") and outcome.verdict == "accept" and self._came is not None:
            self._memory.flows.setdefault(self._netns, []).append(Tracked(self._came, outcome.packet))
        return outcome

    def _put_back(self, name: str, packet: InFlight, flow: Tracked) -> Outcome:
        first = name in ("prerouting", "output")
        outcome = self._known.hook(name, replace(packet, ct_mark=flow.left.ct_mark, answers=True) if first else packet)
        after = outcome.packet
        if first:
            after = replace(after, dst=flow.came.src, dst_port=flow.came.src_port)
        if name in ("postrouting", "input"):
            after = replace(after, src=flow.came.dst, src_port=flow.came.dst_port)
        nat = f"back to {after.src} → {after.dst}" if (after.src, after.dst) != (packet.src, packet.dst) else ""
        return replace(outcome, packet=after, nat=nat)
