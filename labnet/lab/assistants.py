"""The processes that help the lab's own while it comes up: what they do in the kernel passes beside its planning."""

from __future__ import annotations

import os
from collections.abc import Sequence

from labnet.kernel.nursery import Nursery
from labnet.kernel.worker import Worker, start_worker
from labnet.lab.served import ports_of
from labnet.model.names import pod_netns
from labnet.model.scenario import PodSpec
from labnet.model.values import frozen

WORKER_FROM_PODS = 64
"""For fewer pods the process costs more than it saves."""


@frozen
class Assistants:
    """A nursery that makes the lab's namespaces ahead, and a worker that wires ENIs and pods; either may be missing.

    One worker: the kernel makes links under one lock, and who waits for it spins. On two cores a second one took half of its time from
    the first and from whoever plans (2.0 s of processor time for a thousand pods instead of 1.4), and every ENI reaches into the VPC's
    namespace, whose links need one hand that numbers them.
    """

    nursery: Nursery | None = None
    worker: Worker | None = None


def start(namespaces: Sequence[str], lab: str, pods: Sequence[PodSpec]) -> Assistants:
    """Begin to make the namespaces, which must stand in the registry already; who gets the assistants ends them."""
    ports = {pod_netns(lab, pod.namespace, pod.name): ports_of(pod.containers) for pod in pods if not pod.host_network}
    helps = len(pods) >= WORKER_FROM_PODS and len(os.sched_getaffinity(0)) > 1
    return Assistants(Nursery(namespaces, ports=ports), start_worker() if helps else None)
