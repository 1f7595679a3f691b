"""Why a pod or node has no address: no packet can be sent from it or to it, and the reason lies with its node's pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labnet.errors import EXIT_VERDICT, LabnetError
from labnet.lab.targets import Target

if TYPE_CHECKING:
    from labnet.lab.world import World as Lab

NO_SANDBOX = "FailedCreatePodSandBox"
POOL_REASONS = ("InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks", "PrivateIpAddressLimitExceeded", "AttachmentLimitExceeded")


def addressless(lab: Lab, end: Target) -> LabnetError:
    """The answer to a question about a packet to or from a target without an address: no, and why; exit code 3."""
    hint = "'labnet status' shows its node's pool, 'labnet events' what was tried"
    pod = next((pod for pod in lab.pods() if end.kind == "pod" and pod.key == end.name), None)
    if pod is None:
        return LabnetError(f"{end.name} has no address", hint, EXIT_VERDICT)
    events = lab.events.all()
    why = next((event["message"] for event in reversed(events) if event["reason"] == NO_SANDBOX and _of(event, pod.key)), "")
    said = f": {pod.reason}: {why}" if why else f": it is {pod.phase}" + (f" ({pod.reason})" if pod.reason else "")
    pool = next((event for event in reversed(events) if event["object"] == f"node/{pod.node}" and _of_pool(event)), None)
    said += f"; {pod.node}: {pool['message']}" if pool is not None else _full(lab, pod.node)
    return LabnetError(f"{end.name} has no address{said}", hint, EXIT_VERDICT)


def _of(event: dict[str, str], key: str) -> bool:
    return event["object"] in (f"pod/{key}", f"pod/{key.removeprefix('default/')}")


def _of_pool(event: dict[str, str]) -> bool:
    return any(reason in f"{event['reason']} {event['message']}" for reason in POOL_REASONS)


def _full(lab: Lab, node: str) -> str:
    """The pool of a node in words, where every address of it is used."""
    agent = lab.fleet.agents.get(node)
    pools = list(agent.pools().values()) if agent is not None else []
    used, free = sum(one.used for one in pools), sum(one.warm for one in pools)
    return f"; {node}: all {used} pod addresses of its {len(pools)} ENIs are in use" if pools and not free else ""
