"""DHCP options sets with AWS's rules, and what a node's resolv.conf becomes."""

from __future__ import annotations

from typing import Any

import pytest

from labnet.lab.resolvers import resolv_conf
from tests.builders_ec2 import Cloud

AMAZON = "AmazonProvidedDNS"


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def made(cloud: Cloud, **options: list[str]) -> str:
    asked = [{"Key": key.replace("_", "-"), "Values": values} for key, values in options.items()]
    return str(cloud.call("CreateDhcpOptions", DhcpConfigurations=asked)["DhcpOptions"]["DhcpOptionsId"])


def use(cloud: Cloud, vpc: str, options: str) -> None:
    assert cloud.call("AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId=options) == {}


def set_of(cloud: Cloud, vpc: str) -> str:
    return str(cloud.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"][0]["DhcpOptionsId"])


def described(cloud: Cloud, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.call("DescribeDhcpOptions", **params)["DhcpOptions"]
    return found


def test_every_vpc_begins_with_the_one_default_set(cloud: Cloud) -> None:
    vpc, other = cloud.vpc(), cloud.vpc("10.20.0.0/16", "other")
    assert set_of(cloud, vpc) == set_of(cloud, other)
    (only,) = described(cloud)
    assert only["DhcpConfigurations"] == [
        {"Key": "domain-name", "Values": [{"Value": "us-west-2.compute.internal"}]},
        {"Key": "domain-name-servers", "Values": [{"Value": AMAZON}]},
    ]
    assert cloud.call("DescribeVpcs", Filters=[{"Name": "dhcp-options-id", "Values": [only["DhcpOptionsId"]]}])["Vpcs"].__len__() == 2
    assert resolv_conf(cloud.state, vpc) == "search us-west-2.compute.internal\nnameserver 10.10.0.2\n"
    assert resolv_conf(cloud.state, other) == "search us-west-2.compute.internal\nnameserver 10.20.0.2\n"


def test_a_set_of_ones_own(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    first = set_of(cloud, vpc)
    mine = made(cloud, domain_name=["example.com"], domain_name_servers=["10.10.0.9", AMAZON], ntp_servers=["169.254.169.123"])
    use(cloud, vpc, mine)
    assert set_of(cloud, vpc) == mine
    assert resolv_conf(cloud.state, vpc) == "search example.com\nnameserver 10.10.0.9\nnameserver 10.10.0.2\n"
    text = cloud.refused("DependencyViolation", "DeleteDhcpOptions", DhcpOptionsId=mine)
    assert text == f"The dhcpOptions '{mine}' has dependencies and cannot be deleted."
    use(cloud, vpc, "default")
    assert (set_of(cloud, vpc), resolv_conf(cloud.state, vpc)) == ("default", "")
    assert cloud.call("DeleteDhcpOptions", DhcpOptionsId=mine) == {}
    assert [one["DhcpOptionsId"] for one in described(cloud)] == [first]
    use(cloud, vpc, made(cloud, ntp_servers=["10.10.0.1"]))
    assert resolv_conf(cloud.state, vpc) == ""


def test_finding_sets(cloud: Cloud) -> None:
    cloud.vpc()
    mine = made(cloud, domain_name=["example.com"])
    cloud.call("CreateTags", Resources=[mine], Tags=[{"Key": "Name", "Value": "x"}])
    for name, value in (("key", "domain-name"), ("value", "example.com"), ("dhcp-options-id", mine), ("tag:Name", "x"), ("owner-id", "*")):
        found = [one["DhcpOptionsId"] for one in described(cloud, Filters=[{"Name": name, "Values": [value]}])]
        assert mine in found and len(found) == (2 if name in ("key", "owner-id") else 1), name
    assert cloud.call("DescribeTags")["Tags"][-1]["ResourceType"] == "dhcp-options"


def test_unknown_and_malformed_ids(cloud: Cloud) -> None:
    vpc, missing = cloud.vpc(), "dopt-0123456789abcdef0"
    assert cloud.refused("InvalidDhcpOptionsID.NotFound", "DeleteDhcpOptions", DhcpOptionsId=missing).startswith("The dhcpOptions ID")
    assert cloud.refused("InvalidDhcpOptionID.NotFound", "DescribeDhcpOptions", DhcpOptionsIds=[missing]).startswith("The dhcpOption ID")
    cloud.refused("InvalidDhcpOptionID.NotFound", "AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId=missing)
    cloud.refused("InvalidDhcpOptionsId.Malformed", "AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId="x")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("domain-name-servers", ["not an address"]), ("domain-name-servers", []), ("domain-name-servers", ["10.0.0.1"] * 5),
        ("ntp-servers", [AMAZON]), ("domain-name", ["under_score!"]), ("domain-name", ["a.b", "c.d"]), ("netbios-node-type", ["3"]),
        ("domain-name", ["a" * 64]), ("domain-name", ["a\nnameserver 6.6.6.6"]), ("routers", ["10.0.0.1"]),
        ("ipv6-address-preferred-lease-time", ["1"]),
    ],
)  # fmt: skip
def test_options_that_are_none_and_values_that_do_not_fit(cloud: Cloud, key: str, values: list[str]) -> None:
    cloud.refused("InvalidParameterValue", "CreateDhcpOptions", DhcpConfigurations=[{"Key": key, "Values": values}])


def test_an_option_stands_once(cloud: Cloud) -> None:
    twice = [{"Key": "ntp-servers", "Values": ["10.0.0.1"]}] * 2
    cloud.refused("InvalidParameterValue", "CreateDhcpOptions", DhcpConfigurations=twice)
    cloud.refused("MissingParameter", "CreateDhcpOptions", DhcpConfigurations=[])


def test_public_names_are_shown_where_the_vpc_gives_them(cloud: Cloud) -> None:
    vpc = cloud.vpc(hostnames=False)
    subnet = cloud.subnet(vpc)
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    node = cloud.node(subnet)

    def shown() -> tuple[str, str]:
        instance = cloud.call("DescribeInstances", InstanceIds=[node])["Reservations"][0]["Instances"][0]
        assert instance["PublicIpAddress"].startswith("203.0.113.")
        return instance["PublicDnsName"], instance["NetworkInterfaces"][0]["Association"]["PublicDnsName"]

    assert shown() == ("", "")
    cloud.call("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert shown() == ("ec2-203-0-113-1.us-west-2.compute.amazonaws.com",) * 2
