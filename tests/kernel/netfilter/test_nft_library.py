"""nft's library in this process: it does and lists what the program does; what it refuses, and where it is missing, the program does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from labnet.kernel import command, nft_library
from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Change, NftTable
from labnet.ports import ProgramResult

pytestmark = pytest.mark.kernel
BODY = "\tchain c {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tmeta mark 0x80 counter packets 0 bytes 0 accept\n\t}"
MAKE, LIST = f"table ip t {{\n{BODY}\n}}\n", "list table ip t\n"


@pytest.fixture
def here(kernel: LinuxKernel, name: Callable[[str], str]) -> Iterator[int]:
    made = name("nft")
    kernel.create_netns([made])
    fd = kernel.open_netns(made)
    yield fd
    os.close(fd)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that are started."""
    started: list[str] = []
    run = command.run

    def noted(fd: int, netns: str, words: list[str], *more: str) -> ProgramResult:
        started.append(words[0])
        return run(fd, netns, words, *more)

    monkeypatch.setattr(command, "run", noted)
    return started


def test_it_lists_what_the_program_lists(here: int, programs: list[str]) -> None:
    assert nft_library.run(here, "x", MAKE).exit_code == 0
    made = nft_library.run(here, "x", LIST)
    assert programs == [], "no program was needed"
    assert made.exit_code == 0 and "meta mark 0x00000080 counter accept" in made.stdout, "without counts"
    assert made.stdout == command.run(here, "x", ["nft", "-s", "list", "table", "ip", "t"]).stdout


def test_where_there_is_no_library_the_program_does_the_same(here: int, programs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    nft_library.run(here, "x", MAKE)
    by_library = nft_library.run(here, "x", LIST)
    monkeypatch.setattr(nft_library, "LIBRARY", "libnftables.so.none")
    nft_library.loaded.cache_clear()
    try:
        assert nft_library.run(here, "x", "delete table ip t\n" + MAKE).exit_code == 0
        assert nft_library.run(here, "x", LIST) == by_library and by_library.stdout
        assert programs == ["nft", "nft"]
    finally:
        nft_library.loaded.cache_clear()


def test_the_words_for_a_mistake_are_the_programs_which_names_its_line(here: int, programs: list[str]) -> None:
    refused = nft_library.run(here, "x", "create table ip one\ntable ip two {\n\tchain c { no such words }\n}\n")
    assert refused.exit_code == 1 and "/dev/stdin:3:" in refused.stderr and programs == ["nft"]
    assert command.run(here, "x", ["nft", "list", "ruleset"]).stdout == "", "all or nothing"


def test_a_door_that_makes_a_table_and_reads_it_back_starts_no_program(
    kernel: LinuxKernel, name: Callable[[str], str], programs: list[str]
) -> None:
    netns, table = name("one"), NftTable("ip", "t", BODY)
    kernel.create_netns([netns])
    kernel.apply([(netns, (Change("add", table),))])
    assert table in kernel.observe(netns)
    assert programs == []
