from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.ec2_servers import labnet_server, moto_server


@pytest.fixture(scope="module")
def labnet_ec2() -> Iterator[dict[str, str]]:
    """Variables for AWS clients of labnet's own server, a process of its own."""
    with labnet_server() as variables:
        yield variables


@pytest.fixture(scope="module")
def moto_ec2() -> Iterator[dict[str, str]]:
    """The same for moto's server."""
    with moto_server() as variables:
        yield variables
