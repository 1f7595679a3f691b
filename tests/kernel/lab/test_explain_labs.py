"""`explain` in whole labs: SNAT, policy rules and marks of both dialects, judged by claims and proved by pings."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from world_runner import RunningWorld

from labnet.errors import UsageError
from labnet.lab.verbs import Verbs

pytestmark = pytest.mark.kernel


def explained(lab: RunningWorld, source: str, target: str, **more: Any) -> dict[str, Any]:
    return dict(asyncio.run(Verbs(lab.world).explain({"from": source, "to": target, **more}, lambda event: None)))


@pytest.mark.parametrize("scenario", ["eks-2node", "eks-current", "eks-exclude-snat", "eks-custom-networking"])
def test_verdicts_of_a_whole_lab_are_what_pings_say(scenario: str) -> None:
    with contextlib.closing(RunningWorld(scenario)) as lab:
        pods = {pod.name: pod.ip for pod in lab.world.pods()}
        few = [*list(pods)[:3], *list(pods)[-2:]]
        nodes = {node["name"]: node["ip"] for node in lab.world.status()["nodes"]}
        targets = {**{name: pods[name] for name in few}, **nodes, "8.8.8.8": "8.8.8.8", "192.0.2.10": "192.0.2.10", "10.10.0.99": "10.10.0.99"}
        verdicts = set()
        for source in (*dict.fromkeys(few), *nodes):
            for target, address in targets.items():
                if target == source or (target == "10.10.0.99" and source != few[0]):
                    continue
                found = explained(lab, source, target)
                assert found["reachable"] == lab.pings(source, address), (source, target, found["components"])
                verdicts.add(found["reachable"])
        assert verdicts == {True, False}


def test_snat_of_a_node_is_part_of_the_way(eks: RunningWorld) -> None:
    found = explained(eks, "pod2", "internet", port=443)
    node = next(one for one in found["components"] if one["kind"] == "node")
    assert f"SNAT {eks.pod('pod2').ip} → {eks.node('node1')['ip']}" in node["reason"]
    kinds = [one["kind"] for one in found["components"] if one["way"] == "there"]
    assert kinds == ["pod", "node", "eni", "security-group", "network-acl", "route-table", "internet-gateway", "internet"]
    assert "rule 1536" in explained(eks, "pod2", "pod3")["components"][1]["reason"]


def test_what_ec2_says_counts_at_once(eks: RunningWorld) -> None:
    assert explained(eks, "pod1", "pod3")["reachable"]
    group = eks.aws("DescribeSecurityGroups")["SecurityGroups"][0]
    eks.aws("RevokeSecurityGroupEgress", GroupId=group["GroupId"], IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    found = explained(eks, "pod1", "8.8.8.8")
    assert not found["reachable"]
    assert (found["explanation"]["kind"], found["explanation"]["code"]) == ("security-group", "SG_HAS_NO_RULES")


def test_ends_that_cannot_be(eks: RunningWorld) -> None:
    with pytest.raises(UsageError, match="nothing of this lab has the address"):
        explained(eks, "10.99.0.1", "pod1")
    with pytest.raises(UsageError, match="both ends are in the Internet"):
        explained(eks, "internet", "internet")


@pytest.fixture()
def eks() -> Any:
    with contextlib.closing(RunningWorld("eks-2node")) as lab:
        yield lab
