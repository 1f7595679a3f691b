"""Listening: one packet socket per namespace, which sees every interface of it, both ways, stamped by the kernel.

A classic filter in the kernel lets only IPv4 frames through, so that other noise cannot overflow the buffers; what the
kernel had to drop all the same is counted (`lost`), never hidden. Nothing here sleeps: it polls, up to a deadline.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from labnet.model.packet import Direction
from labnet.ports import Kernel
from labnet.trace.dissect import Captured

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_TIMESTAMPNS = 26, 35
PACKET_OUTGOING = 4
RECEIVE_BUFFER_BYTES = 1 << 20
FRAME_BYTES = 65_600
ANCILLARY_BYTES = 128
MS = 1000

# BPF: load the half word at 12 (the Ethernet type); IPv4 is taken whole, anything else not at all.
IPV4_ONLY = ((0x28, 0, 0, 12), (0x15, 0, 1, 0x0800), (0x06, 0, 0, 0x00040000), (0x06, 0, 0, 0))


class Capture:
    """Listens in namespaces while it is entered: every frame that passes from then on is kept in the kernel until collected.

    Errors: KernelError where a namespace cannot be opened; then nothing stays open. `lost` is known when it is left.
    """

    def __init__(self, kernel: Kernel, namespaces: Iterable[str]) -> None:
        self._kernel = kernel
        self._namespaces = tuple(namespaces)
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._poll = select.poll()
        self.frames: list[Captured] = []
        self.lost = 0

    def __enter__(self) -> Capture:
        try:
            for netns in self._namespaces:
                self._open(netns)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def collect(self, wanted: Callable[[Captured], bool], done: Callable[[], float]) -> None:
        """Take frames until `done` says so; frames that are not `wanted` are forgotten.

        `done` returns how many seconds of silence are to be waited for at most from now; 0 or less ends the collection.
        """
        patience_s = done()
        until_s = time.monotonic() + patience_s
        while patience_s > 0:
            remaining_s = until_s - time.monotonic()
            ready = self._poll.poll(max(0, int(remaining_s * MS) + 1)) if remaining_s > 0 else []
            if not ready:
                return
            took = False
            for descriptor, _ in ready:
                took = self._drain(descriptor, wanted) or took
            if took:
                patience_s = done()
                until_s = time.monotonic() + patience_s

    def _open(self, netns: str) -> None:
        tap = self._kernel.open_socket(netns, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._sockets[tap.fileno()] = (netns, tap)
        tap.setblocking(False)
        _attach_filter(tap, IPV4_ONLY)
        tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._poll.register(tap.fileno(), select.POLLIN)

    def _drain(self, descriptor: int, wanted: Callable[[Captured], bool]) -> bool:
        """Take all that a tap holds; was anything wanted among it?"""
        netns, tap = self._sockets[descriptor]
        took = False
        while True:
            try:
                data, ancillary, _, address = tap.recvmsg(FRAME_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                return took
            direction: Direction = "out" if address[2] == PACKET_OUTGOING else "in"
            frame = Captured(netns, address[0], direction, _stamp(ancillary), data)
            if wanted(frame):
                self.frames.append(frame)
                took = True

    def _close(self) -> None:
        for _, tap in self._sockets.values():
            self.lost += struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            tap.close()
        self._sockets.clear()


def _stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def _attach_filter(tap: socket.socket, program: tuple[tuple[int, int, int, int], ...]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
