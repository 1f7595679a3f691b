"""A whole lab on the real kernel in this process, under the virtual clock: real packets, and an hour passes at once."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from labnet.errors import TeardownError
from labnet.kernel import netns, teardown
from labnet.kernel.door import LinuxKernel
from labnet.lab import scenario_file
from labnet.lab.store import MemoryStore
from labnet.lab.world import World
from labnet.model.cluster import PodView
from labnet.model.scenario import PodSpec
from labnet.sim.clock import LabClock, new_event_loop

_numbers = itertools.count()


class RunningWorld:
    """A scenario, brought up; `close` takes every namespace away, come what may."""

    def __init__(self, text: str, *sets: str) -> None:
        self.name = f"lnt{os.getpid():x}w{next(_numbers)}"
        self.clock = LabClock(1_700_000_000.0)
        self.loop = new_event_loop(self.clock)
        self.kernel = LinuxKernel()
        source, stdin = ("-", io.StringIO(text)) if "\n" in text else (text, None)
        scenario = scenario_file.load(source, stdin=stdin, overrides=sets)
        self.world = World(scenario, self.name, self.kernel, self.clock, MemoryStore(), log=lambda said: None)
        try:
            self.waiting = self.do(self.world.bring_up(600.0, lambda *words: None))
        except BaseException:
            self.close()
            raise

    def do(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(main)

    def wait(self, seconds: float) -> None:
        self.do(self.clock.sleep(seconds))

    def until(self, true: Callable[[], bool], limit_s: float = 900) -> None:
        waited = 0.0
        while not true():
            assert waited < limit_s, [(event["reason"], event["message"]) for event in self.world.events.all()][-12:]
            self.wait(1)
            waited += 1

    def aws(self, action: str, **params: Any) -> dict[str, Any]:
        async def call() -> dict[str, Any]:  # what it starts belongs to the loop
            return self.world.ec2.call("test", action, params)

        answer: dict[str, Any] = self.do(call())
        return answer

    def calls(self, node: str) -> list[str]:
        return [record["action"] for record in self.world.store.read("ec2-calls") if record["caller"] == node]

    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.world.events.all()]

    # ---- pods -------------------------------------------------------------------------------------------------------------

    def add_pods(self, *names: str, node: str) -> None:
        """Pods of a node, until they run."""
        for name in names:
            self.world.add_pod(PodSpec(name, node=node))
        self.until(lambda: all(self.pod(name).phase == "Running" for name in names))

    def delete_pods(self, *names: str) -> None:
        for name in names:
            self.world.kube.delete("Pod", "default", name)
        self.until(lambda: all(self.world.kube.find("Pod", "default", name) is None for name in names))

    def pod(self, name: str) -> PodView:
        return PodView(self.world.kube.get("Pod", "default", name))

    # ---- looking ----------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> dict[str, Any]:
        return next(dict(node) for node in self.world.status()["nodes"] if node["name"] == name)

    def pool(self, name: str) -> list[int]:
        """Addresses for pods by ENI: in use, warm or cooling."""
        return [one.used + one.warm + one.cooling for one in self.world.fleet.agents[name].pools().values()]

    def inside(self, target: str, *words: str) -> str:
        done = self.kernel.run(f"{self.name}-{target}", words)
        return done.stdout if done.exit_code == 0 else ""

    def pings(self, source: str, address: str, *, expected: bool = True) -> bool:
        """Does an answer come? Where none is expected the wait for it is short."""
        return self.kernel.run(f"{self.name}-{source}", ("ping", "-c1", "-W2" if expected else "-W0.5", address)).exit_code == 0

    def close(self) -> None:
        with suppress(Exception):
            self.do(self.world.stop())
        self.loop.close()
        left = list(self.kernel.known)
        self.kernel.remove_netns(left)
        self.kernel.close()
        with suppress(TeardownError):
            teardown.remove(dict.fromkeys(name for name in left if os.path.lexists(netns.path_of(name))), timeout_s=5)
