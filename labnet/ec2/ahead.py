"""Many requests of one turn, carried out part by part: the kernel makes one part true while the next is decided.

Nobody hears an answer, and no reader sees a change, before all of them are true. If the kernel refuses any, all are taken back;
a part that does more than add is not begun: it and those behind it are left for the ordinary way, which waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from labnet.ec2.queue import Outcome, Request
from labnet.errors import LabnetError
from labnet.model.cloud import CloudState

PART = 8
"""So many requests are a part: some five milliseconds of work for the kernel, and few enough that it begins early."""

Decide = Callable[[CloudState, Request], tuple[CloudState, Outcome]]
Record = Callable[[CloudState, CloudState], None]


class Background(Protocol):
    """What makes changes of the cloud true while others are decided."""

    def __call__(self, old: CloudState, new: CloudState) -> None:
        """Make a change true now. Errors: KernelError, with everything as before."""

    def ahead(self, old: CloudState, new: CloudState) -> asyncio.Future[None] | None:
        """Begin to; None, and nothing has happened, where it does more than add. Errors: KernelError, now or when awaited."""

    def settle(self) -> None:
        """Wait until nothing that was begun is under way any more."""


class Ahead:
    """Decides and begins at once; `settle` when the answers are needed. `record` is the journal, which stands before the kernel changes."""

    def __init__(
        self, state: CloudState, requests: Sequence[Request], decide: Decide, record: Record, background: Background,
    ) -> None:
        self.requests, self.state = requests, state
        self.done: list[tuple[Request, Outcome]] = []
        """What was decided, with the outcome."""
        self.left: Sequence[Request] = ()
        """What could not be begun."""
        self.pending: list[asyncio.Future[None]] = []
        self._before, self._record, self._background = state, record, background
        for start in range(0, len(requests), PART):
            if not self._begin(requests[start : start + PART], decide):
                self.left = requests[start:]
                break

    def settle(self) -> bool:
        """Wait for the kernel. False: it refused something, and all is as it was before."""
        self._background.settle()
        if not any(one.exception() for one in self.pending):
            return True
        with suppress(LabnetError):  # who asks for it alone, next, is told
            self._background(self.state, self._before)
        self._record(self.state, self._before)
        return False

    def _begin(self, part: Sequence[Request], decide: Decide) -> bool:
        old = new = self.state
        done: list[tuple[Request, Outcome]] = []
        for request in part:
            new, outcome = decide(new, request)
            done.append((request, outcome))
        if new is not old:
            begun = None
            with suppress(Exception):  # the ordinary way says whose it is
                self._record(old, new)
                begun = self._background.ahead(old, new)
            if begun is None:
                self._record(new, old)
                return False
            self.pending.append(begun)
        self.state = new
        self.done += done
        return True
