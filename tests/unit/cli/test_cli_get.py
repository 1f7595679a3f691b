"""`labnet get`: Kubernetes objects as tables and documents, and the words for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labnet.errors import NotFoundError, UsageError
from labnet.kube.store import KubeStore
from labnet.lab.kube_list import listed
from labnet.lab.store import MemoryStore
from labnet.model.cluster import node_document, pod_document
from labnet.sim.clock import LabClock

ENI_CONFIG: dict[str, Any] = {
    "apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": "default"},
    "spec": {"subnet": "subnet-1", "securityGroups": ["sg-1", "sg-2"]},
}


def kube() -> KubeStore:
    store = KubeStore(MemoryStore(), LabClock())
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    store.create(node_document(
        "n1", uid="u", instance_id="i-1", instance_type="t3.nano", zone="z", internal_ip="10.0.0.4", max_pods=4, taints=(taint,),
    ))
    store.create(pod_document("p1", uid="u1"))
    store.create(pod_document("p1", uid="u2", namespace="shop", node="n1"))
    store.create(ENI_CONFIG)
    store.create({**ENI_CONFIG, "metadata": {"name": "other"}, "spec": {"subnet": "subnet-2", "securityGroups": []}})
    return store


@pytest.mark.parametrize(
    ("word", "name", "found"),
    [
        ("pods", None, ["p1", "p1"]), ("po", "p1", ["p1", "p1"]), ("Pod", "shop/p1", ["p1"]), ("no", None, ["n1"]),
        ("eniconfigs", None, ["default", "other"]), ("eniconfigs.crd.k8s.amazonaws.com", "other", ["other"]),
    ],
)
def test_words_and_names(word: str, name: str | None, found: list[str]) -> None:
    assert [item["metadata"]["name"] for item in listed(kube(), word, name)["items"]] == found


def test_what_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="no ENIConfig 'x'") as caught:
        listed(kube(), "eniconfig", "x")
    assert caught.value.hint == "there are: default, other"
    with pytest.raises(UsageError, match="no objects of kind 'services'"):
        listed(kube(), "services")


@pytest.mark.parametrize(
    ("word", "rows"),
    [
        ("eniconfigs", [["default", "subnet-1", "sg-1, sg-2"], ["other", "subnet-2", "(those of the first ENI)"]]),
        ("nodes", [["n1", "NotReady", "4", "10.0.0.4", "k=v:NoSchedule"]]),
        ("pods", [["default", "p1", "Pending", "-", "-", "-"], ["shop", "p1", "Pending", "-", "-", "n1"]]),
    ],
)
def test_tables(run, backend, word: str, rows: list[list[str]]) -> None:
    backend.answers["get"] = listed(kube(), word)
    ran = run("get", word)
    assert ran.code == 0
    assert [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in ran.out.splitlines()[1:]] == rows


def test_documents_and_names(run, backend) -> None:
    backend.answers["get"] = listed(kube(), "eniconfigs")
    assert json.loads(run("get", "eniconfigs", "-o", "json").out)["kind"] == "List"
    assert run("get", "eniconfigs", "-o", "name").out == "eniconfig/default\neniconfig/other\n"
    assert backend.asked[-1] == ("call", "eks", "get", {"kind": "eniconfigs", "name": None})
    backend.answers["get"] = listed(kube(), "eniconfigs", "other")
    assert json.loads(run("get", "eniconfig", "other", "-o", "json").out)["spec"] == {"subnet": "subnet-2", "securityGroups": []}


def test_none_and_nonsense(run, backend) -> None:
    backend.answers["get"] = {"kind": "List", "items": []}
    assert run("get", "eniconfigs") == (0, "", "the lab has no eniconfigs\n")
    assert run("get", "secrets").code == 2
