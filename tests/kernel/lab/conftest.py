from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab_runner import Labs


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Labs]:
    """A user of labnet with a run directory of their own."""
    user = Labs(tmp_path / "r")
    yield user
    user.close()


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    """One eks-2node for all tests of a module that leave it as it was."""
    user = Labs(tmp_path_factory.mktemp("d"))
    user.up()
    yield user
    user.close()
