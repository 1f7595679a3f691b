"""Quotas: what EC2's rules take, `validate` takes; what is one more, both refuse, `validate` before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from labnet.ec2 import limits
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error
from labnet.lab import scenario_file
from labnet.lab.cloud_setup import make_vpcs, run_node
from labnet.model.cloud import CloudState
from labnet.model.scenario import Scenario
from labnet.sim.clock import LabClock

SUBNET = "subnets: [{name: a, cidr: 10.0.0.0/24}]"


def vpc(rest: str, subnets: str = SUBNET) -> str:
    return f"vpc: {{cidr: 10.0.0.0/16, internetGateway: true, {subnets}, {rest}}}"


def listed(form: str, count: int) -> str:
    """`N` in a form becomes 0, 1, 2 …"""
    return "[" + ", ".join(form.replace("N", str(n)) for n in range(count)) + "]"


def subnets(count: int) -> str:
    return vpc("", f"subnets: {listed('{name: sN, cidr: 10.0.N.0/24}', count)}")


def tables(count: int) -> str:
    """With a main one under a name, which is not a new one."""
    return vpc(f"routeTables: [{{name: own, main: true}}, {listed('{name: tN}', count)[1:]}")


def routes(count: int) -> str:
    return vpc(f"routeTables: [{{name: t, routes: {listed('{destination: 172.16.N.0/24, target: internetGateway}', count)}}}]")


def ingress(count: int) -> str:
    """With one that stands three times, which is one."""
    twice = "{protocol: tcp, fromPort: 80, cidr: 172.16.0.0/24}, {protocol: tcp, fromPort: 80, toPort: 80, cidr: 172.16.0.0/24}"
    rules = listed("{protocol: tcp, fromPort: 80, cidr: 172.16.N.0/24}", count)
    return vpc(f"securityGroups: [{{name: g, ingress: [{twice}, {rules[1:]}}}]")


def egress(count: int) -> str:
    return vpc(f"securityGroups: [{{name: g, egress: {listed('{protocol: udp, fromPort: N, group: g}', count)}}}]")


def nats(count: int) -> str:
    return vpc(f"natGateways: {listed('{name: nN, subnet: a}', count)}")


def nats_in_two_zones(count: int) -> str:
    zones = "subnets: [{name: a, cidr: 10.0.0.0/24}, {name: b, cidr: 10.0.1.0/24, availabilityZone: us-west-2b}]"
    gateways = ", ".join(f"{{name: n{n}, subnet: {'ab'[n % 2]}}}" for n in range(count))
    return vpc(f"natGateways: [{gateways}]", zones)


def groups_of_a_node(count: int) -> str:
    text = vpc(f"securityGroups: {listed('{name: gN}', count)}")
    return f"{text}\nnodes: [{{name: n1, instanceType: t3.nano, subnet: a, securityGroups: {listed('gN', count)[:-1]}, g0]}}]"


Case = tuple[Callable[[int], str], int, str, str]
CASES: list[Case] = [
    (subnets, 200, "vpc.subnets[200]", "SubnetLimitExceeded"),
    (tables, 199, "vpc.routeTables[200]", "RouteTableLimitExceeded"),
    (routes, 50, "vpc.routeTables[0].routes[50]", "RouteLimitExceeded"),
    (ingress, 60, "vpc.securityGroups[0].ingress[62]", "RulesPerSecurityGroupLimitExceeded"),
    (egress, 60, "vpc.securityGroups[0].egress[60]", "RulesPerSecurityGroupLimitExceeded"),
    (nats, 5, "vpc.natGateways[5]", "AddressLimitExceeded"),
    (nats_in_two_zones, 5, "vpc.natGateways[5]", "AddressLimitExceeded"),
    (groups_of_a_node, 5, "nodes[0].securityGroups[5]", "InvalidParameterValue"),
]


def make(scenario: Scenario) -> CloudState:
    """Everything but the daemons of nodes, by EC2's own rules."""
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))

    async def up() -> None:
        api = service.client("labnet")
        ids = await make_vpcs(api, scenario)
        for node in scenario.nodes:
            await run_node(api, node, ids)

    asyncio.run(up())
    return service.state


@pytest.mark.parametrize(("text", "most", "field", "code"), CASES)
def test_what_validate_takes_ec2_takes(read, text: Callable[[int], str], most: int, field: str, code: str) -> None:
    assert make(read(text(most))).vpcs


@pytest.mark.parametrize(("text", "most", "field", "code"), CASES)
def test_one_more_is_refused_by_both(
    read, problems, monkeypatch: pytest.MonkeyPatch, text: Callable[[int], str], most: int, field: str, code: str
) -> None:
    found = problems(text(most + 1))
    assert {one.field for one in found} == {field}, [one.text for one in found]
    for one in found:
        assert str(most) in one.message and "at most" in one.message and one.hint and one.place.line, one.text
    monkeypatch.setattr(scenario_file, "check_quotas", lambda document, findings: None)
    with pytest.raises(Ec2Error) as caught:
        make(read(text(most + 1)))
    assert caught.value.code == code


def test_a_zone_of_nat_gateways_says_the_zone(problems) -> None:
    zone, region = (one.message for one in problems(nats(6)))
    assert "6 NAT gateways in us-west-2a" in zone and "Elastic IP" in region


def test_the_groups_of_an_eni_config_count_too(problems) -> None:
    item = "{apiVersion: crd.k8s.amazonaws.com/v1alpha1, kind: ENIConfig, metadata: {name: c}, spec: {subnet: a, securityGroups: GROUPS}}"
    text = vpc(f"securityGroups: {listed('{name: gN}', 6)}") + f"\nobjects: [{item.replace('GROUPS', listed('gN', 6))}]"
    (found,) = problems(text)
    assert found.field == "objects[0].spec.securityGroups[5]" and "6 security groups" in found.message


def test_all_security_groups_of_a_region_are_counted(problems) -> None:
    """The default group of the VPC is one of them."""
    (found,) = problems(vpc(f"securityGroups: {listed('{name: gN}', 2500)}"))
    assert found.field == "vpc.securityGroups[2499]" and "2501 security groups" in found.message


def test_nodes_beyond_a_regions_network_interfaces(problems) -> None:
    text = vpc("", "subnets: [{name: a, cidr: 10.0.0.0/17}]") + "\nnodes: [{name: n, count: 4999, instanceType: t3.nano, subnet: a}, "
    (found,) = problems(text + "{name: m, count: 2, instanceType: t3.nano, subnet: a}]")
    assert found.field == "nodes" and "5001 network interfaces" in found.message
