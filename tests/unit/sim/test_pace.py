"""Many that are ready at once begin in groups, queue by queue, and no time passes meanwhile."""

from __future__ import annotations

import asyncio

from virtual_loop import run

from labnet.sim.clock import LabClock
from labnet.sim.pace import Pace


def order_of(pace: Pace, who: list[tuple[str, int]], gone: frozenset[tuple[str, int]] = frozenset()) -> list[list[tuple[str, int]]]:
    """Who began in which turn of the loop."""
    turns: list[list[tuple[str, int]]] = []

    async def one(queue: str, number: int) -> None:
        await pace(queue)
        turns[-1].append((queue, number))

    async def main() -> None:
        tasks = {(queue, number): asyncio.create_task(one(queue, number)) for queue, number in who}
        await asyncio.sleep(0)
        for key in gone:
            tasks[key].cancel()
        while any(not task.done() for task in tasks.values()):
            turns.append([])
            await asyncio.sleep(0)

    run(LabClock(0.0), main())
    return [turn for turn in turns if turn]


def test_groups_begin_turn_by_turn_and_queues_alternate() -> None:
    who = [("a", number) for number in range(5)] + [("b", number) for number in range(3)]
    assert order_of(Pace(group=4, in_a_row=2), who) == [
        [("a", 0), ("a", 1), ("b", 0), ("b", 1)], [("a", 2), ("a", 3), ("b", 2), ("a", 4)],
    ]
    assert order_of(Pace(group=3, in_a_row=8), who) == [
        [("a", 0), ("a", 1), ("a", 2)], [("b", 0), ("b", 1), ("b", 2)], [("a", 3), ("a", 4)],
    ]


def test_everybody_gets_a_turn_once_and_who_has_gone_takes_no_place() -> None:
    who = [(queue, number) for queue in "abc" for number in range(7)]
    turns = order_of(Pace(group=3, in_a_row=2), who, gone=frozenset({("a", 0), ("b", 1)}))
    began = [key for turn in turns for key in turn]
    assert sorted(began) == sorted(set(who) - {("a", 0), ("b", 1)})
    for queue in "abc":
        assert [number for name, number in began if name == queue] == sorted(
            number for name, number in who if name == queue and (name, number) not in {("a", 0), ("b", 1)}
        )


def test_a_second_crowd_is_served_as_the_first_was() -> None:
    pace = Pace(group=1)
    assert order_of(pace, [("a", 0), ("a", 1)]) == [[("a", 0)], [("a", 1)]]
    assert order_of(pace, [("a", 2), ("b", 0), ("a", 3)]) == [[("a", 2)], [("b", 0)], [("a", 3)]]


def test_virtual_time_stands_while_somebody_waits_for_a_turn() -> None:
    clock, pace, seen = LabClock(0.0), Pace(group=1), []

    async def one(number: int) -> None:
        await pace("node")
        seen.append((number, clock.now_s()))

    async def main() -> None:
        alarm = asyncio.create_task(clock.sleep(5))
        await asyncio.gather(*(one(number) for number in range(20)))
        await alarm

    run(clock, main())
    assert seen == [(number, 0.0) for number in range(20)] and clock.now_s() == 5.0
