"""The daemon of one node: start-up, the pool loop, and the two calls of the CNI plugin.

Start-up in the VPC CNI's order: metadata, limits, the node's slice, the ENIs that are there, checkpoint, security groups, the
first filling. Neither call of the plugin ever sleeps: it is answered before time moves on. A failed step of the loop becomes
an event and is tried anew at the next look. Source: docs/sources.md#ipamd-start
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from labnet.ec2 import limits
from labnet.errors import Ec2Error, ImdsError, IpamError, KernelError, PoolExhausted
from labnet.ipamd.checkpoint import Checkpoint
from labnet.ipamd.cloud import AttachedEni, NodeCloud, NodeFacts
from labnet.ipamd.datastore import AttachmentKey, Datastore, EniEntry
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.policy import Targets
from labnet.ipamd.pool import PoolSettings, WarmPool, explain
from labnet.ipamd.routes import plan_node
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocation
from labnet.ipamd.settings import Settings
from labnet.model.cloud import InstanceType
from labnet.model.netstate import Backend
from labnet.model.values import frozen
from labnet.ports import Clock, Ec2Api, Events, Imds, Slices

HALF_STEP_S = 2.5
REFRESH_INTERVAL_S = 30.0
SETUP_TRIES = 6
StepError = (Ec2Error, ImdsError, IpamError, KernelError)


@frozen
class NodeIdentity:
    """Which node of which lab."""

    lab: str
    name: str
    netns: str
    instance_id: str


class Ipamd:
    """ipamd of one node. `start` once, then `run` for as long as the node lives; `stop` ends every change of the cloud."""

    def __init__(
        self, identity: NodeIdentity, *, ec2: Ec2Api, imds: Imds, slices: Slices, clock: Clock, events: Events, settings: Settings,
        backend: Backend, checkpoint_path: Path | None, max_pods: int, host_links: Callable[[], frozenset[str]],
    ) -> None:
        self._identity, self._slices, self._clock, self._events, self._settings = identity, slices, clock, events, settings
        self._backend, self._max_pods = backend, max_pods
        self._cloud = NodeCloud(ec2, imds, clock, settings)
        self._setup = EniSetup(identity.netns, settings, slices, clock, host_links)
        self._checkpoint = Checkpoint(checkpoint_path)
        self._saving: asyncio.Future[None] | None = None
        self._datastore = Datastore(settings.cooldown_s)
        self._facts: NodeFacts | None = None
        self._pool: WarmPool | None = None
        self._planned_cidrs: tuple[str, ...] = ()
        self._groups: dict[str, tuple[str, ...]] = {}
        self._refreshed_at_s = float("-inf")

    # ---- life -------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the node to where pods may come. Errors: IpamError, Ec2Error, ImdsError, KernelError: the daemon cannot run."""
        facts = self._facts = await self._cloud.facts()
        kind = _limits(facts.instance_type)
        prefixes = self._prefix_mode(kind)
        self._datastore = Datastore(self._settings.cooldown_s, prefix_mode=prefixes)
        self._pool = self._make_pool(facts, kind, prefixes)
        node_ready = await self._set_up_node(facts)
        for eni in await self._managed():
            await self._cloud.tag(eni.id, eni.tags)
            try:
                await self._pool.adopt(eni, tries=SETUP_TRIES)
            except (IpamError, KernelError) as error:
                self._events.record(self._object, "EniNotSetUp", f"{eni.id}: {error}")
        self._restore()
        await self._free_other_kind()
        await self._refresh_groups(facts)
        self._refreshed_at_s = self._clock.now_s()
        await self._pool.fill()
        if node_ready is not None:
            await node_ready

    async def run(self) -> None:
        """Look at the pool every 5 s, at EC2 every minute, for ever."""
        while True:
            await self._clock.sleep(HALF_STEP_S)
            await self._step(self._check)
            await self._clock.sleep(HALF_STEP_S)
            await self._step(self._reconcile)

    async def stop(self) -> None:
        """No more changes of the cloud; the plugin is answered still."""
        if self._pool is not None:
            self._pool.terminating = True

    async def _step(self, step: Callable[[], Any]) -> None:
        try:
            await step()
        except StepError as error:
            self._events.record(self._object, *explain(error))

    async def _check(self) -> None:
        await self._running.check()

    async def _reconcile(self) -> None:
        pool, facts = self._running, self._facts
        if pool.terminating or facts is None:
            return
        if await pool.reconcile():
            self._checkpoint.write(self._datastore.assignments())
        if self._clock.now_s() - self._refreshed_at_s >= REFRESH_INTERVAL_S:
            self._refreshed_at_s = self._clock.now_s()
            node_ready = await self._set_up_node(facts)
            if node_ready is not None:
                await node_ready
            await self._refresh_groups(facts)

    # ---- the plugin's calls -----------------------------------------------------------------------------------------------

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container, the same one when asked again; `success` False when there is none.

        Errors: IpamError, when the checkpoint cannot be written (the address is free again) or the metadata cannot be read.
        """
        key = _key(request)
        if not (request.container_id and request.if_name and request.network_name):
            return AddNetworkReply(success=False)
        held = self._datastore.find(key)
        try:
            assignment = self._datastore.assign(
                key, self._clock.now_s(), pod_namespace=request.pod_namespace, pod_name=request.pod_name,
            )
        except PoolExhausted:
            return AddNetworkReply(success=False)
        if held is None:
            try:
                await self._saved()
            except IpamError:
                self._datastore.forget(key)
                raise
        try:
            cidrs = await self._cloud.vpc_cidrs(self._known.primary_mac)
        except ImdsError as error:
            raise IpamError(f"the VPC's blocks cannot be read: {error.message}") from error
        entry = self._entry(assignment.eni_id)
        excluded = () if self._settings.external_snat else self._settings.exclude_snat_cidrs
        return AddNetworkReply(
            success=True, allocations=(IpAllocation(assignment.address, entry.device_index, entry.table),),
            use_external_snat=self._settings.external_snat, vpc_v4_cidrs=(*cidrs, *excluded),
        )

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Take an address back; it cools down. Errors: UnknownAttachment; IpamError when the checkpoint cannot be written."""
        assignment = self._datastore.release(_key(request), self._clock.now_s())
        try:
            await self._saved()
        except IpamError:
            self._datastore.put_back(assignment)
            raise
        entry = self._entry(assignment.eni_id)
        return DelNetworkReply(success=True, allocations=(IpAllocation(assignment.address, entry.device_index, entry.table),))

    def attachments(self, network: str) -> tuple[tuple[str, str], ...]:
        """(container id, interface name) of everybody in a network who has an address."""
        keys = (one.key for one in self._datastore.assignments())
        return tuple((key.container_id, key.if_name) for key in keys if key.network == network)

    async def _saved(self) -> None:
        """Until the checkpoint holds what the datastore holds now. Calls of one turn of the loop share one file. Errors: IpamError."""
        if self._saving is None:
            loop = asyncio.get_running_loop()
            self._saving = loop.create_future()
            loop.call_soon(self._save)
        await asyncio.shield(self._saving)  # who is cancelled leaves the file to the others

    def _save(self) -> None:
        saving, self._saving = self._saving, None
        assert saving is not None, "somebody waits"
        try:
            self._checkpoint.write(self._datastore.assignments())
        except IpamError as error:
            saving.set_exception(error)
            saving.exception()  # told here already, should everybody who waits be cancelled
        else:
            saving.set_result(None)

    # ---- what others may see ----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The pool by ENI: addresses in use, warm (free and cooled down), cooling, and the most there can be."""
        stats = self._datastore.stats(self._clock.now_s())
        most = self._pool.settings.slots_per_eni * self._pool.settings.targets.block_size if self._pool is not None else 0
        enis = [
            {
                "id": entry.id, "device": entry.device_index, "table": entry.table, "primary": entry.primary,
                "addresses": sorted(entry.addresses), "prefixes": sorted(entry.prefixes), "used": one.assigned,
                "warm": max(one.total - one.assigned - one.cooling, 0), "cooling": one.cooling, "max": most,
            }
            for entry, one in zip(self._datastore.enis(), stats.enis, strict=True)
        ]
        return {"total": stats.total, "assigned": stats.assigned, "available": stats.available, "cooling": stats.cooling, "enis": enis}

    # ---- start-up ---------------------------------------------------------------------------------------------------------

    def _make_pool(self, facts: NodeFacts, kind: InstanceType, prefixes: bool) -> WarmPool:
        settings = self._settings
        targets = Targets(
            warm_enis=settings.warm_enis, warm_ips=settings.warm_ips, minimum_ips=settings.minimum_ips,
            warm_prefixes=settings.warm_prefixes, prefix_mode=prefixes, max_pods=self._max_pods,
        )
        pool = PoolSettings(
            targets, max_enis=min(kind.enis, settings.max_enis or kind.enis), slots_per_eni=kind.ipv4_per_eni - 1,
            subnet_discovery=settings.subnet_discovery,
        )
        return WarmPool(
            self._identity.name, pool, facts=facts, cloud=self._cloud, datastore=self._datastore, setup=self._setup, clock=self._clock,
            events=self._events,
        )

    def _prefix_mode(self, kind: InstanceType) -> bool:
        if not self._settings.prefix_delegation:
            return False
        if kind.hypervisor != "nitro" and not kind.bare_metal:
            text = f"{kind.name} is no Nitro type: prefix delegation stays off"
            self._events.record(self._object, "PrefixDelegationOff", text)
            return False
        return True

    async def _set_up_node(self, facts: NodeFacts) -> Awaitable[None] | None:
        """The node's own slice, anew when the VPC has other blocks than before: under way, and what tells when it is there.

        Its packet filter is loaded by programs; meanwhile the daemon speaks with EC2. Errors: ImdsError; KernelError when awaited.
        """
        cidrs = await self._cloud.vpc_cidrs(facts.primary_mac)
        if cidrs == self._planned_cidrs and self._slices.claimed(self._identity.netns, "ipamd") is not None:
            return None
        plan = plan_node(self._settings, self._backend, facts.primary_ip, cidrs)
        self._planned_cidrs = cidrs
        return self._slices.set_soon([(self._identity.netns, plan)])

    async def _managed(self) -> list[AttachedEni]:
        listed = await self._cloud.tagged(await self._cloud.attached())
        self._running.unmanaged = frozenset(eni.id for eni in listed if not eni.managed)
        return [eni for eni in listed if eni.managed]

    def _restore(self) -> None:
        """Take over what an earlier daemon gave away; what EC2 does not have any more is dropped, and the file written anew."""
        read = self._checkpoint.read()
        kept = [one for one in read if self._datastore.restore(one)]
        if len(kept) != len(read):
            self._events.record(self._object, "CheckpointPruned", f"{len(read) - len(kept)} addresses of the checkpoint are gone")
            self._checkpoint.write(self._datastore.assignments())

    async def _free_other_kind(self) -> None:
        """After prefix delegation was turned on or off: free what pods can no longer get and nobody has."""
        for entry in self._datastore.enis():
            others = entry.addresses if self._datastore.prefix_mode else entry.prefixes
            idle = sorted(block for block in others if not self._datastore.in_use(block))
            if idle:
                self._datastore.remove(entry.id, idle)
                await self._cloud.unassign(entry.id, idle)

    async def _refresh_groups(self, facts: NodeFacts) -> None:
        """Every managed ENI gets the first one's security groups: once at the start, then when they change."""
        groups = await self._cloud.security_groups(facts.primary_mac)
        for entry in self._datastore.enis():
            if self._groups.get(entry.id) != groups:
                await self._cloud.set_security_groups(entry.id, groups)
                self._groups[entry.id] = groups

    # ---- small things -----------------------------------------------------------------------------------------------------

    @property
    def _object(self) -> str:
        return f"node/{self._identity.name}"

    @property
    def _running(self) -> WarmPool:
        if self._pool is None:
            raise IpamError("ipamd has not started")
        return self._pool

    @property
    def _known(self) -> NodeFacts:
        if self._facts is None:
            raise IpamError("ipamd has not started")
        return self._facts

    def _entry(self, eni_id: str) -> EniEntry:
        entry = self._datastore.eni(eni_id)
        if entry is None:
            raise IpamError(f"the datastore has no {eni_id}")
        return entry


def _limits(instance_type: str) -> InstanceType:
    found: Mapping[str, InstanceType] = limits.load()
    if instance_type not in found:
        raise IpamError(f"no limits are known for instance type {instance_type}")
    return found[instance_type]


def _key(request: AddNetworkRequest | DelNetworkRequest) -> AttachmentKey:
    return AttachmentKey(request.network_name, request.container_id, request.if_name)
