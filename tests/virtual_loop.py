"""A coroutine on a loop whose clock can jump."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from labnet.sim.clock import LabClock, new_event_loop


def run(clock: LabClock, main: Coroutine[Any, Any, Any]) -> Any:
    loop = new_event_loop(clock)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
