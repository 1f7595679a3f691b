"""Messages of nf_tables as bytes, and their attributes back (pure).

Hand-made with the layouts of include/uapi/linux/netfilter/nf_tables.h: pyroute2's codec for them costs ten times as much an
element and does not know concatenations with ranges.

    struct nlmsghdr { u32 len; u16 type; u16 flags; u32 seq; u32 pid; }      struct nfgenmsg { u8 family; u8 version; be16 res_id; }
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from labnet.kernel.nft_types import Layout, encode_key, encode_span, encode_value, interval
from labnet.model.netstate import NftElement, NftPortChain

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 0x10, 0x11
DELTABLE = 2
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE = 6, 7
GETSET = 10
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
GETTABLE = 1

REQUEST, ACK, DUMP, EXCL, CREATE, APPEND = 0x1, 0x4, 0x300, 0x200, 0x400, 0x800
FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
FAMILY_NAMES = {number: name for name, number in FAMILIES.items()}
HOOKS = {"ingress": 0, "egress": 1}
NFT_JUMP = -3
ACCEPT = 1
INTERVAL_END = 0x1
NESTED = 0x8000
_HEAD = struct.Struct("=HH")
_NESTED = struct.Struct("=8H")
_PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")


def attr(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded."""
    size = 4 + len(payload)
    return _HEAD.pack(size, kind) + payload + _PADDING[-size % 4]


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute of attributes."""
    return attr(kind | NESTED, b"".join(attributes))


@lru_cache(maxsize=1024)
def text(kind: int, value: str) -> bytes:
    """A string attribute."""
    return attr(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute in network order."""
    return attr(kind, struct.pack(">i" if value < 0 else ">I", value))


def message(kind: int, flags: int, sequence: int, family: int, body: bytes) -> bytes:
    """One nf_tables message."""
    head = struct.pack("=IHHII", 20 + len(body), SUBSYSTEM << 8 | kind, flags | REQUEST, sequence, 0)
    return head + struct.pack("=BBH", family, 0, 0) + body


def batch_mark(kind: int, sequence: int) -> bytes:
    """Begin or end of a batch."""
    return struct.pack("=IHHII", 20, kind, REQUEST, sequence, 0) + struct.pack(">BBH", 0, 0, SUBSYSTEM)


def table_body(name: str) -> bytes:
    """Names a table: NFTA_TABLE_NAME."""
    return text(1, name)


def element_body(item: NftElement) -> bytes:
    """NFTA_SET_ELEM_LIST_* of one element. Errors: ValueError for a value that its type does not take."""
    head = _named(item.table, item.set)
    if item.ranges or "/" in item.fields[0]:
        return head + nest(3, *_elements(item))
    kinds = item.types[: len(item.fields)]
    data = nest(2, _data(item.types[-1], item.value)) if item.value is not None else b""
    key = encode_key(Layout(kinds), item.fields)  # what follows is nest(3, nest(1, nest(1, attr(1, key)), data)), in one go
    size = (len(key) + 3) & ~3
    heads = _NESTED.pack(16 + size + len(data), 3 | NESTED, 12 + size + len(data), 1 | NESTED, 8 + size, 1 | NESTED, 4 + len(key), 1)
    return head + heads + key + _PADDING[-len(key) % 4] + data


@lru_cache(maxsize=1024)
def _named(table: str, name: str) -> bytes:
    return text(1, table) + text(2, name)


def _elements(item: NftElement) -> Iterator[bytes]:
    kinds = item.types[: len(item.fields)]
    data = b""
    if item.value is not None:
        data = nest(2, _data(item.types[-1], item.value))
    if item.ranges:
        low, high = encode_span(Layout(kinds, True), item.fields)
        yield nest(1, nest(1, attr(1, low)), nest(10, attr(1, high)), data)
    elif len(item.fields) == 1 and "/" in item.fields[0] and kinds[0] == "ipv4_addr":
        start, end = interval(item.fields[0])
        yield nest(1, nest(1, attr(1, start)), data)
        if end is not None:
            yield nest(1, nest(1, attr(1, end)), number(3, INTERVAL_END))
    else:
        yield nest(1, nest(1, attr(1, encode_key(Layout(kinds), item.fields))), data)


def _data(kind: str, value: str) -> bytes:
    if kind == "verdict":
        word, _, chain = value.partition(" ")
        code = {"jump": NFT_JUMP, "goto": NFT_JUMP - 1, "accept": ACCEPT, "drop": 0}[word]
        return nest(2, number(1, code), *([text(2, chain)] if chain else []))
    return attr(1, encode_value(kind, value))


def port_chain_body(item: NftPortChain) -> bytes:
    """NFTA_CHAIN_* of a base chain on one device."""
    hook = nest(4, number(1, HOOKS[item.hook]), number(2, item.priority), text(3, item.device))
    return text(1, item.table) + text(3, item.name) + hook + number(5, ACCEPT) + text(7, "filter")


def chain_name_body(item: NftPortChain) -> bytes:
    """Names a chain."""
    return text(1, item.table) + text(3, item.name)


def jump_rule_body(item: NftPortChain) -> bytes:
    """NFTA_RULE_* of the chain's only rule: immediate, into the verdict register, jump."""
    verdict = nest(2, number(1, NFT_JUMP), text(2, item.jump))
    expression = nest(1, text(1, "immediate"), nest(2, number(1, 0), nest(2, verdict)))
    return text(1, item.table) + text(2, item.name) + nest(4, expression)


# ---- reading --------------------------------------------------------------------------------------------------------------


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, payload) of each attribute."""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3


def fields_of(data: bytes) -> dict[int, bytes]:
    """Attributes by kind; of several alike the last."""
    return dict(attributes(data))


def string(payload: bytes) -> str:
    """A string attribute's text."""
    return payload.split(b"\0", 1)[0].decode(errors="replace")


def unsigned(payload: bytes) -> int:
    """A number in network order."""
    return int.from_bytes(payload, "big")
