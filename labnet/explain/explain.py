"""The verdict of a way there and back: programs, nodes and VPCs in turns (pure).

Whether a program listens at the end is not judged: what counts is that the packet is delivered to its namespace.
"""

from __future__ import annotations

from dataclasses import replace

from labnet.explain import facts
from labnet.explain.inside import Passage, enter, leave
from labnet.explain.verdict import EPHEMERAL, NO_PORTS, TRANSLATED, Component, Explanation, Flow, Way
from labnet.explain.vpc import Arrival, Known, Stopped, Walk
from labnet.fabric.places import instance_of, node_netns_of
from labnet.fabric.tables import IMDS_ADDRESS
from labnet.model.cloud import CloudState, Eni
from labnet.model.names import eni_link
from labnet.model.values import frozen
from labnet.trace.flight import InFlight
from labnet.trace.memory import Memory
from labnet.trace.world import Host, World

SOURCE_PORT = 40_000
"""A port of those that senders choose, where a rule of a node wants one; ACLs are asked for all of them."""


@frozen
class End:
    """One end: `netns` "" for an address outside of nodes and pods; the Internet and networks outside (`site`) have none either."""

    name: str
    address: str
    netns: str = ""
    internet: bool = False
    site: str = ""


def explain(
    cloud: CloudState, world: World, source: End, target: End, protocol: str, port: int | None, length: int = 0,
) -> Explanation:
    """Judge a flow and its answers; `length` in bytes from the IP header on, of packets that may not be cut (0 = small ones).

    Shape:  components in order, the way there, then the way back where it got there; the last one may be what stops it.
    Errors: KeyError when the world lacks the source's namespace.
    """
    judge = _Judge(cloud, world, source, target)
    ports = (port, port) if port is not None else NO_PORTS
    dst = target.address
    if source.internet and target.netns:
        dst = _public(cloud, target.address)
    flow = Flow(source.address, dst, protocol, EPHEMERAL if port is not None else NO_PORTS, ports, length=length)
    try:
        arrived = judge.go("there", source, target, flow)
        if arrived is not None:
            judge.recognised(source, flow, judge.go("back", target, source, arrived.reply()))
    except Stopped:
        pass
    return Explanation(source.name, target.name, protocol, port, tuple(judge.components))


def _public(cloud: CloudState, address: str) -> str:
    """The public address under which the Internet knows a private one, if it does."""
    for vpc_id in cloud.vpcs:
        public = facts.public_of(cloud, vpc_id, address)
        if public is not None:
            return public
    return address


class _Judge:
    def __init__(self, cloud: CloudState, world: World, source: End, target: End) -> None:
        self.cloud, self.world = cloud, world
        self.components: list[Component] = []
        self.known, self.memory = Known(), Memory()
        self.landed, self.landed_site = target.netns, target.site
        """Where the way there ended: the answers begin there."""
        self.served: Eni | None = None
        """The ENI to which a service of the VPC answers, where the way there ended at one."""
        self.hop_limit = 0
        """The TTL with which the metadata service answers a token request, where that is what is asked."""

    def go(self, way: Way, start: End, end: End, flow: Flow) -> Flow | None:
        """One direction; the flow as it arrives, None where the VPC itself answers. Errors: Stopped."""
        walk = Walk(self.cloud, way, self.known, self.components)
        netns = start.netns if way == "there" else self.landed
        if netns in self.world.states:
            flow = replace(flow, ttl=Host(self.world, netns).default_ttl)
        if way == "back" and self.served is not None:
            arrival = self.answered(walk, self.served, flow)
        elif not netns:
            site = start.site if way == "there" else self.landed_site
            arrival = walk.from_site(site, flow) if site else walk.internet(flow)
        else:
            passage = leave(self.world, netns, _packet(flow), self.memory)
            found = self.inside(walk, passage, flow, end)
            if isinstance(found, Flow):
                return found
            arrival = found
        while True:  # a loop of routes ends in the walk
            if arrival.served is not None:
                self.served = arrival.served
                return arrival.flow
            if arrival.eni is None:
                self.landed, self.landed_site = "", arrival.site
                return arrival.flow
            passage = self.enter(arrival.eni, arrival.flow)
            found = self.inside(walk, passage, arrival.flow, end)
            if isinstance(found, Flow):
                return found
            arrival = found

    def answered(self, walk: Walk, eni: Eni, flow: Flow) -> Arrival:
        """A service of the VPC answers an ENI. Where the metadata service wants tokens, it is the answer to a token request (PUT) that
        counts: it has the hop limit of the instance as its TTL. Source: docs/sources.md#imds
        """
        instance = instance_of(self.cloud, eni)
        if instance is not None and flow.src == IMDS_ADDRESS and flow.protocol == "tcp" and instance.metadata.http_tokens == "required":
            self.hop_limit = instance.metadata.hop_limit
            flow = replace(flow, ttl=self.hop_limit)
        walk.passes("vpc", eni.vpc_id, f"{flow.src} answers" + (f" a token request with TTL {flow.ttl}" if self.hop_limit else ""), flow)
        return Arrival(flow, eni)

    def recognised(self, source: End, asked: Flow, answer: Flow | None) -> None:
        """Is it an answer to who asked? It is not where another gateway than on the way there gave it its source. Errors: Stopped."""
        if answer is not None and (answer.src, answer.dst) != (asked.dst, asked.src):
            last = self.components.pop()
            text = f"asked {asked.dst}, and {answer.src} answers: the way back goes by another gateway than the way there"
            Walk(self.cloud, "back", self.known, self.components).stop(last.kind, source.name, text, "", answer)

    def enter(self, eni: Eni, flow: Flow) -> Passage:
        """An ENI gives the flow to its node."""
        instance = instance_of(self.cloud, eni)
        assert instance is not None and eni.attachment is not None, "a flow arrives at ENIs that are plugged in"
        link = eni_link(eni.attachment.device_index, eni.attachment.network_card_index)
        return enter(self.world, node_netns_of(self.cloud, instance), link, _packet(flow), self.memory)

    def inside(self, walk: Walk, passage: Passage, flow: Flow, end: End) -> Flow | Arrival:
        """What a passage through nodes and pods came to: the flow at its end, or how it goes on in the VPC. Errors: Stopped."""
        for step in passage.steps:
            self.components.append(Component(walk.way, step.role or "node", step.owner, True, step.text or "takes it", packet=step.packet))
        after = _after(flow, passage.packet)
        if passage.stopped:
            last = self.components.pop()
            limit = f"; the metadata service's hop limit (HttpPutResponseHopLimit) is {self.hop_limit}" if self.hop_limit else ""
            walk.stop(last.kind, last.id, passage.stopped + limit, "", after)
        if passage.delivered:
            if end.netns and passage.netns != end.netns and (walk.way == "back" or after.dst == end.address):
                last = self.components.pop()
                walk.stop(last.kind, last.id, f"takes it for itself: it is not for {end.name}", "", after)
            self.landed = passage.netns
            return after
        return walk.leave(self.behind(passage), after)

    def behind(self, passage: Passage) -> Eni:
        """The ENI of a node's link."""
        for eni in self.cloud.enis.values():
            instance, at = instance_of(self.cloud, eni), eni.attachment
            if instance is None or at is None or eni_link(at.device_index, at.network_card_index) != passage.link:
                continue
            if node_netns_of(self.cloud, instance) == passage.netns:
                return eni
        raise KeyError(f"{passage.netns} {passage.link}")


def _packet(flow: Flow) -> InFlight:
    return InFlight(flow.src, flow.dst, flow.protocol, _one(flow.src_ports), _one(flow.dst_ports), flow.ttl, flow.length)


def _one(ports: tuple[int, int]) -> int:
    return ports[0] if ports[0] == ports[1] else SOURCE_PORT


def _after(flow: Flow, packet: InFlight) -> Flow:
    """The flow with what a node made of it: masked flows get any port."""
    src_ports, dst_ports = flow.src_ports, flow.dst_ports
    if packet.src != flow.src and flow.protocol != "icmp" and src_ports == EPHEMERAL:
        src_ports = TRANSLATED
    if packet.dst != flow.dst and flow.protocol != "icmp" and dst_ports == TRANSLATED:
        dst_ports = EPHEMERAL
    if packet.dst_port not in (_one(flow.dst_ports), 0):
        dst_ports = (packet.dst_port, packet.dst_port)
    if packet.src_port not in (_one(flow.src_ports), 0):
        src_ports = (packet.src_port, packet.src_port)
    return replace(flow, src=packet.src, dst=packet.dst, src_ports=src_ports, dst_ports=dst_ports, ttl=packet.ttl)
