"""The kernels that must behave alike: in memory (everywhere) and the real one (marker `kernel`)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from labnet.kernel.door import LinuxKernel
from labnet.kernel.fake import FakeKernel

_numbers = itertools.count()


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.kernel)])
def kernel(request: pytest.FixtureRequest) -> Iterator[FakeKernel | LinuxKernel]:
    """A kernel; whatever namespaces a test leaves in it are removed."""
    made: FakeKernel | LinuxKernel = FakeKernel() if request.param == "fake" else LinuxKernel()
    try:
        yield made
    finally:
        made.remove_netns(list(made.known))
        if isinstance(made, LinuxKernel):
            made.close()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Makes names that no other test and no other process uses."""
    number = next(_numbers)
    return lambda word: f"lnt-{os.getpid():x}c{number}-{word}"
