"""A pod's life under virtual time, on the in-memory kernel, through the runtime and a small plugin."""

import asyncio

import pytest

from labnet.cni.conflist import parse_conflist
from labnet.cni.registry import Registry
from labnet.cni.result import Result, ResultIp
from labnet.cni.results import MemoryResults
from labnet.cni.runtime import InProcess, Runtime
from labnet.errors import CniError, KernelError
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.kube.kubelet import Kubelet, KubeletSettings
from labnet.kube.store import KubeStore
from labnet.lab.store import MemoryStore
from labnet.model import names
from labnet.model.cluster import PodView, node_document, pod_document
from labnet.model.netstate import Slice, Sysctl
from labnet.sim.clock import LabClock, new_event_loop
from labnet.sim.pace import Pace

REFUSED = "add cmd: failed to assign an IP address to container"


class Plugin:
    """Gives 10.0.0.5, .6 …; fails the first `add_fails` and `del_fails` calls."""

    about = "a plugin"

    def __init__(self):
        self.calls, self.add_fails, self.del_fails = [], 0, 0
        self.gate = None

    async def add(self, call):
        self.calls.append(("ADD", call))
        if self.gate is not None:
            await self.gate.wait()
        if self.add_fails:
            self.add_fails -= 1
            raise CniError(999, REFUSED)
        return Result(ips=(ResultIp(f"10.0.0.{4 + len(self.calls)}/32"),))

    async def delete(self, call):
        self.calls.append(("DEL", call))
        if self.del_fails:
            self.del_fails -= 1
            raise CniError(999, "del cmd: no")

    async def check(self, call):
        pass

    gc = status = check

    @property
    def verbs(self):
        return [verb for verb, _call in self.calls]


class Counting(FakeKernel):
    def __init__(self):
        super().__init__()
        self.made, self.removed = [], []

    def create_netns(self, names):
        super().create_netns(names)
        self.made.append(tuple(names))

    def remove_netns(self, names):
        self.removed.append(tuple(names))
        super().remove_netns(names)


class Cluster:
    """One node with its kubelet; `events` as (object, reason, message), `workload` as words."""

    def __init__(self, ready=True):
        self.clock = LabClock(0.0)
        self.store = KubeStore(MemoryStore(), self.clock)
        self.kernel, self.plugin, self.events, self.workload = Counting(), Plugin(), [], []
        self.slices = SliceBook(self.kernel)
        self.kernel.create_netns(["lab-node1"])
        self.kernel.made.clear()
        made = node_document("node1", uid="n", instance_id="i-1", instance_type="t3.nano", zone="z", internal_ip="10.0.0.4", max_pods=9)
        self.store.create(made)
        self.workload_fails = 0
        self.kubelet = self.new_kubelet()
        if ready:
            self.kubelet.network_ready()
            self.events.clear()

    def new_kubelet(self):
        conflist = parse_conflist({"cniVersion": "0.4.0", "name": "net", "plugins": [{"type": "one"}]})
        runtime = Runtime(conflist, MemoryResults(), in_process=InProcess(Registry({"one": self.plugin})))
        return Kubelet(
            KubeletSettings("lab", "node1", "10.0.0.4"), store=self.store, runtime=runtime, kernel=self.kernel, slices=self.slices,
            clock=self.clock, events=self, on_running=self.start, on_gone=lambda pod: self.workload.append(f"stop {pod.key}"),
            turn=Pace(),
        )

    def record(self, object, reason, message):  # noqa: A002
        self.events.append((object, reason, message))

    def start(self, pod, netns):
        self.workload.append(f"start {pod.key} in {netns}")
        if self.workload_fails:
            self.workload_fails -= 1
            raise KernelError("bind", netns, "tcp port 80", 98)

    def create(self, name, uid=None, **more):
        return self.store.create(pod_document(name, uid=uid or f"u-{name}", node="node1", **more))

    def pod(self, name, namespace="default"):
        return PodView(self.store.get("Pod", namespace, name))

    def has(self, name):
        return self.store.find("Pod", "default", name) is not None

    def reasons(self):
        return [reason for _object, reason, _message in self.events]

    def live(self, *steps):
        """Run the kubelet; between the steps (functions) let everything settle for a virtual minute each."""
        loop = new_event_loop(self.clock)

        async def story():
            task = asyncio.create_task(self.kubelet.run())
            for step in steps:
                step()
                await self.clock.sleep(60)
            assert not task.done(), task.result()
            task.cancel()
            await asyncio.wait({task})

        try:
            loop.run_until_complete(story())
        finally:
            loop.close()


def nothing():
    pass


def test_a_pod_gets_a_namespace_an_address_its_workload_and_a_status():
    cluster = Cluster()
    cluster.create("web")
    cluster.live(nothing)
    pod = cluster.pod("web")
    assert (pod.phase, pod.ip, pod.reason) == ("Running", "10.0.0.5", "")
    status = pod.document["status"]
    assert (status["hostIP"], status["podIPs"], status["startTime"]) == ("10.0.0.4", [{"ip": "10.0.0.5"}], "1970-01-01T00:00:00Z")
    assert {item["type"]: item["status"] for item in status["conditions"]}["Ready"] == "True"
    assert cluster.workload == ["start default/web in lab-web"]
    assert cluster.kernel.exists("lab-web")


def test_the_plugin_hears_what_a_container_runtime_says():
    cluster = Cluster()
    cluster.create("web", namespace="shop")
    cluster.live(nothing)
    ((verb, call),) = cluster.plugin.calls
    assert (verb, call.netns_path, call.ifname, call.path) == ("ADD", "/var/run/netns/lab-shop.web", "eth0", "/opt/cni/bin")
    assert call.container_id == names.digest("sandbox", "u-web", 0).hex()
    assert len(call.container_id) == 64
    assert call.args == (
        f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID={call.container_id};K8S_POD_UID=u-web"
    )


def test_namespaces_of_waiting_pods_are_made_in_one_call():
    cluster = Cluster()
    for name in ("a", "b", "c"):
        cluster.create(name)
    cluster.live(nothing)
    assert cluster.kernel.made == [("lab-a", "lab-b", "lab-c")]


def test_one_name_that_is_taken_keeps_no_other_pod_waiting():
    cluster = Cluster()
    cluster.kernel.exists = lambda netns: netns not in ("lab-a", "lab-b") and FakeKernel.exists(cluster.kernel, netns)
    cluster.kernel.create_netns(["lab-a"])
    cluster.create("a")
    cluster.create("b")
    cluster.live(nothing)
    assert cluster.pod("b").phase == "Running"
    assert cluster.pod("a").phase == "Pending"
    assert "exists" in cluster.events[0][2]


def test_a_failed_add_is_told_as_kubelet_tells_it_deleted_and_tried_again_with_a_new_sandbox():
    cluster = Cluster()
    cluster.plugin.add_fails = 2
    cluster.create("web")
    cluster.live(nothing)
    assert cluster.plugin.verbs == ["ADD", "DEL", "ADD", "DEL", "ADD"]
    sandboxes = [call.container_id for _verb, call in cluster.plugin.calls]
    assert sandboxes[0] == sandboxes[1] != sandboxes[2]
    assert cluster.events[0] == (
        "pod/default/web", "FailedCreatePodSandBox",
        f'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "{sandboxes[0]}": '
        f'plugin type="one" name="net" failed (add): {REFUSED}',
    )
    assert cluster.pod("web").document["status"]["startTime"] == "1970-01-01T00:00:20Z"
    assert cluster.pod("web").reason == ""
    assert cluster.kernel.made == [("lab-web",)]


def test_while_it_fails_the_status_says_why():
    cluster = Cluster()
    cluster.plugin.add_fails = 99
    cluster.create("web")
    cluster.live(nothing)
    assert (cluster.pod("web").phase, cluster.pod("web").reason) == ("Pending", "FailedCreatePodSandBox")


def test_deletion_stops_detaches_removes_and_then_the_object_goes():
    cluster = Cluster()
    cluster.create("a")
    cluster.create("b")
    cluster.live(nothing, lambda: [cluster.store.delete("Pod", "default", name) for name in ("a", "b")])
    assert cluster.workload[2:] == ["stop default/a", "stop default/b"]
    assert cluster.plugin.verbs == ["ADD", "ADD", "DEL", "DEL"]
    assert cluster.kernel.removed == [("lab-a", "lab-b")]
    assert cluster.store.list("Pod") == []


def test_claims_of_a_pods_namespace_go_with_it():
    cluster = Cluster()
    cluster.create("a")
    claim = Slice("cni:x", (Sysctl("net/ipv4/ip_forward", "1"),))
    cluster.live(lambda: None, lambda: cluster.slices.set([("lab-a", claim)]), lambda: cluster.store.delete("Pod", "default", "a"))
    assert cluster.slices.claimed("lab-a", "cni:x") is None


def test_a_failed_sandbox_whose_detach_failed_too_is_detached_before_the_next_attempt():
    cluster = Cluster()
    cluster.plugin.add_fails = cluster.plugin.del_fails = 1
    cluster.create("a")
    cluster.live(nothing, nothing)
    assert cluster.plugin.verbs == ["ADD", "DEL", "DEL", "ADD"]
    first, second = (call.container_id for verb, call in cluster.plugin.calls if verb == "ADD")
    assert first != second
    assert {call.container_id for verb, call in cluster.plugin.calls if verb == "DEL"} == {first}
    assert cluster.reasons() == ["FailedCreatePodSandBox", "FailedKillPod"]
    assert cluster.pod("a").phase == "Running"


def test_a_pod_does_not_go_before_every_sandbox_it_had_is_detached():
    cluster = Cluster()
    cluster.plugin.add_fails, cluster.plugin.del_fails = 1, 3
    cluster.create("a")
    cluster.live(lambda: None, lambda: cluster.store.delete("Pod", "default", "a"), nothing)
    assert cluster.plugin.verbs[-1] == "DEL"
    assert cluster.plugin.del_fails == 0
    detached = [call.container_id for verb, call in cluster.plugin.calls if verb == "DEL"]
    assert set(detached) >= {call.container_id for verb, call in cluster.plugin.calls if verb == "ADD"}
    assert cluster.store.find("Pod", "default", "a") is None


def test_a_detach_that_fails_is_told_and_repeated():
    cluster = Cluster()
    cluster.create("a")
    cluster.plugin.del_fails = 1
    cluster.live(nothing, lambda: cluster.store.delete("Pod", "default", "a"))
    assert cluster.plugin.verbs == ["ADD", "DEL", "DEL"]
    assert cluster.reasons() == ["FailedKillPod"]
    assert not cluster.has("a")


def test_a_pod_that_is_deleted_while_it_waits_goes_at_once():
    cluster = Cluster()
    cluster.plugin.add_fails = 99
    cluster.create("a")
    cluster.live(nothing, lambda: cluster.store.delete("Pod", "default", "a"))
    assert not cluster.has("a")
    assert cluster.plugin.verbs[-1] == "DEL"
    assert cluster.kernel.removed == [("lab-a",)]


def test_a_pod_that_is_deleted_while_it_is_attached_is_detached():
    cluster = Cluster()
    cluster.create("a")

    def gate():
        cluster.plugin.gate = asyncio.Event()

    def end():
        cluster.store.delete("Pod", "default", "a")

    cluster.live(gate, end, lambda: cluster.plugin.gate.set())
    assert cluster.plugin.verbs == ["ADD", "DEL"]
    assert cluster.workload == []
    assert not cluster.has("a")


def test_a_pod_deleted_by_force_and_made_again_waits_for_the_old_one():
    cluster = Cluster()
    cluster.create("a")

    def again():
        cluster.store.delete("Pod", "default", "a", now=True)
        cluster.create("a", uid="second")

    cluster.live(nothing, again)
    assert cluster.plugin.verbs == ["ADD", "DEL", "ADD"]
    assert (cluster.pod("a").uid, cluster.pod("a").phase) == ("second", "Running")


def test_a_pod_on_the_hosts_network_needs_no_cni():
    cluster = Cluster(ready=False)
    cluster.create("proxy", host_network=True)
    cluster.live(nothing, lambda: cluster.store.delete("Pod", "default", "proxy"))
    assert cluster.plugin.calls == []
    assert cluster.workload == ["start default/proxy in lab-node1", "stop default/proxy"]
    assert cluster.kernel.exists("lab-node1")
    assert cluster.kernel.made == cluster.kernel.removed == []


def test_until_the_network_is_ready_pods_wait_and_the_node_is_not_ready():
    cluster = Cluster(ready=False)
    cluster.create("a")
    cluster.create("b")
    cluster.live(nothing)
    assert cluster.plugin.calls == []
    assert cluster.reasons() == ["NetworkNotReady", "NetworkNotReady"]
    assert cluster.store.get("Node", "", "node1")["status"]["conditions"][0]["status"] == "False"
    cluster.kubelet = cluster.new_kubelet()
    cluster.live(lambda: cluster.store.delete("Pod", "default", "b"), cluster.kubelet.network_ready)
    assert cluster.pod("a").phase == "Running"
    assert not cluster.has("b")
    (condition,) = cluster.store.get("Node", "", "node1")["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "True", "KubeletReady")
    assert cluster.reasons().count("NodeReady") == 1


def test_containers_that_cannot_start_are_tried_again():
    cluster = Cluster()
    cluster.workload_fails = 1
    cluster.create("a")
    cluster.live(nothing)
    assert cluster.workload == ["start default/a in lab-a", "stop default/a", "start default/a in lab-a"]
    assert cluster.reasons() == ["Failed"]
    assert cluster.pod("a").phase == "Running"


def test_a_new_kubelet_takes_over_what_runs():
    cluster = Cluster()
    cluster.create("a")
    cluster.live(nothing)
    before = dict(cluster.pod("a").document["status"])
    cluster.kubelet = cluster.new_kubelet()
    cluster.live(cluster.kubelet.network_ready, lambda: cluster.store.delete("Pod", "default", "a"))
    assert cluster.plugin.verbs == ["ADD", "DEL"]
    assert cluster.plugin.calls[0][1].container_id == cluster.plugin.calls[1][1].container_id == before["x-labnet-sandbox"]
    assert cluster.workload == ["start default/a in lab-a", "start default/a in lab-a", "stop default/a"]


def test_a_fault_of_ours_ends_the_kubelet_with_it():
    cluster = Cluster()
    cluster.start = None
    cluster.kubelet = cluster.new_kubelet()
    cluster.kubelet.network_ready()
    cluster.create("a")

    async def story():
        await cluster.kubelet.run()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(story())
    assert caught.group_contains(TypeError)
