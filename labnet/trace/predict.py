"""The walk: where a packet goes, hop by hop, by the state of the namespaces alone (pure).

The source routes it out, every namespace on its way takes it in (netdev ingress, prerouting, routing decision, reverse path,
forward, postrouting, neighbour, netdev egress) as the kernel would, until one delivers or drops it. The VPC is walked like
any other namespace: that it is no hop, checks sources and filters by groups follows from its rules and sets.

The decision of a namespace stands at the hop by which the packet came in; the source's own at its first hop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from labnet.model.drops import DropCheck
from labnet.model.netstate import TABLE_MAIN, Route
from labnet.model.packet import Decision, Direction, Drop, Hop, Path, Probe
from labnet.model.values import frozen
from labnet.trace import words
from labnet.trace.flight import BROADCAST_MAC, InFlight, Outcome, from_probe
from labnet.trace.hooks import Netfilter
from labnet.trace.neighbour import resolve
from labnet.trace.routing import LOOPBACK, Answer, Question, lookup, reverse_path, routes_tried
from labnet.trace.world import Host, World

MAX_HOPS = 64


@frozen
class RouteAsk:
    """A routing decision of the walk as a question to the kernel: at hop `hop`, this packet, and what was found."""

    hop: int
    netns: str
    question: Question
    answer: Answer


@frozen
class Walked:
    """A predicted path with the routing questions behind it."""

    path: Path
    asks: tuple[RouteAsk, ...]


def predict(world: World, start_netns: str, probe: Probe) -> Path:
    """The path that a probe takes from a namespace.

    Shape:  hops in order, each link twice (out of one namespace, into the next); `drop` says where and why it ends.
    Errors: KeyError when the world lacks a namespace on the way; a part of a rule that is not understood is noted, never guessed.
    """
    return walk(world, start_netns, probe).path


def walk(world: World, start_netns: str, probe: Probe) -> Walked:
    """As `predict`, with the routing questions that the kernel can be asked to confirm."""
    walker = Walker(world)
    try:
        arrival = walker.leave(start_netns, from_probe(probe))
        while len(walker.hops) < MAX_HOPS:
            arrival = walker.take(*arrival)
        walker.drop("unknown", f"still on its way after {MAX_HOPS} hops: the routes make a loop")
    except Ended:
        pass
    path = Path(
        source=world.owner(start_netns), target=probe.dst, probe=probe, delivered=walker.delivered,
        hops=tuple(walker.hops), drop=walker.dropped, notes=tuple(dict.fromkeys(walker.notes)),
    )
    return Walked(path, tuple(walker.asks))


def question_of(packet: InFlight, iif: str = LOOPBACK) -> Question:
    """The routing question that a packet is."""
    return Question(packet.dst, packet.src, iif, packet.mark, protocol=packet.protocol, sport=packet.src_port, dport=packet.dst_port)


Arrival = tuple[str, str, InFlight]
"""A packet that comes in: namespace, link, packet."""


class Ended(Exception):
    """The packet goes no further: delivered or dropped, as the walker noted."""


class Walker:
    """Gathers hops while it goes; `decision` belongs to the hop `deciding`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hops: list[Hop] = []
        self.asks: list[RouteAsk] = []
        self.notes: list[str] = []
        self.dropped: Drop | None = None
        self.delivered = False
        self.decision = Decision()
        self.deciding = 0
        self._visited: dict[str, tuple[Host, Netfilter]] = {}

    def visit(self, netns: str) -> tuple[Host, Netfilter]:
        """A namespace ready to be asked, read once."""
        if netns not in self._visited:
            host = Host(self.world, netns)
            self._visited[netns] = (host, Netfilter(host))
        return self._visited[netns]

    # ---- the source ----

    def leave(self, netns: str, packet: InFlight) -> Arrival:
        """Output in the source namespace: routing, OUTPUT, routing again where that changed the packet, POSTROUTING."""
        host, netfilter = self.visit(netns)
        self.deciding, self.decision = 0, Decision(mark_in=packet.mark, ttl_in=packet.ttl)
        packet, route = self.routed_out(host, packet)
        before = packet
        packet = self.passed(netfilter.hook("output", packet), host)
        if (before.src, before.dst, before.mark) != (packet.src, packet.dst, packet.mark):
            packet, route = self.routed_out(host, packet)
        packet = self.passed(netfilter.hook("postrouting", packet), host)
        if packet.oif != LOOPBACK:
            return self.send(host, netfilter, packet, route)
        self.add(host, LOOPBACK, "out", packet)
        self.add(host, LOOPBACK, "in", packet)
        return self.deliver(host, netfilter, replace(packet, iif=LOOPBACK, oif=""))

    def routed_out(self, host: Host, packet: InFlight) -> tuple[InFlight, Route]:
        """The packet with the link by which its own namespace sends it, and the route."""
        answer = self.route(host, packet)
        route = self.taken(host, packet, answer)
        return replace(packet, oif=LOOPBACK if answer.local else route.dev or ""), route

    # ---- every further namespace ----

    def take(self, netns: str, link: str, packet: InFlight) -> Arrival:
        """A frame comes in by a link: take it, then deliver or forward it."""
        host, netfilter = self.visit(netns)
        packet = packet.arrived(link)
        self.add(host, link, "in", packet)
        self.deciding, self.decision = len(self.hops) - 1, Decision(mark_in=packet.mark, ttl_in=packet.ttl)
        if link not in host.up:
            self.drop("neighbour", f"{link} is down")
        outcome, kind = netfilter.device("ingress", link, packet)
        packet = self.passed(outcome, host)
        if kind != "host" and packet.dst_mac not in (host.mac(link), BROADCAST_MAC):
            self.drop("neighbour", f"the frame is for {packet.dst_mac}, {link} has {host.mac(link) or 'no MAC'}")
        packet = self.passed(netfilter.hook("prerouting", packet), host)
        answer = self.route(host, packet, link)
        route = self.taken(host, packet, answer)
        if not answer.local and not self.may_forward(host, link):
            self.drop("forwarding-off", f"{host.owner} does not forward (net.ipv4.ip_forward or conf.{link}.forwarding is 0)")
        judged = reverse_path(host, question_of(packet, link))
        self.decide(rp_filter=judged)
        if judged.verdict == "drops":
            self.drop("rp-filter", judged.text)
        return self.deliver(host, netfilter, packet) if answer.local else self.forward(host, netfilter, packet, route)

    def forward(self, host: Host, netfilter: Netfilter, packet: InFlight, route: Route) -> Arrival:
        """What the kernel does between two links: TTL, FORWARD, POSTROUTING."""
        if packet.ttl <= 1:
            self.drop("ttl", f"the TTL ends in {host.owner}")
        packet = replace(packet, ttl=packet.ttl - 1, oif=route.dev or "")
        for hook in ("forward", "postrouting"):
            packet = self.passed(netfilter.hook(hook, packet), host)
        return self.send(host, netfilter, packet, route)

    def deliver(self, host: Host, netfilter: Netfilter, packet: InFlight) -> NoReturn:
        """Local delivery, through INPUT."""
        packet = self.passed(netfilter.hook("input", packet), host)
        self.decide(mark_out=packet.mark, ttl_out=packet.ttl)
        self.delivered = True
        raise Ended

    def send(self, host: Host, netfilter: Netfilter, packet: InFlight, route: Route) -> Arrival:
        """Out of a link: MTU, next hop's MAC, egress chains, the wire."""
        link = route.dev or ""
        mtu_bytes = route.mtu_bytes or host.mtu_bytes.get(link, 0)
        self.decide(mtu_bytes=mtu_bytes or None, mark_out=packet.mark, ttl_out=packet.ttl)
        if mtu_bytes and packet.length > mtu_bytes:
            self.drop("mtu", f"{packet.length} bytes do not fit through {link} (MTU {mtu_bytes})")
        self.has_carrier(host, link)
        found = resolve(self.world, host, link, route.via or packet.dst, self.visit, packet.src)
        self.decide(neighbour=found.text)
        if not found.mac:
            self.drop("neighbour", f"no MAC is known for {route.via or packet.dst} on {link}")
        packet = replace(packet, src_mac=host.mac(link), dst_mac=found.mac)
        packet = self.passed(netfilter.device("egress", link, packet)[0], host)
        self.decide(mark_out=packet.mark, ttl_out=packet.ttl)
        self.add(host, link, "out", packet)
        peer = self.world.wires.get((host.netns, link))
        if peer is None or peer[0] not in self.world.states:
            self.drop("unknown", f"nothing is known behind {link} of {host.owner}")
        return (*peer, packet)

    def has_carrier(self, host: Host, link: str) -> None:
        """A veth whose other end is down sends nothing."""
        peer = self.world.wires.get((host.netns, link))
        if peer is None or peer[0] not in self.world.states:
            return
        other, _ = self.visit(peer[0])
        if peer[1] in other.links and peer[1] not in other.up:
            self.drop("neighbour", f"{link} has no carrier: its other end, {peer[1]} of {other.owner}, is down")

    # ---- small steps ----

    def route(self, host: Host, packet: InFlight, iif: str = LOOPBACK) -> Answer:
        """The routing decision, noted."""
        question = question_of(packet, iif)
        answer = lookup(host, question)
        self.notes += [f"{host.owner}: cannot tell what this policy rule does: {text}" for text in answer.unknown]
        self.asks.append(RouteAsk(max(1, len(self.hops)), host.netns, question, answer))
        text = replace(answer.route, table=TABLE_MAIN).text if answer.route else ""  # the table is told beside it
        self.decide(
            rule=answer.choice, table=answer.rule.table if answer.rule and answer.route else None, route=text, rules=answer.rules,
            routes=routes_tried(host, packet.dst, answer),
        )
        return answer

    def taken(self, host: Host, packet: InFlight, answer: Answer) -> Route:
        """The route that was found; without one the packet ends."""
        if answer.route is not None and answer.refused is None:
            return answer.route
        if answer.rule is not None and answer.route is None:
            self.drop(answer.refused or "no-route", f"a policy rule of {host.owner} ends it: {answer.rule.text}")
        check, text = words.end_of_route(answer.refused or "no-route", host.role, packet.dst, answer.route)
        return self.drop(check, text)

    def may_forward(self, host: Host, link: str) -> bool:
        """Does the namespace forward what comes by a link?"""
        values = [host.sysctl(f"net/ipv4/conf/{link}/forwarding"), host.sysctl("net/ipv4/ip_forward")]
        known = [value for value in values if value is not None]
        if not known:
            self.notes.append(f"{host.owner}: whether it forwards was not observed")
        return known[0] != 0 if known else True

    def passed(self, outcome: Outcome, host: Host) -> InFlight:
        """Note what a hook did and go on with the packet; where it dropped it, the packet ends."""
        chances = [text for text in outcome.unknown if words.is_chance(text)]
        untold = [text for text in outcome.unknown if text not in chances]
        self.notes += [f"{host.owner}: chance decides: {text}" for text in chances]
        self.notes += [f"{host.owner}: cannot tell whether this rule applies: {text}" for text in untold]
        self.decide(
            netfilter=self.decision.netfilter + outcome.matched, matched=self.decision.matched + outcome.rules,
            nat="; ".join(filter(None, (self.decision.nat, outcome.nat))),
            check="unknown" if untold else self.decision.check,
        )
        if outcome.verdict == "drop":
            check = words.check_of(outcome.counter) or "netfilter"
            rule = "" if outcome.counter else f": {outcome.rule}"
            self.drop(check, f"{words.sentence_of(outcome.counter)}{rule}", outcome.counter)
        return outcome.packet

    def add(self, host: Host, link: str, direction: Direction, packet: InFlight | None) -> None:
        """One more hop."""
        frame = packet.frame() if packet is not None else None
        self.hops.append(Hop(len(self.hops) + 1, host.netns, host.owner, link, direction, frame))
        self.decide()

    def decide(self, **changes: object) -> None:
        """Add to the decision of the namespace being walked; it is kept at the hop it belongs to as soon as that is there."""
        self.decision = replace(self.decision, **changes)  # type: ignore[arg-type]  # fields of Decision by name
        if self.deciding < len(self.hops):
            self.hops[self.deciding] = replace(self.hops[self.deciding], decision=self.decision)

    def drop(self, check: DropCheck, text: str, counter: str = "") -> NoReturn:
        """The packet ends here. A packet that never left its source has one hop, without link and frame."""
        if not self.hops:
            host, _ = next(iter(self._visited.values()))
            self.add(host, "", "out", None)
        self.decide(check=check)
        self.dropped = Drop(len(self.hops), check, text, counter)
        raise Ended
