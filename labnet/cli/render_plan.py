"""The Plan document: changes by namespace, ``+`` what comes, ``-`` what goes, ``~`` what changes, in the words of ip and iptables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labnet.cli.output import counted, data, print_document, say

SIGNS = {"add": "+", "replace": "~", "remove": "-"}
_VERBS = {"add": "to add", "replace": "to change", "remove": "to remove"}


def print_plan(plan: Mapping[str, Any], output: str, nothing: str = "nothing to do: the kernel is as planned") -> None:
    """The document as `output` asks; a table's summary goes to stderr, as it is no data."""
    if output != "table":
        print_document(plan, output)
        return
    changes: Sequence[Mapping[str, Any]] = plan["changes"]
    if changes:
        data("\n".join(plan_lines(changes)))
    say(_summary(changes) if changes else nothing)
    for item in plan.get("waitingFor", ()):
        say(f"pod {item['pod']} would not run: {item['reason']}")


def plan_lines(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines by namespace, in the order in which each is first touched; changes of a namespace keep theirs."""
    by_netns: dict[str, list[Mapping[str, Any]]] = {}
    for change in changes:
        by_netns.setdefault(change["netns"], []).append(change)
    lines: list[str] = []
    for netns, own in by_netns.items():
        lines += [*([""] if lines else []), netns]
        part = None
        for change in own:
            if change["slice"] and change["slice"] != part:
                lines.append(f"  [{change['slice']}]")
            part = change["slice"]
            lines += _change(change)
    return lines


def _change(change: Mapping[str, Any]) -> list[str]:
    """A change may have several lines of text: a chain with its rules."""
    first, *more = str(change["text"]).splitlines() or [""]
    return [f"  {SIGNS[change['op']]} {first}", *(f"    {line}" for line in more)]


def _summary(changes: Sequence[Mapping[str, Any]]) -> str:
    counts = [(sum(change["op"] == op for change in changes), words) for op, words in _VERBS.items()]
    namespaces = len({change["netns"] for change in changes})
    return ", ".join(f"{number} {words}" for number, words in counts if number) + f" in {counted(namespaces, 'namespace')}"
