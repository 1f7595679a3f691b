"""Raw Ethernet frames taken apart far enough to know a probe again, whatever NAT made of its addresses (pure).

A probe carries its `ident` where no translation touches it: ICMP and UDP as a tag in the payload, TCP as sequence number.
"""

from __future__ import annotations

import struct
from typing import Literal

from labnet.model.addressing import to_text
from labnet.model.packet import Direction, Frame, Probe
from labnet.model.values import frozen

TAG = b"labnet-probe"
ETHERNET_BYTES = 14
VLAN_BYTES = 4
ETHERTYPE_IPV4, ETHERTYPE_VLAN = 0x0800, 0x8100
ICMP, TCP, UDP = 1, 6, 17
PROTOCOL_WORDS = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 8, 11
ICMP_ERRORS = frozenset({UNREACHABLE, 4, 5, TIME_EXCEEDED, 12})
FLAG_SYN, FLAG_RST, FLAG_ACK = 0x02, 0x04, 0x10
QUOTE_BYTES = 8

Part = Literal["probe", "answer", "refusal", "error"]
"""What a frame is to a probe: itself, an answer from the target, a refusal (RST), an ICMP error that quotes it."""


@frozen
class Captured:
    """One frame as a tap saw it: `time_ns` since the epoch by the kernel's stamp, `data` from the Ethernet header on."""

    netns: str
    link: str
    direction: Direction
    time_ns: int
    data: bytes


@frozen
class Datagram:
    """An IPv4 packet: `head` the transport header's numbers, `payload` what follows."""

    src: str
    dst: str
    protocol: int
    ttl: int
    length: int
    src_port: int = 0
    dst_port: int = 0
    icmp_type: int = -1
    seq: int = 0
    ack: int = 0
    flags: int = 0
    payload: bytes = b""


def tag(ident: int) -> bytes:
    """The payload that marks a probe."""
    return TAG + struct.pack("!I", ident & 0xFFFFFFFF)


def datagram(packet: bytes) -> Datagram | None:
    """Take an IPv4 packet apart; None for fragments behind the first, other protocols and what is cut short."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header_bytes = (packet[0] & 15) * 4
    length, fragment = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!H", packet, 6)[0]
    protocol, ttl = packet[9], packet[8]
    source, target = struct.unpack_from("!II", packet, 12)
    rest = packet[header_bytes:]
    if fragment & 0x1FFF or protocol not in PROTOCOL_WORDS or len(rest) < QUOTE_BYTES:
        return None
    bare = Datagram(to_text(source), to_text(target), protocol, ttl, length)
    return _transport(bare, rest)


def _transport(bare: Datagram, rest: bytes) -> Datagram:
    src, dst, protocol, ttl, length = bare.src, bare.dst, bare.protocol, bare.ttl, bare.length
    if protocol == ICMP:
        return Datagram(src, dst, protocol, ttl, length, icmp_type=rest[0], payload=rest[8:])
    src_port, dst_port = struct.unpack_from("!HH", rest)
    if protocol == UDP:
        return Datagram(src, dst, protocol, ttl, length, src_port, dst_port, payload=rest[8:])
    seq = struct.unpack_from("!I", rest, 4)[0]
    ack, flags = (struct.unpack_from("!I", rest, 8)[0], rest[13]) if len(rest) >= 14 else (0, 0)
    return Datagram(src, dst, protocol, ttl, length, src_port, dst_port, seq=seq, ack=ack, flags=flags)


def network_layer(data: bytes) -> bytes | None:
    """The IPv4 packet in an Ethernet frame (a VLAN tag is stepped over), None when there is none."""
    offset = ETHERNET_BYTES
    if len(data) < offset:
        return None
    kind = struct.unpack_from("!H", data, 12)[0]
    if kind == ETHERTYPE_VLAN and len(data) >= offset + VLAN_BYTES:
        kind = struct.unpack_from("!H", data, 16)[0]
        offset += VLAN_BYTES
    return data[offset:] if kind == ETHERTYPE_IPV4 else None


def frame_of(data: bytes, time_ns: int = 0) -> Frame | None:
    """The frame as a trace tells it; None for what is no IPv4 packet of a known protocol."""
    packet = network_layer(data)
    found = datagram(packet) if packet is not None else None
    if found is None:
        return None
    return Frame(
        _mac(data[6:12]), _mac(data[0:6]), found.src, found.dst, PROTOCOL_WORDS[found.protocol], found.src_port, found.dst_port,
        found.ttl, found.length, time_ns,
    )


def part_of(data: bytes, probe: Probe) -> Part | None:
    """What a frame is to a probe; None for other traffic."""
    packet = network_layer(data)
    found = datagram(packet) if packet is not None else None
    if found is None:
        return None
    if found.protocol == ICMP and found.icmp_type in ICMP_ERRORS:
        return "error" if _quotes(found.payload, probe) else None
    if PROTOCOL_WORDS[found.protocol] != probe.protocol:
        return None
    if probe.protocol == "tcp":
        return _tcp_part(found, probe)
    if not found.payload.startswith(tag(probe.ident)):
        return None
    if probe.protocol == "icmp":
        return "probe" if found.icmp_type == ECHO_REQUEST else "answer"
    return "answer" if found.src_port == probe.dst_port and found.dst_port != probe.dst_port else "probe"


def _tcp_part(found: Datagram, probe: Probe) -> Part | None:
    if found.flags & FLAG_SYN and not found.flags & FLAG_ACK and found.seq == probe.ident & 0xFFFFFFFF:
        return "probe"
    if found.flags & FLAG_ACK and found.ack == (probe.ident + 1) & 0xFFFFFFFF:
        return "refusal" if found.flags & FLAG_RST else "answer"
    return None


def _quotes(payload: bytes, probe: Probe) -> bool:
    """Does an ICMP error quote the probe? A TCP header is quoted up to its sequence number at least."""
    quoted = datagram(payload)
    if quoted is None or PROTOCOL_WORDS[quoted.protocol] != probe.protocol:
        return False
    if probe.protocol == "tcp":
        return quoted.seq == probe.ident & 0xFFFFFFFF
    if probe.protocol == "udp" and quoted.src_port == probe.dst_port != quoted.dst_port:
        return False  # it quotes an answer: the probe's own sender has closed its port
    return quoted.payload.startswith(tag(probe.ident))


def _mac(raw: bytes) -> str:
    return raw.hex(":")
