"""A lab has more sockets than a login shell allows files: its process takes what it needs, at the start and when the lab grows."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.lab_runner import LIMIT_S, Labs

pytestmark = pytest.mark.kernel
FEW = 128
SCENARIO = """\
apiVersion: labnet/v1
kind: Lab
metadata: {{name: files}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a}}]
nodes: [{{name: node1, instanceType: m5.4xlarge, subnet: a}}]
pods: [{pods}]
"""


def scenario(pods: int) -> str:
    return SCENARIO.format(pods=", ".join(f"{{name: p{number}}}" for number in range(pods)))


def up(labs: Labs, limit: str, pods: int) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", sys.executable, "-m", "labnet", "up", "-", "--name", labs.name]
    return subprocess.run(command, env=labs.environ, input=scenario(pods), text=True, capture_output=True, timeout=LIMIT_S, check=False)


def test_a_lab_with_more_sockets_than_a_shell_allows_comes_up_and_grows(labs: Labs) -> None:
    """Three sockets a pod: 60 pods need more than 128 files, 110 more than the 256 that the process is left with."""
    done = up(labs, f"-Sn {FEW}", 60)
    assert done.returncode == 0, done.stderr
    assert {pod["phase"] for pod in labs.status()["pods"]} == {"Running"}
    _soft, hard = resource.prlimit(labs.pid(), resource.RLIMIT_NOFILE)
    resource.prlimit(labs.pid(), resource.RLIMIT_NOFILE, (256, hard))
    labs.up("-", stdin=scenario(110))
    phases = [pod["phase"] for pod in labs.status()["pods"]]
    assert phases == ["Running"] * 110
    answer = labs.inside("p0", "python3", "-c", FETCH, next(pod["ip"] for pod in labs.status()["pods"] if pod["name"] == "p109"))
    assert answer.strip() == "200", "the last one's server answers"


FETCH = "import sys, urllib.request; print(urllib.request.urlopen(f'http://{sys.argv[1]}/', timeout=20).status)"


def test_one_that_could_never_have_them_is_refused_before_anything_happens(labs: Labs) -> None:
    done = up(labs, f"-n {FEW}", 60)
    assert done.returncode == 4 and "open files" in done.stderr and "ulimit -Hn" in done.stderr and "Traceback" not in done.stderr
    assert labs.namespaces() == []
