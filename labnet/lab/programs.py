"""Programs inside a lab's namespaces: find them by the namespace they are in, and end them through pidfds, so that no other is ever hit."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

GRACE_S = 2.0
"""How long a program may take to heed SIGTERM before SIGKILL, and SIGKILL to show."""


def find(inodes: Collection[int], mark: bytes | None = None) -> list[int]:
    """pidfds of the programs whose network namespace has one of these inodes, with `mark` in their environment where one is given."""
    handles = []
    for pid in _pids():
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue
        if pid != os.getpid() and _is_inside(pid, inodes, mark):
            handles.append(handle)
        else:
            os.close(handle)
    return handles


def end(handles: Sequence[int], grace_s: float = GRACE_S) -> None:
    """SIGTERM, then SIGKILL for what is still there; closes the pidfds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for handle in handles:
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + grace_s
        for handle in handles:
            select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
    for handle in handles:
        os.close(handle)


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208 - a flat list of names


def _is_inside(pid: int, inodes: Collection[int], mark: bytes | None) -> bool:
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino not in inodes:  # noqa: PTH116
            return False
        return mark is None or mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
