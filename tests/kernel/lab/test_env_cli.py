"""The AWS CLI on a whole lab, as after `eval "$(labnet env)"`: what it reads is the lab's nodes, what it changes packets feel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.lab.test_env import ROOMY, environment
from tests.lab_runner import Labs
from tools.ec2_servers import client_environment

pytestmark = pytest.mark.kernel


def test_the_cli_sees_the_nodes_and_an_address_it_assigns_is_delivered(labs: Labs, tmp_path: Path) -> None:
    labs.up("-", stdin=ROOMY)
    environ = client_environment(environment(labs), tmp_path)
    program = str(Path(sys.executable).parent / "aws")

    def aws(*words: str) -> Any:
        command = [sys.executable, "-W", "ignore", program, "ec2", *words, "--output", "json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    enis = [eni for node in labs.status()["nodes"] for eni in node["enis"]]
    query = "Reservations[].Instances[].NetworkInterfaces[].NetworkInterfaceId"
    assert sorted(aws("describe-instances", "--query", query)) == sorted(eni["id"] for eni in enis)
    eni, spare = labs.node("node-1")["enis"][0]["id"], "10.10.0.201"
    ping = ("--lab", labs.name, "exec", "node-2", "--", "ping", "-c1", "-W1", spare)
    labs.inside("node-1", "ip", "addr", "add", f"{spare}/32", "dev", "eth0")
    labs.run(*ping, ok=1)
    aws("assign-private-ip-addresses", "--network-interface-id", eni, "--private-ip-addresses", spare)
    labs.run(*ping[:-3], "-c5", *ping[-2:])  # the neighbour that failed just now is asked for again
