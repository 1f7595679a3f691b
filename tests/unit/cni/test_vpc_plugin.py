"""The VPC plugin on the in-memory kernel: ADD, DEL, CHECK, and everything that may go wrong."""

import json

import pytest
from cni_builders import NODE, POD_B, FixedIpamd, Node

from labnet.errors import IpamError, KernelError
from labnet.ipamd.rpc import IpAllocation
from labnet.model.netstate import Change, Link, LinkUp, Neigh, Rule, Slice

ADDED = """{
    "cniVersion": "0.4.0",
    "interfaces": [
        {
            "name": "eni2f5353dd8c5"
        },
        {
            "name": "eth0",
            "mac": "2",
            "sandbox": "/var/run/netns/cni-1234"
        },
        {
            "name": "dummy2f5353dd8c5",
            "mac": "0",
            "sandbox": "1"
        }
    ],
    "ips": [
        {
            "version": "4",
            "interface": 1,
            "address": "10.10.2.6/32"
        }
    ],
    "dns": {}
}"""


@pytest.fixture
def node():
    node = Node()
    node.kernel.create_netns(["lab-pod-b"])
    return node


def said(outcome):
    assert outcome.exit_code == 1, outcome
    document = json.loads(outcome.stdout)
    return document["code"], document["msg"]


def rules(node):
    return [text for text in node.texts() if "lookup" in text]


def test_add_prints_the_published_bytes_and_wires_pod_and_node(node):
    outcome = node.call("ADD")
    assert (outcome.exit_code, outcome.stdout.decode(), outcome.stderr) == (0, ADDED, "")
    assert rules(node) == ["512: from all to 10.10.2.6 lookup main", "1536: from 10.10.2.6 lookup 2"]
    assert "10.10.2.6 dev eni2f5353dd8c5 scope link" in node.texts()
    (neighbour,) = node.kernel.observe("lab-pod-b").all(Neigh)
    host = node.kernel.observe(NODE).find(("link", "eni2f5353dd8c5"))
    assert (neighbour.address, neighbour.mac, host.mtu_bytes, host.txqlen) == ("169.254.1.1", host.mac, 9001, 0)
    assert node.slices.drift(NODE) == node.slices.drift("lab-pod-b") == ()


def test_the_address_request_carries_what_the_daemon_wants(node):
    node.call("ADD")
    (request,) = node.ipamd.calls
    assert (request.pod_name, request.pod_namespace, request.infra_container_id) == ("pod-b", "default", "cafe")
    assert (request.netns, request.if_name) == ("/var/run/netns/cni-1234", "eth0")
    assert (request.network_name, request.container_id) == ("aws-cni", "cafe")


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_version_gets_its_own_shape(node, version):
    result = node.add(version=version)
    assert result["cniVersion"] == version
    address = result["ip4"]["ip"] if version < "0.3.0" else result["ips"][0]["address"]
    assert address == "10.10.2.6/32"


def test_dialect_1_6_by_the_daemons_answer():
    node = Node(FixedIpamd(POD_B, cidrs=("10.10.0.0/16", "192.168.0.0/16")), "1.6")
    node.kernel.create_netns(["lab-pod-b"])
    node.add()
    assert rules(node)[1:] == ["1536: from 10.10.2.6 to 10.10.0.0/16 lookup 2", "1536: from 10.10.2.6 to 192.168.0.0/16 lookup 2"]


def test_add_may_be_repeated(node):
    first, before = node.add(), node.texts()
    assert node.add() == first
    assert sorted(node.texts()) == sorted(before)
    assert node.slices.drift("lab-pod-b") == ()


def test_add_may_be_repeated_in_a_new_namespace_after_the_old_one_has_gone(node):
    node.add()
    node.kernel.remove_netns(["lab-pod-b"])
    node.kernel.create_netns(["new"])
    node.add(netns="new")
    assert "inet 10.10.2.6/32 scope global eth0" in node.texts("new")
    assert node.slices.drift(NODE) == ()


def test_a_veth_that_an_earlier_sandbox_left_goes_first(node):
    node.ipamd.free.append(IpAllocation(ipv4_addr="10.10.2.7", device_number=1, route_table_id=2))
    node.add()
    node.kernel.create_netns(["second"])
    node.add(container="beef", netns="second")
    assert "inet 10.10.2.7/32 scope global eth0" in node.texts("second")
    assert node.kernel.observe("lab-pod-b").find(("link", "eth0")) is None
    node.call("DEL", container="cafe")  # and the late DEL of the first takes nothing of the second's
    assert rules(node) == ["512: from all to 10.10.2.7 lookup main", "1536: from 10.10.2.7 lookup 2"]
    assert node.slices.drift(NODE) == node.slices.drift("second") == ()


def test_no_free_address_and_no_daemon_in_the_published_words(node):
    node.ipamd.free.clear()
    assert said(node.call("ADD")) == (999, "add cmd: failed to assign an IP address to container")
    node.ipamd.down = True
    code, message = said(node.call("ADD"))
    assert code == 999
    assert message == (
        'add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = "transport: '
        'Error while dialing: dial unix /var/run/aws-node/ipamd.sock: connect: connection refused"'
    )


def test_a_wiring_that_fails_gives_the_address_back_and_leaves_nothing(node, monkeypatch):
    before = node.texts()

    def refuse(batches):
        raise KernelError("apply", NODE, "link eth0", 12)

    monkeypatch.setattr(node.kernel, "apply", refuse)
    code, message = said(node.call("ADD"))
    assert code == 999
    assert message.startswith("add command: failed to setup network: apply in lab-node1: link eth0")
    assert [getattr(call, "reason", "") for call in node.ipamd.calls] == ["", "SetupNSFailed"]
    assert node.texts() == before
    assert "lab-pod-b" not in node.plugin.occupied()


def test_a_namespace_that_cannot_be_opened(node):
    code, message = said(node.call("ADD", netns=None))
    assert (code, message) == (999, 'add command: failed to setup network: failed to open netns "/var/run/netns/cni-1234"')
    assert node.ipamd.calls[-1].reason == "SetupNSFailed"


def test_del_takes_rules_and_route_and_leaves_the_veth_as_it_is(node):
    node.add()
    outcome = node.call("DEL", path="", netns=None)
    assert (outcome.exit_code, outcome.stdout) == (0, b"")
    assert rules(node) == []
    assert not [text for text in node.texts() if text.startswith("10.10.2.6 ")]
    state = node.kernel.observe(NODE)
    assert isinstance(state.find(("link", "eni2f5353dd8c5")), Link)
    assert isinstance(state.find(("link-up", "eni2f5353dd8c5")), LinkUp)
    assert node.slices.drift(NODE) == ()
    assert node.slices.claimed(NODE, "cni:aws-cni/cafe/eth0") is None
    assert node.slices.claimed("lab-pod-b", "cni:aws-cni/cafe/eth0") is None
    assert (node.ipamd.calls[-1].reason, node.ipamd.calls[-1].pod_uid) == ("PodDeleted", "u-1")


def test_add_after_del_in_the_same_namespace(node):
    node.add()
    node.call("DEL")
    node.ipamd.free.append(POD_B)
    node.add()
    assert node.slices.drift(NODE) == node.slices.drift("lab-pod-b") == ()


def test_del_of_an_unknown_pod_is_success_and_touches_nothing(node):
    node.add()
    node.ipamd.held.clear()
    before = node.texts()
    assert node.call("DEL").exit_code == 0
    assert node.texts() == before
    assert node.call("DEL", container="beef").exit_code == 0


def test_del_without_the_daemon_goes_by_prev_result(node):
    previous = node.add()
    name = "cni:aws-cni/cafe/eth0"
    node.slices.assume(NODE, Slice(name))  # as if the lab's process were a new one that knows nothing
    node.ipamd.down = True
    assert node.call("DEL", previous=previous, netns=None, path="").exit_code == 0
    assert rules(node) == []


def test_del_without_the_daemon_and_without_prev_result_is_success(node):
    node.ipamd.down = True
    assert node.call("DEL").exit_code == 0
    node.ipamd.down = False
    node.add()
    node.ipamd.down = True
    assert node.call("DEL").exit_code == 0
    assert rules(node) == []


def test_del_that_the_daemon_refuses(node):
    node.add()
    node.ipamd.refuse = True
    assert said(node.call("DEL")) == (999, "del cmd: failed to process delete request")


def test_any_other_refusal_of_the_daemon(node, monkeypatch):
    async def broken(request):
        raise IpamError("broken")

    monkeypatch.setattr(node.ipamd, "add_network", broken)
    document = json.loads(node.call("ADD").stdout)
    assert (document["msg"], document["details"]) == ("add cmd: failed to assign an IP address to container", "broken")


def test_arguments_and_netconf_that_cannot_be_read(node):
    assert said(node.call("ADD", mtu=9001)) == (999, "add cmd: error loading config from args: mtu is not a string")
    assert said(node.call("ADD", vethPrefix="abcde"))[1].endswith("conf.VethPrefix can be at most 4 characters long")
    assert said(node.call("ADD", pod="a=b"))[1].startswith("add cmd: failed to load k8s config from args: ARGS: invalid pair")


def test_check_is_content_after_add(node):
    outcome = node.call("CHECK", previous=node.add())
    assert (outcome.exit_code, outcome.stdout) == (0, b"")


def test_check_names_the_first_difference_of_the_kernel(node):
    previous = node.add()
    node.kernel.apply([(NODE, (Change("remove", Rule(1536, 2, src="10.10.2.6/32")),))])
    assert said(node.call("CHECK", previous=previous)) == (999, "check cmd: lab-node1: missing: 1536: from 10.10.2.6 lookup 2")
    neighbour = Neigh("eth0", "169.254.1.1", "02:00:00:00:00:99")
    node.kernel.apply([("lab-pod-b", (Change("replace", neighbour, neighbour),))])
    code, message = said(node.call("CHECK", previous=previous))
    assert code == 999
    assert message.startswith("check cmd: lab-pod-b: 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:99 PERMANENT, planned 169.254.1.1 dev eth0")


def test_check_names_the_first_difference_of_the_result(node):
    previous = node.add()
    previous["ips"][0]["address"] = "10.10.2.9/32"
    assert said(node.call("CHECK", previous=previous)) == (999, "check cmd: prevResult ips[0].address: '10.10.2.9/32', attached '10.10.2.6/32'")
    del previous["interfaces"][2], previous["ips"]
    assert "interfaces[2].name" in said(node.call("CHECK", previous=previous))[1]


def test_check_of_what_is_not_attached_and_without_prev_result(node):
    previous = node.add()
    assert said(node.call("CHECK", previous=previous, container="beef"))[0] == 3
    assert said(node.call("CHECK"))[0] == 7
    assert said(node.call("CHECK", previous=previous, netns=None))[0] == 3
