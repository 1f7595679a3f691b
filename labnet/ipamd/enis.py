"""The kernel side of secondary ENIs: wired when they come, whatever is on their link; forgotten as the VPC CNI forgets them.

Source: docs/sources.md#ipamd-node
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from labnet.errors import IpamError, KernelError
from labnet.ipamd.leftovers import standing_eni
from labnet.ipamd.metadata import AttachedEni
from labnet.ipamd.routes import EniWiring, eni_slice, plan_eni
from labnet.ipamd.settings import Settings
from labnet.model.names import eni_link
from labnet.model.netstate import Rule, Slice
from labnet.ports import Clock, Slices

LINK_TRIES = 5
LINK_DELAY_S = 3.0


class EniSetup:
    """Wires ENIs in one node's namespace; `host_links` says which links there are."""

    def __init__(self, netns: str, settings: Settings, slices: Slices, clock: Clock, host_links: Callable[[], frozenset[str]]) -> None:
        self._netns, self._settings, self._slices, self._clock, self._host_links = netns, settings, slices, clock, host_links

    async def attached(self, eni: AttachedEni) -> None:
        """Set an ENI up. Errors: IpamError for the first one, which is the node's own, or when its link does not come; KernelError."""
        if eni.device_index == 0:
            raise IpamError("setupENINetwork should never be called on the primary ENI")
        await self._wait_for_link(eni_link(eni.device_index), eni.mac)
        wiring = EniWiring(eni.id, eni.device_index, eni.primary_ip, eni.subnet_cidr, self._settings.eni_mtu_bytes)
        await self._wire(wiring)

    async def _wire(self, wiring: EniWiring) -> None:
        """Addresses that somebody put on the link go; routes of its table and its rule are as planned, whoever made them.

        A new ENI's link has no past and is set up unseen; if the kernel refuses, there was one after all.
        """
        plan = plan_eni(self._settings, wiring)
        link = eni_link(wiring.device_index)
        if self._slices.claimed(self._netns, plan.name) is None and not self._slices.addresses(self._netns, link):
            with suppress(KernelError):
                await self._slices.set_soon([(self._netns, plan)])
                return
        seen = self._slices.observe(self._netns, packet_filter=False, sysctls=())
        self._slices.assume(self._netns, Slice(plan.name, standing_eni(seen, plan, wiring)))
        self._slices.set([(self._netns, plan)])

    async def _wait_for_link(self, link: str, mac: str) -> None:
        for turn in range(LINK_TRIES):
            if link in self._host_links():
                return
            if turn < LINK_TRIES - 1:
                await self._clock.sleep(LINK_DELAY_S)
        raise IpamError(f"setupENINetwork: failed to find the link which uses MAC address {mac}")

    def detached(self, eni_id: str) -> None:
        """The ENI went on purpose: its rules by source go; link, address and routes went with the link. Errors: KernelError."""
        name = eni_slice(eni_id)
        standing = self._slices.claimed(self._netns, name)
        if standing is None:
            return
        rules = tuple(item for item in standing.objects if isinstance(item, Rule))
        self._slices.assume(self._netns, Slice(name, rules))
        self._slices.set([(self._netns, Slice(name))])

    def vanished(self, eni_id: str) -> None:
        """The ENI is gone unasked: as with the VPC CNI, its rules stay and point to an empty table."""
        self._slices.assume(self._netns, Slice(eni_slice(eni_id)))

    def given_up(self, eni_id: str, device_index: int) -> None:
        """It should have gone and EC2 did not finish: its rules stay; the rest went if its link did."""
        if eni_link(device_index) not in self._host_links():
            self.vanished(eni_id)
