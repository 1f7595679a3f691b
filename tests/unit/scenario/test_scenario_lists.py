"""Prefix lists in a scenario: what is refused and where, what EC2 is asked for."""

from __future__ import annotations

import asyncio

import pytest

from labnet.ec2 import limits
from labnet.ec2.service import Ec2Service
from labnet.errors import UsageError
from labnet.lab.cloud_setup import make_vpcs, run_node
from labnet.lab.world import refuse_other_changes
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

SUBNET = "subnets: [{name: a, cidr: 10.0.0.0/24}]"
LISTS = "prefixLists: [{name: offices, entries: [{cidr: 192.0.2.0/24, description: Berlin}, {cidr: 198.51.100.0/24}], maxEntries: 9}]"


def lab(rest: str, lists: str = LISTS) -> str:
    return f"vpc: {{cidr: 10.0.0.0/16, internetGateway: true, {SUBNET}, {rest}}}\n{lists}"


def rule(words: str) -> str:
    return lab(f"securityGroups: [{{name: g, ingress: [{{protocol: tcp, fromPort: 80, {words}}}]}}]")


def route(destination: str, lists: str = LISTS) -> str:
    return lab(f"routeTables: [{{name: t, routes: [{{destination: {destination}, target: internetGateway}}]}}]", lists)


def listed(words: str) -> str:
    return lab("", f"prefixLists: [{{name: x, {words}}}]")


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        (rule("prefixList: office"), "vpc.securityGroups[0].ingress[0].prefixList", "no prefix list 'office'", "offices"),
        (rule("prefixList: offices, cidr: 0.0.0.0/0"), "vpc.securityGroups[0].ingress[0]", "a cidr and a prefixList", "one"),
        (rule("prefixList: offices, group: default"), "vpc.securityGroups[0].ingress[0]", "a group and a prefixList", "one"),
        (route("office"), "vpc.routeTables[0].routes[0].destination", "neither a block nor", "offices"),
        (route("x", "prefixLists: [{name: x, entries: [{cidr: 10.0.0.0/25}]}]"), "vpc.routeTables[0].routes[0].destination", "no subnet", ""),
        (
            route("x", "prefixLists: [{name: x, entries: [{cidr: 10.0.0.0/24}]}]"), "vpc.routeTables[0].routes[0].target", "cannot be the way",
            "a node",
        ),
        (route("x", "prefixLists: [{name: x, maxEntries: 51}]"), "vpc.routeTables[0].routes[0]", "51 routes", "as many as it has room for"),
        (rule("prefixList: x").replace(LISTS, "prefixLists: [{name: x, maxEntries: 61}]"), "vpc.securityGroups[0].ingress[0]", "61 rules", ""),
        (listed("entries: [{cidr: 10.0.0.1/24}]"), "prefixLists[0].entries[0].cidr", "host bits", "10.0.0.0/24"),
        (listed("entries: [{cidr: 10.9.0.0/24}, {cidr: 10.9.0.0/24}]"), "prefixLists[0].entries[1].cidr", "a second entry", ""),
        (listed("entries: [{cidr: 10.9.0.0/24}, {cidr: 10.8.0.0/24}], maxEntries: 1"), "prefixLists[0].maxEntries", "there are 2", ""),
        (listed("maxEntries: 0"), "prefixLists[0].maxEntries", "no size", "1 to 1000"),
        (listed("maxEntries: 1001"), "prefixLists[0].maxEntries", "no size", "1 to 1000"),
        (lab("", "prefixLists: [{name: x}, {name: x}]"), "prefixLists[1].name", "a second prefix list", ""),
        (lab("", "prefixLists: [{name: com.amazonaws.mine}]"), "prefixLists[0].name", "no name", "com.amazonaws"),
        (lab("", "prefixLists: [{name: 10.0.0.1}]"), "prefixLists[0].name", "no name", "no address"),
        (lab("", f"prefixLists: [{', '.join(f'{{name: l{n}}}' for n in range(101))}]"), "prefixLists[100]", "101 prefix lists", ""),
    ],
)
def test_what_is_refused(problems, text: str, field: str, message: str, hint: str) -> None:
    found = problems(text)
    assert [problem.field for problem in found] == [field], [problem.text for problem in found]
    assert message in found[0].message and hint in found[0].hint and found[0].hint and found[0].place.line


WHOLE = """
vpc:
  cidr: 10.0.0.0/16
  internetGateway: true
  subnets: [{name: a, cidr: 10.0.0.0/24, routeTable: out}]
  natGateways: [{name: both, subnet: a}]
  securityGroups: [{name: g, ingress: [{protocol: tcp, fromPort: 443, prefixList: both}], egress: [{protocol: "-1", prefixList: many}]}]
  routeTables:
    - name: out
      routes: [{destination: both, target: both}, {destination: 0.0.0.0/0, target: internetGateway}]
    - {name: round, routes: [{destination: far, target: box}]}
prefixLists:
  - {name: both, entries: [{cidr: 192.0.2.0/24, description: Berlin}], maxEntries: 9}
  - {name: far, entries: [{cidr: 198.18.0.0/16}]}
  - {name: many, entries: [ENTRIES]}
nodes: [{name: box, instanceType: t3.nano, subnet: a, sourceDestCheck: false}]
""".replace("ENTRIES", ", ".join(f"{{cidr: 100.64.{n}.0/24}}" for n in range(58)))


def test_ec2_is_asked_for_all_of_it(read) -> None:
    """A list and a NAT gateway may have one name: the one is a destination, the other a target."""
    scenario = read(WHOLE)
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))

    async def make() -> str:
        api = service.client("labnet")
        ids = await make_vpcs(api, scenario)
        return await run_node(api, scenario.nodes[0], ids)

    instance = asyncio.run(make())
    lists = {one.name: one for one in service.state.prefix_lists.values()}
    assert [(it.cidr, it.description) for it in lists["both"].entries] == [("192.0.2.0/24", "Berlin")]
    assert [one.max_entries for one in lists.values()] == [9, 1, 58] and all(one.tags["Name"] == one.name for one in lists.values())
    tables = service.call("x", "DescribeRouteTables", {})["RouteTables"]
    shown = {(tag["Value"], route["DestinationPrefixListId"]): route for table in tables for tag in table["Tags"] for route in table["Routes"]
             if "DestinationPrefixListId" in route}  # fmt: skip
    assert set(shown) == {("out", lists["both"].id), ("round", lists["far"].id)}
    assert shown["out", lists["both"].id]["NatGatewayId"] in service.state.nat_gateways
    assert shown["round", lists["far"].id]["InstanceId"] == instance
    (group,) = (one for one in service.state.security_groups.values() if one.name == "g")
    assert [rule.prefix_list_id for rule in (*group.ingress, *group.egress)] == [lists["both"].id, lists["many"].id]


def test_more_entries_than_a_call_takes(read) -> None:
    entries = ", ".join(f"{{cidr: 100.64.{n}.0/24}}" for n in range(250))
    scenario = read(lab("", f"prefixLists: [{{name: many, entries: [{entries}]}}]"))
    service = Ec2Service(CloudState(lab="x"), limits.load(), LabClock(0.0))
    asyncio.run(make_vpcs(service.client("labnet"), scenario))
    (one,) = service.state.prefix_lists.values()
    assert [entry.cidr for entry in one.entries] == [f"100.64.{n}.0/24" for n in range(250)] and one.version == 3


def test_a_running_lab_does_not_take_other_lists(read) -> None:
    old, new = read(lab("")), read(lab("", LISTS.replace("9", "8")))
    with pytest.raises(UsageError, match="differs from the scenario in: prefixLists"):
        refuse_other_changes(old, new, old.cni.env)
