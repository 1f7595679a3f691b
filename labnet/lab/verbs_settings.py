"""The verbs of a running lab about its daemons: their environment, which rolls, and their logs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from labnet.errors import EXIT_TIMEOUT, LabnetError, UsageError
from labnet.lab.control import Emit, Verb
from labnet.lab.rollout import changed_env, differences
from labnet.lab.world import World

Args = Mapping[str, Any]
Answer = dict[str, Any]


class SettingsVerbs:
    """One method a verb, as `Verbs` has them. Errors: LabnetError."""

    def __init__(self, world: World) -> None:
        self._world = world

    def table(self) -> dict[str, Verb]:
        """Verb → what serves it."""
        return {"set-env": self.set_env}

    async def set_env(self, args: Args, emit: Emit) -> Answer:
        """Change the daemons' environment (`set`, `remove`) and wait until every node runs it, `timeout` seconds at most; or `list` it.

        Errors: UsageError, and nothing has changed; LabnetError 124, and the roll goes on.
        """
        world = self._world
        if world.scenario.cni.kind != "vpc":
            raise UsageError("the lab has no aws-node: its cni.kind is none", "bring up a lab with kind: vpc")
        before = dict(world.env)
        if args.get("list"):
            return self._document({}, before, 0)
        sets = {str(key): str(value) for key, value in dict(args.get("set") or {}).items()}
        env = changed_env(before, world.scenario.cni.dialect, sets, [str(word) for word in args.get("remove") or ()])
        if env == before and not list(world.rollout.waiting(env)):
            return self._document({}, env, 0)

        def tell(text: str, done: int, total: int) -> None:
            emit({"stage": "roll", "text": f"aws-node: {text}{',' if total else ''}", "done": done, "total": total})

        nodes = [name for name, agent in world.fleet.agents.items() if not agent.runs(env)]
        await self._wait(await world.set_env(env, tell), env, float(args.get("timeout", 120)))
        return self._document(differences(before, env), env, len(nodes))

    async def _wait(self, roll: asyncio.Task[None], env: Mapping[str, str], timeout_s: float) -> None:
        world, loop = self._world, asyncio.get_running_loop()
        alarm = loop.create_task(world.clock.sleep(timeout_s))
        try:
            await asyncio.wait({roll, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        if not roll.done():
            lines = "; ".join(world.rollout.waiting(env))
            hint = "the roll goes on; 'labnet events' and 'labnet logs NODE' say more, 'labnet set env' with other values takes its place"
            raise LabnetError(f"not every node runs the new settings yet: {lines}", hint, EXIT_TIMEOUT)
        if roll.cancelled():
            raise LabnetError("another 'labnet set env' took the place of this one", "'labnet set env aws-node --list' shows what counts")
        roll.result()

    def _document(self, changed: Mapping[str, str | None], env: Mapping[str, str], rolled: int) -> Answer:
        return {
            "apiVersion": "labnet/v1", "kind": "DaemonEnvironment", "lab": self._world.lab, "daemonSet": "aws-node",
            "env": dict(env), "changed": dict(changed), "nodes": rolled,
        }
