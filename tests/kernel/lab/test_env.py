"""AWS clients and the lab: the same cloud from the machine and from inside a pod, with the lab's own keys."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

PROGRAM = """
import boto3, json
ec2 = boto3.client("ec2")
enis = ec2.describe_network_interfaces()["NetworkInterfaces"]
print(json.dumps(sorted(item["PrivateIpAddress"] for item in enis)))
"""


def environment(deck: Labs, *words: str) -> dict[str, str]:
    """What a shell's `eval "$(labnet env)"` leaves."""
    out: dict[str, str] = {}
    for line in deck.run("--lab", deck.name, "env", *words).stdout.splitlines():
        word, *rest = shlex.split(line)
        assert word in ("export", "unset")
        if word == "export":
            name, _, value = rest[0].partition("=")
            out[name] = value
        else:
            assert rest == ["AWS_PROFILE", "AWS_SESSION_TOKEN"]
    return out


def test_boto3_on_the_machine_sees_the_labs_enis(deck: Labs) -> None:
    variables = environment(deck)
    assert set(variables) == {"AWS_ENDPOINT_URL_EC2", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    environ = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=60, check=True)
    enis = [eni for node in deck.status()["nodes"] for eni in node["enis"]]
    assert json.loads(done.stdout) == sorted(eni["ip"] for eni in enis)


def test_the_same_api_answers_inside_a_pod(deck: Labs) -> None:
    variables = environment(deck, "--inside")
    assert variables["AWS_ENDPOINT_URL_EC2"] == "http://169.254.169.200"
    words = [f"{name}={value}" for name, value in variables.items()]
    inside = deck.run("--lab", deck.name, "exec", "pod2", "--", "env", *words, sys.executable, "-c", PROGRAM).stdout
    assert len(json.loads(inside)) == 4


def test_an_address_assigned_by_boto3_is_delivered_by_the_vpc(labs: Labs) -> None:
    """Control plane and data plane are one: before the call the VPC knows no such address, behind it the node gets the packets."""
    labs.up("-", stdin=ROOMY)
    eni = labs.node("node-1")["enis"][0]["id"]
    client = f"import boto3; ec2 = boto3.client('ec2'); eni = {eni!r}; "
    spare = "10.10.0.200"
    ping = ("exec", "node-2", "--", "ping", "-c1", "-W1", spare)
    labs.inside("node-1", "ip", "addr", "add", f"{spare}/32", "dev", "eth0")
    assert labs.run("--lab", labs.name, *ping, ok=1).returncode == 1
    for call, code in (("assign", 0), ("unassign", 1)):
        program = client + f"ec2.{call}_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=[{spare!r}])"
        subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment(labs)}, timeout=60, check=True)
        labs.inside("node-2", "ip", "neigh", "flush", "dev", "eth0")  # a question asked in vain before the call ends whoever waits for it
        labs.run("--lab", labs.name, *ping, ok=code)


def test_the_keys_are_for_their_owner_alone(deck: Labs) -> None:
    mode = (deck.run_dir / deck.name / "credentials.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


ROOMY = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: roomy}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}]
nodes: [{name: node, count: 2, instanceType: m5.large, subnet: a}]
cni: {kind: none}
"""
