"""The program that holds packets back: ``python -m labnet.kernel.delay_loop``, started by `labnet.kernel.delay`.

Its standard input is a socket to the lab's process. A message names a namespace and the queues to serve there, and brings a netlink
socket of that namespace; an answer says what became of it. A packet of queue N is let go N × 50 µs after it was read, so N is a round
trip in tenths of a millisecond, half of it each way. All packets of a queue wait equally long: they leave in the order in which they
came, and one message lets many go. When the lab's process ends so does this one, and the kernel lets packets pass as if it had never been.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence

from labnet.kernel import nfqueue

STEP_NS = 50_000
READ_BYTES = 1 << 16
AT_ONCE = 512
"""So many datagrams of one socket are read before others have their turn."""
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33
RECEIVE_BYTES = 64 << 20
ANSWER_S = 5.0


class Space:
    """One namespace: its socket, and what each queue holds as (time to go, id), oldest first."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held: dict[int, deque[tuple[int, int]]] = {}
        sock.settimeout(ANSWER_S)
        sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)  # what does not fit passes: the queues fail open
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)

    def serve(self, queues: Sequence[int]) -> None:
        """Bind queues. Errors: OSError."""
        for queue in queues:
            self.held[queue] = deque()
            self.sock.send(nfqueue.bind(queue))
            while (refused := self._acknowledged()) is None:
                pass
            if refused:
                raise OSError(refused, "bind")
        self.sock.setblocking(False)

    def _acknowledged(self) -> int | None:
        data = self.sock.recv(READ_BYTES)
        self._take(data)
        return nfqueue.refusal(data)

    def read(self) -> None:
        """Take what has come."""
        for _ in range(AT_ONCE):
            try:
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        for queue, packet_id in nfqueue.packets(data):
            if queue in self.held:
                self.held[queue].append((time.monotonic_ns() + queue * STEP_NS, packet_id))

    def let_go(self, now_ns: int) -> None:
        """Let every packet go whose time has come."""
        for queue, held in self.held.items():
            last = None
            while held and held[0][0] <= now_ns:
                last = held.popleft()[1]
            if last is not None:
                self.sock.send(nfqueue.release(queue, last))

    def next_ns(self) -> int | None:
        """When the next packet goes."""
        return min((held[0][0] for held in self.held.values() if held), default=None)

    def close(self) -> None:
        """Let everything go and end."""
        self.read()
        for queue, held in self.held.items():
            if held:
                self.sock.send(nfqueue.release(queue, held[-1][1]))
        self.sock.close()


class Loop:
    """Serves namespaces until nobody is at the other end of `control`."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._spaces: dict[str, Space] = {}

    def run(self) -> None:
        """Until the lab's process closes its end, or ends."""
        while True:
            sockets: list[socket.socket] = [self._control, *(space.sock for space in self._spaces.values())]
            ready = set(select.select(sockets, [], [], self._wait_s())[0])
            for space in self._spaces.values():
                if space.sock in ready:
                    space.read()
                space.let_go(time.monotonic_ns())
            if self._control in ready and not self._obey():
                return

    def _wait_s(self) -> float | None:
        due = [at for space in self._spaces.values() if (at := space.next_ns()) is not None]
        return max(0.0, (min(due) - time.monotonic_ns()) / 1e9) if due else None

    def _obey(self) -> bool:
        """One order; False when there will be no more."""
        data, descriptors, _flags, _address = socket.recv_fds(self._control, READ_BYTES, 1)
        if not data:
            return False
        order = json.loads(data)
        name = str(order["space"])
        answer = {"errno": 0}
        try:
            before = self._spaces.pop(name, None)
            if before is not None:
                before.close()
            for descriptor in descriptors:
                self._spaces[name] = _serving(socket.socket(fileno=descriptor), [int(queue) for queue in order["queues"]])
        except OSError as error:
            answer = {"errno": error.errno or -1}
        self._control.send(json.dumps(answer).encode())
        return True


def _serving(sock: socket.socket, queues: Sequence[int]) -> Space:
    """A namespace whose queues are bound. Errors: OSError, and none of them is."""
    try:
        space = Space(sock)
        space.serve(queues)
    except OSError:
        sock.close()
        raise
    return space


def main() -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Loop(socket.socket(fileno=0)).run()


if __name__ == "__main__":
    main()
