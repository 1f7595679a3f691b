"""Annotations of pods in the store, as a daemon reads and writes them."""

from __future__ import annotations

from labnet.kube.store import KubeStore


class StoredAnnotations:
    """The PodAnnotations port."""

    def __init__(self, store: KubeStore) -> None:
        self._store = store

    def read(self, namespace: str, pod: str, key: str) -> str | None:
        """One annotation, None when the pod has it not. Errors: NotFoundError when there is no such pod."""
        found = self._store.get("Pod", namespace, pod)["metadata"].get("annotations", {}).get(key)
        return None if found is None else str(found)

    def write(self, namespace: str, pod: str, key: str, value: str) -> None:
        """Set one annotation. Errors: NotFoundError."""
        there = self._store.get("Pod", namespace, pod)
        metadata = there["metadata"]
        self._store.update({**there, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), key: value}}})
