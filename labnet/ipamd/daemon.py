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
from labnet.ec2.latency import chance
from labnet.errors import ImdsError, IpamError, PoolExhausted
from labnet.ipamd.checkpoint import Checkpoint
from labnet.ipamd.cloud import NodeCloud
from labnet.ipamd.datastore import AttachmentKey, Datastore, EniEntry
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.groups import GroupRefresh
from labnet.ipamd.leaks import MAX_DELAY_S, LeakSweep
from labnet.ipamd.metadata import NodeFacts
from labnet.ipamd.nodesetup import NodeSetup
from labnet.ipamd.policy import Targets
from labnet.ipamd.pool import PoolSettings, StepError, WarmPool
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocation
from labnet.ipamd.settings import Settings
from labnet.model.cloud import InstanceType
from labnet.model.netstate import Backend
from labnet.model.values import frozen
from labnet.ports import Clock, Ec2Api, Events, Imds, NodeObjects, Slices

HALF_STEP_S = 2.5
REFRESH_INTERVAL_S = 30.0


@frozen
class NodeIdentity:
    """Which node of which lab; the seed decides what chance decides."""

    lab: str
    name: str
    netns: str
    instance_id: str
    seed: int = 0


class Ipamd:
    """ipamd of one node. `start` once, then `run` for as long as the node lives; `stop` ends every change of the cloud."""

    def __init__(
        self, identity: NodeIdentity, *, ec2: Ec2Api, imds: Imds, slices: Slices, clock: Clock, events: Events, settings: Settings,
        backend: Backend, checkpoint_path: Path | None, max_pods: int, host_links: Callable[[], frozenset[str]],
        objects: NodeObjects | None = None,
    ) -> None:
        self._identity, self._clock, self._events, self._settings = identity, clock, events, settings
        self._max_pods, self._objects = max_pods, objects
        self._cloud = NodeCloud(ec2, imds, clock, settings, self._denied)
        self._node_setup = NodeSetup(identity.netns, settings, backend, slices)
        self._setup = EniSetup(identity.netns, settings, slices, clock, host_links)
        self._checkpoint = Checkpoint(checkpoint_path)
        self._saving: asyncio.Future[None] | None = None
        self._datastore = Datastore(settings.cooldown_s)
        self._facts: NodeFacts | None = None
        self._pool: WarmPool | None = None
        self._groups: GroupRefresh | None = None
        self._sweeps = 0
        self._refreshed_at_s = float("-inf")

    # ---- life -------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the node to where pods may come. Errors: IpamError, Ec2Error, ImdsError, KernelError: the daemon cannot run."""
        facts = self._facts = await self._cloud.facts()
        kind = _limits(facts.instance_type)
        prefixes = self._prefix_mode(kind)
        self._datastore = Datastore(self._settings.cooldown_s, prefix_mode=prefixes)
        self._pool = self._make_pool(facts, kind, prefixes)
        node_ready = await self._set_up_node(facts, starting=True)
        for eni in await self._pool.enis.managed(await self._cloud.attached()):
            await self._pool.enis.tag(eni)
            try:
                await self._pool.enis.adopt_patiently(eni)
            except StepError as error:
                self._tell("EniNotSetUp", f"{eni.id}: {error}")
        self._restore()
        await self._pool.tidy()
        self._groups = GroupRefresh(self._cloud, self._datastore, self._tell)
        await self._refresh_groups(facts)
        self._refreshed_at_s = self._clock.now_s()
        await self._pool.fill()
        if node_ready is not None:
            await node_ready

    async def run(self) -> None:
        """Look at the pool every 5 s, at EC2 every minute, for leaked ENIs every hour, for ever."""
        await asyncio.gather(self._keep_pool(), *([self._sweep_leaks()] if self._settings.leaked_eni_cleanup else []))

    async def _keep_pool(self) -> None:
        while True:
            await self._clock.sleep(HALF_STEP_S)
            await self._step(self._check)
            await self._clock.sleep(HALF_STEP_S)
            await self._step(self._reconcile)

    async def _sweep_leaks(self) -> None:
        def pause_s() -> float:
            self._sweeps += 1
            who = self._identity
            return float(int(chance((who.seed, who.lab, who.name), "leak sweep", self._sweeps) * MAX_DELAY_S))

        await LeakSweep(self._cloud, self._clock, pause_s, lambda: not self._running.terminating, self._tell).run(self._known)

    async def stop(self) -> None:
        """No more changes of the cloud; the plugin is answered still."""
        if self._pool is not None:
            self._pool.terminating = True

    async def _step(self, step: Callable[[], Any]) -> None:
        try:
            await step()
        except StepError as error:
            self._tell("PoolStepFailed", str(error))

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
            warm_prefixes=settings.warm_prefixes, prefix_mode=prefixes, max_pods=self._max_pods, skip_first_eni=settings.custom_networking,
        )
        pool = PoolSettings(
            targets, max_enis=min(kind.enis, settings.max_enis or kind.enis), slots_per_eni=kind.ipv4_per_eni - 1,
            node=settings,
        )
        return WarmPool(
            self._identity.name, pool, facts=facts, cloud=self._cloud, datastore=self._datastore, setup=self._setup, clock=self._clock,
            events=self._events, objects=self._objects,
        )

    def _prefix_mode(self, kind: InstanceType) -> bool:
        if not self._settings.prefix_delegation:
            return False
        if kind.hypervisor != "nitro" and not kind.bare_metal:
            text = f"{kind.name} is no Nitro type: prefix delegation stays off"
            self._tell("PrefixDelegationOff", text)
            return False
        return True

    async def _set_up_node(self, facts: NodeFacts, *, starting: bool = False) -> Awaitable[None] | None:
        """The node's own slice, anew when the VPC has other blocks than before: under way, and what tells when it is there.

        Its packet filter is loaded by programs; meanwhile the daemon speaks with EC2. Errors: ImdsError; KernelError when awaited.
        """
        cidrs = await self._cloud.vpc_cidrs(facts.primary_mac)
        if not cidrs and not self._settings.external_snat:
            raise IpamError("the metadata service lists no block of the VPC, and without one nothing can be masked")
        return self._node_setup.set_up(facts.primary_ip, cidrs, starting=starting)

    def _restore(self) -> None:
        """Take over what an earlier daemon gave away; what EC2 does not have any more is dropped, and the file written anew."""
        read = self._checkpoint.read()
        kept = [one for one in read if self._datastore.restore(one)]
        if len(kept) != len(read):
            self._tell("CheckpointPruned", f"{len(read) - len(kept)} addresses of the checkpoint are gone")
            self._checkpoint.write(self._datastore.assignments())

    async def _refresh_groups(self, facts: NodeFacts) -> None:
        """Every managed ENI gets the first one's security groups: once at the start, then when they change."""
        if self._groups is not None and self._settings.provisioning and not self._settings.custom_networking:
            await self._groups.refresh(facts)

    # ---- small things -----------------------------------------------------------------------------------------------------

    def _tell(self, reason: str, message: str) -> None:
        self._events.record(f"node/{self._identity.name}", reason, message)

    def _denied(self, action: str) -> None:
        self._tell("MissingIAMPermissions", f"ec2:{action} is denied to the node's role")

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
