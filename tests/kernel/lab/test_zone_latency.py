"""Latency between zones in a lab: set by scenario and by hand, ended with the lab, and said when its process ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from botocore.session import Session

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

A, B = "us-west-2a", "us-west-2b"
WAIT_S = 20.0


def holders(labs: Labs) -> list[int]:
    """The processes that hold packets back for this test's labs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"labnet.kernel.delay_loop" in path.joinpath("cmdline").read_bytes() and f"={labs.run_dir}\0".encode() in path.joinpath(
                "environ"
            ).read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def quickest_ms(labs: Labs, source: str, target: str) -> float:
    """The quickest round trip of a few."""
    said = labs.inside(source, "ping", "-c", "4", "-i", "0.3", "-W", "5", labs.node(target)["ip"])
    return min(float(one) for one in re.findall(r"time=([\d.]+)", said))


def reasons(labs: Labs) -> list[str]:
    lines = labs.run("--lab", labs.name, "events", "-o", "json").stdout.splitlines()
    return [str(json.loads(line)["reason"]) for line in lines]


def test_from_up_to_down(labs: Labs) -> None:
    labs.up("vpc-two-zones", "--set", "zoneLinks[0].roundTripMs=300")
    assert len(holders(labs)) == 1
    pid = holders(labs)[0]
    assert quickest_ms(labs, "app-a", "app-b") >= 300
    assert quickest_ms(labs, "app-b", "thrifty-b") < 300
    traced = json.loads(labs.run("--lab", labs.name, "trace", "app-a", "app-b", "-o", "json").stdout)
    assert traced["delivered"] and not [note for note in traced.get("notes", []) if "predicted" in note or "cannot tell" in note]
    labs.run("--lab", labs.name, "check")
    labs.run("--lab", labs.name, "fault", "link", "--between", A, B, "--rtt", "400.5ms")
    assert quickest_ms(labs, "app-a", "app-b") >= 400.5
    assert holders(labs) == [pid], "the same process serves another queue"
    labs.run("down", labs.name)
    assert holders(labs) == [] and labs.namespaces() == []


def test_its_end_is_told_and_another_one_takes_over(labs: Labs) -> None:
    labs.up("vpc-two-zones", "--set", "zoneLinks[0].roundTripMs=300")
    pid = holders(labs)[0]
    os.kill(pid, signal.SIGKILL)
    assert quickest_ms(labs, "app-a", "app-b") > 0, "traffic goes on"
    deadline = time.monotonic() + WAIT_S
    while "LatencyRestored" not in reasons(labs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "LatencyInterrupted" in reasons(labs)
    assert holders(labs) not in ([], [pid])
    assert quickest_ms(labs, "app-a", "app-b") >= 300


def test_nobody_holds_anything_where_no_latency_is_set(labs: Labs) -> None:
    labs.up("vpc-nat-gateway")
    assert holders(labs) == []
    labs.run("--lab", labs.name, "fault", "link", "--loss", "1%")
    assert holders(labs) == []
    labs.run("--lab", labs.name, "fault", "link", "--rtt", "300ms")
    pid = holders(labs)[0]
    assert quickest_ms(labs, "app-a", "app-b") >= 300
    labs.run("--lab", labs.name, "fault", "clear", "--all")
    assert holders(labs) == [] and not Path(f"/proc/{pid}").exists()
    assert quickest_ms(labs, "app-a", "app-b") < 300


def test_it_ends_with_a_lab_that_is_killed(labs: Labs) -> None:
    labs.up("vpc-two-zones")
    pid = holders(labs)[0]
    labs.kill_process()
    until_gone(pid)
    labs.run("down", labs.name)
    assert labs.namespaces() == []


def test_a_vpc_goes_though_packets_are_held_in_it(labs: Labs) -> None:
    """A socket in a namespace keeps it: it is closed first."""
    text = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: bare}
zoneLinks:
  - {roundTripMs: 5}
vpc:
  cidr: 10.10.0.0/16
  subnets:
    - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}
    - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2b}
"""
    labs.up("-", stdin=text)
    assert len(holders(labs)) == 1
    env = json.loads(labs.run("--lab", labs.name, "env", "-o", "json").stdout)
    env = env.get("env", env)
    ec2 = Session().create_client(
        "ec2", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_EC2"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc)
    deadline = time.monotonic() + WAIT_S
    while f"{labs.name}-vpc" in labs.namespaces():
        assert time.monotonic() < deadline, "something keeps the namespace"
        time.sleep(0.1)
    assert holders(labs) == []
