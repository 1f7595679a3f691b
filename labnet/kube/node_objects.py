"""What the daemon of one node reads of Kubernetes, from the lab's objects: the port `NodeObjects`."""

from __future__ import annotations

from labnet.errors import NotFoundError
from labnet.kube.store import KubeStore
from labnet.model.cluster import UNSCHEDULABLE_TAINT, Document, EniConfig, eni_config_name

ENI_CONFIG = "ENIConfig"


class KubeNodeObjects:
    """One node's view of the lab's objects; it reads them anew each time it is asked."""

    def __init__(self, store: KubeStore, node: str) -> None:
        self._store, self._node = store, node

    def max_pods(self) -> int:
        """`status.capacity.pods`. Errors: NotFoundError without the Node."""
        return int(self._own()["status"]["capacity"]["pods"])

    def unschedulable(self) -> bool:
        """Has the node the taint ``node.kubernetes.io/unschedulable:NoSchedule``? Errors: NotFoundError without the Node."""
        taints = self._own()["spec"].get("taints", ())
        return any(taint["key"] == UNSCHEDULABLE_TAINT and taint["effect"] == "NoSchedule" for taint in taints)

    def eni_config(self, annotation_key: str, label_key: str) -> EniConfig:
        """The ENIConfig for the node's new ENIs. Errors: NotFoundError naming the node or the ENIConfig that is missing."""
        metadata = self._own()["metadata"]
        name = eni_config_name(metadata.get("labels", {}), metadata.get("annotations", {}), annotation_key, label_key)
        found = self._store.find(ENI_CONFIG, "", name)
        if found is None:
            hint = f"add an ENIConfig of that name to the scenario's objects, or name another one by the node's label {label_key}"
            raise NotFoundError(f"node {self._node} uses ENIConfig {name}, and there is none of that name", hint)
        return read_eni_config(found)

    def _own(self) -> Document:
        return self._store.get("Node", "", self._node)


def read_eni_config(document: Document) -> EniConfig:
    """An ENIConfig document, read."""
    spec = document["spec"]
    return EniConfig(str(document["metadata"]["name"]), str(spec["subnet"]), tuple(str(one) for one in spec.get("securityGroups") or ()))
