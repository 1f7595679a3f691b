"""A foreign runtime calls the executable while ipamd is down, and when the lab's process is gone: ADD fails, DEL never does."""

import json
import subprocess
import uuid

import pytest
from cni_builders import call_of

from labnet.kernel import netns as namespaces
from labnet.kernel import teardown
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

LAB = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: down}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a}]
nodes: [{name: node1, instanceType: m5.large, subnet: a}]
cni: {kind: vpc, dialect: "1.23"}
pods: []
"""
DIALLED = "dial unix /var/run/aws-node/ipamd.sock: connect: connection refused"
UNAVAILABLE = (
    "add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: "
    f'desc = "transport: Error while dialing: {DIALLED}"'
)


@pytest.fixture
def labs(tmp_path):
    user = Labs(tmp_path / "r")
    try:
        user.up("-", stdin=LAB)
        yield user
    finally:
        user.close()


@pytest.fixture
def pods():
    """Two namespaces of a foreign runtime."""
    names = [f"lnt-dwn{uuid.uuid4().hex[:6]}-{number}" for number in range(2)]
    made = namespaces.create(names)
    try:
        yield [f"/run/netns/{name}" for name in names]
    finally:
        teardown.remove(made, timeout_s=30)


def call(labs, verb, path, **more):
    """The executable, as a process: (exit code, what it printed, standard error)."""
    environ, stdin = call_of(verb, container=f"c{path[-1]}", pod=f"pod{path[-1]}", path=path, **more)
    program = labs.run_dir / labs.name / "nodes/node1/opt/cni/bin/aws-cni"
    done = subprocess.run([program], env=environ, input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.decode()


def pod_rules(labs):
    return [line.split(":")[0] for line in labs.inside("node1", "ip", "rule").splitlines() if line.split(":")[0] in ("512", "1536")]


def test_while_ipamd_is_down_and_the_lab_lives(labs, pods):
    code, result, _stderr = call(labs, "ADD", pods[0])
    assert code == 0
    assert call(labs, "STATUS", pods[0], version="1.1.0") == (0, None, "")
    labs.run("fault", "deny", "DescribeNetworkInterfaces", "--node", "node1")  # the next daemon cannot start
    labs.run("set", "env", "aws-node", "WARM_ENI_TARGET=2", "--timeout", "5s", ok=124)

    assert call(labs, "ADD", pods[1]) == (1, {"cniVersion": "0.4.0", "code": 999, "msg": UNAVAILABLE}, "")
    status = {"cniVersion": "1.1.0", "code": 50, "msg": f"plugin not available: {DIALLED}"}
    assert call(labs, "STATUS", pods[0], version="1.1.0") == (1, status, "")
    assert pod_rules(labs) == ["512"]
    assert call(labs, "DEL", pods[0], previous=result) == (0, None, "")
    assert pod_rules(labs) == []
    assert call(labs, "DEL", pods[0]) == (0, None, "")
    assert call(labs, "DEL", pods[1]) == (0, None, "")


def test_when_the_labs_process_is_gone(labs, pods):
    """The program is too small to tear anything down itself: it says so, and lets the pod go."""
    assert call(labs, "ADD", pods[0])[0] == 0
    labs.kill_process()
    assert call(labs, "ADD", pods[1]) == (1, {"cniVersion": "0.4.0", "code": 999, "msg": UNAVAILABLE}, "")
    assert call(labs, "DEL", pods[0]) == (0, None, "labnet: the lab does not run; nothing was torn down\n")
    assert pod_rules(labs) == ["512"]
