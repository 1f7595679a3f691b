"""Drop namespaces and return when the kernel has really let go.

Taking a name away returns before anything is gone. So a small unnamed *observer* namespace gives every victim an id; the
kernel takes the id back (RTM_DELNSID) when it begins to clean a namespace up. It cleans on one ordered queue: a *sentinel*
namespace, let go after the last victim's id, is begun only when all victims' links are gone. Whoever holds a namespace (a
process in it, a socket, a descriptor) keeps it; then the deadline passes and the error says who. Connections that nobody has
any more would keep it too: they are ended before.

Needs names and inodes only, no LinuxKernel: `labnet down` uses it when the lab's process is dead.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from labnet.errors import KernelError, OwnershipError, TeardownError
from labnet.kernel.netns import NETNS_DIR, THREAD_NETNS, inode_of, open_ns, path_of, remove_name, returning, setns, unshare
from labnet.kernel.orphans import end_orphans
from labnet.kernel.rtnl_socket import SOL_NETLINK, split

RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90
NETNSA_NSID, NETNSA_FD = 1, 3
RTNLGRP_NSID = 28
NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33
RECEIVE_BYTES = 64 << 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
LOOK_AGAIN_S = 1.0
SENTINEL = 0


class _Observer:
    """A socket in a namespace of its own that knows others by small numbers. Close it when done: its namespace goes with it."""

    def __init__(self) -> None:
        with returning():
            unshare()
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            try:
                unshare()  # the sentinel: a second namespace, held by one descriptor
                self._sentinel = os.open(THREAD_NETNS, os.O_RDONLY | os.O_CLOEXEC)
            except BaseException:
                self._socket.close()
                raise
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with suppress(OSError):  # rootless: EPERM, then as much as the machine allows
                self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BYTES)
                break
        self.name(self._sentinel, SENTINEL)

    def close(self) -> None:
        self._socket.close()
        self.release_sentinel()

    def release_sentinel(self) -> None:
        if self._sentinel >= 0:
            os.close(self._sentinel)
            self._sentinel = -1

    def name(self, fd: int, number: int) -> None:
        """Give the namespace behind a descriptor its number. Errors: OSError."""
        body = struct.pack("=BxxxHHiHHI", 0, 8, NETNSA_NSID, number, 8, NETNSA_FD, fd)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, number + 1, 0) + body)
        for kind, _flags, _sequence, answer in split(self._socket.recv(4096)):
            if kind == NLMSG_ERROR and (code := struct.unpack_from("=i", answer)[0]):
                raise OSError(-code, os.strerror(-code))

    def listen(self) -> None:
        """From now on hear who goes."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID)

    def wait(self, waiting: set[int], deadline_s: float) -> None:
        """Take numbers out of `waiting` as they go, until none is left or the deadline (monotonic) has passed."""
        while waiting:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            self._socket.settimeout(min(left_s, LOOK_AGAIN_S))
            try:
                waiting -= set(_gone(self._socket.recv(1 << 15)))
            except TimeoutError:
                waiting &= self._alive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                waiting &= self._alive()  # notifications were lost: ask instead

    def _alive(self) -> set[int]:
        """The numbers that still stand for something."""
        self._socket.settimeout(LOOK_AGAIN_S * 10)
        self._socket.send(struct.pack("=IHHIIBxxx", 20, RTM_GETNSID, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, 0))
        found: set[int] = set()
        while True:
            try:
                data = self._socket.recv(1 << 15)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise
            for kind, _flags, _sequence, body in split(data):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                if kind == RTM_NEWNSID:
                    found.add(_number(body))


def _gone(data: bytes) -> Iterator[int]:
    for kind, _flags, _sequence, body in split(data):
        if kind == RTM_DELNSID:
            yield _number(body)


def _number(body: bytes) -> int:
    """NETNSA_NSID of a message; -1 without."""
    at = 4
    while at + 8 <= len(body):
        size, kind = struct.unpack_from("=HH", body, at)
        if kind == NETNSA_NSID:
            number: int = struct.unpack_from("=i", body, at + 4)[0]
            return number
        at += (size + 3) & ~3 or 4
    return -1


def remove(names: Mapping[str, int | None], netns_dir: str = NETNS_DIR, timeout_s: float = 30.0) -> None:
    """Drop named namespaces (name → expected nsfs inode, None = whatever is there) and wait until they are gone.

    A name that does not exist is fine, and so is a file without a namespace behind it. A name behind which another inode
    lies stays. The caller's own descriptors and sockets of these namespaces must be closed before.
    Errors: TeardownError with an OwnershipError for each name that stays, and a KernelError EBUSY for each that is still held.
    """
    errors: list[Exception] = []
    victims: dict[int, tuple[str, int]] = {}
    leftovers: list[str] = []
    for name, expected in names.items():
        found = inode_of(name, netns_dir)
        if found is None:
            leftovers.append(name)
        elif expected is not None and found != expected:
            errors.append(OwnershipError(f"namespace {name}", "another namespace has taken this name; remove it by hand if it is not wanted"))
        else:
            victims[len(victims) + 1] = (name, found)
    for name in leftovers:
        if Path(path_of(name, netns_dir)).exists():
            remove_name(name, netns_dir)
    if victims:
        errors += _remove_observed(victims, netns_dir, timeout_s)
    if errors:
        raise TeardownError(errors)


def _remove_observed(victims: Mapping[int, tuple[str, int]], netns_dir: str, timeout_s: float) -> list[Exception]:
    deadline_s = time.monotonic() + timeout_s
    observer = _Observer()
    try:
        with returning():
            for number, (name, _inode) in victims.items():
                fd = open_ns(name, netns_dir)
                try:
                    observer.name(fd, number)
                    setns(fd)
                finally:
                    os.close(fd)
                with suppress(OSError):  # then they end by themselves, later
                    end_orphans()
        observer.listen()
        for name, _inode in victims.values():
            remove_name(name, netns_dir)
        waiting = set(victims)
        observer.wait(waiting, deadline_s)
        observer.release_sentinel()
        if len(waiting) < len(victims):
            observer.wait({SENTINEL}, max(deadline_s, time.monotonic() + LOOK_AGAIN_S))
    except OSError as error:
        return [KernelError("remove", "", "namespaces", error.errno or 0, str(error))]
    finally:
        observer.close()
    if not waiting:
        return []
    held = holders(inode for number, (_name, inode) in victims.items() if number in waiting)
    return [
        KernelError("remove", name, "namespace", errno.EBUSY, f"still held by {_who(held.get(inode, ()))}")
        for number, (name, inode) in victims.items() if number in waiting
    ]


def _who(pids: Iterable[int]) -> str:
    listed = ", ".join(str(pid) for pid in pids)
    return f"process {listed}" if listed else "an unknown socket or mount"


def holders(inodes: Iterable[int]) -> dict[int, list[int]]:
    """Processes that are in one of these namespaces or have it open: nsfs inode → pids. Sockets cannot be told."""
    wanted = set(inodes)
    device = Path(THREAD_NETNS).stat().st_dev
    found: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of entries
        if not entry.isdigit():
            continue
        held = {_inode(f"/proc/{entry}/task/{task}/ns/net", device) for task in _entries(f"/proc/{entry}/task")}
        held |= {_inode(f"/proc/{entry}/fd/{number}", device) for number in _entries(f"/proc/{entry}/fd")}
        for inode in held & wanted:
            found.setdefault(inode, []).append(int(entry))
    return found


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - thousands of entries
    except OSError:
        return []


def _inode(path: str, device: int) -> int:
    """The inode behind a path if it lies on nsfs, else 0."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of entries
    except OSError:
        return 0
    return found.st_ino if found.st_dev == device else 0
