"""`explain` in whole labs: SNAT, policy rules and marks of both dialects, judged by claims and proved by pings."""

from __future__ import annotations

import asyncio
import contextlib
import socket
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
                assert found["reachable"] == lab.pings(source, address, expected=found["reachable"]), (source, target, found["components"])
                verdicts.add(found["reachable"])
        assert verdicts == {True, False}


def test_snat_of_a_node_is_part_of_the_way(eks: RunningWorld) -> None:
    found = explained(eks, "pod2", "internet", port=443)
    node = next(one for one in found["components"] if one["kind"] == "node")
    assert f"SNAT {eks.pod('pod2').ip} → {eks.node('node1')['ip']}" in node["reason"]
    kinds = [one["kind"] for one in found["components"] if one["way"] == "there"]
    assert kinds == ["pod", "node", "eni", "security-group", "network-acl", "route-table", "internet-gateway", "internet", "program"]
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


def by_hand(lab: RunningWorld, target: str, *words: str) -> None:
    done = lab.kernel.run(f"{lab.name}-{target}", list(words))
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(("target", "words", "kind", "owner", "why", "difference"), [
    ("node1", ("ip", "rule", "del", "prio", "1536"), "eni", "eni-", "source/destination check", ("node1", "missing", "1536: from")),
    ("node2", ("iptables", "-I", "FORWARD", "-p", "icmp", "-j", "DROP"), "node", "node2", "netfilter rule", ("node2", "foreign", "-j DROP")),
    ("node2", ("sysctl", "-qw", "net.ipv4.ip_forward=0"), "node", "node2", "does not forward", ("node2", "other", "ip_forward")),
    ("pod2", ("ip", "route", "del", "default"), "pod", "pod2", "no route", ("pod2", "missing", "default via")),
    ("vpc", ("ip", "route", "replace", "blackhole", "POD3/32"), "vpc", "vpc", "", ("vpc", "", "POD3")),
])  # fmt: skip
def test_what_somebody_changed_by_hand_counts(
    eks: RunningWorld, target: str, words: tuple[str, ...], kind: str, owner: str, why: str, difference: tuple[str, str, str]
) -> None:
    assert explained(eks, "pod2", "pod3")["differences"] == []
    address = eks.pod("pod3").ip
    by_hand(eks, target, *(word.replace("POD3", address) for word in words))
    assert not eks.pings("pod2", eks.pod("pod3").ip)
    found = explained(eks, "pod2", "pod3")
    assert not found["reachable"] and found["desired"]["reachable"]
    stopped = found["explanation"]
    assert stopped == found["components"][-1]
    assert (stopped["kind"], stopped["way"]) == (kind, "there") and stopped["id"].startswith(owner) and why in stopped["reason"]
    assert any(
        one["owner"] == difference[0] and difference[1] in one["what"] and difference[2].replace("POD3", address) in one["text"]
        for one in found["differences"]
    ), found["differences"]
    alone = explained(eks, "pod2", "pod3", desired=True)
    assert alone["reachable"] and "differences" not in alone


def test_a_way_back_that_is_broken_by_hand(eks: RunningWorld) -> None:
    by_hand(eks, "node2", "iptables", "-I", "FORWARD", "-s", eks.pod("pod3").ip, "-j", "DROP")
    found = explained(eks, "pod2", "pod3")
    assert not found["reachable"] and (found["explanation"]["way"], found["explanation"]["id"]) == ("back", "node2")


def test_who_listens_counts_where_a_port_is_asked_for(eks: RunningWorld) -> None:
    assert explained(eks, "pod2", "pod3", port=8080)["explanation"] == {
        "way": "there", "kind": "program", "id": "pod3", "verdict": "stops", "code": None, "reason": "nothing listens on tcp 8080",
        "packet": "",
    }
    with eks.kernel.open_socket(f"{eks.name}-pod3", socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 8080))
        listener.listen()
        assert not explained(eks, "pod2", "pod3", port=8080)["reachable"], "on the loopback alone"
    with eks.kernel.open_socket(f"{eks.name}-pod3", socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.bind(("::", 8080))
        listener.listen()
        assert explained(eks, "pod2", "pod3", port=8080)["reachable"], "an IPv6 socket takes IPv4 too"
        assert not explained(eks, "pod2", "pod3", port=8080, protocol="udp")["reachable"]
    with eks.kernel.open_socket(f"{eks.name}-pod3", socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((eks.pod("pod3").ip, 8080))
        assert explained(eks, "pod2", "pod3", port=8080, protocol="udp")["reachable"]
