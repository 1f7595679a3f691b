"""The VPC CNI's pods as slices: literal texts of both dialects, results, netconf."""

import json
from dataclasses import replace

import pytest

from labnet.cni.result import Result, ResultInterface, ResultIp
from labnet.cni.spec import parse_config
from labnet.cni.vpc import plan
from labnet.cni.vpc.conflist import VpcNetConf, parse_netconf, vpc_conflist
from labnet.cni.vpc.contents import device_of_table, left_by_add, rules_and_route, table_of_device
from labnet.cni.vpc.plan import Wiring, plan_pod, to_cidrs
from labnet.errors import CniError
from labnet.model import names
from labnet.model.netstate import Rule

POD_B = Wiring(
    pod_netns="lab-pod-b", node_netns="lab-node1", ifname="eth0", host_link=names.host_link("default", "pod-b"),
    pod_mac="02:00:00:00:00:0b", host_mac="02:00:00:00:00:1b", mtu_bytes=9001, address="10.10.2.6", table=2,
)
POD_A = Wiring("lab-pod-a", "lab-node1", "eth0", "eni5e1c4d6c68c", "02:00:00:00:00:0a", "02:00:00:00:00:1a", 9001, "10.10.1.5")


def texts(part):
    return [item.text for item in part.objects]


def test_a_pod_of_a_secondary_eni_in_the_current_dialect():
    in_pod, on_node = plan_pod("aws-cni/abc/eth0", POD_B)
    assert in_pod.name == on_node.name == "cni:aws-cni/abc/eth0"
    assert texts(in_pod) == [
        "link eth0 address 02:00:00:00:00:0b type veth peer name eni2f5353dd8c5 netns lab-node1 address 02:00:00:00:00:1b",
        "link set eth0 up",
        "169.254.1.1 dev eth0 scope link",
        "default via 169.254.1.1 dev eth0",
        "inet 10.10.2.6/32 scope global eth0",
        "169.254.1.1 dev eth0 lladdr 02:00:00:00:00:1b PERMANENT",
    ]
    assert texts(on_node) == [
        "link eni2f5353dd8c5 address 02:00:00:00:00:1b type veth",
        "net.ipv6.conf.eni2f5353dd8c5.accept_ra = 0",
        "net.ipv6.conf.eni2f5353dd8c5.accept_redirects = 1",
        "net.ipv6.conf.eni2f5353dd8c5.forwarding = 0",
        "link set eni2f5353dd8c5 up",
        "10.10.2.6 dev eni2f5353dd8c5 scope link",
        "512: from all to 10.10.2.6 lookup main",
        "1536: from 10.10.2.6 lookup 2",
    ]
    for end in (in_pod.objects[0], on_node.objects[0]):
        assert (end.txqlen, end.mtu_bytes) == (0, 9001)


def test_a_pod_of_the_primary_eni_has_no_rule_of_its_own():
    assert [text for text in texts(plan_pod("x", POD_A)[1]) if "lookup" in text] == ["512: from all to 10.10.1.5 lookup main"]


def test_dialect_1_6_has_a_rule_for_each_block_while_the_node_masks():
    blocks = ("10.10.0.0/16", "100.64.0.0/16", "192.168.0.0/16")
    wiring = replace(POD_B, to_cidrs=to_cidrs("1.6", False, blocks))
    assert [text for text in texts(plan_pod("x", wiring)[1]) if text.startswith("1536")] == [
        "1536: from 10.10.2.6 to 10.10.0.0/16 lookup 2",
        "1536: from 10.10.2.6 to 100.64.0.0/16 lookup 2",
        "1536: from 10.10.2.6 to 192.168.0.0/16 lookup 2",
    ]


@pytest.mark.parametrize(("dialect", "external_snat"), [("1.6", True), ("1.23", True), ("1.23", False)])
def test_in_every_other_case_one_rule_for_all(dialect, external_snat):
    assert to_cidrs(dialect, external_snat, ("10.10.0.0/16",)) is None


def test_sysctls_stand_before_the_link_comes_up():
    words = texts(plan_pod("x", POD_A)[1])
    assert max(place for place, text in enumerate(words) if "ipv6" in text) < words.index("link set eni5e1c4d6c68c up")


def test_macs_follow_from_seed_lab_and_pod():
    pair = plan.macs(0, "lab", "default", "pod-a")
    assert pair == plan.macs(0, "lab", "default", "pod-a")
    assert len({*pair, *plan.macs(1, "lab", "default", "pod-a"), *plan.macs(0, "lab", "other", "pod-a")}) == 6


def test_the_lists_name_only_plugins_that_exist():
    new, old = vpc_conflist("1.23", {}), vpc_conflist("1.6", {"AWS_VPC_ENI_MTU": "1500"})
    assert (new.cni_version, new.name, new.disable_check) == ("0.4.0", "aws-cni", True)
    assert (old.cni_version, old.name, old.disable_check) == ("0.3.1", "aws-cni", False)
    assert [plugin["type"] for plugin in (*new.plugins, *old.plugins)] == ["aws-cni", "aws-cni"]
    assert old.plugins[0] == {"name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "1500"}
    assert vpc_conflist("1.23", {"AWS_VPC_ENI_MTU": "1300", "POD_MTU": "1280"}).plugins[0]["mtu"] == "1280"
    assert json.loads(new.render())["plugins"][0]["podSGEnforcingMode"] == "strict"


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({}, VpcNetConf("eni", 9001)), ({"mtu": "1500", "vethPrefix": "veth"}, VpcNetConf("veth", 1500)), ({"mtu": "9002"}, VpcNetConf()),
        ({"mtu": "575"}, VpcNetConf()), ({"mtu": "jumbo"}, VpcNetConf()), ({"mtu": "²"}, VpcNetConf()),
        ({"mtu": "576"}, VpcNetConf("eni", 576)),
    ],
)
def test_an_mtu_that_cannot_be_is_the_largest(entry, read):
    assert parse_netconf(parse_config(json.dumps({"name": "n", **entry}).encode())) == read


@pytest.mark.parametrize("entry", [{"mtu": 1500}, {"vethPrefix": "longer"}])
def test_netconf_that_is_refused(entry):
    with pytest.raises(CniError) as caught:
        parse_netconf(parse_config(json.dumps({"name": "n", **entry}).encode()))
    assert caught.value.number == 999


def test_a_result_tells_del_address_and_table():
    interfaces = (ResultInterface("eni1"), ResultInterface("eth0", "2", "/x"), ResultInterface("dummy1", "0", "1"))
    assert left_by_add(Result(interfaces, (ResultIp("10.0.0.5/32", interface=1),))) == (("10.0.0.5", 2),)
    spoiled = (ResultInterface("eni1"), ResultInterface("eth0", "", "/x"), ResultInterface("dummy1", "0", "3"))
    assert left_by_add(Result(spoiled, (ResultIp("10.0.0.5/32", interface=1),))) == (("10.0.0.5", 4),)
    assert left_by_add(None) == ()


def test_tables_and_device_indexes():
    assert [table_of_device(number) for number in (0, 1, 2)] == [254, 2, 3]
    assert [device_of_table(number) for number in (254, 2, 3)] == [0, 1, 2]


def test_what_a_node_holds_for_a_pod():
    on_node = plan_pod("x", POD_B)[1]
    other = (Rule(1536, 3, src="10.10.2.6/32"), Rule(512, dst="10.10.2.7/32"))
    assert [item.text for item in rules_and_route((*on_node.objects, *other), "10.10.2.6", 2)] == [
        "10.10.2.6 dev eni2f5353dd8c5 scope link", "512: from all to 10.10.2.6 lookup main", "1536: from 10.10.2.6 lookup 2",
    ]
    assert len(rules_and_route(on_node.objects, "10.10.2.6", 254)) == 2
