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
PREFIX: dict[Family, str] = {"inet": "iptables", "inet6": "ip6tables"}
NFT_FAMILY: dict[Family, str] = {"inet": "ip", "inet6": "ip6"}
LEGACY_NAMES: dict[Family, str] = {"inet": "ip_tables_names", "inet6": "ip6_tables_names"}


def detect(run: Callable[[Sequence[str]], ProgramResult]) -> Backend:
    """The back end that plain `iptables` stands for, by what it says of itself; touches no rule."""
    return "legacy" if "legacy" in run(["iptables", "-V"]).stdout else "nft"


def apply(fd: int, netns: str, changes: Sequence[Change]) -> None:
    """Make changes to chains and rules; a table is changed whole or not at all. Errors: KernelError with the program's words."""
    groups: dict[tuple[Backend, Family], list[Change]] = {}
    for change in changes:
        item = change.object
        assert isinstance(item, IptChain | IptRule)
        groups.setdefault((item.backend, item.family), []).append(change)
    for (backend, family), group in groups.items():
        done = command.run(fd, netns, [f"{PREFIX[family]}-{backend}-restore", "--noflush"], render_restore(group), env=_environment())
        if done.exit_code:
            shown = "; ".join(change.text.splitlines()[0] for change in group[:3])
            raise KernelError(f"{PREFIX[family]}-{backend}-restore", netns, shown, errno.EINVAL, done.stderr.strip().splitlines()[0])


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
