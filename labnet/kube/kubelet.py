"""One node's kubelet: its pods become namespaces with an address, run, and go again.

A pod's way: its namespace is made (all that wait in one call), the runtime attaches it, its containers start, its status
says Running. A failed attach is detached and tried again with a new sandbox id after a back-off; a sandbox whose detach failed
too is detached again before the next attempt and before the pod goes, so that no address stays behind. On deletion:
containers stop, detach, the namespace goes (all that end together in one call), then the object. A pod on the host's network
shares the node's namespace and needs no CNI. Until `network_ready` the node is not Ready and other pods wait.
Source: docs/sources.md#kubelet
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from labnet.cni.result import Result
from labnet.cni.runtime import Attachment, Runtime
from labnet.cni.spec import NetnsGrant
from labnet.errors import CniError, KernelError, LabnetError
from labnet.kube.store import KubeStore, WatchEvent, timestamp
from labnet.model import names
from labnet.model.cluster import Document, PodView
from labnet.model.values import frozen
from labnet.ports import Clock, Events, Kernel, Slices

BACK_OFF_S = 10.0
"""How long kubelet waits before it tries a pod again."""
NETNS_DIR = "/var/run/netns"
SANDBOX_KEY = "x-labnet-sandbox"
"""Member of a Running pod's status: the sandbox id, which CNI plugins know as the container id."""
_NOT_READY = (
    "network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)

OnRunning = Callable[[PodView, str], None]
"""Start a pod's containers in a namespace. Errors: LabnetError, tried again after a back-off."""
OnGone = Callable[[PodView], None]
"""Stop whatever of a pod's containers runs."""
Turn = Callable[[str], Awaitable[object]]
"""Await it, with the node's name, before a pod is attached: whose turn comes when, among all that wait on all nodes."""


@frozen
class KubeletSettings:
    """Which node this is; `host_ip` is its internal address."""

    lab: str
    node: str
    host_ip: str
    back_off_s: float = BACK_OFF_S
    netns_dir: str = NETNS_DIR


@dataclass(slots=True)
class _Sandbox:
    """A pod on its way: `made` when its namespace is new, `waiting` while it backs off, `ending` once it is deleted; `undone` are ids whose
    detach failed.
    """

    pod: PodView
    netns: str
    id: str = ""
    attempt: int = 0
    made: bool = False
    attached: bool = False
    started: bool = False
    waiting: bool = False
    ending: bool = False
    undone: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Kubelet:
    """Runs the pods of one node. `run` works until it is cancelled; a fault of ours ends it with that error."""

    def __init__(
        self, settings: KubeletSettings, *, store: KubeStore, runtime: Runtime, kernel: Kernel, slices: Slices, clock: Clock,
        events: Events, on_running: OnRunning, on_gone: OnGone, turn: Turn,
    ) -> None:
        self._settings, self._store, self._runtime = settings, store, runtime
        self._kernel, self._slices, self._clock, self._events = kernel, slices, clock, events
        self._on_running, self._on_gone, self._turn = on_running, on_gone, turn
        self._pods: dict[str, _Sandbox] = {}
        self._held: list[_Sandbox] = []
        self._ended: list[_Sandbox] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._ready = False

    async def run(self) -> None:
        """Follow the node's pods."""
        watch = self._store.watch("Pod", node=self._settings.node)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while batch := await watch.batch():
                    self._follow(batch)
        finally:
            self._tasks = None
            watch.close()

    def network_ready(self) -> None:
        """The node's CNI is there: say Ready, and let waiting pods go on."""
        if self._ready:
            return
        self._ready = True
        self._say_ready()
        held, self._held = self._held, []
        self._launch(box for box in held if not box.ending)

    # ---- following the store ----------------------------------------------------------------------------------------------

    def _follow(self, batch: Sequence[WatchEvent]) -> None:
        fresh: list[_Sandbox] = []
        for event in batch:
            pod = PodView(event.object)
            box = self._pods.get(pod.key)
            if event.type == "DELETED" or "deletionTimestamp" in pod.document["metadata"]:
                if box is not None and box.pod.uid == pod.uid:
                    self._end(box)
                elif box is None and event.type != "DELETED":
                    self._store.delete("Pod", pod.namespace, pod.name, now=True)  # nothing of it is here
            elif box is None and pod.phase not in ("Succeeded", "Failed"):
                fresh.append(self._admit(pod))
        self._launch(fresh)

    def _admit(self, pod: PodView) -> _Sandbox:
        lab = self._settings.lab
        netns = names.node_netns(lab, self._settings.node) if pod.host_network else names.pod_netns(lab, pod.namespace, pod.name)
        box = self._pods[pod.key] = _Sandbox(pod, netns)
        known = str(pod.document.get("status", {}).get(SANDBOX_KEY, ""))
        if pod.phase == "Running" and known and self._kernel.exists(netns):  # an earlier process of this lab attached it
            box.id, box.attached = known, True
        return box

    def _launch(self, boxes: Iterable[_Sandbox]) -> None:
        go: list[_Sandbox] = []
        for box in boxes:
            if self._ready or box.pod.host_network or box.attached:
                go.append(box)
            else:
                self._held.append(box)
                self._tell(box, "NetworkNotReady", _NOT_READY)
        wanted = [box for box in go if not box.pod.host_network and not self._kernel.exists(box.netns)]
        if wanted:
            try:
                self._kernel.create_netns([box.netns for box in wanted])
            except KernelError:
                pass  # each tries for itself, and says what is wrong
            else:
                for box in wanted:
                    box.made = True
        for box in go:
            assert self._tasks is not None, "there is no pod before kubelet runs"
            box.task = self._tasks.create_task(self._bring_up(box))

    # ---- up ---------------------------------------------------------------------------------------------------------------

    async def _bring_up(self, box: _Sandbox) -> None:
        address = self._settings.host_ip if box.pod.host_network else box.pod.ip
        while not box.attached and not box.pod.host_network:
            await self._turn(self._settings.node)
            try:
                address = _address(await self._attach(box))
            except (LabnetError, OSError) as error:
                await self._detach_failed(box, error)
                if box.ending:
                    return
                await self._back_off(box)
                await self._detach_undone(box)
                box.attempt += 1
        while not box.ending:
            try:
                self._on_running(box.pod, box.netns)
            except LabnetError as error:
                self._on_gone(box.pod)
                self._tell(box, "Failed", f"Error: {error}")
                await self._back_off(box)
                continue
            box.started = True
            self._say_running(box, address)
            return

    async def _attach(self, box: _Sandbox) -> Result:
        box.id = names.digest("sandbox", box.pod.uid, box.attempt).hex()
        if not box.made and not self._kernel.exists(box.netns):
            self._kernel.create_netns([box.netns])
        box.made = False  # from now on anything may happen to it
        result = await self._runtime.add(self._attachment(box, box.id))
        if not result.ips:
            raise CniError(999, "the network gave no address")
        box.attached = True
        return result

    async def _detach_failed(self, box: _Sandbox, error: Exception) -> None:
        """A failed ADD is followed by DEL, so that nothing of it stays."""
        said = f'rpc error: code = Unknown desc = failed to setup network for sandbox "{box.id}": {error}'
        self._tell(box, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {said}")
        box.undone.append(box.id)
        await self._detach_undone(box)

    async def _detach_undone(self, box: _Sandbox) -> None:
        """DEL for every sandbox that failed and has had none that worked."""
        for sandbox in tuple(box.undone):
            try:
                await self._runtime.delete(self._attachment(box, sandbox))
                box.undone.remove(sandbox)
            except (LabnetError, OSError) as error:
                self._tell(box, "FailedKillPod", _not_killed(box, sandbox, error))

    def _attachment(self, box: _Sandbox, sandbox: str) -> Attachment:
        pod = box.pod
        args = (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};"
            f"K8S_POD_INFRA_CONTAINER_ID={sandbox};K8S_POD_UID={pod.uid}"
        )
        return Attachment(sandbox, f"{self._settings.netns_dir}/{box.netns}", args=args, netns=NetnsGrant(box.netns))

    async def _back_off(self, box: _Sandbox) -> None:
        box.waiting = True
        await self._clock.sleep(self._settings.back_off_s)
        box.waiting = False

    # ---- down -------------------------------------------------------------------------------------------------------------

    def _end(self, box: _Sandbox) -> None:
        if box.ending:
            return
        box.ending = True
        starting = box.task
        if starting is not None and box.waiting:
            starting.cancel()
        assert self._tasks is not None, "there is no pod before kubelet runs"
        box.task = self._tasks.create_task(self._take_down(box, starting))

    async def _take_down(self, box: _Sandbox, starting: asyncio.Task[None] | None) -> None:
        if starting is not None and not starting.done():
            await asyncio.wait({starting})
        if box.started:
            self._on_gone(box.pod)
        if box.attached:
            box.undone.append(box.id)
            box.attached = False
        await self._detach_undone(box)
        while box.undone:
            await self._clock.sleep(self._settings.back_off_s)
            await self._detach_undone(box)
        self._ended.append(box)
        await asyncio.sleep(0)  # whoever ends in this round goes in one call
        ended, self._ended = self._ended, []
        self._bury(ended)

    def _bury(self, boxes: Sequence[_Sandbox]) -> None:
        """Remove the namespaces at once, then the objects; a pod of the same name that waits may come now."""
        spaces = [box.netns for box in boxes if not box.pod.host_network]
        if spaces:
            self._kernel.remove_netns(spaces)
        for netns in spaces:
            self._slices.drop(netns)
        waiting: list[_Sandbox] = []
        for box in boxes:
            pod = box.pod
            del self._pods[pod.key]
            there = self._store.find("Pod", pod.namespace, pod.name)
            if there is not None and PodView(there).uid == pod.uid:
                self._store.delete("Pod", pod.namespace, pod.name, now=True)
            elif there is not None and PodView(there).node == self._settings.node:
                waiting.append(self._admit(PodView(there)))
        self._launch(waiting)

    # ---- telling ----------------------------------------------------------------------------------------------------------

    def _tell(self, box: _Sandbox, reason: str, message: str) -> None:
        """An event, and the pod's status as long as it does not run."""
        pod = box.pod
        self._events.record(f"pod/{pod.key}", reason, message)
        there = self._store.find("Pod", pod.namespace, pod.name)
        if there is not None and not box.started and PodView(there).uid == pod.uid:
            self._store.patch_status("Pod", pod.namespace, pod.name, {"reason": reason, "message": message})

    def _say_running(self, box: _Sandbox, address: str) -> None:
        pod, now = box.pod, timestamp(self._clock.now_s())
        there = self._store.find("Pod", pod.namespace, pod.name)
        if there is None or PodView(there).uid != pod.uid:
            return  # taken away meanwhile, by force
        status: dict[str, Any] = {
            "phase": "Running", "reason": None, "message": None, "hostIP": self._settings.host_ip, "podIP": address,
            "podIPs": [{"ip": address}], "startTime": there["status"].get("startTime", now),
            "conditions": [{"type": word, "status": "True"} for word in ("PodScheduled", "Initialized", "ContainersReady", "Ready")],
            "containerStatuses": [
                {"name": item.name, "ready": True, "restartCount": 0, "state": {"running": {"startedAt": now}}} for item in pod.containers
            ],
        }
        if box.id:
            status[SANDBOX_KEY] = box.id
        self._store.patch_status("Pod", pod.namespace, pod.name, status)
        for item in pod.containers:
            self._events.record(f"pod/{pod.key}", "Started", f"Started container {item.name}")

    def _say_ready(self) -> None:
        name = self._settings.node
        node: Document = self._store.get("Node", "", name)
        others = [item for item in node["status"].get("conditions", ()) if item["type"] != "Ready"]
        ready = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
            "lastTransitionTime": timestamp(self._clock.now_s()),
        }
        self._store.patch_status("Node", "", name, {"conditions": [*others, ready]})
        self._events.record(f"node/{name}", "NodeReady", f"Node {name} status is now: NodeReady")


def _address(result: Result) -> str:
    return result.ips[0].address.partition("/")[0]


def _not_killed(box: _Sandbox, sandbox: str, error: Exception) -> str:
    return (
        f'error killing pod: failed to "KillPodSandbox" for "{box.pod.uid}" with KillPodSandboxError: '
        f'"rpc error: code = Unknown desc = failed to destroy network for sandbox \\"{sandbox}\\": {error}"'
    )
