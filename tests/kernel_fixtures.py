"""Namespaces with names of their own, gone after each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from labnet.errors import TeardownError
from labnet.kernel import netns, teardown
from labnet.kernel.door import LinuxKernel

_numbers = itertools.count()


@pytest.fixture
def name() -> Iterator[Callable[[str], str]]:
    """Makes unique names; whatever exists under them afterwards is removed."""
    number = next(_numbers)
    given: set[str] = set()

    def make(word: str) -> str:
        given.add(f"lnt-{os.getpid():x}k{number}-{word}")
        return f"lnt-{os.getpid():x}k{number}-{word}"

    yield make
    left = [word for word in given if os.path.lexists(netns.path_of(word))]
    with suppress(TeardownError):
        teardown.remove(dict.fromkeys(left), timeout_s=5)


@pytest.fixture
def kernel(name: Callable[[str], str]) -> Iterator[LinuxKernel]:
    made = LinuxKernel()
    try:
        yield made
    finally:
        made.remove_netns(list(made.known))
        made.close()
