"""Captured frames as pcapng, block by block: an interface block for every interface, named ``NETNS/LINK``, nanosecond stamps (pure).

A file may be written at once (`write_pcapng`) or as frames come (`PcapngStream`): interfaces get their block before their first
frame, also in the middle. scapy's PcapNgWriter was no way: it puts an interface without a name first, has microseconds only, and
writes neither descriptions nor directions nor statistics. Source: docs/sources.md#pcapng
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from labnet.model.packet import Direction
from labnet.model.values import frozen

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
BYTE_ORDER = 0x1A2B3C4D
LINKTYPE_ETHERNET = 1
OPT_END, OPT_COMMENT, SHB_OS, SHB_APPLICATION, IF_NAME, IF_DESCRIPTION, IF_TSRESOL, EPB_FLAGS = 0, 1, 3, 4, 2, 3, 9, 2
ISB_START, ISB_END, ISB_RECEIVED, ISB_DROPPED = 2, 3, 4, 5
NANOSECONDS = 9
TEXT_BYTES = 65_000
FLAGS: dict[Direction, int] = {"in": 1, "out": 2}


@frozen
class PcapFrame:
    """One frame to write: `interface` as it is named in the file, `time_ns` since the epoch, a comment or ""."""

    interface: str
    direction: Direction
    time_ns: int
    data: bytes
    comment: str = ""


class PcapngStream:
    """The blocks of one file in order: `head`, then frames and interfaces as they come, then `tail`. What is returned is to be written.

    `comment` stands in the section's header; `start_ns`, when listening began, in the statistics.
    """

    def __init__(self, comment: str = "", start_ns: int = 0) -> None:
        self._comment = comment
        self._start_ns = start_ns
        self._numbers: dict[str, int] = {}
        self._received: dict[str, int] = {}

    def head(self) -> bytes:
        """The section's header."""
        options = _text(OPT_COMMENT, self._comment) + _text(SHB_OS, "Linux") + _text(SHB_APPLICATION, "labnet") + _option(OPT_END, b"")
        return _block(SECTION, struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1) + options)

    def has(self, name: str) -> bool:
        """Has the interface a block yet?"""
        return name in self._numbers

    def interface(self, name: str, description: str = "") -> bytes:
        """An interface's block; nothing when it has one."""
        if name in self._numbers:
            return b""
        self._numbers[name] = len(self._numbers)
        self._received[name] = 0
        options = _text(IF_NAME, name) + _text(IF_DESCRIPTION, description) + _option(IF_TSRESOL, bytes([NANOSECONDS])) + _option(OPT_END, b"")
        return _block(INTERFACE, struct.pack("<HHI", LINKTYPE_ETHERNET, 0, 0) + options)

    def packet(self, frame: PcapFrame) -> bytes:
        """A frame's block. Errors: KeyError when its interface has no block yet."""
        number = self._numbers[frame.interface]
        self._received[frame.interface] += 1
        size = len(frame.data)
        head = struct.pack("<IIIII", number, frame.time_ns >> 32, frame.time_ns & 0xFFFFFFFF, size, size)
        options = _option(EPB_FLAGS, struct.pack("<I", FLAGS[frame.direction])) + _text(OPT_COMMENT, frame.comment) + _option(OPT_END, b"")
        return _block(PACKET, head + _padded(frame.data) + options)

    def tail(self, lost_in: Mapping[str, int], end_ns: int) -> bytes:
        """Statistics of every interface.

        The kernel counts losses by socket, one for a namespace: the number stands at the namespace's first interface, and a comment says so.
        """
        blocks: list[bytes] = []
        told: set[str] = set()
        for name, number in self._numbers.items():
            netns = name.partition("/")[0]
            lost = lost_in.get(netns, 0) if netns not in told else 0
            told.add(netns)
            options = _text(OPT_COMMENT, f"{lost} frames were lost in {netns}, by all its interfaces" if lost else "")
            options += _option(ISB_START, _stamp(self._start_ns)) + _option(ISB_END, _stamp(end_ns))
            options += _option(ISB_RECEIVED, struct.pack("<Q", self._received[name])) + _option(ISB_DROPPED, struct.pack("<Q", lost))
            blocks.append(_block(STATISTICS, struct.pack("<I", number) + _stamp(end_ns) + options + _option(OPT_END, b"")))
        return b"".join(blocks)


def write_pcapng(
    frames: Iterable[PcapFrame], interfaces: Sequence[str] = (), descriptions: Mapping[str, str] | None = None, comment: str = "",
    lost_in: Mapping[str, int] | None = None,
) -> bytes:
    """A whole file's bytes: frames in order of time; `interfaces` lists further ones that saw nothing.

    `descriptions` says by an interface's name whose it is; `lost_in` how many frames a namespace lost.
    """
    ordered = sorted(frames, key=lambda frame: frame.time_ns)
    start_ns, end_ns = (ordered[0].time_ns, ordered[-1].time_ns) if ordered else (0, 0)
    stream = PcapngStream(comment, start_ns)
    blocks = [stream.head()]
    blocks += [stream.interface(name, (descriptions or {}).get(name, "")) for name in (*(frame.interface for frame in ordered), *interfaces)]
    blocks += [stream.packet(frame) for frame in ordered]
    return b"".join((*blocks, stream.tail(lost_in or {}, end_ns)))


def _stamp(time_ns: int) -> bytes:
    return struct.pack("<II", time_ns >> 32, time_ns & 0xFFFFFFFF)


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def _text(code: int, text: str) -> bytes:
    """An option of words, cut where its length would not fit; nothing for none."""
    return _option(code, text.encode()[:TEXT_BYTES].decode(errors="ignore").encode()) if text else b""


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
