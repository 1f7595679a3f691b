"""The scenario's Kubernetes objects in the lab's store: made, changed and taken away; names of the scenario become ids on the way.

Objects of these kinds are the scenario's alone: nobody else writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.kube.store import KubeStore
from labnet.lab.cloud_setup import CloudIds
from labnet.model import names
from labnet.model.scenario import Scenario

KINDS = ("ENIConfig",)
"""Kinds that a scenario's `objects` may have."""


def make_true(store: KubeStore, scenario: Scenario, ids: CloudIds, lab: str) -> bool:
    """Make the store's objects of these kinds those of the scenario: was anything written? What is as it should be is left alone."""
    before = store.version
    wanted = {(str(item["kind"]), str(item["metadata"]["name"])): item for item in scenario.objects}
    for kind in KINDS:
        for there in tuple(store.list(kind)):
            if (kind, there["metadata"]["name"]) not in wanted:
                store.delete(kind, "", there["metadata"]["name"])
    for (kind, name), item in wanted.items():
        document = {**item, "spec": _with_ids(item["spec"], ids)}
        there_now = store.find(kind, "", name)
        if there_now is None:
            uid = names.aws_id(kind.lower(), scenario.seed, lab, name)
            store.create({**document, "metadata": {**item["metadata"], "uid": uid}})
        elif there_now["spec"] != document["spec"] or _said(there_now["metadata"]) != _said(item["metadata"]):
            kept = {key: value for key, value in there_now["metadata"].items() if key not in _SAID}
            store.update({**document, "metadata": {**kept, **_said(item["metadata"])}})
    return store.version != before


_SAID = ("labels", "annotations")
"""Members of `metadata` that a scenario says; the others are the store's."""


def _said(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in _SAID if key in metadata}


def _with_ids(spec: Mapping[str, Any], ids: CloudIds) -> dict[str, Any]:
    """`spec` with the ids that its names stand for; what is no name of the scenario is an id already."""
    subnet = str(spec["subnet"])
    vpc = ids.vpc_of_subnet.get(subnet)
    groups = {name: group for (owner, name), group in ids.groups.items() if vpc in (None, owner)}
    return {"subnet": ids.subnets.get(subnet, subnet), "securityGroups": [groups.get(group, group) for group in spec["securityGroups"]]}
