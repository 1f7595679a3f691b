"""What the door knows of the links of its namespaces: indexes, MTUs, which end belongs to which (pure).

A link that the door makes gets its index from here, so that later messages name it without a look-up. What others do
to links is learned by `learn`, after the kernel has refused an index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

End = tuple[str, str]
"""(namespace, link name)."""


@dataclass(slots=True)
class LinkBook:
    """Links by namespace and name; a namespace that was never read has no entry in `_indexes`."""

    _indexes: dict[str, dict[str, int]] = field(default_factory=dict)
    _mtus: dict[str, dict[str, int]] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)
    _peers: dict[End, End] = field(default_factory=dict)

    def knows(self, netns: str) -> bool:
        """Was the namespace read once?"""
        return netns in self._indexes

    def learn(self, netns: str, links: Iterable[tuple[int, str, int]]) -> None:
        """(index, name, MTU in bytes) of all links that are there now."""
        found = list(links)
        self._indexes[netns] = {name: index for index, name, _mtu in found}
        self._mtus[netns] = {name: mtu for _index, name, mtu in found}
        highest = max((index for index, _name, _mtu in found), default=0)
        self._next[netns] = max(self._next.get(netns, 0), highest + 1)

    def join(self, netns: str, links: Iterable[tuple[int, str, int]]) -> None:
        """(index, name, MTU in bytes) of links that are there too; those of a namespace that was never read are all that are known."""
        if not self.knows(netns):
            self.learn(netns, links)
            return
        for index, name, mtu_bytes in links:
            self.put((netns, name), index)
            self.set_mtu(netns, name, mtu_bytes)

    def names(self, netns: str) -> dict[int, str]:
        """Index → name."""
        return {index: name for name, index in self._indexes.get(netns, {}).items()}

    def links(self, netns: str) -> list[tuple[int, str, int]]:
        """(index, name, MTU in bytes) of all links that are known."""
        return [(index, name, self._mtus[netns].get(name, 0)) for name, index in self._indexes.get(netns, {}).items()]

    def index(self, netns: str, name: str) -> int | None:
        """The index of a link, if known."""
        return self._indexes.get(netns, {}).get(name)

    def mtu(self, netns: str, name: str) -> int | None:
        """The MTU of a link in bytes, if known."""
        return self._mtus.get(netns, {}).get(name)

    def set_mtu(self, netns: str, name: str, mtu_bytes: int) -> None:
        """The link has this MTU now."""
        self._mtus.setdefault(netns, {})[name] = mtu_bytes

    def reserve(self, netns: str, name: str) -> int:
        """An index for a link that is about to be made. Needs `knows`."""
        index = self._next[netns]
        self._next[netns] = index + 1
        self._indexes[netns][name] = index
        return index

    def put(self, end: End, index: int) -> None:
        """A link that others made has this index; of a namespace that was never read nothing is kept."""
        netns, name = end
        if netns in self._indexes:
            self._indexes[netns][name] = index
            self._next[netns] = max(self._next[netns], index + 1)

    def veth(self, end: End) -> tuple[End, int, End, int, int] | None:
        """One end and its index, the other end and its index, their MTU in bytes; None when it is not all known."""
        other = self._peers.get(end)
        if other is None:
            return None
        index, other_index, mtu_bytes = self.index(*end), self.index(*other), self.mtu(*end)
        return None if index is None or other_index is None else (end, index, other, other_index, mtu_bytes or 0)

    def plug(self, one: End, other: End, mtu_bytes: int) -> None:
        """A veth with these two ends is there."""
        self._peers[one], self._peers[other] = other, one
        for netns, name in (one, other):
            self.set_mtu(netns, name, mtu_bytes)

    def unplug(self, end: End) -> None:
        """A link is gone, and its other end with it."""
        other = self._peers.pop(end, end)
        self._peers.pop(other, None)
        for netns, name in (end, other):
            self._indexes.get(netns, {}).pop(name, None)
            self._mtus.get(netns, {}).pop(name, None)

    def forget(self, netns: str) -> None:
        """The namespace is gone, and every link whose other end was there."""
        for name in list(self._indexes.get(netns, ())):
            self.unplug((netns, name))
        for table in (self._indexes, self._mtus, self._next):
            table.pop(netns, None)
