"""The hourly sweep: what it keeps, tags and deletes, and when it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from builders_ipamd import START_S, Node

from labnet.errors import Ec2Error
from labnet.ipamd.cloud import CLUSTER_TAG, CREATED_TAG, INSTANCE_TAG, timestamp
from labnet.ipamd.leaks import judge

Make = Callable[..., Node]
NOW_S = 1_700_000_000.0


@pytest.mark.parametrize("created, verdict", [
    (None, "tag"),
    ("", "tag and delete"),
    ("yesterday", "tag and delete"),
    (timestamp(NOW_S), "keep"),
    (timestamp(NOW_S - 299), "keep"),
    (timestamp(NOW_S - 300), "delete"),
    ("2023-11-14T22:13:20+00:00", "keep"),
    ("2023-11-14T22:13:20+01:00", "delete"),
    ("2023-11-14T20:00:00", "delete"),
])
def test_by_age(created: str | None, verdict: str) -> None:
    tags = [] if created is None else [{"Key": CREATED_TAG, "Value": created}]
    assert judge({"TagSet": tags}, NOW_S) == verdict


def left(one: Node, *, description: str = "aws-K8S-i-0123", age_s: float | None = 400, tags: dict[str, str] | None = None) -> str:
    """An ENI of a daemon that lies about."""
    listed = {INSTANCE_TAG: "i-0123", **(tags or {})}
    if age_s is not None:
        listed[CREATED_TAG] = timestamp(one.clock.now_s() - age_s)
    spec = [{"ResourceType": "network-interface", "Tags": [{"Key": key, "Value": value} for key, value in listed.items() if value]}]
    made = one.aws("CreateNetworkInterface", SubnetId=one.subnet, Description=description, TagSpecifications=spec)
    return str(made["NetworkInterface"]["NetworkInterfaceId"])


def sweeps(one: Node) -> list[float]:
    """When EC2 was asked for leaked ENIs, in seconds since the node's start."""
    asked = [params for action, params in one.api.asked if action == "DescribeNetworkInterfaces"]
    times = [record["time"] for record in one.ledger.read("ec2-calls") if record["action"] == "DescribeNetworkInterfaces"]
    return [at_s - START_S for at_s, params in zip(times, asked, strict=True) if "Filters" in params]


def test_it_comes_once_an_hour_behind_a_random_pause(node: Make) -> None:
    one = node(sweeps=True).start()
    one.wait(3 * 3600 + 900)
    first, *others = sweeps(one)
    assert 0 <= first < 300 and len(others) >= 2
    gaps = [b - a for a, b in zip([first, *others], others, strict=False)]
    assert all(3600 <= gap_s < 3900 for gap_s in gaps) and len(set(gaps)) > 1
    again = node(sweeps=True).start()
    again.wait(3 * 3600 + 900)
    assert sweeps(again) == [first, *others], "the node's own chance, the same every time"


def test_old_ones_go_and_only_daemons_own(node: Make) -> None:
    one = node(sweeps=True).start()
    old, young = left(one), left(one, age_s=-1000)
    others = left(one, description="made by hand"), left(one, tags={INSTANCE_TAG: ""})
    one.wait(310)
    assert old not in one.ec2.state.enis and young in one.ec2.state.enis
    assert all(eni in one.ec2.state.enis for eni in others)
    assert [text for reason, text in one.events.told if reason == "LeakedEniDeleted"] == [f"{old}: aws-K8S-i-0123, detached"]


def test_one_without_a_time_gets_one_and_goes_an_hour_later(node: Make) -> None:
    one = node(sweeps=True).start()
    eni = left(one, age_s=None)
    one.wait(310)
    assert one.ec2.state.enis[eni].tags[CREATED_TAG].endswith("Z")
    one.wait(3910)
    assert eni not in one.ec2.state.enis


def test_an_unreadable_time_is_set_anew_and_the_eni_deleted(node: Make) -> None:
    one = node(sweeps=True).start()
    eni = left(one, age_s=None, tags={CREATED_TAG: "long ago"})
    one.wait(310)
    assert eni not in one.ec2.state.enis
    assert [params["Resources"] for action, params in one.api.asked if action == "CreateTags"][-1] == [eni]


@pytest.mark.parametrize("cluster, kept", [("", False), ("theirs", True), ("mine", False)])
def test_with_a_cluster_name_other_clusters_are_left_alone(node: Make, cluster: str, kept: bool) -> None:
    one = node("t3.small", {"CLUSTER_NAME": "mine"} if cluster else {}, sweeps=True).start()
    eni = left(one, tags={CLUSTER_TAG: cluster})
    one.wait(310)
    assert (eni in one.ec2.state.enis) is kept


@pytest.mark.parametrize("env", [
    {"DISABLE_LEAKED_ENI_CLEANUP": "true"}, {"DISABLE_NETWORK_RESOURCE_PROVISIONING": "true"}, {"ENABLE_IMDS_ONLY_MODE": "true"},
])
def test_it_can_be_turned_off(node: Make, env: dict[str, str]) -> None:
    one = node("t3.small", env, sweeps=True).start()
    eni = left(one)
    one.wait(8000)
    assert eni in one.ec2.state.enis


def test_it_ends_with_the_daemon(node: Make) -> None:
    one = node(sweeps=True).start()
    one.do(one.ipamd.stop())
    eni = left(one)
    one.wait(8000)
    assert eni in one.ec2.state.enis


def test_one_that_ec2_keeps_does_not_keep_the_others(node: Make) -> None:
    one = node(sweeps=True).start()
    first, second = left(one), left(one)
    one.ec2.behaviour.fail("DeleteNetworkInterface", "OperationNotPermitted", times=12)
    one.wait(900)
    assert first in one.ec2.state.enis and second not in one.ec2.state.enis
    assert any(reason == "LeakSweepFailed" and first in text for reason, text in one.events.told)
    one.ec2.behaviour.fail("DescribeNetworkInterfaces", "UnauthorizedOperation", times=1)
    one.wait(3900)
    assert "MissingIAMPermissions" in one.events.reasons()
    one.wait(3900)
    assert first not in one.ec2.state.enis


def test_many_come_in_pages(node: Make) -> None:
    one = node(sweeps=True).start()
    asked: list[Any] = []
    real = one.api.call

    async def short(action: str, params: Any) -> dict[str, Any]:
        if action == "DescribeNetworkInterfaces" and "Filters" in params:
            asked.append(params)
            params = {**params, "MaxResults": 5}
        return await real(action, params)

    one.api.call = short  # type: ignore[method-assign]
    enis = [left(one) for _ in range(7)]
    one.wait(310)
    assert not set(enis) & set(one.ec2.state.enis)
    assert [params["MaxResults"] for params in asked] == [1000, 1000] and "NextToken" in asked[1]


def test_a_neighbours_eni_on_its_way_is_deleted(node: Make) -> None:
    """Trap 29: what takes more than five minutes from its creation to its attachment is a leaked one to every other node."""
    one = node(sweeps=True).start()
    other = left(one, description="aws-K8S-i-of-another-node", age_s=0)
    one.wait(310)
    assert other in one.ec2.state.enis, "not yet"
    one.until(lambda: other not in one.ec2.state.enis, 3900)
    with pytest.raises(Ec2Error, match="NotFound"):
        one.aws("AttachNetworkInterface", NetworkInterfaceId=other, InstanceId=one.instance, DeviceIndex=3)
