"""Several jobs as one (pure): what many pods add to one node, or many ENIs to one VPC, goes in one visit instead of one for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from labnet.kernel.diff import rank
from labnet.model.netstate import Batch, Change, Link, NftElement, NftPortChain

AT_ONCE = 500
"""So many elements and port chains go in one transaction where the order is free: as netlink messages some 100 kB, which a socket takes
from an ordinary user too. A transaction for each port would cost the kernel a walk over all ports, each time.
"""

_SMALL = frozenset({NftElement, NftPortChain})


def additions_only(jobs: Sequence[Sequence[Batch]]) -> bool:
    """Does no job take anything away or overwrite anything? Only then may their steps change places."""
    for job in jobs:
        for _netns, changes in job:
            for change in changes:
                if change.op != "add":
                    return False
    return True


def named_in(job: Sequence[Batch]) -> set[str]:
    """Every namespace that a job changes or reaches into."""
    found = {netns for netns, _changes in job}
    for _netns, changes in job:
        for change in changes:
            item = change.object
            if type(item) is Link and item.peer is not None:
                found.add(item.peer.netns)
    return found


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


def by_stages(batches: Sequence[Batch]) -> list[Batch]:
    """Additions of many batches in an order in which they can be applied: all links, whose far ends others need, then for each namespace
    everything else at once, foundations first. Anything but additions stays as it is.
    """
    if len(batches) < 2 or not additions_only([batches]):
        return list(batches)
    links: dict[str, list[Change]] = {}
    rest: dict[str, list[Change]] = {}
    for netns, changes in batches:
        for change in changes:
            (links if type(change.object) is Link else rest).setdefault(netns, []).append(change)
    found: list[Batch] = [(netns, tuple(changes)) for netns, changes in links.items()]
    for netns, others in rest.items():
        found += [(netns, part) for part in _parted(sorted(others, key=lambda change: rank(change.object)))]
    return found


def _parted(changes: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
    """What goes at once, then the many elements and port chains in transactions of a size that any socket takes."""
    small = [change for change in changes if type(change.object) in _SMALL]
    if len(small) <= AT_ONCE:
        yield tuple(changes)
        return
    first = changes.index(small[0])
    last = first + len(small)
    yield tuple(changes[:first])
    for start in range(0, len(small), AT_ONCE):
        yield tuple(small[start : start + AT_ONCE])
    yield tuple(changes[last:])
