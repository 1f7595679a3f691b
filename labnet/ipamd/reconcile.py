"""Once a minute: does the datastore have what is attached? The metadata says where to look, EC2 what is true.

Source: docs/sources.md#ipamd-reconcile
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from labnet.errors import Ec2Error, ImdsError, IpamError, KernelError
from labnet.ipamd.adoption import NodeEnis
from labnet.ipamd.cloud import NodeCloud
from labnet.ipamd.datastore import Assignment, Datastore, EniEntry
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.metadata import AttachedEni
from labnet.ipamd.policy import NEVER
from labnet.model.addressing import bounds, to_int
from labnet.ports import Clock

INTERVAL_S = 60.0
RETURNED_COOLDOWN_S = 60.0


@dataclass(slots=True)
class PoolMemory:
    """When the pool last did what, in seconds since the epoch; `returned_at_s` by address or prefix that went back to EC2."""

    acted_at_s: float = NEVER
    decreased_at_s: float = NEVER
    insufficient_at_s: float = NEVER
    returned_at_s: dict[str, float] = field(default_factory=dict)


class Reconciler:
    """Brings one node's datastore in line with EC2."""

    def __init__(
        self, memory: PoolMemory, enis: NodeEnis, *, cloud: NodeCloud, datastore: Datastore, setup: EniSetup, clock: Clock,
        tell: Callable[[str, str], None],
    ) -> None:
        self._memory, self._enis = memory, enis
        self._cloud, self._datastore, self._setup, self._clock, self._tell = cloud, datastore, setup, clock, tell

    async def reconcile(self) -> tuple[Assignment, ...]:
        """If nothing was done for 60 s, compare with what the metadata service lists, and believe EC2 where they differ.

        Returns the assignments that were lost with their addresses. Errors: Ec2Error, ImdsError, IpamError, when it cannot be
        known what is attached; what fails with one ENI becomes an event.
        """
        now_s = self._clock.now_s()
        if now_s - self._memory.acted_at_s <= INTERVAL_S:
            return ()
        attached = await self._attached()
        lost: list[Assignment] = []
        for eni in attached:
            try:
                lost += await self._reconcile_eni(eni)
            except (Ec2Error, ImdsError, IpamError, KernelError) as error:
                self._tell("EniNotReconciled", f"{eni.id}: {error}")
        there = {eni.id for eni in attached}
        for entry in self._datastore.enis():
            if entry.id not in there:
                lost += self._datastore.drop_eni(entry.id)
                self._setup.vanished(entry.id)
                self._tell("EniLost", f"{entry.id} is not attached any more")
        self._memory.acted_at_s = now_s
        return tuple(lost)

    async def _attached(self) -> list[AttachedEni]:
        """The managed ENIs. Tags are read only when there is an ENI that the datastore does not know: a call less each minute."""
        listed = [eni for eni in await self._cloud.attached() if eni.network_card == 0]
        if not listed:
            raise IpamError("the metadata service lists no ENI at all")
        if any(self._datastore.eni(eni.id) is None for eni in listed):
            return await self._enis.managed(listed)
        self._enis.unmanaged = frozenset()
        return listed

    async def _reconcile_eni(self, eni: AttachedEni) -> tuple[Assignment, ...]:
        entry = self._datastore.eni(eni.id)
        if entry is None:
            await self._enis.tag(eni)
            await self._enis.adopt(eni)
            self._tell("EniFound", f"{eni.id} as eth{eni.device_index} was attached by somebody else")
            return ()
        if eni.addresses == entry.addresses and eni.prefixes == entry.prefixes:
            return ()
        return await self._believe_ec2(entry)

    async def _believe_ec2(self, entry: EniEntry) -> tuple[Assignment, ...]:
        """Add what EC2 has, but not what was given back within 60 s; forget what it has not."""
        found = await self._cloud.addresses_of(entry.id)
        if found is None:
            return ()
        now_s, memory = self._clock.now_s(), self._memory
        memory.returned_at_s = {block: at for block, at in memory.returned_at_s.items() if now_s - at <= RETURNED_COOLDOWN_S}
        addresses, prefixes = (frozenset(one for one in blocks if one not in memory.returned_at_s) for blocks in found)
        gone = [*sorted(entry.addresses - found[0], key=to_int), *sorted(entry.prefixes - found[1], key=bounds)]
        added = self._datastore.add(entry.id, addresses, prefixes)
        lost = self._datastore.remove(entry.id, gone)
        if added or gone:
            self._tell("PoolReconciled", f"{entry.id}: {added} found, {len(gone)} gone in EC2")
        return lost
