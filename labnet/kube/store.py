"""Kubernetes-shaped objects with resource versions that can be watched: what the API server is to the rest of the lab.

Documents are Kubernetes' own JSON. What goes in is copied, what comes out is the stored document itself: read it, never
change it. Every write gets the next number of one counter and stands in the Store before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from labnet.errors import KubeError, NotFoundError
from labnet.model.cluster import Document
from labnet.model.values import frozen
from labnet.ports import Clock, Store

Verb = Literal["ADDED", "MODIFIED", "DELETED"]
KINDS = "kube"
"""Store kind whose keys are the kinds that ever had an object."""
HISTORY = 4096
GRACE_S = 30


@frozen
class WatchEvent:
    """One change as a watcher sees it."""

    type: Verb
    object: Document


@frozen
class _Record:
    version: int
    type: Verb
    object: Document
    node_before: str


class Watch:
    """The changes of one kind in order, as an async iterator; `batch` gives all that wait. Close it when done."""

    def __init__(self, owner: KubeStore, kind: str, node: str | None) -> None:
        self._owner, self.kind, self.node = owner, kind, node
        self._waiting: list[WatchEvent] = []
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, event: WatchEvent) -> None:
        """For the store: one more change."""
        self._waiting.append(event)
        self._wake.set()

    async def batch(self) -> list[WatchEvent]:
        """All changes that wait, at least one; none when the watch was closed."""
        await self._wake.wait()
        taken, self._waiting = self._waiting, []
        if not self._closed:
            self._wake.clear()
        return taken

    def close(self) -> None:
        """Hear no more; iterations end."""
        self._owner.forget(self)
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[WatchEvent]:
        while taken := await self.batch():
            for event in taken:
                yield event


class KubeStore:
    """All objects of a lab. Keys are (kind, namespace, name); a Node's namespace is ""."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._objects: dict[str, dict[str, Document]] = {}
        self._history: dict[str, deque[_Record]] = {}
        self._watches: dict[tuple[str, str | None], list[Watch]] = {}
        self._version = 0
        for kind in store.load(KINDS):
            self._objects[kind] = dict(store.load(f"{KINDS}/{kind}"))
            numbers = [int(item["metadata"]["resourceVersion"]) for item in self._objects[kind].values()]
            self._version = max([self._version, *numbers])
        self._first_version = self._version

    @property
    def version(self) -> int:
        """The number of the last write: watch from here to hear what comes."""
        return self._version

    def create(self, document: Document) -> Document:
        """Store a new object; as it stands now. Errors: KubeError AlreadyExists."""
        kind, key = str(document["kind"]), key_of(document)
        if kind not in self._objects:
            self._objects[kind] = {}
            self._store.put(KINDS, kind, {})
        if key in self._objects[kind]:
            raise KubeError("AlreadyExists", f"{kind.lower()} {key} already exists")
        fresh = _copied(document)
        fresh["metadata"].setdefault("creationTimestamp", timestamp(self._clock.now_s()))
        return self._write("ADDED", kind, key, fresh, None)

    def find(self, kind: str, namespace: str, name: str) -> Document | None:
        """The object, or None."""
        return self._objects.get(kind, {}).get(f"{namespace}/{name}" if namespace else name)

    def get(self, kind: str, namespace: str, name: str) -> Document:
        """The object. Errors: NotFoundError."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise NotFoundError(f"{kind.lower()} {f'{namespace}/' if namespace else ''}{name} not found")
        return found

    def list(self, kind: str, namespace: str | None = None) -> Sequence[Document]:
        """Every object of a kind, or of a namespace, in order of creation."""
        found = self._objects.get(kind, {}).values()
        return [item for item in found if namespace is None or item["metadata"].get("namespace", "") == namespace]

    def update(self, document: Document) -> Document:
        """Replace an object; a `resourceVersion` in it must be the present one. Errors: NotFoundError, KubeError Conflict."""
        metadata = document["metadata"]
        kind, before = str(document["kind"]), self.get(str(document["kind"]), metadata.get("namespace", ""), metadata["name"])
        version = metadata.get("resourceVersion")
        if version is not None and version != before["metadata"]["resourceVersion"]:
            raise KubeError("Conflict", f"{kind.lower()} {key_of(document)} has been modified; take the latest version and try again")
        return self._write("MODIFIED", kind, key_of(document), _copied(document), before)

    def patch_status(self, kind: str, namespace: str, name: str, status: Mapping[str, Any]) -> Document:
        """Set members of `status`; None takes one away. Errors: NotFoundError."""
        before = self.get(kind, namespace, name)
        merged = {key: value for key, value in {**before.get("status", {}), **_copied(status)}.items() if value is not None}
        return self._write("MODIFIED", kind, key_of(before), {**before, "status": merged, "metadata": dict(before["metadata"])}, before)

    def bind(self, namespace: str, name: str, node: str) -> Document:
        """Give a pod its node, for good. Errors: NotFoundError, KubeError Conflict when it has one."""
        before = self.get("Pod", namespace, name)
        if before["spec"].get("nodeName"):
            raise KubeError("Conflict", f"pod {namespace}/{name} is already assigned to node {before['spec']['nodeName']}")
        spec = {**before["spec"], "nodeName": node}
        return self._write("MODIFIED", "Pod", key_of(before), {**before, "spec": spec, "metadata": dict(before["metadata"])}, before)

    def delete(self, kind: str, namespace: str, name: str, *, now: bool = False) -> None:
        """Delete an object. A pod that has a node is marked (`deletionTimestamp`) and goes when its kubelet deletes it `now`.

        Errors: NotFoundError.
        """
        before = self.get(kind, namespace, name)
        if kind == "Pod" and before["spec"].get("nodeName") and not now:
            if "deletionTimestamp" not in before["metadata"]:
                stamp = {"deletionTimestamp": timestamp(self._clock.now_s()), "deletionGracePeriodSeconds": GRACE_S}
                self._write("MODIFIED", kind, key_of(before), {**before, "metadata": {**before["metadata"], **stamp}}, before)
            return
        self._version += 1
        del self._objects[kind][key_of(before)]
        self._store.remove(f"{KINDS}/{kind}", key_of(before))
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self._version)}}
        self._tell(kind, _Record(self._version, "DELETED", last, _node_of(before)))

    def watch(self, kind: str, since: int = 0, *, node: str | None = None) -> Watch:
        """What changes after the version `since`; 0 = all that is there as ADDED, then changes.

        With `node` only pods of that node: a pod appears as ADDED when it is bound. Errors: KubeError Expired when the changes
        after `since` are no longer known.
        """
        watch = Watch(self, kind, node)
        if since == 0:
            for item in self._objects.get(kind, {}).values():
                if node is None or _node_of(item) == node:
                    watch.push(WatchEvent("ADDED", item))
        else:
            for record in self._after(kind, since):
                _offer(watch, record, _node_of(record.object))
        self._watches.setdefault((kind, node), []).append(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """For a watch that closes."""
        there = self._watches.get((watch.kind, watch.node), [])
        if watch in there:
            there.remove(watch)

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _after(self, kind: str, since: int) -> Sequence[_Record]:
        history = self._history.get(kind, deque())
        oldest = history[0].version - 1 if len(history) == HISTORY else self._first_version
        if not oldest <= since <= self._version:
            raise KubeError("Expired", f"too old resource version: {since} ({oldest})")
        return [record for record in history if record.version > since]

    def _write(self, type: Verb, kind: str, key: str, document: dict[str, Any], before: Document | None) -> Document:  # noqa: A002
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        self._store.put(f"{KINDS}/{kind}", key, document)
        self._objects[kind][key] = document
        self._tell(kind, _Record(self._version, type, document, _node_of(before) if before is not None else ""))
        return document

    def _tell(self, kind: str, record: _Record) -> None:
        self._history.setdefault(kind, deque(maxlen=HISTORY)).append(record)
        node = _node_of(record.object)
        for key in ((kind, None), (kind, node)) if node else ((kind, None),):
            for watch in self._watches.get(key, ()):
                _offer(watch, record, node)


def key_of(document: Document) -> str:
    """``namespace/name``, or ``name`` for what has no namespace."""
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def timestamp(now_s: float) -> str:
    """Seconds since the epoch as Kubernetes writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))


def _node_of(document: Document) -> str:
    return str(document.get("spec", {}).get("nodeName", ""))


def _offer(watch: Watch, record: _Record, node: str) -> None:
    if watch.node is not None and watch.node != node:
        return
    came = watch.node is not None and record.node_before != watch.node and record.type == "MODIFIED"
    watch.push(WatchEvent("ADDED" if came else record.type, record.object))


_PLAIN = frozenset({str, int, bool, float, type(None)})


def _copied(value: Any) -> Any:
    """A deep copy of what JSON can say; tuples become lists."""
    kind = type(value)  # asking for a Mapping is slow, and a pod's documents are copied some forty times
    if kind in _PLAIN:
        return value
    if kind is dict or isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if kind is list or isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value
