"""The lab's process: one thread, one loop, from `up` to `down`.

It brings the lab up under virtual time, tells the waiting command, lets time run, and serves the control socket until it
is ended. Ending it takes nothing away: the data plane is in the kernel, and `down` removes what the registry lists.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from labnet.errors import EXIT_INTERRUPTED, LabnetError
from labnet.lab.assistants import Assistants
from labnet.lab.control import ControlServer
from labnet.lab.host import LocalHost
from labnet.lab.owned_kernel import OwnedKernel
from labnet.lab.paths import LabPaths
from labnet.lab.registry import LabRecord, Registry
from labnet.lab.store import SqliteStore
from labnet.lab.verbs import Verbs
from labnet.lab.world import World
from labnet.model.scenario import Scenario
from labnet.sim.clock import LabClock, new_event_loop

OF_A_TRACE = (
    "scapy.config", "scapy.data", "scapy.utils", "scapy.arch", "scapy.route", "scapy.ansmachine", "scapy.route6", "scapy.layers.inet6",
    "scapy.layers.inet", "labnet.trace.run", "labnet.trace.cloud_changes", "labnet.lab.tracing_judge", "labnet.trace.render.text",
)
"""What only a trace needs, loaded so that the first one need not wait; in pieces of some 50 ms, between which another `up` has its turn."""
LOAD_AHEAD = "LABNET_LOAD_AHEAD"
"""In the environment of `up`, "0" leaves what a trace needs to the first trace: for many labs that live for seconds, as in CI."""
COMING_UP_FLUSH_S = 0.05
BREATH_S = 0.4
"""How long a lab that has come up loads nothing more: a command starts in half of that, on a slow machine too."""


def log(text: str) -> None:
    """A line for the lab's log, which is where this process's standard error goes."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(f"{stamp} {text.rstrip()}\n")
    sys.stderr.flush()


def run(
    scenario: Scenario, paths: LabPaths, record: LabRecord, timeout_s: float, caller: socket.socket, assistants: Assistants | None = None
) -> int:
    """Be the lab's process until SIGTERM. `caller` takes progress, then one `ready` or `error` line. Returns an exit status."""
    clock = LabClock()
    loop = new_event_loop(clock)
    store = SqliteStore(paths.store, partial(_later, loop, clock))
    registry = Registry(paths, replace(record, pid=os.getpid()))
    try:
        world = _make_world(scenario, paths, registry, store, clock, assistants)
        return loop.run_until_complete(_live(world, paths, registry, timeout_s, _Caller(caller)))
    finally:
        store.close()
        loop.close()


def _later(loop: asyncio.AbstractEventLoop, clock: LabClock, flush: Callable[[], None]) -> None:
    """When what was written goes to the disk: with the loop's turn. While the lab comes up, after a while: what the kernel follows from
    is flushed before it anyway, and of the rest nobody would take anything up after a kill -9.
    """
    if clock.virtual:
        loop.call_later(COMING_UP_FLUSH_S, flush)
    else:
        loop.call_soon(flush)


class _Caller:
    """The command that waits for us; it may be gone at any time, which is no reason to stop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock: socket.socket | None = sock

    def tell(self, message: Mapping[str, Any]) -> None:
        """One line."""
        if self._sock is None:
            return
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.leave()

    def progress(self, stage: str, text: str, done: int = 0, total: int = 0) -> None:
        """One step of `up`."""
        self.tell({"progress": {"stage": stage, "text": text, "done": done, "total": total}})

    def leave(self) -> None:
        """Say no more."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _make_world(
    scenario: Scenario, paths: LabPaths, registry: Registry, store: SqliteStore, clock: LabClock, assistants: Assistants | None
) -> World:
    kernel = OwnedKernel(registry, assistants)
    world = World(scenario, registry.record.lab, kernel, clock, store, log=log, host=LocalHost(paths, kernel), serves=True)
    world.fleet.on_count = lambda count: registry.write(replace(registry.record, nodes=count)) if not clock.virtual else None
    world.on_env = lambda changed: registry.write(replace(registry.record, changed_env=changed))
    return world


async def _live(world: World, paths: LabPaths, registry: Registry, timeout_s: float, caller: _Caller) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    control = ControlServer(Verbs(world).table(), log)
    try:
        gc.disable()  # nothing made while a lab comes up is garbage soon; collecting costs a fifth of that time
        await control.start(paths.control)
        up = loop.create_task(world.bring_up(timeout_s, caller.progress))
        stop = loop.create_task(stopped.wait())
        await asyncio.wait({up, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            await asyncio.wait({up})
            return EXIT_INTERRUPTED
        caller.tell({"ready": _ready(up.result(), world, registry)})
        world.clock.go_real(world.scenario.time_factor)
        caller.leave()
        gc.enable()
        world.spawn(_load_the_rest(world, control), "late libraries")
        await stop
        return 0
    except LabnetError as error:
        caller.tell({"error": {"message": error.message, "hint": error.hint, "exitCode": error.exit_code}})
        log(f"{error.message} ({error.hint})")
        return 1
    except Exception as error:  # noqa: BLE001 - a fault of ours: logged whole, told in one line
        log(traceback.format_exc())
        caller.tell({"error": {"message": f"{type(error).__name__}: {error}", "hint": "a fault of labnet; please report it", "exitCode": 1}})
        return 1
    finally:
        await control.stop()
        with contextlib.suppress(LabnetError):
            await world.stop()


async def _load_the_rest(world: World, control: ControlServer) -> None:
    """What nobody had to wait for: HTTP answers of pods, those of resolvers and of the EC2 API, and scapy for the first trace.

    First what another `up` needs, and its turn if it comes right away: the interpreter loads for a second otherwise.
    """
    gc.freeze()
    await asyncio.to_thread(importlib.import_module, "labnet.lab.scenario_file")
    await asyncio.sleep(BREATH_S)
    await _turn(control)
    if world.workloads is not None:
        await world.workloads.answer()
    await world.resolvers.answer()
    if world.endpoint is not None:
        await world.endpoint.answer()
    if os.environ.get(LOAD_AHEAD) != "0":
        for module in OF_A_TRACE:
            await _turn(control)
            await asyncio.to_thread(importlib.import_module, module)


async def _turn(control: ControlServer) -> None:
    """Wait until no `up` would have to share the interpreter with what is loaded."""
    while "reconcile" in control.serving:
        await asyncio.sleep(BREATH_S / 20)


def _ready(waiting: list[dict[str, str]], world: World, registry: Registry) -> dict[str, Any]:
    registry.write(replace(registry.record, state="running"))  # with every inode that is known by now
    return {"status": world.status(), "waitingFor": waiting}
