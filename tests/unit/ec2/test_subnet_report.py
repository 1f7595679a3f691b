"""Subnets counted and drawn, their warnings, and the generated coverage."""

from __future__ import annotations

from typing import Any

from builders_ec2 import Cloud

from labnet.cli.render_ec2 import subnet_maps
from labnet.ec2.cloud import ACTIONS
from labnet.ec2.coverage import OFTEN_CALLED, coverage, kind_of
from labnet.ec2.rules.request import Action
from labnet.ec2.subnet_report import subnet_reports


def subnet(cidr: str) -> tuple[Cloud, str]:
    cloud = Cloud()
    vpc = cloud.call("CreateVpc", CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
    return cloud, cloud.call("CreateSubnet", VpcId=vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]


def report(cloud: Cloud) -> dict[str, Any]:
    return subnet_reports(cloud.state, blocks=True)[0]


def eni(cloud: Cloud, subnet_id: str, **params: Any) -> str:
    return str(cloud.call("CreateNetworkInterface", SubnetId=subnet_id, **params)["NetworkInterface"]["NetworkInterfaceId"])


def test_an_empty_subnet() -> None:
    cloud, _ = subnet("10.10.0.0/24")
    found = report(cloud)
    assert (found["addresses"], found["reserved"], found["used"], found["free"]) == (256, 5, 0, 251)
    assert (found["freePrefixes"], found["nextPrefix"], found["warnings"]) == (14, "10.10.0.16/28", [])
    assert sum(block["free"] for block in found["blocks"]) == 251


def test_what_addresses_are_used_for_adds_up_to_what_ec2_says() -> None:
    cloud, home = subnet("10.10.0.0/26")
    eni(cloud, home, SecondaryPrivateIpAddressCount=3)
    eni(cloud, home, Ipv4PrefixCount=1)
    found = report(cloud)
    assert [found[use] for use in ("reserved", "primary", "secondary", "prefix", "other")] == [5, 2, 3, 16, 0]
    said = cloud.call("DescribeSubnets", SubnetIds=[home])["Subnets"][0]["AvailableIpAddressCount"]
    assert found["free"] == said == 64 - 26
    assert list(found["uses"].values()).count("free") == said


def test_a_small_subnet_is_drawn_by_address() -> None:
    cloud, home = subnet("10.10.0.0/26")
    eni(cloud, home, SecondaryPrivateIpAddressCount=2)
    eni(cloud, home, Ipv4PrefixCount=1)
    lines = subnet_maps({"subnets": subnet_reports(cloud.state, blocks=True)})
    assert lines[1:5] == [
        "  10.10.0.0/28   RRRR EssE .... ....", "  10.10.0.16/28  PPPP PPPP PPPP PPPP", "  10.10.0.32/28  .... .... .... ....",
        "  10.10.0.48/28  .... .... .... ...R",
    ]
    assert lines[-1].startswith("R reserved   E ENI primary")


def test_a_large_subnet_is_drawn_by_block_and_equal_rows_once() -> None:
    cloud, home = subnet("10.10.0.0/18")
    eni(cloud, home, Ipv4PrefixCount=2)
    eni(cloud, home, PrivateIpAddresses=[{"PrivateIpAddress": f"10.10.0.{n}", "Primary": n == 48} for n in range(48, 64)])
    lines = subnet_maps({"subnets": subnet_reports(cloud.state, blocks=True)})
    assert lines[1].startswith("  10.10.0.0   5PP# .... ")
    assert lines[3].strip() == "…  12 rows like the one above"
    assert lines[-3].endswith("...R")
    assert "a cell is a /28 block" in lines[-1]


def test_scattered_addresses_make_the_next_prefix_fail_and_the_rules_agree() -> None:
    cloud, home = subnet("10.10.0.0/26")
    one = eni(cloud, home)
    for address in ("10.10.0.20", "10.10.0.40"):
        cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=one, PrivateIpAddresses=[address])
    found = report(cloud)
    assert (found["free"], found["freePrefixes"], found["nextPrefix"]) == (56, 0, None)
    assert found["warnings"] == [
        "the next prefix will fail with InsufficientCidrBlocks: 56 addresses are free, but no whole /28 block (they lie scattered)",
    ]
    cloud.refused("InsufficientCidrBlocks", "AssignPrivateIpAddresses", NetworkInterfaceId=one, Ipv4PrefixCount=1)


def test_fewer_than_three_addresses_are_too_few_for_an_upgrade() -> None:
    cloud, home = subnet("10.10.0.0/28")
    eni(cloud, home, SecondaryPrivateIpAddressCount=7)
    assert report(cloud)["free"] == 3
    assert len(report(cloud)["warnings"]) == 1
    eni(cloud, home)
    assert report(cloud)["warnings"][1] == "2 free: an upgrade of the cluster may want up to 3 addresses here"


# ---- coverage -------------------------------------------------------------------------------------------------------------


def test_coverage_is_the_table_and_what_the_model_has_more() -> None:
    found = coverage()
    assert [row["action"] for row in found["actions"]] == sorted(ACTIONS)
    assert found["known"] == len(found["missing"]) + len(ACTIONS)
    assert "CreateFleet" in found["missing"]
    assert "CreateVpc" not in found["missing"]
    assert set(found["missingOften"]) == set(found["missing"]) & OFTEN_CALLED
    assert sum(found["counts"].values()) == len(ACTIONS)


def test_an_action_acts_or_is_state_only_or_reads() -> None:
    def rule(*_words: Any) -> Any:
        raise AssertionError("never called")

    table = {"A": Action(rule, frozenset()), "B": Action(rule, frozenset(), acts=False), "C": Action(rule, frozenset(), mutates=False)}
    assert [kind_of(entry) for entry in table.values()] == ["acts", "state only", "reads"]
    assert coverage(["A", "B", "C", "D", "RunInstances"], table)["missing"] == ["D", "RunInstances"]
    assert coverage(["A", "RunInstances", "D"], table)["missingOften"] == ["RunInstances"]
