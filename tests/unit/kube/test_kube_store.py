"""Objects, versions, conflicts, watches, and what a restart finds."""

import asyncio

import pytest

from labnet.errors import KubeError, NotFoundError
from labnet.kube import store as kube_store
from labnet.kube.store import KubeStore
from labnet.lab.store import MemoryStore
from labnet.model.cluster import node_document, pod_document
from labnet.sim.clock import LabClock


@pytest.fixture
def disk():
    return MemoryStore()


@pytest.fixture
def store(disk):
    return KubeStore(disk, LabClock(0.0))


def pod(name, node="", **more):
    return pod_document(name, uid=f"u-{name}", node=node, **more)


def seen(watch):
    """What waits in a watch: (type, name)."""
    return [(event.type, event.object["metadata"]["name"]) for event in asyncio.run(watch.batch())]


def test_one_counter_numbers_every_write(store):
    first = store.create(pod("a"))
    node = store.create(node_document("n", uid="u", instance_id="i-1", instance_type="t3.nano", zone="z", internal_ip="10.0.0.4", max_pods=4))
    assert [item["metadata"]["resourceVersion"] for item in (first, node)] == ["1", "2"]
    assert store.patch_status("Pod", "default", "a", {"phase": "Running"})["metadata"]["resourceVersion"] == "3"
    assert first["metadata"]["creationTimestamp"] == "1970-01-01T00:00:00Z"
    assert store.version == 3


def test_create_refuses_a_name_that_is_taken(store):
    store.create(pod("a"))
    with pytest.raises(KubeError) as caught:
        store.create(pod("a"))
    assert caught.value.reason == "AlreadyExists"
    store.create(pod("a", namespace="other"))
    assert [item["metadata"]["namespace"] for item in store.list("Pod")] == ["default", "other"]
    assert len(store.list("Pod", "other")) == 1


def test_what_goes_in_is_copied(store):
    mine = pod("a")
    store.create(mine)
    mine["status"]["phase"] = "Running"
    assert store.get("Pod", "default", "a")["status"]["phase"] == "Pending"


def test_update_needs_the_version_that_was_read(store):
    old = store.create(pod("a"))
    store.update({**old, "spec": {"containers": [], "nodeName": "n"}})
    with pytest.raises(KubeError) as caught:
        store.update({**old, "spec": {}})
    assert caught.value.reason == "Conflict"
    with pytest.raises(NotFoundError):
        store.update(pod("b"))


def test_patch_status_sets_keeps_and_takes_away(store):
    store.create(pod("a"))
    store.patch_status("Pod", "default", "a", {"reason": "x", "podIP": "10.0.0.5"})
    assert store.patch_status("Pod", "default", "a", {"reason": None})["status"] == {"phase": "Pending", "podIP": "10.0.0.5"}


def test_a_pod_is_bound_once(store):
    store.create(pod("a"))
    assert store.bind("default", "a", "n")["spec"]["nodeName"] == "n"
    with pytest.raises(KubeError):
        store.bind("default", "a", "m")


def test_a_bound_pod_is_marked_before_it_goes(store):
    store.create(pod("a", "n"))
    store.create(pod("b"))
    store.delete("Pod", "default", "a")
    store.delete("Pod", "default", "a")
    assert store.get("Pod", "default", "a")["metadata"]["deletionTimestamp"] == "1970-01-01T00:00:00Z"
    assert store.version == 3
    store.delete("Pod", "default", "a", now=True)
    store.delete("Pod", "default", "b")
    assert store.list("Pod") == []
    with pytest.raises(NotFoundError):
        store.get("Pod", "default", "a")


def test_a_watch_tells_what_is_there_and_then_what_changes(store):
    store.create(pod("a", "n"))
    watch = store.watch("Pod")
    store.patch_status("Pod", "default", "a", {"phase": "Running"})
    store.create(pod("b"))
    store.delete("Pod", "default", "b")
    assert seen(watch) == [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "b")]


def test_a_watch_from_a_version_tells_what_came_after(store):
    store.create(pod("a"))
    since = store.version
    store.create(pod("b"))
    assert seen(store.watch("Pod", since)) == [("ADDED", "b")]


def test_a_watch_of_a_node_sees_a_pod_when_it_is_bound(store):
    watch = store.watch("Pod", node="n")
    store.create(pod("a"))
    store.create(pod("b", "m"))
    store.bind("default", "a", "n")
    store.patch_status("Pod", "default", "a", {"phase": "Running"})
    assert seen(watch) == [("ADDED", "a"), ("MODIFIED", "a")]
    assert seen(store.watch("Pod", 1, node="n")) == [("ADDED", "a"), ("MODIFIED", "a")]


def test_changes_that_are_no_longer_known(store, monkeypatch):
    monkeypatch.setattr(kube_store, "HISTORY", 2)
    for name in ("a", "b", "c"):
        store.create(pod(name))
    assert seen(store.watch("Pod", 1)) == [("ADDED", "b"), ("ADDED", "c")]
    store.create(pod("d"))
    for since in (1, 99):
        with pytest.raises(KubeError) as caught:
            store.watch("Pod", since)
        assert caught.value.reason == "Expired"


def test_iterating_waits_for_changes_and_ends_when_closed(store):
    async def story():
        watch = store.watch("Pod")
        names = []

        async def read():
            async for event in watch:
                names.append(event.object["metadata"]["name"])

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        store.create(pod("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        watch.close()
        await task
        store.create(pod("b"))
        return names

    assert asyncio.run(story()) == ["a"]


def test_a_new_process_finds_everything_and_counts_on(store, disk):
    store.create(pod("a"))
    store.create(pod("b", "n"))
    store.delete("Pod", "default", "a")
    again = KubeStore(disk, LabClock(0.0))
    assert [item["metadata"]["name"] for item in again.list("Pod")] == ["b"]
    assert int(again.create(pod("c"))["metadata"]["resourceVersion"]) > 2
    with pytest.raises(KubeError):
        again.watch("Pod", 1)
