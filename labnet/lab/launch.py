"""The birth of the lab's process: forked early, it loads all of labnet while its caller still reads the scenario, then takes orders.

It has no terminal, no parent and none of its caller's streams. Whoever launched it and gives it no orders only has to end: the
process then ends too, and has done nothing.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labnet.errors import LabnetError

if TYPE_CHECKING:
    from labnet.lab.paths import LabPaths
    from labnet.lab.registry import LabRecord
    from labnet.model.scenario import Scenario

STARTED_S = 10.0
MOST_DESCRIPTORS = 1 << 20
_LENGTH = struct.Struct("=Q")
_PID = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Orders:
    """What the process is to bring up; `record` is the lab's in the registry, without a pid."""

    scenario: Scenario
    paths: LabPaths
    record: LabRecord
    timeout_s: float


class Launch:
    """A process that waits for orders. `socket` then brings its progress, a JSON object a line, until it is ready or has failed."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            child = os.fork()
            if child == 0:
                _be(theirs)
            os.waitpid(child, 0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        theirs.close()  # open in the new process alone, so that its end is the end of the stream
        self.socket = ours

    def order(self, orders: Orders) -> int:
        """Let it begin; its pid, which stands in the registry by then. Signals wait until it does, so that a rollback finds it.

        Errors: LabnetError when it does not answer.
        """
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            message = pickle.dumps(orders)
            self.socket.sendall(_LENGTH.pack(len(message)) + message)
            if select.select([self.socket], [], [], STARTED_S)[0]:
                answer = self.socket.recv(_PID.size, socket.MSG_WAITALL)
                if len(answer) == _PID.size:
                    return int(_PID.unpack(answer)[0])
        except BrokenPipeError:
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        raise LabnetError("the lab's process did not start", f"{orders.paths.log} may say why")


def _be(sock: socket.socket) -> None:
    """The rest of the lab's process: never returns. It is forked twice, so that it is nobody's child."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    status = 1
    try:
        status = _live(sock)
    except BaseException:  # noqa: BLE001 - the last line of a process: whatever it was stands in the log
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _live(sock: socket.socket) -> int:
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, MOST_DESCRIPTORS)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.chdir("/")
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    failed: BaseException | None = None
    try:
        from labnet.kernel import codec
        from labnet.lab import process as _loaded  # noqa: F401 - while nobody waits

        codec.load()  # the first message needs it, here and in the processes that are forked
    except BaseException as error:  # noqa: BLE001 - told when there is a log
        failed = error
    orders = _orders(sock)
    if orders is None:
        return 0
    _log_to(orders.paths.log)
    if failed is not None:
        raise failed
    return _obey(orders, sock)


def _orders(sock: socket.socket) -> Orders | None:
    """None when whoever launched us has gone."""
    head = sock.recv(_LENGTH.size, socket.MSG_WAITALL)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    message = sock.recv(size, socket.MSG_WAITALL)
    orders: Orders | None = pickle.loads(message) if len(message) == size else None
    return orders


def _log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what a fork inherits may be anything


def _obey(orders: Orders, sock: socket.socket) -> int:
    from dataclasses import replace

    from labnet.kernel import descriptors
    from labnet.lab import assistants, process, registry, served

    record = replace(orders.record, pid=os.getpid(), pid_start=registry.process_start(os.getpid()))
    registry.Registry(orders.paths, record).write(record)
    sock.sendall(_PID.pack(os.getpid()))
    helping = assistants.start(tuple(record.names), record.lab, orders.scenario.pods)
    descriptors.make_room(served.descriptors(orders.scenario))
    return process.run(orders.scenario, orders.paths, record, orders.timeout_s, sock, helping)
