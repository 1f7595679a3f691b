"""Prefix delegation turned on and off under running pods: both kinds on one ENI, and only the mode's kind is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from builders_ipamd import Node

from labnet.model.addressing import contains

Make = Callable[..., Node]


def again(one: Node, env: dict[str, str]) -> Node:
    """The daemon starts anew with other variables."""
    assert one.running is not None
    one.running.cancel()
    one.settings = one.settings.from_env(env, "1.23")
    one.ipamd = one.daemon()
    return one.start()


def first(one: Node) -> tuple[list[str], list[str]]:
    eni = one.ipamd.state()["enis"][0]
    return list(eni["addresses"]), list(eni["prefixes"])


def figures(one: Node, eni: int = 0) -> tuple[int, int, int, int]:
    """What people see of an ENI: used, warm, cooling and the most."""
    seen = one.ipamd.state()["enis"][eni]
    return seen["used"], seen["warm"], seen["cooling"], seen["max"]


def test_on_and_off_again(node: Make, tmp_path: Path) -> None:
    one = node("m5.large", {"WARM_IP_TARGET": "3"}, checkpoint=tmp_path / "ipam.json").start()
    old, = one.pods(1)
    one.wait(10)
    assert one.pool == (1, 4)
    again(one, {"ENABLE_PREFIX_DELEGATION": "true"})
    addresses, prefixes = first(one)
    assert addresses == [old] and len(prefixes) == 1, "idle ones went, the pod's stays"
    assert [item.address for item in one.ec2.state.enis[one.enis()[0]].addresses[1:]] == [old]
    assert one.pool == (1, 16) and one.ipamd.state()["assigned"] == 0, "and is not counted"
    assert figures(one) == (1, 16, 0, (9 - 1) * 16 + 1), "by the policy; people see a pod on the ENI"
    assert one.add("pod0").allocations[0].ipv4_addr == old
    fresh = one.add("new").allocations[0].ipv4_addr
    one.veth("new")
    assert contains(prefixes[0], fresh)
    one.wait(20)
    assert first(one)[0] == [old]
    again(one, {"WARM_IP_TARGET": "3"})
    assert first(one)[1] == prefixes, "a prefix with a pod stays whole, one without goes"
    assert one.add("new").allocations[0].ipv4_addr == fresh
    next_one = one.add("next").allocations[0].ipv4_addr
    assert not contains(prefixes[0], next_one)
    one.delete("new")
    one.wait(60)
    assert first(one)[1] == prefixes, "it goes at the next start"
    again(one, {"WARM_IP_TARGET": "3"})
    assert first(one)[1] == [] and not one.ec2.state.enis[one.enis()[0]].prefixes
    assert one.add("pod0").allocations[0].ipv4_addr == old


def test_without_a_change_of_mode_nothing_is_freed_at_the_start(node: Make, tmp_path: Path) -> None:
    one = node("m5.large", {"ENABLE_PREFIX_DELEGATION": "true"}, checkpoint=tmp_path / "ipam.json").start()
    before = first(one)
    again(one, {"ENABLE_PREFIX_DELEGATION": "true"})
    assert first(one) == before and "UnassignPrivateIpAddresses" not in one.calls()


def test_what_ec2_does_not_take_back_is_told_and_the_start_goes_on(node: Make, tmp_path: Path) -> None:
    one = node("m5.large", {"WARM_IP_TARGET": "3"}, checkpoint=tmp_path / "ipam.json").start()
    one.ec2.behaviour.fail("UnassignPrivateIpAddresses", "OperationNotPermitted", times=1)
    again(one, {"ENABLE_PREFIX_DELEGATION": "true"})
    assert "PoolStepFailed" in one.events.reasons() and one.add().success


def test_pods_on_addresses_of_a_prefix_are_used_after_prefixes_were_turned_off(node: Make, tmp_path: Path) -> None:
    one = node("t3.small", {"ENABLE_PREFIX_DELEGATION": "true"}, checkpoint=tmp_path / "ipam.json", max_pods=110).start()
    one.pods(5)
    assert figures(one) == (5, one.pool[1] - 5, 0, 3 * 16)
    again(one, {"WARM_IP_TARGET": "1"})
    assert figures(one) == (5, 1, 0, 2 + 5), "one of three places holds a prefix that gives what pods have of it"
    one.delete("pod0")
    assert figures(one) == (4, 1, 1, 2 + 4)
    one.wait(31)
    assert figures(one) == (4, 1, 0, 2 + 4)
