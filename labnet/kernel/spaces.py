"""The namespaces that the door may touch: names, inodes, descriptors, and the sockets that are worth keeping.

A descriptor or a socket keeps a namespace alive, and there are thousands of pods: so both live for one visit. A namespace
that is spoken to a third time is a node or the fabric; its socket is kept among the last used ones.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from labnet.errors import KernelError, OwnershipError
from labnet.kernel.netns import NETNS_DIR, inode_of, open_ns
from labnet.kernel.rtnl_socket import RtnlSocket

KEPT_SOCKETS = 256
KEPT_NEWBORN = 16
KEEP_FROM_VISIT = 3
NOT_OURS = "labnet touches only namespaces that its registry lists"


class Spaces:
    """Names this door owns (`known`: name → nsfs inode) or was handed opened (`adopt`)."""

    def __init__(self, netns_dir: str = NETNS_DIR) -> None:
        self.netns_dir = netns_dir
        self.known: dict[str, int] = {}
        self._adopted: dict[str, int] = {}
        self._sockets: OrderedDict[str, RtnlSocket] = OrderedDict()
        self._newborn: OrderedDict[str, RtnlSocket] = OrderedDict()
        self._visits: dict[str, int] = {}

    def learn(self, names: Mapping[str, int]) -> None:
        """From now on these are ours: name → nsfs inode."""
        self.known.update(names)

    def exists(self, name: str) -> bool:
        """Is there a namespace of that name that is ours?"""
        if name in self._adopted:
            return True
        return name in self.known and inode_of(name, self.netns_dir) == self.known[name]

    def open(self, name: str) -> int:
        """A descriptor that the caller closes. Errors: KernelError ENOENT, OwnershipError for what is not ours."""
        if name in self._adopted:
            return os.dup(self._adopted[name])
        inode = self.known.get(name)
        if inode is None:
            if inode_of(name, self.netns_dir) is not None:
                raise OwnershipError(f"namespace {name}", NOT_OURS)
            raise KernelError("open", name, "namespace", errno.ENOENT, "no such namespace")
        fd = open_ns(name, self.netns_dir)
        if os.fstat(fd).st_ino != inode:
            os.close(fd)
            raise OwnershipError(f"namespace {name}", NOT_OURS)
        return fd

    def adopt(self, descriptor: int) -> str:
        """The name for an opened namespace. Errors: KernelError EBADF."""
        try:
            inode = os.fstat(descriptor).st_ino
        except OSError as error:
            raise KernelError("adopt", "", f"descriptor {descriptor}", error.errno or 0) from error
        for name, known in self.known.items():
            if known == inode and inode_of(name, self.netns_dir) == inode:
                return name
        name = f"net:[{inode}]"
        if name not in self._adopted:
            self._adopted[name] = os.dup(descriptor)
        return name

    def forget(self, name: str) -> int | None:
        """Close everything of a namespace and take it off the list; its inode if it was made under a name, else None."""
        self.discard(name)
        self._visits.pop(name, None)
        descriptor = self._adopted.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
        return self.known.pop(name, None)

    def discard(self, name: str) -> None:
        """Close the kept sockets of a namespace."""
        for kept in (self._sockets.pop(name, None), self._newborn.pop(name, None)):
            if kept is not None:
                kept.close()

    def welcome(self, name: str, route: socket.socket) -> None:
        """Take the route socket with which a namespace was made; its first visit, mostly the next thing to come, uses it up."""
        self._newborn[name] = RtnlSocket(route)
        while len(self._newborn) > KEPT_NEWBORN:
            self._newborn.popitem(last=False)[1].close()

    def newborn(self, name: str) -> RtnlSocket | None:
        """The socket of a namespace that nobody has visited yet; the caller closes it or offers it."""
        return self._newborn.pop(name, None)

    def close(self) -> None:
        """Close every kept socket and descriptor; names stay known."""
        for name in [*self._sockets, *self._newborn]:
            self.discard(name)
        for descriptor in self._adopted.values():
            with suppress(OSError):
                os.close(descriptor)
        self._adopted.clear()

    def kept(self, name: str) -> RtnlSocket | None:
        """The kept socket of a namespace, now the last used one."""
        found = self._sockets.get(name)
        if found is not None:
            self._sockets.move_to_end(name)
        return found

    def offer(self, name: str, door: RtnlSocket) -> bool:
        """Keep a new socket? True when it is kept, else the caller closes it."""
        self._visits[name] = self._visits.get(name, 0) + 1
        if self._visits[name] < KEEP_FROM_VISIT:
            return False
        self._sockets[name] = door
        while len(self._sockets) > KEPT_SOCKETS:
            self._sockets.popitem(last=False)[1].close()
        return True


class Visit:
    """Descriptors and sockets for one piece of work; all that is not kept is closed at exit."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._fds: dict[str, int] = {}
        self._sockets: dict[str, RtnlSocket] = {}

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for door in self._sockets.values():
            door.close()
        for fd in self._fds.values():
            os.close(fd)

    def fd(self, name: str) -> int:
        """The descriptor of a namespace, valid inside. Errors: KernelError, OwnershipError."""
        found = self._fds.get(name)
        if found is None:
            found = self._fds[name] = self._spaces.open(name)
        return found

    def socket(self, name: str) -> RtnlSocket:
        """A route socket of a namespace, valid inside. Errors: KernelError, OwnershipError."""
        found = self._sockets.get(name) or self._spaces.kept(name)
        if found is not None:
            return found
        made = self._spaces.newborn(name)
        if made is None:
            fd = self.fd(name)
            try:
                made = RtnlSocket.opened(fd)
            except OSError as error:
                raise KernelError("open socket", name, "rtnetlink", error.errno or 0) from error
        if not self._spaces.offer(name, made):
            self._sockets[name] = made
        return made

    def discard(self, name: str) -> None:
        """Do not use the socket of a namespace again: answers of an earlier question may still come."""
        made = self._sockets.pop(name, None)
        if made is not None:
            made.close()
        self._spaces.discard(name)
