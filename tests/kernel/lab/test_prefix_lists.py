"""A scenario's prefix lists on a running lab: a route and a group's rule that name one obey it with real packets, at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world_runner import RunningWorld

pytestmark = pytest.mark.kernel
SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: lists}
prefixLists:
  - {name: far, entries: [{cidr: 8.8.8.0/24}], maxEntries: 4}
  - {name: friends, entries: [{cidr: 10.10.1.0/24}]}
vpc:
  cidr: 10.10.0.0/16
  internetGateway: true
  securityGroups: [{name: shy, ingress: [{protocol: icmp, prefixList: friends}]}]
  subnets:
    - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true, routeTable: out}
    - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2a}
  routeTables: [{name: out, routes: [{destination: far, target: internetGateway}]}]
nodes:
  - {name: node1, instanceType: t3.small, subnet: a}
  - {name: node2, instanceType: t3.small, subnet: a, securityGroups: [shy]}
  - {name: node3, instanceType: t3.small, subnet: b}
cni: {kind: none}
"""


@pytest.fixture
def lab() -> Iterator[RunningWorld]:
    running = RunningWorld(SCENARIO)
    yield running
    running.close()


def change(lab: RunningWorld, name: str, version: int, **entries: str) -> None:
    (found,) = (one for one in lab.world.ec2.state.prefix_lists.values() if one.name == name)
    words = {f"{key}Entries": [{"Cidr": cidr}] for key, cidr in entries.items()}
    lab.aws("ModifyManagedPrefixList", PrefixListId=found.id, CurrentVersion=version, **words)


def reaches(lab: RunningWorld, source: str, address: str) -> bool:
    return any(lab.pings(source, address) for _ in range(3))


def test_a_route_and_a_rule_follow_their_lists(lab: RunningWorld) -> None:
    node2 = str(lab.node("node2")["ip"])
    assert reaches(lab, "node1", "8.8.8.8") and not lab.pings("node1", "1.1.1.1")
    change(lab, "far", 1, Add="1.1.1.0/24", Remove="8.8.8.0/24")
    assert reaches(lab, "node1", "1.1.1.1") and not lab.pings("node1", "8.8.8.8")
    assert reaches(lab, "node3", node2) and not lab.pings("node1", node2)
    change(lab, "friends", 1, Remove="10.10.1.0/24")
    change(lab, "friends", 2, Add="10.10.0.0/24")
    assert reaches(lab, "node1", node2) and not lab.pings("node3", node2)
