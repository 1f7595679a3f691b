"""A lab put together: the one place that chooses who stands behind each port, and brings a scenario up through them.

The same `World` runs a lab on the real kernel, and a plan on the in-memory one; only what is handed in differs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from labnet.ec2 import limits
from labnet.ec2.imds_http import ImdsServer
from labnet.ec2.service import Ec2Service
from labnet.errors import UsageError
from labnet.fabric.reconcile import Fabric
from labnet.kernel.slices import SliceBook
from labnet.kube.scheduler import Scheduler
from labnet.kube.store import KubeStore
from labnet.lab import cloud_setup
from labnet.lab.cloud_setup import CloudIds
from labnet.lab.ec2_endpoint import Ec2Endpoint, open_endpoint
from labnet.lab.events import LabEvents
from labnet.lab.host import Host, NoHost
from labnet.lab.imds import serve_imds
from labnet.lab.node import NodeAgent, NodeParts, detect_backend
from labnet.lab.status import Facts, status
from labnet.lab.waiting import Waiter
from labnet.lab.workload import Workloads
from labnet.model import names
from labnet.model.cloud import DEFAULT_REGION, CloudState
from labnet.model.cluster import PodView, node_document, pod_document
from labnet.model.netstate import Backend
from labnet.model.scenario import NodeSpec, PodSpec, Scenario
from labnet.ports import Kernel, Store
from labnet.sim.clock import LabClock

Tell = Callable[..., None]
INTERNET = "internet"
INTERNET_PORTS = (("tcp", 80), ("tcp", 8080), ("udp", 7))


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
        self.fabric = Fabric(lab, kernel, self.slices, self._namespace, sysctls)
        state = CloudState(lab=lab, seed=scenario.seed, region=_region(scenario))
        self.ec2 = Ec2Service(state, limits.load(), clock, store, self.fabric)
        self.ec2.behaviour.configure(scenario.ec2)
        self.kube = KubeStore(store, clock)
        self.nodes: dict[str, NodeAgent] = {}
        self.workloads = Workloads(lab, kernel, self.host.start_program, log) if serves else None
        self.state = "starting"
        self._ids = CloudIds()
        self._machine_backend: Backend | None = None
        self._imds: list[ImdsServer] = []
        self.endpoint: Ec2Endpoint | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._api = self.ec2.client("labnet")

    # ---- up ---------------------------------------------------------------------------------------------------------------

    async def bring_up(self, timeout_s: float, tell: Tell) -> list[dict[str, str]]:
        """Make everything the scenario names; returns the pods that are not Running in time, each with its reason."""
        tell("vpc", f"creating {len(self.scenario.vpcs)} VPC")
        self.kernel.prepare_netns([names.pod_netns(self.lab, pod.namespace, pod.name) for pod in self.scenario.pods if not pod.host_network])
        self._ids = await cloud_setup.make_vpcs(self._api, self.scenario)
        await self._serve_around()
        self._start(Scheduler(self.kube, self.events).run(), "scheduler")
        for number, node in enumerate(self.scenario.nodes, 1):
            await self.add_node(node)
            tell("nodes", f"node {node.name}", number, len(self.scenario.nodes))
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
        """Run an instance and start what runs on every node."""
        instance_id = await cloud_setup.run_node(self._api, node, self._ids)
        instance = self.ec2.state.instances[instance_id]
        primary = self.ec2.state.enis_of(instance_id)[0].addresses[0]
        kind = limits.load()[node.instance_type]
        self.kube.create(
            node_document(
                node.name, uid=names.aws_id("node", self.scenario.seed, self.lab, node.name), instance_id=instance_id,
                instance_type=node.instance_type, zone=instance.availability_zone, internal_ip=primary.address,
                external_ip=primary.public or "", max_pods=kind.max_pods, labels=node.labels,
            )
        )
        parts = NodeParts(
            lab=self.lab, seed=self.scenario.seed, kernel=self.kernel, slices=self.slices, clock=self.clock, events=self.events,
            ec2=self.ec2, kube=self.kube, host=self.host, workloads=self.workloads, log=self.log,
        )
        agent = NodeAgent(
            parts, node, self.scenario.cni, instance_id, kind.max_pods, always_exec=self.scenario.kubelet_exec == "always",
            backend=self._backend(node),
        )
        self.nodes[node.name] = agent
        await agent.start()
        for coroutine, name in agent.loops():
            self._start(coroutine, f"{name} of {node.name}")

    async def _serve_around(self) -> None:
        """What answers in the Internet, and metadata service and EC2 API in each VPC."""
        if self.workloads is None:
            return
        if self.kernel.exists(names.internet_netns(self.lab)):
            self.workloads.serve(INTERNET, names.internet_netns(self.lab), INTERNET_PORTS)
        self._imds = await serve_imds(self.ec2, self.kernel, self.clock)
        self.endpoint = open_endpoint(self.ec2, self.kernel, self.host.credentials(), self.log)

    def add_pod(self, pod: PodSpec) -> None:
        """Write a pod into the store; scheduler and kubelet do the rest."""
        uid = names.aws_id("pod", self.scenario.seed, self.lab, f"{pod.namespace}/{pod.name}")
        self.kube.create(
            pod_document(
                pod.name, uid=uid, namespace=pod.namespace, node=pod.node, host_network=pod.host_network, labels=pod.labels,
                annotations=pod.annotations, containers=pod.containers,
            )
        )

    def _backend(self, node: NodeSpec) -> Backend:
        """A plan runs no program, so it takes the back end that nearly every machine has."""
        if self.workloads is None and node.iptables == "auto":
            return "nft"
        if node.iptables != "auto":
            return node.iptables
        if self._machine_backend is None:  # every node has this machine's programs
            self._machine_backend = detect_backend(self.kernel, names.node_netns(self.lab, node.name))
        return self._machine_backend

    # ---- change -----------------------------------------------------------------------------------------------------------

    async def reconcile(self, scenario: Scenario, timeout_s: float, tell: Tell) -> list[dict[str, str]]:
        """Make a running lab what a scenario says: pods come and go; what cannot change in place is refused by name; then repair."""
        refuse_other_changes(self.scenario, scenario)
        self.ec2.behaviour.configure(scenario.ec2)
        wanted = {(pod.namespace, pod.name): pod for pod in scenario.pods}
        present = {(pod.namespace, pod.name): pod for pod in self.scenario.pods}
        self.scenario = scenario
        changed = False
        for key, spec in present.items():
            if wanted.get(key) != spec:
                self.kube.delete("Pod", *key)
                changed = True
        if changed:
            await self._gone(set(present) - {key for key in present if wanted.get(key) == present[key]}, timeout_s)
        for key, pod in wanted.items():
            if present.get(key) != pod:
                self.add_pod(pod)
                changed = True
        self.repair()
        return await self.settle(timeout_s, tell) if changed else []

    async def _gone(self, keys: set[tuple[str, str]], timeout_s: float) -> None:
        end_s = self.clock.now_s() + timeout_s
        while any(self.kube.find("Pod", *key) for key in keys) and self.clock.now_s() < end_s:
            await self.clock.sleep(0.05)

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
        prefix = self.scenario.cni.env.get("AWS_VPC_K8S_CNI_VETHPREFIX", "eni")
        return status(
            Facts(
                lab=self.lab, scenario=self.scenario.source or self.scenario.name, state=self.state, time_s=self.clock.now_s(),
                cloud=self.ec2.state, nodes=tuple(self.kube.list("Node")), pods=self.pods(),
                pools={name: agent.pools() for name, agent in self.nodes.items()}, veth_prefix=prefix,
            )
        )

    # ---- end --------------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End every actor; namespaces and what is in them stay."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for agent in self.nodes.values():
            await agent.stop()
        for server in self._imds:
            await server.close()
        if self.endpoint is not None:
            await self.endpoint.close()
        if self.workloads is not None:
            self.workloads.stop_all()
        await self.host.close()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Run something for as long as the lab lives; its failure is logged and ends nothing else."""
        self._start(coroutine, name)

    def _start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(coroutine, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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


def refuse_other_changes(old: Scenario, new: Scenario) -> None:
    """Only pods, checks and `ec2` may differ between a running lab and a new scenario. Errors: UsageError naming what does."""
    pairs: Mapping[str, tuple[object, object]] = {
        "vpcs": (old.vpcs, new.vpcs), "nodes": (old.nodes, new.nodes), "cni": (old.cni, new.cni), "seed": (old.seed, new.seed),
        "kubelet": (old.kubelet_exec, new.kubelet_exec), "time": (old.time_factor, new.time_factor),
    }
    changed = [key for key, (before, after) in pairs.items() if before != after]
    if changed:
        hint = "pods, checks and ec2 can change in place; for the rest take the lab down and up again, or use another --name"
        raise UsageError(f"the running lab differs from the scenario in: {', '.join(changed)}", hint)


def _region(scenario: Scenario) -> str:
    """The one region that the subnets' zones are in: us-west-2a → us-west-2."""
    zones = [subnet.availability_zone for vpc in scenario.vpcs for subnet in vpc.subnets]
    return zones[0][:-1] if zones else DEFAULT_REGION
