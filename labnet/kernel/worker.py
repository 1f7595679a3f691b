"""Jobs done by a second process while a lab comes up: what it says to the kernel passes beside the planning of what comes next.

The process has a kernel door of its own, works through flights of jobs in the order in which they were sent, and tells for each
job whether it was done, and which links it made. It ends with `close`, after `up`: then one process does everything.
"""

from __future__ import annotations

import itertools
import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from labnet.errors import KernelError, LabnetError
from labnet.kernel.forked import Forked
from labnet.kernel.jobs import additions_only
from labnet.kernel.linkbook import End
from labnet.kernel.netns import NETNS_DIR
from labnet.model.netstate import Batch, Change

NICE = 5
"""Whoever plans comes first: what is to be done follows from it."""
_LENGTH = struct.Struct("=Q")

Jobs = Sequence[Sequence[Batch]]
Met = Mapping[str, tuple[int, list[tuple[int, str, int]]]]
"""Namespaces: inode, and the links that are known there by index, name and MTU in bytes (none = not known). Inode 0 = it goes:
nothing of it may stay open."""
NewLink = tuple[End, int, End, int, int]
"""A veth that was made: an end and its index, the other one and its index, their MTU in bytes."""
Answer = tuple[list[tuple[str, ...] | None], list[NewLink]]
"""For each job None or its error in words; the links that they made."""
Serve = Callable[[Met, Jobs], tuple[list[Exception | None], list[NewLink]]]
"""Do jobs; what is said before of the namespaces that they name."""
OnDone = Callable[[Jobs, list[Exception | None], Iterable[NewLink]], None]
"""Hears of jobs, how each went, and which links they made."""


class Worker:
    """The process, seen from the one that made it. `make` gives it, over there, what serves it. Close it when done."""

    def __init__(self, make: Callable[[], Serve]) -> None:
        self._make = make
        self._waiting: dict[int, tuple[Jobs, Future[list[Exception | None]]]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._forked = Forked(self._work, nice=NICE)
        self._listener: threading.Thread | None = None
        self.alive = True
        """False once it has ended: what is submitted then fails."""
        self.on_done: OnDone = lambda jobs, outcome, links: None
        """Hears how jobs went before whoever waits for them does; called in a thread."""

    def submit(self, met: Met, jobs: Jobs) -> Future[list[Exception | None]]:
        """Send jobs; for each the error that the door would raise, or None. When the process has ended, an error for each."""
        done: Future[list[Exception | None]] = Future()
        if self._listener is None:
            self._listener = threading.Thread(target=self._listen, name="kernel answers", daemon=True)
            self._listener.start()
        number = next(self._numbers)
        with self._lock:
            self._waiting[number] = jobs, done
        try:
            _send(self._forked.socket, pickle.dumps((number, met, _packed(jobs)), pickle.HIGHEST_PROTOCOL))
        except OSError:
            self._give_up()
        return done

    def finish(self) -> None:
        """Nothing more is sent; the process ends once it has done what was."""
        with suppress(OSError):
            self._forked.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Wait for all that was sent, and for the end of the process."""
        self.finish()
        if self._listener is not None:
            self._listener.join()
        self._forked.end()
        self._forked.socket.close()

    def _listen(self) -> None:
        while True:
            message = _receive(self._forked.socket)
            if message is None:
                self._give_up()
                return
            number, (said, links) = pickle.loads(message)
            with self._lock:
                waiting = self._waiting.pop(number, None)
            if waiting is None:
                continue  # given up already: a later job could not be sent any more
            jobs, done = waiting
            outcome = [_error(words) for words in said]
            try:
                self.on_done(jobs, outcome, links)
            finally:
                done.set_result(outcome)  # whatever happens, nobody waits for ever

    def _give_up(self) -> None:
        """Nobody answers any more: whoever waits learns that what he asked for may be half done."""
        self.alive = False
        with self._lock:
            left, self._waiting = self._waiting, {}
        for jobs, done in left.values():
            done.set_result([KernelError("apply", job[0][0] if job else "", "job", 0, "the process that does it has ended") for job in jobs])

    def _work(self, sock: socket.socket) -> None:
        """In the other process: until there are no more jobs."""
        serve = self._make()
        while (message := _receive(sock)) is not None:
            number, met, packed = pickle.loads(message)
            outcome, links = serve(met, _unpacked(packed))
            answer: Answer = ([_words(error) for error in outcome], links)
            _send(sock, pickle.dumps((number, answer), pickle.HIGHEST_PROTOCOL))


def start_worker(netns_dir: str = NETNS_DIR) -> Worker:
    """A worker with a door of its own, which it loads over there, beside what is loaded here meanwhile."""
    return Worker(lambda: _make_door(netns_dir))


def _make_door(netns_dir: str) -> Serve:
    import gc

    from labnet.kernel.serving import ServingDoor  # late: in the other process alone

    gc.disable()  # it lives for seconds, and what it makes is no garbage before
    door = ServingDoor(netns_dir)

    def serve(met: Met, jobs: Jobs) -> tuple[list[Exception | None], list[NewLink]]:
        door.meet(met)
        outcome = door.submit_here(jobs)
        return outcome, door.links_made(job for job, error in zip(jobs, outcome, strict=True) if error is None)

    return serve


def _packed(jobs: Jobs) -> tuple[bool, list[list[tuple[str, Sequence[object]]]]]:
    """Jobs for the way: of those that only add, and that are most, the objects alone (half as much to pickle)."""
    if additions_only(jobs):
        return True, [[(netns, [change.object for change in changes]) for netns, changes in job] for job in jobs]
    return False, [list(job) for job in jobs]


def _unpacked(packed: tuple[bool, list[list[tuple[str, Any]]]]) -> Jobs:
    additions, jobs = packed
    return [[(netns, tuple(Change("add", item) for item in items)) for netns, items in job] for job in jobs] if additions else jobs


def _words(error: Exception | None) -> tuple[str, ...] | None:
    """An error as text, for the way between processes."""
    if error is None:
        return None
    notes = tuple(getattr(error, "__notes__", ()))
    if isinstance(error, KernelError):
        return ("kernel", error.op, error.netns, error.target, str(error.errno), error.reason, *notes)
    if isinstance(error, LabnetError):
        return ("labnet", error.message, error.hint, *notes)
    return ("other", f"{type(error).__name__}: {error}", "", *notes)


def _error(words: tuple[str, ...] | None) -> Exception | None:
    if words is None:
        return None
    if words[0] == "kernel":
        _word, op, netns, target, number, reason, *notes = words
        error: LabnetError = KernelError(op, netns, target, int(number), reason)
    else:
        _word, message, hint, *notes = words
        error = LabnetError(message, hint)
    for note in notes:
        error.add_note(note)
    return error


def _send(sock: socket.socket, message: bytes) -> None:
    sock.sendall(_LENGTH.pack(len(message)) + message)


def _receive(sock: socket.socket) -> bytes | None:
    """One message; None when the other side has gone."""
    try:
        head = sock.recv(_LENGTH.size, socket.MSG_WAITALL)
        if len(head) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack(head)
        message = sock.recv(size, socket.MSG_WAITALL)
    except OSError:
        return None
    return message if len(message) == size else None
