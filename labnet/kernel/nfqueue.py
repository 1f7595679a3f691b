"""Messages of nfnetlink_queue: packets that the kernel holds until a program lets them go (pure).

A queue is bound in copy mode META: no payload is copied, packets stay whole in the kernel (GSO), and what does not fit into the queue
passes at once (fail open). Letting a packet go lets all go that were queued before it.
Source: linux/netfilter/nfnetlink_queue.h
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

SUBSYSTEM = 3 << 8
PACKET, CONFIG, RELEASE = SUBSYSTEM | 0, SUBSYSTEM | 2, SUBSYSTEM | 3
ERROR = 2
REQUEST, ACK = 0x1, 0x4
CFG_CMD, CFG_PARAMS, CFG_MAXLEN, CFG_MASK, CFG_FLAGS = 1, 2, 3, 4, 5
BIND = 1
COPY_META = 1
FAIL_OPEN, GSO = 0x1, 0x4
PACKET_HDR, VERDICT_HDR = 1, 2
ACCEPT = 1
IPV4 = 2
MOST_HELD = 65_536
_HEAD = struct.Struct("=IHHII")
_GENERIC = struct.Struct("!BBH")
_ATTRIBUTE = struct.Struct("=HH")
_BODY = _HEAD.size + _GENERIC.size


def bind(queue: int) -> bytes:
    """Bind a queue; the kernel answers with one acknowledgement."""
    flags = struct.pack("!I", FAIL_OPEN | GSO)
    body = b"".join((
        _attribute(CFG_CMD, struct.pack("!BBH", BIND, 0, IPV4)), _attribute(CFG_PARAMS, struct.pack("!IB", 0, COPY_META)),
        _attribute(CFG_MAXLEN, struct.pack("!I", MOST_HELD)), _attribute(CFG_MASK, flags), _attribute(CFG_FLAGS, flags),
    ))  # fmt: skip
    return _message(CONFIG, REQUEST | ACK, queue, body)


def release(queue: int, packet_id: int) -> bytes:
    """Let a packet go, and all that came before it."""
    return _message(RELEASE, REQUEST, queue, _attribute(VERDICT_HDR, struct.pack("!II", ACCEPT, packet_id)))


def refusal(data: bytes) -> int | None:
    """The errno of an acknowledgement, 0 for none; None for another message."""
    return -int(struct.unpack_from("=i", data, _HEAD.size)[0]) if _HEAD.unpack_from(data)[1] == ERROR else None


def packets(data: bytes) -> Iterator[tuple[int, int]]:
    """(queue, packet's id) of each packet that a datagram of the kernel tells of."""
    at = 0
    while at + _BODY <= len(data):
        size, kind, *_ = _HEAD.unpack_from(data, at)
        if kind == PACKET:
            queue = _GENERIC.unpack_from(data, at + _HEAD.size)[2]
            found = _packet_id(data, at + _BODY, at + size)
            if found is not None:
                yield queue, found
        at += max(_aligned(size), _HEAD.size)


def _packet_id(data: bytes, at: int, end: int) -> int | None:
    while at + _ATTRIBUTE.size <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if kind & 0x3FFF == PACKET_HDR:
            return int(struct.unpack_from("!I", data, at + _ATTRIBUTE.size)[0])
        at += max(_aligned(size), _ATTRIBUTE.size)
    return None


def _message(kind: int, flags: int, queue: int, body: bytes) -> bytes:
    return _HEAD.pack(_BODY + len(body), kind, flags, 0, 0) + _GENERIC.pack(IPV4, 0, queue) + body


def _attribute(kind: int, payload: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(_aligned(size) - size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
