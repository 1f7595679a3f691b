"""The door of a worker: it owns what it is told of, and says which links it made. Loaded by the worker's process alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labnet.kernel.door import LinuxKernel
from labnet.kernel.worker import Met, NewLink
from labnet.model.netstate import Batch, Link


class ServingDoor(LinuxKernel):
    """A LinuxKernel that makes no namespaces and works in those of another process."""

    def meet(self, met: Met) -> None:
        """These namespaces are ours for now, with these links beside those that we made; one that is another than before is known no more."""
        for name, (inode, links) in met.items():
            if self._spaces.known.get(name, inode) != inode:
                self._writer.book.forget(name)
                self._spaces.forget(name)
            if not inode:
                continue
            self._spaces.known[name] = inode
            if links:
                self._writer.book.join(name, links)

    def links_made(self, jobs: Iterable[Sequence[Batch]]) -> list[NewLink]:
        """The veths that jobs have made here, with the indexes that they got."""
        return [
            found for job in jobs for netns, changes in job for change in changes
            if change.op != "remove" and type(change.object) is Link and (found := self._writer.book.veth((netns, change.object.name)))
        ]
