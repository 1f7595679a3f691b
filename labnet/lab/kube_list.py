"""Kubernetes objects of a lab by the words that kubectl takes: ``pods``, ``no``, ``eniconfig`` (pure)."""

from __future__ import annotations

from typing import Any

from labnet.errors import NotFoundError, UsageError
from labnet.kube.store import KubeStore
from labnet.model.cluster import Document

WORDS: dict[str, str] = {
    "pod": "Pod", "pods": "Pod", "po": "Pod", "node": "Node", "nodes": "Node", "no": "Node", "eniconfig": "ENIConfig",
    "eniconfigs": "ENIConfig", "eniconfigs.crd.k8s.amazonaws.com": "ENIConfig",
}
"""Word → kind."""


def listed(store: KubeStore, word: str, name: str | None = None) -> dict[str, Any]:
    """A List of all objects of a kind, or of those of a name. Errors: UsageError for a kind that is not there, NotFoundError."""
    kind = WORDS.get(word.lower())
    if kind is None:
        raise UsageError(f"the lab has no objects of kind {word!r}", "pods, nodes, eniconfigs")
    items: list[Document] = [item for item in store.list(kind) if name is None or _is_named(item, name)]
    if name is not None and not items:
        known = ", ".join(str(item["metadata"]["name"]) for item in store.list(kind)[:20])
        raise NotFoundError(f"there is no {kind} {name!r}", f"there are: {known}" if known else "there is none at all")
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _is_named(item: Document, name: str) -> bool:
    metadata = item["metadata"]
    return name in (metadata["name"], f"{metadata.get('namespace', '')}/{metadata['name']}")
