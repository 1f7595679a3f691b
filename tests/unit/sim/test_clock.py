"""The clock that jumps: virtual time waits for nobody, real time goes on from where it stood."""

from __future__ import annotations

import asyncio
import time

from virtual_loop import run

from labnet.sim.clock import LabClock


def test_sleepers_wake_in_order_of_time_without_waiting() -> None:
    clock = LabClock(start_s=1000.0)
    seen: list[tuple[str, float]] = []

    async def actor(name: str, step_s: float) -> None:
        for _ in range(2):
            await clock.sleep(step_s)
            seen.append((name, clock.now_s()))

    async def main() -> None:
        await asyncio.gather(actor("five", 5), actor("seven", 7))

    before = time.monotonic()
    run(clock, main())
    assert seen == [("five", 1005), ("seven", 1007), ("five", 1010), ("seven", 1014)]
    assert time.monotonic() - before < 5, "nobody may wait for virtual seconds"


def test_time_stands_while_work_is_in_flight() -> None:
    clock = LabClock(start_s=0.0)
    at_end: list[float] = []

    async def work() -> None:
        with clock.busy():
            await asyncio.to_thread(time.sleep, 0.05)
            at_end.append(clock.now_s())

    async def main() -> None:
        sleeper = asyncio.ensure_future(clock.sleep(30))
        await work()
        await sleeper

    run(clock, main())
    assert at_end == [0.0]
    assert clock.now_s() == 30.0


def test_a_readable_socket_comes_before_a_jump() -> None:
    clock = LabClock(start_s=0.0)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        sleeper = asyncio.ensure_future(clock.sleep(100))
        await asyncio.sleep(0)
        ready = loop.create_future()
        loop.call_soon_threadsafe(ready.set_result, None)
        await ready
        now = clock.now_s()
        sleeper.cancel()
        return now

    assert run(clock, main()) == 0.0


def test_real_time_goes_on_from_the_offset_and_by_the_factor() -> None:
    machine = [50.0]
    clock = LabClock(start_s=0.0, monotonic=lambda: machine[0])

    async def main() -> None:
        await clock.sleep(40)
        clock.go_real(factor=10)

    run(clock, main())
    assert clock.now_s() == 40
    machine[0] += 2
    assert clock.now_s() == 60
    clock.go_virtual()
    machine[0] += 100
    assert clock.now_s() == 60, "virtual again: it stands where it was and never goes back"


def test_a_sleeper_of_virtual_time_wakes_in_real_time() -> None:
    clock = LabClock(start_s=0.0)

    async def main() -> None:
        sleeper = asyncio.ensure_future(clock.sleep(5))
        await asyncio.sleep(0)
        clock.go_real(factor=1000)
        await sleeper

    run(clock, main())
    assert clock.now_s() >= 5


def test_cancelled_sleepers_do_not_hold_time_back() -> None:
    clock = LabClock(start_s=0.0)

    async def main() -> None:
        gone = asyncio.ensure_future(clock.sleep(1))
        await asyncio.sleep(0)
        gone.cancel()
        await clock.sleep(9)

    run(clock, main())
    assert clock.now_s() == 9
