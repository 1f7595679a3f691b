"""Rules of pods that a new daemon removes and mends, on the real kernel: what the plugin made, what somebody else did meanwhile."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest
from cni_builders import POD_B, FixedIpamd, Node

from labnet.ipamd.datastore import Assignment, AttachmentKey
from labnet.ipamd.restore import PodRules
from labnet.kernel.door import LinuxKernel

pytestmark = pytest.mark.kernel

KERNELS_OWN = ["0:\tfrom all lookup local", "32766:\tfrom all lookup main", "32767:\tfrom all lookup default"]
TO_POD = "512:\tfrom all to 10.10.2.6 lookup main"


class Wired:
    """A node with pod-b wired by the plugin, and the daemon's view of its rules."""

    def __init__(self, node: Node, pod_netns: str) -> None:
        self.node, self.pod_netns = node, pod_netns
        node.add(netns=pod_netns)
        name = next(name for name in node.slices.slices(node.netns) if name.startswith("cni:"))
        network, container, ifname = name.removeprefix("cni:").split("/")
        self.assignment = Assignment(AttachmentKey(network, container, ifname), "10.10.2.6", "eni-1", "default", "pod-b")

    def rules(self) -> PodRules:
        return PodRules(self.node.netns, self.node.slices)

    def ip(self, *words: str) -> list[str]:
        done = subprocess.run(["ip", "-n", self.node.netns, *words], capture_output=True, text=True, check=True)
        return [line.rstrip() for line in done.stdout.splitlines()]

    def ours(self) -> list[str]:
        return [line for line in self.ip("rule") if line not in KERNELS_OWN]


@pytest.fixture
def wired(request: pytest.FixtureRequest) -> Iterator[Wired]:
    prefix = f"lnt-rst{uuid.uuid4().hex[:6]}"
    kernel = LinuxKernel()
    try:
        node = Node(FixedIpamd(POD_B, cidrs=("10.10.0.0/16", "192.168.0.0/16")), getattr(request, "param", "1.23"), kernel, f"{prefix}-n")
        kernel.create_netns([f"{prefix}-b"])
        yield Wired(node, f"{prefix}-b")
    finally:
        kernel.remove_netns([name for name in kernel.known if name.startswith(prefix)])
        kernel.close()


def test_what_is_right_is_not_touched(wired: Wired) -> None:
    changes: list[object] = []
    wired.node.slices.on_change = lambda *change: changes.append(change)
    assert wired.rules().normalise(wired.assignment, None) is False
    assert changes == []
    assert wired.ours() == [TO_POD, "1536:\tfrom 10.10.2.6 lookup 2"]


def test_foreign_rules_of_the_pod_become_one(wired: Wired) -> None:
    wired.ip("rule", "del", "priority", "1536")
    wired.ip("rule", "add", "from", "10.10.2.6", "lookup", "2", "priority", "1500")
    wired.ip("rule", "add", "from", "10.10.2.6", "to", "10.0.0.0/8", "lookup", "3", "priority", "1600")
    assert wired.rules().normalise(wired.assignment, None) is True
    assert wired.ours() == [TO_POD, "1536:\tfrom 10.10.2.6 lookup 3"], "the table of the last one"
    assert wired.rules().normalise(wired.assignment, None) is False
    assert wired.node.slices.drift(wired.node.netns) == (), "and the plugin's slice says so"


def test_what_the_plugin_planned_comes_back_when_somebody_took_it(wired: Wired) -> None:
    wired.ip("rule", "del", "priority", "1536")
    wired.ip("rule", "add", "from", "10.10.2.6", "lookup", "2", "priority", "1500")
    assert wired.rules().normalise(wired.assignment, None) is True
    assert wired.ours() == [TO_POD, "1536:\tfrom 10.10.2.6 lookup 2"]


@pytest.mark.parametrize("wired", ["1.6"], indirect=True)
def test_release_1_6_goes_from_one_rule_a_block_to_one_and_back(wired: Wired) -> None:
    split = [f"1536:\tfrom 10.10.2.6 to {block} lookup 2" for block in ("10.10.0.0/16", "192.168.0.0/16")]
    assert sorted(wired.ours()) == sorted([TO_POD, *split])
    assert wired.rules().normalise(wired.assignment, None) is True
    assert wired.ours() == [TO_POD, "1536:\tfrom 10.10.2.6 lookup 2"]
    assert wired.rules().normalise(wired.assignment, ("10.10.0.0/16", "192.168.0.0/16")) is True
    assert sorted(wired.ours()) == sorted([TO_POD, *split])


def test_a_pod_whose_veth_is_gone_leaves_no_rule(wired: Wired) -> None:
    wired.ip("rule", "add", "from", "10.10.2.6", "lookup", "9", "priority", "1536")
    wired.ip("rule", "add", "from", "10.10.2.7", "lookup", "2", "priority", "1536")
    wired.ip("link", "del", "eni2f5353dd8c5")
    wired.rules().remove(wired.assignment)
    assert wired.ours() == ["1536:\tfrom 10.10.2.7 lookup 2"]
    assert wired.node.slices.drift(wired.node.netns) == ()
