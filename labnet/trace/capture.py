"""Listening: one packet socket per namespace, which sees its interfaces, both ways, stamped by the kernel; all in one loop.

A classic filter stands in the kernel before a socket is bound, so that nothing is ever seen that was not asked for, and other
noise cannot overflow the buffers; what the kernel had to drop all the same is counted (`lost`), never hidden: frames taken and
frames lost are all that passed the filter. Stamps are of CLOCK_REALTIME, taken when a frame passes the link (SO_TIMESTAMPING,
software). A frame on a veth is seen at both of its ends, ``out`` at one and ``in`` at the other; one that is segmented later
(GSO) is seen whole. A VLAN tag is not part of `data`: the kernel takes it out before a packet socket sees the frame.

A frame costs one system call and, all in all, some 13 µs: 10,000 packets a second, each seen twice, take a quarter of one core.
Rings in shared memory (TPACKET_V3) would save the call, and cost locked memory for every namespace and a block's delay.
Nothing here sleeps: it polls, up to a deadline. Source: docs/sources.md#capture
"""

from __future__ import annotations

import ctypes
import fcntl
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType

from labnet.errors import KernelError
from labnet.model.packet import Direction
from labnet.ports import Kernel
from labnet.trace.bpf import IPV4_ONLY, NOTHING, Program, on_links
from labnet.trace.dissect import Captured
from labnet.trace.merge import Merge

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPING = 26, 33, 37
STAMP_ON_ARRIVAL, STAMP_BY_SOFTWARE = 1 << 3, 1 << 4
SIOCGIFINDEX = 0x8933
PACKET_OUTGOING = 4
RECEIVE_BUFFER_BYTES = 8 << 20
"""As the kernel counts, some 750 bytes for a small frame: room for 20,000 of them in each namespace; taken when they come."""
FRAME_BYTES = 65_600
ANCILLARY_BYTES = 128
FRAMES_AT_ONCE = 512
"""Taken of one socket before the others have their turn."""
HELD_NS = 10_000_000
"""How long a frame is held back, so that an earlier one of another socket can go before it."""
GONE = "gone"
"""What stands for a link that went before its frames were read."""
S = 1_000_000_000


class Capture:
    """Listens in namespaces while it is entered: every frame that passes from then on is kept in the kernel until it is taken.

    ::

        with Capture(kernel, ("lab-node1", "lab-pod2")) as capture:     # every socket listens now
            for frame in capture.frames_for(10.0):
                print(frame.netns, frame.link, frame.direction, frame.time_ns, len(frame.data))
        print(capture.lost)

    `program` is what the kernel keeps (see `bpf` and `libpcap.compile_filter`), `links` restricts namespaces to some of their
    interfaces, as they are now. Errors: KernelError where a namespace cannot be opened or has no such link; then nothing stays open.
    """

    def __init__(
        self, kernel: Kernel, namespaces: Iterable[str], program: Program = IPV4_ONLY, links: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._kernel = kernel
        self._asked = tuple(dict.fromkeys(namespaces))
        self._program = program
        self._links = {} if links is None else links
        self._taps: dict[int, tuple[str, socket.socket]] = {}
        self._epoll: select.epoll | None = None
        self._merge = Merge()
        self.frames: list[Captured] = []
        self.unstamped = 0
        """Frames that passed before the kernel stamped: they bear the time at which they were read, a little late."""
        self.lost_in: dict[str, int] = {}
        """Frames lost by namespace, as far as they are counted (`count_lost`, and when it is left); those without loss too."""

    def __enter__(self) -> Capture:
        self._epoll = select.epoll()
        try:
            for netns in self._asked:
                self.add(netns)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where it listens now, in the order in which they were added."""
        return tuple(netns for netns, _ in self._taps.values())

    @property
    def lost(self) -> int:
        """Frames that passed the filter and found no room, as far as they are counted."""
        return sum(self.lost_in.values())

    def add(self, netns: str) -> None:
        """Listen in one more namespace; when this returns it is heard. Errors: KernelError."""
        tap = self._kernel.open_socket(netns, socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._prepare(tap, netns)
            self._polled().register(tap.fileno(), select.EPOLLIN)
            _bind(tap, netns)
        except BaseException:
            tap.close()
            raise
        self._taps[tap.fileno()] = (netns, tap)
        self.lost_in.setdefault(netns, 0)

    def drop(self, netns: str) -> None:
        """Listen no longer in a namespace, which a socket would keep alive. What it holds is taken before. Unknown is fine."""
        for descriptor, (name, tap) in list(self._taps.items()):
            if name == netns:
                _attach_filter(tap, NOTHING)
                while not self._drain(descriptor)[1]:
                    pass
                self._close(descriptor)

    def take(self, timeout_s: float) -> list[Captured]:
        """Wait until frames come, at most so long; those that are due, in the order of time over all calls.

        A frame is held back for 10 ms, since an earlier one may still be read from another socket: [] does not mean that none came.
        """
        patience_s = timeout_s if not self._merge else min(timeout_s, HELD_NS / S)
        self._polled().poll(max(0.0, patience_s))
        due_ns = time.time_ns() - HELD_NS
        for descriptor, _ in self._polled().poll(0):
            last_ns, emptied = self._drain(descriptor)
            due_ns = due_ns if emptied else min(due_ns, last_ns)
        return self._merge.until(due_ns)

    def finish(self) -> list[Captured]:
        """Hear nothing more, and take all that is still held, in order. Then taken and lost are all that passed."""
        for _, tap in self._taps.values():
            _attach_filter(tap, NOTHING)
        for descriptor in self._taps:
            while not self._drain(descriptor)[1]:
                pass
        self.count_lost()
        return self._merge.rest()

    def frames_for(self, seconds: float) -> Iterator[Captured]:
        """Frames as they come, for so long; then what is still held."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            yield from self.take(left_s)
        yield from self.finish()

    def collect(self, wanted: Callable[[Captured], bool], done: Callable[[], float]) -> None:
        """Take frames into `frames` until `done` says so; frames that are not `wanted` are forgotten, the order is not of time.

        `done` returns how many seconds of silence are to be waited for at most from now; 0 or less ends the collection.
        """
        patience_s = done()
        until_s = time.monotonic() + patience_s
        while patience_s > 0:
            remaining_s = until_s - time.monotonic()
            ready = self._polled().poll(remaining_s) if remaining_s > 0 else []
            if not ready:
                return
            for descriptor, _ in ready:
                self._drain(descriptor)
            found = [frame for frame in self._merge.rest() if wanted(frame)]
            if found:
                self.frames += found
                patience_s = done()
                until_s = time.monotonic() + patience_s

    def count_lost(self) -> None:
        """Ask the kernel how many frames found no room (it forgets the number when it has told it)."""
        for netns, tap in self._taps.values():
            self.lost_in[netns] += int(struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])

    def close(self) -> None:
        """Close every socket; `lost` is known. Frames that nobody took are gone."""
        for descriptor in list(self._taps):
            self._close(descriptor)
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _polled(self) -> select.epoll:
        if self._epoll is None:
            raise RuntimeError("a Capture listens while it is entered")
        return self._epoll

    def _prepare(self, tap: socket.socket, netns: str) -> None:
        """Everything before `bind`: until then the socket, made for no protocol, hears nothing."""
        tap.setblocking(False)
        names = self._links.get(netns)
        program = self._program if names is None else on_links(self._program, [_index(tap, netns, name) for name in names])
        _attach_filter(tap, program)
        tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, STAMP_ON_ARRIVAL | STAMP_BY_SOFTWARE)
        try:
            tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except PermissionError:  # rootless: as much as the machine allows
            tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def _drain(self, descriptor: int) -> tuple[int, bool]:
        """Put what a tap holds into the merge: the last frame's stamp, and whether nothing is left."""
        netns, tap = self._taps[descriptor]
        found: list[Captured] = []
        emptied = False
        while len(found) < FRAMES_AT_ONCE:
            try:
                data, ancillary, _, address = tap.recvmsg(FRAME_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                emptied = True
                break
            direction: Direction = "out" if address[2] == PACKET_OUTGOING else "in"
            found.append(Captured(netns, address[0] or GONE, direction, self._stamp(ancillary), data))
        self._merge.put(found)
        return found[-1].time_ns if found else 0, emptied

    def _stamp(self, ancillary: Iterable[tuple[int, int, bytes]]) -> int:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
                seconds, nanoseconds = struct.unpack_from("qq", data)
                return int(seconds) * S + int(nanoseconds)
        self.unstamped += 1
        return time.time_ns()

    def _close(self, descriptor: int) -> None:
        netns, tap = self._taps.pop(descriptor)
        self.lost_in[netns] += int(struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])
        tap.close()


def _index(tap: socket.socket, netns: str, link: str) -> int:
    """A link's number. Errors: KernelError ENODEV."""
    try:
        answer = fcntl.ioctl(tap.fileno(), SIOCGIFINDEX, struct.pack("16s16x", link.encode()[:15]))
    except OSError as error:
        raise KernelError("listen", netns, link, error.errno or 0) from error
    return int(struct.unpack_from("i", answer, 16)[0])


def _bind(tap: socket.socket, netns: str) -> None:
    """Hear every protocol on every link: `struct sockaddr_ll` with interface 0, which socket.bind cannot say. Errors: KernelError."""
    address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(tap.fileno(), address, len(address)) != 0:
        raise KernelError("listen", netns, "every link", ctypes.get_errno())


def _attach_filter(tap: socket.socket, program: Program) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
