"""Frames of many sockets in one order of time (pure)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from labnet.trace.dissect import Captured


class Merge:
    """Holds frames back until nothing earlier can come any more. Frames of one stamp keep the order in which they were put in."""

    def __init__(self) -> None:
        self._held: list[tuple[int, int, Captured]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, frames: Iterable[Captured]) -> None:
        """Take frames, in any order."""
        for frame in frames:
            heapq.heappush(self._held, (frame.time_ns, self._number, frame))
            self._number += 1

    def until(self, time_ns: int) -> list[Captured]:
        """The frames before that time, in order; they are held no more."""
        found = []
        while self._held and self._held[0][0] < time_ns:
            found.append(heapq.heappop(self._held)[2])
        return found

    def rest(self) -> list[Captured]:
        """Every frame that is held, in order."""
        found = [frame for _, _, frame in sorted(self._held, key=lambda entry: entry[:2])]
        self._held.clear()
        return found
