"""Captured frames as one pcapng file: an interface block for every interface, named ``NETNS/LINK``, nanosecond stamps (pure).

Source: the pcapng draft (Section Header, Interface Description and Enhanced Packet blocks).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from labnet.model.packet import Direction
from labnet.model.values import frozen

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
BYTE_ORDER = 0x1A2B3C4D
LINKTYPE_ETHERNET = 1
OPT_COMMENT, IF_NAME, IF_TSRESOL, EPB_FLAGS = 1, 2, 9, 2
NANOSECONDS = 9
FLAGS: dict[Direction, int] = {"in": 1, "out": 2}


@frozen
class PcapFrame:
    """One frame to write: `interface` as it is named in the file, `time_ns` since the epoch, a comment or ""."""

    interface: str
    direction: Direction
    time_ns: int
    data: bytes
    comment: str = ""


def write_pcapng(frames: Sequence[PcapFrame], interfaces: Sequence[str] = ()) -> bytes:
    """The file's bytes: frames in order of time; `interfaces` lists further ones that saw nothing."""
    ordered = sorted(frames, key=lambda frame: frame.time_ns)
    names = tuple(dict.fromkeys((*(frame.interface for frame in ordered), *interfaces)))
    number = {name: index for index, name in enumerate(names)}
    blocks = [_block(SECTION, struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1))]
    for name in names:
        options = _option(IF_NAME, name.encode()) + _option(IF_TSRESOL, bytes([NANOSECONDS])) + _option(0, b"")
        blocks.append(_block(INTERFACE, struct.pack("<HHI", LINKTYPE_ETHERNET, 0, 0) + options))
    blocks += [_packet(number[frame.interface], frame) for frame in ordered]
    return b"".join(blocks)


def _packet(interface: int, frame: PcapFrame) -> bytes:
    size = len(frame.data)
    head = struct.pack("<IIIII", interface, frame.time_ns >> 32, frame.time_ns & 0xFFFFFFFF, size, size)
    options = _option(OPT_COMMENT, frame.comment.encode()) if frame.comment else b""
    options += _option(EPB_FLAGS, struct.pack("<I", FLAGS[frame.direction])) + _option(0, b"")
    return _block(PACKET, head + _padded(frame.data) + options)


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
