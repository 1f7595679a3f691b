"""The daemon of one node: start-up, the pool loop, and the two calls of the CNI plugin.

Start-up in the VPC CNI's order: metadata, limits, the node's slice, the ENIs that are there, checkpoint, the pods' rules, security
groups, the first filling. A failed step of a loop becomes an event and is tried anew at the next look. A daemon ends by `stop`, after
which it changes nothing of the cloud and is answered still, then `idle`, then the cancellation of `run`.
Source: docs/sources.md#ipamd-start
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from labnet.ec2 import limits
from labnet.errors import Ec2Error, ImdsError, IpamError, KernelError
from labnet.ipamd.calls import PluginCalls
from labnet.ipamd.checkpoint import Checkpoint
from labnet.ipamd.cloud import AttachedEni, NodeCloud, NodeFacts
from labnet.ipamd.datastore import Datastore
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.policy import Targets
from labnet.ipamd.pool import PoolSettings, WarmPool, explain
from labnet.ipamd.restore import PodRules, restore
from labnet.ipamd.routes import plan_node
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest
from labnet.ipamd.settings import Settings
from labnet.ipamd.telling import ToldEc2, ToldEvents
from labnet.model.cloud import InstanceType
from labnet.model.netstate import Backend
from labnet.model.values import frozen
from labnet.ports import Clock, Ec2Api, Events, Imds, NodeLog, NoLog, PodAnnotations, Slices

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
    """ipamd of one node. `start` once, then `run` for as long as the node lives; `stop` ends every change of the cloud.

    `host_links` says which links the node has; without `annotations` no pod is annotated, whatever the settings say.
    """

    def __init__(
        self, identity: NodeIdentity, *, ec2: Ec2Api, imds: Imds, slices: Slices, clock: Clock, events: Events, settings: Settings,
        backend: Backend, checkpoint_path: Path | None, max_pods: int, host_links: Callable[[], frozenset[str]],
        annotations: PodAnnotations | None = None, log: NodeLog | None = None,
    ) -> None:
        self._identity, self._slices, self._clock, self._settings = identity, slices, clock, settings
        self._backend, self._max_pods, self._host_links, self._annotations = backend, max_pods, host_links, annotations
        self._log = log or NoLog()
        self._events = ToldEvents(events, self._log)
        self._cloud = NodeCloud(ToldEc2(ec2, self._log), imds, clock, settings)
        self._setup = EniSetup(identity.netns, settings, slices, clock, host_links)
        self._checkpoint = Checkpoint(checkpoint_path)
        self._datastore = Datastore(settings.cooldown_s)
        self._facts: NodeFacts | None = None
        self._pool: WarmPool | None = None
        self._calls: PluginCalls | None = None
        self._planned_cidrs: tuple[str, ...] = ()
        self._groups: dict[str, tuple[str, ...]] = {}
        self._told: tuple[int, int, int] | None = None
        self._steps = 0
        self._idle = asyncio.Event()
        self._idle.set()

    # ---- life -------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the node to where pods may come. Errors: IpamError, Ec2Error, ImdsError, KernelError: the daemon cannot run."""
        self._log.info(f"Starting L-IPAMD on {self._identity.name}, instance {self._identity.instance_id}")
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
        await self._restore(facts, node_ready)
        self._calls = self._make_calls(facts)
        if not self._settings.custom_networking:
            await self._refresh_groups(facts)
        await self._pool.fill()
        if node_ready is not None:
            await node_ready
        self._tell_figures(always=True)

    async def run(self) -> None:
        """Keep the pool, and watch what the node was told by others, for ever."""
        loop = asyncio.get_running_loop()
        loops = [loop.create_task(one) for one in (self._keep_pool(), self._watch())]
        try:
            await asyncio.gather(*loops)
        finally:
            for task in loops:
                task.cancel()

    async def stop(self) -> None:
        """No more changes of the cloud; the plugin is answered still."""
        if self._pool is not None:
            self._pool.terminating = True

    async def idle(self) -> None:
        """Until no step is under way."""
        await self._idle.wait()

    async def _keep_pool(self) -> None:
        """Look at the pool every 5 s; at EC2 when nothing was done for a minute."""
        while True:
            await self._clock.sleep(HALF_STEP_S)
            await self._step(self._check)
            await self._clock.sleep(HALF_STEP_S)
            await self._step(self._reconcile)

    async def _watch(self) -> None:
        """The VPC's blocks and the first ENI's groups, each every 30 s, however long the pool's steps take."""
        while True:
            await self._clock.sleep(REFRESH_INTERVAL_S)
            await self._step(self._watch_cidrs)
            if not self._settings.custom_networking:
                await self._step(self._watch_groups)

    async def _step(self, step: Callable[[], Awaitable[None]]) -> None:
        if self._running.terminating:
            return
        self._steps += 1
        self._idle.clear()
        try:
            await step()
        except StepError as error:
            self._events.record(self._object, *explain(error))
        finally:
            self._steps -= 1
            if not self._steps:
                self._idle.set()

    async def _check(self) -> None:
        self._tell_figures()
        await self._running.check()

    async def _reconcile(self) -> None:
        if await self._running.reconcile():
            self._checkpoint.write(self._datastore.assignments())

    async def _watch_cidrs(self) -> None:
        node_ready = await self._set_up_node(self._known)
        if node_ready is not None:
            await node_ready

    async def _watch_groups(self) -> None:
        await self._refresh_groups(self._known)

    # ---- the plugin's calls -----------------------------------------------------------------------------------------------

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container (see `PluginCalls.add`)."""
        return await self._serving.add(request)

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Take an address back (see `PluginCalls.delete`)."""
        return await self._serving.delete(request)

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

    def _tell_figures(self, *, always: bool = False) -> None:
        """The pool's figures, when they are others than last time."""
        stats = self._datastore.stats(self._clock.now_s())
        figures = (stats.total, stats.assigned, stats.cooling)
        if figures == self._told and not always:
            return
        self._told = figures
        self._log.debug(
            f"IP pool: total {stats.total}, assigned {stats.assigned}, available {stats.available}, cooling {stats.cooling}, "
            f"on {len(stats.enis)} ENIs"
        )

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

    def _make_calls(self, facts: NodeFacts) -> PluginCalls:
        return PluginCalls(
            self._settings, facts.primary_mac, datastore=self._datastore, checkpoint=self._checkpoint, cloud=self._cloud, clock=self._clock,
            annotations=self._annotations, log=self._log,
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

    async def _restore(self, facts: NodeFacts, node_ready: Awaitable[None] | None) -> None:
        """Take over what an earlier daemon gave away, write the file anew, free what the mode cannot give, and mend the pods' rules."""
        read = self._checkpoint.read()
        if read and node_ready is not None:
            with suppress(KernelError):  # told where it is awaited for itself
                await node_ready  # and with it the veths of pods that the plugin was about to make
        restored = restore(read, self._host_links() if read else (), self._datastore)
        rules = PodRules(self._identity.netns, self._slices)
        for one in restored.without_veth:
            rules.remove(one)
            self._log.info(f"no veth of pod {one.pod_namespace}/{one.pod_name}: its address {one.address} is free")
        for one in restored.unknown:
            self._log.info(f"no ENI has {one.address} of pod {one.pod_namespace}/{one.pod_name}: dropped")
        if read:
            self._checkpoint.write(self._datastore.assignments())
        if restored.gone:
            self._events.record(self._object, "CheckpointPruned", f"{restored.gone} addresses of the checkpoint are gone")
        await self._free_other_kind()
        blocks = await self._cloud.vpc_cidrs(facts.primary_mac)
        mended = sum(rules.normalise(one, self._rule_blocks(blocks)) for one in restored.kept)
        if read:
            self._log.info(f"restored {len(restored.kept)} of {len(read)} assignments; rules of {mended} pods were changed")

    def _rule_blocks(self, vpc_cidrs: tuple[str, ...]) -> tuple[str, ...] | None:
        """For which destinations a pod of a secondary ENI has a rule: None = one for all."""
        settings = self._settings
        return None if settings.dialect != "1.6" or settings.external_snat else (*vpc_cidrs, *settings.exclude_snat_cidrs)

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

    @property
    def _serving(self) -> PluginCalls:
        if self._calls is None:
            raise IpamError("ipamd has not started")
        return self._calls


def _limits(instance_type: str) -> InstanceType:
    found: Mapping[str, InstanceType] = limits.load()
    if instance_type not in found:
        raise IpamError(f"no limits are known for instance type {instance_type}")
    return found[instance_type]
