"""Where to listen for a probe (pure)."""

from __future__ import annotations

from labnet.model.packet import Path
from labnet.trace.world import World

SHARED_ROLES = frozenset({"vpc", "igw", "nat", "internet", "vgw", "onprem"})


def taps(world: World, predicted: Path, source_netns: str, target_netns: str = "") -> tuple[str, ...]:
    """The namespaces in which a trace listens on every interface, in the order of the path.

    Those of the predicted path first, then whatever a packet that goes astray could reach: the VPCs, all gateways and the Internet,
    the target, and the nodes that source and target hang on.
    """
    wanted = [source_netns, *(hop.netns for hop in predicted.hops)]
    wanted += [netns for netns, role in world.roles.items() if role in SHARED_ROLES]
    wanted += [target_netns] if target_netns else []
    for netns in (source_netns, target_netns):
        wanted += [far[0] for near, far in world.wires.items() if near[0] == netns and world.roles.get(netns) == "pod"]
    return tuple(dict.fromkeys(netns for netns in wanted if netns in world.states))
