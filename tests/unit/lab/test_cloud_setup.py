"""What a scenario's VPC becomes in EC2: public subnets use a route table with the way out, others the main one."""

from __future__ import annotations

import asyncio
import io

import pytest

from labnet.ec2 import limits
from labnet.ec2.service import Ec2Service
from labnet.errors import LabnetError
from labnet.lab import scenario_file
from labnet.lab.cloud_setup import make_vpcs
from labnet.model.cloud import CloudState
from labnet.model.scenario import NetworkAclEntrySpec, NetworkAclSpec, Scenario, SubnetSpec, VpcSpec
from labnet.sim.clock import LabClock


def made(gateway: bool, *public: bool) -> tuple[Ec2Service, list[str]]:
    subnets = tuple(
        SubnetSpec(f"s{n}", f"10.10.{n}.0/24", "us-west-2a", map_public_ip_on_launch=flag) for n, flag in enumerate(public)
    )
    scenario = Scenario(name="x", vpcs=(VpcSpec("vpc", ("10.10.0.0/16",), subnets, internet_gateway=gateway),))
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))
    ids = asyncio.run(make_vpcs(service.client("labnet"), scenario))
    return service, [ids.subnets[f"s{n}"] for n in range(len(public))]


def test_public_subnets_have_the_default_route() -> None:
    service, (one, two, private) = made(True, True, True, False)
    main, public = service.call("x", "DescribeRouteTables", {})["RouteTables"]
    assert [it.get("SubnetId") for it in public["Associations"]] == [one, two] and main["Associations"][0]["Main"]
    (gateway,) = service.state.internet_gateways
    assert [(it["DestinationCidrBlock"], it["GatewayId"], it["State"]) for it in public["Routes"]] == [
        ("10.10.0.0/16", "local", "active"), ("0.0.0.0/0", gateway, "active")
    ]
    assert [it["GatewayId"] for it in main["Routes"]] == ["local"] and private in service.state.subnets


def test_no_table_where_nothing_is_public() -> None:
    for service, _ in (made(True, False), made(False, True)):
        assert len(service.state.route_tables) == 1


def test_network_acls_are_made_filled_and_put_on_their_subnets() -> None:
    web = NetworkAclSpec("web", (
        NetworkAclEntrySpec(10, "allow", "tcp", 80), NetworkAclEntrySpec(20, "allow", "icmp", 8), NetworkAclEntrySpec(30, "deny", "udp"),
    ), (NetworkAclEntrySpec(10, "allow", "6", 1024, 65535, "10.10.0.0/16"),))  # fmt: skip
    subnets = (SubnetSpec("a", "10.10.0.0/24", "us-west-2a", network_acl="web"), SubnetSpec("b", "10.10.1.0/24", "us-west-2a"))
    scenario = Scenario(name="x", vpcs=(VpcSpec("vpc", ("10.10.0.0/16",), subnets, network_acls=(web,)),))
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))
    ids = asyncio.run(make_vpcs(service.client("labnet"), scenario))
    default, made = service.call("x", "DescribeNetworkAcls", {})["NetworkAcls"]
    assert [it["SubnetId"] for it in made["Associations"]] == [ids.subnets["a"]] and made["Tags"] == [{"Key": "Name", "Value": "web"}]
    assert [it["SubnetId"] for it in default["Associations"]] == [ids.subnets["b"]]
    said = [
        (it["RuleNumber"], it["Egress"], it["RuleAction"], it["Protocol"], it.get("PortRange") or it.get("IcmpTypeCode"), it["CidrBlock"])
        for it in made["Entries"] if it["RuleNumber"] < 32767
    ]  # fmt: skip
    assert said == [
        (10, True, "allow", "6", {"From": 1024, "To": 65535}, "10.10.0.0/16"),
        (10, False, "allow", "6", {"From": 80, "To": 80}, "0.0.0.0/0"),
        (20, False, "allow", "1", {"Type": 8, "Code": -1}, "0.0.0.0/0"),
        (30, False, "deny", "17", {"From": 0, "To": 65535}, "0.0.0.0/0"),
    ]


DNS = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: x}
vpc: {cidr: 10.10.0.0/16, DNS subnets: [{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}]}
nodes: [{name: node1, instanceType: t3.small, subnet: a}]
"""


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("", (True, False)), ("dns: {hostnames: true},", (True, True)), ("dns: {support: false},", (False, False)),
        ("dns: {support: true, hostnames: false},", (True, False)),
    ],
)  # fmt: skip
def test_dns_attributes_are_the_scenarios_or_awss_defaults(said: str, becomes: tuple[bool, bool]) -> None:
    scenario = scenario_file.load("-", stdin=io.StringIO(DNS.replace("DNS", said)))
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))
    asyncio.run(make_vpcs(service.client("labnet"), scenario))
    (vpc,) = service.state.vpcs.values()
    assert (vpc.dns_support, vpc.dns_hostnames) == becomes


def test_host_names_need_the_resolver() -> None:
    with pytest.raises(LabnetError, match="is on while 'support' is off"):
        scenario_file.load("-", stdin=io.StringIO(DNS.replace("DNS", "dns: {support: false, hostnames: true},")))
