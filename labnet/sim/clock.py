"""The lab's clock: virtual while a lab comes up, then real time plus the offset reached; and the event loop that drives it.

`LabClock` keeps a heap of sleepers. `new_event_loop` makes an asyncio loop whose selector knows when the loop has nothing
left to do: if no work is in flight (`busy`) and nothing is readable, virtual time jumps to the next sleeper; nobody waits.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class LabClock:
    """The Clock port. Starts virtual at `start_s`; `go_real` lets it run with the machine's time, `factor` times as fast."""

    def __init__(self, start_s: float | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base_s = time.time() if start_s is None else start_s
        self._real_since: float | None = None
        self._factor = 1.0
        self._in_flight = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def now_s(self) -> float:
        """Seconds since the epoch."""
        if self._real_since is None:
            return self._base_s
        return self._base_s + (self._monotonic() - self._real_since) * self._factor

    @property
    def virtual(self) -> bool:
        """Does time still jump?"""
        return self._real_since is None

    def go_real(self, factor: float = 1.0) -> None:
        """From now on time runs by itself, from where it stands."""
        self._base_s = self.now_s()
        self._real_since = self._monotonic()
        self._factor = factor
        self._arm()

    def go_virtual(self) -> None:
        """Time jumps again, from where it stands."""
        self._base_s = self.now_s()
        self._real_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Work in flight that the loop cannot see."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def sleep(self, seconds: float) -> None:
        """Wait; other tasks run at least once even for 0."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s() + seconds, next(self._order), waiter))
        if self._real_since is not None:
            self._arm()
        await waiter

    def jump(self) -> bool:
        """Move to the next sleeper's time and wake all that are due; False when nobody sleeps or work is in flight."""
        self._drop_cancelled()
        if not self.virtual or self._in_flight or not self._sleepers:
            return False
        self._base_s = max(self._base_s, self._sleepers[0][0])
        self._wake_due()
        return True

    def _drop_cancelled(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)

    def _wake_due(self) -> None:
        now = self.now_s()
        while self._sleepers and self._sleepers[0][0] <= now:
            waiter = heapq.heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)

    def _arm(self) -> None:
        self._drop_cancelled()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sleepers:
            delay_s = max(0.0, (self._sleepers[0][0] - self.now_s()) / self._factor)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake_due()
        self._arm()


class _JumpingSelector(selectors.EpollSelector):
    """An epoll selector that lets virtual time jump instead of waiting."""

    def __init__(self, clock: LabClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; with nothing ready and virtual time, the next sleeper instead of a wait."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._clock.virtual and self._clock.jump():
            return []
        return super().select(timeout)


def new_event_loop(clock: LabClock) -> asyncio.AbstractEventLoop:
    """An asyncio loop in which `clock` can jump. Close it when done."""
    return asyncio.SelectorEventLoop(_JumpingSelector(clock))
