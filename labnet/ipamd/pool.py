"""The warm pool of one node: carries out what `policy` decides.

One step at a time: `check` and `reconcile` are called from one loop and never overlap. A call that EC2 refuses ends the
step; the next look decides anew. Source: docs/sources.md#ipamd-policy
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labnet.errors import Ec2Error, ImdsError, IpamError, KernelError, NotFoundError
from labnet.ipamd.adoption import NodeEnis
from labnet.ipamd.cloud import NodeCloud
from labnet.ipamd.datastore import Assignment, Datastore, EniUse
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.metadata import NodeFacts
from labnet.ipamd.policy import Decrease, FreeEni, Grow, Increase, NewEni, Room, Targets, decide, decide_eni, is_low
from labnet.ipamd.reconcile import PoolMemory, Reconciler
from labnet.ipamd.settings import Settings
from labnet.model.values import frozen
from labnet.ports import Clock, Events, NodeObjects

EXCLUDED_IDLE_S = 5.0
INSUFFICIENT = frozenset({"InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks"})
LIMIT_EXCEEDED = "PrivateIpAddressLimitExceeded"
StepError = (Ec2Error, ImdsError, IpamError, KernelError)


@frozen
class PoolSettings:
    """How big the pool is and can be: targets, ENIs of the node's first network card, addresses or prefixes per ENI."""

    targets: Targets
    max_enis: int
    slots_per_eni: int
    node: Settings

    @property
    def prefixes(self) -> bool:
        """Does EC2 give prefixes?"""
        return self.targets.prefix_mode

    def most(self, use: EniUse, *, primary: bool) -> int:
        """The most addresses that pods can have on an ENI: of its places, less those of blocks of the other kind, which give what
        pods have of them. With custom networking the first ENI gets none: it can have what it has.
        """
        if primary and self.targets.skip_first_eni:
            return use.candidates + use.used_of_other
        return (self.slots_per_eni - use.blocks_of_other) * self.targets.block_size + use.used_of_other


class WarmPool:
    """Fills and empties one node's datastore. `terminating` stops every change of the cloud."""

    def __init__(
        self, node: str, settings: PoolSettings, *, facts: NodeFacts, cloud: NodeCloud, datastore: Datastore, setup: EniSetup, clock: Clock,
        events: Events, objects: NodeObjects | None = None,
    ) -> None:
        self.settings = settings
        self.terminating = False
        self._object = f"node/{node}"
        self._facts, self._cloud, self._datastore, self._setup, self._clock, self._events = facts, cloud, datastore, setup, clock, events
        self._objects = objects
        self._memory = PoolMemory()
        self.enis = NodeEnis(facts, settings.node, cloud=cloud, datastore=datastore, setup=setup, clock=clock)
        self._reconciler = Reconciler(
            self._memory, self.enis, cloud=cloud, datastore=datastore, setup=setup, clock=clock, tell=self._tell
        )

    @property
    def room(self) -> Room:
        """What can be had now."""
        return Room(
            max_enis=self.settings.max_enis - len(self.enis.unmanaged), slots_per_eni=self.settings.slots_per_eni,
            decreased_at_s=self._memory.decreased_at_s, insufficient_at_s=self._memory.insufficient_at_s,
        )

    # ---- one look at the pool ---------------------------------------------------------------------------------------------

    async def tidy(self) -> None:
        """At the start: free what pods cannot get and nobody has, of excluded ENIs and of the kind that is not the mode's."""
        if not self.settings.node.provisioning:
            return
        now_s = self._clock.now_s()
        for entry in self._datastore.enis():
            idle = [
                one for one in self._datastore.idle_blocks(entry.id, now_s) if entry.excluded or ("/" in one) != self.settings.prefixes
            ]
            await self._give_back(entry.id, idle, "an excluded subnet" if entry.excluded else "prefix delegation was turned on or off")

    async def fill(self) -> None:
        """The first filling: one increase if the pool is low; a failed ENI is not fatal.

        Errors: IpamError, when EC2 refuses addresses for another reason than that there are none, and with custom networking when
        there are none at all.
        """
        if not self.settings.node.provisioning:
            return
        now_s = self._clock.now_s()
        stats = self._datastore.stats(now_s)
        if not is_low(stats, self.settings.targets, self.room):
            return
        decision = decide(stats, self.settings.targets, self.room, now_s)
        try:
            if isinstance(decision, Increase) and self._may_change_enis():
                await self._increase(decision)
        except Ec2Error as error:
            raise IpamError(f"error while trying to increase datastore pool: {error}") from error
        if self.settings.node.custom_networking and not self._datastore.stats(now_s).total:
            raise IpamError("Failed to attach any ENIs for custom networking", "the node's events say why; is there an ENIConfig for it?")

    async def check(self) -> None:
        """Decide and act once. Errors: Ec2Error, ImdsError, IpamError, KernelError of the step that failed."""
        if self.terminating or not self.settings.node.provisioning:
            return
        now_s, targets = self._clock.now_s(), self.settings.targets
        before = stats = self._datastore.stats(now_s)
        decision = decide(before, targets, self.room, now_s)
        if isinstance(decision, Increase) and self._may_change_enis():
            await self._increase(decision)
        elif isinstance(decision, Decrease):
            await self._decrease(decision)
        if await self._drain() or decision is not None:
            stats = self._datastore.stats(self._clock.now_s())
        freed = decide_eni(before, stats, targets, self.room)
        if freed is not None and self._may_change_enis():
            await self._free(freed)

    def _may_change_enis(self) -> bool:
        """Not on a node that takes no new pods, unless told otherwise; release 1.6 does not ask."""
        node = self.settings.node
        return not self.terminating and (node.dialect == "1.6" or node.manage_enis_non_schedulable or not self._cordoned())

    def _cordoned(self) -> bool:
        try:
            return self._objects is not None and self._objects.unschedulable()
        except NotFoundError:
            return False  # who is not found is not cordoned

    async def _increase(self, decision: Increase) -> None:
        """Try the steps in order; the first that adds anything is enough."""
        for step in decision.steps:
            done = await self._grow(step) if isinstance(step, Grow) else await self._add_eni(step)
            if done:
                self._memory.acted_at_s = self._clock.now_s()
                return
            if self.room.cools_off(self._clock.now_s()):
                return

    async def _grow(self, step: Grow) -> bool:
        """Ask for all that is wanted, then for one; is that done?"""
        try:
            blocks = await self._assigned(step.eni_id, step.count)
        except Ec2Error as error:
            if error.code == LIMIT_EXCEEDED:  # EC2 knows of addresses that the datastore does not
                await self._believe_ec2(step.eni_id)
                return True
            if error.code not in INSUFFICIENT:
                raise
            self._tell("InsufficientAddresses", f"{step.eni_id}: {error}")
            if not self.settings.node.subnet_discovery:
                self._memory.insufficient_at_s = self._clock.now_s()
            return False
        added = self._add(step.eni_id, blocks)
        self._tell("PoolIncreased", f"{added} {self._blocks(added)} for {step.eni_id}: {step.reason}")
        return True

    async def _assigned(self, eni_id: str, count: int) -> tuple[str, ...]:
        try:
            return await self._cloud.assign(eni_id, count, prefixes=self.settings.prefixes)
        except Ec2Error as error:
            if error.code == LIMIT_EXCEEDED:
                raise
        return await self._cloud.assign(eni_id, 1, prefixes=self.settings.prefixes)

    async def _believe_ec2(self, eni_id: str) -> None:
        found = await self._cloud.addresses_of(eni_id)
        if found is not None:
            self._datastore.add(eni_id, *found)

    async def _add_eni(self, step: NewEni) -> bool:
        """Make an ENI and take it over; did it come? What fails becomes an event: a node without it is as ready as before."""
        try:
            await self._make_eni(step)
        except (*StepError, NotFoundError) as error:
            if isinstance(error, Ec2Error) and error.code in INSUFFICIENT:
                self._memory.insufficient_at_s = self._clock.now_s()
            self._tell("EniNotAdded", str(error))
            return False
        return True

    async def _make_eni(self, step: NewEni) -> None:
        subnet_id, groups = self._configured()
        groups = groups or await self._cloud.security_groups(self._facts.primary_mac)
        eni_id = await self._cloud.create_eni(self._facts, step.count, groups, prefixes=self.settings.prefixes, subnet_id=subnet_id)
        found = await self._cloud.appeared(eni_id, step.count)
        await self.enis.adopt(found)
        self._tell("EniAttached", f"{eni_id} as eth{found.device_index} with {step.count} {self._blocks(step.count)}: {step.reason}")

    def _configured(self) -> tuple[str | None, tuple[str, ...]]:
        """Subnet and groups of the node's ENIConfig. Errors: NotFoundError; IpamError when nobody can be asked for it."""
        node = self.settings.node
        if not node.custom_networking:
            return None, ()
        if self._objects is None:
            raise IpamError("custom networking needs the ENIConfig objects, and there is no API server")
        config = self._objects.eni_config(node.eni_config_annotation, node.eni_config_label)
        return config.subnet_id, config.security_groups

    async def _decrease(self, decision: Decrease) -> None:
        self._memory.decreased_at_s = self._memory.acted_at_s = self._clock.now_s()
        for eni_id, blocks in decision.blocks:
            await self._give_back(eni_id, [one for one in blocks if not self._datastore.in_use(one)], decision.reason)

    async def _drain(self) -> bool:
        """Give back what has been idle for 5 s on excluded ENIs; was there anything?"""
        drained = False
        for entry in self._datastore.enis():
            idle = self._datastore.idle_blocks(entry.id, self._clock.now_s(), EXCLUDED_IDLE_S) if entry.excluded else ()
            if idle:
                await self._give_back(entry.id, idle, "an excluded subnet")
                drained = True
        return drained

    async def _give_back(self, eni_id: str, blocks: Sequence[str], reason: str) -> None:
        """Out of the datastore first, so that no pod gets one; what EC2 keeps all the same is found again by `reconcile`."""
        if not blocks:
            return
        self._datastore.remove(eni_id, blocks)
        self._memory.returned_at_s.update(dict.fromkeys(blocks, self._clock.now_s()))
        try:
            await self._cloud.unassign(eni_id, blocks)
        except Ec2Error as error:
            self._tell("PoolStepFailed", f"{eni_id}: {error}")
        else:
            self._tell("PoolDecreased", f"{len(blocks)} {self._blocks(len(blocks))} of {eni_id} given back: {reason}")

    async def _free(self, decision: FreeEni) -> None:
        entry = self._datastore.eni(decision.eni_id)
        if entry is None:
            return
        self._datastore.drop_eni(decision.eni_id)
        try:
            await self._cloud.free_eni(decision.eni_id)
        except Ec2Error:
            self._setup.given_up(decision.eni_id, entry.device_index)
            raise
        self._setup.detached(decision.eni_id)
        self._tell("EniFreed", f"{decision.eni_id}, eth{entry.device_index}: {decision.reason}")

    async def reconcile(self) -> tuple[Assignment, ...]:
        """Believe EC2, once a minute; the assignments that were lost. Errors: Ec2Error, ImdsError, IpamError."""
        return await self._reconciler.reconcile()

    # ---- words ------------------------------------------------------------------------------------------------------------

    def _add(self, eni_id: str, blocks: Iterable[str]) -> int:
        listed = tuple(blocks)
        return self._datastore.add(eni_id, [one for one in listed if "/" not in one], [one for one in listed if "/" in one])

    def _blocks(self, count: int) -> str:
        one, many = ("prefix", "prefixes") if self.settings.prefixes else ("address", "addresses")
        return one if count == 1 else many

    def _tell(self, reason: str, message: str) -> None:
        self._events.record(self._object, reason, message)
