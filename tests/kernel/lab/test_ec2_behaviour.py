"""A running lab whose EC2 API is made to fail: by the command line, seen by boto3, by ipamd and in the ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel
LIMIT_S = 60.0

CLIENT = """
import boto3, json, sys
from botocore.config import Config
from botocore.exceptions import ClientError
ec2 = boto3.client("ec2", config=Config(retries={"total_max_attempts": 1}))
out = []
for _ in range(int(sys.argv[2])):
    try:
        getattr(ec2, sys.argv[1])(**json.loads(sys.argv[3]))
        out.append(["OK", 200, ""])
    except ClientError as error:
        said = error.response["Error"]
        out.append([said["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], said["Message"]])
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    """Two nodes with room for more ENIs, and an API that starts well-behaved."""
    user = Labs(tmp_path_factory.mktemp("b"))
    user.up("-", stdin=SCENARIO)
    yield user
    user.close()


def boto3(lab: Labs, method: str, count: int = 1, **params: Any) -> list[list[Any]]:
    """Calls by boto3 without retries: code, status and text of each."""
    variables = json.loads(lab.run("--lab", lab.name, "env", "-o", "json").stdout)["env"]
    words = [sys.executable, "-c", CLIENT, method, str(count), json.dumps(params)]
    done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def document(lab: Labs, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.run("--lab", lab.name, *words, "-o", "json").stdout)
    return found


def events(lab: Labs) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.run("--lab", lab.name, "events", "-o", "json").stdout.splitlines()]


def until(what: str, found: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not found():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.5)


def test_a_fault_strikes_boto3_and_stands_in_the_ledger(lab: Labs) -> None:
    fault = document(lab, "fault", "api", "DescribeSubnets", "--code", "InsufficientCidrBlocks", "--times", "2")
    found = boto3(lab, "describe_subnets", 3)
    text = "The specified subnet does not have enough free cidr blocks to satisfy the request."
    assert found == [["InsufficientCidrBlocks", 400, text]] * 2 + [["OK", 200, ""]]
    calls = [call for call in document(lab, "ec2", "calls", "--action", "DescribeSubnets")["calls"] if call["callerKind"] == "external"]
    assert [call["result"] for call in calls] == ["InsufficientCidrBlocks", "InsufficientCidrBlocks", "OK"]
    assert {call["caller"][:4] for call in calls} == {"AKIA"}
    listed = document(lab, "fault", "list")["faults"]
    assert [(item["id"], item["state"], item["fired"]) for item in listed] == [(fault["id"], "spent", 2)]
    lab.run("--lab", lab.name, "fault", "clear", fault["id"])


def test_a_burst_ends_in_request_limit_exceeded(lab: Labs) -> None:
    lab.run("--lab", lab.name, "ec2", "throttle", "aws")
    found = boto3(lab, "create_vpc", 300, CidrBlock="10.99.0.0/16", DryRun=True)
    assert found[:50] == [["DryRunOperation", 412, "Request would have succeeded, but DryRun flag is set."]] * 50
    assert ["RequestLimitExceeded", 503, "Request limit exceeded."] in found
    calls = document(lab, "ec2", "calls", "--action", "CreateVpc", "--errors")["calls"]
    assert all(call["tokens"] <= 1 for call in calls if call["result"] == "RequestLimitExceeded")
    assert "CreateVpc" in lab.run("--lab", lab.name, "ec2", "throttle").stdout
    lab.run("--lab", lab.name, "ec2", "throttle", "off")
    assert {code for code, _status, _text in boto3(lab, "create_vpc", 80, CidrBlock="10.99.0.0/16", DryRun=True)} == {"DryRunOperation"}


def test_a_denied_ipamd_says_so_and_goes_on_when_it_may_again(lab: Labs) -> None:
    """node-1 wants another ENI when its warm pool is used up; it is refused, the pods that have addresses go on, and later it gets it."""
    denial = document(lab, "fault", "deny", "CreateNetworkInterface", "--node", "node-1")
    lab.up("-", stdin=SCENARIO + PODS)
    until("an event", lambda: any("UnauthorizedOperation" in event["message"] for event in events(lab) if event["object"] == "node/node-1"))
    calls = document(lab, "ec2", "calls", "--node", "node-1", "--errors")["calls"]
    assert {(call["action"], call["result"]) for call in calls} == {("CreateNetworkInterface", "UnauthorizedOperation")}
    assert len(lab.node("node-1")["enis"]) == 1
    lab.run("--lab", lab.name, "fault", "clear", denial["id"])
    until("the second ENI", lambda: len(lab.node("node-1")["enis"]) == 2)


def test_latency_is_waited_for_by_clients_on_the_wire(lab: Labs, tmp_path: Path) -> None:
    lab.up("-", "--set", "ec2.latency.DescribeVpcs=0.4", stdin=SCENARIO)
    assert boto3(lab, "describe_vpcs")[0][0] == "OK"
    assert document(lab, "ec2", "calls", "--action", "DescribeVpcs", "--last", "1")["calls"][0]["latency"] >= 0.4


def test_subnets_are_drawn(lab: Labs) -> None:
    lines = lab.run("--lab", lab.name, "ec2", "subnets", "--map").stdout.splitlines()
    assert lines[0].startswith("a  10.10.0.0/26  us-west-2a")
    assert lines[1].startswith("  10.10.0.0/28   RRRR E")


SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: behaviour}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/26, availabilityZone: us-west-2a}]
nodes: [{name: node, count: 2, instanceType: t3.small, subnet: a}]
cni: {env: {WARM_IP_TARGET: 1}}
time: {factor: 5}
pending: allowed
"""
PODS = """
pods: [{name: p1, node: node-1}, {name: p2, node: node-1}, {name: p3, node: node-1}]
"""
