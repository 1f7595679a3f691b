"""What a program on a node or in a pod sees of the machine's files, and that the machine does not see it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labnet.kernel.door import LinuxKernel
from labnet.lab import views
from labnet.lab.paths import LabPaths

pytestmark = pytest.mark.kernel


@pytest.fixture
def netns() -> Iterator[str]:
    import uuid

    kernel, name = LinuxKernel(), f"lnt{uuid.uuid4().hex[:8]}-v"
    kernel.create_netns([name])
    yield name
    kernel.remove_netns([name])
    kernel.close()


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def run(netns: str, view: views.View, script: str) -> str:
    status, out, err = views.run(f"/run/netns/{netns}", view, ["sh", "-c", script], {}, b"", ())
    assert status == 0, err
    return out.decode()


def test_a_node_has_files_of_its_own_and_the_machine_stays_as_it_was(netns: str, tmp_path: Path) -> None:
    paths, before = LabPaths(tmp_path, "t"), mounts()
    view = views.node_view(paths, "node1", {"ip-10-10-0-4": "10.10.0.4"})
    said = run(netns, view, "hostname; cat /etc/hosts; echo kept > /var/run/aws-node/x; echo l > /var/log/y; ls -d /etc/cni/* /opt/cni/*")
    assert said.split() == ["node1", "127.0.0.1", "localhost", "10.10.0.4", "ip-10-10-0-4", "/etc/cni/net.d", "/opt/cni/bin"]
    assert not [line for line in set(mounts().splitlines()) - set(before.splitlines()) if str(tmp_path) in line or "labnet" in line]
    assert not Path("/var/log/y").exists() and not Path("/var/run/aws-node/x").exists()
    assert run(netns, view, "cat /var/run/aws-node/x") == "kept\n", "the next program on the node finds it"
    other = views.node_view(paths, "node2", {})
    assert run(netns, other, "ls /var/run/aws-node") == "", "and no other node does"


def test_a_program_sees_the_links_of_its_namespace_in_sysfs(netns: str, tmp_path: Path) -> None:
    view = views.pod_view(LabPaths(tmp_path, "t"), netns, "pod1")
    assert run(netns, view, "ls /sys/class/net; hostname; cat /etc/resolv.conf").split() == ["lo", "pod1", "nameserver", "169.254.169.253"]


def test_names_of_other_namespaces_are_out_of_sight(netns: str, tmp_path: Path) -> None:
    view = views.pod_view(LabPaths(tmp_path, "t"), netns, "pod1")
    run(netns, view, "for each in /run/netns/*; do [ ! -e \"$each\" ] || ! grep -q \" $each \" /proc/self/mountinfo || exit 1; done")
    assert Path(f"/run/netns/{netns}").exists()
    assert subprocess.run(["ip", "netns", "exec", netns, "true"], check=False, timeout=10).returncode == 0


def test_two_things_that_the_machine_lacks_in_one_folder_are_both_there(netns: str, tmp_path: Path) -> None:
    """A machine on which iptables never ran has neither `/run/aws-node` nor `/run/xtables.lock`: one must not hide the other."""
    scratch, folder, file = tmp_path / "view", tmp_path / "folder", tmp_path / "file"
    for each in (scratch, folder):
        each.mkdir()
    (folder / "x").write_text("in the folder\n")
    file.write_text("the file\n")
    name = f"/run/{netns}"
    view = views.View("node1", ((f"{name}-folder", str(folder)), (f"{name}-file", str(file))), str(scratch))
    assert run(netns, view, f"cat {name}-folder/x {name}-file") == "in the folder\nthe file\n"
    assert not Path(f"{name}-folder").exists() and not Path(f"{name}-file").exists()
