"""Nodes that come and go through the EC2 API: all that a scenario's node is, and nothing of it left afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from labnet.kernel import machine
from tests.lab_runner import Labs

pytestmark = [pytest.mark.kernel, pytest.mark.alone]

WAIT_S = 60
SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: api-nodes}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}]
nodes: [{name: node, count: 2, instanceType: t3.small, subnet: a}]
cni: {kind: vpc}
pods: [{name: one, node: node-1}, {name: two, node: node-2}]
"""


def with_pod(name: str) -> str:
    return SCENARIO.rstrip().removesuffix("]") + f", {{name: {name}}}]\n"


CONNECT = """
import socket, struct, sys, time
sock = socket.create_connection((sys.argv[1], 80), timeout=5)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end waits for no answer of who is no more
print("connected", flush=True)
time.sleep(300)
"""
IMDS = """
import urllib.request
put = urllib.request.Request("http://169.254.169.254/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
token = urllib.request.urlopen(put, timeout=5).read().decode()
get = urllib.request.Request("http://169.254.169.254/latest/meta-data/instance-id", headers={"X-aws-ec2-metadata-token": token})
print(urllib.request.urlopen(get, timeout=5).read().decode())
"""


class Api:
    """EC2's client for one lab, and waiting for what it does."""

    def __init__(self, labs: Labs) -> None:
        self.labs = labs
        out = json.loads(labs.run("--lab", labs.name, "env", "-o", "json").stdout)
        env = out.get("env", out)
        self.ec2 = Session().create_client(
            "ec2", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_EC2"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        self.subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]

    def launch(self, name: str, kind: str = "t3.small") -> str:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        answer = self.ec2.run_instances(
            ImageId="ami-0123456789abcdef0", InstanceType=kind, MinCount=1, MaxCount=1, SubnetId=self.subnet, TagSpecifications=tags,
        )
        return str(answer["Instances"][0]["InstanceId"])

    def terminate(self, instance: str, netns: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[instance])
        until(lambda: f"{self.labs.name}-{netns}" not in self.labs.namespaces(), f"{netns} goes")

    def nodes(self) -> list[str]:
        return [node["name"] for node in self.labs.status()["nodes"]]

    def ready(self, node: str) -> dict[str, Any]:
        until(lambda: bool(self.labs.node(node)["ready"]), f"{node} is ready")
        return self.labs.node(node)


def until(there: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < end, f"{what}: not within {WAIT_S} s"
        time.sleep(0.1)


@pytest.fixture
def api(labs: Labs) -> Iterator[Api]:
    labs.up("-", stdin=SCENARIO)
    api = Api(labs)
    yield api
    api.ec2.close()
    labs.run("down", labs.name)
    assert labs.namespaces() == []


@pytest.fixture
def same_machine() -> Iterator[None]:
    """The machine afterwards is what it was before everything."""
    before = machine.snapshot()
    yield
    assert machine.snapshot() == before


@pytest.mark.usefixtures("same_machine")
def test_a_node_of_the_api_is_a_node(api: Api) -> None:
    labs = api.labs
    instance = api.launch("extra")
    assert api.nodes() == ["node-1", "node-2", "extra"]
    node = api.ready("extra")
    assert node["instanceId"] == instance and node["enis"][0]["ip"] == node["ip"]
    assert f"{labs.name}-extra" in labs.namespaces()
    other = labs.node("node-1")["ip"]
    labs.run("--lab", labs.name, "exec", "extra", "--", "ping", "-c1", "-W2", other)
    labs.run("--lab", labs.name, "exec", "node-1", "--", "ping", "-c1", "-W2", node["ip"])
    said = labs.run("--lab", labs.name, "exec", "extra", "--", sys.executable, "-c", IMDS).stdout
    assert said.strip() == instance

    labs.up("-", stdin=with_pod("late"))
    late = labs.pod("late")
    assert (late["node"], late["phase"]) == ("extra", "Running"), "the emptiest node takes it"
    labs.run("--lab", labs.name, "exec", "one", "--", "ping", "-c1", "-W2", late["ip"])

    connected = labs.start("--lab", labs.name, "exec", "one", "--", sys.executable, "-c", CONNECT, late["ip"])
    with connected, labs.start("--lab", labs.name, "exec", "extra", "--", "sleep", "300") as program:
        assert connected.stdout and connected.stdout.readline() == "connected\n", "a client of the pod, that will not let go"
        until(lambda: sleeping_in(labs, "extra"), "the program runs")
        api.terminate(instance, "extra")
        assert program.wait(WAIT_S) != 0, "what ran on the machine ended with it"
        connected.kill()
    until(lambda: f"{labs.name}-late" not in labs.namespaces(), "its pod goes")
    status = labs.status()
    assert [one["name"] for one in status["nodes"]] == ["node-1", "node-2"]
    assert [one["name"] for one in status["pods"]] == ["one", "two"]
    assert not (labs.run_dir / labs.name / "nodes" / "extra").exists()
    assert [name for name in registered(labs) if name.endswith(("-extra", "-late"))] == []
    (shown,) = api.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    assert shown["Instances"][0]["State"]["Name"] == "terminated"
    labs.run("--lab", labs.name, "exec", "one", "--", "ping", "-c1", "-W2", labs.pod("two")["ip"])


def sleeping_in(labs: Labs, node: str) -> bool:
    listed = subprocess.run(["ip", "netns", "pids", f"{labs.name}-{node}"], capture_output=True, text=True, timeout=30, check=False)
    commands = [Path("/proc", pid, "comm") for pid in listed.stdout.split()]
    return any(path.exists() and path.read_text() == "sleep\n" for path in commands)


def registered(labs: Labs) -> list[str]:
    return list(json.loads((labs.run_dir / labs.name / "lab.json").read_text())["namespaces"])


def test_names_that_cannot_be_a_nodes_fall_back_to_the_id(api: Api) -> None:
    """Two instances may share a Name on AWS; a node's name is also that of its namespace, which pods have too."""
    for name in ("node-1", "one", "vpc", "Not a name", "x" * 40):
        instance = api.launch(name, "t3.nano")
        assert api.nodes()[-1] == instance
        api.terminate(instance, instance)
    assert api.nodes() == ["node-1", "node-2"]
    assert "one" in [pod["name"] for pod in api.labs.status()["pods"]]


def test_up_brings_a_terminated_node_of_the_scenario_back(api: Api) -> None:
    labs = api.labs
    before = labs.node("node-1")["instanceId"]
    api.terminate(before, "node-1")
    until(lambda: [pod["name"] for pod in labs.status()["pods"]] == ["two"], "its pod goes")
    labs.up("-", stdin=SCENARIO)
    assert sorted(api.nodes()) == ["node-1", "node-2"] and labs.node("node-1")["instanceId"] != before
    assert {pod["name"]: pod["phase"] for pod in labs.status()["pods"]} == {"one": "Running", "two": "Running"}
    labs.run("--lab", labs.name, "exec", "one", "--", "ping", "-c1", "-W2", labs.pod("two")["ip"])


def test_a_lab_whose_process_was_killed_loses_its_api_nodes_too(api: Api) -> None:
    api.launch("extra")
    api.ready("extra")
    api.labs.kill_process()


def test_a_pod_cannot_take_the_name_of_an_api_node(api: Api) -> None:
    api.launch("extra")
    done = api.labs.run("up", "-", "--name", api.labs.name, stdin=with_pod("extra"), ok=2)
    assert "extra" in done.stderr


def test_a_vpc_through_the_api_has_its_services_and_goes_with_them(labs: Labs) -> None:
    labs.up("-", stdin=SCENARIO)
    api, before = Api(labs), labs.namespaces()
    vpc = api.ec2.create_vpc(
        CidrBlock="10.20.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "late"}]}]
    )["Vpc"]["VpcId"]
    api.subnet = api.ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/24", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]
    instance = api.launch("far")
    until(lambda: "far" in api.nodes(), "the node appears")
    assert labs.run("--lab", labs.name, "exec", "far", "--", sys.executable, "-c", IMDS).stdout.strip() == instance
    knock = "import socket; print(socket.create_connection(('169.254.169.200', 80), timeout=5).getpeername()[0])"
    assert labs.run("--lab", labs.name, "exec", "far", "--", sys.executable, "-c", knock).stdout.strip() == "169.254.169.200"
    api.terminate(instance, "far")
    api.ec2.delete_subnet(SubnetId=api.subnet)
    api.ec2.delete_vpc(VpcId=vpc)
    until(lambda: labs.namespaces() == before, "the VPC's namespace goes: no socket of ours holds it")
    assert api.nodes() == ["node-1", "node-2"]
    again = api.ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    api.ec2.delete_vpc(VpcId=again)
    until(lambda: labs.namespaces() == before, "and again")
