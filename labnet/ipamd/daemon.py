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
from labnet.ec2.latency import chance
from labnet.errors import IpamError, KernelError
from labnet.ipamd.calls import PluginCalls
from labnet.ipamd.checkpoint import Checkpoint
from labnet.ipamd.cloud import NodeCloud
from labnet.ipamd.datastore import Datastore
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.groups import GroupRefresh
from labnet.ipamd.leaks import MAX_DELAY_S, LeakSweep
from labnet.ipamd.metadata import NodeFacts
from labnet.ipamd.nodesetup import NodeSetup
from labnet.ipamd.policy import Targets, over, short
from labnet.ipamd.pool import PoolSettings, StepError, WarmPool
from labnet.ipamd.restore import PodRules, restore
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest
from labnet.ipamd.settings import Settings
from labnet.ipamd.telling import ToldEc2, ToldEvents
from labnet.model.cloud import InstanceType
from labnet.model.netstate import Backend
from labnet.model.values import frozen
from labnet.ports import Clock, Ec2Api, Events, Imds, NodeLog, NodeObjects, NoLog, PodAnnotations, Slices

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
    """ipamd of one node. `start` once, then `run` for as long as the node lives; `stop` ends every change of the cloud.

    `host_links` says which links the node has; without `annotations` no pod is annotated, whatever the settings say.
    """

    def __init__(
        self, identity: NodeIdentity, *, ec2: Ec2Api, imds: Imds, slices: Slices, clock: Clock, events: Events, settings: Settings,
        backend: Backend, checkpoint_path: Path | None, max_pods: int, host_links: Callable[[], frozenset[str]],
        objects: NodeObjects | None = None, annotations: PodAnnotations | None = None, log: NodeLog | None = None,
    ) -> None:
        self._identity, self._slices, self._clock, self._settings = identity, slices, clock, settings
        self._max_pods, self._host_links = max_pods, host_links
        self._objects, self._annotations = objects, annotations
        self._log = log or NoLog()
        self._events = ToldEvents(events, self._log)
        self._cloud = NodeCloud(ToldEc2(ec2, self._log), imds, clock, settings, self._denied)
        self._node_setup = NodeSetup(identity.netns, settings, backend, slices)
        self._setup = EniSetup(identity.netns, settings, slices, clock, host_links)
        self._checkpoint = Checkpoint(checkpoint_path)
        self._datastore = Datastore(settings.cooldown_s)
        self._facts: NodeFacts | None = None
        self._pool: WarmPool | None = None
        self._calls: PluginCalls | None = None
        self._groups: GroupRefresh | None = None
        self._sweeps = 0
        self._told: tuple[int, int, int] | None = None
        self._steps = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.filled = asyncio.Event()
        """Set when the first filling has been asked for: nothing of the start is left to do with EC2."""

    # ---- life -------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the node to where pods may come. Errors: IpamError, Ec2Error, ImdsError, KernelError: the daemon cannot run."""
        self._log.info(f"Starting L-IPAMD on {self._identity.name}, instance {self._identity.instance_id}")
        facts = self._facts = await self._cloud.facts()
        kind = _limits(facts.instance_type)
        prefixes = self._prefix_mode(kind)
        self._datastore = Datastore(self._settings.cooldown_s, prefix_mode=prefixes)
        self._pool = self._make_pool(facts, kind, prefixes)
        node_ready = await self._set_up_node(facts, starting=True)
        enis = await self._pool.enis.managed(await self._cloud.attached())
        self._cloud.copy_timeouts(enis)
        for eni in enis:
            await self._pool.enis.tag(eni)
            try:
                await self._pool.enis.adopt_patiently(eni)
            except StepError as error:
                self._tell("EniNotSetUp", f"{eni.id}: {error}")
        await self._restore(facts, node_ready)
        self._calls = self._make_calls(facts)
        self._groups = GroupRefresh(self._cloud, self._datastore, self._tell)
        await self._watch_groups()
        await self._pool.fill()
        self.filled.set()
        if node_ready is not None:
            await node_ready
        self._tell_figures(always=True)

    async def run(self) -> None:
        """Keep the pool, watch what others decide for the node, and sweep up leaked ENIs every hour, for ever."""
        loop = asyncio.get_running_loop()
        parts = [self._keep_pool(), self._watch(), *([self._sweep_leaks()] if self._settings.leaked_eni_cleanup else [])]
        loops = [loop.create_task(one) for one in parts]
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
            await self._step(self._watch_groups)

    async def _sweep_leaks(self) -> None:
        def pause_s() -> float:
            self._sweeps += 1
            who = self._identity
            return float(int(chance((who.seed, who.name), "leak sweep", self._sweeps) * MAX_DELAY_S))

        await LeakSweep(self._cloud, self._clock, pause_s, lambda: not self._running.terminating, self._tell).run(self._known)

    async def _step(self, step: Callable[[], Awaitable[None]]) -> None:
        if self._running.terminating:
            return
        self._steps += 1
        self._idle.clear()
        try:
            await step()
        except StepError as error:
            self._tell("PoolStepFailed", str(error))
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
        """With custom networking the other ENIs have groups of their own."""
        if self._groups is not None and self._settings.provisioning and not self._settings.custom_networking:
            await self._groups.refresh(self._known)

    # ---- the plugin's calls -----------------------------------------------------------------------------------------------

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container (see `PluginCalls.add`)."""
        return await self._serving.add(request)

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Take an address back (see `PluginCalls.delete`)."""
        return await self._serving.delete(request)

    def attachments(self, network: str) -> tuple[tuple[str, str], ...]:
        """(container id, interface name) of everybody in a network who has an address."""
        keys = (one.key for one in self._datastore.assignments())
        return tuple((key.container_id, key.if_name) for key in keys if key.network == network)

    # ---- what others may see ----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The pool by ENI: addresses in use, warm (free and cooled down), cooling, and the most there can be. Pods that have an
        address of the kind that is given no more count on their ENI, not in `assigned`, which is the policy's.
        """
        now_s = self._clock.now_s()
        stats = self._datastore.stats(now_s)
        enis = [
            {
                "id": entry.id, "device": entry.device_index, "table": entry.table, "primary": entry.primary,
                "addresses": sorted(entry.addresses), "prefixes": sorted(entry.prefixes), "used": use.used, "warm": use.warm,
                "cooling": use.cooling, "max": self._pool.settings.most(use, primary=entry.primary) if self._pool is not None else 0,
            }
            for entry in self._datastore.enis() for use in (self._datastore.use(entry.id, now_s),)
        ]
        return {"total": stats.total, "assigned": stats.assigned, "available": stats.available, "cooling": stats.cooling, "enis": enis}

    def _tell_figures(self, *, always: bool = False) -> None:
        """The pool's figures, when they are others than last time."""
        stats, targets = self._datastore.stats(self._clock.now_s()), self._running.settings.targets
        figures = (stats.total, stats.assigned, stats.cooling)
        if figures == self._told and not always:
            return
        self._told = figures
        lacking, beyond = short(stats, targets), over(stats, targets)
        self._log.debug(
            f"IP pool: total {stats.total}, assigned {stats.assigned}, available {stats.available}, cooling {stats.cooling}, "
            f"short {lacking}, over {beyond}, on {len(stats.enis)} ENIs"
        )

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
            self._tell("PrefixDelegationOff", text)
            return False
        return True

    async def _set_up_node(self, facts: NodeFacts, *, starting: bool = False) -> Awaitable[None] | None:
        """The node's own slice, anew when the VPC has other blocks than before: under way, and what tells when it is there.

        Its packet filter is loaded by programs; meanwhile the daemon speaks with EC2. Errors: IpamError, ImdsError; KernelError when awaited.
        """
        cidrs = await self._cloud.vpc_cidrs(facts.primary_mac)
        if not cidrs and not self._settings.external_snat:
            raise IpamError("the metadata service lists no block of the VPC, and without one nothing can be masked")
        return self._node_setup.set_up(facts.primary_ip, cidrs, starting=starting)

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
            self._tell("CheckpointPruned", f"{restored.gone} addresses of the checkpoint are gone")
        await self._running.tidy()
        blocks = await self._cloud.vpc_cidrs(facts.primary_mac)
        mended = sum(rules.normalise(one, self._rule_blocks(blocks)) for one in restored.kept)
        if read:
            self._log.info(f"restored {len(restored.kept)} of {len(read)} assignments; rules of {mended} pods were changed")

    def _rule_blocks(self, vpc_cidrs: tuple[str, ...]) -> tuple[str, ...] | None:
        """For which destinations a pod of a secondary ENI has a rule: None = one for all."""
        settings = self._settings
        return None if settings.dialect != "1.6" or settings.external_snat else (*vpc_cidrs, *settings.exclude_snat_cidrs)

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
