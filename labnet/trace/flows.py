"""Live traffic joined to flows, across SNAT and DNAT (pure).

A frame belongs to a flow when its addresses and ports are the flow's, or what NAT made of them. What NAT made is told by connection
tracking of the namespaces that translate (`learn`). A packet of a place without tracking, or of which the entry has not been read
yet, is known again by what NAT leaves alone: IP id and a digest of what the transport header says beside ports and checksum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from labnet.model.flow import Flow, TrackedFlow
from labnet.model.packet import Direction
from labnet.model.values import frozen
from labnet.trace.dissect import (
    ECHO_REPLY,
    ECHO_REQUEST,
    FLAG_ACK,
    FLAG_RST,
    ICMP,
    ICMP_ERRORS,
    QUOTE_BYTES,
    TCP,
    UDP,
    Captured,
    datagram,
    network_layer,
)

Way = Literal["forth", "back"]
Ended = Literal["answered", "refused", "unreachable", "answer lost", "no answer"]
Place = tuple[str, str, Direction]
S = 1_000_000_000
REMEMBERED_NS = 3 * S
"""How long a packet can be known again, and one that nobody knows yet is kept."""
PORT_UNREACHABLE = (3, 3)
FLAG_FIN = 0x01


@frozen
class Seen:
    """A frame, read: its tuple, what NAT leaves alone of it, and what it says of its flow."""

    netns: str
    link: str
    direction: Direction
    time_ns: int
    flow: Flow
    identity: tuple[int, int, bytes]
    length: int
    begins: bool = True
    flags: int = 0
    error: tuple[int, int] | None = None
    """ICMP type and code of an error: `flow` is then the quoted packet's."""

    @property
    def place(self) -> Place:
        """Where it was seen."""
        return self.netns, self.link, self.direction


@dataclass(eq=False)
class Watched:
    """One flow of a pod: who began it, where its packets went, what NAT made of it. `length` in bytes from the IP header on."""

    flow: Flow
    began: Literal["pod", "other"]
    first_ns: int
    last_ns: int = 0
    packets: dict[Way, int] = field(default_factory=lambda: {"forth": 0, "back": 0})
    length: dict[Way, int] = field(default_factory=lambda: {"forth": 0, "back": 0})
    first_at: dict[Way, dict[Place, int]] = field(default_factory=lambda: {"forth": {}, "back": {}})
    """When a packet was first seen at a place."""
    tuples: dict[tuple[Way, Place], Flow] = field(default_factory=dict)
    """What its packets looked like at a place; at the one link of a NAT gateway both ways pass in both directions."""
    answers: int = 0
    """Frames of answers, wherever they were seen; resets do not count."""
    reset: bool = False
    error: tuple[int, int] | None = None
    closed: bool = False

    def path(self, way: Way) -> tuple[Place, ...]:
        """The places that packets took, in the order in which they came there first."""
        return tuple(sorted(self.first_at[way], key=lambda place: self.first_at[way][place]))

    def translations(self) -> tuple[tuple[str, str], ...]:
        """Namespace and ``SNAT a → b``, in the order of the path: where a packet left otherwise than it came."""
        path = self.path("forth")
        steps = ((after[0], nat_words(self.tuples["forth", before], self.tuples["forth", after])) for before, after in pairwise(path))
        return tuple((netns, words) for netns, words in steps if words)

    @property
    def ended(self) -> Ended:
        """How it ended, or stands now: whether an answer came to the namespace in which it began."""
        if (self.reset and not self.answers) or self.error == PORT_UNREACHABLE:
            return "refused"
        forth, back = self.path("forth"), self.path("back")
        if back:
            return "answered" if any(place[0] == forth[0][0] for place in back) or not forth else "answer lost"
        return "unreachable" if self.error is not None else "no answer"


def read(frame: Captured) -> Seen | None:
    """A frame as flows need it; None for what is no IPv4 packet of a known protocol, or a fragment behind the first."""
    packet = network_layer(frame.data)
    found = datagram(packet) if packet is not None else None
    if packet is None or found is None:
        return None
    header_bytes = (packet[0] & 15) * 4
    rest = packet[header_bytes : found.length]
    ident = int.from_bytes(packet[4:6], "big")
    error: tuple[int, int] | None = None
    if found.protocol == ICMP:
        kept = rest[:2] + rest[6:]
        if rest[0] in ICMP_ERRORS:
            quoted = _quoted(rest[QUOTE_BYTES:])
            if quoted is None:
                return None
            flow, error = quoted, (rest[0], rest[1])
        elif rest[0] in (ECHO_REQUEST, ECHO_REPLY):
            number = int.from_bytes(rest[4:6], "big")
            flow = Flow(ICMP, found.src, found.dst, number, number)
        else:
            return None
    else:
        kept = rest[4:6] + rest[8:] if found.protocol == UDP else rest[4:16] + rest[18:]
        flow = Flow(found.protocol, found.src, found.dst, found.src_port, found.dst_port)
    begins = found.icmp_type != ECHO_REPLY and error is None
    identity = (found.protocol, ident, kept)
    return Seen(frame.netns, frame.link, frame.direction, frame.time_ns, flow, identity, found.length, begins, found.flags, error)


def _quoted(packet: bytes) -> Flow | None:
    found = datagram(packet)
    if found is None:
        return None
    if found.protocol == ICMP:
        start = (packet[0] & 15) * 4
        number = int.from_bytes(packet[start + 4 : start + 6], "big")
        return Flow(ICMP, found.src, found.dst, number, number)
    return Flow(found.protocol, found.src, found.dst, found.src_port, found.dst_port)


def turned(flow: Flow) -> Flow:
    """The tuple of answers."""
    return Flow(flow.protocol, flow.destination, flow.source, flow.destination_port, flow.source_port)


def nat_words(before: Flow, after: Flow) -> str:
    """What NAT did: ``SNAT a → b``, ports where they changed."""
    said = []
    for kind, side in (("DNAT", "destination"), ("SNAT", "source")):
        old, new = getattr(before, side), getattr(after, side)
        old_port, new_port = getattr(before, f"{side}_port"), getattr(after, f"{side}_port")
        if before.protocol == ICMP and side == "destination":
            old_port = new_port = 0  # the identifier stands for both, and is told once
        if (old, old_port) != (new, new_port):
            ports = (f":{old_port}", f":{new_port}") if old_port != new_port else ("", "")
            said.append(f"{kind} {old}{ports[0]} → {new}{ports[1]}")
    return "; ".join(said)


@frozen
class _Sighting:
    """When a packet was seen last, under which tuple; `ambiguous`: packets of two flows look the same."""

    time_ns: int
    flow: Flow
    watched: Watched
    ambiguous: bool


class Flows:
    """The flows of one pod, which has `addresses` in the namespace `netns`. Frames come in the order of time."""

    def __init__(self, netns: str, addresses: Sequence[str]) -> None:
        self._netns = netns
        self._addresses = frozenset(addresses)
        self.open: list[Watched] = []
        self._names: dict[Flow, tuple[Watched, Way]] = {}
        """A tuple as it is seen somewhere → its flow, and which way."""
        self._known: dict[tuple[int, int, bytes], _Sighting] = {}
        self._unknown: deque[Seen] = deque()

    def see(self, frame: Captured) -> Watched | None:
        """Take a frame; the flow, when it is the first of a new one."""
        seen = read(frame)
        if seen is None:
            return None
        self._forget(seen.time_ns)
        if self._belongs(seen):
            return None
        if seen.error is not None or not self._is_own(seen):
            self._unknown.append(seen)
            return None
        return self._begin(seen)

    def learn(self, entries: Iterable[TrackedFlow]) -> None:
        """What connection tracking of a namespace says: frames that were nobody's may be known now."""
        changed = False
        for entry in entries:
            if entry.translated:
                changed = self._alias(entry.began, entry.went_on) or changed
        if changed:
            self._again()

    def ended(self, now_ns: int, idle_ns: int) -> list[Watched]:
        """Flows that are over: closed and quiet for a second, or idle for so long; they are watched no more."""
        over = [one for one in self.open if now_ns - one.last_ns >= (min(S, idle_ns) if one.closed else idle_ns)]
        for one in over:
            self.open.remove(one)
        if over:
            self._names = {name: entry for name, entry in self._names.items() if entry[0] not in over}
        return over

    @property
    def asks(self) -> bool:
        """May connection tracking tell something? There are frames that nobody knows."""
        return bool(self._unknown) and bool(self.open)

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _begin(self, seen: Seen) -> Watched:
        """A new flow, seen at the pod. Who answers without having been asked joined in the middle: the other end began."""
        first = seen.flow
        late = first.protocol == TCP and bool(seen.flags & FLAG_ACK) and first.source_port < first.destination_port
        answers = not seen.begins or late
        flow = turned(seen.flow) if answers else seen.flow
        began: Literal["pod", "other"] = "pod" if flow.source in self._addresses else "other"
        watched = Watched(flow, began, seen.time_ns, seen.time_ns)
        self.open.append(watched)
        self._names[flow] = (watched, "forth")
        self._names[turned(flow)] = (watched, "back")
        self._note(watched, "back" if answers else "forth", seen)
        self._again()
        return watched

    def _belongs(self, seen: Seen) -> bool:
        found = self._names.get(seen.flow)
        if found is None and seen.error is None and not self._is_own(seen):
            found = self._by_identity(seen)
        if found is None:
            return False
        watched, way = found
        if seen.error is not None:
            self._note_error(watched, way, seen)
        else:
            self._note(watched, way, seen)
        return True

    def _is_own(self, seen: Seen) -> bool:
        """At the pod itself, with its address: nobody has translated it."""
        return seen.netns == self._netns and bool({seen.flow.source, seen.flow.destination} & self._addresses)

    def _by_identity(self, seen: Seen) -> tuple[Watched, Way] | None:
        """The packet as it was seen elsewhere under another tuple; not when two flows had one that looks the same."""
        known = self._known.get(seen.identity)
        if known is None or known.ambiguous or known.flow not in self._names or not _half_alike(known.flow, seen.flow):
            return None
        watched, way = self._names[known.flow]
        if seen.place in watched.first_at[way] or not self._alias(known.flow, seen.flow):
            return None
        return self._names.get(seen.flow)

    def _alias(self, one: Flow, other: Flow) -> bool:
        """Name what NAT made of a tuple, both ways; False when neither side is known, or both are."""
        known, new = (one, other) if one in self._names else (other, one)
        if known not in self._names or new in self._names:
            return False
        watched, way = self._names[known]
        self._names[new] = (watched, way)
        self._names.setdefault(turned(new), (watched, "back" if way == "forth" else "forth"))
        return True

    def _note(self, watched: Watched, way: Way, seen: Seen) -> None:
        known = self._known.get(seen.identity)
        twins = known is not None and (known.ambiguous or known.watched is not watched) and known.time_ns > seen.time_ns - REMEMBERED_NS
        self._known[seen.identity] = _Sighting(seen.time_ns, seen.flow, watched, twins)
        watched.tuples[way, seen.place] = seen.flow
        watched.last_ns = max(watched.last_ns, seen.time_ns)
        watched.first_ns = min(watched.first_ns, seen.time_ns)
        first_at = watched.first_at[way]
        first_at[seen.place] = min(seen.time_ns, first_at.get(seen.place, seen.time_ns))
        if seen.netns == self._netns:
            watched.packets[way] += 1
            watched.length[way] += seen.length
        reset = seen.flow.protocol == TCP and bool(seen.flags & FLAG_RST)
        watched.closed = watched.closed or reset or (seen.flow.protocol == TCP and bool(seen.flags & FLAG_FIN))
        watched.reset = watched.reset or (reset and way == "back")
        watched.answers += int(way == "back" and not reset)

    def _note_error(self, watched: Watched, way: Way, seen: Seen) -> None:
        """An ICMP error quotes the packet that it is about."""
        if way == "forth":
            watched.error = watched.error or seen.error
            watched.last_ns = max(watched.last_ns, seen.time_ns)

    def _again(self) -> None:
        """Look through what nobody knew; what is found may make others known."""
        before = len(self._unknown) + 1
        while len(self._unknown) < before:
            before = len(self._unknown)
            self._unknown = deque([seen for seen in self._unknown if not self._belongs(seen)])

    def _forget(self, now_ns: int) -> None:
        while self._unknown and self._unknown[0].time_ns < now_ns - REMEMBERED_NS:
            self._unknown.popleft()
        if len(self._known) > 20_000:
            self._known = {key: entry for key, entry in self._known.items() if entry.time_ns >= now_ns - REMEMBERED_NS}


def _half_alike(one: Flow, other: Flow) -> bool:
    """NAT of one step leaves one end as it is: a packet with both ends changed is another one that looks alike."""
    return one.protocol == other.protocol and (one.source == other.source or one.destination == other.destination)
