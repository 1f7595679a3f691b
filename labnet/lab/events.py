"""The Events port of a lab: what happened, kept in the store and told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labnet.ports import Clock, Store

STREAM = "events"


class LabEvents:
    """Keeps every event; the same words from the same object in a row are counted, as Kubernetes does, not repeated."""

    def __init__(self, lab: str, store: Store, clock: Clock) -> None:
        self._lab, self._store, self._clock = lab, store, clock
        self._last: dict[str, tuple[str, str]] = {}
        self.listeners: list[Callable[[dict[str, Any]], None]] = []

    def record(self, object: str, reason: str, message: str) -> None:  # noqa: A002 - the field's own word
        """Something happened to an object."""
        if self._last.get(object) == (reason, message):
            return
        self._last[object] = (reason, message)
        event = {"kind": "Event", "time": self._clock.now_s(), "lab": self._lab, "object": object, "reason": reason, "message": message}
        self._store.append(STREAM, event)
        for listener in self.listeners:
            listener(event)

    def all(self) -> list[dict[str, Any]]:
        """Every event, oldest first."""
        return self._store.read(STREAM)
