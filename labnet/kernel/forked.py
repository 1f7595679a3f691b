"""A process beside this one that does one thing, spoken to over a socket: what keeps the kernel busy need not share our interpreter.

It is forked while its parent is small and has one thread, holds nothing of its parent but standard streams and its end of the
socket, and dies with its parent, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
from collections.abc import Callable

from labnet.kernel.buffers import widen_sending

PR_SET_PDEATHSIG = 1
END_S = 10.0
"""How long a process may take for the piece of work in which SIGTERM meets it."""
MOST_DESCRIPTORS = 1 << 20
SEND_BYTES = 64 << 20
"""Room for what thousands of pods give to say, so that neither side waits while it hands that over: by itself a socket takes some
hundred short records, and a helper that works ahead stands still when nobody has listened yet."""

Work = Callable[[socket.socket], None]


class Forked:
    """A forked process at work. End it with `end`, in the process that made it."""

    def __init__(self, work: Work, *, nice: int = 0) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            widen_sending(end, SEND_BYTES)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _be(work, theirs, parent, nice)
        theirs.close()
        self.socket = ours
        self._handle = os.pidfd_open(self.pid)

    def end(self) -> None:
        """SIGTERM, which a process may heed after what it is at; then SIGKILL. Its socket stays open for what it said last."""
        signal.pidfd_send_signal(self._handle, signal.SIGTERM)
        if not select.select([self._handle], [], [], END_S)[0]:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._handle)


def _be(work: Work, sock: socket.socket, parent: int, nice: int) -> None:
    """The new process, from its first step to its last."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.closerange(3, sock.fileno())
        os.closerange(sock.fileno() + 1, MOST_DESCRIPTORS)
        if nice:
            os.nice(nice)
        work(sock)
        status = 0
    except BaseException:  # noqa: BLE001 - the last line of a process: whatever it was stands in the log
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
