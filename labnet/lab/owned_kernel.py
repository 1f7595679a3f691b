"""The kernel door of a running lab: every namespace stands in the registry before it is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labnet.kernel.door import LinuxKernel
from labnet.lab.assistants import Assistants
from labnet.lab.registry import Registry


class OwnedKernel(LinuxKernel):
    """LinuxKernel that journals: intent, creation, inode; and the end of a namespace."""

    def __init__(self, registry: Registry, assistants: Assistants | None = None) -> None:
        super().__init__(nursery=assistants.nursery if assistants else None, worker=assistants.worker if assistants else None)
        self._registry = registry

    def create_netns(self, names: Sequence[str]) -> None:
        """Make namespaces, named in the registry first."""
        self._registry.intend(names)
        super().create_netns(names)
        self._registry.made({name: inode for name in names if (inode := self.inode(name)) is not None})

    def remove_netns(self, names: Iterable[str]) -> None:
        """Drop namespaces, then strike them off, on disk too: somebody else may take the names."""
        gone = list(names)
        super().remove_netns(gone)
        self._registry.gone(gone)
        self._registry.flush()
