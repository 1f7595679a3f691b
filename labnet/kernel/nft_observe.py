"""nftables read back: tables, elements and port chains of a namespace, and its counters.

A planned table counts as unchanged when its chains, set declarations and rules, as the kernel holds them, are those that the
same body gives in a namespace of its own (loaded there once, counters and handles left out). Otherwise it is reported with the
text that `nft` lists, so that the difference shows. Tables that iptables made are no business of ours.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

from labnet.errors import KernelError
from labnet.kernel import nft_library
from labnet.kernel.netns import returning, unshare
from labnet.kernel.nft_encode import (
    FAMILIES,
    FAMILY_NAMES,
    GETCHAIN,
    GETRULE,
    GETSET,
    GETSETELEM,
    GETTABLE,
    HOOKS,
    INTERVAL_END,
    META_MARK,
    attributes,
    fields_of,
    string,
    table_body,
    text,
    unsigned,
)
from labnet.kernel.nft_socket import NftSocket
from labnet.kernel.nft_types import NUMBERS, Layout, decode_key, decode_value, span_text, types_of
from labnet.model.netstate import KernelObject, NftElement, NftPortChain, NftTable

SET_ANONYMOUS, SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_EVAL, SET_CONCAT = 0x1, 0x4, 0x8, 0x10, 0x20, 0x80
IPTABLES_TABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
ALL_FAMILIES = 0
TRACE_TABLE = "labnet_trace"  # there while a trace follows a packet (nft_trace): not part of a namespace's state
COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT


def observe(fd: int, netns: str, planned: Iterable[NftTable]) -> list[KernelObject]:
    """Every nftables object of a namespace but those of iptables. Errors: KernelError."""
    plans = {(table.family, table.name): table for table in planned}
    try:
        with NftSocket(fd, netns) as sock:
            tables = [(family, string(fields_of(body)[1])) for family, body in sock.dump(GETTABLE, ALL_FAMILIES)]
            ours = [
                (FAMILY_NAMES[family], name)
                for family, name in tables
                if family in FAMILY_NAMES and name != TRACE_TABLE and not (FAMILY_NAMES[family] in ("ip", "ip6") and name in IPTABLES_TABLES)
            ]
            found: list[KernelObject] = []
            for family, name in ours:
                found += _table(sock, fd, netns, family, name, plans.get((family, name)))
            return found
    except OSError as error:
        raise KernelError("observe", netns, "nf_tables", error.errno or errno.EIO) from error


def _table(sock: NftSocket, fd: int, netns: str, family: str, name: str, plan: NftTable | None) -> Iterator[KernelObject]:
    ports = list(_port_chains(sock, family, name))
    if plan is None:
        yield NftTable(family, name, _listed(fd, netns, family, name))
        return
    same = _digest(sock, family, name, {port.name for port in ports}) == _digest_of_body(family, name, plan.body)
    yield plan if same else NftTable(family, name, _listed(fd, netns, family, name))
    yield from ports
    yield from _elements(sock, family, name)


def _listed(fd: int, netns: str, family: str, name: str) -> str:
    done = nft_library.run(fd, netns, f"list table {family} {name}\n")
    return "\n".join(done.stdout.splitlines()[1:-1])


# ---- is a table what its body says? ---------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _digest_of_body(family: str, name: str, body: str) -> str:
    """What the kernel makes of a body: loaded into a namespace that nobody else sees and that ends with this call."""
    with returning():
        unshare()
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        done = nft_library.run(fd, "a throw-away namespace", f"table {family} {name} {{\n{body}\n}}\n")
        if done.exit_code:
            return ""
        with NftSocket(fd, "a throw-away namespace") as sock:
            return _digest(sock, family, name, set())
    finally:
        os.close(fd)


def _digest(sock: NftSocket, family: str, name: str, leave_out: set[str]) -> str:
    """Chains, set declarations and rules of a table as one number; handles, counts and elements of named sets left out."""
    lines: list[bytes] = []
    number = FAMILIES[family]
    for _family, body in sock.dump(GETCHAIN, number, table_body(name)):
        fields = fields_of(body)
        if string(fields[1]) == name and string(fields[3]) not in leave_out:
            lines.append(b"chain " + b"|".join(fields.get(kind, b"") for kind in (3, 4, 5, 7)))
    for _family, body in sock.dump(GETSET, number, table_body(name)):
        fields = fields_of(body)
        if string(fields[1]) == name:
            lines.append(b"set " + b"|".join(fields.get(kind, b"") for kind in (2, 3, 4, 5, 6, 7, 11)))
    for _family, body in sock.dump(GETRULE, number, text(1, name)):
        fields = fields_of(body)
        if string(fields[1]) == name and string(fields[2]) not in leave_out:
            lines.append(b"rule " + fields[2] + b"".join(_expression(part) for _, part in attributes(fields.get(4, b""))) + fields.get(7, b""))
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _expression(part: bytes) -> bytes:
    fields = fields_of(part)
    return fields.get(1, b"") + (b"" if string(fields.get(1, b"")) == "counter" else fields.get(2, b""))


# ---- port chains and elements ---------------------------------------------------------------------------------------------


def _port_chains(sock: NftSocket, family: str, name: str) -> Iterator[NftPortChain]:
    """Base chains on one device whose only rule is a jump, with or without a mark before it."""
    if family != "netdev":
        return
    jumps: dict[str, list[tuple[int, str]]] = {}
    for _family, body in sock.dump(GETRULE, FAMILIES[family], text(1, name)):
        fields = fields_of(body)
        if string(fields[1]) == name:
            jumps.setdefault(string(fields[2]), []).append(_jump(fields.get(4, b"")))
    hooks = {number: word for word, number in HOOKS.items()}
    for _family, body in sock.dump(GETCHAIN, FAMILIES[family], table_body(name)):
        fields = fields_of(body)
        if string(fields[1]) != name or 4 not in fields:
            continue
        hook = fields_of(fields[4])
        chain, rules = string(fields[3]), jumps.get(string(fields[3]), [])
        if len(rules) == 1 and rules[0][1]:
            device = string(hook[3]) if 3 in hook else _first_device(hook)
            side: Literal["ingress", "egress"] = "egress" if hooks[unsigned(hook[1])] == "egress" else "ingress"
            yield NftPortChain(name, chain, device, side, rules[0][1], mark=rules[0][0])


def _first_device(hook: dict[int, bytes]) -> str:
    return next((string(payload) for _kind, payload in attributes(hook.get(4, b""))), "")


def _jump(expressions: bytes) -> tuple[int, str]:
    """(mark, chain) of a rule that does nothing but set the mark, or not even that (0), and jump; no chain for any other rule."""
    parts = [fields_of(part) for _, part in attributes(expressions)]
    mark = 0
    if [string(part.get(1, b"")) for part in parts] == ["immediate", "meta", "immediate"]:
        meta, data = fields_of(parts[1][2]), fields_of(fields_of(parts[0][2]).get(2, b""))
        if unsigned(meta.get(2, b"")) == META_MARK and 3 in meta and 1 in data:
            mark = int.from_bytes(data[1][:4], sys.byteorder)
            parts = parts[2:]
    if len(parts) != 1 or string(parts[0].get(1, b"")) != "immediate":
        return 0, ""
    verdict = fields_of(fields_of(fields_of(parts[0][2]).get(2, b"")).get(2, b""))
    return mark, string(verdict[2]) if 2 in verdict else ""


def _elements(sock: NftSocket, family: str, table: str) -> Iterator[NftElement]:
    for _family, body in list(sock.dump(GETSET, FAMILIES[family], table_body(table))):
        fields = fields_of(body)
        flags = unsigned(fields.get(3, b"\0"))
        if string(fields[1]) != table or flags & (SET_ANONYMOUS | SET_TIMEOUT | SET_EVAL):
            continue
        kinds = types_of(unsigned(fields[4]))
        if kinds is None:
            continue
        value_kind = NUMBERS.get(unsigned(fields[6])) if 6 in fields and flags & SET_MAP else None
        rows = _rows(sock, family, table, string(fields[2]))
        layout = Layout(kinds, ranges=bool(flags & SET_CONCAT and flags & SET_INTERVAL))
        if flags & SET_INTERVAL and len(kinds) == 1:
            yield from _intervals(family, table, string(fields[2]), kinds[0], rows)
        else:
            for row in rows:
                yield _element(family, table, string(fields[2]), layout, value_kind, row)


def _rows(sock: NftSocket, family: str, table: str, name: str) -> list[dict[int, bytes]]:
    rows: list[dict[int, bytes]] = []
    for _family, body in sock.dump(GETSETELEM, FAMILIES[family], text(1, table) + text(2, name)):
        rows += [fields_of(item) for kind, payload in attributes(body) if kind == 3 for _, item in attributes(payload)]
    return rows


def _element(family: str, table: str, name: str, layout: Layout, value_kind: str | None, row: dict[int, bytes]) -> NftElement:
    low = fields_of(row[1])[1]
    high = fields_of(row[10])[1] if 10 in row else None
    value = decode_value(value_kind, fields_of(row[2])[1]) if value_kind is not None and 2 in row else None
    types = layout.types if value is None else (*layout.types, str(value_kind))
    return NftElement(table, name, decode_key(layout, low, high), types, value, family, layout.ranges)


def _intervals(family: str, table: str, name: str, kind: str, rows: list[dict[int, bytes]]) -> Iterator[NftElement]:
    """Elements of an interval set: starts and exclusive ends, sorted, as prefixes."""
    marks = sorted((fields_of(row[1])[1], unsigned(row.get(3, b"\0")) & INTERVAL_END) for row in rows)
    start: bytes | None = None
    for key, is_end in [*marks, (b"", 1)]:
        if start is not None:
            last = (int.from_bytes(key, "big") - 1).to_bytes(4, "big") if key else b"\xff\xff\xff\xff"
            first_text, last_text = decode_value(kind, start), decode_value(kind, last)
            word = span_text(kind, first_text, last_text)
            yield NftElement(table, name, (word,), (kind,), None, family)
        start = None if is_end else key


# ---- counters -------------------------------------------------------------------------------------------------------------


def counters(fd: int, netns: str) -> dict[str, int]:
    """Packets by comment, for every rule with a counter and a comment; rules of one comment summed. Errors: KernelError."""
    found: dict[str, int] = {}
    try:
        with NftSocket(fd, netns) as sock:
            for _family, body in sock.dump(GETRULE, ALL_FAMILIES):
                fields = fields_of(body)
                comment = _comment(fields.get(7, b""))
                packets = _packets(fields.get(4, b"")) if comment else None
                if packets is not None:
                    found[comment] = found.get(comment, 0) + packets
    except OSError as error:
        raise KernelError("counters", netns, "nf_tables", error.errno or errno.EIO) from error
    return found


def _comment(userdata: bytes) -> str:
    """struct nftnl_udata { u8 type; u8 len; u8 value[]; } …"""
    at = 0
    while at + 2 <= len(userdata):
        kind, size = userdata[at], userdata[at + 1]
        if kind == COMMENT:
            return string(userdata[at + 2 : at + 2 + size])
        at += 2 + size
    return ""


def _packets(expressions: bytes) -> int | None:
    for _, part in attributes(expressions):
        fields = fields_of(part)
        if string(fields.get(1, b"")) == "counter":
            return int(struct.unpack(">Q", fields_of(fields[2])[2])[0])
    return None
