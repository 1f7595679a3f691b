"""Every scenario that shows a setting: its checks hold on real namespaces, and do not without the setting."""

from __future__ import annotations

import json

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

ON_THEIR_OWN = ("eks-2node", "eks-current")
"""Scenarios with tests of their own."""
WITHOUT = {
    "eks-warm-targets": ("cni.env={WARM_ENI_TARGET: 1}", {"EC2 of node1", "EC2 of node2"}),
    "eks-prefix-delegation": ("cni.env={}", {"EC2 of node1", "EC2 of node2", "pods of node1"}),
    "eks-custom-networking": ("cni.env={}", {"EC2 of node1", "node1", "node2", "web-1 → api-1 tcp port 80"}),
    "eks-exclude-snat": ("cni.env={}", {"pod1 → 192.0.2.10 icmp", "pod2 → 192.0.2.10 icmp", "node1"}),
    "eks-exhausted-subnet": ("vpc.subnets.public-a.cidr=10.10.0.0/24", {"pods of node2", "event", "EC2 of node1", "EC2 of node2"}),
    "eks-fragmented-subnet": ("vpc.subnets.public-a.networkInterfaces=[]", {"pods of node2", "EC2 of node2"}),
    "eks-external-snat": ("cni.env={}", {"pod1 → 8.8.8.8 icmp", "pod2 → 8.8.8.8 tcp port 80", "pod3 → 1.1.1.1 udp port 7"}),
    "vpc-public-private": ("vpc.subnets.private-a.routeTable=public", {"db → 8.8.8.8 icmp", "stranded → 8.8.8.8 icmp"}),
    "vpc-nat-gateway": (
        "vpc.subnets.private-a.routeTable=public", {"app-a → 8.8.8.8 icmp", "app-a → 8.8.8.8 tcp port 80", "app-a → 192.0.2.10 icmp"},
    ),
    "vpc-peering": ("vpcs.right.routeTables=[]", {"r1 → m1 icmp", "r1 → l1 icmp"}),
    "vpc-hybrid": ("cni.env={}", {"pod1 → db icmp", "pod2 → db tcp port 80", "pod1 → plc udp port 7", "pod3 → db icmp"}),
    "vpc-nacl": ("vpc.subnets.forgetful.networkAcl=web", {"client → forgetful tcp port 80"}),
    "vpc-two-zones": ("vpc.subnets.shared-b.routeTable=through-b", {"thrifty-b → 8.8.8.8 icmp"}),
}
"""Scenario → what takes its behaviour away, and the beginnings of the checks that fail then."""


@pytest.mark.parametrize("name", WITHOUT)
def test_its_checks_hold(labs: Labs, name: str) -> None:
    document = json.loads(labs.run("check", name, "--lab", labs.name, "-o", "json").stdout)
    assert [one for one in document["checks"] if not one["ok"]] == []
    assert document["passed"] >= 6
    assert labs.namespaces() == []


@pytest.mark.parametrize("name", WITHOUT)
def test_they_fail_without_what_it_shows(labs: Labs, name: str) -> None:
    change, wanted = WITHOUT[name]
    labs.up(name, "--set", change, "--set", "pending=allowed")
    document = json.loads(labs.run("--lab", labs.name, "check", "-o", "json", ok=3).stdout)
    failed = {one["title"] for one in document["checks"] if not one["ok"]}
    for beginning in wanted:
        assert any(title.startswith(f"{beginning}:") for title in failed), (beginning, failed)


def test_every_scenario_is_tested(labs: Labs) -> None:
    names = set(labs.run("scenarios", "-o", "name").stdout.split())
    assert names == {*WITHOUT, *ON_THEIR_OWN}
