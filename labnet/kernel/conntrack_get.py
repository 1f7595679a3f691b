"""Single conntrack entries by their tuple, without a dump: the kernel's table is shared by the whole machine.

    CTA_TUPLE_ORIG 1 { CTA_TUPLE_IP 1 { v4 src 1, dst 2 }, CTA_TUPLE_PROTO 2 { num 1, ports 2 3 | icmp id 4, type 5, code 6 } }
    Source: docs/sources.md#kernel-traces
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence

from labnet.errors import KernelError
from labnet.kernel.conntrack import AF_INET, ERROR, GET, SUBSYSTEM, TUPLE_ORIG, TUPLE_REPLY
from labnet.kernel.netns import open_socket
from labnet.kernel.nft_encode import REQUEST, attr, fields_of, nest, unsigned
from labnet.kernel.nft_socket import NETLINK_NETFILTER, TIMEOUT_S
from labnet.model.packet import FlowTuple, TrackedFlow

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
ECHO_REQUEST, ECHO_REPLY = 8, 0
STATUS, PROTOINFO, TIMEOUT, MARK = 3, 4, 7, 8
SEEN_REPLY, ASSURED, SRC_NAT, DST_NAT = 0x2, 0x4, 0x10, 0x20
TCP_STATES = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
)


def tracked(fd: int, netns: str, protocol: str, flows: Sequence[FlowTuple]) -> list[TrackedFlow | None]:
    """The entry of each flow, None where there is none. Errors: KernelError."""
    try:
        with open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.bind((0, 0))
            return [_ask(sock, protocol, flow) for flow in flows]
    except OSError as error:
        raise KernelError("conntrack", netns, "flow", error.errno or errno.EIO) from error


def _ask(sock: socket.socket, protocol: str, flow: FlowTuple) -> TrackedFlow | None:
    body = _tuple_body(protocol, flow)
    sock.send(struct.pack("=IHHII", 20 + len(body), SUBSYSTEM << 8 | GET, REQUEST, 1, 0) + struct.pack("=BBH", AF_INET, 0, 0) + body)
    data = sock.recv(1 << 16)
    size, kind = struct.unpack_from("=IH", data)
    if kind == ERROR:
        code = -struct.unpack_from("=i", data, 16)[0]
        if code in (errno.ENOENT, errno.EOPNOTSUPP):
            return None
        raise OSError(code, "conntrack get")
    return _entry(protocol, fields_of(data[20:size]))


def _tuple_body(protocol: str, flow: FlowTuple) -> bytes:
    ip = nest(1, attr(1, socket.inet_aton(flow.src)), attr(2, socket.inet_aton(flow.dst)))
    number = attr(1, bytes([NUMBERS[protocol]]))
    if protocol == "icmp":
        proto = nest(2, number, attr(4, struct.pack("!H", flow.src_port)), attr(5, bytes([ECHO_REQUEST])), attr(6, b"\0"))
    else:
        proto = nest(2, number, attr(2, struct.pack("!H", flow.src_port)), attr(3, struct.pack("!H", flow.dst_port)))
    return nest(TUPLE_ORIG, ip, proto)


def _entry(protocol: str, fields: dict[int, bytes]) -> TrackedFlow:
    original, reply = (_tuple(protocol, fields.get(kind, b"")) for kind in (TUPLE_ORIG, TUPLE_REPLY))
    status, mark = unsigned(fields.get(STATUS, b"")), unsigned(fields.get(MARK, b""))
    tcp = fields_of(fields_of(fields.get(PROTOINFO, b"")).get(1, b""))
    words = [protocol]
    words += [TCP_STATES[tcp[1][0]]] if 1 in tcp and tcp[1][0] < len(TCP_STATES) else []
    words += [_words(protocol, original)]
    words += [] if status & SEEN_REPLY else ["[UNREPLIED]"]
    words += [_words(protocol, reply)]
    words += [word for bit, word in ((ASSURED, "[ASSURED]"), (SRC_NAT, "[SNAT]"), (DST_NAT, "[DNAT]")) if status & bit]
    words += [f"mark={mark:#x}"] if mark else []
    return TrackedFlow(protocol, original, reply, mark, " ".join(words))


def _tuple(protocol: str, data: bytes) -> FlowTuple:
    parts = fields_of(data)
    address, proto = fields_of(parts.get(1, b"")), fields_of(parts.get(2, b""))
    src, dst = (socket.inet_ntoa(address.get(kind, bytes(4))) for kind in (1, 2))
    if protocol == "icmp":
        return FlowTuple(src, dst, unsigned(proto.get(4, b"")))
    return FlowTuple(src, dst, unsigned(proto.get(2, b"")), unsigned(proto.get(3, b"")))


def _words(protocol: str, one: FlowTuple) -> str:
    """As `conntrack -L` prints a tuple."""
    ports = f"id={one.src_port}" if protocol == "icmp" else f"sport={one.src_port} dport={one.dst_port}"
    return f"src={one.src} dst={one.dst} {ports}"
