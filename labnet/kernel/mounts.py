"""What a program on a node or in a pod sees: its network namespace, and a mount and host-name namespace of its own.

The folders that two nodes must not share (`/etc/hosts`, `/var/run/aws-node`, `/opt/cni/bin` …) come from the lab's directory
by bind mounts that only this program sees. A folder that the machine lacks is provided by an overlay over the nearest one it
has, whose upper layer lies in a tmpfs of the same mount namespace: the machine's files and mount table stay as they are.
Why each program gets a view of its own: docs/adr/0003-views-are-made-per-program.md
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Mapping, Sequence
from typing import NoReturn

from labnet.errors import KernelError
from labnet.model.values import frozen

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x20000, 0x4000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
NETNS_DIR = "/run/netns"


@frozen
class View:
    """`binds` are (target, source) pairs of absolute paths; sources exist; `scratch` is an empty folder to mount a tmpfs on."""

    hostname: str
    binds: tuple[tuple[str, str], ...]
    scratch: str


def enter(netns_fd: int, view: View) -> None:
    """Move this process (single-threaded: a fresh child) into a namespace and view. Errors: OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.setns(netns_fd, CLONE_NEWNET), "setns")
    _check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare")
    _mount(libc, "none", "/", "", MS_REC | MS_PRIVATE)
    socket.sethostname(view.hostname)
    _forget_names(libc)
    try:
        _mount(libc, "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:
        pass  # a container that masks /sys: /sys/class/net then shows the machine's links, everything else holds
    sources = [_held(source) for _target, source in view.binds]
    _mount(libc, "labnet", view.scratch, "tmpfs", MS_NOSUID)
    scratch = _held(view.scratch)
    for number, ((target, _source), source) in enumerate(zip(view.binds, sources, strict=True)):
        _provide(libc, target, source, f"{scratch}/{number}")
    for (target, _source), source in zip(view.binds, sources, strict=True):  # after all overlays: one over the same folder would hide it
        _mount(libc, source, target, "", MS_BIND)


def _held(path: str) -> str:
    """A name for a file or folder that stays right when something is mounted over a folder above it; the descriptor ends with exec."""
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_CLOEXEC)}"


def exec_in(netns_fd: int, view: View, argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become a program in a namespace and view. Errors: KernelError, before anything was started."""
    try:
        enter(netns_fd, view)
        os.execvpe(argv[0], list(argv), dict(environ))
    except OSError as error:
        raise KernelError("exec", view.hostname, argv[0], error.errno or errno.EPERM, str(error)) from error


def _forget_names(libc: ctypes.CDLL) -> None:
    """Detach every name below /run/netns from this mount namespace: thousands of them would be copied by every child."""
    while libc.umount2(NETNS_DIR.encode(), MNT_DETACH) == 0:
        pass
    try:
        names = os.listdir(NETNS_DIR)  # noqa: PTH208 - a flat list of names
    except OSError:
        return
    for name in names:
        libc.umount2(f"{NETNS_DIR}/{name}".encode(), MNT_DETACH)


def _provide(libc: ctypes.CDLL, target: str, source: str, scratch: str) -> None:
    """Make a mount point exist in this mount namespace alone."""
    if os.path.lexists(target):
        return
    parent = os.path.dirname(target)  # noqa: PTH120
    while not os.path.isdir(parent):  # noqa: PTH112
        parent = os.path.dirname(parent)  # noqa: PTH120
    parent = os.path.realpath(parent)
    for part in ("upper", "work"):
        os.makedirs(f"{scratch}/{part}")  # noqa: PTH103
    options = f"lowerdir={parent},upperdir={scratch}/upper,workdir={scratch}/work"
    _mount(libc, "labnet", parent, "overlay", MS_NOSUID, options)
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o644))


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    answer = libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None)
    _check(answer, f"mount {target}")


def _check(answer: int, what: str) -> None:
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
