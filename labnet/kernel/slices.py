"""The book of claims: which actor wants what in which namespace, and the changes that follow (no effect but through the Kernel port).

Where several slices of a namespace claim one key with different values, the slice that appeared last decides, as the last
writer does in the kernel (ipamd's rp_filter over the image's); when it gives up, the earlier claim is put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

from labnet.kernel.diff import canonical, diff_indexed, index, matches, missing, surplus
from labnet.kernel.ruleorder import out_of_place
from labnet.model.netstate import Batch, Change, IptRule, KernelObject, KernelState, Key, Slice, Sysctl
from labnet.ports import Kernel

Busy = Callable[[], AbstractContextManager[None]]
"""Marks work in flight (`Clock.busy`)."""
FLIGHT_JOBS = 16
"""As many jobs are handed over at once: enough to share visits, few enough that the kernel's thread begins early."""
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
        names = self.owners.get(key)
        if names is None:
            self.owners[key] = {name: item}
            return
        last = next(reversed(names)) if names else name
        names[name] = item
        if self.place[last] > self.place[name]:
            self.owners[key] = {other: names[other] for other in sorted(names, key=self.place.__getitem__)}


@dataclass(slots=True)
class _Job:
    """What one `set` asks of the kernel: batches, each with its slice's name; what was claimed `before`; who waits (`set_soon`)."""

    batches: list[Batch] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    before: list[tuple[str, Slice]] = field(default_factory=list)
    done: asyncio.Future[None] | None = None

    def touches(self, spaces: Collection[str]) -> bool:
        """Does it change one of these namespaces?"""
        return any(netns in spaces for netns, _before in self.before)


@dataclass(slots=True, eq=False)
class _Flight:
    """Jobs that the kernel's thread has, and what keeps virtual time from jumping meanwhile."""

    jobs: list[_Job]
    answer: Future[list[Exception | None]]
    busy: ExitStack


class SliceBook:
    """The Slices port over a Kernel: computes differences of claims, applies them, keeps them if that worked.

    `set` never observes. After a restart, `assume` records what an earlier process had claimed; `drift` and `repair`
    then show and mend what is not so.
    """

    def __init__(self, kernel: Kernel, on_change: OnChange | None = None, busy: Busy = nullcontext) -> None:
        self.kernel = kernel
        self.on_change = on_change
        self._busy = busy
        self._claims: dict[str, _Claims] = {}
        self._queue: list[_Job] = []
        self._flying: list[_Flight] = []

    def set(self, parts: Sequence[tuple[str, Slice]]) -> None:
        """Make each (namespace, slice) what it says now, all or nothing (see ports.Slices). Errors: KernelError."""
        self._settle({netns for netns, _part in parts})
        job = self._claim(parts)
        try:
            if job.batches:
                self.kernel.apply(job.batches)
        except BaseException:
            self._restore(job)
            raise
        self._tell(job)

    def set_soon(self, parts: Sequence[tuple[str, Slice]]) -> Awaitable[None]:
        """As `set`, in the background, with all that is asked for in this turn of the loop. Errors: KernelError, when awaited."""
        done = self._enqueue(parts)
        if len(self._queue) == FLIGHT_JOBS:
            self._dispatch()
        elif len(self._queue) == 1:
            asyncio.get_running_loop().call_soon(self._dispatch)
        return asyncio.shield(done)  # who is cancelled does not stop what the kernel has been told

    def set_ahead(self, parts: Sequence[tuple[str, Slice]]) -> asyncio.Future[None]:
        """As `set_soon`, begun now, for who has more to plan; nobody may cancel what he gets. Errors: KernelError, when awaited."""
        done = self._enqueue(parts)
        self._dispatch()
        return done

    def settle(self) -> None:
        """Wait until nothing is under way any more, in whatever namespace."""
        self._dispatch()
        for flight in list(self._flying):
            wait([flight.answer])
            self._land(flight)

    def _enqueue(self, parts: Sequence[tuple[str, Slice]]) -> asyncio.Future[None]:
        job = self._claim(parts)  # the kernel's thread keeps the order of jobs, so nothing has to end first
        job.done = asyncio.get_running_loop().create_future()
        self._queue.append(job)
        return job.done

    def _claim(self, parts: Sequence[tuple[str, Slice]]) -> _Job:
        """Write claims, and note what to do for them and how to take them back."""
        job = _Job()
        try:
            for netns, part in parts:
                changes, before = self._write(netns, part)
                job.before.append((netns, before or Slice(part.name)))
                if changes:
                    job.batches.append((netns, changes))
                    job.names.append(part.name)
        except BaseException:
            self._restore(job)
            raise
        return job

    def _restore(self, job: _Job) -> None:
        for netns, before in reversed(job.before):
            self._claims[netns].write(before)

    def _tell(self, job: _Job) -> None:
        if self.on_change is not None:
            for (netns, changes), name in zip(job.batches, job.names, strict=True):
                for change in changes:
                    self.on_change(netns, name, change)

    # ---- in the background ------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Hand what is queued to the kernel's own thread."""
        jobs, self._queue = self._queue, []
        if not jobs:
            return
        loop, busy = asyncio.get_running_loop(), ExitStack()
        busy.enter_context(self._busy())
        flight = _Flight(jobs, self.kernel.submit([job.batches for job in jobs]), busy)
        self._flying.append(flight)
        flight.answer.add_done_callback(lambda _answer: loop.call_soon_threadsafe(self._land, flight))

    def _land(self, flight: _Flight) -> None:
        """Tell everybody who waits how it went. Once."""
        if flight not in self._flying:
            return
        self._flying.remove(flight)
        flight.busy.close()
        for job, error in zip(flight.jobs, flight.answer.result(), strict=True):
            assert job.done is not None, "whoever queues a job waits for it"
            if error is None:
                self._tell(job)
                job.done.set_result(None)
            else:
                self._restore(job)
                job.done.set_exception(error)
                job.done.exception()  # heard here, should whoever waits be cancelled

    def _settle(self, spaces: Collection[str]) -> None:
        """Let what is under way in some namespaces end before anything else happens there."""
        if any(job.touches(spaces) for job in self._queue):
            self._dispatch()
        for flight in list(self._flying):
            if any(job.touches(spaces) for job in flight.jobs):
                wait([flight.answer])
                self._land(flight)

    def _write(self, netns: str, part: Slice) -> tuple[tuple[Change, ...], Slice | None]:
        claims = self._claims.setdefault(netns, _Claims())
        standing = claims.slices.get(part.name)
        wanted = index(part.objects)
        if standing is None and claims.owners.keys().isdisjoint(wanted):  # most slices of most labs: nothing of it is anybody's yet
            claims.write(part, wanted)
            return diff_indexed({}, wanted), None
        keys = wanted if standing is None else index(standing.objects) | wanted
        have = claims.effective(keys)
        before = claims.write(part, wanted)
        return diff_indexed(have, claims.effective(wanted | keys)), before

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

    def observe(
        self, netns: str, *, packet_filter: bool = True, routing: bool = True, sysctls: Iterable[str] | None = None
    ) -> KernelState:
        """The namespace as the kernel holds it, in the words of the plan where both mean the same. `sysctls` None = every claimed one."""
        self._settle({netns})
        asked = self.sysctl_paths(netns) if sysctls is None else sysctls
        state = self.kernel.observe(netns, asked, packet_filter=packet_filter, routing=routing)
        wanted = index(self.desired(netns))
        return KernelState(tuple(_in_words_of(wanted.get(canonical(item).key), item) for item in state))

    def addresses(self, netns: str, link: str) -> frozenset[str]:
        """The IPv4 addresses on a link, without masks. Errors: KernelError ENODEV."""
        return self.kernel.addresses(netns, link)

    def drift(self, netns: str) -> tuple[tuple[str, Change], ...]:
        """(slice, change that would mend it) for everything that is not as claimed."""
        claims = self._claims.get(netns)
        if claims is None:
            return ()
        there = self.observe(netns)
        with_rules = [part for part in claims.slices.values() if _has_rules(part)]
        moved = {key for part in with_rules for key in out_of_place(index(there), index(part.objects))}
        changes = missing(there, self.desired(netns), moved)
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


def _has_rules(part: Slice) -> bool:
    return any(isinstance(item, IptRule) for item in part.objects)


def _in_words_of(planned: KernelObject | None, seen: KernelObject) -> KernelObject:
    """The planned object when the kernel holds it, else what was seen."""
    if planned is None:
        return seen
    return planned if matches(seen, planned) else seen
