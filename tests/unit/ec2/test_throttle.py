"""Token buckets over time, as EC2 documents them."""

from __future__ import annotations

from typing import Any

import pytest

from labnet.ec2 import throttle
from labnet.ec2.cloud import ACTIONS
from labnet.ec2.throttle import Levels, Limit, limit_of, take, tokens_in


def passed(levels: Levels, action: str, params: dict[str, Any], count: int, now_s: float) -> tuple[Levels, int]:
    """So many calls at one moment; how many passed."""
    through = 0
    for _ in range(count):
        levels, _tokens, passes = take(levels, action, params, now_s)
        through += passes
    return levels, through


ONE = {"NetworkInterfaceIds": ["eni-0123456789abcdef0"]}


@pytest.mark.parametrize(
    ("action", "params", "burst", "refill"),
    [
        ("CreateNetworkInterface", {}, 100, 5), ("DeleteNetworkInterface", {}, 100, 5), ("ModifyNetworkInterfaceAttribute", {}, 100, 5),
        ("AssignPrivateIpAddresses", {}, 100, 5), ("UnassignPrivateIpAddresses", {}, 100, 5), ("AttachNetworkInterface", {}, 50, 5),
        ("DetachNetworkInterface", {}, 50, 5), ("CreateTags", {}, 100, 10), ("DeleteTags", {}, 100, 10), ("CreateVpc", {}, 50, 5),
        ("AuthorizeSecurityGroupIngress", {}, 50, 5), ("DescribeNetworkInterfaces", ONE, 100, 20),
        ("DescribeNetworkInterfaces", {"Filters": [{}]}, 100, 20), ("DescribeNetworkInterfaces", {"MaxResults": 5}, 100, 20),
        ("DescribeNetworkInterfaces", {}, 50, 10), ("DescribeNetworkInterfaces", {"DryRun": True}, 50, 10), ("DescribeInstances", {}, 50, 10),
        ("DescribeSubnets", {}, 100, 20), ("RunInstances", {}, 5, 2), ("CreateNatGateway", {}, 10, 1),
    ],
)
def test_burst_and_refill_are_ec2s(action: str, params: dict[str, Any], burst: int, refill: int) -> None:
    levels, through = passed({}, action, params, burst + 20, 1000.0)
    assert through == burst
    levels, through = passed(levels, action, params, burst, 1001.0)
    assert through == refill
    _levels, through = passed(levels, action, params, burst + 20, 1000.0 + 10_000)
    assert through == burst, "a bucket never holds more than its size"


def test_each_action_has_its_own_bucket_and_so_has_reading_everything() -> None:
    levels, _ = passed({}, "DescribeInstances", {}, 60, 0.0)
    assert tokens_in(levels, "DescribeInstances", 0.0) == 100
    assert passed(levels, "DescribeInstances", {"InstanceIds": ["i"]}, 1, 0.0)[1] == 1
    assert passed(levels, "DescribeSecurityGroups", {}, 1, 0.0)[1] == 1


def test_a_refused_call_takes_nothing_and_leaves_the_value_alone() -> None:
    levels, _ = passed({}, "CreateVpc", {}, 50, 0.0)
    again, tokens, passes = take(levels, "CreateVpc", {}, 0.1)
    assert (again is levels, tokens, passes) == (True, 0.5, False)


def test_time_that_goes_back_fills_nothing() -> None:
    levels, _ = passed({}, "CreateVpc", {}, 50, 100.0)
    assert tokens_in(levels, "CreateVpc", 50.0) == 0


def test_instances_have_a_second_bucket() -> None:
    levels, tokens, passes = take({}, "RunInstances", {"MaxCount": 998}, 0.0)
    assert (tokens, passes) == (2, True)
    assert take(levels, "RunInstances", {"MaxCount": 3}, 0.0)[2] is False
    assert take(levels, "RunInstances", {"MaxCount": 2}, 0.0)[2] is True
    assert take({}, "TerminateInstances", {"InstanceIds": ["a"] * 1001}, 0.0)[2] is False
    assert take({}, "RunInstances", {"MaxCount": "many"}, 0.0)[2] is True, "the rules refuse that, not the throttle"


def test_every_bucket_of_the_table_has_a_size() -> None:
    for action in ACTIONS:
        for bucket in throttle.buckets_of(action):
            assert limit_of(bucket).burst > 0
    assert limit_of("DescribeInstances (unfiltered)") == Limit(50, 10)
    assert "DescribeInstances (unfiltered)" in throttle.buckets_of("DescribeInstances")
