"""Network namespaces: make them with a name, open them, work inside one.

Everything happens in the calling thread: `setns` and `unshare` move that thread only, and it comes back before a call
returns. Nothing outside `netns_dir` is touched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from labnet.errors import KernelError

NETNS_DIR = "/run/netns"
THREAD_NETNS = "/proc/thread-self/ns/net"
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
_LO_UP = struct.pack("=IHHIIBxHiII", 32, 16, 5, 1, 0, 0, 0, 1, 1, 1)
"""RTM_NEWLINK with ack for interface 1: flags IFF_UP, change IFF_UP."""


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> None:
    """Errors: OSError with libc's errno."""
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def setns(descriptor: int) -> None:
    """Move the calling thread into a network namespace. Errors: OSError."""
    _checked(_libc().setns(descriptor, CLONE_NEWNET))


def unshare() -> None:
    """Move the calling thread into a new, empty network namespace. Errors: OSError."""
    _checked(_libc().unshare(CLONE_NEWNET))


@contextmanager
def returning() -> Iterator[None]:
    """Whatever namespaces the calling thread visits inside, it is back in its own afterwards."""
    home = os.open(THREAD_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            setns(home)
        finally:
            os.close(home)


@contextmanager
def enter(fd: int) -> Iterator[None]:
    """The calling thread is in the namespace of the descriptor inside, and back home at exit, always. Errors: OSError."""
    with returning():
        setns(fd)
        yield


def path_of(name: str, netns_dir: str = NETNS_DIR) -> str:
    """Where a namespace's name lies. Errors: KernelError EINVAL for what is no plain file name."""
    if not name or "/" in name or name in (".", ".."):
        raise KernelError("name", name, "namespace", errno.EINVAL, "no name for a namespace")
    return f"{netns_dir}/{name}"


def open_ns(name: str, netns_dir: str = NETNS_DIR) -> int:
    """A descriptor for a named namespace; the caller closes it. Errors: KernelError ENOENT."""
    try:
        return os.open(path_of(name, netns_dir), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", name, "namespace", error.errno or 0) from error


def open_sockets(fd: int, kinds: Iterable[tuple[int, int, int]]) -> list[socket.socket]:
    """Sockets (family, type, protocol) of the namespace behind the descriptor, usable from anywhere for ever. Errors: OSError; then none."""
    made: list[socket.socket] = []
    try:
        with enter(fd):
            for family, kind, protocol in kinds:
                made.append(socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol))
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


def open_socket(fd: int, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002 - socket's own word
    """One such socket. Errors: OSError."""
    return open_sockets(fd, [(family, type, proto)])[0]


def inode_of(name: str, netns_dir: str = NETNS_DIR) -> int | None:
    """The nsfs inode behind a name; None when there is no such name or no namespace behind it. Opens nothing."""
    try:
        found = os.stat(path_of(name, netns_dir))  # noqa: PTH116 - called several times for every pod
    except FileNotFoundError:
        return None
    return found.st_ino if found.st_dev == _nsfs() else None


@cache
def _nsfs() -> int:
    """The device of the kernel's namespace files: one for as long as the machine runs."""
    return Path(THREAD_NETNS).stat().st_dev


def create(names: Sequence[str], netns_dir: str = NETNS_DIR, keep: Callable[[str, socket.socket], None] | None = None) -> dict[str, int]:
    """Make named namespaces, `lo` up in each; name → nsfs inode. Errors: KernelError (EEXIST: name taken); then none is left.

    `keep` is handed the route socket of each namespace, which is needed here anyway; whoever keeps it closes it.
    """
    made: dict[str, int] = {}
    try:
        with returning():
            for name in names:
                made[name], route = _create_one(path_of(name, netns_dir), name)
                if keep is not None:
                    keep(name, route)
                else:
                    route.close()
    except BaseException:
        for name in made:
            remove_name(name, netns_dir)
        raise
    return made


def _create_one(path: str, name: str) -> tuple[int, socket.socket]:
    """Inode and route socket. Leaves the thread in the new namespace; the caller brings it back."""
    try:
        _make_file(path)
        try:
            unshare()
            _checked(_libc().mount(THREAD_NETNS.encode(), path.encode(), b"none", MS_BIND, None))
            return os.stat(path).st_ino, _raise_loopback()  # noqa: PTH116 - called for every pod
        except BaseException:
            _detach(path)
            raise
    except OSError as error:
        raise KernelError("create", name, "namespace", error.errno or 0) from error


def _make_file(path: str) -> None:
    flags = os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o444))
    except FileNotFoundError:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.close(os.open(path, flags, 0o444))


def _raise_loopback() -> socket.socket:
    """The route socket through which it was done. Errors: OSError."""
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        route.send(_LO_UP)
        code: int = struct.unpack_from("=i", route.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))
    except BaseException:
        route.close()
        raise
    return route


def remove_name(name: str, netns_dir: str = NETNS_DIR) -> None:
    """Take a name away, whatever is behind it; the namespace dies when nobody else holds it. Unknown is fine. Errors: KernelError."""
    try:
        _detach(path_of(name, netns_dir))
    except OSError as error:
        raise KernelError("remove", name, "namespace", error.errno or 0) from error


def _detach(path: str) -> None:
    with suppress(FileNotFoundError):
        try:
            _checked(_libc().umount2(path.encode(), MNT_DETACH))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # EINVAL: a file on which nothing is mounted
                raise
        try:
            Path(path).unlink()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _unlink_apart(path)


def _unlink_apart(path: str) -> None:
    """Unlink a name over which its folder was mounted a second time: the first `ip netns add` of a machine does that.

    The mount below cannot be reached any more, and keeps the file busy here; in a mount namespace where it is no mount point the
    file can go, and the kernel then detaches it everywhere. Errors: OSError.
    """
    failures: list[OSError] = []

    def work() -> None:
        try:
            _checked(_libc().unshare(CLONE_NEWNS))
            _checked(_libc().mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
            for place in (str(Path(path).parent), path):
                while _libc().umount2(place.encode(), MNT_DETACH) == 0:
                    pass
            Path(path).unlink()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="unlink-apart")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
