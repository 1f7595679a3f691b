"""Changes of one or several jobs, each all or nothing: run by run to what makes them, with what is needed to take them back.

Programs (iptables) work while what comes next is made elsewhere: in its own namespace a program is waited for, and at the end of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from labnet.errors import KernelError, LabnetError
from labnet.kernel import sysctl
from labnet.kernel.jobs import by_stages, named_in
from labnet.kernel.rtnl_apply import RTNL_OBJECTS, Done, RtnlWriter
from labnet.kernel.spaces import Visit
from labnet.model.netstate import Batch, Change, IptChain, IptRule, Link, NftElement, NftPortChain, NftTable, Sysctl

if TYPE_CHECKING:
    from labnet.kernel.iptables import Restore

_MAKERS: dict[type, str] = {
    **dict.fromkeys(RTNL_OBJECTS, "rtnl"), Sysctl: "sysctl", **dict.fromkeys((NftTable, NftPortChain, NftElement), "nft"),
    **dict.fromkeys((IptChain, IptRule), "iptables"),
}
Note = Callable[[str, Sequence[Change]], None]
"""Hears of changes that were made in a namespace."""


@dataclass(slots=True)
class Work:
    """A job under way: the namespaces that it names, what was made, in order, which programs still work, and what went wrong."""

    spaces: set[str]
    done: Done = field(default_factory=list)
    programs: list[Restore] = field(default_factory=list)
    error: Exception | None = None


class Maker:
    """Makes changes during a visit. `aside` lets others work while a program is waited for; `on_links` and `on_tables` hear of changes
    of links and the like, and of nftables.
    """

    def __init__(self, writer: RtnlWriter, aside: Callable[[], AbstractContextManager[None]], on_links: Note, on_tables: Note) -> None:
        self._writer, self._aside, self._on_links, self._on_tables = writer, aside, on_links, on_tables

    def begin(self, visit: Visit, batches: Sequence[Batch]) -> Work:
        """Make changes, but for what programs still do when this returns; a failure is in the answer, and all is undone.

        Errors: what is no Exception, after the same.
        """
        work = Work(named_in(batches))
        try:
            for netns, changes in by_stages(batches):
                visit.fd(netns)
                for maker, run in groupby(changes, key=_maker):
                    self._wait_in(work, netns)
                    self._make(visit, maker, netns, list(run), work)
        except BaseException as error:  # noqa: BLE001 - kept, or raised again
            self._give_up(visit, work, error)
        return work

    def end(self, visit: Visit, work: Work) -> None:
        """Wait for the programs of what was begun. Errors: as `begin`."""
        try:
            while work.programs:
                self._wait_for(work, work.programs[0])
        except BaseException as error:  # noqa: BLE001 - kept, or raised again
            self._give_up(visit, work, error)

    def one_by_one(self, visit: Visit, jobs: Sequence[Sequence[Batch]]) -> list[Exception | None]:
        """Each job for itself, in order: its error, or None. Only their programs work side by side, in different namespaces."""
        begun: list[Work] = []
        for job in jobs:
            spaces = named_in(job)
            for one in begun:
                if one.programs and not one.spaces.isdisjoint(spaces):
                    self.end(visit, one)
            begun.append(self.begin(visit, job))
        for one in begun:
            self.end(visit, one)
        return [one.error for one in begun]

    def _make(self, visit: Visit, maker: str, netns: str, changes: list[Change], work: Work) -> None:
        if maker == "rtnl":
            self._writer.apply(visit, netns, changes, work.done)
            self._on_links(netns, changes)
        elif maker == "sysctl":
            sysctl.apply(visit.fd(netns), netns, changes, work.done)
        elif maker == "nft":
            from labnet.kernel import nft  # late, as iptables: whoever has no packet filter loads neither

            nft.apply(visit.fd(netns), netns, changes)
            self._on_tables(netns, changes)
            work.done += [(netns, change) for change in changes]
        else:
            from labnet.kernel import iptables

            work.programs.append(iptables.Restore(visit.fd(netns), netns, changes))

    def _wait_in(self, work: Work, netns: str) -> None:
        """What comes next in a namespace comes behind the program that works there. Errors: KernelError."""
        for program in [one for one in work.programs if one.netns == netns]:
            self._wait_for(work, program)

    def _wait_for(self, work: Work, program: Restore) -> None:
        work.programs.remove(program)
        with self._aside():
            program.finish(work.done)

    def _give_up(self, visit: Visit, work: Work, error: BaseException) -> None:
        """Undo what was made: with the end of the last program it is known what that is. Errors: what is no Exception."""
        while work.programs:
            with suppress(KernelError):
                self._wait_for(work, work.programs[0])
        for note in self._undo(visit, work.done):
            error.add_note(note)
        if not isinstance(error, Exception):
            raise error
        work.error = error

    def _undo(self, visit: Visit, done: Iterable[tuple[str, Change]]) -> list[str]:
        """Take back what was made, last first; what could not be taken back, in words."""
        back = [(netns, change.undone()) for netns, change in reversed(list(done))]
        notes: list[str] = []
        for (netns, maker), group in groupby(back, key=lambda pair: (pair[0], _maker(pair[1]))):
            changes = [change for _netns, change in group if not _is_leftover(change)]
            undoing = Work({netns})
            try:
                self._make(visit, maker, netns, changes, undoing)
                self._wait_in(undoing, netns)
            except (LabnetError, OSError) as error:
                notes.append(f"not undone: {error}")
        return notes


def _maker(change: Change) -> str:
    return _MAKERS[type(change.object)]


def _is_leftover(change: Change) -> bool:
    """A link that was cleared away, now to be put back: it is no loss, and nobody knows its peer."""
    return change.op == "add" and isinstance(change.object, Link) and change.object.peer is None
