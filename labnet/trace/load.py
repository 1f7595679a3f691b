"""The world of a lab as it is now: every namespace observed when a walk first asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labnet.model.netstate import KernelState
from labnet.ports import Kernel
from labnet.trace.world import End, Role, World

EVERYWHERE = ("net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/proxy_arp", "net/ipv4/ip_default_ttl")
PER_LINK = ("rp_filter", "forwarding", "proxy_arp")


class ObservedStates(Mapping[str, KernelState]):
    """States by namespace, each read once, at the first question. Errors: KeyError for a namespace that is not named here."""

    def __init__(self, kernel: Kernel, sysctls: Mapping[str, tuple[str, ...]]) -> None:
        self._kernel = kernel
        self._sysctls = sysctls
        self._states: dict[str, KernelState] = {}

    def __getitem__(self, netns: str) -> KernelState:
        if netns not in self._states:
            self._states[netns] = self._kernel.observe(netns, self._sysctls[netns])
        return self._states[netns]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sysctls)

    def __len__(self) -> int:
        return len(self._sysctls)

    def __contains__(self, netns: object) -> bool:
        return netns in self._sysctls


def observed_world(kernel: Kernel, roles: Mapping[str, Role], wires: Mapping[End, End], owners: Mapping[str, str]) -> World:
    """A world over the kernel door; `roles` lists every namespace of the lab, `wires` both directions (`world.wires_of`)."""
    links: dict[str, list[str]] = {}
    for netns, link in wires:
        links.setdefault(netns, []).append(link)
    sysctls = {
        netns: (*EVERYWHERE, *(f"net/ipv4/conf/{link}/{name}" for link in links.get(netns, ()) for name in PER_LINK)) for netns in roles
    }
    return World(ObservedStates(kernel, sysctls), dict(wires), dict(owners), dict(roles))
