"""The roll of the daemon set: every node's daemon gets one environment, at most a tenth of the nodes at the same time.

A node whose new daemon does not start holds its place, as with the real daemon set: the roll goes on once it does. The roll
goes on whether or not somebody waits for it; another one takes its place. Source: docs/sources.md#vpc-cni-roll
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from labnet.errors import LabnetError, UsageError
from labnet.ipamd.variables import VARIABLES, Dialect, refusals
from labnet.lab.fleet import Fleet
from labnet.lab.scenario_env import EXAMPLES
from labnet.lab.scenario_problems import nearest

SHARE = 10
"""One node of so many may be without a daemon at the same time: `maxUnavailable` is 10 %."""
Env = Mapping[str, str]
Tell = Callable[[str, int, int], None]
"""Progress: what, how many nodes are done, of how many; 0 of 0 = something else."""


class Rollout:
    """Rolls the daemons of a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._task: asyncio.Task[None] | None = None

    async def begin(self, env: Env, tell: Tell) -> asyncio.Task[None]:
        """Roll every node to `env`, new ones too; the task is done when all run it. An earlier roll ends where it is."""
        await self.stop()
        self._fleet.use_env(env)
        self._task = asyncio.get_running_loop().create_task(self._roll(env, tell), name="roll of aws-node")
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever waits hears it too
        return self._task

    async def stop(self) -> None:
        """Roll no further."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def waiting(self, env: Env) -> Iterator[str]:
        """What is not there yet: a node, and why."""
        for name, agent in self._fleet.agents.items():
            if not agent.runs(env):
                yield f"{name}: {agent.trouble or 'it has not had its turn'}"

    async def _roll(self, env: Env, tell: Tell) -> None:
        queue = deque(self._fleet.agents)
        total, done = len(queue), 0

        def trouble(text: str) -> None:
            tell(text, 0, 0)

        async def worker() -> None:
            nonlocal done
            while queue:
                name = queue.popleft()
                await self._one(name, env, trouble)
                done += 1
                tell(f"{name} runs the new settings", done, total)

        async with asyncio.TaskGroup() as workers:
            for _ in range(-(-total // SHARE)):
                workers.create_task(worker())

    async def _one(self, name: str, env: Env, tell: Callable[[str], None]) -> None:
        with suppress(LabnetError):  # a node that did not start says so itself
            await self._fleet.started(name)
        agent = self._fleet.agents.get(name)
        if agent is None or agent.runs(env):
            return
        task = self._fleet.run_on(name, agent.roll(env, tell))
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if not task.cancelled():  # the node went
            task.result()


def changed_env(env: Env, dialect: Dialect, sets: Env, removals: list[str]) -> dict[str, str]:
    """An environment with variables set and taken away. Errors: UsageError naming all with which the daemon would not start."""
    both = sorted(sets.keys() & set(removals))
    if both:
        raise UsageError(f"{', '.join(both)}: set and removed at once", "say one of the two")
    new = {key: value for key, value in env.items() if key not in removals} | dict(sets)
    found = list(refusals(new, dialect))
    if found:
        hints = dict.fromkeys(one.hint or nearest(one.name, VARIABLES, EXAMPLES) for one in found)
        raise UsageError("; ".join(one.message for one in found), "; ".join(hints))
    return new


def differences(before: Env, after: Env) -> dict[str, str | None]:
    """What is other in `after`: the value, None = it is not there any more."""
    changed = {key: after.get(key) for key in (*before, *after) if before.get(key) != after.get(key)}
    return dict(sorted(changed.items()))
