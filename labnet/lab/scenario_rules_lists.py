"""What must hold for the prefix lists of a scenario (pure). Source: docs/sources.md#prefix-lists"""

from __future__ import annotations

from labnet.ec2.rules.quotas import LISTS_PER_REGION, MAX_SIZE
from labnet.lab import scenario_schema as schema
from labnet.lab.scenario_build import room_of
from labnet.lab.scenario_problems import Findings, Path
from labnet.lab.scenario_rules_vpc import NAME_RE, check_block, unique
from labnet.model.addressing import is_address


def check_lists(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with the lists themselves; who names them is checked where they are named."""
    seen: dict[str, Path] = {}
    for n, one in enumerate(document.prefix_lists):
        path: Path = ("prefixLists", n)
        if not NAME_RE.fullmatch(one.name) or is_address(one.name) or one.name.startswith("com.amazonaws"):
            hint = "letters, digits, dots, dashes and underscores, 63 at most; no address, and not AWS's own com.amazonaws"
            findings.add((*path, "name"), f"{one.name!r} is no name for a prefix list", hint)
        unique(seen, one.name, (*path, "name"), "prefix list", findings)
        blocks: dict[str, Path] = {}
        for m, entry in enumerate(one.entries):
            at: Path = (*path, "entries", m, "cidr")
            if check_block(entry.cidr, at, findings, sized=False):
                unique(blocks, entry.cidr, at, "entry of this prefix list", findings)
        if room_of(one) < len(one.entries):
            message = f"has room for {room_of(one)}, and there are {len(one.entries)} entries"
            findings.add((*path, "maxEntries"), message, "leave it away, or make it larger")
        elif not 1 <= room_of(one) <= MAX_SIZE:
            key = "entries" if one.max_entries is None else "maxEntries"
            findings.add((*path, key), f"{room_of(one)} is no size for a prefix list", f"1 to {MAX_SIZE}")
    if len(document.prefix_lists) > LISTS_PER_REGION:
        message = f"{len(document.prefix_lists)} prefix lists, and a region has {LISTS_PER_REGION} at most"
        findings.add(("prefixLists", LISTS_PER_REGION), message, "remove some")
