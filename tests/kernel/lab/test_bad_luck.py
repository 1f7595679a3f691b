"""Interruptions, crashes and repeats: everything converges, and the machine is as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labnet.kernel import machine
from tests.lab_runner import Labs

pytestmark = [pytest.mark.kernel, pytest.mark.alone]


def test_the_machine_is_equal_before_during_and_after(labs: Labs) -> None:
    subprocess.run(["ip", "netns", "add", f"{labs.name}-w"], check=True)  # what iproute2 itself does once to /run/netns
    subprocess.run(["ip", "netns", "del", f"{labs.name}-w"], check=True)
    before = machine.snapshot()
    labs.up()
    during = machine.snapshot()
    labs.run("down", labs.name)
    after = machine.snapshot()
    assert after == before
    ours = [line for line in during.splitlines() if labs.name not in line]
    assert "\n".join(ours) + "\n" == before or ours == before.splitlines()


def test_up_twice_is_a_no_op_and_down_twice_is_fine(labs: Labs) -> None:
    labs.up()
    first = labs.status()
    labs.up()
    second = labs.status()
    assert first["pods"] == second["pods"]
    assert first["nodes"] == second["nodes"]
    labs.run("down", labs.name)
    assert labs.namespaces() == []
    assert not (labs.run_dir / labs.name).exists()
    labs.run("down", labs.name)


def test_up_right_behind_down(labs: Labs) -> None:
    for _ in range(3):
        labs.up()
        labs.run("down", labs.name)
    assert labs.namespaces() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.08, 0.16, 0.24, 0.32, 0.4])
def test_up_interrupted_rolls_back(labs: Labs, number: signal.Signals, delay_s: float) -> None:
    running = labs.start("up", "eks-2node", "--name", labs.name)
    time.sleep(delay_s)
    running.send_signal(number)
    _out, err = running.communicate(timeout=60)
    assert "Traceback" not in err
    if running.returncode == 0:
        pytest.skip("it was up before the signal came")
    assert running.returncode in (130, -number), err
    assert labs.namespaces() == []
    assert not (labs.run_dir / labs.name).exists()


def test_after_kill_9_of_the_process_down_converges(labs: Labs) -> None:
    labs.up()
    labs.kill_process()
    assert "dead" in labs.run("ls").stdout
    labs.run("down", labs.name)
    assert labs.namespaces() == []


def test_after_kill_9_of_the_process_up_converges(labs: Labs) -> None:
    labs.up()
    labs.kill_process()
    labs.up()
    assert all(pod["phase"] == "Running" for pod in labs.status()["pods"])
    labs.run("--lab", labs.name, "trace", "pod2", "pod3")


def test_after_kill_9_of_the_command_during_up(labs: Labs) -> None:
    running = labs.start("up", "eks-2node", "--name", labs.name)
    time.sleep(0.4)
    running.kill()
    running.communicate()
    labs.up()
    assert all(pod["phase"] == "Running" for pod in labs.status()["pods"])
    labs.run("down", labs.name)
    assert labs.namespaces() == []


def test_a_name_that_is_not_ours_is_refused_and_left_alone(labs: Labs) -> None:
    subprocess.run(["ip", "netns", "add", f"{labs.name}-pod1"], check=True)
    try:
        done = labs.run("up", "eks-2node", "--name", labs.name, ok=1)
        assert "does not belong" in done.stderr
        assert labs.namespaces() == [f"{labs.name}-pod1"]
    finally:
        subprocess.run(["ip", "netns", "del", f"{labs.name}-pod1"], check=True)


def test_a_lab_with_a_longer_name_is_not_touched(labs: Labs) -> None:
    stranger = f"{labs.name}-2node-node1"
    subprocess.run(["ip", "netns", "add", stranger], check=True)
    try:
        labs.up()
        labs.run("down", labs.name)
        assert labs.namespaces() == [stranger]
    finally:
        subprocess.run(["ip", "netns", "del", stranger], check=True)


def test_two_labs_side_by_side(labs: Labs) -> None:
    labs.up()
    other = Labs(labs.run_dir)
    other.up()
    assert {entry["name"] for entry in json.loads(labs.run("ls", "-o", "json").stdout)["labs"]} == {labs.name, other.name}
    labs.run("--lab", labs.name, "trace", "pod2", "pod3")
    labs.run("down", labs.name)
    labs.run("--lab", other.name, "trace", "pod2", "pod3")


def test_up_into_a_pipe_returns(labs: Labs) -> None:
    command = f"{sys.executable} -m labnet up eks-2node --name {labs.name} -o json | tee {labs.run_dir}.log"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=labs.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path(f"{labs.run_dir}.log").read_text())["kind"] == "Status"


def test_a_missing_program_is_named(labs: Labs, tmp_path: Path) -> None:
    environ = {**labs.environ, "LABNET_RUN_DIR": str(tmp_path)}
    probe = (
        "import labnet.kernel.preflight as p; p.PATH = ('/nonexistent',); "
        "from labnet.cli.main import main; raise SystemExit(main(['up', 'eks-2node']))"
    )
    done = subprocess.run([sys.executable, "-c", probe], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "nft" in done.stderr
    assert "apt-get install" in done.stderr


@pytest.mark.parametrize("capability", ["sys_admin", "net_admin", "net_raw"])
def test_a_missing_capability_is_named(labs: Labs, capability: str) -> None:
    command = ["setpriv", f"--bounding-set=-{capability}", sys.executable, "-m", "labnet", "up", "eks-2node", "--name", labs.name]
    done = subprocess.run(command, env=labs.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert f"CAP_{capability.upper()}" in done.stderr
    assert "--privileged" in done.stderr
    assert labs.namespaces() == []


def test_a_program_in_a_pod_is_ended_by_down(labs: Labs) -> None:
    labs.up()
    running = labs.start("--lab", labs.name, "exec", "pod1", "--", "sleep", "300")
    deadline = time.monotonic() + 20
    inode = os.stat(f"/run/netns/{labs.name}-pod1").st_ino
    while os.stat(f"/proc/{running.pid}/ns/net").st_ino != inode and time.monotonic() < deadline:
        time.sleep(0.05)
    labs.run("down", labs.name)
    assert running.wait(timeout=20) != 0
    running.communicate()
    assert labs.namespaces() == []


def test_foreground_goes_down_on_a_signal(labs: Labs) -> None:
    running = labs.start("up", "eks-2node", "--name", labs.name, "--wait")
    deadline = time.monotonic() + 60
    while "running" not in labs.run("ls", "-o", "json").stdout and time.monotonic() < deadline:
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert labs.namespaces() == []
