"""Whose MAC is it: words for the MACs of a trace (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from labnet.model.netstate import Link
from labnet.trace.world import Role, World

WORDS: dict[Role, str] = {
    "vpc": "VPC router", "igw": "internet gateway", "nat": "NAT gateway", "internet": "the Internet", "vgw": "virtual private gateway",
}


def mac_labels(world: World, namespaces: Iterable[str]) -> dict[str, str]:
    """MAC → who has it: ``pod2 eth0``, ``node1 eth1``, ``VPC router``."""
    labels: dict[str, str] = {}
    for netns in dict.fromkeys(namespaces):
        role = world.roles.get(netns)
        for link in world.states[netns].all(Link):
            if link.mac and link.type != "loopback":
                labels.setdefault(link.mac, WORDS[role] if role in WORDS else f"{world.owner(netns)} {link.name}")
    return labels
