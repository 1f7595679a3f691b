"""What the ledger of calls says: chosen records, and sums by action or caller (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from labnet.ec2.behaviour import LAB
from labnet.ec2.patterns import matches

Record = Mapping[str, Any]
OK = "OK"


def choose(records: Iterable[Record], *, action: str = "", caller: str = "", errors: bool = False) -> list[Record]:
    """The records of an action (``*`` is taken) and a caller; with `errors` those that were refused."""
    def chosen(item: Record) -> bool:
        if errors and item["result"] == OK:
            return False
        return (not action or matches(action, item["action"])) and (not caller or item["caller"] == caller)

    return [item for item in records if chosen(item)]


def told(record: Record, nodes: Iterable[str]) -> dict[str, Any]:
    """One record with the kind of its caller: the lab itself, a node's ipamd, or a client outside with an access key."""
    caller = record["caller"]
    kind = "lab" if caller == LAB else "node" if caller in nodes else "external"
    return {**record, "callerKind": kind}


def sums(records: Sequence[Record], by: Literal["action", "node"]) -> list[dict[str, Any]]:
    """Calls, refusals by code, and seconds, for each action or caller; the one with most calls first."""
    groups: dict[str, list[Record]] = {}
    for item in records:
        groups.setdefault(str(item["action"] if by == "action" else item["caller"]), []).append(item)
    rows = [{by if by == "action" else "caller": key, **_sum(items)} for key, items in groups.items()]
    return sorted(rows, key=lambda row: -row["calls"])


def _sum(items: Sequence[Record]) -> dict[str, Any]:
    codes: dict[str, int] = {}
    for item in items:
        if item["result"] != OK:
            codes[item["result"]] = codes.get(item["result"], 0) + 1
    latencies = [float(item["latency"]) for item in items]
    return {
        "calls": len(items), "errors": sum(codes.values()), "codes": codes, "meanLatency": round(sum(latencies) / len(latencies), 6),
        "maxLatency": max(latencies),
    }
