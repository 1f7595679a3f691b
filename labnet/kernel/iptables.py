"""iptables in a namespace: one atomic restore for all changes of a back end, and the tables read back.

Never one program per rule, and never the other back end's program: listing with it would create its tables.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from labnet.errors import KernelError
from labnet.kernel import command
from labnet.kernel.iptables_text import TABLES, parse_save, render_restore
from labnet.kernel.netns import enter
from labnet.kernel.nft_encode import FAMILIES, GETTABLE, fields_of, string
from labnet.kernel.nft_socket import NftSocket
from labnet.model.netstate import Backend, Change, Family, IptChain, IptRule, KernelObject
from labnet.ports import ProgramResult

LOCK_FILE = "XTABLES_LOCKFILE"
TIMEOUT_S = 30.0
PREFIX: dict[Family, str] = {"inet": "iptables", "inet6": "ip6tables"}
NFT_FAMILY: dict[Family, str] = {"inet": "ip", "inet6": "ip6"}
LEGACY_NAMES: dict[Family, str] = {"inet": "ip_tables_names", "inet6": "ip6_tables_names"}


def detect(run: Callable[[Sequence[str]], ProgramResult]) -> Backend:
    """The back end that plain `iptables` stands for, by what it says of itself; touches no rule."""
    return "legacy" if "legacy" in run(["iptables", "-V"]).stdout else "nft"


class Restore:
    """Changes to chains and rules of one namespace, by one program a back end and family: a table is changed whole or not at all.

    The first program begins at once, so that those of several namespaces work side by side. `finish` each.
    """

    def __init__(self, fd: int, netns: str, changes: Sequence[Change]) -> None:
        """Errors: KernelError when a program cannot be started."""
        self.netns = netns
        self._fd = fd
        self._left = list(_by_program(changes).items())
        self._first = self._start(*self._left[0])

    def finish(self, made: list[tuple[str, Change]]) -> None:
        """Wait until all is done; whatever was made is added to `made`. Errors: KernelError with the words of the program that refused."""
        started: command.Running | None = self._first
        for program, group in self._left:
            done = (started or self._start(program, group)).finish(TIMEOUT_S)
            started = None
            if done.exit_code:
                shown = "; ".join(change.text.splitlines()[0] for change in group[:3])
                said = done.stderr.strip().partition("\n")[0] or f"it ended with {done.exit_code} and said nothing"
                raise KernelError(program, self.netns, shown, errno.EINVAL, said)
            made += [(self.netns, change) for change in group]

    def _start(self, program: str, group: Sequence[Change]) -> command.Running:
        return command.start(self._fd, self.netns, [program, "--noflush"], render_restore(group), _environment())


def _by_program(changes: Sequence[Change]) -> dict[str, list[Change]]:
    groups: dict[str, list[Change]] = {}
    for change in changes:
        item = change.object
        assert isinstance(item, IptChain | IptRule)
        groups.setdefault(f"{PREFIX[item.family]}-{item.backend}-restore", []).append(change)
    return groups


def observe(fd: int, netns: str) -> list[KernelObject]:
    """Every chain and rule of the back ends that this namespace uses. Errors: KernelError."""
    found: list[KernelObject] = []
    for backend, family in _in_use(fd, netns):
        done = command.run(fd, netns, [f"{PREFIX[family]}-{backend}-save"], env=_environment())
        if done.exit_code:
            raise KernelError("iptables-save", netns, backend, errno.EIO, done.stderr.strip())
        found += parse_save(done.stdout, backend, family)
    return found


def _in_use(fd: int, netns: str) -> list[tuple[Backend, Family]]:
    """Which back ends have tables here, found without asking their programs, which would make some."""
    used: list[tuple[Backend, Family]] = []
    try:
        with NftSocket(fd, netns) as sock:
            tables = {(number, string(fields_of(body)[1])) for number, body in sock.dump(GETTABLE, 0)}
    except OSError as error:
        raise KernelError("observe", netns, "nf_tables", error.errno or errno.EIO) from error
    for family, word in NFT_FAMILY.items():
        if any((FAMILIES[word], name) in tables for name in TABLES):
            used.append(("nft", family))
    with enter(fd):
        for family, name in LEGACY_NAMES.items():
            if _legacy_tables(name):
                used.append(("legacy", family))
    return used


def _legacy_tables(name: str) -> str:
    try:
        return Path(f"/proc/thread-self/net/{name}").read_text().strip()
    except OSError:
        return ""  # the kernel has no such back end


def _environment() -> dict[str, str]:
    """A lock of nobody: the machine's is for the machine's own rules, and a namespace has one writer at a time, this door."""
    return {LOCK_FILE: os.devnull}
