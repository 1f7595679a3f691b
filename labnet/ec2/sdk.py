"""What AWS's SDKs do with a refusal before their user hears of it: throttled calls and faults of the server are tried again.

ipamd speaks to EC2 through an SDK; in process, this stands for it: three attempts in all, a random wait before each further one
that grows from one second to twenty. Source: docs/sources.md#sdk-retries
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from labnet.ec2.latency import chance
from labnet.errors import Ec2Error
from labnet.ports import Clock

ATTEMPTS = 3
MAX_BACKOFF_S = 20.0
THROTTLED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled", "TooManyRequestsException",
    "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "SlowDown", "EC2ThrottledException",
})
SERVER_FAULTS = frozenset({500, 502, 503, 504})


class Retries:
    """The retryer of one client; `seed` decides its waits."""

    def __init__(self, clock: Clock, seed: object) -> None:
        self._clock, self._seed, self._retried = clock, seed, 0

    async def run(self, call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Make a call, and again where that may help. Errors: Ec2Error of the last attempt."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await call()
            except Ec2Error as error:
                if not worth_retrying(error):
                    raise
            await self._clock.sleep(self._backoff_s(attempt))
        return await call()

    def _backoff_s(self, attempt: int) -> float:
        self._retried += 1
        return min(MAX_BACKOFF_S, chance(self._seed, "backoff", self._retried) * float(1 << (attempt - 1)))


def worth_retrying(error: Ec2Error) -> bool:
    """May the same call work a little later?"""
    return error.code in THROTTLED or error.status in SERVER_FAULTS
