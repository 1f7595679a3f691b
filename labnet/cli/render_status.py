"""The Status document as tables and as names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labnet.cli.output import Table

TABLE_MAIN = 254
Document = Mapping[str, Any]


def status_tables(status: Document, wide: bool) -> list[Table]:
    """Nodes with a row for each ENI, then pods."""
    changed = f"; 'labnet set env' made of it: {env_text(status['changedEnv'])}" if status.get("changedEnv") else ""
    head = f"lab {status['lab']}: {status['state']}, scenario {status['scenario']}{changed}\n"
    return [_nodes(status["nodes"], wide, head), _pods(status["pods"], wide)]


def env_text(changed: Mapping[str, str | None]) -> str:
    """Variables as `labnet set env` takes them: NAME=VALUE, NAME- for one that is not there."""
    return " ".join(f"{name}-" if value is None else f"{name}={value}" for name, value in changed.items())


def status_names(status: Document) -> list[str]:
    """``node/NAME`` and ``pod/NAMESPACE/NAME``, which every verb takes as a target."""
    return [f"node/{node['name']}" for node in status["nodes"]] + [f"pod/{pod['namespace']}/{pod['name']}" for pod in status["pods"]]


def _nodes(nodes: Sequence[Document], wide: bool, title: str) -> Table:
    columns = ("NODE", "TYPE", "PUBLIC IP", "ENI", "SUBNET", "IP", "TABLE", "USED", "WARM", "COOLING", "MAX")
    more = ("ENI ID", "MAC", "INSTANCE", "MAX PODS", "NETNS") if wide else ()
    rows = [row for node in nodes for row in _node(node, wide)]
    return Table((*columns, *more), tuple(rows), title)


def _node(node: Document, wide: bool) -> list[tuple[str, ...]]:
    """One row for each ENI; what belongs to the node stands in its first row only."""
    rows = []
    for number, eni in enumerate(node["enis"] or [{}]):
        first = number == 0
        addresses = eni.get("addresses", {})
        row = (
            node["name"] if first else "", node["instanceType"] if first else "", _text(node["publicIp"]) if first else "",
            eni.get("name", "-"), eni.get("subnet", "-"), eni.get("ip", "-"), _table(eni.get("table")),
            *(str(addresses.get(key, "-")) for key in ("used", "warm", "cooling", "max")),
        )
        if wide:
            own = (node["instanceId"], str(node["maxPods"]), node["netns"]) if first else ("", "", "")
            row += (eni.get("id", "-"), eni.get("mac", "-"), *own)
        rows.append(row)
    return rows


def _pods(pods: Sequence[Document], wide: bool) -> Table:
    columns = ("POD", "NODE", "STATUS", "IP", "ENI", "TABLE", "HOST LINK")
    more = ("ENI ID", "NETNS") if wide else ()
    return Table((*columns, *more), tuple(_pod(pod, wide) for pod in pods))


def _pod(pod: Document, wide: bool) -> tuple[str, ...]:
    name = pod["name"] if pod["namespace"] == "default" else f"{pod['namespace']}/{pod['name']}"
    state = pod["phase"] if pod["phase"] == "Running" or not pod["reason"] else f"{pod['phase']}: {pod['reason']}"
    row = (name, _text(pod["node"]), state, _text(pod["ip"]), _text(pod["device"]), _table(pod["table"]), _text(pod["hostLink"]))
    return (*row, _text(pod["eni"]), pod["netns"]) if wide else row


def _table(number: int | None) -> str:
    """A routing table as `ip rule` names it."""
    if number is None:
        return "-"
    return "main" if number == TABLE_MAIN else str(number)


def _text(value: object) -> str:
    return str(value) if value not in (None, "") else "-"
