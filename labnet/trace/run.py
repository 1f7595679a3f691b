"""A whole trace: observe, predict, listen, send, collect, ask the kernel, and join it all to one path with a verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import Literal

from labnet.errors import KernelError
from labnet.model.netstate import TABLE_MAIN
from labnet.model.packet import FlowTuple, Hop, KernelLookup, Path, Probe
from labnet.model.values import frozen
from labnet.ports import Kernel, RouteAnswer
from labnet.trace import probe as prober
from labnet.trace.account import with_account
from labnet.trace.bpf import probe_filter
from labnet.trace.capture import Capture
from labnet.trace.correlate import Evidence, Place, correlate, place_of, reached_end
from labnet.trace.dissect import Captured, part_of
from labnet.trace.identity import belonging, could_answer, flow_of, identified
from labnet.trace.inside import Inside
from labnet.trace.labels import mac_labels
from labnet.trace.lost_answer import with_lost_answer
from labnet.trace.pcapng import PcapFrame, write_pcapng
from labnet.trace.predict import RouteAsk, Walked, walk
from labnet.trace.remarks import ANSWERS, described, remark
from labnet.trace.remedy import CloudChange, with_remedy
from labnet.trace.routing import LOOPBACK
from labnet.trace.rule_text import rule_text
from labnet.trace.symmetry import answer_places, symmetry
from labnet.trace.taps import taps
from labnet.trace.world import Host, World

DEFAULT_PORTS = {"icmp": 0, "tcp": 80, "udp": 7}
FIRST_SOURCE_PORT, SOURCE_PORTS = 32_768, 28_000  # of those that Linux itself chooses from, as a network ACL expects them
LAST_LOOK_S = 0.002
COUNTED_ROLES = frozenset({"vpc", "igw", "nat", "vgw"})


@frozen
class TraceRequest:
    """What to trace: from a namespace to an address; names are for the reader. `port` 0 = 80 for TCP, 7 (echo) for UDP.

    `ttl` 0 is the namespace's own; `length` in bytes from the IP header on, 0 = no more than the probe needs.
    `source_ip` "" lets the kernel choose; `target_netns` "" when nobody here owns the address; `ident` 0 = a random one.
    `changes` makes the changes of the VPC that may be tried where it drops the packet; without them only kernel state is tried.
    """

    source_netns: str
    source_name: str
    target_name: str
    target_ip: str
    protocol: Literal["icmp", "tcp", "udp"] = "icmp"
    port: int = 0
    target_netns: str = ""
    source_ip: str = ""
    ttl: int = 0
    length: int = 0
    ident: int = 0
    changes: Callable[[Path], Iterable[CloudChange]] | None = None


@frozen
class Patience:
    """How long silence is waited for: until the packet has ended as predicted, and for an answer after that (seconds)."""

    arrival_s: float = 1.0
    answer_s: float = 0.1


@frozen
class TraceResult:
    """A trace: the path, every frame of the probe and its answers, the namespaces listened in, and whose each MAC is."""

    path: Path
    frames: tuple[Captured, ...]
    taps: tuple[str, ...]
    macs: Mapping[str, str]
    interfaces: Mapping[str, str] = field(default_factory=dict)
    """``NETNS/LINK`` of every interface that saw a frame → whose it is."""
    lost_in: Mapping[str, int] = field(default_factory=dict)

    def pcapng(self) -> bytes:
        """The frames as a pcapng file: of the probe's each with its hop and what decided there as a comment, answers named as such."""
        hops: dict[Place, Hop] = {(hop.netns, hop.link, hop.direction): hop for hop in self.path.hops}
        frames = []
        for frame in self.frames:
            part = part_of(frame.data, self.path.probe)
            hop = hops.get(place_of(frame))
            comment = ANSWERS.get(part, "") if part is not None else ""
            if part == "probe":
                comment = remark(hop, self.path) if hop is not None else "the probe, at a place that is no hop"
            frames.append(PcapFrame(f"{frame.netns}/{frame.link}", frame.direction, frame.time_ns, frame.data, comment))
        return write_pcapng(
            frames, descriptions=self.interfaces, comment=f"labnet trace {self.path.source} {self.path.target}", lost_in=self.lost_in
        )


def trace(kernel: Kernel, load_world: Callable[[], World], request: TraceRequest, patience: Patience | None = None) -> TraceResult:
    """Send one probe and follow it.

    `load_world` observes the lab; it is called once, before the probe. Not delivered is no error: the path says why.
    Errors: TraceError for a source address that cannot be used, KernelError when a namespace cannot be entered.
    """
    patience = patience or Patience()
    world = load_world()
    probe = prober.measured(_probe(kernel, request, request.ttl or Host(world, request.source_netns).default_ttl))
    walked = walk(world, request.source_netns, probe)
    listening = taps(world, walked.path, request.source_netns, request.target_netns)
    ending = {hop.netns for hop in walked.path.hops[-1:] if walked.path.drop is not None and walked.path.drop.counter}
    counted_in = [netns for netns in listening if world.roles.get(netns) in COUNTED_ROLES or netns in ending]
    before = _counters(kernel, counted_in)
    inside = Inside(kernel, world, walked.path)
    ports = {hop.frame.dst_port for hop in walked.path.hops if hop.frame is not None}
    with Capture(kernel, listening, probe_filter(probe, sorted(ports))) as capture, inside:
        refused = prober.send(kernel, request.source_netns, probe)
        watch = _Watch(walked, request.source_netns, patience, hopeless=refused is not None)
        capture.collect(watch.wanted, watch.remaining_s)
        capture.collect(watch.wanted, watch.last_look_s)
    after = _counters(kernel, counted_in)
    evidence = Evidence(
        lookups=_confirm(kernel, walked),
        counted={key: packets - before.get(key, 0) for key, packets in after.items() if packets > before.get(key, 0)},
        refused=(refused.strerror or str(refused)) if refused is not None else "",
        lost=capture.lost, owners=world.owners, clock_offset_ns=time.time_ns() - time.monotonic_ns(),
    )
    parts = identified(capture.frames, probe)
    frames = belonging(parts)
    path = replace(correlate(walked, frames, evidence), source=request.source_name, target=request.target_name)
    path = replace(path, symmetry=symmetry(path, answer_places(parts)))
    path = with_account(path, inside.account(frames), partial(rule_text, world))
    path = with_lost_answer(world, path, [frame for part, frame in identified(capture.frames, probe) if part == "answer"])
    path = with_remedy(world, request.source_netns, path, request.changes)
    ends = dict.fromkeys((frame.netns, frame.link) for frame in frames)
    interfaces = {f"{end[0]}/{end[1]}": described(end, world.owners, world.roles, world.wires) for end in ends}
    macs = mac_labels(world, (*listening, *(hop.netns for hop in path.hops)))
    return TraceResult(path, tuple(frames), listening, macs, interfaces, capture.lost_in)


class _Watch:
    """Decides how long to go on listening, from what has been seen so far."""

    def __init__(self, walked: Walked, source_netns: str, patience: Patience, hopeless: bool) -> None:
        self._walked = walked
        self._source = source_netns
        self._patience = patience
        self._hopeless = hopeless
        self._seen: set[tuple[str, str, str]] = set()
        self._answered = False
        self._looks = 1
        probe = walked.path.probe
        self._own_answer = probe.protocol, FlowTuple(probe.dst, probe.src, probe.dst_port, probe.src_port)

    def wanted(self, frame: Captured) -> bool:
        """Is the frame the probe's, or can it be an answer to it?"""
        probe = self._walked.path.probe
        part = part_of(frame.data, probe)
        if part == "probe":
            self._seen.add(place_of(frame))
        elif frame.netns == self._source and frame.direction == "in" and (part is not None or flow_of(frame.data) == self._own_answer):
            self._answered = True
        return part is not None or could_answer(frame.data, probe)

    def last_look_s(self) -> float:
        """Once more: where the answer came by on its way may be drained after where it arrived."""
        looks, self._looks = self._looks, 0
        return LAST_LOOK_S if looks else 0.0

    def remaining_s(self) -> float:
        """Seconds of silence that end the trace; 0 when all has been seen."""
        if self._answered:
            return 0.0
        if self._hopeless or reached_end(self._walked, self._seen):
            return self._patience.answer_s
        return self._patience.arrival_s


def _probe(kernel: Kernel, request: TraceRequest, ttl: int) -> Probe:
    ident = request.ident or int.from_bytes(os.urandom(4), "big")
    ident |= 0 if ident & 0xFFFF else 1  # the kernel would number a packet without identification itself
    source = request.source_ip
    if not source:
        answer = kernel.route_get(request.source_netns, request.target_ip)
        source = answer.src or prober.ANY_ADDRESS
    has_ports = request.protocol != "icmp"
    return Probe(
        protocol=request.protocol, src=source, dst=request.target_ip, src_port=FIRST_SOURCE_PORT + ident % SOURCE_PORTS if has_ports else 0,
        dst_port=(request.port or DEFAULT_PORTS[request.protocol]) if has_ports else 0, ident=ident, ttl=ttl, length=request.length,
    )


def _counters(kernel: Kernel, namespaces: Sequence[str]) -> dict[tuple[str, str], int]:
    return {(netns, comment): packets for netns in namespaces for comment, packets in kernel.counters(netns).items()}


def _confirm(kernel: Kernel, walked: Walked) -> dict[int, KernelLookup]:
    """The kernel's own answer to every routing question of the walk; the last question of a hop counts."""
    return {ask.hop: lookup_of(ask, _asked(kernel, ask), walked.path) for ask in walked.asks}


def _asked(kernel: Kernel, ask: RouteAsk) -> RouteAnswer:
    question = ask.question
    iif = "" if question.iif == LOOPBACK else question.iif
    source = "" if question.src == prober.ANY_ADDRESS else question.src
    try:
        transport = question.protocol, question.sport, question.dport
        return kernel.route_get(ask.netns, question.dst, source, iif, question.mark, matched=True, transport=transport)
    except KernelError as error:
        return RouteAnswer(error=error.errno or -1)


def lookup_of(ask: RouteAsk, said: RouteAnswer, path: Path) -> KernelLookup:
    """What the kernel said, and whether table and route are those of the walk."""
    route = said.route
    text = replace(route, table=TABLE_MAIN).text if route is not None else ""
    iif = "" if ask.question.iif == LOOPBACK else ask.question.iif
    return KernelLookup(_agrees(ask, said, path), said.table, text, said.error, ask.question.mark, iif)


def _agrees(ask: RouteAsk, said: RouteAnswer, path: Path) -> bool:
    """Same table and route; where the walk ends in the routing decision, the kernel must refuse too.

    Without rules of its own a namespace keeps local and main as one table, and names either for addresses of its own.
    """
    route, rule = ask.answer.route, ask.answer.rule
    ends_here = path.drop is not None and path.drop.hop == ask.hop and path.drop.check in ("rp-filter", "forwarding-off")
    if ask.answer.refused or ends_here or route is None or rule is None:
        return said.error != 0
    if said.error or said.route is None:
        return False
    if ask.answer.local:
        return said.type in ("local", "broadcast")
    same_route = (said.route.dst, said.route.dev, said.route.via, said.route.metric) == (route.dst, route.dev, route.via, route.metric)
    return same_route and said.table == rule.table
