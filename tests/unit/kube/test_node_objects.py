"""What a node's daemon reads of Kubernetes: its own Node and the ENIConfig that is meant."""

from __future__ import annotations

from typing import Any

import pytest

from labnet.errors import NotFoundError
from labnet.kube.node_objects import KubeNodeObjects
from labnet.kube.store import KubeStore
from labnet.lab.store import MemoryStore
from labnet.model.cluster import EniConfig, node_document
from labnet.sim.clock import LabClock

ANNOTATION, LABEL = "example.com/annotation", "example.com/label"
OVERRIDE = "vpc.amazonaws.com/externalEniConfig"


def objects(**node: Any) -> KubeNodeObjects:
    store = KubeStore(MemoryStore(), LabClock())
    store.create(node_document(
        "n", uid="u", instance_id="i-1", instance_type="t3.nano", zone="us-west-2a", internal_ip="10.0.0.4", max_pods=7, **node,
    ))
    for name in ("default", "one", "two", "three", "us-west-2a"):
        spec = {"subnet": f"subnet-{name}", "securityGroups": ["sg-1", "sg-2"] if name == "one" else []}
        store.create({"apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": name}, "spec": spec})
    return KubeNodeObjects(store, "n")


@pytest.mark.parametrize(
    ("labels", "annotations", "name"),
    [
        ({}, {}, "default"),
        ({LABEL: "three"}, {}, "three"),
        ({LABEL: "three"}, {ANNOTATION: "two"}, "two"),
        ({LABEL: "three", OVERRIDE: "one"}, {ANNOTATION: "two"}, "one"),
        ({LABEL: ""}, {ANNOTATION: ""}, "default"),
        ({ANNOTATION: "one"}, {LABEL: "one", OVERRIDE: "one"}, "default"),  # each key counts in its own place alone
    ],
)
def test_which_eni_config(labels: dict[str, str], annotations: dict[str, str], name: str) -> None:
    found = objects(labels=labels, annotations=annotations).eni_config(ANNOTATION, LABEL)
    assert found == EniConfig(name, f"subnet-{name}", ("sg-1", "sg-2") if name == "one" else ())


def test_the_label_of_the_zone_that_every_node_has() -> None:
    assert objects().eni_config(ANNOTATION, "topology.kubernetes.io/zone").name == "us-west-2a"


def test_an_eni_config_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="node n uses ENIConfig nine, and there is none") as caught:
        objects(labels={LABEL: "nine"}).eni_config(ANNOTATION, LABEL)
    assert LABEL in caught.value.hint


def test_max_pods_and_taints() -> None:
    assert objects().max_pods() == 7
    assert objects().unschedulable() is False
    cordon = {"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}
    assert objects(taints=(cordon,)).unschedulable() is True
    assert objects(taints=({**cordon, "key": "own"},)).unschedulable() is False


def test_a_node_that_is_gone() -> None:
    with pytest.raises(NotFoundError, match="node n not found"):
        KubeNodeObjects(KubeStore(MemoryStore(), LabClock()), "n").max_pods()
