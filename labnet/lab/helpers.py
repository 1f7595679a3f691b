"""The processes that help the lab's own while it comes up: forked before it loads the rest of labnet, so that they are small and early."""

from __future__ import annotations

from collections.abc import Sequence

from labnet.kernel import worker
from labnet.kernel.nursery import Nursery
from labnet.kernel.worker import Worker
from labnet.model.values import frozen

WORKER_FROM_PODS = 64
"""For fewer pods a second process costs more than it saves."""


@frozen
class Helpers:
    """A nursery that makes the lab's namespaces ahead, and a worker that wires its pods; either may be missing."""

    nursery: Nursery | None = None
    worker: Worker | None = None


def start(namespaces: Sequence[str], pods: int) -> Helpers:
    """Begin to make the namespaces, which must stand in the registry already; who gets the helpers ends them."""
    return Helpers(Nursery(namespaces), worker.start() if pods >= WORKER_FROM_PODS else None)
