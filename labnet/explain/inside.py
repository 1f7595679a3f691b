"""A packet inside nodes and pods: the walk of a trace over the desired state, up to an ENI or to a program (pure).

On the way back the nodes know the flow: no nat chain is asked, addresses are put back and the connection's mark is there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from labnet.model.netstate import Route
from labnet.model.values import frozen
from labnet.trace.flight import InFlight, Outcome
from labnet.trace.hooks import Netfilter
from labnet.trace.memory import Memory, Remembering
from labnet.trace.predict import MAX_HOPS, Arrival, Ended, Walker
from labnet.trace.routing import LOOPBACK, Answer
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
            self._visited[netns] = (host, Remembering(host, self.memory))
        return self._visited[netns]

    def send(self, host: Host, netfilter: Netfilter, packet: InFlight, route: Route) -> Arrival:
        peer = self.world.wires.get((host.netns, route.dev or ""))
        if peer is None or peer[0] in self.world.states:
            return super().send(host, netfilter, packet, route)
        self.packet, self.place = packet, (host.netns, route.dev or "")
        self.add(host, route.dev or "", "out", packet)
        raise Ended

    def route(self, host: Host, packet: InFlight, iif: str = LOOPBACK) -> Answer:
        """A policy rule of which cannot be told what it does: nobody may say where the packet goes."""
        answer = super().route(host, packet, iif)
        if answer.unknown:
            self.drop("unknown", f"cannot tell what this policy rule does: {answer.unknown[0]}")
        return answer

    def passed(self, outcome: Outcome, host: Host) -> InFlight:
        """A rule that drops, if it applies, and of which that cannot be told: nobody may say that the packet passes."""
        doubtful = next((text for text in outcome.unknown if _drops(text)), None)
        if doubtful is not None and outcome.verdict != "drop":
            self.drop("unknown", f"cannot tell whether this rule applies: {doubtful}")
        return super().passed(outcome, host)

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


def _drops(rule: str) -> bool:
    """Would a rule, as iptables-save or nft prints it, end a packet?"""
    words = rule.split()
    return any(word in words for word in ("DROP", "REJECT", "drop", "reject"))
