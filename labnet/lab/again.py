"""`up` on a running lab: its own process, which has everything loaded, reads the scenario and makes it true.

So the command loads neither YAML nor schema nor rules, which would take it longer than the lab takes to look at itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labnet.errors import EXIT_TIMEOUT, LabnetError
from labnet.lab import client, registry
from labnet.lab.paths import LabPaths
from labnet.lab.scenario_source import read_text

STDIN = "-"
MOST_TOLD = 8
"""So many pods that are not Running are named in an error; `labnet status` has them all."""
Event = Callable[[dict[str, Any]], None]
Again = tuple[dict[str, Any], Sequence[Mapping[str, str]]]
"""The status, and of each warning about the scenario its `field` and `message`."""


def up_again(
    source: str, overrides: Sequence[str], run_dir: Path, lab: str | None, timeout_s: float, on_event: Event
) -> Again | None:
    """Make the running lab of a scenario what the scenario says; its status, and what speaks against the scenario.

    None when there is no such lab, or it cannot be told which one it is without reading the scenario: then `up` goes its whole way.

    Errors: those of reading the scenario, as the lab's process found them; LabnetError 124 when pods are not Running in time.
    """
    name = _running(source, run_dir, lab)
    if name is None:
        return None
    text, file = read_text(source)
    paths = LabPaths(run_dir, name)
    with registry.locked(paths):
        record = registry.read(paths)
        if record is None or record.state != "running" or not registry.alive(record):
            return None
        args = {"text": text, "file": file, "source": source, "sets": list(overrides), "named": lab is not None, "timeout": timeout_s}
        result = client.call(run_dir, name, "reconcile", args, on_event)
    return None if "other" in result else (finished(result), result.get("cautions", ()))


def _running(source: str, run_dir: Path, lab: str | None) -> str | None:
    """The one running lab that this can mean."""
    if source == STDIN:
        return None  # it can be read once
    found = [
        entry.name for entry in registry.labs(run_dir)
        if entry.state == "running" and (entry.name == lab if lab is not None else entry.scenario == source)
    ]
    return found[0] if len(found) == 1 else None


def finished(result: Mapping[str, Any]) -> dict[str, Any]:
    """The status in an answer. Errors: LabnetError 124 naming the pods that are not Running, and why."""
    if result.get("waitingFor"):
        missing = result["waitingFor"]
        lines = [f"{item['pod']}: {item['reason']}" for item in missing[:MOST_TOLD]]
        lines += [f"and {len(missing) - MOST_TOLD} more"] if len(missing) > MOST_TOLD else []
        hint = "the lab stays: 'labnet status' and 'labnet events' say more; 'labnet down' takes it away"
        raise LabnetError("not Running in time: " + "; ".join(lines), hint, EXIT_TIMEOUT)
    return dict(result["status"])
