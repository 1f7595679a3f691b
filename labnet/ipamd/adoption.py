"""Which attached ENIs the daemon uses, and how one is taken over: datastore, subnet's tag, wiring, addresses, in this order.

Source: docs/sources.md#ipamd-adoption
"""

from __future__ import annotations

from collections.abc import Iterable

from labnet.errors import Ec2Error, IpamError, KernelError
from labnet.ipamd.cloud import NodeCloud
from labnet.ipamd.datastore import Datastore, EniEntry
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.metadata import AttachedEni, NodeFacts
from labnet.ipamd.routes import table_of
from labnet.ipamd.settings import Settings
from labnet.ports import Clock

TRIES = 6
DELAY_S = 10.0


class NodeEnis:
    """The ENIs of one node; `unmanaged` are those of the first network card that the daemon leaves alone, and that take places."""

    def __init__(
        self, facts: NodeFacts, settings: Settings, *, cloud: NodeCloud, datastore: Datastore, setup: EniSetup, clock: Clock
    ) -> None:
        self._facts, self._settings = facts, settings
        self._cloud, self._datastore, self._setup, self._clock = cloud, datastore, setup, clock
        self.unmanaged: frozenset[str] = frozenset()

    async def managed(self, listed: Iterable[AttachedEni]) -> list[AttachedEni]:
        """Those of the listed ENIs that EC2 knows and the daemon may use; `unmanaged` is told anew. Errors: Ec2Error."""
        known = await self._cloud.tagged(listed)
        managed = [eni for eni in known if self._cloud.manages(eni, self._facts.instance_id)]
        self.unmanaged = frozenset(eni.id for eni in known if eni.network_card == 0 and eni not in managed)
        return managed

    async def tag(self, eni: AttachedEni) -> None:
        """Add what its tags lack, if the daemon may change anything. Errors: Ec2Error."""
        if self._settings.provisioning:
            await self._cloud.tag(eni.id, eni.tags)

    async def adopt(self, eni: AttachedEni) -> None:
        """Take an attached ENI into the datastore, wire it unless it is the first, and take its addresses over.

        Errors: IpamError, KernelError of its wiring; then the datastore does not know it. Ec2Error, when its subnet cannot be
        looked up: then, as with the VPC CNI, the datastore knows it, without wiring and without addresses.
        """
        entry = EniEntry(eni.id, eni.device_index, table_of(eni.device_index), eni.primary, added_at_s=self._clock.now_s())
        self._datastore.add_eni(entry)
        if self._settings.subnet_discovery and not self._settings.custom_networking:
            self._datastore.exclude(eni.id, await self._cloud.excluded(self._facts, eni.subnet_id))
        if not eni.primary:
            try:
                await self._setup.attached(eni)
            except (IpamError, KernelError):
                self._datastore.drop_eni(eni.id)
                raise
        self._datastore.add(eni.id, eni.addresses, eni.prefixes)

    async def adopt_patiently(self, eni: AttachedEni) -> None:
        """Adopt one at the start: six tries 10 s apart, one where its link does not come. Errors: as `adopt`, of the last try."""
        for turn in range(TRIES):
            try:
                await self.adopt(eni)
                return
            except (Ec2Error, KernelError):
                if turn == TRIES - 1:
                    raise
            await self._clock.sleep(DELAY_S)
