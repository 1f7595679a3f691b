"""Who goes when: many tasks that are ready at once begin in small groups, so that what the first of them ask of the kernel passes while
the others still plan. The order is that in which they came, and no time passes: virtual time cannot jump while anybody waits here.
"""

from __future__ import annotations

import asyncio
from collections import deque

GROUP = 32
"""So many begin in one turn of the loop: about as many as one flight of jobs takes, and enough that the turn itself costs nothing."""


class Pace:
    """Call it and await that: the caller's turn."""

    def __init__(self, group: int = GROUP) -> None:
        self._group = group
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self) -> None:
        """Wait for a turn; at once when nobody else waits and the loop comes round."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._let)
        await turn

    def _let(self) -> None:
        let = 0
        while self._waiting and let < self._group:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled while it waited
                turn.set_result(None)
                let += 1
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._let)
