"""On which ports pods are asked, and what that takes of the lab's process (pure; light, because every `up` asks)."""

from __future__ import annotations

from collections.abc import Sequence

from labnet.kernel.descriptors import needed
from labnet.model.cluster import ContainerSpec
from labnet.model.scenario import Scenario

DEFAULT_PORTS = (("tcp", 80), ("tcp", 8080), ("udp", 7))


def ports_of(containers: Sequence[ContainerSpec]) -> tuple[tuple[str, int], ...]:
    """The ports that a pod's built-in server opens in one go when the pod starts; none where several containers have one each."""
    serving = [container.serve or DEFAULT_PORTS for container in containers if not container.command]
    if not containers:
        return DEFAULT_PORTS
    return tuple(serving[0]) if len(serving) == 1 else ()


def descriptors(scenario: Scenario) -> int:
    """How many files the lab's process may have open at once for a scenario; A_LAB leaves room for what is added later."""
    ports = 0
    for pod in scenario.pods:
        for container in pod.containers or (ContainerSpec("server"),):
            ports += 1 if container.command else len(container.serve or DEFAULT_PORTS)
    return needed(ports, len(scenario.nodes))
