"""Which frames belong to a probe, whatever NAT made of it: by its ident first, then by connection tracking's own rule (pure).

An answer need not carry the ident: a DNS server's does not. But on every link the answer to a flow has that flow's tuple
reversed, as the probe's frames showed it there or, where answers come back another way, on any other link of the path.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from labnet.model.packet import FlowTuple, Probe
from labnet.trace.dissect import FLAG_ACK, FLAG_RST, FLAG_SYN, PROTOCOL_WORDS, Captured, Datagram, Part, datagram, network_layer, part_of

Identified = tuple[Part | None, Captured]


def flow_of(data: bytes) -> tuple[str, FlowTuple] | None:
    """Protocol and tuple of a frame; of ICMP the identifier stands for the source port. None for what is none of these."""
    packet = network_layer(data)
    found = datagram(packet) if packet is not None else None
    if found is None or packet is None:
        return None
    if PROTOCOL_WORDS[found.protocol] == "icmp":
        return "icmp", FlowTuple(found.src, found.dst, struct.unpack_from("!H", packet, (packet[0] & 15) * 4 + 4)[0])
    return PROTOCOL_WORDS[found.protocol], FlowTuple(found.src, found.dst, found.src_port, found.dst_port)


def could_answer(data: bytes, probe: Probe) -> bool:
    """Is it worth keeping a frame until all tuples of the probe are known? Only TCP and UDP have answers without the ident."""
    found = flow_of(data)
    return found is not None and found[0] == probe.protocol != "icmp"


def identified(frames: Iterable[Captured], probe: Probe) -> list[Identified]:
    """Every frame with what it is to the probe, in order of time; None for other traffic."""
    parts = [(part_of(frame.data, probe), frame) for frame in sorted(frames, key=lambda frame: frame.time_ns)]
    answers = {_reversed(found[1]) for part, frame in parts if part == "probe" and (found := flow_of(frame.data)) is not None}
    return [(part or _by_tuple(frame, probe, answers), frame) for part, frame in parts]


def _by_tuple(frame: Captured, probe: Probe, answers: set[FlowTuple]) -> Part | None:
    found = flow_of(frame.data)
    if found is None or found[0] != probe.protocol or found[0] == "icmp" or found[1] not in answers:
        return None
    packet = network_layer(frame.data)
    said = datagram(packet) if packet is not None else None
    assert said is not None
    return _word(said, probe)


def _word(said: Datagram, probe: Probe) -> Part | None:
    """What a packet with the answer's tuple is. A TCP answer to another SYN of the same ports is not ours."""
    if probe.protocol != "tcp":
        return "answer"
    if said.flags & FLAG_RST:
        return "refusal"
    return "answer" if said.flags & FLAG_SYN and said.flags & FLAG_ACK and said.ack == (probe.ident + 1) & 0xFFFFFFFF else None


def _reversed(flow: FlowTuple) -> FlowTuple:
    return FlowTuple(flow.dst, flow.src, flow.dst_port, flow.src_port)


def belonging(parts: Sequence[Identified]) -> list[Captured]:
    """The frames that are something to the probe."""
    return [frame for part, frame in parts if part is not None]
