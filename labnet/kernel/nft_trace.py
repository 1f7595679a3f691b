"""The kernel's own account of the rules that one packet matched: nftables and both back ends of iptables.

    table ip labnet_trace {                                  owned by our socket: gone with it, whatever happens to this process
        flags owner
        chain prerouting { type filter hook prerouting priority -500; @nh,72,8 PROTOCOL @nh,32,16 ID @th,… WORD meta nftrace set 1 }
        chain output { … the same }
    }
    table netdev labnet_trace { chain ingressN { type filter hook ingress device "…" priority -500; … } }

The mark that `meta nftrace set 1` leaves on the packet is the one of iptables' TRACE target too: rules of iptables-nft come with
nf_tables' events, those of iptables-legacy over nfnetlink_log, once that is the namespace's logger. It is put back afterwards.
Source: docs/sources.md#kernel-traces
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from labnet.errors import KernelError
from labnet.kernel.netns import enter, open_socket
from labnet.kernel.nft_encode import (
    ACCEPT,
    CREATE,
    FAMILIES,
    FAMILY_NAMES,
    GETRULE,
    NEWCHAIN,
    NEWRULE,
    attr,
    attributes,
    fields_of,
    nest,
    number,
    string,
    table_body,
    text,
    unsigned,
)
from labnet.kernel.nft_observe import TRACE_TABLE as TABLE
from labnet.kernel.nft_socket import NETLINK_NETFILTER, SOL_NETLINK, NftSocket, Step
from labnet.ports import PacketSign, RuleEvent

NEWTABLE, DELTABLE, TRACE = 0, 2, 17
OWNER = 0x2  # NFT_TABLE_F_OWNER
PRIORITY = -500  # before raw (-300) and the VPC's own marking (-305)
PREROUTING, OUTPUT, INGRESS = 0, 3, 0
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
META_NFTRACE, REGISTER = 12, 1
NFTRACE_GROUP, ADD_MEMBERSHIP = 9, 1
TYPE_RULE, TYPE_POLICY = 3, 1
POLICY = 16  # NFTA_TRACE_POLICY
VERDICTS = {0: "drop", 1: "accept", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
LOG_SUBSYSTEM, LOG_PACKET, LOG_CONFIG = 4, 0, 1
LOGGER = "/proc/sys/net/netfilter/nf_log/2"  # of AF_INET
LEGACY_TABLES = "/proc/thread-self/net/ip_tables_names"
HEADER_BYTES = 64
TIMEOUT_S = 2.0


class RuleTrace:
    """Follows the packets of a sign through the rules of one namespace, until it is closed. Errors: KernelError; then nothing is left."""

    def __init__(self, fd: int, netns: str, sign: PacketSign, devices: Sequence[str]) -> None:
        self._netns = netns
        self._events: socket.socket | None = None
        self._legacy: LegacyTrace | None = None
        self._sock = NftSocket(fd, netns)
        self._tables: list[str] = []
        try:
            self._events = open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
            self._events.bind((0, 0))
            self._events.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NFTRACE_GROUP)
            self._events.setblocking(False)
            self._legacy = LegacyTrace.where_used(fd, sign)
            self._install(sign, devices)
        except OSError as error:
            self.close()
            raise KernelError("rule trace", netns, "nf_tables", error.errno or errno.EIO) from error
        except BaseException:
            self.close()
            raise

    def _install(self, sign: PacketSign, devices: Sequence[str]) -> None:
        chains = [("ip", "prerouting", PREROUTING, ""), ("ip", "output", OUTPUT, "")]
        chains += [("netdev", f"ingress{place}", INGRESS, device) for place, device in enumerate(devices)]
        families = list(dict.fromkeys(family for family, *_ in chains))
        steps = [Step(NEWTABLE, CREATE, FAMILIES[family], table_body(TABLE) + number(2, OWNER)) for family in families]
        for family, name, hook, device in chains:
            steps += _chain(FAMILIES[family], name, hook, device, sign)
        failed = self._sock.transact(steps)
        if failed:
            raise KernelError("rule trace", self._netns, f"table {TABLE}", next(iter(failed.values())))
        self._tables = families

    def events(self) -> tuple[RuleEvent, ...]:
        """What was matched so far, in order; our own chains are left out. Errors: OSError."""
        assert self._events is not None
        said = [event for data in _datagrams(self._events) for event in _trace_messages(data)]
        ours = {packet for packet, event, _ in said if event.table == TABLE}
        mine = [(event, handle) for packet, event, handle in said if packet in ours and event.table != TABLE]
        places = {key: self._places(*key) for key in dict.fromkeys((event.family, event.table) for event, _ in mine)}
        found = [replace(event, number=places[event.family, event.table].get((event.chain, handle), 0)) for event, handle in mine]
        return (*found, *(self._legacy.events() if self._legacy is not None else ()))

    def _places(self, family: str, table: str) -> dict[tuple[str, int], int]:
        """Where each rule of a table stands in its chain, from 1, by chain and handle."""
        places: dict[tuple[str, int], int] = {}
        counts: dict[str, int] = {}
        for _family, body in self._sock.dump(GETRULE, FAMILIES[family], text(1, table)):
            fields = fields_of(body)
            if string(fields[1]) == table:
                chain = string(fields[2])
                counts[chain] = counts.get(chain, 0) + 1
                places[chain, unsigned(fields[3])] = counts[chain]
        return places

    def remove(self) -> None:
        """Take our tables away; the sockets stay open. Errors: KernelError."""
        families, self._tables = self._tables, []
        if families:
            self._sock.transact([Step(DELTABLE, 0, FAMILIES[family], table_body(TABLE)) for family in families])

    def close(self) -> None:
        """Leave nothing behind."""
        try:
            self.remove()
        finally:
            self._sock.__exit__(None, None, None)
            if self._events is not None:
                self._events.close()
            if self._legacy is not None:
                self._legacy.close()


def _chain(family: int, name: str, hook: int, device: str, sign: PacketSign) -> Iterator[Step]:
    where = nest(4, number(1, hook), number(2, PRIORITY), *([text(3, device)] if device else []))
    yield Step(NEWCHAIN, CREATE, family, text(1, TABLE) + text(3, name) + where + number(5, ACCEPT) + text(7, "filter"))
    expressions = [
        *_equals(NETWORK_HEADER, 9, bytes([sign.protocol])), *_equals(NETWORK_HEADER, 4, struct.pack("!H", sign.ip_id)),
        *_equals(TRANSPORT_HEADER, sign.offset_bytes, struct.pack("!I", sign.word)),
        _expression("immediate", number(1, REGISTER), nest(2, attr(1, b"\1"))),
        _expression("meta", number(2, META_NFTRACE), number(3, REGISTER)),
    ]
    yield Step(NEWRULE, CREATE, family, text(1, TABLE) + text(2, name) + nest(4, *expressions))


def _equals(base: int, offset: int, value: bytes) -> tuple[bytes, bytes]:
    """payload into a register, then a comparison."""
    load = _expression("payload", number(1, REGISTER), number(2, base), number(3, offset), number(4, len(value)))
    return load, _expression("cmp", number(1, REGISTER), number(2, 0), nest(3, attr(1, value)))


def _expression(name: str, *parts: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *parts))


def _datagrams(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield sock.recv(1 << 16)
        except BlockingIOError:
            return


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        yield kind, data[at + 16 : at + size]
        at += (size + 3) & ~3


def _trace_messages(data: bytes) -> Iterator[tuple[int, RuleEvent, int]]:
    """(packet, event, handle): NFTA_TRACE_* table 1, chain 2, rule handle 3, type 4, verdict 5, packet's id 6."""
    for kind, body in _messages(data):
        if kind != 10 << 8 | TRACE:
            continue
        fields = dict(attributes(body[4:]))
        what = unsigned(fields.get(4, b""))
        if what not in (TYPE_RULE, TYPE_POLICY):
            continue
        verdict = fields_of(fields.get(5, b""))
        code = struct.unpack(">i", verdict[1])[0] if 1 in verdict else unsigned(fields.get(POLICY, b""))
        words = f"{VERDICTS.get(code, code)} {string(verdict.get(2, b''))}".rstrip()
        handle = unsigned(fields.get(3, b"")) if what == TYPE_RULE else 0
        event = RuleEvent(FAMILY_NAMES.get(body[0], str(body[0])), string(fields[1]), string(fields[2]), 0, handle, words)
        yield unsigned(fields.get(6, b"")), event, handle


# ---- iptables-legacy ------------------------------------------------------------------------------------------------------


class LegacyTrace:
    """What iptables-legacy says of marked packets: the namespace's logger is nfnetlink_log meanwhile, and we hold its group 0."""

    def __init__(self, fd: int, sign: PacketSign) -> None:
        self._fd, self._sign = os.dup(fd), sign
        self._before = ""
        self._sock = open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._sock.settimeout(TIMEOUT_S)
        self._sock.bind((0, 0))

    @classmethod
    def where_used(cls, fd: int, sign: PacketSign) -> LegacyTrace | None:
        """None where the namespace has no such tables, or the kernel no such logger."""
        with enter(fd):
            try:
                used = Path(LEGACY_TABLES).read_text().strip()
            except OSError:
                return None
        if not used:
            return None
        trace = cls(fd, sign)
        try:
            trace.start()
        except OSError:
            trace.close()
            return None
        return trace

    def start(self) -> None:
        """Take group 0, whole headers, at once. Errors: OSError."""
        self._configure(attr(1, b"\1"))
        self._configure(attr(2, struct.pack(">IBB", HEADER_BYTES, 2, 0)) + number(5, 1))
        self._sock.setblocking(False)
        with enter(self._fd):
            before = Path(LOGGER).read_text().strip()
            if before != "nfnetlink_log":
                Path(LOGGER).write_text("nfnetlink_log")
                self._before = before

    def _configure(self, body: bytes) -> None:
        head = struct.pack("=IHHII", 20 + len(body), LOG_SUBSYSTEM << 8 | LOG_CONFIG, 0x5, 1, 0)
        self._sock.send(head + struct.pack("=BBH", socket.AF_INET, 0, 0) + body)
        code = -struct.unpack_from("=i", self._sock.recv(1 << 12), 16)[0]
        if code:
            raise OSError(code, "nfnetlink_log")

    def events(self) -> list[RuleEvent]:
        """NFULA_PAYLOAD 9, NFULA_PREFIX 10 = ``TRACE: nat:POSTROUTING:rule:3``."""
        found = []
        for data in _datagrams(self._sock):
            for kind, body in _messages(data):
                if kind != LOG_SUBSYSTEM << 8 | LOG_PACKET:
                    continue
                fields = dict(attributes(body[4:]))
                words = string(fields.get(10, b"")).removeprefix("TRACE: ").strip().split(":")
                if fields.get(9, b"")[4:6] == struct.pack("!H", self._sign.ip_id) and len(words) == 4 and words[2] in ("rule", "policy"):
                    place = int(words[3]) if words[2] == "rule" else 0
                    found.append(RuleEvent("legacy", words[0], words[1], place, 0, words[2]))
        return found

    def close(self) -> None:
        """The logger as it was."""
        try:
            if self._before:
                with enter(self._fd):
                    Path(LOGGER).write_text(self._before)
        finally:
            self._sock.close()
            os.close(self._fd)
