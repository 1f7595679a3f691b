"""Verdicts of `explain` on small clouds: which component stops a flow, with which of AWS's codes, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders_cloud import (
    ALL_IN,
    a_cloud,
    changed,
    entry,
    tcp,
    with_acl,
    with_group,
    with_node,
    with_prefix_list,
    with_subnet,
    with_table,
    with_vpc,
)

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.explain import codes
from labnet.explain.desired import desired_world
from labnet.explain.explain import End, explain
from labnet.explain.verdict import Explanation
from labnet.fabric.plan import plan_all
from labnet.model.cloud import CloudState, PrivateAddress, SecurityGroupRule
from labnet.model.cloud_vpc import Peering, PeeringSide
from labnet.model.netstate import merged
from labnet.model.zones import ZoneFailure, ZoneLink, ZoneLinkSpec

LAB, INTERNET = "lnt-cloud", End("internet", "8.8.8.8", internet=True)
PCX = "pcx-00000000000000001"


def judged(
    cloud: CloudState, source: str | End, target: str | End, protocol: str = "tcp", port: int | None = 80, size: int = 0
) -> Explanation:
    """A node, an End or an address on either side; nodes hold what their image and the fabric give them."""
    plans = {netns: merged(slices) for netns, slices in plan_all(cloud).items()}
    nodes = {f"{LAB}-{instance.name}": plans[f"{LAB}-{instance.name}"] for instance in cloud.instances.values()}
    owners = {netns: netns.removeprefix(f"{LAB}-") for netns in nodes}
    world = desired_world(nodes, dict.fromkeys(nodes, "node"), owners, [item for item in plans.items() if item[0] not in nodes])

    def end(word: str | End) -> End:
        if isinstance(word, End):
            return word
        if word[0].isdigit():
            return End(word, word)
        return End(word, cloud.enis[f"eni-{word}-0"].primary, f"{LAB}-{word}")

    return explain(cloud, world, end(source), end(target), protocol, None if protocol == "icmp" else port, size)


def stop(found: Explanation) -> tuple[str, str, str]:
    assert found.stopped is not None
    assert found.stopped is found.components[-1], "nothing is said of what comes behind it"
    return found.stopped.way, found.stopped.kind, found.stopped.code


@pytest.fixture
def two() -> CloudState:
    """One node in each of two subnets."""
    cloud = with_node(a_cloud(), "a", "10.10.0.10")
    return with_node(cloud, "b", "10.10.32.20", subnet="subnet-b")


def test_a_way_and_its_components_in_order(two: CloudState) -> None:
    cloud = with_acl(two, "acl-1", entry(100), entry(100, out=True), subnets=("subnet-a", "subnet-b"))
    found = judged(cloud, "a", "b")
    assert found.reachable
    there = [(one.kind, one.id) for one in found.components if one.way == "there"]
    assert there == [
        ("node", "a"), ("eni", "eni-a-0"), ("security-group", "sg-open-vpc-1"), ("network-acl", "acl-1"), ("route-table", "rtb-vpc-1"),
        ("network-acl", "acl-1"), ("security-group", "sg-open-vpc-1"), ("eni", "eni-b-0"), ("node", "b"),
    ]
    assert next(one.id for one in found.components if one.way == "back") == "b"
    document = found.document()
    assert (document["kind"], document["reachable"], document["explanation"], document["port"]) == ("Explanation", True, None, 80)
    assert document["components"][4] == {
        "way": "there", "kind": "route-table", "id": "rtb-vpc-1", "verdict": "passes", "code": None, "reason": "10.10.0.0/16 → local",
        "packet": "10.10.0.10 → 10.10.32.20",
    }


def test_inside_a_subnet_neither_acl_nor_route_table_is_asked(two: CloudState) -> None:
    cloud = with_acl(with_node(two, "c", "10.10.0.30"), "acl-1", subnets=("subnet-a",))
    assert {one.kind for one in judged(cloud, "a", "c").components} == {"node", "eni", "security-group"}
    assert stop(judged(cloud, "a", "b")) == ("there", "network-acl", codes.SUBNET_ACL_RESTRICTION)


def test_security_groups(two: CloudState) -> None:
    closed = with_group(two, "sg-1")
    assert stop(judged(changed(closed, "eni-b-0", security_groups=("sg-1",)), "a", "b")) == ("there", "security-group", codes.SG_HAS_NO_RULES)
    other = changed(with_group(two, "sg-1", ingress=(tcp(443),)), "eni-b-0", security_groups=("sg-1",))
    found = judged(other, "a", "b")
    assert stop(found) == ("there", "security-group", codes.ENI_SG_RULES_MISMATCH)
    assert found.stopped is not None and found.stopped.reason == "no inbound rule of eni-b-0's groups allows TCP 80 from 10.10.0.10"
    assert judged(other, "a", "b", port=443).reachable
    assert judged(other, "b", "a").reachable, "groups are stateful: answers need no rule"
    mute = changed(with_group(two, "sg-1", ingress=(ALL_IN,), egress=(tcp(443),)), "eni-a-0", security_groups=("sg-1",))
    assert stop(judged(mute, "a", "b")) == ("there", "security-group", codes.ENI_SG_RULES_MISMATCH)


def test_a_group_that_is_named_means_the_sending_eni(two: CloudState) -> None:
    cloud = with_group(two, "sg-1", ingress=(SecurityGroupRule("tcp", 80, 80, None, "sg-2"),))
    cloud = changed(with_group(cloud, "sg-2"), "eni-b-0", security_groups=("sg-1",))
    assert not judged(cloud, "a", "b").reachable
    assert judged(changed(cloud, "eni-a-0", security_groups=("sg-2",)), "a", "b").reachable


def test_a_prefix_list_means_its_blocks(two: CloudState) -> None:
    cloud = with_group(two, "sg-1", ingress=(SecurityGroupRule("tcp", 80, 80, prefix_list_id="pl-1"),))
    cloud = changed(cloud, "eni-b-0", security_groups=("sg-1",))
    assert judged(with_prefix_list(cloud, "pl-1", "10.30.0.0/16", "10.10.0.0/24"), "a", "b").reachable
    found = judged(with_prefix_list(cloud, "pl-1", "10.30.0.0/16"), "a", "b")
    assert stop(found) == ("there", "security-group", codes.ENI_SG_RULES_MISMATCH)


def test_source_and_destination_check(two: CloudState) -> None:
    spoofer = End("a", "10.10.0.99", f"{LAB}-a")
    assert stop(judged(two, spoofer, "b")) == ("there", "eni", codes.ENI_SOURCE_DEST_CHECK_RESTRICTION)
    found = judged(changed(two, "eni-a-0", source_dest_check=False), spoofer, "b")
    assert stop(found) == ("back", "vpc", codes.NO_POSSIBLE_DESTINATION), "it gets there, and the answer belongs to nobody"
    box = with_table(two, "rtb-a", "vpc-1", {"10.10.32.0/19": "eni-c-0"}, "subnet-a")
    box = with_node(box, "c", "10.10.32.30", subnet="subnet-b")
    assert stop(judged(box, "a", "b")) == ("there", "eni", codes.ENI_SOURCE_DEST_CHECK_RESTRICTION)
    found = judged(changed(box, "eni-c-0", source_dest_check=False), "a", "b")
    assert found.reachable
    assert ("node", "c") in [(one.kind, one.id) for one in found.components], "the middlebox forwards it"


@pytest.mark.parametrize(("routes", "kind", "code"), [
    ({}, "route-table", codes.NO_ROUTE_TO_DESTINATION), ({"0.0.0.0/0": "nat-gone"}, "route-table", codes.BAD_STATE_ROUTE),
    ({"0.0.0.0/0": "igw-vpc-1"}, "internet-gateway", codes.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS),
])  # fmt: skip
def test_ways_that_do_not_lead_out(two: CloudState, routes: dict[str, str], kind: str, code: str) -> None:
    assert stop(judged(with_table(two, "rtb-vpc-1", "vpc-1", routes, main=True), "a", INTERNET)) == ("there", kind, code)


def test_the_longest_prefix_decides(two: CloudState) -> None:
    two = with_node(two, "p", "10.10.0.40", public={"10.10.0.40": "203.0.113.40"})
    assert judged(two, "p", INTERNET).reachable
    cut = with_table(two, "rtb-vpc-1", "vpc-1", {"0.0.0.0/0": "igw-vpc-1", "8.8.0.0/16": "eni-gone"}, main=True)
    assert stop(judged(cut, "p", INTERNET)) == ("there", "route-table", codes.BAD_STATE_ROUTE)
    assert judged(cut, "p", "1.1.1.1").reachable


def test_the_internet_and_a_public_address(two: CloudState) -> None:
    cloud = with_node(two, "p", "10.10.0.40", public={"10.10.0.40": "203.0.113.40"})
    found = judged(cloud, INTERNET, "p")
    assert found.reachable
    assert found.components[0].reason == "203.0.113.40 becomes 10.10.0.40"
    assert stop(judged(cloud, INTERNET, "a")) == ("there", "internet", codes.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS)
    assert stop(judged(cloud, INTERNET, "9.9.9.9")) == ("there", "internet", codes.NO_POSSIBLE_DESTINATION)
    assert stop(judged(cloud, "p", "192.168.1.1"))[2] == codes.IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS
    assert stop(judged(cloud, "p", "100.64.1.1"))[2] == codes.IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS
    private = with_table(cloud, "rtb-vpc-1", "vpc-1", {}, main=True)
    assert stop(judged(private, INTERNET, "p")) == ("back", "route-table", codes.NO_ROUTE_TO_DESTINATION)


def test_a_nat_gateway(two: CloudState) -> None:
    context = Context(0.0, limits.load())
    cloud, address = execute(two, "AllocateAddress", {}, context)
    params = {"SubnetId": "subnet-a", "AllocationId": address["AllocationId"], "ClientToken": "x"}
    cloud, made = execute(cloud, "CreateNatGateway", params, context)
    nat = made["NatGateway"]["NatGatewayId"]
    cloud = with_table(cloud, "rtb-b", "vpc-1", {"0.0.0.0/0": nat}, "subnet-b")
    found = judged(cloud, "b", INTERNET)
    assert found.reachable
    kinds = [one.kind for one in found.components if one.way == "there"]
    assert kinds[-4:] == ["nat-gateway", "route-table", "internet-gateway", "internet"]
    assert stop(judged(cloud, INTERNET, address["PublicIp"])) == ("there", "nat-gateway", codes.NO_POSSIBLE_DESTINATION)
    narrow = with_acl(cloud, "acl-1", entry(100, protocol="6", from_port=32768, to_port=60999), entry(100, out=True), subnets=("subnet-a",))
    found = judged(narrow, "b", INTERNET)
    assert stop(found)[1:] == ("network-acl", codes.SUBNET_ACL_RESTRICTION), "from subnet-b it comes to port 80"
    wide = [entry(90, protocol="6", from_port=80, to_port=80), entry(100, protocol="6", from_port=32768, to_port=60999)]
    found = judged(with_acl(cloud, "acl-1", *wide, entry(100, out=True), subnets=("subnet-a",)), "b", INTERNET)
    assert stop(found) == ("back", "network-acl", codes.SUBNET_ACL_RESTRICTION)
    assert found.stopped is not None and "for ports 1024-32767" in found.stopped.reason, "a NAT gateway takes any port from 1024 on"
    looped = with_table(cloud, "rtb-a", "vpc-1", {"0.0.0.0/0": nat}, "subnet-a")
    assert stop(judged(looped, "b", INTERNET)) == ("there", "vpc", codes.NO_POSSIBLE_DESTINATION), "its own subnet leads back to it"


def test_peering() -> None:
    cloud = with_node(a_cloud(), "a", "10.10.0.10")
    cloud = with_subnet(with_vpc(cloud, "vpc-2", "10.20.0.0/16", name="blue"), "subnet-m", "vpc-2", "10.20.0.0/24")
    cloud = with_node(cloud, "m", "10.20.0.10", subnet="subnet-m")
    sides = (PeeringSide(vpc, cloud.account_id, cloud.region) for vpc in ("vpc-1", "vpc-2"))
    cloud = replace(cloud, peerings={PCX: Peering(PCX, *sides, state="active")})
    one_way = with_table(cloud, "rtb-vpc-1", "vpc-1", {"0.0.0.0/0": PCX}, main=True)
    assert stop(judged(one_way, "a", "m")) == ("back", "internet-gateway", codes.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS)
    both = with_table(one_way, "rtb-vpc-2", "vpc-2", {"10.10.0.0/16": PCX}, main=True)
    assert judged(both, "a", "m").reachable
    assert stop(judged(both, "a", INTERNET)) == ("there", "peering", codes.PCX_REQUIRES_ADDRESS_IN_VPC_CIDR), "no way through the peer"
    gone = replace(both, peerings={PCX: replace(both.peerings[PCX], state="deleted")})
    assert stop(judged(gone, "a", "m")) == ("there", "route-table", codes.BAD_STATE_ROUTE)


def test_acls_are_stateless_and_the_lowest_number_decides(two: CloudState) -> None:
    asks = (entry(100, protocol="6", from_port=80, to_port=80), entry(100, out=True))
    cloud = with_acl(two, "acl-b", *asks, subnets=("subnet-b",))
    assert judged(cloud, "a", "b").reachable
    assert stop(judged(cloud, "b", "a")) == ("back", "network-acl", codes.SUBNET_ACL_RESTRICTION), "answers come to ephemeral ports"
    found = judged(with_acl(two, "acl-b", *asks, entry(90, "deny", cidr="10.10.0.10/32"), subnets=("subnet-b",)), "a", "b")
    assert stop(found) == ("there", "network-acl", codes.SUBNET_ACL_RESTRICTION)
    assert found.stopped is not None and found.stopped.reason.startswith("inbound rule 90 denies it")
    pings = with_acl(two, "acl-b", entry(1, protocol="1", icmp_type=8, icmp_code=-1), entry(1, out=True), subnets=("subnet-b",))
    assert judged(pings, "a", "b", "icmp").reachable
    assert stop(judged(pings, "b", "a", "icmp")) == ("back", "network-acl", codes.SUBNET_ACL_RESTRICTION), "an answer is type 0"


def test_an_eni_without_instance_and_an_address_that_nobody_has(two: CloudState) -> None:
    idle = changed(two, "eni-b-0", attachment=None)
    assert stop(judged(idle, "a", "10.10.32.20")) == ("there", "eni", codes.BAD_STATE_ATTACHMENT)
    assert stop(judged(two, "a", "10.10.32.21")) == ("there", "vpc", codes.NO_POSSIBLE_DESTINATION)
    assert judged(two, "a", "169.254.169.254").reachable, "a service of the VPC"
    assert judged(two, "a", "169.254.169.253", "udp", 53).reachable
    mute = replace(two, vpcs={"vpc-1": replace(two.vpcs["vpc-1"], dns_support=False)})
    for resolver in ("169.254.169.253", "10.10.0.2"):
        assert judged(two, "a", resolver, "udp", 53).reachable and judged(two, "a", resolver, "icmp").reachable
        found = judged(mute, "a", resolver, "udp", 53)
        assert stop(found) == ("there", "vpc", codes.NO_POSSIBLE_DESTINATION)
        assert found.stopped is not None and "enableDnsSupport" in found.stopped.reason


def test_a_service_answers_and_its_answer_is_judged_too(two: CloudState) -> None:
    found = judged(two, "a", "169.254.169.254")
    assert [(one.way, one.kind) for one in found.components][-3:] == [("there", "vpc"), ("back", "vpc"), ("back", "node")]


def test_what_is_too_long_for_an_internet_gateway(two: CloudState) -> None:
    two = changed(two, "eni-a-0", addresses=(PrivateAddress("10.10.0.10", public="198.51.100.7"),))
    assert judged(two, "a", "b", "icmp", size=9001).reachable, "inside the VPC"
    found = judged(two, "a", INTERNET, "icmp", size=1501)
    assert stop(found) == ("there", "internet-gateway", "") and found.stopped is not None and "MTU 1500" in found.stopped.reason
    assert judged(two, "a", INTERNET, "icmp", size=1500).reachable
    assert stop(judged(two, INTERNET, "198.51.100.7", "icmp", size=1501))[:2] == ("there", "internet-gateway")




# ---- zones ----


def in_two_zones() -> CloudState:
    """near in zone a; far in zone b, where it has a public address."""
    cloud = with_node(a_cloud(LAB), "near", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"})
    return with_node(cloud, "far", "10.10.32.10", subnet="subnet-b", public={"10.10.32.10": "203.0.113.2"})


def test_a_failed_zone_stops_what_leaves_and_what_enters_it() -> None:
    cloud = replace(in_two_zones(), zone_failures={"us-west-2b": ZoneFailure("us-west-2b")})
    ways = (("far", "near", "leaves"), ("near", "far", "enters"), (INTERNET, "far", "enters"), ("far", INTERNET, "leaves"))
    for source, target, verb in ways:
        stopped = judged(cloud, source, target).stopped
        assert stopped is not None and (stopped.kind, stopped.id, stopped.way, stopped.code) == ("zone", "us-west-2b", "there", "")
        assert verb in stopped.reason
    assert judged(cloud, "near", INTERNET).reachable
    assert judged(replace(cloud, zone_failures={}), "near", "far").reachable


def test_what_is_set_between_zones_is_told_each_way_and_stops_only_where_all_is_lost() -> None:
    def between(loss: float, ms: float = 0.0) -> Explanation:
        link = ZoneLink(ZoneLinkSpec((), ms, loss))
        return judged(replace(in_two_zones(), zone_links={link.spec.id: link}), "near", "far")

    some = between(5, 3)
    assert some.reachable
    told = [(one.way, one.id, one.reason) for one in some.components if one.kind == "zone"]
    said = "5 % of packets are lost on purpose, 1.5 ms are added on purpose"
    assert told == [("there", "us-west-2a → us-west-2b", said), ("back", "us-west-2b → us-west-2a", said)]
    stopped = between(100).stopped
    assert stopped is not None and stopped.kind == "zone"
    assert not [one for one in judged(in_two_zones(), "near", "far").components if one.kind == "zone"]
