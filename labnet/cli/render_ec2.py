"""What the EC2 verbs print: calls, sums, buckets, faults, coverage, and subnets drawn as text."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from labnet.cli.output import Table, color_wanted, counted

Document = Mapping[str, Any]
BLOCK = 16
CELLS_A_ROW = 64
"""Blocks in a row of a map: a /22."""
GLYPHS = {"reserved": "R", "primary": "E", "secondary": "s", "prefix": "P", "other": "o", "free": "."}
_COLORS = {"R": "90", "E": "33", "s": "36", "P": "35", "o": "34", ".": "32", "#": "31"}
_PARTLY = "36"
_ADDRESS_LEGEND = "R reserved   E ENI primary   s secondary   P prefix   o other   . free      a row is a /28 block"
_BLOCK_LEGEND = (
    "R only reserved   P prefix   . free   1-f so many of 16 used (hex)   # all used      a cell is a /28 block, a row a /22"
)


# ---- calls ----------------------------------------------------------------------------------------------------------------


def call_tables(result: Document, wide: bool) -> list[Table]:
    """The ledger; a column for tokens where something was throttled."""
    throttled = any("tokens" in item for item in result["calls"])
    columns = ("TIME", "CALLER", "ACTION", "RESULT", "TOOK", *(("TOKENS",) if throttled else ()), *(("KIND", "DIGEST") if wide else ()))
    rows = []
    for item in result["calls"]:
        tokens = (f"{int(item['tokens'])}" if "tokens" in item else "-",) if throttled else ()
        more = (item["callerKind"], item["digest"]) if wide else ()
        rows.append((_clock(item["time"]), item["caller"], item["action"], item["result"], _took(item["latency"]), *tokens, *more))
    return [Table(columns, tuple(rows))]


def sum_tables(result: Document) -> list[Table]:
    """Sums by action or by caller."""
    key = "action" if result["by"] == "action" else "caller"
    rows = [
        (item[key], str(item["calls"]), str(item["errors"]), _took(item["meanLatency"]), _took(item["maxLatency"]), _codes(item["codes"]))
        for item in result["sums"]
    ]
    return [Table((key.upper(), "CALLS", "ERRORS", "MEAN", "MAX", "CODES"), tuple(rows))]


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in codes.items()) or "-"


def _took(seconds: float) -> str:
    return "-" if seconds < 0.0005 else f"{seconds:.3f} s"


def _clock(value: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(value)) + f".{int(value * 1000) % 1000:03d}"


# ---- throttling, faults, coverage -----------------------------------------------------------------------------------------


def bucket_tables(result: Document, wide: bool) -> list[Table]:
    """Buckets that are not full; with `wide` all."""
    rows = [
        (item["bucket"], f"{item['tokens']:.0f}", f"{item['burst']:g}", f"{item['refillPerSecond']:g}")
        for item in result["buckets"] if wide or item["tokens"] < item["burst"]
    ]
    return [Table(("BUCKET", "TOKENS", "BURST", "REFILL/S"), tuple(rows))]


def fault_tables(faults: Sequence[Document]) -> list[Table]:
    """Faults and denials."""
    rows = [
        (
            item["id"], item["action"], item["node"] or "everybody", item["code"], str(item["status"]), _limits(item), str(item["fired"]),
            item["state"],
        )
        for item in faults
    ]
    return [Table(("ID", "ACTION", "CALLER", "CODE", "STATUS", "WHEN", "FIRED", "STATE"), tuple(rows))]


def zone_fault_tables(faults: Sequence[Document]) -> list[Table]:
    """What is set for availability zones."""
    rows = [(item["id"], "failed" if item["type"] == "zone" else "link", _met(item), item["origin"]) for item in faults]
    return [Table(("ID", "TYPE", "WHAT PACKETS MEET", "SET BY"), tuple(rows))]


def zone_fault_text(item: Document) -> str:
    """What is set for zones, in words."""
    where = " and ".join(item["zones"]) or "any two zones"
    return f"zone {where} has failed: {_met(item)}" if item["type"] == "zone" else f"between {where}: {_met(item)}"


def _met(item: Document) -> str:
    if item["type"] == "zone":
        return "no packet enters or leaves it"
    words = [f"{item['roundTripMs']:g} ms more a round trip" if item["roundTripMs"] else "", f"{item['lossPercent']:g} % loss"]
    return ", ".join(word for word in words if word)


def fault_text(fault: Document) -> str:
    """A fault in words."""
    who = f" of {fault['node']}" if fault["node"] else ""
    if fault["type"] == "deny":
        return f"{fault['action']}{who} is denied"
    return f"{fault['action']}{who} fails with {fault['code']} ({fault['status']}), {_limits(fault)}"


def _limits(fault: Document) -> str:
    words = [
        "once" if fault.get("times") == 1 else f"{fault['times']} times" if fault.get("times") else "",
        f"{fault['rate']:.0%} of calls" if fault.get("rate") else "", f"for {fault['for']:g} s" if fault.get("for") else "",
    ]
    return ", ".join(word for word in words if word) or "always"


def coverage_tables(result: Document, wide: bool, missing: bool) -> list[Table]:
    """Actions by what they are; then those that are missing, which people call, or with `missing` all."""
    columns = ("ACTION", "KIND", *(("PARAMETERS",) if wide else ()))
    order = {"acts": 0, "state only": 1, "reads": 2}
    listed = sorted(result["actions"], key=lambda item: order[item["kind"]])
    rows = [(item["action"], item["kind"], *((_parameters(item),) if wide else ())) for item in listed]
    names = result["missing"] if missing else result["missingOften"]
    title = "every action that is missing" if missing else "missing, and often called"
    return [Table(columns, tuple(rows)), Table(("MISSING",), tuple((name,) for name in names), title + "\n")]


def _parameters(item: Document) -> str:
    """What an action takes, and what of it is kept and shown alone."""
    marks = item.get("stateOnlyParameters") or ()
    return " ".join(item["parameters"]) + (f" (state only: {', '.join(marks)})" if marks else "")


# ---- subnets --------------------------------------------------------------------------------------------------------------


def subnet_tables(result: Document, wide: bool) -> list[Table]:
    """Subnets with counts."""
    more = ("PRIMARY", "SECONDARY", "IN PREFIXES", "OTHER", "NEXT PREFIX", "ID") if wide else ()
    rows = []
    for item in result["subnets"]:
        row = (item["name"], item["vpc"], item["cidr"], item["availabilityZone"], *(str(item[key]) for key in ("used", "free", "freePrefixes")))
        counts = (*(str(item[use]) for use in ("primary", "secondary", "prefix", "other")), item["nextPrefix"] or "-", item["id"])
        rows.append((*row, *(counts if wide else ())))
    return [Table(("SUBNET", "VPC", "CIDR", "ZONE", "USED", "FREE", "FREE /28", *more), tuple(rows))]


def subnet_maps(result: Document) -> list[str]:
    """Each subnet with a head, its cells, and the legends that are needed."""
    lines: list[str] = []
    for item in result["subnets"]:
        head = f"{item['name']}  {item['cidr']}  {item['availabilityZone']}"
        whole = f"{counted(item['freePrefixes'], 'whole /28')} free"
        head += f"   {item['used']} used, {item['free']} free, {whole}"
        lines += [*([""] if lines else []), head, *(_addresses(item) if "uses" in item else _blocks(item))]
    small, large = (any(("uses" in item) is wanted for item in result["subnets"]) for wanted in (True, False))
    return [*lines, *([""] if lines else []), *([_ADDRESS_LEGEND] if small else []), *([_BLOCK_LEGEND] if large else [])]


def _addresses(item: Document) -> list[str]:
    """A cell an address, a row a /28."""
    uses = list(item["uses"].values())
    rows = []
    for place, block in enumerate(item["blocks"]):
        cells = "".join(GLYPHS[use] for use in uses[place * BLOCK : (place + 1) * BLOCK])
        rows.append((block["cidr"], cells))
    return _rows(rows)


def _blocks(item: Document) -> list[str]:
    """A cell a /28, a row a /22."""
    blocks = item["blocks"]
    parts = [blocks[start : start + CELLS_A_ROW] for start in range(0, len(blocks), CELLS_A_ROW)]
    return _rows([(part[0]["cidr"].partition("/")[0], "".join(_cell(block) for block in part)) for part in parts])


def _cell(block: Document) -> str:
    used = BLOCK - int(block["free"])
    if block.get("prefix") == BLOCK:
        return GLYPHS["prefix"]
    if used == 0:
        return GLYPHS["free"]
    if used == block.get("reserved"):
        return GLYPHS["reserved"]
    return "#" if used == BLOCK else f"{used:x}"


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Labels to the left, cells in fours; rows that are alike are told once."""
    width = max(len(label) for label, _cells in rows)
    lines: list[str] = []
    alike = 0
    for place, (label, cells) in enumerate(rows):
        if 0 < place < len(rows) - 1 and cells == rows[place - 1][1] and cells == rows[place + 1][1]:
            alike += 1
            continue
        if alike:
            lines.append(f"  {'…'.rjust(width)}  {counted(alike, 'row')} like the one above")
            alike = 0
        lines.append(f"  {label.ljust(width)}  {_painted(cells)}")
    return lines


def _painted(cells: str) -> str:
    parts = [cells[start : start + 4] for start in range(0, len(cells), 4)]
    if not color_wanted(sys.stdout):
        return " ".join(parts)
    return " ".join("".join(f"\x1b[{_COLORS.get(cell, _PARTLY)}m{cell}\x1b[0m" for cell in part) for part in parts)
