"""Kubernetes-shaped objects, as far as labnet needs them: Node and Pod (pure).

Objects in the store are documents in Kubernetes' own JSON shape (`apiVersion`, `kind`, `metadata`, `spec`, `status`);
the classes here are read-only views that give the parts names and types, and the makers that write the documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.model.values import frozen

Document = Mapping[str, Any]
HOST_NETWORK_PODS = 2  # aws-node and kube-proxy, which max-pods counts on top of the pod addresses
EXTERNAL_ENI_CONFIG_LABEL = "vpc.amazonaws.com/externalEniConfig"
DEFAULT_ENI_CONFIG_KEY = "k8s.amazonaws.com/eniConfig"
DEFAULT_ENI_CONFIG = "default"
UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"


@frozen
class ContainerSpec:
    """One container: a program (`command`), or the built-in server on `serve` (protocol → port); neither = the defaults."""

    name: str
    command: tuple[str, ...] = ()
    serve: tuple[tuple[str, int], ...] = ()


@frozen
class PodView:
    """A Pod document, read."""

    document: Document

    @property
    def namespace(self) -> str:
        """`metadata.namespace`."""
        return str(self.document["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return str(self.document["metadata"]["name"])

    @property
    def uid(self) -> str:
        """`metadata.uid`."""
        return str(self.document["metadata"]["uid"])

    @property
    def key(self) -> str:
        """``namespace/name``, the key in the store."""
        return f"{self.namespace}/{self.name}"

    @property
    def node(self) -> str:
        """`spec.nodeName`, empty until the scheduler has chosen."""
        return str(self.document["spec"].get("nodeName", ""))

    @property
    def host_network(self) -> bool:
        """Does the pod live in its node's own namespace?"""
        return bool(self.document["spec"].get("hostNetwork", False))

    @property
    def containers(self) -> tuple[ContainerSpec, ...]:
        """Its containers; labnet's `serve` travels in the annotation-free key `x-labnet-serve`."""
        return tuple(
            ContainerSpec(
                name=str(item["name"]),
                command=tuple(item.get("command", ())),
                serve=tuple((str(k), int(v)) for k, v in dict(item.get("x-labnet-serve", {})).items()),
            )
            for item in self.document["spec"].get("containers", ())
        )

    @property
    def phase(self) -> str:
        """`status.phase`: Pending, Running, Succeeded, Failed."""
        return str(self.document.get("status", {}).get("phase", "Pending"))

    @property
    def reason(self) -> str:
        """`status.reason`: why it is not Running."""
        return str(self.document.get("status", {}).get("reason", ""))

    @property
    def ip(self) -> str:
        """`status.podIP` without mask, or empty."""
        return str(self.document.get("status", {}).get("podIP", ""))


@frozen
class EniConfig:
    """An ENIConfig object, read: where new ENIs of custom networking go. No groups = those of the node's first ENI."""

    name: str
    subnet_id: str
    security_groups: tuple[str, ...] = ()


def eni_config_name(labels: Mapping[str, str], annotations: Mapping[str, str], annotation_key: str, label_key: str) -> str:
    """Which ENIConfig a node uses: an own label first, then the annotation, then the label of these keys, else ``default``.

    Source: docs/sources.md#eniconfig
    """
    return (
        labels.get(EXTERNAL_ENI_CONFIG_LABEL) or annotations.get(annotation_key) or labels.get(label_key) or DEFAULT_ENI_CONFIG
    )


def node_labels(name: str, instance_type: str, zone: str, given: Mapping[str, str]) -> dict[str, str]:
    """The labels of a Node: those that every one has, and its own."""
    return {
        "kubernetes.io/hostname": name, "node.kubernetes.io/instance-type": instance_type, "topology.kubernetes.io/zone": zone, **given,
    }


def pod_document(
    name: str, *, uid: str, namespace: str = "default", node: str = "", host_network: bool = False,
    labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None,
    containers: tuple[ContainerSpec, ...] = (),
) -> dict[str, Any]:
    """A new Pod in Kubernetes' shape, phase Pending."""
    spec: dict[str, Any] = {"containers": [_container(item) for item in containers]}
    if node:
        spec["nodeName"] = node
    if host_network:
        spec["hostNetwork"] = True
    metadata = {"name": name, "namespace": namespace, "uid": uid, "labels": dict(labels or {}), "annotations": dict(annotations or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def _container(item: ContainerSpec) -> dict[str, Any]:
    out: dict[str, Any] = {"name": item.name}
    if item.command:
        out["command"] = list(item.command)
    if item.serve:
        out["x-labnet-serve"] = dict(item.serve)
    return out


def node_document(
    name: str, *, uid: str, instance_id: str, instance_type: str, zone: str, internal_ip: str, max_pods: int,
    labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None, taints: tuple[Mapping[str, str], ...] = (),
    external_ip: str = "",
) -> dict[str, Any]:
    """A new Node in Kubernetes' shape, not Ready until its CNI is there."""
    addresses = [{"type": "InternalIP", "address": internal_ip}, {"type": "Hostname", "address": name}]
    if external_ip:
        addresses.append({"type": "ExternalIP", "address": external_ip})
    status = {
        "capacity": {"pods": str(max_pods)}, "allocatable": {"pods": str(max_pods)}, "addresses": addresses,
        "conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "cni plugin not initialized"}],
    }
    metadata = {
        "name": name, "uid": uid, "labels": node_labels(name, instance_type, zone, labels or {}), "annotations": dict(annotations or {}),
    }
    spec: dict[str, Any] = {"providerID": f"aws:///{zone}/{instance_id}"}
    if taints:
        spec["taints"] = [dict(taint) for taint in taints]
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": status}
