"""TCP connections that no process has any more: they wait for answers, and each holds its namespace for a minute or two.

They are found and ended by sock_diag, as `ss -K` does. A kernel that cannot (CONFIG_INET_DIAG_DESTROY) leaves them to their time-outs.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from labnet.kernel.rtnl_socket import NLMSG_DONE, NLMSG_ERROR, READ_BYTES, split

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING = 4, 5, 9, 11
COUNTS = ("/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6")
CLOSING_STATES = 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << LAST_ACK | 1 << CLOSING
_REQUEST = struct.Struct("=BBBxI48s")
"""inet_diag_req_v2: family, protocol, extensions, states, the connection's id."""
_ANSWER = struct.Struct("=BBBB48sIIIII")
"""inet_diag_msg: family, state, timer, retransmissions, id, expires, two queues, uid, inode."""


def end_orphans() -> int:
    """End the orphans of the calling thread's network namespace; how many there were. Errors: OSError.

    To list connections takes the kernel milliseconds, since it walks over those of the whole machine; to count a namespace's own takes it none.
    """
    if not any(_in_use(path) for path in COUNTS):
        return 0
    found = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(5)
        for family in (socket.AF_INET, socket.AF_INET6):
            for identity in list(_orphans(diag, family)):
                diag.send(_message(SOCK_DESTROY, NLM_F_ACK, family, identity))
                diag.recv(READ_BYTES)  # an error too: it went by itself, or this kernel cannot
                found += 1
    return found


def _in_use(path: str) -> bool:
    """Has the calling thread's namespace any TCP socket? Where the kernel does not say: perhaps."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - for every namespace that goes
            words = file.read().split()
    except OSError:
        return True
    place = next((place for place, word in enumerate(words) if word in (b"TCP:", b"TCP6:")), None)
    return place is None or words[place + 2] != b"0"


def _orphans(diag: socket.socket, family: int) -> Iterator[bytes]:
    """The ids of connections in a closing state that have no inode, so no process."""
    diag.send(_message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, bytes(48)))
    while True:
        for kind, _flags, _sequence, body in split(diag.recv(READ_BYTES)):
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                return
            answer = _ANSWER.unpack_from(body)
            if answer[-1] == 0:
                yield answer[4]


def _message(kind: int, flags: int, family: int, identity: bytes) -> bytes:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, CLOSING_STATES, identity)
    return struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body
