"""The metadata lags, ENIs vanish and appear: what the datastore makes of it, and what stays behind in the kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders_ipamd import NODE, Node

from labnet.errors import UnknownAttachment
from labnet.ipamd.metadata import MACS
from labnet.model.netstate import Rule

Make = Callable[..., Node]
NO_MANAGE = "node.k8s.amazonaws.com/no_manage"


def detached(one: Node, eni_id: str) -> None:
    attachment = one.ec2.state.enis[eni_id].attachment
    assert attachment is not None
    one.aws("DetachNetworkInterface", AttachmentId=attachment.id, Force=True)


def attached(one: Node, index: int, *, tags: dict[str, str] | None = None, count: int = 2) -> str:
    spec = [{"ResourceType": "network-interface", "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()]}]
    made = one.aws("CreateNetworkInterface", SubnetId=one.subnet, SecondaryPrivateIpAddressCount=count, TagSpecifications=spec)
    eni_id: str = made["NetworkInterface"]["NetworkInterfaceId"]
    one.aws("AttachNetworkInterface", NetworkInterfaceId=eni_id, InstanceId=one.instance, DeviceIndex=index)
    return eni_id


def busy(node: Make, tmp_path: Path) -> Node:
    one = node(checkpoint=tmp_path / "ipam.json").start()
    one.pods(5)
    one.wait(20)
    return one


# ---- stale metadata -------------------------------------------------------------------------------------------------------


def test_stale_metadata_adds_nothing_and_deletes_nothing(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.pods(3)
    one.wait(20)
    one.ec2.behaviour.imds_delay_s = 150  # longer than two looks
    one.add("late")
    one.wait(10)
    assert one.pool == (1, 6)
    one.api.asked.clear()
    one.wait(120)
    assert one.pool == (1, 6) and one.ipamd.state()["assigned"] == 4
    assert "DescribeNetworkInterfaces" in [action for action, _ in one.api.asked], "EC2 was asked who is right"
    assert not {"PoolReconciled", "EniLost"} & set(one.events.reasons())


def test_metadata_that_still_lists_a_deleted_eni_brings_nothing_back(node: Make) -> None:
    one = node().start()
    one.pods(1)
    one.wait(70)
    second = one.enis()[1]
    one.delete("pod0")
    one.ec2.behaviour.imds_delay_s = 200
    one.until(lambda: one.pool[0] == 1)
    one.wait(150)
    assert second not in one.enis() and not {"EniFound", "EniNotReconciled"} & set(one.events.reasons())


def test_metadata_that_still_lists_a_detached_eni_makes_it_come_back(node: Make) -> None:
    """Trap 21: EC2 knows it, so it is taken over; its link does not come."""
    one = node().start()
    one.pods(1)
    one.wait(70)
    second = one.enis()[1]
    one.delete("pod0")
    one.ec2.behaviour.imds_delay_s = 600  # longer than the twelve tries
    one.ec2.behaviour.fail("DeleteNetworkInterface", "OperationNotPermitted", times=12)
    one.until(lambda: any(reason == "EniNotReconciled" and second in text for reason, text in one.events.told))
    assert second not in one.enis()


def test_nothing_is_compared_within_a_minute_of_the_last_change(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.wait(20)
    one.aws("AssignPrivateIpAddresses", NetworkInterfaceId=one.enis()[0], SecondaryPrivateIpAddressCount=1)
    one.wait(39)
    assert one.pool == (1, 2)
    one.until(lambda: "PoolReconciled" in one.events.reasons(), 10)
    one.until(lambda: one.pool == (1, 2), 40)


def test_metadata_that_lists_nothing_takes_nothing_away(node: Make) -> None:
    one = node()
    real, blank = one.imds, [False]

    class Blank:
        async def get(self, path: str) -> str:
            return "" if blank[0] and path == MACS else await real.get(path)

    one.imds = Blank()
    one.ipamd = one.daemon()
    one.start()
    one.pods(2)
    one.wait(20)
    blank[0] = True
    one.until(lambda: ("PoolStepFailed", "the metadata service lists no ENI at all") in one.events.told)
    assert one.pool == (2, 6) and one.ipamd.state()["assigned"] == 2


# ---- ENIs that vanish -----------------------------------------------------------------------------------------------------


def test_a_vanished_eni_ends_its_pods_in_store_and_checkpoint_and_leaves_every_rule(node: Make, tmp_path: Path) -> None:
    one = busy(node, tmp_path)
    second = one.ec2.state.enis[one.enis()[1]]
    lost = {address.address for address in second.addresses[1:]}
    checkpoint = tmp_path / "ipam.json"
    assert len(json.loads(checkpoint.read_text())["allocations"]) == 5
    detached(one, second.id)
    one.until(lambda: "EniLost" in one.events.reasons())
    kept = {entry["ipv4"] for entry in json.loads(checkpoint.read_text())["allocations"]}
    assert len(kept) == 3 and not kept & lost
    state = one.ipamd.state()
    assert state["assigned"] == 3 and state["total"] >= 3
    assert Rule(32765, 2, src=f"{second.primary}/32") in one.rules()
    with pytest.raises(UnknownAttachment, match="unknown pod"):
        one.delete("pod4")
    assert Rule(32765, 2, src=f"{second.primary}/32") in one.rules(), "and DEL cleans nothing"


def test_an_eni_at_a_device_index_of_before_has_the_table_of_before(node: Make, tmp_path: Path) -> None:
    """Trap 24: index 1 is table 2, whatever was there: stale rules point into the new ENI's table."""
    one = busy(node, tmp_path)
    second, third = one.enis()[1:]
    old = one.ec2.state.enis[second].primary
    detached(one, second)
    one.until(lambda: "EniLost" in one.events.reasons())
    one.add("next")
    one.until(lambda: len(one.enis()) == 3, 200)
    fresh = next(eni for eni in one.ipamd.state()["enis"] if eni["device"] == 1)
    assert fresh["id"] not in (second, third) and fresh["table"] == 2
    tables = {rule.src: rule.table for rule in one.rules() if rule.priority == 32765}
    assert tables[f"{old}/32"] == tables[f"{one.ec2.state.enis[fresh['id']].primary}/32"] == 2


def test_the_same_eni_comes_back_to_the_rule_that_it_left(node: Make, tmp_path: Path) -> None:
    one = busy(node, tmp_path)
    second = one.enis()[1]
    detached(one, second)
    one.until(lambda: second not in one.enis())
    rules = one.rules()
    one.aws("AttachNetworkInterface", NetworkInterfaceId=second, InstanceId=one.instance, DeviceIndex=1)
    one.until(lambda: one.holds(second))
    assert "EniNotReconciled" not in one.events.reasons() and one.rules() == rules
    assert one.add("next").allocations[0].route_table_id == 2


# ---- ENIs that appear -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env, tags", [({}, {NO_MANAGE: "true"}), ({"MANAGE_UNTAGGED_ENI": "false"}, {})])
def test_an_unmanaged_eni_takes_a_place_only_while_it_is_there(node: Make, env: dict[str, str], tags: dict[str, str]) -> None:
    one = node("t3.small", env).start()
    one.wait(10)
    strange = attached(one, 1, tags=tags)
    one.until(lambda: strange in one.ipamd._running.enis.unmanaged)
    one.wait(300)
    assert one.ipamd._running.enis.unmanaged == {strange}, "counted once, however often it is seen"
    one.pods(6)
    one.wait(30)
    assert one.pool == (2, 6) and strange not in one.enis()
    assert one.ec2.state.enis[strange].tags == tags, "and left alone"
    detached(one, strange)
    one.until(lambda: one.pool == (3, 9), 200)


def test_with_untagged_enis_unmanaged_the_daemons_own_are_managed(node: Make) -> None:
    one = node("t3.small", {"MANAGE_UNTAGGED_ENI": "false"}).start()
    one.pods(4)
    one.wait(10)
    had = one.enis()
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    assert one.enis() == had


@pytest.mark.parametrize("value, managed", [("true", False), ("false", True), ("True", True)])
def test_only_the_word_true_keeps_the_daemon_away(node: Make, value: str, managed: bool) -> None:
    one = node("t3.small")
    strange = attached(one, 1, tags={NO_MANAGE: value})
    one.start()
    assert (strange in one.enis()) is managed


def test_an_eni_marked_later_is_let_go_when_tags_are_read_again(node: Make) -> None:
    one = node("t3.small").start()
    one.add()
    one.wait(10)
    second = one.enis()[1]
    one.aws("CreateTags", Resources=[second], Tags=[{"Key": NO_MANAGE, "Value": "true"}])
    one.wait(130)
    assert second in one.enis(), "tags are read only when something unknown appears"
    attached(one, 5)
    one.until(lambda: second not in one.enis(), 200)
    assert one.ec2.state.enis[second].attachment is not None


def test_one_eni_that_cannot_be_tagged_does_not_stop_the_others(node: Make) -> None:
    one = node("m5.xlarge").start()
    one.wait(10)
    first, second = attached(one, 1), attached(one, 2)
    one.ec2.behaviour.fail("CreateTags", "OperationNotPermitted", times=5)
    one.until(lambda: second in one.enis(), 200)
    assert first not in one.enis()
    one.until(lambda: first in one.enis(), 200)


# ---- nothing may be changed -----------------------------------------------------------------------------------------------

CHANGES = {
    "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses", "CreateNetworkInterface", "AttachNetworkInterface", "CreateTags",
    "ModifyNetworkInterfaceAttribute", "DetachNetworkInterface", "DeleteNetworkInterface",
}


@pytest.mark.parametrize("env, read", [
    ({"DISABLE_NETWORK_RESOURCE_PROVISIONING": "true"}, {"DescribeNetworkInterfaces", "DescribeSubnets"}),
    ({"ENABLE_IMDS_ONLY_MODE": "true"}, {"DescribeSubnets"}),
    ({"ENABLE_IMDS_ONLY_MODE": "true", "ENABLE_SUBNET_DISCOVERY": "false"}, set()),
])
def test_without_provisioning_the_metadata_is_all_there_is(node: Make, env: dict[str, str], read: set[str]) -> None:
    one = node("t3.small", env, sweeps=True)
    first = one.ec2.state.enis_of(one.instance)[0].id
    one.aws("AssignPrivateIpAddresses", NetworkInterfaceId=first, SecondaryPrivateIpAddressCount=2)
    one.start()
    assert one.pool == (1, 2)
    had = {one.add(f"pod{number}").allocations[0].ipv4_addr for number in range(2)}
    assert len(had) == 2 and one.add("pod2").success is False
    later = attached(one, 1)
    one.until(lambda: one.holds(later))
    assert one.add("pod3").allocations[0].route_table_id == 2
    given: Any = one.ec2.state.enis[first].addresses[1].address
    one.aws("UnassignPrivateIpAddresses", NetworkInterfaceId=first, PrivateIpAddresses=[given])
    one.until(lambda: one.pool == (2, 3))
    one.wait(8000)
    assert set(one.calls()) == read, "no sweep either"
    assert not CHANGES & set(one.calls()) and one.kernel.exists(NODE)
