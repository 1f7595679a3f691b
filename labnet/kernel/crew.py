"""Several workers: the jobs of one node go to the same one, in order, so that each node's links have one hand that numbers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Lock

from labnet.kernel.jobs import named_in
from labnet.kernel.netns import NETNS_DIR
from labnet.kernel.worker import Jobs, Met, OnDone, Worker, start_worker
from labnet.model.netstate import Batch

Outcome = list[Exception | None]
Introduce = Callable[[Iterable[str]], Met]
"""What a worker has to be told of namespaces."""


class Crew:
    """Workers side by side. Close it when done."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = tuple(workers)
        self._homes: dict[str, Worker] = {}
        self._turn = 0

    @property
    def alive(self) -> bool:
        """Do all of them still work?"""
        return all(worker.alive for worker in self._workers)

    def tell(self, on_done: OnDone) -> None:
        """Who hears how jobs went, before whoever waits for them does; called in threads."""
        for worker in self._workers:
            worker.on_done = on_done

    def takes(self, jobs: Jobs) -> bool:
        """Can these jobs keep their order here: does none of them reach into namespaces of two workers?"""
        return all(len({self._homes[name] for name in named_in([job]) if name in self._homes}) < 2 for job in jobs)

    def submit(self, jobs: Jobs, introduce: Introduce) -> Future[Outcome]:
        """Jobs that `takes` takes, each to its worker; for each the error that the door would raise, or None."""
        places: dict[Worker, list[int]] = {}
        for place, job in enumerate(jobs):
            places.setdefault(self._home(job), []).append(place)
        if len(places) == 1:
            worker = next(iter(places))
            return worker.submit(introduce(named_in(jobs)), jobs)
        return _joined(len(jobs), [
            (where, worker.submit(introduce(named_in(part)), part))
            for worker, where in places.items() for part in [[jobs[place] for place in where]]
        ])

    def forget(self, names: Iterable[str]) -> None:
        """Wait until nobody here holds anything of these namespaces."""
        told: dict[Worker, dict[str, tuple[int, list[tuple[int, str, int]]]]] = {}
        for name in names:
            home = self._homes.pop(name, None)
            if home is not None:
                told.setdefault(home, {})[name] = (0, [])
        for answer in [worker.submit(met, []) for worker, met in told.items() if worker.alive]:
            answer.result()

    def close(self) -> None:
        """Wait for all that was sent, then end them."""
        for worker in self._workers:
            worker.finish()
        for worker in self._workers:
            worker.close()

    def _home(self, job: Sequence[Batch]) -> Worker:
        """The worker of the job's namespaces, the next one in turn for those that have none."""
        spaces = named_in([job])
        home = next((self._homes[name] for name in spaces if name in self._homes), None)
        if home is None:
            home = self._workers[self._turn % len(self._workers)]
            self._turn += 1
        self._homes.update(dict.fromkeys(spaces, home))
        return home


def start_crew(count: int, netns_dir: str = NETNS_DIR) -> Crew:
    """So many workers, each with a kernel door of its own."""
    return Crew([start_worker(netns_dir) for _ in range(count)])


def _joined(count: int, parts: Sequence[tuple[Sequence[int], Future[Outcome]]]) -> Future[Outcome]:
    """One answer of several, each of which has some places of it."""
    whole: Future[Outcome] = Future()
    outcome: Outcome = [None] * count
    left, lock = [len(parts)], Lock()

    def arrived(places: Sequence[int], part: Future[Outcome]) -> None:
        with lock:  # the parts come from threads of their own
            for place, error in zip(places, part.result(), strict=True):
                outcome[place] = error
            left[0] -= 1
            last = left[0] == 0
        if last:
            whole.set_result(outcome)

    for places, part in parts:
        part.add_done_callback(partial(arrived, places))
    return whole
