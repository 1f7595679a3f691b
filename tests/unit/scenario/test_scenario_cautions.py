"""Cautions of valid scenarios: what is said, at which line, with which way out, and when nothing is said."""

from __future__ import annotations

import pytest

from labnet.lab import scenario_file
from labnet.lab.scenario_source import built_in_names

TWO_ZONES = """
vpc:
  cidr: 10.10.0.0/16
  internetGateway: true
  subnets:
    - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}
    - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2b}
nodes:
  - {name: node1, instanceType: t3.medium, subnet: a}
"""
GOOD = TWO_ZONES.lstrip("\n")


def told(read, text: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.field, one.message) for one in read(text).cautions]


def test_a_cluster_as_the_deck_wants_it_is_no_cause_for_caution(read) -> None:
    assert read(GOOD).cautions == ()


def test_one_zone(read) -> None:
    (one,) = read(GOOD.replace("us-west-2b", "us-west-2a")).cautions
    assert one.text == (
        "lab.yaml:7: vpc.subnets: all subnets are in us-west-2a, and EKS makes no cluster with fewer than two zones"
        " (add a subnet in another zone; it can stay empty)"
    )


def test_no_public_subnet(read) -> None:
    closed = GOOD.replace(", mapPublicIpOnLaunch: true", "")
    assert told(read, closed) == [(7, "vpc.subnets", "no subnet is public: a load balancer that faces the internet has no place")]
    assert told(read, closed.replace("  internetGateway: true\n", "")) == [], "a VPC without a gateway is closed on purpose"


@pytest.mark.parametrize(("dns", "off"), [
    ("{support: false, hostnames: false}", "DNS resolution and DNS hostnames"), ("{support: false}", "DNS resolution and DNS hostnames"),
    ("{hostnames: false}", "DNS hostnames"),
])  # fmt: skip
def test_dns_switched_off(read, dns: str, off: str) -> None:
    text = GOOD.replace("  subnets:", f"  dns: {dns}\n  subnets:")
    assert told(read, text) == [(7, "vpc.dns", f"{off} off: nodes of an EKS cluster need both to join it")]


def test_dns_switched_on(read) -> None:
    assert told(read, GOOD.replace("  subnets:", "  dns: {support: true, hostnames: true}\n  subnets:")) == []


def test_dockers_own_network_in_any_vpc(read) -> None:
    text = GOOD.replace("10.10.0.0/16", "172.17.0.0/16").replace("10.10.", "172.17.")
    ((line, field, message),) = told(read, text)
    assert (line, field) == (5, "vpc.cidr")
    assert message.startswith("172.17.0.0/16 overlaps 172.17.0.0/16, docker's own network")
    bare = "vpc: {cidr: 172.16.0.0/16, subnets: [{name: a, cidr: 172.16.0.0/24}]}\n"
    assert told(read, bare) == [], "172.16 is not 172.17"
    assert len(told(read, bare.replace("172.16.", "172.17."))) == 1, "without nodes too"


def test_a_route_makes_a_subnet_public_where_there_are_route_tables(read) -> None:
    def tables(target: str) -> str:
        routes = f"[{{destination: {target}, target: internetGateway}}]"
        return GOOD.replace("nodes:", f"  routeTables: [{{name: out, main: true, routes: {routes}}}]\nnodes:")

    assert told(read, tables("0.0.0.0/0")) == []
    assert [message for _line, _field, message in told(read, tables("8.8.8.0/24"))] == [
        "no subnet is public: a load balancer that faces the internet has no place"
    ]


def test_a_route_to_a_node_wants_its_check_off(read) -> None:
    routes = "[{destination: 0.0.0.0/0, target: internetGateway}, {destination: 100.96.1.0/24, target: node1}]"
    text = GOOD.replace("nodes:", f"  routeTables: [{{name: main, main: true, routes: {routes}}}]\nnodes:")
    ((line, field, message),) = told(read, text)
    assert (line, field) == (10, "vpc.routeTables[0].routes[1]")
    assert message == "node1 drops what comes by this route: its source/destination check is on"
    assert told(read, text.replace("subnet: a}", "subnet: a, sourceDestCheck: false}")) == []


def test_nodes_of_one_cluster_in_two_vpcs(read) -> None:
    text = """\
vpcs:
  - name: red
    cidr: 10.10.0.0/16
    internetGateway: true
    subnets:
      - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}
      - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2b}
  - name: blue
    cidr: 10.20.0.0/16
    internetGateway: true
    subnets:
      - {name: c, cidr: 10.20.0.0/24, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}
      - {name: d, cidr: 10.20.1.0/24, availabilityZone: us-west-2b}
nodes:
  - {name: node1, instanceType: t3.medium, subnet: a}
  - {name: node2, instanceType: t3.medium, subnet: c}
"""
    assert told(read, text) == [(11, "vpcs[1]", "the cluster's nodes are in red and blue, and an EKS cluster has one VPC")]
    assert told(read, text + "cni: {kind: none}\n") == [], "instances of no cluster may be anywhere"
    assert told(read, text.replace("subnet: c}", "subnet: b}")) == [], "a VPC without nodes is another matter"


@pytest.mark.parametrize(("size", "free"), [("10.10.0.0/28", False), ("10.10.0.0/27", True)])
def test_addresses_for_an_upgrade(read, size: str, free: bool) -> None:
    found = told(read, GOOD.replace("10.10.0.0/24", size).replace("node1, ", "node1, count: 2, ").replace("t3.medium", "t3.nano"))
    assert found == [], "two t3.nano hold 4 addresses each at most"
    found = told(read, GOOD.replace("10.10.0.0/24", size))  # t3.medium: two ENIs of six when idle at its first pods
    assert found == []
    many = GOOD.replace("10.10.0.0/24", size).replace("node1, ", "node1, count: 2, ")
    found = told(read, many)
    assert (found == []) is free
    if not free:
        message = "nodes and others take up to 12 of the 11 addresses of a: fewer than 3 stay free for an upgrade of the cluster"
        assert found == [(8, "vpc.subnets[0].cidr", message)]


def test_other_enis_of_a_subnet_count(read) -> None:
    others = "networkInterfaces: [{privateIpAddresses: [10.10.0.8, 10.10.0.9, 10.10.0.10, 10.10.0.11]}]"
    text = GOOD.replace("10.10.0.0/24,", f"10.10.0.0/28, {others},")
    assert "take up to 10 of the 11" in told(read, text)[0][2]


def test_without_a_cluster_only_what_concerns_any_vpc(read) -> None:
    assert told(read, GOOD.replace("us-west-2b", "us-west-2a") + "cni: {kind: none}\n") == []
    assert told(read, GOOD.replace("us-west-2b", "us-west-2a").partition("nodes:")[0]) == []


def test_the_scenarios_that_come_along_are_an_example() -> None:
    known = {"eks-exhausted-subnet": "upgrade", "eks-fragmented-subnet": "upgrade"}
    for name in built_in_names():
        found = [one.message for one in scenario_file.load(name).cautions]
        if name in known:  # they are about a subnet without addresses
            assert len(found) == 1
            assert known[name] in found[0]
        else:
            assert found == [], name
