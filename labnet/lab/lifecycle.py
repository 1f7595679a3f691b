"""`up` and `down` as a user's command sees them: lock, let the lab's process begin, follow it, take everything away again.

`down` never asks the lab's process for anything but to end: what is to be removed stands in the registry, so it works
just as well when that process was killed. A signal at any moment of `up` ends in the same removal.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from labnet.errors import EXIT_TIMEOUT, InterruptedByUser, LabnetError, NotFoundError, OwnershipError, TeardownError, UsageError
from labnet.kernel import descriptors, preflight
from labnet.lab import client, programs, registry, served
from labnet.lab.again import finished
from labnet.lab.launch import Launch, Orders
from labnet.lab.paths import DEFAULT_RUN_DIR, LabPaths
from labnet.lab.progress import Progress, progress_of
from labnet.lab.registry import LabRecord, Registry
from labnet.model import codec, names
from labnet.model.scenario import Scenario
from labnet.model.values import frozen

NETNS_DIR = Path("/run/netns")
STOP_S = 10.0
GONE_S = 60.0


@frozen
class UpOptions:
    """How `up` shall go: `timeout_s` counts the lab's own time; `wait` stays in the foreground until a signal, then takes it down."""

    run_dir: Path = DEFAULT_RUN_DIR
    lab: str | None = None
    timeout_s: float = 120.0
    wait: bool = False
    replace: bool = False
    signals_stay_blocked: bool = False
    """After success SIGINT and SIGTERM are blocked in this thread: the lab is up, and a signal comes too late to take it back."""


Report = Callable[[Progress], None]


def up(scenario: Scenario, options: UpOptions, progress: Report, launch: Launch | None = None) -> dict[str, Any]:
    """Bring a lab up, or make a running one what the scenario says; returns its status. `launch` is a process that waits already.

    Errors: PrerequisiteError, OwnershipError, ScenarioError; WaitTimeoutError (the lab stays); InterruptedByUser after a
    clean rollback.
    """
    preflight.check_quick()
    links = scenario.zone_links
    preflight.check_zone_links(loss=any(link.loss_percent for link in links), latency=any(link.round_trip_ms for link in links))
    descriptors.check(served.descriptors(scenario))
    lab = options.lab or scenario.name
    if not names.is_name(lab):
        raise UsageError(f"{lab!r} is no name for a lab", "lower-case letters, digits and dashes, 32 at most, no dash at the ends")
    paths = LabPaths(options.run_dir, lab)
    paths.check_socket_lengths(tuple(node.name for node in scenario.nodes))
    with _signals_raise(), registry.locked(paths):
        record = registry.read(paths)
        if record is not None and registry.alive(record) and record.state == "running":
            return _reconcile(scenario, paths, options, progress)
        if record is not None:
            progress(Progress("clear", f"lab {lab} was left by a process that has ended: clearing what it left{_lost_settings(record)}"))
            _take_down(paths, record)
        return _start(scenario, paths, options, progress, launch)


def _lost_settings(record: LabRecord) -> str:
    """The new lab has the scenario's settings again: say so."""
    changed = " ".join(f"{name}-" if value is None else f"{name}={value}" for name, value in (record.changed_env or {}).items())
    return f"; the settings of 'labnet set env' go with it: {changed}" if changed else ""


def hold(status: Mapping[str, Any], options: UpOptions, progress: Report) -> None:
    """Stay in the foreground until SIGINT or SIGTERM (`--wait`, or labnet as PID 1), then take the lab down."""
    waiting = {signal.SIGINT, signal.SIGTERM}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, waiting | {signal.SIGCHLD})
    try:
        while signal.sigwait(waiting | {signal.SIGCHLD}) == signal.SIGCHLD:
            _reap()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    down([str(status["lab"])], options.run_dir, progress)


def down(labs: Sequence[str], run_dir: Path, progress: Report) -> list[str]:
    """Take labs away; returns the names of those that were there. Errors: TeardownError with everything that failed."""
    gone: list[str] = []
    failures: list[Exception] = []
    for lab in labs:
        paths = LabPaths(run_dir, lab)
        with registry.locked(paths):
            record = registry.read(paths)
            if record is None:
                continue
            progress(Progress("down", f"taking down {lab}: {len(record.names)} namespaces"))
            try:
                _take_down(paths, record)
            except TeardownError as error:
                failures += error.errors
            gone.append(lab)
    if failures:
        raise TeardownError(failures)
    return gone


def plan(scenario: Scenario, options: UpOptions) -> dict[str, Any]:
    """What `up` would do, as data: the same code run to rest on the in-memory kernel under the virtual clock."""
    from labnet.lab import planning  # late: only `plan` and `--dry-run` need it

    return planning.plan(scenario, options.lab or scenario.name)


# ---- up -------------------------------------------------------------------------------------------------------------------


def _reconcile(scenario: Scenario, paths: LabPaths, options: UpOptions, progress: Report) -> dict[str, Any]:
    args = {"scenario": codec.to_document(scenario), "timeout": options.timeout_s}
    result = client.call(paths.run_dir, paths.lab, "reconcile", args, lambda event: progress(progress_of(event)))
    return finished(result)


def _start(scenario: Scenario, paths: LabPaths, options: UpOptions, progress: Report, launch: Launch | None) -> dict[str, Any]:
    wanted = planned_namespaces(scenario, paths.lab)
    there = {path.name for path in NETNS_DIR.iterdir()} if NETNS_DIR.is_dir() else set()  # once, for thousands of pods
    for name in wanted:
        if name in there:
            hint = f"'ip netns del {name}' if nobody needs it, or give the lab another name with --name"
            raise OwnershipError(f"network namespace {name}", hint)
    if paths.root.exists() and any(paths.root.iterdir()):
        raise OwnershipError(f"directory {paths.root}", "it has no lab.json: look what it holds and remove it")
    record = LabRecord(
        lab=paths.lab, scenario=scenario.source or scenario.name, state="starting", started_s=time.time(),
        namespaces=dict.fromkeys(wanted), nodes=len(scenario.nodes), pods=len(scenario.pods),
    )
    Registry(paths, record).write(record)
    try:
        status = finished(_run_process(scenario, paths, options, record, progress, launch or Launch()))
        if options.signals_stay_blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # what came before this raises here
        return status
    except InterruptedByUser:
        progress(Progress("rollback", "interrupted: taking back what was made"))
        _roll_back(paths)
        raise
    except LabnetError as error:
        if error.exit_code != EXIT_TIMEOUT:
            _roll_back(paths)
        raise


def _run_process(
    scenario: Scenario, paths: LabPaths, options: UpOptions, record: LabRecord, progress: Report, launch: Launch
) -> dict[str, Any]:
    """Let the lab's process begin, and follow it until it is ready or has failed."""
    with launch.socket as ours:
        pid = launch.order(Orders(scenario, paths, record, options.timeout_s))
        with ours.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if "progress" in message:
                    progress(progress_of(message["progress"]))
                elif "error" in message:
                    error = message["error"]
                    raise LabnetError(error["message"], error.get("hint", ""), int(error.get("exitCode", 1)))
                else:
                    return dict(message["ready"])
    raise LabnetError(f"the lab's process {pid} ended before the lab was up", f"what it said:\n{_tail(paths.log)}")


def planned_namespaces(scenario: Scenario, lab: str) -> list[str]:
    """Every namespace that `up` will make for this scenario."""
    wanted = [names.vpc_netns(lab, None if n == 0 else vpc.name) for n, vpc in enumerate(scenario.vpcs)]
    wanted += [names.igw_netns(lab, None if n == 0 else vpc.name) for n, vpc in enumerate(scenario.vpcs) if vpc.internet_gateway]
    wanted += [names.vgw_netns(lab, None if n == 0 else vpc.name) for n, vpc in enumerate(scenario.vpcs) if vpc.vpn_gateway]
    wanted += [names.site_netns(lab, None if n == 0 else site.name) for n, site in enumerate(scenario.on_premises)]
    wanted += [names.internet_netns(lab)] if any(vpc.internet_gateway for vpc in scenario.vpcs) else []
    wanted += [names.node_netns(lab, node.name) for node in scenario.nodes]
    wanted += [names.pod_netns(lab, pod.namespace, pod.name) for pod in scenario.pods if not pod.host_network]
    return wanted


# ---- down -----------------------------------------------------------------------------------------------------------------


def _roll_back(paths: LabPaths) -> None:
    """Take back a half-made lab; a further Ctrl-C does not stop this."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        record = registry.read(paths)
        if record is not None:
            _take_down(paths, record)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _take_down(paths: LabPaths, record: LabRecord) -> None:
    """End the lab's process and programs, remove its namespaces, then its files. Errors: TeardownError; the registry stays then."""
    from labnet.kernel import teardown  # late: `up` on a running lab needs no netlink

    if registry.alive(record):
        _end_process(record.pid)
        record = registry.read(paths) or record
    Registry(paths, record).write(replace(record, state="stopping", pid=0, pid_start=0))
    _end_programs(paths.lab, record)
    teardown.remove(record.names, str(NETNS_DIR), GONE_S)
    shutil.rmtree(paths.root)
    _reap()


def _end_process(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(handle, "rb", closefd=True):
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], STOP_S)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], STOP_S)


def _end_programs(lab: str, record: LabRecord) -> None:
    """End programs that labnet started for this lab: those with its mark in their environment, inside its namespaces."""
    inodes = {inode for inode in record.names.values() if inode}
    inodes |= {(NETNS_DIR / name).stat().st_ino for name in record.names if (NETNS_DIR / name).exists()}
    programs.end(programs.find(inodes, f"LABNET_LAB={lab}".encode()))


def _reap() -> None:
    """Collect ended children: as PID 1 of a container the lab's process is ours to bury."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


# ---- small things ---------------------------------------------------------------------------------------------------------


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise InterruptedByUser (in the main thread; elsewhere nothing changes)."""

    def interrupt(number: int, _frame: object) -> None:
        raise InterruptedByUser(f"interrupted by {signal.Signals(number).name}")

    try:
        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: a library user has signals of their own
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _tail(path: Path, lines: int = 12) -> str:
    try:
        return "\n".join(path.read_text().splitlines()[-lines:])
    except OSError:
        return "(nothing)"


def find_labs(run_dir: Path, given: Sequence[str], every: bool) -> list[str]:
    """Which labs a `down` means: those named, or all, or the only one. Errors: NotFoundError for a name that is not there."""
    known = [entry.name for entry in registry.labs(run_dir)]
    if every:
        return known
    for lab in given:
        if lab not in known:
            raise NotFoundError(f"no lab is named {lab}", f"running: {', '.join(known) or 'none'}")
    return list(given) if given else [registry.resolve(run_dir, None)]
