"""Requests that wait for the end of a turn of the loop, so that what several nodes ask for at once reaches the kernel in one go.

Forty daemons that each attach an ENI cost forty transactions, forty looks at what changed and forty visits to the VPC's namespace;
together they cost little more than one does. Each is still decided on the state that the one before it left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labnet.ec2.behaviour import Verdict

TOGETHER = frozenset({"AssignPrivateIpAddresses", "AttachNetworkInterface", "CreateNetworkInterface"})
"""Actions that only add: none of them takes from the kernel what another one of the same turn has put there."""
Outcome = dict[str, Any] | Exception
"""What a request ends with: an answer, or the error that its caller hears."""


@dataclass(slots=True, eq=False)
class Request:
    """One call of the API: who asks what, since when, and what `Behaviour` says of it."""

    caller: str
    action: str
    params: Mapping[str, Any]
    start_s: float
    verdict: Verdict


class Queue:
    """Collects requests and has them served in the order in which they came. `serve_all` gives an outcome for each."""

    def __init__(self, serve_all: Callable[[Sequence[Request]], list[Outcome]]) -> None:
        self._serve_all = serve_all
        self._waiting: list[tuple[Request, asyncio.Future[Outcome]]] = []

    async def join(self, request: Request) -> dict[str, Any]:
        """The answer to a request, at the end of this turn of the loop. Errors: those of its outcome."""
        loop = asyncio.get_running_loop()
        served: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((request, served))
        if len(self._waiting) == 1:
            loop.call_soon(self.serve)
        return told(await served)

    def serve(self) -> None:
        """Serve all that wait, now; a caller who has gone meanwhile has asked for nothing."""
        waiting, self._waiting = [(request, served) for request, served in self._waiting if not served.done()], []
        if not waiting:
            return
        for (_request, served), outcome in zip(waiting, self._serve_all([request for request, _served in waiting]), strict=True):
            served.set_result(outcome)


def told(outcome: Outcome) -> dict[str, Any]:
    """An answer. Errors: the outcome's own."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
