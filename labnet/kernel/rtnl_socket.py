"""A netlink socket of one namespace: batches whose failures are told message by message, and dumps.

The kernel works through a batch while `send` runs, whatever fails on the way, and reports each failure with its sequence
number. Only the last message of a batch asks for an answer, so the receive buffer holds failures and one ack. A batch stays
under the send buffer; nothing waits longer than the time-out.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from labnet.kernel.netns import open_socket
from labnet.kernel.rtnl_encode import with_sequence
from labnet.model.values import frozen

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_ACK, NLM_F_DUMP = 0x4, 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
BATCH_BYTES = 64 * 1024
RECEIVE_BYTES = 1 << 20
FEW_MESSAGES = 100
"""As many failures as the default receive buffer surely holds (212,992 bytes hold 250)."""
READ_BYTES = 1 << 15
"""The largest datagram that a dump fills (netlink_recvmsg caps it there)."""
TIMEOUT_S = 30.0
DUMP_ATTEMPTS = 5
_HEADER = struct.Struct("=IHHII")
_SEQUENCE = struct.Struct("=I")
_ATTRIBUTE = struct.Struct("=HH")


@frozen
class Failure:
    """The kernel's no to one message: errno and, where it said so, its own words."""

    number: int
    reason: str = ""


class AnswersLost(OSError):
    """ENOBUFS: the kernel dropped answers; what was done is not known and must be observed."""


class RtnlSocket:
    """A NETLINK_ROUTE socket, whose namespace is the one in which it was opened. Takes the socket over; close this when done."""

    def __init__(self, route: socket.socket, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = route
        whole_s = int(timeout_s)
        route.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole_s, int((timeout_s - whole_s) * 1e6)))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            route.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0
        self._wide = False

    @classmethod
    def opened(cls, fd: int, timeout_s: float = TIMEOUT_S) -> RtnlSocket:
        """A new socket in the namespace behind a descriptor, which may be closed afterwards. Errors: OSError."""
        return cls(open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE), timeout_s)

    def close(self) -> None:
        """Let the namespace go."""
        self._socket.close()

    def send(self, messages: Sequence[bytes]) -> dict[int, Failure]:
        """Send all; the failures by place in `messages`. Failures do not stop what follows. Errors: OSError, AnswersLost."""
        if len(messages) > FEW_MESSAGES and not self._wide:  # room for a failure of each
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            self._wide = True
        failed: dict[int, Failure] = {}
        start = 0
        while start < len(messages):
            end, size = start, 0
            while end < len(messages) and (size + len(messages[end]) <= BATCH_BYTES or end == start):
                size += len(messages[end])
                end += 1
            failed |= self._send_some(messages, start, end)
            start = end
        return failed

    def _send_some(self, messages: Sequence[bytes], start: int, end: int) -> dict[int, Failure]:
        first = self._sequence + 1
        last = self._sequence = self._sequence + (end - start)
        batch, at = bytearray().join(messages[start:end]), 0
        for sequence in range(first, last):
            _SEQUENCE.pack_into(batch, at + 8, sequence)
            at += len(messages[start + sequence - first])
        batch[at:] = with_sequence(messages[end - 1], last, NLM_F_ACK)
        self._socket.send(batch)
        failed: dict[int, Failure] = {}
        while True:
            for kind, flags, sequence, body in self._receive():
                if kind != NLMSG_ERROR or not first <= sequence <= last:
                    continue
                failure = _failure(flags, body)
                if failure is not None:
                    failed[start + sequence - first] = failure
                if sequence == last:
                    return failed

    def dump(self, request: bytes) -> list[bytes]:
        """The bodies (after the netlink header) of all answers to a dump request. Errors: OSError."""
        for _attempt in range(DUMP_ATTEMPTS):
            rows, whole = self._dump_once(request)
            if whole:
                return rows
        raise OSError(errno.EAGAIN, "the table changed during every dump")

    def _dump_once(self, request: bytes) -> tuple[list[bytes], bool]:
        self._sequence += 1
        self._socket.send(with_sequence(request, self._sequence, NLM_F_DUMP))
        rows: list[bytes] = []
        whole = True
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    failure = _failure(flags, body) if len(body) >= 4 else None
                    if failure is not None:
                        raise OSError(failure.number, failure.reason or os.strerror(failure.number))
                    return rows, whole
                rows.append(body)

    def ask(self, request: bytes) -> bytes | Failure:
        """One question with one answer: its body, or the kernel's no. Errors: OSError."""
        self._sequence += 1
        self._socket.send(with_sequence(request, self._sequence))
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == NLMSG_ERROR:
                    return _failure(flags, body) or Failure(0)
                return body

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, sequence, body) of one read. Errors: OSError ETIMEDOUT, AnswersLost."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError as error:
            raise OSError(errno.ETIMEDOUT, "the kernel did not answer") from error
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise AnswersLost(errno.ENOBUFS, "the kernel dropped answers") from error
            raise
        return split(data)


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: (type, flags, sequence, body)."""
    at = 0
    while at + 16 <= len(data):
        size, kind, flags, sequence, _pid = _HEADER.unpack_from(data, at)
        if size < 16:
            return
        yield kind, flags, sequence, data[at + 16:at + size]
        at += (size + 3) & ~3


def attributes(data: bytes, at: int) -> dict[int, bytes]:
    """The attributes from an offset on, by number (nested and byte-order flags off)."""
    found: dict[int, bytes] = {}
    end = len(data)
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4:at + size]
        at += (size + 3) & ~3
    return found


def attribute(data: bytes, at: int, wanted: int) -> bytes:
    """One attribute from an offset on; empty when it is not there."""
    end = len(data)
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4:
            break
        if kind & 0x3FFF == wanted:
            return data[at + 4:at + size]
        at += (size + 3) & ~3
    return b""


def _failure(flags: int, body: bytes) -> Failure | None:
    """What an error message says, or the end of a dump; None for an ack."""
    code: int = struct.unpack_from("=i", body)[0]
    if not code:
        return None
    reason = ""
    if flags & NLM_F_ACK_TLVS:
        echoed = 16 if flags & NLM_F_CAPPED else struct.unpack_from("=I", body, 4)[0] if len(body) >= 8 else 0
        words = attributes(body, 4 + echoed).get(NLMSGERR_ATTR_MSG, b"")
        reason = words.rstrip(b"\0").decode(errors="replace")
    return Failure(-code, reason)
