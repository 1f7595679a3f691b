"""The logs of a lab's nodes: ipamd.log and plugin.log, one JSON object a line as the VPC CNI writes them.

::

    {"level":"info","ts":"2026-08-20T12:00:00.123Z","msg":"…"}

Files stay open and are not synced; what is said within `FLUSH_S` is one write a file. A file of `MAX_BYTES` is put aside once
as ``….1``. `stdout` and `stderr` mean the log of the lab's process, which is where a container's output would be collected.
A log that cannot be written is no reason to stop anything: it is told once in the lab's log. Source: docs/sources.md#vpc-cni-logs
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from labnet.ipamd.settings import log_level
from labnet.model.values import frozen
from labnet.ports import Clock, NodeLog, NoLog

FLUSH_S = 0.05
MAX_BYTES = 100 * 1024 * 1024
LEVELS = ("debug", "info", "warn", "error", "fatal")
_LINES = msgspec.json.Encoder()
STREAMS = frozenset({"", "stdout", "stderr"})
Log = Callable[[str], None]


@frozen
class Line:
    """One object of a log, its members in the order in which they are written."""

    level: str
    ts: str
    msg: str


def _text(lines: Sequence[Line]) -> bytes:
    """Lines as they are written; what is no text (a lone surrogate in a name that came from outside) as a question mark."""
    try:
        return _LINES.encode_lines(lines)
    except UnicodeEncodeError:
        return _LINES.encode_lines([Line(line.level, line.ts, line.msg.encode(errors="replace").decode()) for line in lines])


class LogFile:
    """One file; `add` takes lines, `flush` writes them: a pod says some ten, so they are made text all at once.

    `dirty` hears of the first line after each flush.
    """

    def __init__(self, path: Path, log: Log, dirty: Callable[[LogFile], None], max_bytes: int = MAX_BYTES) -> None:
        self._path, self._log, self._dirty, self._max_bytes = path, log, dirty, max_bytes
        self._waiting: list[Line] = []
        self._descriptor: int | None = None
        self._size = 0
        self._failed = self._closed = False

    def add(self, line: Line) -> None:
        """Keep a line until the next flush."""
        if self._closed:
            return
        self._waiting.append(line)
        if len(self._waiting) == 1:
            self._dirty(self)

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        data, self._waiting = _text(self._waiting), []
        try:
            if self._descriptor is None:
                self._open()
            elif self._size + len(data) > self._max_bytes:
                self._put_aside()
            assert self._descriptor is not None, "opened above"
            os.write(self._descriptor, data)
            self._size += len(data)
        except OSError as error:
            if not self._failed:
                self._log(f"{self._path} cannot be written: {error.strerror or error}; what it would say is lost")
            self._failed = True

    def close(self) -> None:
        """Write what waits and let go of the file, for good: what is said later is lost."""
        self.flush()
        self._closed = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._path, flags, 0o644)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, flags, 0o644)
        self._size = os.fstat(self._descriptor).st_size

    def _put_aside(self) -> None:
        assert self._descriptor is not None, "only what is open is put aside"
        os.close(self._descriptor)
        self._descriptor = None
        os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 - beside the other calls of this class
        self._open()


class LevelLog:
    """The NodeLog port: lines of a level and above, stamped with the lab's time."""

    def __init__(self, clock: Clock, level: str, add: Callable[[Line], None]) -> None:
        self._clock, self._add = clock, add
        self._floor = LEVELS.index(log_level(level))
        self._stamped = (-1, "")

    def debug(self, message: str) -> None:
        """What only somebody who looks for a fault reads."""
        if self._floor == 0:
            self._write("debug", message)

    def info(self, message: str) -> None:
        """What happened."""
        if self._floor <= 1:
            self._write("info", message)

    def warn(self, message: str) -> None:
        """What is not as it should be and was coped with."""
        if self._floor <= 2:
            self._write("warn", message)

    def error(self, message: str) -> None:
        """What failed."""
        if self._floor <= 3:
            self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        ms = int(self._clock.now_s() * 1000)
        if self._stamped[0] != ms:
            self._stamped = (ms, datetime.fromtimestamp(ms // 1000, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{ms % 1000:03d}Z"))
        self._add(Line(level, self._stamped[1], message))


class NodeLogs:
    """The logs of one node. `file_of` says where a path of the node's view lies, None = nowhere (a plan keeps no logs)."""

    def __init__(self, node: str, clock: Clock, file_of: Callable[[str], Path | None], log: Log) -> None:
        self._node, self._clock, self._file_of, self._log = node, clock, file_of, log
        self._files: dict[str, LogFile] = {}
        self._logs: dict[tuple[str, str, str], NodeLog] = {}
        self._dirty: list[LogFile] = []

    def ipamd(self, path: str, level: str) -> NodeLog:
        """The daemon's log."""
        return self._open("ipamd", path, level)

    def plugin(self, path: str, level: str) -> NodeLog:
        """The plugin's log, as its configuration names it: an `OpenLog`."""
        return self._open("aws-cni", path, level)

    def flush(self) -> None:
        """Write what waits."""
        dirty, self._dirty = self._dirty, []
        for file in dirty:
            file.flush()

    def close(self) -> None:
        """Write what waits and let go of the files."""
        for file in self._files.values():
            file.close()
        self._files, self._logs, self._dirty = {}, {}, []

    def _open(self, who: str, path: str, level: str) -> NodeLog:
        known = self._logs.get((who, path, level))
        if known is None:
            known = self._logs[who, path, level] = self._make(who, path, level)
        return known

    def _make(self, who: str, path: str, level: str) -> NodeLog:
        if self._file_of("/var/log") is None:
            return NoLog()
        if path in STREAMS:
            return LevelLog(self._clock, level, lambda line: self._log(f"{who} on {self._node}: {_text([line]).decode().rstrip()}"))
        file = self._files.get(path)
        if file is None:
            found = self._file_of(path)
            assert found is not None, "the node has files"
            file = self._files[path] = LogFile(found, self._log, self._soon)
        return LevelLog(self._clock, level, file.add)

    def _soon(self, file: LogFile) -> None:
        """A file has something to write."""
        self._dirty.append(file)
        if len(self._dirty) == 1:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
