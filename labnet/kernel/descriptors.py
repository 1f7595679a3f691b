"""Room for a lab's descriptors: every port on which a pod is asked is a socket of the lab's process, and a login shell allows 1,024."""

from __future__ import annotations

import fcntl
import os
import resource

from labnet.errors import PrerequisiteError

A_NODE = 8
"""Logs, sockets and kept route sockets of a node."""
A_LAB = 256
"""All that does not grow with the lab, and what spawned programs and traces have open for a while."""
LEAST = 4096
"""What every lab's process asks for, if the machine allows it."""


def needed(ports: int, nodes: int) -> int:
    """How many descriptors a lab may have open at once."""
    return ports + A_NODE * nodes + A_LAB


def check(count: int) -> None:
    """Refuse a lab that would need more than this process may ever open. Errors: PrerequisiteError."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        hint = f"raise it first ('ulimit -Hn {count}' as root, LimitNOFILE= in a unit, --ulimit nofile={count} for a container)"
        raise PrerequisiteError(f"this lab needs {count} open files, and this process may have {hard}", hint, missing=["open files"])


def make_room(count: int) -> None:
    """Let this process have so many open, as far as it may; at best while it has one thread.

    The table is widened at once: the kernel doubles the table of a process with several threads only after a grace period, 10 to 20 ms
    each time, and a thousand pods had it wait six times.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(count, LEAST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    last = count - 1 if soft == resource.RLIM_INFINITY else min(count, soft) - 1
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, last))
    finally:
        os.close(null)
