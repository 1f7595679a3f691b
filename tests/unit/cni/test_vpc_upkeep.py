"""GC and STATUS of the VPC plugin, and the socket of a daemon that comes and goes."""

import asyncio
import json

import pytest
from cni_builders import NODE, POD_B, FixedIpamd, Node

from labnet.cni.vpc.daemon import DaemonSocket
from labnet.errors import IpamError, KernelError
from labnet.ipamd.rpc import AddNetworkReply, IpAllocation
from labnet.model.netstate import Link, Rule

VALID = "cni.dev/valid-attachments"
OTHERS = (IpAllocation("10.10.2.7", 1, 2), IpAllocation("10.10.2.8", 0, 254))


@pytest.fixture
def node():
    """Three pods: cafe, beef and f00d."""
    node = Node(FixedIpamd(POD_B, *OTHERS))
    for container, pod in (("cafe", "pod-b"), ("beef", "pod-c"), ("f00d", "pod-d")):
        node.kernel.create_netns([f"lab-{pod}"])
        node.add(container=container, pod=pod, netns=f"lab-{pod}")
    return node


def collect(node, *containers, **more):
    valid = {VALID: [{"containerID": container, "ifname": "eth0"} for container in containers]}
    return node.call("GC", version="1.1.0", **(valid | more))


def pods(node):
    return sorted(item.dst for item in node.kernel.observe(NODE).all(Rule) if item.priority == 512)


def said(outcome):
    document = json.loads(outcome.stdout)
    return outcome.exit_code, document["code"], document["msg"]


def test_gc_detaches_what_is_not_listed_and_nothing_else(node):
    outcome = collect(node, "cafe", "f00d")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, b"", "")
    assert pods(node) == ["10.10.2.6/32", "10.10.2.8/32"]
    assert {container for _network, container, _ifname in node.ipamd.held} == {"cafe", "f00d"}
    assert (node.ipamd.calls[-1].container_id, node.ipamd.calls[-1].reason) == ("beef", "GarbageCollected")
    assert [item.name for item in node.kernel.observe(NODE).all(Link) if item.name.startswith("eni")], "GC takes no veth, as DEL takes none"
    assert node.slices.drift(NODE) == ()
    assert collect(node, "cafe", "f00d").exit_code == 0


@pytest.mark.parametrize("empty", [[], None])
def test_gc_with_an_empty_list_detaches_all(node, empty):
    assert collect(node, **{VALID: empty}).exit_code == 0
    assert pods(node) == []
    assert node.ipamd.held == {}
    assert list(node.plugin.occupied()) == []


def test_gc_keeps_to_its_own_network_and_interface(node):
    assert collect(node, name="other").exit_code == 0
    assert len(pods(node)) == 3
    outcome = node.call("GC", version="1.1.0", **{VALID: [{"containerID": "cafe", "ifname": "net1"}]})
    assert outcome.exit_code == 0
    assert pods(node) == []


def test_gc_finds_addresses_that_nobody_wired_and_wires_without_address(node):
    node.ipamd.held[("aws-cni", "lost", "eth0")] = IpAllocation("10.10.2.9", 1, 2)
    del node.ipamd.held[("aws-cni", "beef", "eth0")]
    assert collect(node, "cafe", "f00d").exit_code == 0
    assert set(node.ipamd.held) == {("aws-cni", "cafe", "eth0"), ("aws-cni", "f00d", "eth0")}
    assert pods(node) == ["10.10.2.6/32", "10.10.2.8/32"]


def test_gc_without_a_list_or_with_a_wrong_one_touches_nothing(node):
    assert node.call("GC", version="1.1.0").exit_code == 0
    for wrong in ("cafe", [1], [{"containerID": "cafe"}]):
        assert said(collect(node, **{VALID: wrong})) == (1, 7, f"gc cmd: {VALID} is no list of containerID and ifname")
    assert len(pods(node)) == 3


def test_gc_goes_on_after_a_failure_and_tells_it(node, monkeypatch):
    real = node.kernel.apply

    def refuse(batches):
        if any("10.10.2.7" in change.object.text for _netns, changes in batches for change in changes):
            raise KernelError("apply", NODE, "rule", 1)
        real(batches)

    monkeypatch.setattr(node.kernel, "apply", refuse)
    code, number, message = said(collect(node))
    assert (code, number) == (1, 999)
    assert message.startswith(f"gc cmd: beef/eth0: apply in {NODE}: rule")
    assert pods(node) == ["10.10.2.7/32"]


def test_gc_and_status_while_the_daemon_is_down(node):
    node.ipamd.down = True
    code, number, message = said(collect(node, "cafe"))
    assert (code, number) == (1, 999)
    assert "dial unix /var/run/aws-node/ipamd.sock: connect: connection refused" in message
    assert len(pods(node)) == 3, "an address is not taken from a pod without the daemon's knowledge"
    assert said(node.call("STATUS", version="1.1.0")) == (
        1, 50, "plugin not available: dial unix /var/run/aws-node/ipamd.sock: connect: connection refused",
    )
    node.ipamd.down = False
    outcome = node.call("STATUS", version="1.1.0")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, b"", "")


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_older_configurations_know_neither(node, verb):
    assert said(node.call(verb, version="1.0.0")) == (1, 1, f"config version does not allow {verb}")


def test_the_daemons_socket_refuses_while_nobody_listens():
    class Daemon:
        def __init__(self, address):
            self.reply = AddNetworkReply(True, (IpAllocation(address, 0, 254),))

        async def add_network(self, request):
            return self.reply

        async def del_network(self, request):
            raise IpamError("no")

        def attachments(self, network):
            return ((network, "eth0"),)

    async def story():
        door = DaemonSocket()
        with pytest.raises(ConnectionRefusedError) as refused:
            await door.attachments("aws-cni")
        assert refused.value.strerror == "Connection refused"
        door.listen(Daemon("10.0.0.1"))
        assert await door.attachments("aws-cni") == (("aws-cni", "eth0"),)
        with pytest.raises(IpamError):
            await door.del_network(None)
        door.close()
        for call in (door.add_network, door.del_network):
            with pytest.raises(ConnectionRefusedError):
                await call(None)
        door.listen(Daemon("10.0.0.2"))
        return await door.add_network(None)

    assert asyncio.run(story()).allocations[0].ipv4_addr == "10.0.0.2"
