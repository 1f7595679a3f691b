"""Subnets found by tag, ENIConfigs, excluded subnets, cordoned nodes: where new ENIs go, and whether there are any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders_ipamd import NODE, TAGS, Node

from labnet.errors import IpamError
from labnet.model.addressing import contains
from labnet.model.behaviour import DenySpec
from labnet.model.cluster import EniConfig
from labnet.model.netstate import Addr, Route

Make = Callable[..., Node]
BIG = "10.10.64.0/20"
CUSTOM = {"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "true"}


def with_second_eni(one: Node) -> Node:
    one.start()
    one.add()
    return one.wait(6)


def tag(one: Node, subnet: str, value: str) -> None:
    one.aws("CreateTags", Resources=[subnet], Tags=[{"Key": TAGS["role"], "Value": value}])


# ---- discovery ------------------------------------------------------------------------------------------------------------


def test_a_bigger_tagged_subnet_takes_the_new_eni_and_its_gateway_is_the_enis(node: Make) -> None:
    one = node()
    big, = one.more_subnets(BIG, role="1")
    with_second_eni(one)
    assert one.subnets_of_enis() == [one.subnet, big]
    second = one.ec2.state.enis[one.enis()[1]]
    state = one.kernel.observe(NODE)
    assert [(item.address, item.prefixlen) for item in state.all(Addr) if item.link == "eth1"] == [(second.primary, 20)]
    assert {(item.dst, item.via) for item in state.all(Route) if item.table == 2} == {("10.10.64.1/32", None), ("default", "10.10.64.1")}
    one.pods(5)
    assert contains(BIG, one.add("sixth").allocations[0].ipv4_addr)


@pytest.mark.parametrize("env, tags, zone", [
    ({}, {}, "us-west-2a"),
    ({"ENABLE_SUBNET_DISCOVERY": "false"}, {"role": "1"}, "us-west-2a"),
    ({}, {"role": "1"}, "us-west-2b"),
    ({"CLUSTER_NAME": "mine"}, {"role": "1", "theirs": "shared"}, "us-west-2a"),
    ({}, {"role": "0"}, "us-west-2a"),
])
def test_else_it_goes_to_the_nodes_own_subnet(node: Make, env: dict[str, str], tags: dict[str, str], zone: str) -> None:
    one = node("t3.small", env)
    one.more_subnets(BIG, zone=zone, **tags)
    with_second_eni(one)
    assert one.subnets_of_enis() == [one.subnet, one.subnet]


@pytest.mark.parametrize("tags", [{"role": "1", "mine": "shared"}, {"role": "1", "mine": "", "theirs": ""}, {"role": "shared"}])
def test_a_subnet_tagged_for_this_cluster_is_taken(node: Make, tags: dict[str, str]) -> None:
    one = node("t3.small", {"CLUSTER_NAME": "mine"})
    big, = one.more_subnets(BIG, **tags)
    with_second_eni(one)
    assert one.subnets_of_enis()[1] == big


def test_subnets_are_tried_until_one_takes_the_eni(node: Make) -> None:
    one = node()
    big, small = one.more_subnets(BIG, "10.10.128.0/24", role="1")
    one.ec2.behaviour.fail("CreateNetworkInterface", "InsufficientFreeAddressesInSubnet", times=1)
    with_second_eni(one)
    tried = [params["SubnetId"] for action, params in one.api.asked if action == "CreateNetworkInterface"]
    assert tried[0] == big and tried[1] in (small, one.subnet) and one.pool == (2, 6)
    assert "EniNotAdded" not in one.events.reasons(), "and no pause begins"


def test_only_the_last_subnets_refusal_starts_the_pause(node: Make) -> None:
    one = node()
    one.more_subnets(BIG, role="1")
    one.ec2.behaviour.fail("CreateNetworkInterface", "InsufficientFreeAddressesInSubnet")
    with_second_eni(one)
    one.wait(110)
    assert one.calls().count("CreateNetworkInterface") == 2


def test_subnets_that_cannot_be_listed_once_leave_the_nodes_own(node: Make) -> None:
    one = node().start()
    one.more_subnets(BIG, role="1")
    one.ec2.behaviour.fail("DescribeSubnets", "InvalidParameterValue", times=1)
    before = len(one.calls())
    one.add()
    one.wait(6)
    assert one.calls()[before : before + 3] == ["DescribeSubnets", "DescribeSubnets", "CreateNetworkInterface"]
    assert one.subnets_of_enis() == [one.subnet, one.subnet]


def test_subnets_that_can_never_be_listed_leave_a_node_without_new_enis(node: Make) -> None:
    one = node().start()
    one.ec2.behaviour.deny(DenySpec("DescribeSubnets"))
    one.add()
    one.wait(30)
    assert one.pool == (1, 3) and "CreateNetworkInterface" not in one.calls()
    assert {"EniNotAdded", "MissingIAMPermissions"} <= set(one.events.reasons())


def test_without_describe_subnets_the_start_takes_six_tries_and_goes_on(node: Make) -> None:
    one = node()
    one.ec2.behaviour.deny(DenySpec("DescribeSubnets"))
    begun_s = one.clock.now_s()
    one.start()
    assert one.calls().count("DescribeSubnets") == 6 and one.clock.now_s() - begun_s == 50
    assert one.pool == (1, 3) and one.add().success and "EniNotSetUp" in one.events.reasons()


def test_an_eni_whose_subnet_is_not_looked_up_serves_pods_without_routes(node: Make) -> None:
    """Trap 28: the datastore knows it before the kernel does."""
    one = node().start()
    real = one.api.call

    async def late(action: str, params: Any) -> dict[str, Any]:
        answer = await real(action, params)
        if action == "AttachNetworkInterface":
            one.ec2.behaviour.fail("DescribeSubnets", "InvalidParameterValue", times=1)
        return answer

    one.api.call = late  # type: ignore[method-assign]
    one.add()
    one.wait(6)
    assert one.pool == (2, 3) and "EniNotAdded" in one.events.reasons()
    one.wait(10)
    assert one.pool[1] > 3, "its addresses are found in EC2"
    one.pods(4)
    assert [item for item in one.kernel.observe(NODE).all(Route) if item.table == 2] == []


# ---- excluded subnets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefixes", [False, True])
def test_a_node_whose_own_subnet_is_excluded_uses_the_others(node: Make, prefixes: bool) -> None:
    one = node("m5.large", {"ENABLE_PREFIX_DELEGATION": str(prefixes).lower()})
    big, = one.more_subnets(BIG, role="1")
    tag(one, one.subnet, "0")
    one.start()
    one.wait(10)
    assert one.subnets_of_enis()[1] == big
    assert all(contains(BIG, address) for address in one.pods(3))
    assert one.ipamd.state()["enis"][0]["addresses"] == one.ipamd.state()["enis"][0]["prefixes"] == []


def test_without_any_subnet_nothing_is_made(node: Make) -> None:
    one = node()
    tag(one, one.subnet, "0")
    one.start()
    assert one.pool == (1, 0) and "CreateNetworkInterface" not in one.calls()
    assert any("no subnet may take a new ENI" in text for reason, text in one.events.told if reason == "EniNotAdded")


@pytest.mark.parametrize("prefixes", [False, True])
def test_a_subnet_excluded_later_is_drained_and_its_pods_stay(node: Make, tmp_path: Any, prefixes: bool) -> None:
    one = node("m5.large", {"ENABLE_PREFIX_DELEGATION": str(prefixes).lower(), "MAX_ENI": "2"}, checkpoint=tmp_path / "ipam.json")
    one.more_subnets(BIG, role="1")
    one.start()
    had = one.pods(2)
    tag(one, one.subnet, "0")
    assert one.running is not None
    one.running.cancel()
    one.ipamd = one.daemon()
    one.start()
    first = one.ipamd.state()["enis"][0]
    assert (first["addresses"], len(first["prefixes"])) == ([] if prefixes else had, 1 if prefixes else 0), "what nobody has went at once"
    one.wait(20)
    assert [one.add(f"pod{number}").allocations[0].ipv4_addr for number in range(2)] == had
    assert contains(BIG, one.add("new").allocations[0].ipv4_addr)
    for number in range(2):
        one.delete(f"pod{number}")
    one.wait(4)
    assert one.ipamd.state()["enis"][0]["addresses"] or one.ipamd.state()["enis"][0]["prefixes"], "five seconds of grace"
    one.wait(8)
    first = one.ipamd.state()["enis"][0]
    assert first["addresses"] == first["prefixes"] == [] and one.pool[0] == 2
    assert len(one.ec2.state.enis[first["id"]].addresses) == 1 and not one.ec2.state.enis[first["id"]].prefixes


def test_what_is_drained_is_not_believed_for_a_minute_even_if_ec2_has_it(node: Make, tmp_path: Any) -> None:
    one = node("t3.small", {"MAX_ENI": "2"}, checkpoint=tmp_path / "ipam.json")
    one.more_subnets(BIG, role="1")
    one.start()
    had, = one.pods(1)
    tag(one, one.subnet, "0")
    assert one.running is not None
    one.running.cancel()
    one.ipamd = one.daemon()
    one.start().wait(100)
    memory = one.ipamd._running._memory

    def compared() -> None:
        before = memory.acted_at_s
        one.until(lambda: memory.acted_at_s != before, 70)

    def held() -> list[str]:
        return list(one.ipamd.state()["enis"][0]["addresses"])

    compared()
    one.ec2.behaviour.fail("UnassignPrivateIpAddresses", "OperationNotPermitted", times=1)
    one.delete("pod0")
    one.until(lambda: held() == [], 20)
    compared()
    assert held() == [] and had in [item.address for item in one.ec2.state.enis[one.enis()[0]].addresses]
    compared()
    assert "PoolReconciled" in one.events.reasons(), "then it is found again, and given back again"
    one.until(lambda: had not in [item.address for item in one.ec2.state.enis[one.enis()[0]].addresses], 20)


def test_an_excluded_secondary_eni_goes_when_nobody_needs_it(node: Make, tmp_path: Any) -> None:
    one = node("t3.small", {"WARM_IP_TARGET": "1"}, checkpoint=tmp_path / "ipam.json")
    big, = one.more_subnets(BIG, role="1")
    one.start()
    one.pods(4)
    one.wait(10)
    second = one.enis()[1]
    assert one.ec2.state.enis[second].subnet_id == big
    tag(one, big, "0")
    assert one.running is not None
    one.running.cancel()
    one.ipamd = one.daemon()
    one.start()
    one.wait(70)
    assert second in one.enis(), "it has a pod still"
    one.delete("pod3")
    one.until(lambda: second not in one.ec2.state.enis, 200)
    assert second not in one.enis()


# ---- custom networking ----------------------------------------------------------------------------------------------------


def custom(node: Make, env: dict[str, str] | None = None, groups: tuple[str, ...] = ()) -> Node:
    one = node("m5.large", {**CUSTOM, **(env or {})})
    subnet, = one.more_subnets("10.10.100.0/24")
    one.objects.config = EniConfig("us-west-2a", subnet, groups)
    return one


def test_pods_live_in_the_subnet_of_the_eniconfig_and_the_first_eni_gives_none(node: Make) -> None:
    one = custom(node).start()
    assert one.pool == (2, 9) and one.ipamd.state()["enis"][0]["addresses"] == []
    assert [(eni["used"], eni["warm"], eni["max"]) for eni in one.ipamd.state()["enis"]] == [(0, 0, 0), (0, 9, 9)]
    assert all(contains("10.10.100.0/24", address) for address in one.pods(18))
    one.wait(20)
    assert one.pool == (3, 18) and len(one.ec2.state.enis[one.enis()[0]].addresses) == 1
    first, second, third = (one.ec2.state.enis[eni] for eni in one.enis())
    assert first.security_groups == second.security_groups == third.security_groups, "an empty list means the first one's"
    assert one.calls().count("DescribeSubnets") == 0


def test_what_the_first_eni_has_when_custom_networking_comes_is_the_most_that_it_can_have(node: Make) -> None:
    one = node("m5.large").start()
    one.pods(2)
    assert one.running is not None
    one.running.cancel()
    subnet, = one.more_subnets("10.10.100.0/24")
    one.objects.config = EniConfig("us-west-2a", subnet, ())
    first, = one.enis()
    one.aws(
        "UnassignPrivateIpAddresses", NetworkInterfaceId=first, PrivateIpAddresses=one.ipamd.state()["enis"][0]["addresses"][4:],
    )
    one.settings = replace(one.settings, custom_networking=True)
    one.ipamd = one.daemon()
    one.start()
    held = one.ipamd.state()["enis"][0]
    assert (held["used"] + held["warm"], held["max"]) == (4, 4)


def test_the_groups_of_the_eniconfig_and_its_keys(node: Make) -> None:
    one = custom(node, {"ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone", "ENI_CONFIG_ANNOTATION_DEF": "a/b"})
    group = one.aws("CreateSecurityGroup", GroupName="pods", Description="pods", VpcId=one.vpc)["GroupId"]
    assert one.objects.config is not None
    one.objects.config = EniConfig("x", one.objects.config.subnet_id, (group,))
    one.start()
    assert one.ec2.state.enis[one.enis()[1]].security_groups == (group,)
    assert one.objects.keys == [("a/b", "topology.kubernetes.io/zone")]
    first = one.enis()[0]
    other = one.aws("CreateSecurityGroup", GroupName="nodes", Description="nodes", VpcId=one.vpc)["GroupId"]
    one.aws("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=first, Groups=[other])
    one.wait(100)
    assert one.ec2.state.enis[one.enis()[1]].security_groups == (group,), "the first one's are not given to the others"


def test_without_an_eniconfig_the_start_fails(node: Make) -> None:
    one = custom(node)
    one.objects.config = None
    with pytest.raises(IpamError, match=r"^Failed to attach any ENIs for custom networking$"):
        one.do(one.ipamd.start())
    assert ("EniNotAdded", "eniconfig default not found") in one.events.told
    assert "CreateNetworkInterface" not in one.calls()


def test_an_eniconfig_of_another_zone_makes_enis_that_cannot_be_attached(node: Make) -> None:
    one = custom(node)
    far, = one.more_subnets("10.10.120.0/24", zone="us-west-2b")
    one.objects.config = EniConfig("far", far)
    with pytest.raises(IpamError, match="Failed to attach any ENIs"):
        one.do(one.ipamd.start())
    assert one.calls()[-2:] == ["AttachNetworkInterface", "DeleteNetworkInterface"] and len(one.ec2.state.enis) == 1
    assert any("not in the same availability zone" in text for _, text in one.events.told)


def test_an_eniconfig_that_goes_later_stops_the_growth_alone(node: Make) -> None:
    one = custom(node).start()
    one.objects.config = None
    assert len(one.pods(9)) == 9
    one.wait(20)
    assert one.pool == (2, 9) and ("EniNotAdded", "eniconfig default not found") in one.events.told


def test_prefixes_with_custom_networking(node: Make) -> None:
    one = custom(node, {"ENABLE_PREFIX_DELEGATION": "true"})
    first = one.ec2.state.enis_of(one.instance)[0].id
    one.aws("AssignPrivateIpAddresses", NetworkInterfaceId=first, Ipv4PrefixCount=1)
    one.start()
    assert one.pool == (2, 16), "the prefix of the first ENI is not read"
    assert contains("10.10.100.0/24", one.add().allocations[0].ipv4_addr)


# ---- cordoned nodes -------------------------------------------------------------------------------------------------------


def test_a_cordoned_node_gets_nothing_and_loses_no_eni(node: Make) -> None:
    one = node().start()
    one.pods(5)
    one.wait(20)
    assert one.pool == (3, 9)
    one.objects.cordoned = True
    for number in range(4):
        one.add(f"more{number}")
    before = one.calls()
    one.wait(30)
    assert one.calls() == before, "too low, and nothing is asked for"
    for number in range(5):
        one.delete(f"pod{number}")
    for number in range(4):
        one.delete(f"more{number}")
    one.wait(150)
    assert one.pool == (3, 9)
    one.objects.cordoned = False
    one.wait(120)
    assert one.pool == (1, 3)


def test_a_cordoned_node_gives_addresses_back_all_the_same(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.pods(4)
    one.wait(40)
    one.objects.cordoned = True
    for number in range(4):
        one.delete(f"pod{number}")
    one.until(lambda: one.pool == (1, 2), 60)


@pytest.mark.parametrize("env, dialect", [({"AWS_MANAGE_ENIS_NON_SCHEDULABLE": "true"}, "1.23"), ({}, "1.6")])
def test_a_cordoned_node_is_served_when_told_so_and_in_release_1_6(node: Make, env: dict[str, str], dialect: str) -> None:
    one = node("t3.small", env, dialect=dialect)
    one.objects.cordoned = True
    one.start()
    one.add()
    one.wait(10)
    assert one.pool == (2, 6)


def test_a_node_that_starts_cordoned_starts_empty(node: Make) -> None:
    one = node()
    one.objects.cordoned = True
    one.start()
    assert one.pool == (1, 0) and one.add().success is False
    one.objects.cordoned = False
    one.wait(6)
    assert one.add().success


def test_a_node_that_kubernetes_does_not_know_is_not_cordoned(node: Make) -> None:
    one = node()
    one.objects.gone = True
    one.start()
    one.add()
    one.wait(10)
    assert one.pool == (2, 6)
