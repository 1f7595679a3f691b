"""One node's daemons, wired: ipamd, the CNI plugin and its socket, the runtime, the kubelet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from labnet.cni.registry import Registry
from labnet.cni.runtime import Exec, InProcess, Runtime
from labnet.cni.vpc.conflist import TYPE, vpc_conflist
from labnet.cni.vpc.plugin import VpcPlugin, VpcPluginSettings
from labnet.ec2.imds import InProcessImds
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error, ImdsError, IpamError
from labnet.ipamd.daemon import Ipamd, NodeIdentity
from labnet.ipamd.settings import Settings
from labnet.kernel import iptables
from labnet.kube.kubelet import Kubelet, KubeletSettings
from labnet.kube.store import KubeStore
from labnet.lab.events import LabEvents
from labnet.lab.host import Host
from labnet.lab.status import Pool
from labnet.lab.workload import Workloads
from labnet.model import names
from labnet.model.cluster import PodView
from labnet.model.netstate import Backend
from labnet.model.scenario import CniSpec, NodeSpec
from labnet.model.values import frozen
from labnet.ports import Clock, Kernel, Slices

Log = Callable[[str], None]
RESTART_S, MAX_RESTART_S = 10.0, 300.0
"""Between two starts of a container that ends again and again: at first, doubled each time, at most. Source: docs/sources.md#kubelet"""


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
    log: Log


class NodeAgent:
    """The daemons of one node. With `cni: none` there is only the kubelet, and pods wait for a CNI that never comes."""

    def __init__(
        self, parts: NodeParts, node: NodeSpec, cni: CniSpec, instance_id: str, max_pods: int, *, always_exec: bool, backend: Backend
    ) -> None:
        self._parts, self._node, self._cni = parts, node, cni
        self.netns = names.node_netns(parts.lab, node.name)
        self._ipamd = self._make_ipamd(instance_id, max_pods, backend) if cni.kind == "vpc" else None
        plugin_settings = VpcPluginSettings(parts.lab, parts.seed, self.netns, cni.dialect)
        self._plugin = VpcPlugin(self._ipamd, parts.slices, parts.kernel, plugin_settings) if self._ipamd is not None else None
        self._conflist = vpc_conflist(cni.dialect, cni.env)
        self._kubelet = self._make_kubelet(instance_id, always_exec)
        self._started = False

    async def start(self) -> None:
        """Start ipamd, then let pods come: as on a real node, the CNI's list appears once ipamd answers.

        What EC2 refuses ends ipamd, and it is started again later, as the kubelet starts a container again. Errors: KernelError.
        """
        self._started = await self._try_to_start(RESTART_S)

    async def _try_to_start(self, again_in_s: float) -> bool:
        try:
            await self._start_ipamd()
        except (Ec2Error, ImdsError, IpamError) as error:
            text = f"ipamd ended: {error}; it starts again in {again_in_s:g} s"
            self._parts.events.record(f"node/{self._node.name}", "BackOff", text)
            return False
        return True

    async def _start_ipamd(self) -> None:
        if self._ipamd is None or self._plugin is None:
            return
        await self._ipamd.start()
        await self._parts.host.serve_cni(self._node.name, self.netns, self._plugin, self._parts.kernel)
        self._parts.host.write_conflist(self._node.name, self._conflist)
        self._kubelet.network_ready()

    def loops(self) -> Iterator[tuple[Coroutine[Any, Any, None], str]]:
        """What runs for as long as the node does."""
        yield self._kubelet.run(), "kubelet"
        if self._ipamd is not None:
            yield self._keep_ipamd(self._ipamd), "ipamd"

    async def _keep_ipamd(self, ipamd: Ipamd) -> None:
        pause_s = RESTART_S
        while not self._started:
            await self._parts.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, MAX_RESTART_S)
            self._started = await self._try_to_start(pause_s)
        await ipamd.run()

    async def stop(self) -> None:
        """Stop the daemon; kernel state stays."""
        if self._ipamd is not None:
            await self._ipamd.stop()

    def pools(self) -> dict[str, Pool]:
        """How each ENI's pod addresses are used, by ENI id."""
        if self._ipamd is None:
            return {}
        return {
            eni["id"]: Pool(used=eni["used"], warm=eni["warm"], cooling=eni["cooling"], max=eni["max"], table=eni["table"])
            for eni in self._ipamd.state()["enis"]
        }

    # ---- making -----------------------------------------------------------------------------------------------------------

    def _make_ipamd(self, instance_id: str, max_pods: int, backend: Backend) -> Ipamd:
        parts = self._parts
        return Ipamd(
            NodeIdentity(lab=parts.lab, name=self._node.name, netns=self.netns, instance_id=instance_id, seed=parts.seed),
            ec2=parts.ec2.client(self._node.name), imds=InProcessImds(parts.ec2, instance_id), slices=parts.slices, clock=parts.clock,
            events=parts.events, settings=Settings.from_env(self._cni.env, self._cni.dialect), backend=backend,
            checkpoint_path=parts.host.checkpoint(self._node.name), max_pods=max_pods, host_links=self._host_links,
        )

    def _host_links(self) -> frozenset[str]:
        return self._parts.kernel.links(self.netns)

    def _make_kubelet(self, instance_id: str, always_exec: bool) -> Kubelet:
        parts = self._parts
        registry = Registry({TYPE: self._plugin} if self._plugin is not None else None)
        spawn = parts.host.spawn_plugin(self._node.name, self.netns)
        runtime = Runtime(
            self._conflist, parts.host.results(self._node.name), in_process=InProcess(registry),
            exec_=Exec(spawn, parts.clock) if spawn is not None else None, always_exec=always_exec and spawn is not None,
        )
        host_ip = parts.ec2.state.enis_of(instance_id)[0].primary
        return Kubelet(
            KubeletSettings(parts.lab, self._node.name, host_ip), store=parts.kube, runtime=runtime, kernel=parts.kernel, slices=parts.slices,
            clock=parts.clock, events=parts.events, on_running=self._run_pod, on_gone=self._end_pod,
        )

    def _run_pod(self, pod: PodView, netns: str) -> None:
        if self._parts.workloads is not None:
            self._parts.workloads.start_pod(pod, netns)

    def _end_pod(self, pod: PodView) -> None:
        if self._parts.workloads is not None:
            self._parts.workloads.stop(pod.key)


def detect_backend(kernel: Kernel, netns: str) -> Backend:
    """The iptables back end that this machine's own program stands for."""
    return iptables.detect(lambda command: kernel.run(netns, command))
