"""Packets held back between zones: the process that does it, as the lab's process sees it. docs/adr/0010-latency-between-zones.md"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from labnet.errors import KernelError

ANSWER_S = 20.0
END_S = 5.0


class DelayProcess:
    """A started process that holds nothing back yet. End it with `end`; it ends by itself when this process does."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "labnet.kernel.delay_loop"]
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        self._control.settimeout(ANSWER_S)
        self.pid = self._process.pid
        self.handle = os.pidfd_open(self.pid)
        """A descriptor that becomes readable when the process has ended."""

    def hold(self, netns: str, queues: Sequence[int], sock: socket.socket | None) -> None:
        """Serve these queues of a namespace from now on, by a netlink socket of it (`sock` None: none any more); what was held there
        before goes at once. Errors: KernelError.
        """
        order = json.dumps({"space": netns, "queues": list(queues)}).encode()
        try:
            socket.send_fds(self._control, [order], [sock.fileno()] if sock is not None else [])
            data = self._control.recv(1 << 12)
        except OSError as error:
            raise KernelError("hold", netns, "packets between zones", error.errno or errno.EPIPE) from error
        number = int(json.loads(data)["errno"]) if data else errno.EPIPE
        if number:
            raise KernelError("hold", netns, f"queues {', '.join(map(str, queues))}", number)

    def end(self) -> None:
        """End it: what it held goes, or is lost if it does not heed."""
        self._control.close()
        if not select.select([self.handle], [], [], END_S)[0]:
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        self._process.wait()
        os.close(self.handle)
