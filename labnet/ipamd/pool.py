"""The warm pool of one node: carries out what `policy` decides, and brings the datastore in line with EC2 now and then.

One step at a time: `check` and `reconcile` are called from one loop and never overlap. A call that EC2 refuses ends the
step; the next look decides anew. Source: docs/sources.md#ipamd-policy
"""

from __future__ import annotations

from collections.abc import Iterable

from labnet.errors import Ec2Error, ImdsError, IpamError, KernelError
from labnet.ipamd.cloud import AttachedEni, NodeCloud, NodeFacts
from labnet.ipamd.datastore import Assignment, Datastore, EniEntry
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.policy import Decrease, FreeEni, Grow, Increase, NewEni, Room, Targets, decide
from labnet.ipamd.routes import table_of
from labnet.model.values import frozen
from labnet.ports import Clock, Events

RECONCILE_INTERVAL_S = 60.0
RETURNED_COOLDOWN_S = 60.0
INSUFFICIENT_COOL_OFF_S = 120.0
INSUFFICIENT = frozenset({"InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks"})
LIMIT_EXCEEDED = "PrivateIpAddressLimitExceeded"
NEVER = float("-inf")


@frozen
class PoolSettings:
    """How big the pool is and can be: targets, ENIs of the node's first network card, addresses or prefixes per ENI."""

    targets: Targets
    max_enis: int
    slots_per_eni: int
    subnet_discovery: bool = True

    @property
    def prefixes(self) -> bool:
        """Does EC2 give prefixes?"""
        return self.targets.prefix_mode


class WarmPool:
    """Fills and empties one node's datastore. `terminating` stops every change of the cloud."""

    def __init__(
        self, node: str, settings: PoolSettings, *, facts: NodeFacts, cloud: NodeCloud, datastore: Datastore, setup: EniSetup, clock: Clock,
        events: Events,
    ) -> None:
        self.settings = settings
        self.terminating = False
        self.unmanaged: frozenset[str] = frozenset()
        self._object = f"node/{node}"
        self._facts, self._cloud, self._datastore, self._setup, self._clock, self._events = facts, cloud, datastore, setup, clock, events
        self._decreased_at_s = self._cool_off_until_s = self._acted_at_s = NEVER
        self._returned_at_s: dict[str, float] = {}

    @property
    def room(self) -> Room:
        """What can be had now."""
        return Room(
            max_enis=self.settings.max_enis - len(self.unmanaged), slots_per_eni=self.settings.slots_per_eni,
            decreased_at_s=self._decreased_at_s, cool_off_until_s=self._cool_off_until_s,
        )

    # ---- one look at the pool ---------------------------------------------------------------------------------------------

    async def fill(self) -> None:
        """The first filling: one increase if the pool is low. Errors: Ec2Error, when EC2 refuses addresses for another reason
        than that there are none; a failed ENI is not fatal.
        """
        now_s = self._clock.now_s()
        for decision in decide(self._datastore.stats(now_s), self.settings.targets, self.room, now_s):
            if isinstance(decision, Increase):
                await self._increase(decision)

    async def check(self) -> None:
        """Decide and act once. Errors: Ec2Error, ImdsError, IpamError, KernelError of the step that failed."""
        if self.terminating:
            return
        now_s = self._clock.now_s()
        for decision in decide(self._datastore.stats(now_s), self.settings.targets, self.room, now_s):
            if isinstance(decision, Increase):
                await self._increase(decision)
            elif isinstance(decision, Decrease):
                await self._decrease(decision)
            else:
                await self._free(decision)

    async def _increase(self, decision: Increase) -> None:
        """Try the steps in order; the first that adds anything is enough."""
        for step in decision.steps:
            added = await self._grow(step) if isinstance(step, Grow) else await self._add_eni(step)
            if added:
                self._acted_at_s = self._clock.now_s()
                return
            if self._clock.now_s() < self._cool_off_until_s:
                return

    async def _grow(self, step: Grow) -> bool:
        """Ask for all that is wanted, then for one; was anything added?"""
        blocks: tuple[str, ...] = ()
        for count in (step.count, 1):
            try:
                blocks = await self._cloud.assign(step.eni_id, count, prefixes=self.settings.prefixes)
                break
            except Ec2Error as error:
                if error.code == LIMIT_EXCEEDED:  # EC2 knows of addresses that the datastore does not
                    return await self._believe_ec2(step.eni_id)
                if count == 1 or step.count == 1:
                    return self._refused(error, step.eni_id)
        added = self._add(step.eni_id, blocks)
        if added:
            self._tell("PoolIncreased", f"{added} {self._blocks(added)} for {step.eni_id}: {step.reason}")
        return added > 0

    def _refused(self, error: Ec2Error, eni_id: str) -> bool:
        if error.code not in INSUFFICIENT:
            raise error
        self._tell("InsufficientAddresses", f"{eni_id}: {error}")
        if not self.settings.subnet_discovery:
            self._cool_off_until_s = self._clock.now_s() + INSUFFICIENT_COOL_OFF_S
        return False

    async def _believe_ec2(self, eni_id: str) -> bool:
        found = await self._cloud.addresses_of(eni_id)
        return found is not None and self._datastore.add(eni_id, *found) > 0

    async def _add_eni(self, step: NewEni) -> bool:
        try:
            groups = await self._cloud.security_groups(self._facts.primary_mac)
            eni_id = await self._cloud.create_eni(self._facts, step.count, groups, prefixes=self.settings.prefixes)
        except Ec2Error as error:
            if error.code in INSUFFICIENT:
                self._cool_off_until_s = self._clock.now_s() + INSUFFICIENT_COOL_OFF_S
            self._tell("EniNotAdded", str(error))
            return False
        self._acted_at_s = self._clock.now_s()
        found = await self._cloud.appeared(eni_id, step.count)
        await self.adopt(found)
        self._tell("EniAttached", f"{eni_id} as eth{found.device_index} with {step.count} {self._blocks(step.count)}: {step.reason}")
        return True

    async def _decrease(self, decision: Decrease) -> None:
        now_s = self._clock.now_s()
        self._decreased_at_s = self._acted_at_s = now_s
        for eni_id, blocks in decision.blocks:
            self._datastore.remove(eni_id, blocks)
            self._returned_at_s.update(dict.fromkeys(blocks, now_s))
        for eni_id, blocks in decision.blocks:
            await self._cloud.unassign(eni_id, blocks)
            self._tell("PoolDecreased", f"{len(blocks)} {self._blocks(len(blocks))} of {eni_id} given back: {decision.reason}")

    async def _free(self, decision: FreeEni) -> None:
        entry = self._datastore.eni(decision.eni_id)
        if entry is None:
            return
        self._datastore.drop_eni(decision.eni_id)
        self._acted_at_s = self._clock.now_s()
        await self._cloud.free_eni(decision.eni_id)
        self._setup.detached(decision.eni_id)
        self._tell("EniFreed", f"{decision.eni_id}, eth{entry.device_index}: {decision.reason}")

    # ---- what EC2 and the datastore say of each other ------------------------------------------------------------------------

    async def adopt(self, eni: AttachedEni, *, tries: int = 1) -> None:
        """Take an attached ENI into the datastore, wire it unless it is the first, and take its addresses over.

        Errors: IpamError, KernelError; then the datastore does not know it.
        """
        primary = eni.device_index == 0
        entry = EniEntry(eni.id, eni.device_index, table_of(eni.device_index), primary, added_at_s=self._clock.now_s())
        self._datastore.add_eni(entry)
        if not primary:
            try:
                await self._setup.attached(eni, tries)
            except (IpamError, KernelError):
                self._datastore.drop_eni(eni.id)
                raise
        self._datastore.add(eni.id, eni.addresses, eni.prefixes)

    async def reconcile(self) -> tuple[Assignment, ...]:
        """If nothing was done for 60 s, compare with what the metadata service lists, and believe EC2 where they differ.

        Returns the assignments that were lost with their addresses. Errors: Ec2Error, ImdsError, IpamError, KernelError.
        """
        now_s = self._clock.now_s()
        if now_s - self._acted_at_s <= RECONCILE_INTERVAL_S:
            return ()
        self._acted_at_s = now_s
        listed = {eni.id: eni for eni in await self._cloud.attached() if eni.id not in self.unmanaged}
        lost: list[Assignment] = []
        for entry in self._datastore.enis():
            eni = listed.pop(entry.id, None)
            if eni is None:
                lost += self._datastore.drop_eni(entry.id)
                self._setup.vanished(entry.id)
                self._tell("EniLost", f"{entry.id} is not attached any more")
            elif eni.addresses != entry.addresses or eni.prefixes != entry.prefixes:
                lost += await self._reconcile_eni(entry)
        if listed:
            await self._adopt_unknown(listed)
        return tuple(lost)

    async def _reconcile_eni(self, entry: EniEntry) -> tuple[Assignment, ...]:
        found = await self._cloud.addresses_of(entry.id)
        if found is None:
            return ()
        now_s = self._clock.now_s()
        self._returned_at_s = {block: at for block, at in self._returned_at_s.items() if now_s - at <= RETURNED_COOLDOWN_S}
        addresses, prefixes = (frozenset(one for one in blocks if one not in self._returned_at_s) for blocks in found)
        gone = [*(entry.addresses - found[0]), *(entry.prefixes - found[1])]
        added = self._datastore.add(entry.id, addresses, prefixes)
        lost = self._datastore.remove(entry.id, gone)
        if added or gone:
            self._tell("PoolReconciled", f"{entry.id}: {added} found, {len(gone)} gone in EC2")
        return lost

    async def _adopt_unknown(self, listed: dict[str, AttachedEni]) -> None:
        for eni in await self._cloud.tagged(listed.values()):
            if not eni.managed:
                self.unmanaged |= {eni.id}
                continue
            await self._cloud.tag(eni.id, eni.tags)
            await self.adopt(eni)
            self._tell("EniFound", f"{eni.id} as eth{eni.device_index} was attached by somebody else")

    # ---- words ------------------------------------------------------------------------------------------------------------

    def _add(self, eni_id: str, blocks: Iterable[str]) -> int:
        listed = tuple(blocks)
        return self._datastore.add(eni_id, [one for one in listed if "/" not in one], [one for one in listed if "/" in one])

    def _blocks(self, count: int) -> str:
        one, many = ("prefix", "prefixes") if self.settings.prefixes else ("address", "addresses")
        return one if count == 1 else many

    def _tell(self, reason: str, message: str) -> None:
        self._events.record(self._object, reason, message)


def explain(error: Ec2Error | ImdsError | IpamError | KernelError) -> tuple[str, str]:
    """Reason and message of the event for a step that failed."""
    if isinstance(error, Ec2Error) and error.code == "UnauthorizedOperation":
        return "MissingIAMPermissions", str(error)
    return "PoolStepFailed", str(error)
