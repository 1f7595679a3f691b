"""`--set path=value`: single values of a scenario replaced before it is checked (pure).

A path is what messages print: ``cni.env.WARM_ENI_TARGET``, ``nodes[0].instanceType``; entries that have a name go by it too:
``nodes.node1.instanceType``. The value is YAML: ``3``, ``true``, ``[a, b]``; nothing behind the ``=`` is the empty text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from labnet.errors import UsageError
from labnet.lab import scenario_yaml
from labnet.lab.scenario_problems import Path, Place, Step, nearest
from labnet.lab.scenario_yaml import Tree

_STEP_RE = re.compile(r"([^.\[\]]+)((?:\[\d+\])*)")
_FORM = "for example --set cni.env.WARM_ENI_TARGET=2 or --set nodes.node1.instanceType=m5.large"


def apply_overrides(tree: Tree, overrides: Sequence[str]) -> None:
    """Change the tree as the `--set` words say, in order. Errors: UsageError for a path that leads nowhere."""
    for word in overrides:
        path_text, equals, value_text = word.partition("=")
        if not equals or not path_text:
            raise UsageError(f"--set {word}: wants path=value", _FORM)
        _set(tree, word, _steps(path_text, word), value_text)


def _steps(text: str, word: str) -> list[Step]:
    steps: list[Step] = []
    for part in text.split("."):
        found = _STEP_RE.fullmatch(part)
        if found is None:
            raise UsageError(f"--set {word}: {part!r} is no step of a path", _FORM)
        steps.append(found.group(1))
        steps += [int(number) for number in re.findall(r"\d+", found.group(2))]
    return steps


def _set(tree: Tree, word: str, steps: Sequence[Step], text: str) -> None:
    holder: Any = tree.value
    path: Path = ()
    for step in steps[:-1]:
        holder, path = _into(holder, path, step, word)
    last = _own(holder, steps[-1], word)
    path = (*path, last)
    for known in [known for known in tree.places if known[: len(path)] == path]:
        del tree.places[known]
    for known in [known for known in tree.texts if known[: len(path)] == path]:
        del tree.texts[known]
    place = Place(f"--set {word}")
    value = scenario_yaml.graft(tree, path, text, lambda _line: place)
    if value is None and not text:
        tree.texts[path] = value = ""
        tree.places[path] = place
    holder[last] = value


def _into(holder: Any, path: Path, step: Step, word: str) -> tuple[Any, Path]:
    """One step down; a mapping that is not there yet is made."""
    own = _own(holder, step, word)
    if isinstance(holder, dict) and holder.get(own) is None:
        holder[own] = {}
    return holder[own], (*path, own)


def _own(holder: Any, step: Step, word: str) -> Step:
    """The key or index that a step means in what it is taken on. Errors: UsageError."""
    if isinstance(holder, dict) and isinstance(step, str):
        return step
    if isinstance(holder, list):
        if isinstance(step, int) and step < len(holder):
            return step
        if isinstance(step, int):
            raise UsageError(f"--set {word}: [{step}] is not there", f"the list has {len(holder)} entries, the first is [0]")
        named = [item.get("name") for item in holder if isinstance(item, dict)]
        if step in named:
            return named.index(step)
        raise UsageError(f"--set {word}: no entry is named {step!r}", nearest(step, [str(name) for name in named if name]))
    raise UsageError(f"--set {word}: there is nothing below this path", _FORM)
