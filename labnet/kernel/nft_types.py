"""Values of nftables data types ↔ bytes, as sets and maps hold them (pure).

A value stands in as many bytes as its type has; in a concatenation each part is padded to four. Marks and class ids are in
the machine's byte order, but in a concatenation with ranges in network order, because nft swaps what it looks up there.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache

from labnet.model.addressing import bounds, to_int, to_text
from labnet.model.values import frozen

IFNAME_BYTES = 16
SIZES = {
    "ifname": IFNAME_BYTES, "ipv4_addr": 4, "ether_addr": 6, "inet_service": 2, "inet_proto": 1, "mark": 4, "classid": 4, "icmp_type": 1,
}
NUMBERS = {
    7: "ipv4_addr", 9: "ether_addr", 12: "inet_proto", 13: "inet_service", 14: "icmp_type", 19: "mark", 23: "classid", 41: "ifname",
}
"""nft's own numbers of its types, which it stores with a set (include/datatype.h)."""
TYPE_BITS = 6
HOST_ORDER = frozenset({"mark", "classid"})
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}


@frozen
class Layout:
    """How the keys of one set are laid out."""

    types: tuple[str, ...]
    ranges: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each part, padded where there are several."""
        return _sizes(self.types)


@lru_cache(maxsize=256)
def _sizes(types: tuple[str, ...]) -> tuple[int, ...]:
    sizes = tuple(SIZES[kind] for kind in types)
    return tuple((size + 3) & ~3 for size in sizes) if len(sizes) > 1 else sizes


def types_of(number: int) -> tuple[str, ...] | None:
    """The parts that a stored type number names; None for a type that is not handled here."""
    parts: list[str] = []
    while number:
        name = NUMBERS.get(number & ((1 << TYPE_BITS) - 1))
        if name is None:
            return None
        parts.insert(0, name)
        number >>= TYPE_BITS
    return tuple(parts)


@lru_cache(maxsize=8192)
def encode_value(kind: str, text: str, *, network_order: bool = False) -> bytes:
    """One value. Errors: ValueError for a text that its type does not take."""
    if kind == "ifname":
        raw = text.encode()
        if len(raw) >= IFNAME_BYTES:
            raise ValueError(f"{text} is too long for an interface name")
        return raw.ljust(IFNAME_BYTES, b"\0")
    if kind == "ipv4_addr":
        return to_int(text).to_bytes(4, "big")
    if kind == "ether_addr":
        raw = bytes.fromhex(text.replace(":", ""))
        if len(raw) != SIZES[kind]:
            raise ValueError(f"{text} is no MAC address")
        return raw
    if kind in HOST_ORDER:
        number = _classid(text) if kind == "classid" else int(text, 0)
        return struct.pack(">I" if network_order else "=I", number)
    return _number(kind, text).to_bytes(SIZES[kind], "big")


def _number(kind: str, text: str) -> int:
    if kind == "inet_proto" and text in PROTOCOLS:
        return PROTOCOLS[text]
    return int(text, 0)


def _classid(text: str) -> int:
    major, _, minor = text.partition(":")
    return int(major or "0", 16) << 16 | int(minor or "0", 16)


def encode_key(layout: Layout, fields: tuple[str, ...]) -> bytes:
    """The key of an element without ranges."""
    sizes = layout.sizes
    return b"".join(encode_value(kind, text).ljust(size, b"\0") for kind, text, size in zip(layout.types, fields, sizes, strict=True))


def encode_span(layout: Layout, fields: tuple[str, ...]) -> tuple[bytes, bytes]:
    """First and last key of an element with ranges: parts are values, prefixes (ipv4_addr) or ``low-high``."""
    low, high = b"", b""
    for kind, text, size in zip(layout.types, fields, layout.sizes, strict=True):
        first, last = _span(kind, text)
        low += encode_value(kind, first, network_order=True).ljust(size, b"\0")
        high += encode_value(kind, last, network_order=True).ljust(size, b"\0")
    return low, high


def _span(kind: str, text: str) -> tuple[str, str]:
    if kind == "ipv4_addr" and "/" in text:
        first, last = bounds(text)
        return to_text(first), to_text(last)
    if "-" in text and kind not in ("ifname", "ether_addr"):
        first_text, _, last_text = text.partition("-")
        return first_text, last_text
    return text, text


def interval(text: str) -> tuple[bytes, bytes | None]:
    """Start and exclusive end of a prefix in an interval set of addresses; None when it reaches the very last address."""
    first, last = bounds(text if "/" in text else f"{text}/32")
    return first.to_bytes(4, "big"), (last + 1).to_bytes(4, "big") if last < 0xFFFFFFFF else None


def decode_value(kind: str, raw: bytes, *, network_order: bool = False) -> str:
    """The text of one value, as the planners write it."""
    if kind == "ifname":
        return raw.split(b"\0", 1)[0].decode()
    if kind == "ipv4_addr":
        return socket.inet_ntoa(raw[:4]) if len(raw) >= 4 else ""
    if kind == "ether_addr":
        return raw[:6].hex(":")
    if kind in HOST_ORDER:
        number = struct.unpack(">I" if network_order else "=I", raw[:4])[0]
        return f"{number >> 16:x}:{number & 0xFFFF:x}" if kind == "classid" else f"{number:#010x}"
    return str(int.from_bytes(raw[: SIZES[kind]], "big"))


def decode_key(layout: Layout, low: bytes, high: bytes | None) -> tuple[str, ...]:
    """The parts of a key; with a last key each part is a value, a prefix or a range."""
    parts: list[str] = []
    at = 0
    for kind, size in zip(layout.types, layout.sizes, strict=True):
        first = decode_value(kind, low[at : at + size], network_order=layout.ranges)
        last = decode_value(kind, high[at : at + size], network_order=layout.ranges) if high is not None else first
        parts.append(first if first == last else span_text(kind, first, last))
        at += size
    return tuple(parts)


def span_text(kind: str, first: str, last: str) -> str:
    """A range as nft prints it: a prefix where addresses make one, else ``low-high``."""
    if kind == "ipv4_addr":
        low, high = to_int(first), to_int(last)
        size = high - low + 1
        if size & (size - 1) == 0 and low % size == 0:
            return f"{first}/{33 - size.bit_length()}"
    return f"{first}-{last}"
