"""The processes that help the lab's own while it comes up: what they do in the kernel passes beside its planning."""

from __future__ import annotations

import os
from collections.abc import Sequence

from labnet.kernel.crew import Crew, start_crew
from labnet.kernel.nursery import Nursery
from labnet.lab.served import ports_of
from labnet.model.names import pod_netns
from labnet.model.scenario import PodSpec
from labnet.model.values import frozen

CREW_FROM_PODS = 64
"""For fewer pods the processes cost more than they save."""
MOST_WORKERS = 4
CORES_A_WORKER = 2
"""The kernel makes links under one lock, and who waits for it spins: on two cores a second worker took half of its time from the first
one and from whoever plans (2.0 s of processor time for a thousand pods instead of 1.4).
"""


@frozen
class Assistants:
    """A nursery that makes the lab's namespaces ahead, and a crew that wires its pods; either may be missing."""

    nursery: Nursery | None = None
    crew: Crew | None = None


def start(namespaces: Sequence[str], lab: str, pods: Sequence[PodSpec]) -> Assistants:
    """Begin to make the namespaces, which must stand in the registry already; who gets the assistants ends them."""
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)) // CORES_A_WORKER)
    ports = {pod_netns(lab, pod.namespace, pod.name): ports_of(pod.containers) for pod in pods if not pod.host_network}
    return Assistants(Nursery(namespaces, ports=ports), start_crew(workers) if len(pods) >= CREW_FROM_PODS and workers else None)
