"""Which labs there are, and what each owns: `lab.json`, written before anything is made.

A namespace is named here before it is created (inode null) and again with its inode afterwards. `up` refuses a name that
exists and is not listed; `down` removes what is listed and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from labnet.errors import LabnetError, NotFoundError, UsageError
from labnet.lab.paths import LabPaths

LabState = Literal["starting", "running", "stopping"]


@dataclass(frozen=True, slots=True)
class LabRecord:
    """What `lab.json` says. `pid_start` is the process's start time in clock ticks, so that a reused pid is not taken for ours."""

    lab: str
    scenario: str
    state: LabState
    pid: int = 0
    pid_start: int = 0
    started_s: float = 0.0
    namespaces: Mapping[str, int | None] | None = None
    nodes: int = 0
    pods: int = 0
    changed_env: Mapping[str, str | None] | None = None
    """What `labnet set env` made of the scenario's settings: variable → value, None = taken away."""

    @property
    def names(self) -> dict[str, int | None]:
        """Namespaces by name, with their nsfs inode where it is known."""
        return dict(self.namespaces or {})


@dataclass(frozen=True, slots=True)
class LabEntry:
    """A line of `labnet ls`; `state` is running, starting, stopping, or dead when the process has gone."""

    name: str
    state: str
    scenario: str
    pid: int
    started: float
    nodes: int
    pods: int


class Registry:
    """The record of one lab on disk. `intend` writes at once; `made` is remembered and written by `flush`."""

    def __init__(self, paths: LabPaths, record: LabRecord) -> None:
        self._paths = paths
        self.record = record
        self._dirty = False

    def write(self, record: LabRecord) -> None:
        """Replace the record, on disk too."""
        self.record = record
        self._dirty = False
        _write_json(self._paths.registry, _to_json(record))

    def intend(self, names: Iterable[str]) -> None:
        """These namespaces are about to be made. Those already listed cost nothing."""
        known = self.record.names
        new = {name: None for name in names if name not in known}
        if new:
            self.write(replace(self.record, namespaces={**known, **new}))

    def made(self, inodes: Mapping[str, int]) -> None:
        """These namespaces exist now."""
        self.record = replace(self.record, namespaces={**self.record.names, **inodes})
        self._dirty = True

    def gone(self, names: Iterable[str]) -> None:
        """These namespaces are no more."""
        lost = set(names)
        kept = {name: inode for name, inode in self.record.names.items() if name not in lost}
        self.record = replace(self.record, namespaces=kept)
        self._dirty = True

    def flush(self) -> None:
        """Write what is only remembered."""
        if self._dirty:
            self.write(self.record)


def read(paths: LabPaths) -> LabRecord | None:
    """The record on disk, or None. Errors: LabnetError when the file is not ours to read or is broken."""
    try:
        raw = json.loads(paths.registry.read_text())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LabnetError(f"{paths.registry} cannot be read", "run it with sudo") from error
    except ValueError as error:
        hint = f"look at {paths.registry}; remove the lab's namespaces by hand ('ip netns del'), then its directory"
        raise LabnetError(f"{paths.registry} is broken: {error}", hint) from error
    try:
        return LabRecord(
            lab=raw["lab"], scenario=raw["scenario"], state=raw["state"], pid=raw["pid"], pid_start=raw["pidStart"],
            started_s=raw["startedAt"], namespaces=raw["namespaces"], nodes=raw.get("nodes", 0), pods=raw.get("pods", 0),
            changed_env=raw.get("changedEnv", {}),
        )
    except KeyError as error:
        raise LabnetError(f"{paths.registry} lacks {error}", "it was written by another version of labnet") from error


def alive(record: LabRecord) -> bool:
    """Does the lab's process still run? A pid that somebody else has now does not count."""
    return record.pid > 0 and process_start(record.pid) == record.pid_start


def process_start(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def labs(run_dir: Path) -> list[LabEntry]:
    """Every lab of this run directory, by name."""
    found = []
    for path in sorted(run_dir.glob("*/lab.json")) if run_dir.is_dir() else []:
        record = read(LabPaths(run_dir, path.parent.name))
        if record is None:
            continue
        state = record.state if alive(record) else "dead"
        found.append(LabEntry(record.lab, state, record.scenario, record.pid, record.started_s, record.nodes, record.pods))
    return found


def resolve(run_dir: Path, lab: str | None) -> str:
    """The lab that a verb means: the one named, else the only one. Errors: NotFoundError, UsageError."""
    names = [entry.name for entry in labs(run_dir)]
    if lab is not None:
        if lab not in names:
            known = f"running: {', '.join(names)}" if names else "no lab is running; 'labnet up eks-2node' makes one"
            raise NotFoundError(f"no lab is named {lab}", known)
        return lab
    if not names:
        raise NotFoundError("no lab is running", "'labnet up eks-2node' makes one")
    if len(names) > 1:
        raise UsageError(f"several labs are running: {', '.join(names)}", "say which with --lab NAME or LABNET_LAB")
    return names[0]


@contextlib.contextmanager
def locked(paths: LabPaths) -> Iterator[int]:
    """Hold the lab's lock: one `up` or `down` of a lab at a time. Waits for the other one.

    Yields the descriptor that holds it: a forked process closes its copy, else it would hold the lock for as long as it lives.
    """
    paths.run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    while True:
        handle = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            same = paths.lock.stat().st_ino == os.fstat(handle).st_ino
        except FileNotFoundError:
            same = False
        if same:
            break
        os.close(handle)  # the holder before us removed the file: take the new one
    try:
        yield handle
    finally:
        paths.lock.unlink(missing_ok=True)
        os.close(handle)


def _to_json(record: LabRecord) -> dict[str, Any]:
    return {
        "apiVersion": "labnet/v1", "kind": "LabRecord", "lab": record.lab, "scenario": record.scenario, "state": record.state,
        "pid": record.pid, "pidStart": record.pid_start, "startedAt": record.started_s, "nodes": record.nodes, "pods": record.pods,
        "namespaces": record.names, "changedEnv": dict(record.changed_env or {}),
    }


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    aside = path.with_suffix(".json.tmp")
    aside.write_text(json.dumps(document))
    aside.replace(path)
