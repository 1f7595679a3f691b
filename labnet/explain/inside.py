"""A packet inside nodes and pods: the walk of a trace over the desired state, up to an ENI or to a program (pure).

On the way back the nodes know the flow: no nat chain is asked, addresses are put back and the connection's mark is there.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import NoReturn

from labnet.model.netstate import Route
from labnet.model.values import frozen
from labnet.trace.flight import InFlight, Outcome
from labnet.trace.hooks import Netfilter
from labnet.trace.predict import MAX_HOPS, Arrival, Ended, Walker
from labnet.trace.world import Host, World


@frozen
class Step:
    """What one namespace did with the packet."""

    netns: str
    owner: str
    role: str
    text: str
    packet: str


@frozen
class Passage:
    """A way inside nodes and pods. It ends at an ENI's `link`, in a program (`delivered`), or `stopped` says why not."""

    netns: str
    packet: InFlight
    steps: tuple[Step, ...]
    link: str = ""
    delivered: bool = False
    stopped: str = ""


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


def leave(world: World, netns: str, packet: InFlight, memory: Memory) -> Passage:
    """A program of a namespace sends a packet."""
    walker = _Inside(world, memory, packet)
    return walker.run(netns, None)


def enter(world: World, netns: str, link: str, packet: InFlight, memory: Memory) -> Passage:
    """An ENI gives a packet to its node."""
    walker = _Inside(world, memory, packet)
    return walker.run(netns, link)


class _Inside(Walker):
    """The walk of a trace that ends where the VPC begins."""

    def __init__(self, world: World, memory: Memory, packet: InFlight) -> None:
        super().__init__(world)
        self.memory = memory
        self.packet = packet
        self.place = ("", "")
        self.here = ""

    def run(self, netns: str, link: str | None) -> Passage:
        self.here = netns
        try:
            if link is None:
                arrival = self.leave(netns, self.packet)
            else:
                host, _ = self.visit(netns)
                arrival = self.take(netns, link, replace(self.packet, dst_mac=host.mac(link)))
            while len(self.hops) < MAX_HOPS:
                self.here = arrival[0]
                arrival = self.take(*arrival)
            self.drop("unknown", f"still on its way after {MAX_HOPS} hops: the routes make a loop")
        except Ended:
            pass
        stopped = self.dropped.text if self.dropped else ""
        return Passage(self.here, self.packet, self._steps(), self.place[1], self.delivered, stopped)

    def visit(self, netns: str) -> tuple[Host, Netfilter]:
        if netns not in self._visited:
            host = Host(self.world, netns)
            self._visited[netns] = (host, _Remembering(host, self.memory))
        return self._visited[netns]

    def send(self, host: Host, netfilter: Netfilter, packet: InFlight, route: Route) -> Arrival:
        peer = self.world.wires.get((host.netns, route.dev or ""))
        if peer is None or peer[0] in self.world.states:
            return super().send(host, netfilter, packet, route)
        self.packet, self.place = packet, (host.netns, route.dev or "")
        self.add(host, route.dev or "", "out", packet)
        raise Ended

    def deliver(self, host: Host, netfilter: Netfilter, packet: InFlight) -> NoReturn:
        self.packet = packet
        super().deliver(host, netfilter, packet)

    def _steps(self) -> tuple[Step, ...]:
        """One a namespace: what it decided stands at the hop by which the packet came in, or at its first."""
        found: dict[str, Step] = {}
        for hop in self.hops:
            host, _ = self._visited[hop.netns]
            said = hop.decision
            words: list[str] = []
            if said is not None:
                words += [f"rule {said.rule.priority} {said.rule.text}"] if said.rule else []
                words += [said.route] if said.route else []
                words += [said.nat] if said.nat else []
            text = "; ".join(words)
            packet = f"{hop.frame.src} → {hop.frame.dst}" if hop.frame else ""
            before = found.get(hop.netns)
            if before is None or (text and not before.text):
                found[hop.netns] = Step(hop.netns, hop.owner, host.role or "", text, packet)
            else:
                found[hop.netns] = replace(before, packet=packet)
        return tuple(found.values())


class _Remembering(Netfilter):
    """Netfilter with connection tracking: flows that come are remembered, what answers one is put back."""

    def __init__(self, host: Host, memory: Memory) -> None:
        super().__init__(host)
        self._known = Netfilter(host, established=True)
        self._netns = host.netns
        self._memory = memory
        self._came: InFlight | None = None
        self._answered: Tracked | None = None

    def hook(self, name: str, packet: InFlight) -> Outcome:
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
        outcome = self._known.hook(name, replace(packet, ct_mark=flow.left.ct_mark) if first else packet)
        after = outcome.packet
        if first:
            after = replace(after, dst=flow.came.src, dst_port=flow.came.src_port)
        if name in ("postrouting", "input"):
            after = replace(after, src=flow.came.dst, src_port=flow.came.dst_port)
        nat = f"back to {after.src} → {after.dst}" if (after.src, after.dst) != (packet.src, packet.dst) else ""
        return replace(outcome, packet=after, nat=nat)
