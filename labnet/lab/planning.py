"""What `up` would do, without doing it: the same parts, run to rest on the in-memory kernel under virtual time.

What ipamd decides later (which ENI serves which pod) comes out because it is the same ipamd; nothing is guessed.
"""

from __future__ import annotations

from typing import Any

from labnet.kernel.fake import FakeKernel
from labnet.lab.store import MemoryStore
from labnet.lab.world import World
from labnet.model.netstate import Change
from labnet.model.scenario import Scenario
from labnet.sim.clock import LabClock, new_event_loop

REST_S = 600.0


def plan(scenario: Scenario, lab: str) -> dict[str, Any]:
    """The Plan document of a scenario that does not run yet: every change in the order in which it would be made."""
    clock = LabClock(start_s=0.0)
    loop = new_event_loop(clock)
    changes: list[dict[str, str]] = []
    world = World(scenario, lab, FakeKernel(), clock, MemoryStore(), log=lambda text: None)
    world.on_namespace = lambda name: changes.append(_namespace(name))
    world.slices.on_change = lambda netns, part, change: changes.append(describe(netns, part, change))

    async def rest() -> list[dict[str, str]]:
        try:
            return await world.bring_up(REST_S, lambda *words: None)
        finally:
            await world.stop()

    try:
        waiting = loop.run_until_complete(rest())
    finally:
        loop.close()
    return {"apiVersion": "labnet/v1", "kind": "Plan", "lab": lab, "changes": changes, "waitingFor": waiting}


def describe(netns: str, part: str, change: Change) -> dict[str, str]:
    """One change as the Plan document has it."""
    return {"netns": netns, "slice": part, "op": change.op, "object": change.object.kind, "text": change.text}


def _namespace(name: str) -> dict[str, str]:
    return {"netns": name, "slice": "", "op": "add", "object": "netns", "text": f"netns add {name}"}
