"""Programs inside a namespace: the thread that starts one enters it first, so the child begins there; no wrapper, no shell."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from labnet.errors import KernelError
from labnet.kernel.netns import enter
from labnet.ports import ProgramResult

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


PIPE_BYTES = 1 << 16
"""So much a pipe takes although nobody reads yet."""


class Running:
    """A program that has been started; `finish` it. A short text it has been given already, so that it works meanwhile."""

    def __init__(self, child: subprocess.Popen[str], netns: str, command: Sequence[str], stdin: str) -> None:
        self._child, self._netns, self._command, self._stdin = child, netns, command, stdin
        if child.stdin is not None and len(stdin.encode()) <= PIPE_BYTES:
            with suppress(BrokenPipeError):  # it has ended; why is told by `finish`
                child.stdin.write(stdin)
                child.stdin.close()
            child.stdin, self._stdin = None, ""

    def finish(self, timeout_s: float) -> ProgramResult:
        """Give it what it still has to read, and wait. Errors: KernelError ETIMEDOUT (it was killed)."""
        child = self._child
        with child:
            try:
                out, said = child.communicate(self._stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                child.kill()
                child.communicate()
                reason = f"not finished after {timeout_s:g} s"
                raise KernelError("run", self._netns, " ".join(self._command), errno.ETIMEDOUT, reason) from error
        return ProgramResult(child.returncode, out, said)


def start(fd: int, netns: str, command: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None) -> Running:
    """Start a program. Errors: KernelError ENOENT (no such program), EACCES."""
    environ = {"PATH": PATH, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        with enter(fd):
            child = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environ,
            )
    except OSError as error:
        raise KernelError("run", netns, command[0], error.errno or errno.ENOENT) from error
    return Running(child, netns, command, stdin)


def run(
    fd: int, netns: str, command: Sequence[str], stdin: str = "", timeout_s: float = 30.0, env: Mapping[str, str] | None = None
) -> ProgramResult:
    """Run a program and wait. Errors: KernelError ENOENT (no such program), EACCES, ETIMEDOUT (it was killed)."""
    return start(fd, netns, command, stdin, env).finish(timeout_s)


def which(program: str) -> str | None:
    """Where a program is, in the directories that programs of a lab are looked for in."""
    for directory in PATH.split(":"):
        path = f"{directory}/{program}"
        if os.access(path, os.X_OK):
            return path
    return None
