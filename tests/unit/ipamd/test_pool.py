"""The warm pool against the real EC2 rules: how it grows and shrinks, and what it does when EC2 refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from builders_ipamd import NODE, Node

from labnet.errors import Ec2Error
from labnet.ipamd.routes import eni_slice
from labnet.model.netstate import Addr

Make = Callable[..., Node]
FULL = Ec2Error("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")


@pytest.mark.parametrize("kind, env, steps", [
    ("t3.small", {}, [(0, (1, 3)), (5, (3, 9)), (9, (3, 9))]),
    ("t3.small", {"WARM_IP_TARGET": "1", "MINIMUM_IP_TARGET": "1"}, [(0, (1, 1)), (5, (2, 6)), (9, (3, 9))]),
    ("t3.small", {"WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "5"}, [(0, (2, 5)), (5, (3, 7))]),
    ("m5.xlarge", {}, [(0, (1, 14)), (1, (2, 28)), (15, (3, 42)), (29, (4, 56))]),
    ("p3dn.24xlarge", {"WARM_IP_TARGET": "5", "MINIMUM_IP_TARGET": "10"}, [(0, (1, 10)), (7, (1, 12)), (15, (1, 20)), (45, (2, 50))]),
])
def test_the_pool_has_the_sizes_of_the_vpc_cni(node: Make, kind: str, env: dict[str, str], steps: list[tuple[int, tuple[int, int]]]) -> None:
    one = node(kind, env).start()
    for pods, (enis, addresses) in steps:
        one.pods(pods)
        one.wait(40)
        assert (pods, one.pool) == (pods, (enis, addresses))


def test_an_empty_node_goes_back_to_its_first_eni(node: Make) -> None:
    one = node("t3.small").start()
    one.pods(7)
    one.wait(20)
    assert one.pool == (3, 9)
    second = one.enis()[1]
    for number in range(7):
        one.delete(f"pod{number}")
    one.wait(25)
    assert one.pool[0] == 3, "what cools down keeps its ENI"
    one.wait(90)
    assert one.pool == (1, 3)
    assert second not in one.ec2.state.enis
    assert [rule.src for rule in one.rules() if rule.priority == 32765] == []
    assert one.events.reasons().count("EniFreed") == 2


def test_an_address_beyond_the_target_goes_back(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.pods(3)
    one.wait(10)
    assert one.pool == (1, 5)
    one.delete("pod1")
    one.wait(60)
    assert one.pool == (1, 4)
    assert len(one.ec2.state.enis[one.enis()[0]].addresses) == 1 + 4


def test_an_address_that_was_returned_is_not_adopted_again(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.pods(3)
    one.delete("pod1")
    one.wait(400)
    assert one.pool == (1, 4) and "PoolReconciled" not in one.events.reasons()


# ---- refusals -------------------------------------------------------------------------------------------------------------


def test_when_the_last_one_is_refused_one_is_asked_for(node: Make) -> None:
    one = node("m5.xlarge", subnet="10.10.0.0/28")  # 11 addresses, one is the node's
    one.start()
    assert one.pool == (1, 1)
    assert one.calls().count("AssignPrivateIpAddresses") == 2


def test_release_1_6_asks_nothing_for_two_minutes_when_the_subnet_is_empty(node: Make) -> None:
    one = node(dialect="1.6")
    one.api.refusals["AssignPrivateIpAddresses"] = (FULL, None)
    one.start()
    before = one.calls()
    one.wait(110)
    assert one.calls() == before
    del one.api.refusals["AssignPrivateIpAddresses"]
    one.wait(20)
    assert one.pool[1] >= 3


def test_with_subnet_discovery_an_eni_is_tried_next_and_that_starts_the_pause(node: Make) -> None:
    one = node()
    one.api.refusals["AssignPrivateIpAddresses"] = one.api.refusals["CreateNetworkInterface"] = (FULL, None)
    one.start()
    assert "InsufficientAddresses" in one.events.reasons() and "EniNotAdded" in one.events.reasons()
    told = len(one.events.told)
    one.wait(110)
    assert len(one.events.told) == told
    one.api.refusals.clear()
    one.wait(20)
    assert one.pool[1] >= 3


def test_an_eni_that_cannot_be_attached_is_deleted_again(node: Make) -> None:
    one = node().start()
    one.api.refusals["AttachNetworkInterface"] = (Ec2Error("AttachmentLimitExceeded", "Interface count 4 exceeds the limit"), 1)
    one.add()
    one.wait(4)
    assert len(one.ec2.state.enis) == 1
    assert ("EniNotAdded", "AttachmentLimitExceeded: Interface count 4 exceeds the limit") in one.events.told
    one.wait(6)
    assert one.pool == (2, 6), "and tried again at the next look"


def test_an_eni_without_a_free_device_index_is_deleted_again(node: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = node().start()
    monkeypatch.setattr("labnet.ipamd.cloud.DEVICE_INDEXES", 1)  # the first ENI has the only one
    one.add()
    one.wait(4)
    assert len(one.ec2.state.enis) == 1 and "AttachNetworkInterface" not in one.calls()
    assert ("EniNotAdded", f"{one.instance} has no free device index on network card 0") in one.events.told


def test_missing_permissions_are_told_as_such(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.api.refusals["AssignPrivateIpAddresses"] = (Ec2Error("UnauthorizedOperation", "You are not authorized"), None)
    one.add()
    one.wait(6)
    assert "MissingIAMPermissions" in one.events.reasons()
    del one.api.refusals["AssignPrivateIpAddresses"]
    one.wait(6)
    assert one.pool == (1, 3)


def test_addresses_that_only_ec2_knew_are_believed(node: Make) -> None:
    one = node("t3.small", {"WARM_IP_TARGET": "2"}).start()
    first = one.enis()[0]
    one.aws("AssignPrivateIpAddresses", NetworkInterfaceId=first, SecondaryPrivateIpAddressCount=1)  # the limit is reached now
    one.add()
    one.wait(6)
    assert one.pool == (1, 3)


def test_a_detach_that_fails_is_tried_again(node: Make) -> None:
    one = node("t3.small").start()
    one.pods(1)
    one.wait(6)
    one.delete("pod0")
    one.api.refusals["DetachNetworkInterface"] = (Ec2Error("InternalError", "try again", 500), 3)
    one.wait(120)
    assert one.pool == (1, 3) and len(one.ec2.state.enis) == 1


# ---- what others do to the ENIs -------------------------------------------------------------------------------------------


def test_an_eni_attached_by_hand_is_taken_over(node: Make) -> None:
    one = node("t3.small", {"WARM_ENI_TARGET": "2"}).start()
    one.wait(30)
    enis, _ = one.pool
    made = one.aws("CreateNetworkInterface", SubnetId=one.subnet, SecondaryPrivateIpAddressCount=2)["NetworkInterface"]["NetworkInterfaceId"]
    one.aws("AttachNetworkInterface", NetworkInterfaceId=made, InstanceId=one.instance, DeviceIndex=5)
    one.wait(70)
    assert made in one.enis() and one.pool[0] == enis + 1
    primary = one.ec2.state.enis[made].primary
    assert [item.address for item in one.kernel.observe(NODE).all(Addr) if item.link == "eth5"] == [primary]
    assert one.ec2.state.enis[made].tags["node.k8s.amazonaws.com/instance_id"] == one.instance


def test_an_eni_detached_by_hand_takes_its_pods_with_it_and_leaves_its_rules(node: Make) -> None:
    one = node().start()
    one.pods(5)
    second = one.ec2.state.enis[one.enis()[1]]
    assert second.attachment is not None
    one.aws("DetachNetworkInterface", AttachmentId=second.attachment.id, Force=True)
    one.wait(70)
    assert second.id not in one.enis() and one.ipamd.state()["assigned"] == 3
    assert f"{second.primary}/32" in [rule.src for rule in one.rules() if rule.priority == 32765]
    assert one.book.claimed(NODE, eni_slice(second.id)) is None
    assert "EniLost" in one.events.reasons()


def test_an_address_taken_by_hand_ends_its_assignment(node: Make) -> None:
    one = node().start()
    addresses = one.pods(2)
    one.aws("UnassignPrivateIpAddresses", NetworkInterfaceId=one.enis()[0], PrivateIpAddresses=[addresses[0]])
    one.wait(70)
    assert one.ipamd.state()["assigned"] == 1


def test_without_its_link_an_eni_serves_nobody_until_it_comes(node: Make) -> None:
    one = node().start()
    one.links = False
    one.add()
    one.wait(30)
    assert one.pool[1] == 3
    told = dict(one.events.told)["EniNotAdded"]
    assert told.startswith("setupENINetwork: failed to find the link which uses MAC address ")
