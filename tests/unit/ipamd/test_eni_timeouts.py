"""Connection tracking timeouts of the first ENI go to the ENIs that the daemon makes: those that it has when the daemon starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from builders_ipamd import Node

from labnet.model.cluster import EniConfig

Make = Callable[..., Node]
TIMEOUTS = {"TcpEstablishedTimeout": 350, "UdpTimeout": 45}


def set_timeouts(one: Node, timeouts: dict[str, int]) -> None:
    """Somebody sets them on the node's first ENI."""
    first = one.ec2.state.enis_of(one.instance)[0].id
    one.aws("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=first, ConnectionTrackingSpecification=timeouts)


def with_second_eni(one: Node) -> Node:
    one.start().add()
    return one.wait(6)


def asked(one: Node) -> list[Any]:
    """What each CreateNetworkInterface of the daemon says of them."""
    return [params.get("ConnectionTrackingSpecification") for action, params in one.api.asked if action == "CreateNetworkInterface"]


def shown(one: Node) -> list[Any]:
    """What EC2 shows of the ENIs, by device index."""
    found = one.aws("DescribeNetworkInterfaces", NetworkInterfaceIds=one.enis())["NetworkInterfaces"]
    by_id = {item["NetworkInterfaceId"]: item.get("ConnectionTrackingConfiguration") for item in found}
    return [by_id[eni] for eni in one.enis()]


def test_a_new_eni_gets_what_was_set_on_the_first_and_no_more(node: Make) -> None:
    one = node()
    set_timeouts(one, TIMEOUTS)
    with_second_eni(one)
    assert asked(one) == [TIMEOUTS]
    assert shown(one) == [TIMEOUTS, TIMEOUTS]


def test_where_nothing_was_set_nothing_is_asked_for(node: Make) -> None:
    one = with_second_eni(node())
    assert asked(one) == [None] and shown(one) == [None, None]


def test_a_later_change_counts_from_the_next_start(node: Make) -> None:
    one = node("m5.large").start()
    set_timeouts(one, TIMEOUTS)
    one.pods(1)
    one.wait(6)
    assert asked(one) == [None]
    assert one.running is not None
    one.running.cancel()
    one.ipamd = one.daemon()
    one.start()
    one.pods(12)
    one.wait(20)
    assert asked(one) == [None, TIMEOUTS] and shown(one) == [TIMEOUTS, None, TIMEOUTS]


def test_with_custom_networking_the_first_enis_as_well(node: Make) -> None:
    one = node("m5.large", {"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "true"})
    subnet, = one.more_subnets("10.10.100.0/24")
    one.objects.config = EniConfig("us-west-2a", subnet, ())
    set_timeouts(one, TIMEOUTS)
    one.start()
    assert shown(one) == [TIMEOUTS, TIMEOUTS]


@pytest.mark.parametrize("dialect, copied", [("1.6", None), ("1.23", TIMEOUTS)])
def test_release_1_6_copies_none(node: Make, dialect: str, copied: Any) -> None:
    one = node(dialect=dialect)
    set_timeouts(one, TIMEOUTS)
    with_second_eni(one)
    assert asked(one) == [copied]
