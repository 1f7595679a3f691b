"""One node's daemons, wired: ipamd, the CNI plugin and its socket, the runtime, the kubelet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from labnet.cni.conflist import Conflist
from labnet.cni.registry import Registry
from labnet.cni.runtime import Exec, InProcess, Runtime
from labnet.cni.vpc.conflist import TYPE, vpc_conflist
from labnet.cni.vpc.logged import LoggedPlugin
from labnet.cni.vpc.plugin import VpcPluginSettings
from labnet.ec2.imds import InProcessImds
from labnet.ec2.service import Ec2Service
from labnet.errors import NotFoundError
from labnet.ipamd.daemon import Ipamd, NodeIdentity
from labnet.ipamd.settings import Settings
from labnet.kernel import iptables
from labnet.kube.annotations import StoredAnnotations
from labnet.kube.kubelet import Kubelet, KubeletSettings, Turn
from labnet.kube.node_objects import KubeNodeObjects
from labnet.kube.store import KubeStore
from labnet.lab.aws_node import AwsNode, Env, Tell
from labnet.lab.events import LabEvents
from labnet.lab.host import Host
from labnet.lab.node_logs import STREAMS, NodeLogs
from labnet.lab.resolvers import resolv_conf
from labnet.lab.status import Pool
from labnet.lab.workload import Workloads
from labnet.model import names
from labnet.model.cluster import PodView
from labnet.model.netstate import Backend
from labnet.model.scenario import CniSpec, NodeSpec
from labnet.model.values import frozen
from labnet.ports import Clock, Kernel, Slices

Log = Callable[[str], None]


@frozen
class NodeParts:
    """What every node of a lab shares."""

    lab: str
    seed: int
    kernel: Kernel
    slices: Slices
    clock: Clock
    events: LabEvents
    ec2: Ec2Service
    kube: KubeStore
    host: Host
    workloads: Workloads | None
    turn: Turn
    log: Log


class NodeAgent:
    """The daemons of one node. With `cni: none` there is only the kubelet, and pods wait for a CNI that never comes."""

    def __init__(
        self, parts: NodeParts, node: NodeSpec, cni: CniSpec, instance_id: str, max_pods: int, *, always_exec: bool, backend: Backend
    ) -> None:
        self._parts, self._node, self._dialect = parts, node, cni.dialect
        self._instance_id, self._max_pods, self._backend = instance_id, max_pods, backend
        self.netns = names.node_netns(parts.lab, node.name)
        self._logs = NodeLogs(node.name, parts.clock, lambda path: parts.host.node_file(node.name, path), parts.log)
        self._daemon = self._make_daemon(cni.env) if cni.kind == "vpc" else None
        plugin_settings = VpcPluginSettings(parts.lab, parts.seed, self.netns, cni.dialect)
        self._plugin = (
            LoggedPlugin(self._daemon.socket, parts.slices, parts.kernel, plugin_settings, self._logs.plugin)
            if self._daemon is not None else None
        )
        self._runtime = self._make_runtime(vpc_conflist(cni.dialect, cni.env), always_exec)
        self._kubelet = self._make_kubelet()
        self._served = False

    async def start(self) -> None:
        """Ask for DHCP options, start ipamd, then let pods come: as on a real node, the CNI's list appears once ipamd answers.

        What EC2 refuses ends ipamd, and it is started again later, as the kubelet starts a container again. Errors: KernelError.
        """
        cloud = self._parts.ec2.state
        self._parts.host.set_resolver(self._node.name, resolv_conf(cloud, cloud.instances[self._instance_id].vpc_id))
        if self._daemon is not None:
            await self._daemon.start()

    async def _ready(self, env: Env) -> None:
        """A daemon answers: serve the plugin, and write the list that new pods are attached by."""
        parts, conflist = self._parts, vpc_conflist(self._dialect, env)
        if not self._served and self._plugin is not None:
            await parts.host.serve_cni(self._node.name, self.netns, self._plugin, parts.kernel)
            self._served = True
        parts.host.write_conflist(self._node.name, conflist)
        self._runtime.use(conflist)
        self._kubelet.network_ready()

    async def filled(self) -> None:
        """Wait until ipamd has asked EC2 for what it wants at its start; what is left is the kernel's part."""
        if self._daemon is not None:
            await self._daemon.ipamd.filled.wait()

    def loops(self) -> Iterator[tuple[Coroutine[Any, Any, None], str]]:
        """What runs for as long as the node does."""
        yield self._kubelet.run(), "kubelet"
        if self._daemon is not None:
            yield self._daemon.run(), "ipamd"

    async def stop(self) -> None:
        """Stop the daemon; kernel state stays."""
        if self._daemon is not None:
            await self._daemon.stop()
        self._logs.close()

    # ---- the daemon's settings --------------------------------------------------------------------------------------------

    def runs(self, env: Env) -> bool:
        """Does a daemon answer that has this environment? True where there is no daemon at all."""
        return self._daemon is None or (self._daemon.up and self._daemon.env == env)

    @property
    def trouble(self) -> str:
        """Why the node has no daemon that answers; empty when it has."""
        return self._daemon.trouble if self._daemon is not None else ""

    async def roll(self, env: Env, tell: Tell) -> None:
        """Replace the daemon by one with this environment (see `AwsNode.roll`)."""
        if self._daemon is not None:
            await self._daemon.roll(env, tell)

    def log_file(self, plugin: bool) -> Path | None:
        """Where the daemon's log is, or the plugin's; None = in the log of the lab's process. Errors: NotFoundError without a daemon."""
        if self._daemon is None:
            raise NotFoundError(f"node {self._node.name} runs no CNI", "cni.kind is none")
        settings = Settings.from_env(self._daemon.env, self._dialect)
        path = settings.plugin_log_file if plugin else settings.log_file
        self._logs.flush()
        return None if path in STREAMS else self._parts.host.node_file(self._node.name, path)

    # ---- looking ----------------------------------------------------------------------------------------------------------

    def pools(self) -> dict[str, Pool]:
        """How each ENI's pod addresses are used, by ENI id."""
        if self._daemon is None:
            return {}
        return {
            eni["id"]: Pool(used=eni["used"], warm=eni["warm"], cooling=eni["cooling"], max=eni["max"], table=eni["table"])
            for eni in self._daemon.ipamd.state()["enis"]
        }

    def pod_links(self) -> dict[str, str]:
        """The node's ends of its pods' veths, by the hash in their names: the prefix may have been another one when they came."""
        return {link[-names.VETH_HASH_DIGITS:]: link for link in (self._plugin.links() if self._plugin is not None else ())}

    # ---- making -----------------------------------------------------------------------------------------------------------

    def _make_daemon(self, env: Env) -> AwsNode:
        return AwsNode(self._node.name, env, self._make_ipamd, self._ready, clock=self._parts.clock, events=self._parts.events)

    def _make_ipamd(self, env: Env) -> Ipamd:
        parts, settings = self._parts, Settings.from_env(env, self._dialect)
        return Ipamd(
            NodeIdentity(lab=parts.lab, name=self._node.name, netns=self.netns, instance_id=self._instance_id, seed=parts.seed),
            ec2=parts.ec2.client(self._node.name), imds=InProcessImds(parts.ec2, self._instance_id), slices=parts.slices, clock=parts.clock,
            events=parts.events, settings=settings, backend=self._backend,
            checkpoint_path=parts.host.node_file(self._node.name, settings.checkpoint_path), max_pods=self._max_pods,
            host_links=self._host_links, objects=KubeNodeObjects(parts.kube, self._node.name), annotations=StoredAnnotations(parts.kube),
            log=self._logs.ipamd(settings.log_file, settings.log_level),
        )

    def _host_links(self) -> frozenset[str]:
        return self._parts.kernel.links(self.netns)

    def _make_runtime(self, conflist: Conflist, always_exec: bool) -> Runtime:
        parts = self._parts
        registry = Registry({TYPE: self._plugin} if self._plugin is not None else None)
        spawn = parts.host.spawn_plugin(self._node.name, self.netns)
        return Runtime(
            conflist, parts.host.results(self._node.name), in_process=InProcess(registry),
            exec_=Exec(spawn, parts.clock) if spawn is not None else None, always_exec=always_exec and spawn is not None,
        )

    def _make_kubelet(self) -> Kubelet:
        parts = self._parts
        host_ip = parts.ec2.state.enis_of(self._instance_id)[0].primary
        return Kubelet(
            KubeletSettings(parts.lab, self._node.name, host_ip), store=parts.kube, runtime=self._runtime, kernel=parts.kernel,
            slices=parts.slices, clock=parts.clock, events=parts.events, on_running=self._run_pod, on_gone=self._end_pod,
            turn=parts.turn,
        )

    def _run_pod(self, pod: PodView, netns: str) -> None:
        if any(container.command for container in pod.containers):  # others read no file until somebody runs a program there
            self._parts.host.pod_starts(netns, self._node.name)
        if self._parts.workloads is not None:
            self._parts.workloads.start_pod(pod, netns)

    def _end_pod(self, pod: PodView) -> None:
        if self._parts.workloads is not None:
            self._parts.workloads.stop(pod.key)
        self._parts.host.pod_ends(names.pod_netns(self._parts.lab, pod.namespace, pod.name))


def detect_backend(kernel: Kernel, netns: str) -> Backend:
    """The iptables back end that this machine's own program stands for."""
    return iptables.detect(lambda command: kernel.run(netns, command))
