"""Sysctls of a namespace: written by a thread that is in it, and read back, because the kernel may clamp or ignore a value."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from labnet.errors import KernelError
from labnet.kernel.diff import sysctl_path
from labnet.kernel.netns import enter
from labnet.kernel.observe import PROC_SYS
from labnet.model.netstate import Change, Sysctl

MAX_BYTES = 4096


def apply(fd: int, netns: str, changes: Sequence[Change], done: list[tuple[str, Change]]) -> None:
    """Write values in order; each that was written is added to `done` with the value that it found there.

    Giving a sysctl up is no write, nor is an optional one that this kernel has not.
    Errors: KernelError (ENOENT no such path, EINVAL refused or clamped, EPERM not writable here).
    """
    with enter(fd):
        for change in changes:
            if isinstance(change.object, Sysctl) and change.op != "remove":
                before = _write(netns, change.object)
                if before is not None and before != change.object.value:
                    done.append((netns, Change("replace", change.object, Sysctl(change.object.path, before))))


def _write(netns: str, item: Sysctl) -> str | None:
    """The value before, blanks made single; None for an optional one that is not there."""
    wanted = " ".join(item.value.split())
    try:
        file = os.open(f"{PROC_SYS}/{sysctl_path(item.path)}", os.O_RDWR | os.O_CLOEXEC)
        try:
            before = _read(file)
            if before != wanted:
                os.pwrite(file, item.value.encode(), 0)
                found = _read(file)
                if found != wanted:
                    raise KernelError("write", netns, item.text, errno.EINVAL, f"the kernel keeps {found!r}")
        finally:
            os.close(file)
    except OSError as error:
        if item.optional and error.errno == errno.ENOENT:
            return None
        raise KernelError("write", netns, item.text, error.errno or 0) from error
    return before


def _read(file: int) -> str:
    """The value now, blanks made single."""
    return " ".join(os.pread(file, MAX_BYTES, 0).decode().split())
