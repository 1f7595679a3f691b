"""`labnet check`: on the lab that runs, or on a scenario that is brought up for it and taken down again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from labnet.lab import client, lifecycle, registry, scenario_file
from labnet.lab.lifecycle import UpOptions
from labnet.lab.progress import Progress
from labnet.model import codec
from labnet.model.scenario import Scenario

Report = Callable[[Progress], None]


def check(run_dir: Path, word: str | None, lab: str | None, progress: Report) -> dict[str, Any]:
    """The CheckReport of what a word means: a running lab, or a scenario; no word = the running lab.

    A scenario whose lab runs already (by its own name, or `lab`) is checked there and left alone; its checks are those
    of the file. Errors: those of `up`, of the lab, and NotFoundError when nothing runs and nothing is named.
    """
    running = {entry.name for entry in registry.labs(run_dir) if entry.state == "running"}
    if word is None or (word in running and lab in (None, word)):
        return client.call(run_dir, word or registry.resolve(run_dir, lab), "check", {})
    scenario = scenario_file.load(word)
    name = lab or scenario.name
    if name in running:
        return _ask(run_dir, name, scenario)
    lifecycle.up(scenario, UpOptions(run_dir=run_dir, lab=lab), progress)
    try:
        return _ask(run_dir, name, scenario)
    finally:
        lifecycle.down([name], run_dir, progress)


def _ask(run_dir: Path, lab: str, scenario: Scenario) -> dict[str, Any]:
    return client.call(run_dir, lab, "check", {"scenario": codec.to_document(scenario)})
