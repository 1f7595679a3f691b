from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from builders_node_state import WorkedNode, worked_nodes
from kernel_fixtures import kernel, name

__all__ = ["kernel", "name"]


@pytest.fixture
def node_of() -> Iterator[Callable[..., WorkedNode]]:
    """Makes the specification's node with one iptables back end."""
    with worked_nodes() as make:
        yield make
