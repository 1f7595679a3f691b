"""What a lab tells while it comes up or goes (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)  # plain: every command loads it, and most make no other values
class Progress:
    """One step of `up` or `down`: `done` of `total` (0 = not counted) in a stage."""

    stage: str
    text: str
    done: int = 0
    total: int = 0


def progress_of(event: Mapping[str, Any]) -> Progress:
    """The step that an event of the lab's process names."""
    return Progress(str(event["stage"]), str(event["text"]), int(event.get("done", 0)), int(event.get("total", 0)))
