"""Requests that wait for the end of a turn of the loop, so that what several nodes ask for at once reaches the kernel in one go.

Forty daemons that each attach an ENI cost forty transactions, forty looks at what changed and forty visits to the VPC's namespace;
together they cost little more than one does. Each is still decided on the state that the one before it left, and what comes while
the kernel works on a round waits for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from labnet.ec2.behaviour import Verdict

TOGETHER = frozenset({
    "AssignPrivateIpAddresses", "AttachNetworkInterface", "CreateNetworkInterface", "CreateTags", "ModifyNetworkInterfaceAttribute",
    "RunInstances",
})  # fmt: skip
"""Actions that add or set: none of them takes from the kernel what another one of the same turn has put there."""
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


@dataclass(slots=True, eq=False)
class Round:
    """Requests that have been decided: `pending` is what the kernel still works on; `finish` waits for that and says how each one ended."""

    finish: Callable[[], list[Outcome]]
    pending: Sequence[asyncio.Future[None]] = ()


class Queue:
    """Collects requests and has them served in the order in which they came, one round after the other. `begin` begins a round."""

    def __init__(self, begin: Callable[[Sequence[Request]], Round]) -> None:
        self._begin = begin
        self._waiting: list[tuple[Request, asyncio.Future[Outcome]]] = []
        self._under_way: tuple[Round, Sequence[asyncio.Future[Outcome]]] | None = None
        self._left = 0

    async def join(self, request: Request) -> dict[str, Any]:
        """The answer to a request, at the end of this turn of the loop or when the round before has ended. Errors: those of its outcome."""
        loop = asyncio.get_running_loop()
        served: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((request, served))
        if len(self._waiting) == 1:
            loop.call_soon(self._serve)
        return told(await served)

    def settle(self) -> None:
        """Serve all that wait, now, and wait for what the kernel has to do for it."""
        while self._under_way is not None or self._waiting:
            if self._under_way is None:
                self._start()
            self._end()

    def _serve(self) -> None:
        if self._under_way is None:
            self._start()

    def _start(self) -> None:
        """Begin a round of all that wait; a caller who has gone meanwhile has asked for nothing."""
        waiting, self._waiting = [(request, served) for request, served in self._waiting if not served.done()], []
        if not waiting:
            return
        begun = self._begun([request for request, _served in waiting])
        self._under_way = begun, [served for _request, served in waiting]
        self._left = len(begun.pending)
        if not self._left:
            self._end()
        for one in begun.pending:
            one.add_done_callback(partial(self._landed, begun))

    def _begun(self, requests: Sequence[Request]) -> Round:
        try:
            return self._begin(requests)
        except Exception as error:  # noqa: BLE001 - a fault of ours: whoever waits hears of it, and nobody waits for ever
            outcomes: list[Outcome] = [error for _request in requests]
            return Round(lambda: outcomes)

    def _landed(self, begun: Round, _one: asyncio.Future[None]) -> None:
        """A part of a round has ended; with the last one the round has."""
        if self._under_way is None or self._under_way[0] is not begun:
            return  # it has been waited for already
        self._left -= 1
        if not self._left:
            self._end()

    def _end(self) -> None:
        """Wait for the round that is under way, and answer all whom it serves."""
        if self._under_way is None:
            return
        (begun, served), self._under_way = self._under_way, None
        try:
            outcomes = begun.finish()
        except Exception as error:  # noqa: BLE001 - as where it begins
            outcomes = [error for _one in served]
        for one, outcome in zip(served, outcomes, strict=True):
            if not one.done():  # its caller has gone meanwhile
                one.set_result(outcome)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._serve)


def told(outcome: Outcome) -> dict[str, Any]:
    """An answer. Errors: the outcome's own."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
