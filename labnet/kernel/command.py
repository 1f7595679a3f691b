"""Programs inside a namespace: the thread that starts one enters it first, so the child begins there; no wrapper, no shell."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence

from labnet.errors import KernelError
from labnet.kernel.netns import enter
from labnet.ports import ProgramResult

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(
    fd: int, netns: str, command: Sequence[str], stdin: str = "", timeout_s: float = 30.0, env: Mapping[str, str] | None = None
) -> ProgramResult:
    """Run a program and wait. Errors: KernelError ENOENT (no such program), EACCES, ETIMEDOUT (it was killed)."""
    environ = {"PATH": PATH, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        with enter(fd):
            child = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environ,
            )
    except OSError as error:
        raise KernelError("run", netns, command[0], error.errno or errno.ENOENT) from error
    with child:
        try:
            out, said = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            child.kill()
            child.communicate()
            raise KernelError("run", netns, " ".join(command), errno.ETIMEDOUT, f"not finished after {timeout_s:g} s") from error
    return ProgramResult(child.returncode, out, said)


def which(program: str) -> str | None:
    """Where a program is, in the directories that programs of a lab are looked for in."""
    for directory in PATH.split(":"):
        path = f"{directory}/{program}"
        if os.access(path, os.X_OK):
            return path
    return None
