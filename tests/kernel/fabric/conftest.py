"""One fabric of its own for each test, removed whatever happens."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from fabric_world import World


@pytest.fixture
def world() -> Iterator[World]:
    with contextlib.closing(World(f"lnt-f{os.getpid() % 100_000}{os.urandom(2).hex()}")) as made:
        yield made
