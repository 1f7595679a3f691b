"""nftables in a namespace: whole tables by nft's own library once, everything after that by netlink transactions."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from itertools import groupby

from labnet.errors import KernelError
from labnet.kernel import nft_library, nft_observe
from labnet.kernel.nft_encode import (
    APPEND,
    CREATE,
    DELCHAIN,
    DELSETELEM,
    DELTABLE,
    EXCL,
    FAMILIES,
    NEWCHAIN,
    NEWRULE,
    NEWSETELEM,
    chain_name_body,
    element_body,
    jump_rule_body,
    port_chain_body,
    table_body,
)
from labnet.kernel.nft_socket import NftSocket, Step
from labnet.model.netstate import Change, KernelObject, NftElement, NftPortChain, NftTable

observe = nft_observe.observe
counters = nft_observe.counters


def apply(fd: int, netns: str, changes: Sequence[Change]) -> None:
    """Make changes to tables, port chains and elements; all or nothing. Errors: KernelError."""
    loaded: list[Change] = []
    try:
        for whole, group in groupby(changes, key=_is_loaded):
            run = list(group)
            if whole:
                _load(fd, netns, run)
                loaded += run
            else:
                _transact(fd, netns, run)
    except KernelError:
        for change in reversed(loaded):
            _unload(fd, netns, change)
        raise


def _is_loaded(change: Change) -> bool:
    return isinstance(change.object, NftTable) and change.op != "remove"


def _load(fd: int, netns: str, changes: Sequence[Change]) -> None:
    """Load tables in one transaction of the program. One that is to be new must not be there: what has its name is not ours."""
    script = "".join(_script(change) for change in changes)
    done = nft_library.run(fd, netns, script)
    if done.exit_code:
        said = done.stderr.strip() or "refused"
        names = ", ".join(change.text.splitlines()[0].rstrip(" {") for change in changes)
        raise KernelError("nft -f", netns, names, errno.EEXIST if "File exists" in said else errno.EINVAL, said)


def _script(change: Change) -> str:
    """A replaced table is deleted first, in the same transaction; the wait that the kernel then has costs 20 ms."""
    table = change.object
    assert isinstance(table, NftTable)
    name = f"{table.family} {table.name}"
    first = f"create table {name}\n" if change.op == "add" else f"table {name} {{}}\ndelete table {name}\n"
    return f"{first}table {name} {{\n{table.body}\n}}\n"


def _unload(fd: int, netns: str, change: Change) -> None:
    table = change.object
    assert isinstance(table, NftTable)
    if change.op == "replace" and isinstance(change.before, NftTable):
        _load(fd, netns, [Change("replace", change.before, table)])
    else:
        _transact(fd, netns, [Change("remove", table)])


def _transact(fd: int, netns: str, changes: Sequence[Change]) -> None:
    """One transaction. What is to go and is gone already is left out and the rest tried again."""
    wanted = list(changes)
    while wanted:
        steps: list[Step] = []
        owner: list[Change] = []
        for change in wanted:
            try:
                made = list(_steps(change))
            except (ValueError, KeyError) as error:
                raise KernelError("nf_tables", netns, change.text, errno.EINVAL, str(error)) from error
            steps += made
            owner += [change] * len(made)
        with NftSocket(fd, netns) as sock:
            failed = sock.transact(steps)
        if not failed:
            return
        gone = {id(owner[place]) for place, code in failed.items() if code == errno.ENOENT and owner[place].op == "remove"}
        if not gone:
            place, code = next(((place, code) for place, code in failed.items() if place < len(owner)), (0, next(iter(failed.values()))))
            raise KernelError(f"nf_tables {owner[place].op}", netns, owner[place].text, code)
        wanted = [change for change in wanted if id(change) not in gone]


def _steps(change: Change) -> Iterable[Step]:
    item = change.object
    if isinstance(item, NftTable):
        yield Step(DELTABLE, 0, FAMILIES[item.family], table_body(item.name))
    elif isinstance(item, NftElement):
        if change.op == "replace" and isinstance(change.before, NftElement):
            yield _element(DELSETELEM, 0, change.before)
        yield _element(DELSETELEM, 0, item) if change.op == "remove" else _element(NEWSETELEM, CREATE, item)
    elif isinstance(item, NftPortChain):
        family = FAMILIES[item.family]
        if change.op != "add":
            yield Step(DELCHAIN, 0, family, chain_name_body(item))
        if change.op != "remove":
            yield Step(NEWCHAIN, CREATE | EXCL, family, port_chain_body(item))
            yield Step(NEWRULE, CREATE | APPEND, family, jump_rule_body(item))


def _element(kind: int, flags: int, item: NftElement) -> Step:
    return Step(kind, flags, FAMILIES[item.family], element_body(item))


__all__ = ["KernelObject", "apply", "counters", "observe"]
