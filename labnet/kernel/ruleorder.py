"""Rules of iptables' built-in chains stand in the order of their slice (pure).

A rule comes by being appended. So where one is missing, or stands behind a later one, all that should follow it goes and is
appended again; what stands right stays untouched. Without this a mark would be given back before it is set.
"""

from __future__ import annotations

from collections.abc import Mapping

from labnet.model.netstate import IptRule, KernelObject, Key


def out_of_place(there: Mapping[Key, KernelObject], wanted: Mapping[Key, KernelObject]) -> set[Key]:
    """Keys of wanted rules that are there and must be appended anew. Both in order: the kernel's, and that of one slice."""
    place = {key: number for number, key in enumerate(there)}
    last: dict[Key, int] = {}
    broken: set[Key] = set()
    moved: set[Key] = set()
    for key, item in wanted.items():
        if type(item) is not IptRule:
            continue
        chain = (item.backend, item.family, item.table, item.chain)
        if key not in place:
            broken.add(chain)
        elif chain in broken or place[key] < last.get(chain, 0):
            broken.add(chain)
            moved.add(key)
        else:
            last[chain] = place[key]
    return moved
