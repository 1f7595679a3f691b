"""`up` on a running lab: its own process reads the scenario, and says what a reader would have said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

SMALL = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: {name}}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}}]
nodes: [{{name: node1, instanceType: t3.small, subnet: a}}]
pods: [{pods}]
"""


def test_a_changed_file_changes_the_running_lab_and_a_wrong_one_changes_nothing(labs: Labs, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(name=labs.name, pods="{name: one}"))
    labs.run("up", str(file))
    before = labs.pod("one")
    file.write_text(SMALL.format(name=labs.name, pods="{name: one}, {name: two}"))
    labs.run("up", str(file))
    assert labs.pod("two")["phase"] == "Running" and labs.pod("one") == before
    file.write_text(SMALL.format(name=labs.name, pods="{name: one, nods: 1}"))
    refused = labs.run("up", str(file), ok=2)
    assert f"{file}:9: pods[0].nods: unknown key" in refused.stderr
    refused = labs.run("up", str(file.with_name("other.yaml")), "--name", labs.name, ok=2)
    assert "no such file" in refused.stderr
    file.write_text(SMALL.format(name=labs.name, pods="{name: one}"))
    refused = labs.run("up", str(file), "--set", "seed=9", ok=2)
    assert "differs from the scenario in: seed" in refused.stderr
    labs.run("up", str(file))
    assert [pod["name"] for pod in labs.status()["pods"]] == ["one"]


def test_a_file_that_names_another_lab_now_makes_that_one(labs: Labs, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(name=labs.name, pods=""))
    labs.run("up", str(file))
    file.write_text(SMALL.format(name=f"{labs.name}b", pods=""))
    labs.run("up", str(file))
    assert {line.split()[0] for line in labs.run("ls").stdout.splitlines()[1:]} == {labs.name, f"{labs.name}b"}


def test_warnings_are_said_again(labs: Labs, tmp_path: Path) -> None:
    """172.17.0.0/16 is docker's; the lab runs, and who makes it again hears so again."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(name=labs.name, pods="").replace("10.10.0.0/", "172.17.0.0/"))
    first, second = labs.run("up", str(file)), labs.run("up", str(file))
    warned = [[line for line in ran.stderr.splitlines() if "warning" in line] for ran in (first, second)]
    assert warned[0] == warned[1] and len(warned[0]) == 1 and "labnet validate" in warned[0][0]
