"""The book of claims: which actor wants what in which namespace, and the changes that follow (no effect but through the Kernel port).

Where several slices of a namespace claim one key with different values, the slice that appeared last decides, as the last
writer does in the kernel (ipamd's rp_filter over the image's); when it gives up, the earlier claim is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from labnet.kernel.diff import canonical, diff_indexed, index, matches, missing, surplus
from labnet.model.netstate import Batch, Change, KernelObject, KernelState, Key, NftTable, Slice, Sysctl
from labnet.ports import Kernel

OnChange = Callable[[str, str, Change], None]
"""Called with (namespace, slice, change) for every change that was applied."""


@dataclass(slots=True)
class _Claims:
    """The slices of one namespace in order of appearance, and who claims each key (same order)."""

    slices: dict[str, Slice] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)
    owners: dict[Key, dict[str, KernelObject]] = field(default_factory=dict)

    def owner(self, key: Key) -> str | None:
        """The slice whose value counts for a key."""
        names = self.owners.get(key)
        return next(reversed(names)) if names else None

    def effective(self, keys: Iterable[Key]) -> dict[Key, KernelObject]:
        """The values that count for some keys, absent ones left out."""
        found: dict[Key, KernelObject] = {}
        for key in keys:
            name = self.owner(key)
            if name is not None:
                found[key] = self.owners[key][name]
        return found

    def write(self, part: Slice, wanted: Mapping[Key, KernelObject] | None = None) -> Slice | None:
        """Replace a slice (`wanted`: its objects by key, if at hand); the one that stood there before, or None."""
        before = self.slices.pop(part.name, None)
        for key in index(before.objects) if before else ():
            names = self.owners[key]
            names.pop(part.name, None)
            if not names:
                del self.owners[key]
        if part.objects:
            self.slices[part.name] = part
            self.place.setdefault(part.name, len(self.place))
            for key, item in (index(part.objects) if wanted is None else wanted).items():
                self._own(key, part.name, item)
        return before

    def _own(self, key: Key, name: str, item: KernelObject) -> None:
        names = self.owners.setdefault(key, {})
        last = next(reversed(names)) if names else name
        names[name] = item
        if self.place[last] > self.place[name]:
            self.owners[key] = {other: names[other] for other in sorted(names, key=self.place.__getitem__)}


class SliceBook:
    """The Slices port over a Kernel: computes differences of claims, applies them, keeps them if that worked.

    `set` never observes. After a restart, `assume` records what an earlier process had claimed; `drift` and `repair`
    then show and mend what is not so.
    """

    def __init__(self, kernel: Kernel, on_change: OnChange | None = None) -> None:
        self.kernel = kernel
        self.on_change = on_change
        self._claims: dict[str, _Claims] = {}

    def set(self, parts: Sequence[tuple[str, Slice]]) -> None:
        """Make each (namespace, slice) what it says now, all or nothing (see ports.Slices). Errors: KernelError."""
        batches: list[Batch] = []
        told: list[tuple[str, str, Change]] = []
        restore: list[tuple[str, Slice]] = []
        try:
            for netns, part in parts:
                changes, before = self._write(netns, part)
                restore.append((netns, before or Slice(part.name)))
                if changes:
                    batches.append((netns, changes))
                    told += [(netns, part.name, change) for change in changes]
            if batches:
                self.kernel.apply(batches)
        except BaseException:
            for netns, before in reversed(restore):
                self._claims[netns].write(before)
            raise
        if self.on_change is not None:
            for netns, name, change in told:
                self.on_change(netns, name, change)

    def _write(self, netns: str, part: Slice) -> tuple[tuple[Change, ...], Slice | None]:
        claims = self._claims.setdefault(netns, _Claims())
        standing = claims.slices.get(part.name)
        wanted = index(part.objects)
        keys = wanted if standing is None else index(standing.objects) | wanted
        have = claims.effective(keys)
        before = claims.write(part, wanted)
        return diff_indexed(have, claims.effective(keys)), before

    def claimed(self, netns: str, name: str) -> Slice | None:
        """What the slice claims now, or None."""
        claims = self._claims.get(netns)
        return claims.slices.get(name) if claims else None

    def slices(self, netns: str) -> dict[str, Slice]:
        """Every slice of a namespace by name, in order of appearance."""
        claims = self._claims.get(netns)
        return dict(sorted(claims.slices.items(), key=lambda pair: claims.place[pair[0]])) if claims else {}

    def namespaces(self) -> tuple[str, ...]:
        """Every namespace in which something is claimed, in order of appearance."""
        return tuple(netns for netns, claims in self._claims.items() if claims.slices)

    def desired(self, netns: str) -> KernelState:
        """All that is claimed in a namespace, as one state."""
        claims = self._claims.get(netns)
        return KernelState(tuple(claims.effective(claims.owners).values())) if claims else KernelState()

    def assume(self, netns: str, part: Slice) -> None:
        """Record a slice without touching the kernel: an earlier process applied it."""
        self._claims.setdefault(netns, _Claims()).write(part)
        self.kernel.expect(netns, part.objects)

    def drop(self, netns: str) -> None:
        """Forget all claims of a namespace that is gone; nothing is applied. Unknown is fine."""
        self._claims.pop(netns, None)

    def sysctl_paths(self, netns: str) -> tuple[str, ...]:
        """The sysctls that somebody claims there, slashed."""
        return tuple(item.path for item in map(canonical, self.desired(netns)) if isinstance(item, Sysctl))

    def observe(self, netns: str) -> KernelState:
        """The namespace as the kernel holds it, with every claimed sysctl, in the words of the plan where both mean the same."""
        state = self.kernel.observe(netns, self.sysctl_paths(netns))
        wanted = index(self.desired(netns))
        return KernelState(tuple(_in_words_of(wanted.get(canonical(item).key), item) for item in state))

    def drift(self, netns: str) -> tuple[tuple[str, Change], ...]:
        """(slice, change that would mend it) for everything that is not as claimed."""
        claims = self._claims.get(netns)
        if claims is None:
            return ()
        changes = missing(self.observe(netns), self.desired(netns))
        return tuple((claims.owner(canonical(change.object).key) or "", change) for change in changes)

    def foreign(self, netns: str) -> tuple[KernelObject, ...]:
        """What is there, made by nobody's claim and not by the kernel itself."""
        return surplus(self.observe(netns), self.desired(netns))

    def repair(self, netns: str) -> tuple[Change, ...]:
        """Apply what `drift` says; foreign objects stay. A veth is mended where its slice makes it, its far end's namespace after."""
        found = self.drift(netns)
        changes = tuple(change for _name, change in found)
        if changes:
            self.kernel.apply([(netns, changes)])
        if self.on_change is not None:
            for name, change in found:
                self.on_change(netns, name, change)
        return changes


def _in_words_of(planned: KernelObject | None, seen: KernelObject) -> KernelObject:
    """The planned object when the kernel holds it, else what was seen."""
    if planned is None:
        return seen
    if isinstance(planned, NftTable) and isinstance(seen, NftTable):
        return planned  # the kernel does not tell a table's body in the words in which it was loaded
    return planned if matches(seen, planned) else seen
