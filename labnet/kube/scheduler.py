"""The loop that gives pods without a node one: looks whenever a pod or a node changes; `placement` decides."""

from __future__ import annotations

import asyncio

from labnet.kube.placement import UNSCHEDULABLE, Placement, place
from labnet.kube.store import KubeStore, key_of
from labnet.model.cluster import Document
from labnet.ports import Events


class Scheduler:
    """Places pods whenever a pod or a node changes; a pod that fits nowhere says why and waits."""

    def __init__(self, store: KubeStore, events: Events) -> None:
        self._store, self._events = store, events

    async def run(self) -> None:
        """Place until cancelled."""
        changed = asyncio.Event()
        changed.set()
        loop = asyncio.get_running_loop()
        listening = [loop.create_task(self._listen(kind, changed)) for kind in ("Pod", "Node")]
        try:
            while True:
                await changed.wait()
                changed.clear()
                self.place_pending()
        finally:
            for task in listening:
                task.cancel()

    def place_pending(self) -> None:
        """One round over every pod without a node."""
        pods = self._store.list("Pod")
        pending = [pod for pod in pods if not pod["spec"].get("nodeName")]
        if not pending:
            return
        bound = [pod for pod in pods if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ("Succeeded", "Failed")]
        for pod, placement in zip(pending, place(pending, self._store.list("Node"), bound), strict=True):
            if placement.node:
                self._bind(pod, placement)
            else:
                self._refuse(pod, placement)

    async def _listen(self, kind: str, changed: asyncio.Event) -> None:
        watch = self._store.watch(kind)
        try:
            while batch := await watch.batch():
                if kind == "Node" or any(not event.object["spec"].get("nodeName") or event.type == "DELETED" for event in batch):
                    changed.set()
        finally:
            watch.close()

    def _bind(self, pod: Document, placement: Placement) -> None:
        key = key_of(pod)
        if "reason" in pod["status"]:
            self._store.patch_status("Pod", placement.namespace, placement.name, {"reason": None, "message": None, "conditions": None})
        self._store.bind(placement.namespace, placement.name, placement.node)
        self._events.record(f"pod/{key}", "Scheduled", f"Successfully assigned {key} to {placement.node}")

    def _refuse(self, pod: Document, placement: Placement) -> None:
        if pod["status"].get("message") == placement.message:
            return  # said already
        condition = {"type": "PodScheduled", "status": "False", "reason": UNSCHEDULABLE, "message": placement.message}
        status = {"phase": "Pending", "reason": UNSCHEDULABLE, "message": placement.message, "conditions": [condition]}
        self._store.patch_status("Pod", placement.namespace, placement.name, status)
        self._events.record(f"pod/{key_of(pod)}", "FailedScheduling", placement.message)
