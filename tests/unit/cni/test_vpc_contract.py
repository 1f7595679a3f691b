"""What a runtime gets from the VPC plugin, byte by byte: results of every version, the borrowed fields, errors and their numbers."""

import asyncio
import json

import pytest
from cni_builders import NODE, POD_B, FixedIpamd, Node, call_of

from labnet.cni import skel
from labnet.errors import KernelError, OwnershipError
from labnet.ipamd.rpc import IpAllocation
from labnet.model.netstate import Link, Rule, Slice

LISTED = """{
    "cniVersion": "%s",
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
SORTED = """{
    "cniVersion": "%s",
    "interfaces": [
        {
            "name": "eni2f5353dd8c5"
        },
        {
            "mac": "2",
            "name": "eth0",
            "sandbox": "/var/run/netns/cni-1234"
        },
        {
            "mac": "0",
            "name": "dummy2f5353dd8c5",
            "sandbox": "1"
        }
    ],
    "ips": [
        {
            "address": "10.10.2.6/32",
            "interface": 1
        }
    ]
}"""
FLAT = """{
    "cniVersion": "%s",
    "ip4": {
        "ip": "10.10.2.6/32"
    },
    "dns": {}
}"""
RESULTS = {
    **{version: FLAT % version for version in ("0.1.0", "0.2.0")}, **{version: LISTED % version for version in ("0.3.0", "0.3.1", "0.4.0")},
    **{version: SORTED % version for version in ("1.0.0", "1.1.0")},
}
PUBLISHED = {
    "cniVersion": "0.4.0",
    "interfaces": [
        {"name": "eni2f5353dd8c5"}, {"name": "eth0", "mac": "2", "sandbox": "/var/run/netns/cni-1234"},
        {"name": "dummy2f5353dd8c5", "mac": "0", "sandbox": "1"},
    ],
    "ips": [{"version": "4", "interface": 1, "address": "10.10.2.6/32"}], "dns": {},
}
NO_ADDRESS = "add cmd: failed to assign an IP address to container"


@pytest.fixture
def node():
    node = Node()
    node.kernel.create_netns(["lab-pod-b"])
    return node


def said(outcome):
    assert (outcome.exit_code, outcome.stderr) == (1, "")
    document = json.loads(outcome.stdout)
    return document["code"], document["msg"]


def called(node, changed=(), stdin=None, verb="ADD", **conf):
    environ, text = call_of(verb, **conf)
    environ |= dict(changed)
    return asyncio.run(skel.run({k: v for k, v in environ.items() if v is not None}, stdin or text, node.plugin, netns=None))


# ---- results --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", RESULTS)
def test_add_prints_these_bytes_in_each_version(node, version):
    outcome = node.call("ADD", version=version)
    assert (outcome.exit_code, outcome.stdout.decode(), outcome.stderr) == (0, RESULTS[version], "")


def test_a_configuration_without_a_version_speaks_the_first_one(node):
    stdin = json.dumps({"name": "aws-cni", "type": "aws-cni"}).encode()
    environ, _stdin = call_of("ADD")
    outcome = asyncio.run(skel.run(environ, stdin, node.plugin, netns=skel.NetnsGrant("lab-pod-b")))
    assert outcome.stdout.decode() == RESULTS["0.1.0"]


def test_the_published_example(node):
    assert node.add() == PUBLISHED


@pytest.mark.parametrize(("device", "table", "mac"), [(0, 254, "254"), (1, 2, "2"), (2, 3, "3"), (14, 15, "15")])
def test_the_borrowed_fields_say_table_and_device_in_decimal(device, table, mac):
    node = Node(FixedIpamd(IpAllocation("10.10.2.6", device, table)))
    node.kernel.create_netns(["lab-pod-b"])
    host, container, dummy = node.add()["interfaces"]
    assert host == {"name": "eni2f5353dd8c5"}
    assert container == {"name": "eth0", "mac": mac, "sandbox": "/var/run/netns/cni-1234"}
    assert dummy == {"name": "dummy2f5353dd8c5", "mac": "0", "sandbox": str(device)}


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.1.0"])
def test_no_gateway_and_no_routes(node, version):
    result = node.add(version=version)
    assert set(result) - {"dns"} == {"cniVersion", "interfaces", "ips"}
    assert set(result["ips"][0]) - {"version"} == {"interface", "address"}


# ---- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "conf", "expected"),
    [
        ({"CNI_NETNS": None, "CNI_IFNAME": None}, {}, (4, "required env variables [CNI_NETNS,CNI_IFNAME] missing")),
        ({"CNI_COMMAND": "FROB"}, {}, (4, "unknown CNI_COMMAND: FROB")),
        ({}, {"name": ""}, (7, "missing network name")),
        ({}, {"name": "a/b"}, (7, "invalid characters found in network name")),
        ({}, {"version": "0.9.0"}, (1, "incompatible CNI versions")),
        ({}, {"mtu": 9001}, (999, "add cmd: error loading config from args: mtu is not a string")),
        ({}, {"vethPrefix": "abcde"}, (999, "add cmd: error loading config from args: conf.VethPrefix can be at most 4 characters long")),
        ({"CNI_ARGS": "X=1;K8S_POD_NAME=a"}, {}, (999, 'add cmd: failed to load k8s config from args: ARGS: unknown args ["X=1"]')),
        ({"CNI_ARGS": "X"}, {}, (999, 'add cmd: failed to load k8s config from args: ARGS: invalid pair "X"')),
    ],
)
def test_a_call_that_cannot_be_read(node, changed, conf, expected):
    assert said(called(node, changed, **conf)) == expected
    assert node.ipamd.calls == []


def test_standard_input_that_is_no_configuration(node):
    code, message = said(called(node, stdin=b"{"))
    assert (code, message.split(":")[0]) == (6, "error unmarshall network config")


def test_an_error_reads_as_a_plugin_prints_it(node):
    node.ipamd.free.clear()
    assert node.call("ADD").stdout.decode() == f'{{\n    "cniVersion": "0.4.0",\n    "code": 999,\n    "msg": "{NO_ADDRESS}"\n}}'


@pytest.mark.parametrize("args", ["IgnoreUnknown=1;X=1;", "X=1;IgnoreUnknown=true"])
def test_unknown_arguments_are_fine_when_it_says_so(node, args):
    name = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-b"
    environ, stdin = call_of("ADD")
    environ["CNI_ARGS"] = f"{args.strip(';')};{name}"
    assert asyncio.run(skel.run(environ, stdin, node.plugin, netns=skel.NetnsGrant("lab-pod-b"))).exit_code == 0


@pytest.mark.parametrize(
    ("mtu", "bytes_"), [("1300", 1300), ("576", 576), ("575", 9001), ("9001", 9001), ("9002", 9001), ("", 9001), ("many", 9001), ("1e3", 9001),
                        (" 1300", 9001), (None, 9001)],
)
def test_an_mtu_that_is_none_counts_as_9001_on_both_ends(node, mtu, bytes_):
    node.add(mtu=mtu)
    ends = (node.kernel.observe(NODE).find(("link", "eni2f5353dd8c5")), node.kernel.observe("lab-pod-b").find(("link", "eth0")))
    assert [end.mtu_bytes for end in ends] == [bytes_, bytes_]


@pytest.mark.parametrize(("prefix", "name"), [("abcd", "abcd2f5353dd8c5"), ("", "eni2f5353dd8c5"), (None, "eni2f5353dd8c5")])
def test_the_prefix_of_the_nodes_end(node, prefix, name):
    assert node.add(vethPrefix=prefix)["interfaces"][0] == {"name": name}
    assert isinstance(node.kernel.observe(NODE).find(("link", name)), Link)


@pytest.mark.parametrize(("lifted", "code"), [(None, 8), ("0", 8), ("yes", 8), ("1", 0), ("true", 0), ("TRUE", 0)])
def test_the_nodes_own_namespace_needs_the_override(node, lifted, code):
    environ, stdin = call_of("DEL")
    environ |= {} if lifted is None else {"CNI_NETNS_OVERRIDE": lifted}
    outcome = asyncio.run(skel.run(environ, stdin, node.plugin, netns=skel.NetnsGrant(NODE, own=True)))
    if code == 0:
        assert outcome.exit_code == 0
    else:
        assert said(outcome) == (8, "plugin's netns and netns from CNI_NETNS should not be the same")


def test_version_and_no_command(node):
    assert called(node, {"CNI_COMMAND": "VERSION"}).stdout == (
        b'{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}\n'
    )
    outcome = called(node, {"CNI_COMMAND": None})
    assert (outcome.exit_code, outcome.stdout) == (0, b"")
    assert outcome.stderr == "AWS CNI of labnet\nCNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"


# ---- DEL ------------------------------------------------------------------------------------------------------------------


def test_del_twice_and_of_what_never_was(node):
    before = node.texts()
    assert node.call("DEL").exit_code == 0
    assert node.texts() == before
    node.add()
    assert [node.call("DEL").exit_code for _ in range(2)] == [0, 0]
    assert not [item for item in node.kernel.observe(NODE).all(Rule) if item.priority in (512, 1536)]


def test_del_asks_for_nothing_but_its_container_and_interface(node):
    previous = node.add()
    assert node.call("DEL", previous=previous, path="", netns=None).exit_code == 0
    assert said(called(node, {"CNI_CONTAINERID": None}, verb="DEL")) == (4, "required env variables [CNI_CONTAINERID] missing")


@pytest.mark.parametrize("error", [KernelError("apply", NODE, "rule", 1), OwnershipError(NODE, "not ours")])
@pytest.mark.parametrize("claimed", [True, False])
def test_del_without_the_daemon_succeeds_even_if_nothing_can_be_torn_down(node, monkeypatch, error, claimed):
    previous = node.add()
    if not claimed:
        node.slices.assume(NODE, Slice("cni:aws-cni/cafe/eth0"))
    node.ipamd.down = True

    def refuse(*words):
        raise error

    monkeypatch.setattr(node.kernel, "apply", refuse)
    monkeypatch.setattr(node.kernel, "observe", refuse)
    outcome = node.call("DEL", previous=previous)
    assert (outcome.exit_code, outcome.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("mac", "sandbox", "gone"), [("2", "1", True), ("", "1", True), ("x", "1", True), ("3", "1", False), ("", "", False), ("254", "1", False)]
)
def test_del_without_the_daemon_reads_the_table_from_mac_else_from_the_dummy(node, mac, sandbox, gone):
    """A from-rule of another table is somebody else's; the rule to the pod goes in any case."""
    previous = node.add()
    previous["interfaces"][1]["mac"], previous["interfaces"][2]["sandbox"] = mac, sandbox
    node.slices.assume(NODE, Slice("cni:aws-cni/cafe/eth0"))
    node.ipamd.down = True
    assert node.call("DEL", previous=previous).exit_code == 0
    rules = {item.priority for item in node.kernel.observe(NODE).all(Rule) if item.priority in (512, 1536)}
    assert rules == (set() if gone else {1536})


def test_a_teardown_that_fails_with_the_daemon_up_is_an_error(node, monkeypatch):
    node.add()

    def refuse(batches):
        raise KernelError("apply", NODE, "rule", 1)

    monkeypatch.setattr(node.kernel, "apply", refuse)
    code, message = said(node.call("DEL"))
    assert code == 999
    assert message.startswith(f"del cmd: failed to teardown network: apply in {NODE}: rule")


# ---- several at once ------------------------------------------------------------------------------------------------------


def test_a_del_that_overtakes_its_add_waits_for_it_and_leaves_nothing(node, monkeypatch):
    """Both under way at once, whichever way round they came: what stays is what the last one says."""
    real = node.ipamd.add_network

    async def saved_later(request):
        reply = await real(request)
        for _turn in range(5):  # the daemon writes its checkpoint: a DEL would find the address given and nothing wired
            await asyncio.sleep(0)
        return reply

    monkeypatch.setattr(node.ipamd, "add_network", saved_later)

    async def both(*verbs):
        return await asyncio.gather(*(skel.run(*call_of(verb), node.plugin, netns=skel.NetnsGrant("lab-pod-b")) for verb in verbs))

    before = sorted(text for text in node.texts() if "lookup" in text)
    assert [one.exit_code for one in asyncio.run(both("ADD", "DEL"))] == [0, 0]
    assert sorted(text for text in node.texts() if "lookup" in text) == before
    node.ipamd.free.append(POD_B)
    assert [one.exit_code for one in asyncio.run(both("DEL", "ADD", "ADD"))] == [0, 0, 0]
    assert node.slices.drift(NODE) == node.slices.drift("lab-pod-b") == ()
    assert "512: from all to 10.10.2.6 lookup main" in node.texts()
    assert node.plugin._turns == {}
