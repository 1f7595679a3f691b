"""Waiting for a lab to be up: every pod Running, and ipamd's pools at rest, by the lab's own clock."""

from __future__ import annotations

from collections.abc import Callable

from labnet.kube.store import KubeStore
from labnet.model.cloud import CloudState
from labnet.model.cluster import PodView
from labnet.ports import Clock

STEP_S = 0.1
REST_S = 11.0  # two rounds of ipamd's pool loop, and a little
PATIENCE_S = 60.0  # how long nothing may change before allowed pending pods are taken as settled


class Waiter:
    """Looks again and again; `tell` hears how many pods are Running whenever that changes."""

    def __init__(self, clock: Clock, kube: KubeStore, cloud: Callable[[], CloudState], tell: Callable[..., None]) -> None:
        self._clock, self._kube, self._cloud, self._tell = clock, kube, cloud, tell

    async def wait(self, timeout_s: float, *, pending_allowed: bool, pools: bool) -> list[dict[str, str]]:
        """The pods that are not Running when time is up (or, where that is allowed, when nothing moves any more)."""
        end_s = self._clock.now_s() + timeout_s
        missing = await self._pods_running(end_s, pending_allowed)
        if pools and (not missing or pending_allowed):
            await self._pools_rest(end_s)
        return [] if pending_allowed else [{"pod": pod.key, "reason": _reason(pod)} for pod in missing]

    async def _pods_running(self, end_s: float, pending_allowed: bool) -> list[PodView]:
        told, moved_s = -1, self._clock.now_s()
        seen = -1
        pods: list[PodView] = []
        missing: list[PodView] = []
        while True:
            if self._kube.version != seen:  # looking at a thousand pods ten times a second takes its time
                seen = self._kube.version
                pods = [PodView(document) for document in self._kube.list("Pod")]
                missing = [pod for pod in pods if pod.phase not in ("Running", "Succeeded")]
            running = len(pods) - len(missing)
            if running != told:
                told, moved_s = running, self._clock.now_s()
                self._tell("pods", f"{running} of {len(pods)} pods Running", running, len(pods))
            idle_s = self._clock.now_s() - moved_s
            if not missing or self._clock.now_s() >= end_s or (pending_allowed and idle_s > PATIENCE_S):
                return missing
            await self._clock.sleep(STEP_S)

    async def _pools_rest(self, end_s: float) -> None:
        """Until the cloud has not changed for two rounds of the pool loop: what `check` counts is then final."""
        seen = None
        while self._cloud() is not seen and self._clock.now_s() < end_s:
            seen = self._cloud()
            await self._clock.sleep(REST_S)


def _reason(pod: PodView) -> str:
    message = str(pod.document.get("status", {}).get("message") or "")
    return ": ".join(word for word in (pod.reason or pod.phase, message) if word)
