"""Namespaces made ahead of their use, by a thread of their own: the kernel's half millisecond for each passes beside other work.

The thread enters namespaces and so must never do anything else; what it makes lies under its name like any other namespace and
counts as made once it is fetched. What nobody fetches is removed when the nursery closes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from labnet.errors import KernelError
from labnet.kernel import netns as namespaces


class Nursery:
    """Makes the named namespaces in order from the moment of its creation. Close it when done."""

    def __init__(self, names: Sequence[str], netns_dir: str) -> None:
        self._netns_dir = netns_dir
        self._coming = dict.fromkeys(names)
        self._made: dict[str, int | KernelError] = {}
        self._ready = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="nursery", daemon=True)
        self._thread.start()

    def fetch(self, name: str) -> int | None:
        """The nsfs inode of a namespace, now its caller's; waits for the one in the making; None for what did not begin here and
        will not: the caller makes it. Errors: KernelError, what its making said.
        """
        with self._ready:
            if name in self._coming and next(iter(self._coming)) != name:
                del self._coming[name]  # the thread has not come to it: whoever asks now makes it at once
            while name in self._coming and not self._closing:
                self._ready.wait()
            found = self._made.pop(name, None)
        if isinstance(found, KernelError):
            raise found
        return found

    def close(self) -> None:
        """Make no more, and remove what nobody fetched. Twice is fine. Errors: KernelError."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        self._thread.join()
        left, self._made = self._made, {}
        for name, made in left.items():
            if not isinstance(made, KernelError):
                namespaces.remove_name(name, self._netns_dir)

    def _work(self) -> None:
        while True:
            with self._ready:
                name = None if self._closing else next(iter(self._coming), None)
            if name is None:
                return
            try:
                made: int | KernelError = namespaces.create([name], self._netns_dir)[name]
            except KernelError as error:
                made = error
            with self._ready:
                self._coming.pop(name, None)
                self._made[name] = made
                self._ready.notify_all()
