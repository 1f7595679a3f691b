"""Several jobs as one (pure): what many pods add to one node goes in one visit instead of one for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from labnet.kernel.diff import rank
from labnet.model.netstate import Batch, Change, Link


def additions_only(jobs: Sequence[Sequence[Batch]]) -> bool:
    """Does no job take anything away or overwrite anything? Only then may their steps change places."""
    return all(change.op == "add" for job in jobs for _netns, changes in job for change in changes)


def named_in(jobs: Sequence[Sequence[Batch]]) -> set[str]:
    """Every namespace that jobs change or reach into."""
    found = {netns for job in jobs for netns, _changes in job}
    links = (change.object for job in jobs for _netns, changes in job for change in changes if isinstance(change.object, Link))
    return found | {link.peer.netns for link in links if link.peer is not None}


def together(jobs: Sequence[Sequence[Batch]]) -> list[Batch]:
    """All additions in an order in which they can be applied: first what goes into a namespace of one job alone, where links are
    made, then for each shared namespace everything at once, foundations first.
    """
    visits = Counter(netns for job in jobs for netns in {netns for netns, _changes in job})
    alone = [(netns, changes) for job in jobs for netns, changes in job if visits[netns] == 1]
    shared: dict[str, list[Change]] = {}
    for job in jobs:
        for netns, changes in job:
            if visits[netns] > 1:
                shared.setdefault(netns, []).extend(changes)
    return [*alone, *((netns, tuple(sorted(changes, key=lambda change: rank(change.object)))) for netns, changes in shared.items())]
