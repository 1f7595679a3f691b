"""Namespaces made ahead of their use, by a process of its own: the kernel's half millisecond for each passes beside other work.

What it makes lies under its name like any other namespace and counts as made once it is fetched. What nobody fetches is removed
when the nursery closes.
"""

from __future__ import annotations

import errno
import signal
import socket
import struct
from collections.abc import Sequence

from labnet.errors import KernelError
from labnet.kernel import netns as namespaces
from labnet.kernel.forked import Forked

_RECORD = struct.Struct("=Iq")
"""Which name, and the nsfs inode of its namespace; minus an errno when it could not be made."""


class Nursery:
    """Makes the named namespaces in order from the moment of its creation. Close it when done."""

    def __init__(self, names: Sequence[str], netns_dir: str = namespaces.NETNS_DIR) -> None:
        self._netns_dir = netns_dir
        self._names = tuple(names)
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

    def close(self) -> None:
        """Make no more, and remove what nobody fetched. Twice is fine. Errors: KernelError."""
        forked, self._forked = self._forked, None
        if forked is None:
            return
        forked.end()
        while self._hear_from(forked.socket):
            pass
        forked.socket.close()
        left, self._made = self._made, {}
        for name, inode in left.items():
            if inode > 0:
                namespaces.remove_name(name, self._netns_dir)

    def _hear(self) -> bool:
        return self._forked is not None and self._hear_from(self._forked.socket)

    def _hear_from(self, sock: socket.socket) -> bool:
        """Take one record in; False when there are no more."""
        record = sock.recv(_RECORD.size, socket.MSG_WAITALL)
        if len(record) < _RECORD.size:
            self._coming.clear()
            return False
        place, inode = _RECORD.unpack(record)
        name = self._names[place]
        self._coming.discard(name)
        self._made[name] = inode
        return True

    def _work(self, sock: socket.socket) -> None:
        """In the other process. SIGTERM ends it between two namespaces, so that it has told of every one that it made."""
        ending: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
        for place, name in enumerate(self._names):
            if ending:
                return
            try:
                made = namespaces.create([name], self._netns_dir)[name]
            except KernelError as error:
                made = -(error.errno or errno.EIO)
            sock.sendall(_RECORD.pack(place, made))
