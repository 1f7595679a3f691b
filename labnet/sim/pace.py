"""Who goes when: many tasks that are ready at once begin in small groups, so that what the first of them ask of the kernel passes while
the others still plan. No time passes: virtual time cannot jump while anybody waits here.
"""

from __future__ import annotations

import asyncio
from collections import deque

GROUP = 32
"""So many begin in one turn of the loop: about two flights of jobs, and enough that the turn itself costs nothing."""
IN_A_ROW = 8
"""So many of one queue, then the next queue: who comes first on each node is served before those for whom nothing may be left."""


class Pace:
    """Call it with the name of a queue and await that: the caller's turn, queues one after the other, each in the order of arrival."""

    def __init__(self, group: int = GROUP, in_a_row: int = IN_A_ROW) -> None:
        self._group, self._in_a_row = group, in_a_row
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._open = False

    async def __call__(self, queue: str) -> None:
        """Wait for a turn; at once when nobody else waits and the loop comes round."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._queues.setdefault(queue, deque()).append(turn)
        if not self._open:
            self._open = True
            loop.call_soon(self._let)
        await turn

    def _let(self) -> None:
        """The next group."""
        let = 0
        while self._queues and let < self._group:
            name = next(iter(self._queues))
            waiting = self._queues.pop(name)
            for _place in range(min(self._in_a_row, self._group - let, len(waiting))):
                turn = waiting.popleft()
                if not turn.done():  # cancelled while it waited
                    turn.set_result(None)
                    let += 1
            if waiting:
                self._queues[name] = waiting  # behind the others
        self._open = bool(self._queues)
        if self._open:
            asyncio.get_running_loop().call_soon(self._let)
