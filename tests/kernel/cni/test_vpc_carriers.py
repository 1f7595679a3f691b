"""The same lab with its kubelets calling the plugin in process, and starting the executable for each pod: nothing tells them apart."""

import json
import subprocess

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

LAB = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: carriers}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a}]
nodes: [{name: node, count: 3, instanceType: t3.small, subnet: a}]
cni: {kind: vpc, dialect: "1.23"}
kubelet: {exec: %s}
pods: [{name: one, node: node-1}, {name: two, node: node-2}, {name: three, node: node-3}]
"""
# One pod a node: several executables of one node start at the same moment, and which of them gets the first address is chance.


@pytest.fixture
def labs(tmp_path):
    user = Labs(tmp_path / "r")
    yield user
    user.close()


def seen(labs):
    """What the node and its pods look like, what the runtime remembers, and which addresses were given."""
    spaces = ["node-1", "node-2", "node-3", "one", "two", "three"]
    looks = (["rule"], ["-4", "route", "show", "table", "all"], ["-4", "-br", "addr"], ["-4", "neigh", "show", "nud", "permanent"])
    shown = {
        (netns, words[-1]): sorted(line.split("@")[0] if "-br" in words else line for line in labs.inside(netns, "ip", *words).splitlines())
        for netns in spaces for words in looks
    }
    nodes = [labs.run_dir / labs.name / "nodes" / name for name in spaces[:3]]
    results = {path.name: json.loads(path.read_text()) for node in nodes for path in (node / "var/lib/cni/results").iterdir()}
    given = [item for node in nodes for item in json.loads((node / "var/run/aws-node/ipam.json").read_text())["allocations"]]
    return shown, results, sorted((item["ipv4"], item["containerID"]) for item in given)


def test_in_process_and_by_the_executable_a_lab_comes_out_the_same(labs):
    found = []
    for carrier in ("auto", "always"):
        labs.up("-", stdin=LAB % carrier)
        assert {pod["phase"] for pod in labs.status()["pods"]} == {"Running"}
        found.append(seen(labs))
        ping = ["ip", "netns", "exec", f"{labs.name}-one", "ping", "-c1", "-W5", labs.pod("three")["ip"]]
        assert subprocess.run(ping, capture_output=True, timeout=60, check=False).returncode == 0
        labs.run("down", labs.name)
    in_process, by_program = found
    assert by_program == in_process
    assert len(in_process[1]) == 3
