"""A node for every test that asks for one, ended with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from builders_ipamd import Node


@pytest.fixture
def node() -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(*args: Any, **more: Any) -> Node:
        made.append(Node(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
