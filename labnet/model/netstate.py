"""What a network namespace holds, as values: the common language of planners, the kernel door, goldens and traces (pure).

A namespace's desired state is a union of *slices*, one per actor (``os``, ``fabric``, ``ipamd``, ``cni:<attachment>`` …);
each slice is a tuple of the objects below. Every object has a `key` (what it is, unique in its namespace) and a `text`
(how `ip`, `iptables-save` or `nft` prints it). Two objects of one key and different values are the same thing changed.

What the kernel makes by itself (table local, connected routes, the rules 0, 32766 and 32767, learned neighbours, `lo`)
is observed, because a walk over the state needs it, and answers True to `derived`: no diff ever adds or removes it.
Counters, handles and interface indexes are no part of a state.

Names: addresses are text without mask, prefixes carry theirs; `inet`/`inet6` as iproute2 says; MACs are lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Literal, TypeVar

from labnet.model.filterobjects import IptChain, IptPolicy, IptRule, NftElement, NftPortChain, NftTable
from labnet.model.netobjects import (
    TABLE_DEFAULT,
    TABLE_LOCAL,
    TABLE_MAIN,
    TABLE_NAMES,
    Addr,
    Backend,
    Family,
    Key,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    Route,
    RouteType,
    Rule,
    RuleAction,
    RuleExtras,
    Sysctl,
    VethPeer,
)
from labnet.model.values import frozen

KernelObject = (
    Link | LinkUp | LinkMtu | Addr | Route | Rule | Neigh | Sysctl | IptChain | IptRule | IptPolicy | NftTable | NftPortChain | NftElement
)
T = TypeVar("T", bound=KernelObject)


@frozen
class KernelState:
    """All that one namespace holds, in the kernel's order (rules by priority, iptables rules by place)."""

    objects: tuple[KernelObject, ...] = ()
    _index: dict[Key, KernelObject] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {item.key: item for item in self.objects})

    def __iter__(self) -> Iterator[KernelObject]:
        return iter(self.objects)

    def __contains__(self, item: KernelObject) -> bool:
        return self._index.get(item.key) == item

    def find(self, key: Key) -> KernelObject | None:
        """The object of that key, or None."""
        return self._index.get(key)

    def all(self, cls: type[T]) -> tuple[T, ...]:
        """Every object of one class, in order."""
        return tuple(item for item in self.objects if isinstance(item, cls))


@frozen
class Slice:
    """What one actor wants in one namespace: `name` is ``os``, ``fabric``, ``eni:<id>``, ``ipamd``, ``cni:<attachment>``, ``proxy``."""

    name: str
    objects: tuple[KernelObject, ...] = ()


Op = Literal["add", "replace", "remove"]


@frozen
class Change:
    """One step in one namespace: `object` is what shall be (or shall go), `before` what a replace finds there."""

    op: Op
    object: KernelObject
    before: KernelObject | None = None

    @property
    def text(self) -> str:
        """The change as a plan prints it."""
        return self.object.text

    def undone(self) -> Change:
        """The change that takes this one back."""
        if self.op == "add":
            return Change("remove", self.object)
        if self.op == "remove":
            return Change("add", self.object)
        assert self.before is not None, "a replace knows what it replaces"
        return Change("replace", self.before, self.object)


Batch = tuple[str, tuple[Change, ...]]
"""Changes for one namespace: its name, then the steps in order."""


def merged(slices: Iterable[Slice]) -> KernelState:
    """The union of slices as one state; an object that several slices claim counts once."""
    seen: dict[Key, KernelObject] = {}
    for part in slices:
        for item in part.objects:
            seen.setdefault(item.key, item)
    return KernelState(tuple(seen.values()))

__all__ = [
    "TABLE_DEFAULT", "TABLE_LOCAL", "TABLE_MAIN", "TABLE_NAMES", "Addr", "Backend", "Batch", "Change", "Family", "IptChain", "IptPolicy",
    "IptRule", "KernelObject", "KernelState", "Key", "Link", "LinkMtu", "LinkUp", "Neigh", "NftElement", "NftPortChain", "NftTable", "Op",
    "Route", "RouteType", "Rule", "RuleAction", "RuleExtras", "Slice", "Sysctl", "VethPeer", "merged",
]
