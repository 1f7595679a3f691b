"""Where pods go, and what is said when they go nowhere."""

import asyncio

import pytest

from labnet.kube.placement import Placement, place
from labnet.kube.scheduler import Scheduler
from labnet.kube.store import KubeStore
from labnet.lab.store import MemoryStore
from labnet.model.cluster import node_document, pod_document
from labnet.sim.clock import LabClock


def node(name, max_pods=4, ready=True, **labels):
    made = node_document(
        name, uid=name, instance_id="i-1", instance_type="t3.nano", zone="z", internal_ip="10.0.0.4", max_pods=max_pods, labels=labels
    )
    made["status"]["conditions"][0]["status"] = str(ready)
    return made


def pod(name, node="", **more):
    return pod_document(name, uid=name, node=node, **more)


def nodes_of(placements):
    return [item.node for item in placements]


def test_fewest_pods_first_then_the_name():
    nodes = [node("b"), node("a")]
    assert nodes_of(place([pod(f"p{n}") for n in range(4)], nodes, [])) == ["a", "b", "a", "b"]
    assert nodes_of(place([pod("p"), pod("q")], nodes, [pod("x", "a")])) == ["b", "a"]


def test_two_places_are_for_the_pods_that_every_node_has():
    assert nodes_of(place([pod("p"), pod("q"), pod("r")], [node("a", 4)], [])) == ["a", "a", ""]


def test_system_pods_that_are_there_do_not_count_twice():
    system = [pod(name, "a", namespace="kube-system", host_network=True) for name in ("aws-node", "kube-proxy")]
    assert nodes_of(place([pod("p"), pod("q"), pod("r")], [node("a", 4)], system)) == ["a", "a", ""]


def test_host_network_pods_count():
    assert nodes_of(place([pod("p"), pod("q")], [node("a", 4)], [pod("h", "a", host_network=True)])) == ["a", ""]


def test_a_pod_that_fits_nowhere_hears_why_from_each_node():
    nodes = [node("full", 2), node("new", ready=False), node("other", zone="x")]
    wanting = pod("p")
    wanting["spec"]["nodeSelector"] = {"zone": "y"}
    nodes[0]["metadata"]["labels"]["zone"] = "y"
    said = (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."
    )
    assert place([wanting], nodes, []) == (Placement("default", "p", "", said),)
    assert place([pod("p")], [], [])[0].message == "0/0 nodes are available."


class Events(list):
    def record(self, object, reason, message):  # noqa: A002
        self.append((object, reason, message))


@pytest.fixture
def cluster():
    return KubeStore(MemoryStore(), LabClock(0.0)), Events()


def test_the_loop_binds_and_says_so(cluster):
    store, events = cluster
    store.create(node("a"))
    store.create(pod("p"))
    Scheduler(store, events).place_pending()
    assert store.get("Pod", "default", "p")["spec"]["nodeName"] == "a"
    assert events == [("pod/default/p", "Scheduled", "Successfully assigned default/p to a")]


def test_an_unschedulable_pod_says_it_once_and_goes_when_there_is_room(cluster):
    store, events = cluster
    store.create(node("a", 2))
    store.create(pod("p"))
    scheduler = Scheduler(store, events)
    scheduler.place_pending()
    scheduler.place_pending()
    said = "0/1 nodes are available: 1 Too many pods."
    assert events == [("pod/default/p", "FailedScheduling", said)]
    status = store.get("Pod", "default", "p")["status"]
    assert (status["phase"], status["reason"], status["conditions"][0]["reason"]) == ("Pending", "Unschedulable", "Unschedulable")
    store.create(node("b"))
    scheduler.place_pending()
    placed = store.get("Pod", "default", "p")
    assert placed["spec"]["nodeName"] == "b"
    assert placed["status"] == {"phase": "Pending"}


def test_the_loop_follows_pods_and_nodes(cluster):
    store, events = cluster

    async def story():
        task = asyncio.create_task(Scheduler(store, events).run())
        store.create(pod("p"))
        for _round in range(6):
            await asyncio.sleep(0)
        store.create(node("a"))
        for _round in range(6):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(story())
    assert [reason for _object, reason, _message in events] == ["FailedScheduling", "Scheduled"]


def test_a_taint_keeps_pods_away():
    cordoned, tainted = node("a"), node("b")
    cordoned["spec"]["taints"] = [{"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}]
    tainted["spec"]["taints"] = [{"key": "own", "value": "x", "effect": "NoSchedule"}]
    said = "0/2 nodes are available: 1 node(s) had untolerated taint {own: x}, 1 node(s) were unschedulable."
    assert place([pod("p")], [cordoned, tainted], []) == (Placement("default", "p", "", said),)
    assert nodes_of(place([pod("p")], [cordoned, node("c")], [])) == ["c"]
