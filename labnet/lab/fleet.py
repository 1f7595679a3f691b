"""The nodes of a lab: each living EC2 instance has one, whoever launched it; it comes and goes as EC2's state says.

`follow` hears of every change of that state. A launch makes the Node object at once and starts the daemons in a task of
their own; a termination stops them, then ends what runs on the node, and takes away its namespace, its pods (as
Kubernetes' garbage collection does with pods of a node that is no more) and its files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labnet.ec2 import limits
from labnet.errors import LabnetError
from labnet.fabric.places import is_alive, node_netns_of
from labnet.lab.node import NodeAgent, NodeParts, detect_backend
from labnet.lab.pod_networking import pod_networking
from labnet.model import names
from labnet.model.capacity import max_pods
from labnet.model.cloud import CloudState, Instance
from labnet.model.cluster import PodView, node_document
from labnet.model.netstate import Backend, Change, Sysctl
from labnet.model.scenario import CniSpec, NodeSpec

_NO_ORPHANS = Change("add", Sysctl("net/ipv4/tcp_orphan_retries", "1"))
"""The connections of what ends wait for answers that cannot come any more, and hold their namespace: not for long, then."""
Guard = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[None]]
"""Makes a coroutine whose failure is told and ends nothing else."""


@dataclass(slots=True)
class _Node:
    """A node that is there: `up` is done when its daemons run, or could not."""

    name: str
    netns: str
    agent: NodeAgent
    up: asyncio.Task[None]
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)


class Fleet:
    """Every node with its daemons. `cni` and `always_exec` are the scenario's; `guard` runs what shall end nothing else."""

    def __init__(self, parts: NodeParts, cni: CniSpec, guard: Guard, *, always_exec: bool) -> None:
        self._parts, self._cni, self._guard, self._always_exec = parts, cni, guard, always_exec
        self._nodes: dict[str, _Node] = {}
        self._specs: dict[str, NodeSpec] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._machine_backend: Backend | None = None
        self.on_count: Callable[[int], None] = lambda count: None
        """Hears how many nodes there are whenever one came or went."""

    @property
    def agents(self) -> Mapping[str, NodeAgent]:
        """The daemons of each node, by its name."""
        return {name: node.agent for name, node in self._nodes.items()}

    def use_env(self, env: Mapping[str, str]) -> None:
        """Nodes that come from now on get this environment for their daemons."""
        self._cni = replace(self._cni, env=env)

    def run_on(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something about a node that is there; it is cancelled when the node goes. Errors: KeyError."""
        node = self._nodes[name]
        task = asyncio.get_running_loop().create_task(coroutine, name=f"roll of {name}")
        node.tasks.add(task)
        task.add_done_callback(node.tasks.discard)
        return task

    def expect(self, spec: NodeSpec) -> None:
        """The next launch of an instance of that name is this node of the scenario."""
        self._specs[spec.name] = spec

    async def started(self, name: str) -> None:
        """Wait until a node's daemons run. Errors: those of their start; LabnetError when no node has the name."""
        await asyncio.shield(self._there(name).up)

    async def addressed(self, name: str) -> None:
        """Wait until a node's daemons need nothing of EC2 for their start any more, or have started, or failed. Errors: LabnetError when
        no node has the name.
        """
        node = self._there(name)
        filled = asyncio.get_running_loop().create_task(node.agent.filled())
        try:
            await asyncio.wait({filled, node.up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            filled.cancel()

    def _there(self, name: str) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            self._specs.pop(name, None)
            raise LabnetError(f"node {name} could not have its name", "something else on this machine or in this lab has it")
        return node

    async def gone(self, name: str) -> None:
        """Wait until nothing is left of a node that was terminated. Unknown is fine."""
        leaving = self._leaving.get(names.node_netns(self._parts.lab, name))
        if leaving is not None:
            await asyncio.shield(leaving)

    def follow(self, old: CloudState, new: CloudState) -> None:
        """EC2's state changed: instances that came to life get a node, those that ended lose theirs."""
        if old.instances is new.instances:
            return
        for key, instance in new.instances.items():
            before = old.instances.get(key)
            if before is instance or is_alive(before) == is_alive(instance):
                continue
            if is_alive(instance):
                self._begin(new, instance)
            else:
                self._end(instance)

    def retire(self, gone: Iterable[str]) -> tuple[str, ...]:
        """Of namespaces that EC2 needs no more, those that are no node's; a node's goes once what runs there has ended."""
        nodes = {node.netns for node in self._nodes.values()} | self._leaving.keys()
        return tuple(netns for netns in gone if netns not in nodes)

    async def stop(self) -> None:
        """End every daemon; namespaces and what is in them stay."""
        running = [task for node in self._nodes.values() for task in (node.up, *node.tasks)] + list(self._leaving.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for node in self._nodes.values():
            await node.agent.stop()

    # ---- a node comes -----------------------------------------------------------------------------------------------------

    def _begin(self, cloud: CloudState, instance: Instance) -> None:
        parts = self._parts
        spec = self._specs.pop(instance.name, None)
        if spec is None:
            subnet = cloud.subnets[instance.subnet_id]
            spec = NodeSpec(instance.name, instance.instance_type, subnet.tags.get("Name", subnet.id))
        most = max_pods(limits.load()[instance.instance_type], pod_networking(self._cni.env if self._cni.kind == "vpc" else {}))
        primary = cloud.enis_of(instance.id)[0].addresses[0]
        parts.kube.create(
            node_document(
                instance.name, uid=names.aws_id("node", parts.seed, parts.lab, instance.id), instance_id=instance.id,
                instance_type=instance.instance_type, zone=instance.availability_zone, internal_ip=primary.address,
                external_ip=primary.public or "", max_pods=most, labels=spec.labels, annotations=spec.annotations,
                taints=tuple({"key": one.key, "value": one.value, "effect": one.effect} for one in spec.taints),
            )
        )
        agent = NodeAgent(
            parts, spec, self._cni, instance.id, most, always_exec=self._always_exec, backend=self._backend(spec),
        )
        loop = asyncio.get_running_loop()
        up = loop.create_task(self._start(instance.name, agent), name=f"start of {instance.name}")
        up.add_done_callback(lambda task: task.cancelled() or task.exception())  # told by `_start`, whether or not somebody waits
        self._nodes[instance.name] = _Node(instance.name, node_netns_of(cloud, instance), agent, up)
        self.on_count(len(self._nodes))

    async def _start(self, name: str, agent: NodeAgent) -> None:
        try:
            await agent.start()
        except Exception as error:
            self._parts.events.record(f"node/{name}", "NodeNotStarted", f"{type(error).__name__}: {error}")
            self._parts.log(f"node {name} could not be started: {type(error).__name__}: {error}")
            raise
        node = self._nodes[name]
        for coroutine, word in agent.loops():
            node.tasks.add(self._guard(coroutine, f"{word} of {name}"))

    def _backend(self, node: NodeSpec) -> Backend:
        """A plan runs no program, so it takes the back end that nearly every machine has."""
        if node.iptables != "auto":
            return node.iptables
        if self._parts.workloads is None:
            return "nft"
        if self._machine_backend is None:  # every node has this machine's programs
            self._machine_backend = detect_backend(self._parts.kernel, names.node_netns(self._parts.lab, node.name))
        return self._machine_backend

    # ---- a node goes ------------------------------------------------------------------------------------------------------

    def _end(self, instance: Instance) -> None:
        node = self._nodes.pop(instance.name)
        stopping = [node.up, *node.tasks]
        for task in stopping:
            task.cancel()
        parts = self._parts
        parts.kube.delete("Node", "", node.name)
        said = f"Deleting node {node.name} because it does not exist in the cloud provider"
        parts.events.record(f"node/{node.name}", "DeletingNode", said)
        task = self._guard(self._remove(node, stopping), f"removal of {node.name}")
        self._leaving[node.netns] = task
        task.add_done_callback(lambda _done: self._leaving.pop(node.netns, None))
        self.on_count(len(self._nodes))

    async def _remove(self, node: _Node, stopping: list[asyncio.Task[Any]]) -> None:
        """First everything that could still change something there, then what holds the namespaces open, then they."""
        parts = self._parts
        await asyncio.wait(stopping)
        await node.agent.stop()
        pods = [pod for document in parts.kube.list("Pod") if (pod := PodView(document)).node == node.name]
        if parts.workloads is not None:
            for pod in pods:
                parts.workloads.stop(pod.key)
        spaces = [names.pod_netns(parts.lab, pod.namespace, pod.name) for pod in pods if not pod.host_network]
        spaces = [node.netns, *(netns for netns in spaces if parts.kernel.exists(netns))]
        parts.kernel.apply([(netns, (_NO_ORPHANS,)) for netns in spaces])
        with parts.clock.busy():
            await parts.host.end_node(node.name, spaces)
        try:
            parts.kernel.remove_netns(spaces)
        finally:  # a namespace that somebody holds open stays in the registry; for the cluster its pods are gone all the same
            for netns in spaces:
                parts.slices.drop(netns)
                parts.host.pod_ends(netns)
            parts.host.forget_node(node.name)
            for pod in pods:
                self._collect(pod)

    def _collect(self, pod: PodView) -> None:
        """As Kubernetes' garbage collection takes pods of a node that is no more."""
        if self._parts.kube.find("Pod", pod.namespace, pod.name) is not None:
            self._parts.kube.delete("Pod", pod.namespace, pod.name, now=True)
            self._parts.events.record(f"pod/{pod.key}", "NodeGone", f"node {pod.node} is no more; the pod went with it")
