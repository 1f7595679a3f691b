"""A lab put together: the one place that chooses who stands behind each port, and brings a scenario up through them.

The same `World` runs a lab on the real kernel, and a plan on the in-memory one; only what is handed in differs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labnet.ec2 import limits, zone_faults
from labnet.ec2.service import Ec2Service
from labnet.errors import UsageError
from labnet.fabric.places import site_netns_of
from labnet.fabric.reconcile import Fabric
from labnet.kernel.slices import SliceBook
from labnet.kube.scheduler import Scheduler
from labnet.kube.store import KubeStore
from labnet.lab import cloud_setup, kube_objects
from labnet.lab.cloud_setup import CloudIds
from labnet.lab.ec2_endpoint import Ec2Endpoint, open_endpoint
from labnet.lab.events import LabEvents
from labnet.lab.fleet import Fleet
from labnet.lab.host import Host, NoHost
from labnet.lab.node import NodeParts
from labnet.lab.resolvers import Resolvers
from labnet.lab.rollout import Rollout, differences
from labnet.lab.sites_setup import sites_of
from labnet.lab.status import Facts, status
from labnet.lab.vpc_services import INTERNET_PORTS, VpcServices
from labnet.lab.waiting import Waiter
from labnet.lab.workload import Workloads
from labnet.lab.zone_latency import ZoneLatency
from labnet.model import names
from labnet.model.cloud import DEFAULT_REGION, CloudState
from labnet.model.cluster import PodView, pod_document
from labnet.model.scenario import NodeSpec, PodSpec, Scenario
from labnet.ports import Kernel, Store
from labnet.sim.clock import LabClock
from labnet.sim.pace import Pace

Tell = Callable[..., None]


class World:
    """One lab. `host` None = nothing beside the kernel door (a plan)."""

    def __init__(
        self, scenario: Scenario, lab: str, kernel: Kernel, clock: LabClock, store: Store, *, log: Callable[[str], None],
        host: Host | None = None, serves: bool = False,
    ) -> None:
        self.scenario, self.lab, self.kernel, self.clock, self.store, self.log = scenario, lab, kernel, clock, store, log
        self.host: Host = host or NoHost()
        self.slices = SliceBook(kernel, busy=clock.busy)
        self.events = LabEvents(lab, store, clock)
        self.on_namespace: Callable[[str], None] = lambda name: None
        sysctls = {node.name: dict(node.sysctls) for node in scenario.nodes}
        self.fabric = Fabric(lab, kernel, self.slices, self._namespace, sysctls, self._retire)
        state = CloudState(lab=lab, seed=scenario.seed, region=_region(scenario), sites=sites_of(scenario, lab))
        self.ec2 = Ec2Service(state, limits.load(), clock, store, self.fabric, self._name_taken, self.fabric)
        self.ec2.behaviour.configure(scenario.ec2)
        self.kube = KubeStore(store, clock)
        self.workloads = Workloads(lab, kernel, self.host.start_program, log) if serves else None
        parts = NodeParts(
            lab=lab, seed=scenario.seed, kernel=kernel, slices=self.slices, clock=clock, events=self.events, ec2=self.ec2, kube=self.kube,
            host=self.host, workloads=self.workloads, turn=Pace(), log=log,
        )
        self.fleet = Fleet(parts, scenario.cni, self._guard, always_exec=scenario.kubelet_exec == "always")
        self.env: Mapping[str, str] = scenario.cni.env
        """The environment of the daemons: the scenario's, until `set_env`."""
        self.on_env: Callable[[Mapping[str, str | None]], None] = lambda changed: None
        """Hears how it differs from the scenario's, whenever it changed."""
        self.rollout = Rollout(self.fleet)
        self.latency = ZoneLatency(lab, kernel, self.host.start_delays, self.events, log)
        self.ec2.observers += [self.fleet.follow, self.latency.follow]
        self.state = "starting"
        self._ids = CloudIds()
        self._pod_names = _pod_names(scenario)
        self._services: VpcServices | None = None
        self.endpoint: Ec2Endpoint | None = None
        self.resolvers = Resolvers(self.ec2, kernel)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._api = self.ec2.client("labnet")

    # ---- up ---------------------------------------------------------------------------------------------------------------

    async def bring_up(self, timeout_s: float, tell: Tell) -> list[dict[str, str]]:
        """Make everything the scenario names; returns the pods that are not Running in time, each with its reason."""
        tell("vpc", f"creating {len(self.scenario.vpcs)} VPC")
        self.fabric.begin(self.ec2.state)
        self._ids = await cloud_setup.make_vpcs(self._api, self.scenario, self.ec2.state.sites)
        self._set_zone_links(self.scenario)
        kube_objects.make_true(self.kube, self.scenario, self._ids, self.lab)
        await self._serve_around()
        self._start(Scheduler(self.kube, self.events).run(), "scheduler")
        await self._add_nodes(tell)
        for pod in self.scenario.pods:
            self.add_pod(pod)
        waiting = await self.settle(timeout_s, tell)
        self.kernel.finish_preparing()
        self.state = "running"
        return waiting

    async def settle(self, timeout_s: float, tell: Tell) -> list[dict[str, str]]:
        """Wait until every pod is Running, at most so long by the lab's clock; and for the pools while that costs no real time."""
        waiter = Waiter(self.clock, self.kube, lambda: self.ec2.state, tell)
        return await waiter.wait(timeout_s, pending_allowed=self.scenario.pending_allowed, pools=self.clock.virtual)

    async def add_node(self, node: NodeSpec) -> None:
        """Run an instance for a node of the scenario, and wait for its daemons. Errors: LabnetError."""
        await self._begin_node(node)
        await self.fleet.started(node.name)

    def _set_zone_links(self, scenario: Scenario) -> None:
        """What a scenario sets between zones; what was added otherwise stays. Errors: KernelError."""
        self.ec2.change(lambda state: zone_faults.configure(state, scenario.zone_links))
        if self.latency.failure is not None:
            raise self.latency.failure

    async def _add_nodes(self, tell: Tell) -> None:
        """All nodes, side by side as an autoscaling group's: what they ask of EC2 at the same time is carried out together."""
        loop = asyncio.get_running_loop()
        begun = [loop.create_task(self._begin_node(node)) for node in self.scenario.nodes]
        try:
            await asyncio.gather(*begun)
        finally:
            for task in begun:
                task.cancel()
        for number, node in enumerate(self.scenario.nodes, 1):
            await self.fleet.started(node.name)
            tell("nodes", f"node {node.name}", number, len(self.scenario.nodes))

    async def _begin_node(self, node: NodeSpec) -> None:
        self.fleet.expect(node)
        await cloud_setup.run_node(self._api, node, self._ids)
        await self.fleet.addressed(node.name)

    def _name_taken(self, name: str) -> bool:
        """Would a node of that name meet a pod, or a namespace of somebody else? The namespaces of all stand in one folder."""
        if name in self._pod_names or self.kube.find("Pod", "default", name) is not None:
            return True
        return not self.host.has_room_for(name, names.node_netns(self.lab, name))

    async def _serve_around(self) -> None:
        """What answers in the Internet, and metadata service and EC2 API in each VPC."""
        if self.workloads is None:
            return
        for site in self.ec2.state.sites:
            self.workloads.serve(site, site_netns_of(self.ec2.state, site), INTERNET_PORTS)
        self.endpoint = open_endpoint(self.ec2, self.host.credentials(), self.log)
        self._services = VpcServices(self.ec2, self.kernel, self.clock, self.endpoint, self.resolvers, self.workloads, self._start)
        self.ec2.observers.append(self._services.follow)
        await self._services.begin()

    def _retire(self, gone: Iterable[str]) -> tuple[str, ...]:
        """Of namespaces that EC2 needs no more, those in which nobody has anything left to end."""
        left = self.fleet.retire(gone)
        return self._services.retire(left) if self._services is not None else left

    def add_pod(self, pod: PodSpec) -> None:
        """Write a pod into the store; scheduler and kubelet do the rest."""
        uid = names.aws_id("pod", self.scenario.seed, self.lab, f"{pod.namespace}/{pod.name}")
        self.kube.create(
            pod_document(
                pod.name, uid=uid, namespace=pod.namespace, node=pod.node, host_network=pod.host_network, labels=pod.labels,
                annotations=pod.annotations, containers=pod.containers,
            )
        )

    # ---- change -----------------------------------------------------------------------------------------------------------

    async def reconcile(self, scenario: Scenario, timeout_s: float, tell: Tell) -> list[dict[str, str]]:
        """Make a running lab what a scenario says: pods and objects come and go; what cannot change is refused by name; then repair."""
        refuse_other_changes(self.scenario, scenario, self.env)
        self._refuse_taken_names(scenario)
        self.ec2.behaviour.configure(scenario.ec2)
        self._set_zone_links(scenario)
        wanted = {(pod.namespace, pod.name): pod for pod in scenario.pods}
        present = {(pod.namespace, pod.name): pod for pod in self.scenario.pods}
        self.scenario, self._pod_names = scenario, _pod_names(scenario)
        changed = kube_objects.make_true(self.kube, scenario, self._ids, self.lab)
        leaving = {key for key, spec in present.items() if wanted.get(key) != spec and self.kube.find("Pod", *key)}
        for key in leaving:
            self.kube.delete("Pod", *key)
        changed = changed or bool(leaving)
        if leaving:
            await self._gone(leaving, timeout_s)
        for node in scenario.nodes:
            if node.name not in self.fleet.agents:  # terminated meanwhile
                await self.fleet.gone(node.name)
                await self.add_node(node)
                changed = True
        for key, pod in wanted.items():
            if self.kube.find("Pod", *key) is None:
                self.add_pod(pod)
                changed = True
        self.repair()
        return await self.settle(timeout_s, tell) if changed else []

    async def set_env(self, env: Mapping[str, str], tell: Callable[[str, int, int], None]) -> asyncio.Task[None]:
        """Begin to roll the daemons to another environment, which new nodes get at once; the task is done when all run it."""
        self.env = env
        self.on_env(self.changed_env)
        return await self.rollout.begin(env, tell)

    @property
    def changed_env(self) -> dict[str, str | None]:
        """How the daemons' environment differs from the scenario's: variable → value, None = not set."""
        return differences(self.scenario.cni.env, self.env)

    def _refuse_taken_names(self, scenario: Scenario) -> None:
        """A pod's namespace must not be that of a node which was launched through the API. Errors: UsageError."""
        for pod in scenario.pods:
            if pod.namespace == "default" and not pod.host_network and pod.name in self.fleet.agents:
                hint = "terminate the instance, or name the pod otherwise"
                raise UsageError(f"pod {pod.name} has the name of a node of the running lab", hint)

    async def _gone(self, keys: set[tuple[str, str]], timeout_s: float) -> None:
        end_s = self.clock.now_s() + timeout_s
        while any(self.kube.find("Pod", *key) for key in keys) and self.clock.now_s() < end_s:
            await self.clock.sleep(0.05)

    def log_of_node(self, node: str, *, plugin: bool) -> Path:
        """Where the log of a node's daemon or plugin is. Errors: NotFoundError."""
        return self.fleet.agents[node].log_file(plugin) or self.host.lab_log()

    def log_of_pod(self, netns: str) -> Path:
        """Where a pod's programs print. Errors: NotFoundError, when none has been started."""
        return self.host.pod_log(netns)

    def drift(self) -> list[tuple[str, str, Any]]:
        """(namespace, slice, change) for all that is not as claimed."""
        return [(netns, part, change) for netns in self.slices.namespaces() for part, change in self.slices.drift(netns)]

    def repair(self) -> list[tuple[str, Any]]:
        """Put every namespace back to what is claimed; what was changed."""
        return [(netns, change) for netns in self.slices.namespaces() for change in self.slices.repair(netns)]

    # ---- look -------------------------------------------------------------------------------------------------------------

    def pods(self) -> tuple[PodView, ...]:
        """Every pod."""
        return tuple(PodView(document) for document in self.kube.list("Pod"))

    def status(self) -> dict[str, Any]:
        """The Status document."""
        return status(
            Facts(
                lab=self.lab, scenario=self.scenario.source or self.scenario.name, state=self.state, time_s=self.clock.now_s(),
                cloud=self.ec2.state, nodes=tuple(self.kube.list("Node")), pods=self.pods(),
                pools={name: agent.pools() for name, agent in self.fleet.agents.items()},
                host_links={name: agent.pod_links() for name, agent in self.fleet.agents.items()}, changed_env=self.changed_env,
            )
        )

    # ---- end --------------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End every actor; namespaces and what is in them stay."""
        await self.rollout.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.fleet.stop()
        self.latency.close()
        if self._services is not None:
            await self._services.close()
        if self.endpoint is not None:
            await self.endpoint.close()
        if self.workloads is not None:
            self.workloads.stop_all()
        await self.host.close()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Run something for as long as the lab lives; its failure is logged and ends nothing else."""
        self._start(coroutine, name)

    def _start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        task = self._guard(coroutine, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _guard(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[None]:
        """Run something whose failure ends nothing else."""
        task = asyncio.get_running_loop().create_task(self._guarded(coroutine, name), name=name)
        task.add_done_callback(lambda _done: coroutine.close())  # if it is cancelled before it began
        return task

    async def _guarded(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await coroutine
        except Exception as error:  # noqa: BLE001 - one actor's fault must not end the others; it is an event and in the log
            self.log(f"{name} ended: {type(error).__name__}: {error}")
            with contextlib.suppress(Exception):
                self.events.record(f"lab/{self.lab}", "ActorFailed", f"{name}: {error}")

    def _namespace(self, name: str, what: str) -> None:
        if what == "made":
            self.on_namespace(name)
        elif what == "held":
            self.events.record(f"lab/{self.lab}", "NamespaceHeld", f"{name} is not needed any more, but something in it keeps it")


def refuse_other_changes(old: Scenario, new: Scenario, env: Mapping[str, str]) -> None:
    """Only pods, objects, checks, `ec2` and `zoneLinks` may differ between a running lab and a new scenario, and `cni.env` if it is the
    `env` that the daemons have by now. Errors: UsageError naming what does.
    """
    cni = replace(new.cni, env=old.cni.env) if new.cni.env == env else new.cni
    pairs: Mapping[str, tuple[object, object]] = {
        "vpcs": (old.vpcs, new.vpcs), "onPremises": (old.on_premises, new.on_premises), "prefixLists": (old.prefix_lists, new.prefix_lists),
        "nodes": (old.nodes, new.nodes), "cni": (old.cni, cni), "seed": (old.seed, new.seed),
        "kubelet": (old.kubelet_exec, new.kubelet_exec), "time": (old.time_factor, new.time_factor),
    }
    changed = [key for key, (before, after) in pairs.items() if before != after]
    if changed:
        hint = "pods, objects, checks, ec2, zoneLinks can change in place; for the rest take the lab down and up again, or use another --name"
        if changed == ["cni"] and replace(new.cni, env=old.cni.env) == old.cni:
            hint = "the daemons' environment rolls by 'labnet set env aws-node NAME=VALUE'; for the rest take the lab down and up again"
        raise UsageError(f"the running lab differs from the scenario in: {', '.join(changed)}", hint)


def _pod_names(scenario: Scenario) -> frozenset[str]:
    """Names of pods whose namespaces are named like those of nodes."""
    return frozenset(pod.name for pod in scenario.pods if pod.namespace == "default" and not pod.host_network)


def _region(scenario: Scenario) -> str:
    """The one region that the subnets' zones are in: us-west-2a → us-west-2."""
    zones = [subnet.availability_zone for vpc in scenario.vpcs for subnet in vpc.subnets]
    return zones[0][:-1] if zones else DEFAULT_REGION
