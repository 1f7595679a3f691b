"""Connection tracking of a namespace: read its flows, forget those that name an address, over ctnetlink.

    struct nfgenmsg { u8 family; u8 version; be16 res_id; } then CTA_TUPLE_ORIG 1, CTA_TUPLE_REPLY 2 { CTA_TUPLE_IP 1 { v4 src 1, dst 2 } }
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable

from labnet.errors import KernelError
from labnet.kernel.netns import open_socket
from labnet.kernel.nft_encode import ACK, DUMP, REQUEST, fields_of
from labnet.kernel.nft_socket import NETLINK_NETFILTER, TIMEOUT_S
from labnet.model.addressing import to_int
from labnet.model.flow import Flow, TrackedFlow

SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
GET, DELETE = 1, 2
TUPLE_ORIG, TUPLE_REPLY, CT_ID, CT_ZONE = 1, 2, 12, 18
ERROR, DONE = 2, 3
AF_INET = 2


def forget(fd: int, netns: str, addresses: Iterable[str]) -> int:
    """Delete every IPv4 entry that names one of the addresses in either direction; how many went. Errors: KernelError."""
    wanted = {to_int(address).to_bytes(4, "big") for address in addresses}
    return _forget(fd, netns, lambda entry: bool(wanted & _addresses(entry))) if wanted else 0


def forget_where(fd: int, netns: str, ended: Callable[[Flow], bool]) -> int:
    """Delete every IPv4 entry of which `ended` says so; how many went. Errors: KernelError."""
    return _forget(fd, netns, lambda entry: ended(_flow(entry)))


def tracked(fd: int, netns: str) -> list[TrackedFlow]:
    """Every IPv4 entry. Errors: KernelError."""
    try:
        with open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.bind((0, 0))
            return [TrackedFlow(_tuple(entry, TUPLE_ORIG), _tuple(entry, TUPLE_REPLY)) for entry in _entries(sock)]
    except OSError as error:
        raise KernelError("conntrack", netns, "flows", error.errno or errno.EIO) from error


def _tuple(entry: dict[int, bytes], kind: int) -> Flow:
    """As `_flow`, either way; of ICMP the identifier (CTA_PROTO_ICMP_ID 4) stands for both ports."""
    parts = fields_of(entry.get(kind, b""))
    address, proto = fields_of(parts.get(1, b"")), fields_of(parts.get(2, b""))
    source, destination = (socket.inet_ntoa(address.get(number, bytes(4))) for number in (1, 2))
    ident = proto.get(4)
    source_port, destination_port = (int.from_bytes(ident or proto.get(number, b""), "big") for number in (2, 3))
    return Flow(int.from_bytes(proto.get(1, b""), "big"), source, destination, source_port, destination_port)


def _forget(fd: int, netns: str, chosen: Callable[[dict[int, bytes]], bool]) -> int:
    try:
        with open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.bind((0, 0))
            found = [entry for entry in _entries(sock) if chosen(entry)]
            return sum(_delete(sock, entry) for entry in found)
    except OSError as error:
        raise KernelError("conntrack", netns, "flows", error.errno or errno.EIO) from error


def _message(kind: int, flags: int, body: bytes = b"") -> bytes:
    head = struct.pack("=IHHII", 20 + len(body), SUBSYSTEM << 8 | kind, flags | REQUEST, 1, 0)
    return head + struct.pack("=BBH", AF_INET, 0, 0) + body


def _entries(sock: socket.socket) -> list[dict[int, bytes]]:
    sock.send(_message(GET, DUMP))
    rows: list[dict[int, bytes]] = []
    while True:
        data = sock.recv(1 << 17)
        at = 0
        while at + 16 <= len(data):
            size, kind = struct.unpack_from("=IH", data, at)
            if kind == DONE:
                return rows
            if kind == ERROR:
                raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "conntrack dump")
            rows.append(fields_of(data[at + 20 : at + size]))
            at += (size + 3) & ~3


def _flow(entry: dict[int, bytes]) -> Flow:
    """CTA_TUPLE_PROTO 2 { num 1, source port 2, destination port 3 }."""
    parts = fields_of(entry.get(TUPLE_ORIG, b""))
    address, proto = fields_of(parts.get(1, b"")), fields_of(parts.get(2, b""))
    source, destination = (socket.inet_ntoa(address.get(kind, bytes(4))) for kind in (1, 2))
    numbers = (int.from_bytes(proto.get(kind, b""), "big") for kind in (1, 2, 3))
    protocol, source_port, destination_port = numbers
    return Flow(protocol, source, destination, source_port, destination_port)


def _addresses(entry: dict[int, bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for kind in (TUPLE_ORIG, TUPLE_REPLY):
        address = fields_of(fields_of(entry.get(kind, b"")).get(1, b""))
        found |= {address.get(1, b""), address.get(2, b"")}
    return found


def _delete(sock: socket.socket, entry: dict[int, bytes]) -> int:
    """One entry by its original tuple and id; one that ended meanwhile is fine."""
    body = _attr(TUPLE_ORIG | 0x8000, entry[TUPLE_ORIG])
    body += _attr(CT_ID, entry[CT_ID]) if CT_ID in entry else b""
    body += _attr(CT_ZONE, entry[CT_ZONE]) if CT_ZONE in entry else b""
    sock.send(_message(DELETE, ACK, body))
    code = -struct.unpack_from("=i", sock.recv(1 << 16), 16)[0]
    if code not in (0, errno.ENOENT):
        raise OSError(code, "conntrack delete")
    return int(code == 0)


def _attr(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)
