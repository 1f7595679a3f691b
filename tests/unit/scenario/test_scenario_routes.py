"""Route tables, NAT gateways and peerings in a scenario: what is refused, where and how it could be right, and what EC2 is asked for."""

from __future__ import annotations

import asyncio

import pytest

from labnet.ec2 import limits
from labnet.ec2.service import Ec2Service
from labnet.lab.cloud_setup import make_vpcs, run_node
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

SUBNET = "subnets: [{name: a, cidr: 10.0.0.0/24}]"


def vpc(rest: str, *, gateway: bool = True) -> str:
    return f"vpc: {{cidr: 10.0.0.0/16, {SUBNET}, internetGateway: {str(gateway).lower()}, {rest}}}"


def table(*routes: str) -> str:
    return vpc(f"routeTables: [{{name: t, routes: [{', '.join(routes)}]}}]")


def two(peerings: str, cidr: str = "10.1.0.0/16") -> str:
    return f"vpcs: [{{name: x, cidr: 10.0.0.0/16, peerings: {peerings}}}, {{name: y, cidr: {cidr}}}]"


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        (
            table("{destination: 0.0.0.0/0, target: internetGatewy}"), "vpc.routeTables[0].routes[0].target", "nothing in this VPC",
            "internetGateway",
        ),
        (
            vpc("routeTables: [{name: t, routes: [{destination: 0.0.0.0/0, target: internetGateway}]}]", gateway=False),
            "vpc.routeTables[0].routes[0].target", "nothing in this VPC", "internetGateway: true",
        ),
        (table("{destination: 10.9.0.1/16, target: internetGateway}"), "vpc.routeTables[0].routes[0].destination", "host bits", "10.9.0.0/16"),
        (table("{destination: 10.0.0.0/16, target: internetGateway}"), "vpc.routeTables[0].routes[0].destination", "local", ""),
        (table("{destination: 10.0.0.0/25, target: internetGateway}"), "vpc.routeTables[0].routes[0].destination", "no subnet", ""),
        (table("{destination: 10.0.0.0/24, target: internetGateway}"), "vpc.routeTables[0].routes[0].target", "cannot be the way", "a node"),
        (
            table(*["{destination: 0.0.0.0/0, target: internetGateway}"] * 2), "vpc.routeTables[0].routes[1].destination", "a second route", "",
        ),
        (vpc("routeTables: [{name: t}, {name: t}]"), "vpc.routeTables[1].name", "a second route table", ""),
        (vpc("routeTables: [{name: t, main: true}, {name: u, main: true}]"), "vpc.routeTables[1].main", "second main", ""),
        (
            "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/24, routeTable: privat}], routeTables: [{name: private}]}",
            "vpc.subnets[0].routeTable", "no route table 'privat'", "private",
        ),
        (vpc("natGateways: [{name: n, subnet: b}]"), "vpc.natGateways[0].subnet", "no subnet 'b'", "a"),
        (vpc("natGateways: [{name: n, subnet: a}]", gateway=False), "vpc.natGateways[0]", "no way out", "internetGateway: true"),
        (vpc("natGateways: [{name: n, subnet: a}, {name: n, subnet: a}]"), "vpc.natGateways[1].name", "a second NAT gateway", ""),
        (two("[{name: p, with: z}]"), "vpcs[0].peerings[0].with", "no other VPC 'z'", "y"),
        (two("[{name: p, with: x}]"), "vpcs[0].peerings[0].with", "no other VPC 'x'", ""),
        (two("[{name: p, with: y}, {name: q, with: y}]"), "vpcs[0].peerings[1]", "a second peering", ""),
        (two("[{name: p, with: y}]", "10.0.128.0/17"), "vpcs[0].peerings[0]", "overlaps", "cannot be peered"),
        (
            vpc("natGateways: [{name: n1, subnet: a}], routeTables: [{name: t, routes: [{destination: 0.0.0.0/0, target: n1}]}]")
            + "\nnodes: [{name: n1, instanceType: t3.nano, subnet: a}]", "vpc.routeTables[0].routes[0].target", "means 2 things", "",
        ),
    ],
)
def test_what_is_refused(problems, text: str, field: str, message: str, hint: str) -> None:
    found = problems(text)
    assert [problem.field for problem in found] == [field], [problem.text for problem in found]
    assert message in found[0].message and hint in found[0].hint and found[0].hint


WHOLE = """
vpcs:
  - name: red
    cidr: 10.0.0.0/16
    internetGateway: true
    natGateways: [{name: nat, subnet: public}]
    peerings: [{name: to-blue, with: blue}]
    routeTables:
      - {name: out, routes: [{destination: 0.0.0.0/0, target: internetGateway}]}
      - name: inside
        main: true
        routes: [{destination: 0.0.0.0/0, target: nat}, {destination: 10.1.0.0/16, target: to-blue}, {destination: 100.64.0.0/24, target: box}]
    subnets: [{name: public, cidr: 10.0.0.0/24, routeTable: out}, {name: private, cidr: 10.0.1.0/24}]
  - name: blue
    cidr: 10.1.0.0/16
    routeTables: [{name: main, main: true, routes: [{destination: 10.0.0.0/16, target: to-blue}]}]
nodes: [{name: box, instanceType: t3.nano, subnet: public, sourceDestCheck: false}]
"""


def test_ec2_is_asked_for_all_of_it(read) -> None:
    scenario = read(WHOLE)
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))

    async def make() -> None:
        api = service.client("labnet")
        ids = await make_vpcs(api, scenario)
        for _launch in range(2):
            instance = await run_node(api, scenario.nodes[0], ids)
            if _launch == 0:
                await api.call("TerminateInstances", {"InstanceIds": [instance]})

    asyncio.run(make())
    shown = {it["RouteTableId"]: it for it in service.call("x", "DescribeRouteTables", {})["RouteTables"]}
    named = {next(tag["Value"] for tag in it["Tags"] if tag["Key"] == "Name"): it for it in shown.values() if it["Tags"]}
    assert len(shown) == 3, "the main tables are the VPCs' own"
    routes = {(it["DestinationCidrBlock"], it["State"]): it for it in named["inside"]["Routes"]}
    assert set(routes) == {(cidr, "active") for cidr in ("10.0.0.0/16", "0.0.0.0/0", "10.1.0.0/16", "100.64.0.0/24")}
    assert routes["0.0.0.0/0", "active"]["NatGatewayId"] in service.state.nat_gateways
    running = [key for key, one in service.state.instances.items() if one.state == "running"]
    assert [routes["100.64.0.0/24", "active"]["InstanceId"]] == running, "launched again, the route follows"
    assert not service.state.enis_of(running[0])[0].source_dest_check
    assert named["inside"]["Associations"][0]["Main"] and not named["out"]["Associations"][0]["Main"]
    assert [one.state for one in service.state.peerings.values()] == ["active"]
    assert len(service.state.addresses) == 1
