"""Namespaces made ahead of their use, by a process of its own: the kernel's half millisecond for each passes beside other work.

What it makes lies under its name like any other namespace and counts as made once it is fetched. What nobody fetches is removed
when the nursery closes. Whoever makes a namespace is in it, so the sockets of its servers are opened there and then, and handed over.
"""

from __future__ import annotations

import errno
import signal
import socket
import struct
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from labnet.errors import KernelError
from labnet.kernel import netns as namespaces
from labnet.kernel import servers
from labnet.kernel.forked import Forked
from labnet.kernel.servers import Port, Stock

_RECORD = struct.Struct("=Iq")
"""Which name, and the nsfs inode of its namespace; minus an errno when it could not be made."""
MOST_PORTS = 64
"""So many descriptors come with one record; a pod with more ports opens all of them itself (the kernel takes up to 253)."""


class Nursery:
    """Makes the named namespaces in order from the moment of its creation; `ports` are those on which something will listen in some
    of them. Close it when done.
    """

    def __init__(
        self, names: Sequence[str], netns_dir: str = namespaces.NETNS_DIR, ports: Mapping[str, Sequence[Port]] | None = None
    ) -> None:
        self._netns_dir = netns_dir
        self._names = tuple(names)
        self._ports = {name: tuple(dict.fromkeys(found)) for name, found in (ports or {}).items() if len(found) <= MOST_PORTS}
        self._stock: dict[str, Stock] = {}
        self._coming = set(names)
        self._made: dict[str, int] = {}
        self._forked: Forked | None = Forked(self._work)

    def fetch(self, name: str) -> int | None:
        """The nsfs inode of a namespace, now its caller's; waits for one that is still to come; None for what nobody named here,
        and for what the nursery left to its caller because it ended. Errors: KernelError, what its making said.
        """
        while name in self._coming and self._hear():
            pass
        found = self._made.pop(name, None)
        if found is not None and found < 0:
            raise KernelError("create", name, "namespace", -found)
        return found

    def promises(self, name: str) -> bool:
        """Is it made here, or still to come, and not fetched yet?"""
        return name in self._coming or self._made.get(name, 0) > 0

    def sockets(self, name: str) -> Stock:
        """The sockets of a fetched namespace, now the caller's; those of its ports that could not be had are missing."""
        return self._stock.pop(name, {})

    def close(self) -> None:
        """Make no more, and remove what nobody fetched. Twice is fine. Errors: KernelError."""
        forked, self._forked = self._forked, None
        if forked is None:
            return
        forked.end()
        while self._hear_from(forked.socket):
            pass
        forked.socket.close()
        for name in list(self._stock):
            for sock in self.sockets(name).values():
                sock.close()
        left, self._made = self._made, {}
        for name, inode in left.items():
            if inode > 0:
                namespaces.remove_name(name, self._netns_dir)

    def _hear(self) -> bool:
        return self._forked is not None and self._hear_from(self._forked.socket)

    def _hear_from(self, sock: socket.socket) -> bool:
        """Take one record in; False when there are no more."""
        descriptors = array("i")
        record, ancillary, _flags, _address = sock.recvmsg(
            _RECORD.size, socket.CMSG_SPACE(MOST_PORTS * descriptors.itemsize), socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC
        )
        for _level, _kind, data in ancillary:
            descriptors.frombytes(data)
        if len(record) < _RECORD.size:
            self._coming.clear()
            return False
        place, inode = _RECORD.unpack(record)
        name = self._names[place]
        self._coming.discard(name)
        self._made[name] = inode
        if descriptors:
            self._stock[name] = {port: servers.taken(port, fd) for port, fd in zip(self._ports[name], descriptors, strict=True)}
        return True

    def _work(self, sock: socket.socket) -> None:
        """In the other process. SIGTERM ends it between two namespaces, so that it has told of every one that it made."""
        ending: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
        for place, name in enumerate(self._names):
            if ending:
                return
            opened: list[socket.socket] = []
            try:
                made = namespaces.create([name], self._netns_dir, partial(self._furnish, opened))[name]
            except KernelError as error:
                made = -(error.errno or errno.EIO)
            _tell(sock, _RECORD.pack(place, made), opened)

    def _furnish(self, opened: list[socket.socket], name: str, route: socket.socket) -> None:
        """In a namespace that was made just now: open its sockets, all or none; who needs them will say what is wrong."""
        route.close()
        with suppress(KernelError):
            opened += servers.opened(name, self._ports.get(name, ())).values()


def _tell(sock: socket.socket, record: bytes, opened: Sequence[socket.socket]) -> None:
    """Hand over a record with its sockets, or without them where the kernel lets no more be under way."""
    try:
        if opened:
            socket.send_fds(sock, [record], [one.fileno() for one in opened])
            return
    except OSError as error:
        if error.errno not in (errno.ETOOMANYREFS, errno.EPERM):
            raise
    finally:
        for one in opened:
            one.close()
    sock.sendall(record)
