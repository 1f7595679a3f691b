"""The VPC plugin with the real daemon behind it: what an ADD that fails leaves in the pool."""

import json

import pytest
from builders_ipamd import NODE
from builders_ipamd import Node as DaemonNode
from cni_builders import call_of

from labnet.cni import skel
from labnet.cni.spec import NetnsGrant
from labnet.cni.vpc.daemon import DaemonSocket
from labnet.cni.vpc.plugin import VpcPlugin, VpcPluginSettings


class Wired:
    """One node: daemon, socket, plugin, all on one in-memory kernel."""

    def __init__(self, checkpoint):
        self.node = DaemonNode(checkpoint=checkpoint).start()
        self.socket = DaemonSocket()
        self.socket.listen(self.node.ipamd)
        self.plugin = VpcPlugin(self.socket, self.node.book, self.node.kernel, VpcPluginSettings("t", 0, NODE))
        self.checkpoint = checkpoint

    def call(self, verb, pod="pod-a", netns="there", **more):
        if netns and not self.node.kernel.exists(netns):
            self.node.kernel.create_netns([netns])
        grant = NetnsGrant(netns) if netns else None
        return self.node.do(skel.run(*call_of(verb, container=f"c-{pod}", pod=pod, **more), self.plugin, netns=grant))

    def address(self, **more):
        outcome = self.call("ADD", **more)
        assert outcome.exit_code == 0, outcome.stdout
        return json.loads(outcome.stdout)["ips"][0]["address"]

    def pool(self):
        state = self.node.ipamd.state()
        return state["assigned"], state["cooling"]


@pytest.fixture
def wired(tmp_path):
    made = Wired(tmp_path / "ipam.json")
    yield made
    made.node.close()


def test_an_address_whose_wiring_failed_cools_down_before_anybody_gets_it(wired):
    outcome = wired.call("ADD", netns=None)
    assert json.loads(outcome.stdout)["msg"].startswith("add command: failed to setup network: failed to open netns")
    assert wired.pool() == (0, 1)
    assert json.loads(wired.checkpoint.read_text())["allocations"] == []
    first = wired.address(pod="pod-b")
    wired.node.wait(31)
    assert wired.address(pod="pod-c", netns="other") < first, "the lowest address is the one that failed"


def test_the_same_attachment_gets_the_same_address_until_its_del(wired):
    first = wired.address()
    assert wired.address() == first
    assert wired.pool() == (1, 0)
    assert wired.call("DEL", path="", netns=None).exit_code == 0
    assert wired.pool() == (0, 1)
    assert wired.call("DEL").exit_code == 0
    assert wired.address() != first


def test_a_daemon_that_cannot_write_its_checkpoint_gives_no_address(wired):
    wired.checkpoint.unlink(missing_ok=True)
    wired.checkpoint.mkdir()
    document = json.loads(wired.call("ADD").stdout)
    assert (document["code"], document["msg"]) == (999, "add cmd: failed to assign an IP address to container")
    assert "checkpoint" in document["details"]
    assert wired.pool() == (0, 0)


def test_an_exhausted_pool_in_the_words_that_a_kubelet_shows(wired):
    said = [wired.call("ADD", pod=f"pod-{number}", netns=f"n{number}") for number in range(12)]
    refused = [json.loads(one.stdout) for one in said if one.exit_code]
    assert refused
    assert refused[0] == {"cniVersion": "0.4.0", "code": 999, "msg": "add cmd: failed to assign an IP address to container"}


def test_gc_gives_addresses_back_to_the_pool(wired):
    kept = wired.address(pod="pod-a")
    wired.address(pod="pod-b", netns="other")
    valid = {"cni.dev/valid-attachments": [{"containerID": "c-pod-a", "ifname": "eth0"}]}
    assert wired.call("GC", version="1.1.0", netns=None, **valid).exit_code == 0
    assert wired.pool() == (1, 1)
    assert wired.address(pod="pod-a") == kept
