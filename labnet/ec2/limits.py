"""Limits of every instance type, from the table that travels in the package.

Source: docs/sources.md#instance-limits
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from labnet.model.cloud import InstanceType


class InstanceTypes(Mapping[str, InstanceType]):
    """The table, each type made when it is asked for."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = rows
        self._made: dict[str, InstanceType] = {}

    def __getitem__(self, name: str) -> InstanceType:
        if name not in self._made:
            row = self._rows[name]
            self._made[name] = InstanceType(
                name=name, enis=row["enis"], ipv4_per_eni=row["ipv4_per_eni"], max_pods=row["max_pods"],
                default_network_card=row["default_network_card"],
                network_cards=tuple((card, count) for card, count in row["network_cards"]),
                hypervisor=row["hypervisor"], bare_metal=row["bare_metal"], trunking=row["trunking"], branch_enis=row["branch_enis"],
            )
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@lru_cache(maxsize=1)
def load() -> InstanceTypes:
    """Every instance type by name; the file is read once."""
    table = (Path(__file__).parent / "tables" / "instance_limits.json").read_bytes()
    return InstanceTypes(msgspec.json.decode(table)["instance_types"])


def suggest(name: str, types: Iterable[str]) -> list[str]:
    """The nearest names to a wrong one, best first, three at most."""
    import difflib  # late: only a wrong word needs it

    return difflib.get_close_matches(name, list(types), n=3)
