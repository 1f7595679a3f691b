"""A netfilter netlink socket of one namespace: batches that are one transaction, and dumps."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType

from labnet.errors import KernelError
from labnet.kernel.buffers import widen_receiving, widen_sending
from labnet.kernel.netns import open_socket
from labnet.kernel.nft_encode import ACK, BATCH_BEGIN, BATCH_END, DUMP, batch_mark, message
from labnet.model.values import frozen

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK = 270, 11, 10
ERROR, DONE = 2, 3
RECEIVE_BYTES = 1 << 20
TIMEOUT_S = 10.0
RETRIES = 5


@frozen
class Step:
    """One message of a batch: its kind, flags, family number and body."""

    kind: int
    flags: int
    family: int
    body: bytes


class NftSocket:
    """Open for one visit; close it (or use it as a context)."""

    def __init__(self, fd: int, netns: str) -> None:
        self._netns = netns
        self._sock = open_socket(fd, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._sock.settimeout(TIMEOUT_S)
        self._sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        widen_receiving(self._sock, RECEIVE_BYTES)
        self._sock.bind((0, 0))

    def __enter__(self) -> NftSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sock.close()

    def transact(self, steps: Sequence[Step]) -> dict[int, int]:
        """Send all steps as one transaction; errno by number of the step that failed (nothing was changed then)."""
        parts = [batch_mark(BATCH_BEGIN, 0)]
        last = len(steps) - 1
        for place, step in enumerate(steps):
            flags = step.flags | (ACK if place == last else 0)
            parts.append(message(step.kind, flags, place + 1, step.family, step.body))
        parts.append(batch_mark(BATCH_END, len(steps) + 1))
        data = b"".join(parts)
        if len(data) > 100_000:
            widen_sending(self._sock, 2 * len(data))
        try:
            self._sock.send(data)
            return self._verdicts(len(steps))
        except OSError as error:
            raise KernelError("nf_tables", self._netns, "transaction", error.errno or errno.ETIMEDOUT) from error

    def _verdicts(self, last: int) -> dict[int, int]:
        """Read until the last step is acknowledged, or errors came and nothing more waits."""
        failed: dict[int, int] = {}
        while True:
            self._sock.settimeout(0 if failed else TIMEOUT_S)
            try:
                data = self._sock.recv(1 << 17)
            except BlockingIOError:
                return failed
            for kind, sequence, payload in _messages(data):
                if kind == ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        failed[sequence - 1] = code
                    elif sequence == last and not failed:
                        return {}

    def dump(self, kind: int, family: int, body: bytes = b"") -> Iterator[tuple[int, bytes]]:
        """(family, attributes) of every object; a dump that the kernel calls inconsistent is read again. Errors: OSError."""
        for _ in range(RETRIES):
            self._sock.send(message(kind, DUMP, 1, family, body))
            rows, whole = self._rows()
            if whole:
                break
        return iter(rows)

    def _rows(self) -> tuple[list[tuple[int, bytes]], bool]:
        rows: list[tuple[int, bytes]] = []
        whole = True
        while True:
            data = self._sock.recv(1 << 17)
            at = 0
            while at + 16 <= len(data):
                size, got, flags = struct.unpack_from("=IHH", data, at)
                if got == DONE:
                    return rows, whole
                if got == ERROR:
                    code = -struct.unpack_from("=i", data, at + 16)[0]
                    if code in (errno.EINTR,):
                        return rows, False
                    if code:
                        raise OSError(code, "nf_tables dump")
                    return rows, whole
                whole = whole and not flags & 0x10  # NLM_F_DUMP_INTR
                rows.append((data[at + 16], data[at + 20 : at + size]))
                at += (size + 3) & ~3


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        size, kind, _flags, sequence, _pid = struct.unpack_from("=IHHII", data, at)
        yield kind, sequence, data[at + 16 : at + size]
        at += (size + 3) & ~3
