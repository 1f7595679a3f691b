"""EC2 refuses: what the pool does, and for how long it then asks nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from builders_ipamd import Node

Make = Callable[..., Node]
NO_ADDRESSES, NO_BLOCKS = "InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks"
ASSIGN, CREATE = "AssignPrivateIpAddresses", "CreateNetworkInterface"


def times(one: Node, *actions: str) -> list[float]:
    return [record["time"] for record in one.ledger.read("ec2-calls") if record["caller"] == "node1" and record["action"] in actions]


@pytest.mark.parametrize("code", [NO_ADDRESSES, NO_BLOCKS])
def test_with_discovery_the_next_place_is_asked_and_its_refusal_starts_the_pause(node: Make, code: str) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.ec2.behaviour.fail(ASSIGN, code)
    one.ec2.behaviour.fail(CREATE, code)
    asked = len(one.calls())
    one.add()
    one.wait(4)
    assert one.calls()[asked:] == [ASSIGN, ASSIGN, "DescribeSubnets", CREATE]
    one.wait(116)
    assert len([call for call in one.calls() if call in (ASSIGN, CREATE)]) == 1 + 3
    one.wait(10)
    assert one.calls().count(CREATE) == 2
    gap_s = times(one, CREATE)[1] - times(one, CREATE)[0]
    assert 120 < gap_s <= 126


def test_at_the_eni_limit_there_is_no_pause_and_every_eni_is_asked_twice(node: Make) -> None:
    """Traffic without an end: two calls an ENI, every five seconds."""
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2", "MAX_ENI": "2", "MINIMUM_IP_TARGET": "16"}).start()
    one.wait(30)
    assert one.pool == (2, 16)
    one.pods(14)
    one.wait(5)
    one.ec2.behaviour.fail(ASSIGN, NO_ADDRESSES)
    one.add("extra")
    before = times(one, ASSIGN)
    one.wait(60)
    new = times(one, ASSIGN)[len(before):]
    assert len(new) == 2 * 12 and {round(b - a, 3) for a, b in pairwise(new)} == {0.0, 5.0}


def test_without_discovery_a_refused_address_starts_the_pause(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2", "ENABLE_SUBNET_DISCOVERY": "false"}).start()
    one.ec2.behaviour.fail(ASSIGN, NO_ADDRESSES)
    one.add()
    one.wait(250)
    tried = times(one, ASSIGN)[1:]
    assert len(tried) == 4 and 120 < tried[2] - tried[0] <= 126 and CREATE not in one.calls()


def test_the_pause_holds_back_nothing_that_is_given_back(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2", "ENABLE_SUBNET_DISCOVERY": "false"}).start()
    one.pods(2)
    one.wait(40)
    one.ec2.behaviour.fail(ASSIGN, NO_ADDRESSES, times=2)
    one.add("extra")
    one.wait(6)
    assert "InsufficientAddresses" in one.events.reasons()
    for pod in ("pod0", "pod1", "extra"):
        one.delete(pod)
    one.wait(10)
    assert "PoolDecreased" in one.events.reasons()


def test_an_address_limit_is_no_error_ec2_is_believed(node: Make) -> None:
    one = node("t3.small", {"WARM_IP_TARGET": "2"}).start()
    first = one.enis()[0]
    one.aws(ASSIGN, NetworkInterfaceId=first, SecondaryPrivateIpAddressCount=1)
    one.add()
    before = len(one.calls())
    one.wait(4)
    assert one.calls()[before:] == [ASSIGN, "DescribeNetworkInterfaces"]
    assert one.pool == (1, 3) and "PoolStepFailed" not in one.events.reasons()


def test_at_the_attachment_limit_enis_are_made_and_deleted_every_five_seconds(node: Make) -> None:
    one = node().start()
    one.ec2.behaviour.fail("AttachNetworkInterface", "AttachmentLimitExceeded")
    one.add()
    one.wait(30)
    assert one.calls().count(CREATE) == one.calls().count("DeleteNetworkInterface") == 6
    assert {round(b - a, 3) for a, b in pairwise(times(one, CREATE))} == {5.0}
    assert len(one.ec2.state.enis) == 1


def test_throttling_is_met_by_the_sdk_alone(node: Make) -> None:
    one = node().start()
    one.ec2.behaviour.fail(CREATE, "RequestLimitExceeded", times=2)
    one.add()
    one.wait(15)
    assert one.calls().count(CREATE) == 3 and one.pool == (2, 6)
    assert "EniNotAdded" not in one.events.reasons()


def test_an_eni_that_cannot_be_made_at_the_start_is_not_fatal(node: Make) -> None:
    one = node("t3.small", {"WARM_IP_TARGET": "5"})
    one.ec2.behaviour.fail(CREATE, "NetworkInterfaceLimitExceeded")
    one.start()
    one.wait(20)
    assert one.pool == (1, 3) and one.add().success
    assert "EniNotAdded" in one.events.reasons()


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InternalError"])
def test_addresses_refused_at_the_start_are_fatal(node: Make, code: str) -> None:
    one = node()
    one.ec2.behaviour.fail(ASSIGN, code)
    with pytest.raises(Exception, match=rf"^error while trying to increase datastore pool: {code}"):
        one.do(one.ipamd.start())


def test_an_empty_subnet_at_the_start_is_not_fatal(node: Make) -> None:
    one = node()
    one.ec2.behaviour.fail(ASSIGN, NO_ADDRESSES)
    one.ec2.behaviour.fail(CREATE, NO_ADDRESSES)
    one.start()
    assert one.pool == (1, 0) and one.add().success is False


def test_what_cannot_be_given_back_is_found_again_after_a_minute(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.pods(3)
    one.wait(40)
    one.ec2.behaviour.fail("UnassignPrivateIpAddresses", "OperationNotPermitted", times=1)
    one.delete("pod1")
    one.until(lambda: one.pool == (1, 4))
    at_s = one.clock.now_s()
    one.until(lambda: "PoolReconciled" in one.events.reasons())
    assert one.clock.now_s() - at_s >= 60, "not before the 60 s in which nothing that was given back is adopted"
    one.until(lambda: one.pool == (1, 4) and len(one.ec2.state.enis[one.enis()[0]].addresses) == 5)
