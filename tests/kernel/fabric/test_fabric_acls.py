"""Network ACLs with real packets: at the border of a subnet only, each packet by itself, lowest number first."""

from __future__ import annotations

import random
import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from builders_cloud import a_cloud, changed, entry, with_acl, with_eni, with_group, with_node, with_subnet, with_table, with_vpc
from fabric_world import World

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.fabric import tables
from labnet.fabric.acls import drop_comment
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import AclEntry, Peering, PeeringSide
from labnet.model.names import eni_port
from labnet.model.netstate import Addr, NftElement, NftTable, Route, Rule, Slice
from labnet.model.packet import Path
from labnet.trace.load import observed_world
from labnet.trace.render.text import verdict
from labnet.trace.run import Patience, TraceRequest, trace
from labnet.trace.world import Role, wires_of

pytestmark = pytest.mark.kernel

OPEN = (entry(100), entry(100, out=True))
PUBLIC = "203.0.113.10"
PEERING = "pcx-0000000000blue001"
OUT, IN = True, False


def two_subnets(world: World) -> CloudState:
    """near and beside in subnet-a, far in subnet-b."""
    cloud = with_node(with_node(a_cloud(world.lab), "near", "10.10.0.10", public={"10.10.0.10": PUBLIC}), "beside", "10.10.0.11")
    return with_node(cloud, "far", "10.10.32.10", subnet="subnet-b")


def counted(world: World, acl: str, number: int | str, egress: bool) -> int:
    return world.dropped(drop_comment(acl, number, egress=egress))


def udp(world: World, node: str, address: str, port: int) -> socket.socket:
    sock = world.socket(world.node(node), socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(2)
    return sock


def test_an_acl_without_entries_lets_nothing_over_the_border_and_all_pass_inside(world: World) -> None:
    world.go(with_acl(two_subnets(world), "acl-x", subnets=("subnet-a",)))
    assert world.ping(world.node("near"), "10.10.0.11"), "inside the subnet nobody looks"
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    assert counted(world, "acl-x", "*", OUT) == 1
    assert world.ping(world.node("far"), "10.10.0.10", silence=True) is None
    assert counted(world, "acl-x", "*", IN) == 1
    assert world.ping(world.node("near"), "8.8.8.8", silence=True) is None, "nor to the internet gateway"
    assert counted(world, "acl-x", "*", OUT) == 2


def test_what_the_router_itself_answers_crosses_no_border(world: World) -> None:
    world.go(with_acl(two_subnets(world), "acl-x", subnets=("subnet-a",)))
    world.listen(world.vpc, 80, tables.IMDS_ADDRESS)
    assert world.connect(world.node("near"), tables.IMDS_ADDRESS, 80)


def test_the_lowest_number_decides(world: World) -> None:
    world.go(with_acl(two_subnets(world), "acl-x", *OPEN, entry(90, "deny", protocol="1", icmp_type=8, icmp_code=0), subnets=("subnet-a",)))
    assert world.ping(world.node("far"), "10.10.0.10", silence=True) is None
    assert counted(world, "acl-x", 90, IN) == 1
    assert world.ping(world.node("near"), "10.10.32.10"), "an echo reply is type 0"
    later = with_acl(world.cloud, "acl-x", *OPEN, entry(110, "deny", protocol="1", icmp_type=8, icmp_code=0), subnets=("subnet-a",))
    world.go(later)
    assert world.ping(world.node("far"), "10.10.0.10"), "100 comes before 110"


def test_stateless_the_answer_needs_an_entry_of_its_own(world: World) -> None:
    web = entry(100, protocol="6", from_port=80, to_port=80)
    world.go(with_acl(two_subnets(world), "acl-x", web, subnets=("subnet-a",)))
    world.listen(world.node("near"), 80)
    assert world.connect(world.node("far"), "10.10.0.10", 80, silence=True) is None
    assert counted(world, "acl-x", "*", IN) == 0, "the request came in"
    assert counted(world, "acl-x", "*", OUT) >= 1, "its answer did not get out"
    ephemeral = entry(100, out=True, protocol="6", from_port=1024, to_port=65535)
    world.go(with_acl(world.cloud, "acl-x", web, ephemeral, subnets=("subnet-a",)))
    assert world.connect(world.node("far"), "10.10.0.10", 80)
    assert world.connect(world.node("near"), "10.10.32.10", 80, silence=True) is None, "port 80 is below 1024"


def test_a_change_counts_for_flows_under_way_and_ends_with_the_change(world: World) -> None:
    world.go(two_subnets(world))
    server, client = udp(world, "near", "10.10.0.10", 53), udp(world, "far", "10.10.32.10", 5000)
    for data in (b"1", b"2"):
        client.sendto(data, ("10.10.0.10", 53))
        assert server.recvfrom(10)[0] == data
        server.sendto(data, ("10.10.32.10", 5000))
        assert client.recvfrom(10)[0] == data, "an established flow"
    world.go(with_acl(world.cloud, "acl-x", *OPEN, entry(1, "deny", protocol="17", from_port=53, to_port=53), subnets=("subnet-a",)))
    client.sendto(b"3", ("10.10.0.10", 53))
    assert counted(world, "acl-x", 1, IN) == 1
    server.sendto(b"4", ("10.10.32.10", 5000))
    assert client.recvfrom(10)[0] == b"4", "the other direction is judged by itself"
    world.go(with_acl(world.cloud, "acl-x", *OPEN, subnets=("subnet-a",)))
    client.sendto(b"5", ("10.10.0.10", 53))
    assert server.recvfrom(10)[0] == b"5"


def test_an_association_moves_one_subnet_and_no_other(world: World) -> None:
    cloud = with_acl(two_subnets(world), "acl-open", *OPEN, subnets=("subnet-a", "subnet-b"))
    world.go(with_acl(cloud, "acl-shut"))
    assert world.ping(world.node("near"), "10.10.32.10")
    assert not [item for item in world.kernel.observe(world.vpc).all(NftTable) if item.name == "acl"], "who refuses nothing costs nothing"
    world.go(with_acl(world.cloud, "acl-shut", subnets=("subnet-b",)))
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    assert counted(world, "acl-shut", "*", IN) == 1
    assert world.ping(world.node("near"), "8.8.8.8"), "subnet-a keeps its own"
    world.go(with_acl(world.cloud, "acl-open", *OPEN, subnets=("subnet-a", "subnet-b")))
    assert world.ping(world.node("near"), "10.10.32.10")
    assert world.book.drift(world.vpc) == ()


def test_an_eni_is_filtered_by_its_own_subnet_also_when_it_comes_later(world: World) -> None:
    world.go(with_acl(two_subnets(world), "acl-x", *OPEN, entry(1, "deny", protocol="1", icmp_type=-1, icmp_code=-1), subnets=("subnet-b",)))
    world.go(with_node(world.cloud, "late", "10.10.32.11", subnet="subnet-b"))
    assert world.ping(world.node("near"), "10.10.32.11", silence=True) is None
    assert world.ping(world.node("far"), "10.10.32.11")
    assert world.book.drift(world.vpc) == ()


def test_at_the_internet_gateway_both_ways(world: World) -> None:
    no_ping_in = entry(1, "deny", protocol="1", icmp_type=8, icmp_code=-1, cidr="8.8.8.8/32")
    world.go(with_acl(two_subnets(world), "acl-x", *OPEN, no_ping_in, subnets=("subnet-a",)))
    internet = f"{world.lab}-internet"
    assert world.ping(world.node("near"), "8.8.8.8")
    assert world.ping(internet, PUBLIC, src="8.8.8.8", silence=True) is None, "judged by the address of the Internet"
    assert world.ping(internet, PUBLIC, src="1.1.1.1")
    world.go(with_acl(world.cloud, "acl-x", *OPEN, entry(1, "deny", out=True, cidr="8.8.8.0/24"), subnets=("subnet-a",)))
    assert world.ping(internet, PUBLIC, src="8.8.8.8", silence=True) is None, "the answer does not leave"
    assert counted(world, "acl-x", 1, OUT) == 1


@pytest.mark.parametrize("ttl", [64, 255])
def test_every_ttl(world: World, ttl: int) -> None:
    """A packet that arrived with TTL 255 carries a bit of its own in its mark."""
    no_ping = entry(7, "deny", out=True, protocol="1", icmp_type=8, icmp_code=-1)
    world.go(with_acl(two_subnets(world), "acl-x", entry(5), no_ping, subnets=("subnet-a",)))
    assert world.ping(world.node("near"), "10.10.32.10", ttl=ttl, silence=True) is None
    assert counted(world, "acl-x", 7, OUT) == 1
    assert world.ping(world.node("near"), "10.10.0.11", ttl=ttl)


def test_a_way_through_a_middlebox_crosses_the_border_at_each_leg(world: World) -> None:
    """near → box is inside subnet-a, box → far leaves it: the ACL looks once."""
    cloud = with_node(two_subnets(world), "box", "10.10.0.30", check=False)
    world.go(with_acl(cloud, "acl-x", entry(100), entry(90, "deny", out=True, cidr="10.10.32.0/19"), subnets=("subnet-a",)))
    port = eni_port("eni-box-0")
    world.book.set([(world.vpc, Slice("test", (
        Route("10.10.32.10/32", dev=port, via="10.10.0.30", onlink=True, table=99), Rule(100, 99, iif=eni_port("eni-near-0")),
    )))])  # fmt: skip
    seen = world.raw(world.node("box"), "eth0", 0x0800)
    assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
    assert seen.recv(2000), "it reached the middlebox"
    assert counted(world, "acl-x", 90, OUT) == 1


def api(world: World, name: str, **params: object) -> dict[str, Any]:
    """An EC2 request whose outcome the fabric follows."""
    state, answer = execute(world.cloud, name, params, Context(0.0, limits.load()))
    world.go(state)
    return answer


def test_what_the_api_says_holds_with_its_answer(world: World) -> None:
    """Made, associated, filled, emptied: each request is felt by the next packet."""
    world.go(with_acl(two_subnets(world), "acl-open", *OPEN, subnets=("subnet-a", "subnet-b")))
    acl = api(world, "CreateNetworkAcl", VpcId="vpc-1")["NetworkAcl"]["NetworkAclId"]
    assert world.ping(world.node("far"), "10.10.0.10")
    api(world, "ReplaceNetworkAclAssociation", AssociationId="aclassoc-acl-open-subnet-a", NetworkAclId=acl)
    assert world.ping(world.node("far"), "10.10.0.10", silence=True) is None
    every = {"NetworkAclId": acl, "Protocol": "-1", "CidrBlock": "0.0.0.0/0"}
    for egress in (True, False):
        api(world, "CreateNetworkAclEntry", **every, RuleNumber=7, RuleAction="allow", Egress=egress)
    assert world.ping(world.node("far"), "10.10.0.10")
    api(world, "ReplaceNetworkAclEntry", **every, RuleNumber=7, RuleAction="deny", Egress=False)
    assert world.ping(world.node("far"), "10.10.0.10", silence=True) is None
    assert counted(world, acl, 7, IN) == 1
    api(world, "DeleteNetworkAclEntry", NetworkAclId=acl, RuleNumber=7, Egress=False)
    assert world.ping(world.node("far"), "10.10.0.10", silence=True) is None
    assert counted(world, acl, "*", IN) == 1


def test_behind_a_nat_gateway_each_border_on_the_way_counts(world: World) -> None:
    """far → NAT gateway in subnet-a → Internet: out of b, into a, out of a; and the same back."""
    world.go(two_subnets(world))
    nat = api(world, "CreateNatGateway", SubnetId="subnet-a", AllocationId=api(world, "AllocateAddress")["AllocationId"])["NatGateway"]
    table = api(world, "CreateRouteTable", VpcId="vpc-1")["RouteTable"]["RouteTableId"]
    api(world, "AssociateRouteTable", RouteTableId=table, SubnetId="subnet-b")
    api(world, "CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat["NatGatewayId"])
    far = world.node("far")
    assert world.ping(far, "8.8.8.8")
    world.go(with_acl(world.cloud, "acl-b", *OPEN, entry(90, "deny", out=True, cidr="8.8.8.8/32"), subnets=("subnet-b",)))
    assert world.ping(far, "8.8.8.8", silence=True) is None
    assert counted(world, "acl-b", 90, OUT) == 1
    assert world.ping(far, "1.1.1.1")
    no_answers = entry(90, "deny", protocol="1", icmp_type=0, icmp_code=-1, cidr="1.1.1.1/32")
    world.go(with_acl(world.cloud, "acl-a", *OPEN, no_answers, subnets=("subnet-a",)))
    assert world.ping(far, "1.1.1.1", silence=True) is None
    assert counted(world, "acl-a", 90, IN) == 1, "the answer to the gateway's own address comes into its subnet"
    world.go(with_acl(world.cloud, "acl-a", *OPEN, entry(90, "deny", cidr="10.10.32.0/19"), subnets=("subnet-a",)))
    assert world.ping(far, "1.1.1.1", silence=True) is None
    assert counted(world, "acl-a", 90, IN) == 1, "and the question enters it with its private source"


def test_over_a_peering_the_acls_of_both_subnets_count(world: World) -> None:
    cloud = with_subnet(with_vpc(two_subnets(world), "vpc-blue", "10.20.0.0/16", name="blue"), "subnet-blue", "vpc-blue", "10.20.0.0/24")
    cloud = with_node(cloud, "blue", "10.20.0.10", subnet="subnet-blue")
    sides = (PeeringSide(vpc, cloud.account_id, cloud.region) for vpc in ("vpc-1", "vpc-blue"))
    cloud = replace(cloud, peerings={PEERING: Peering(PEERING, *sides, state="active")})
    cloud = with_table(cloud, "rtb-vpc-1", "vpc-1", {"10.20.0.0/16": PEERING}, main=True)
    world.go(with_table(cloud, "rtb-vpc-blue", "vpc-blue", {"10.10.0.0/16": PEERING}, main=True))
    assert world.ping(world.node("near"), "10.20.0.10")
    world.go(with_acl(world.cloud, "acl-blue", *OPEN, entry(5, "deny", cidr="10.10.0.10/32"), subnets=("subnet-blue",), vpc_id="vpc-blue"))
    assert world.ping(world.node("near"), "10.20.0.10", silence=True) is None
    assert world.kernel.counters(f"{world.lab}-vpc.blue")[drop_comment("acl-blue", 5, egress=False)] == 1
    assert world.ping(world.node("far"), "10.20.0.10")
    world.go(with_acl(world.cloud, "acl-x", entry(100), subnets=("subnet-b",)))
    assert world.ping(world.node("far"), "10.20.0.10", silence=True) is None
    assert counted(world, "acl-x", "*", OUT) == 1


# ---- beside security groups -----------------------------------------------------------------------------------------------


def test_between_the_gates_of_security_groups(world: World) -> None:
    """Sender's groups, outbound ACL, inbound ACL, receiver's groups: the first that refuses is the one that counts."""
    cloud = with_group(with_group(two_subnets(world), "sg-mute", egress=()), "sg-deaf")
    cloud = with_acl(cloud, "acl-out", entry(100), subnets=("subnet-a",))
    cloud = with_acl(cloud, "acl-in", entry(100, out=True), subnets=("subnet-b",))
    cloud = changed(cloud, "eni-near-0", security_groups=("sg-mute",))
    world.go(changed(cloud, "eni-far-0", security_groups=("sg-deaf",)))
    wanted = [tables.DROP_EGRESS, drop_comment("acl-out", "*", egress=True), drop_comment("acl-in", "*", egress=False), tables.DROP_INGRESS]
    cures = [
        lambda cloud: changed(cloud, "eni-near-0", security_groups=("sg-open-vpc-1",)),
        lambda cloud: with_acl(cloud, "acl-out", *OPEN, subnets=("subnet-a",)),
        lambda cloud: with_acl(cloud, "acl-in", *OPEN, subnets=("subnet-b",)),
        lambda cloud: changed(cloud, "eni-far-0", security_groups=("sg-open-vpc-1",)),
    ]
    for comment, cure in zip(wanted, cures, strict=True):
        before = world.kernel.counters(world.vpc)
        assert world.ping(world.node("near"), "10.10.32.10", silence=True) is None
        moved = {name for name, packets in world.kernel.counters(world.vpc).items() if packets > before.get(name, 0)} - {tables.DROP_PROTOCOL}
        assert moved == {comment}
        assert traced(world, "near", "10.10.32.10") == comment
        world.go(cure(world.cloud))
    assert world.ping(world.node("near"), "10.10.32.10")


def test_a_trace_tells_that_the_answer_was_lost_and_where(world: World) -> None:
    web = entry(100, protocol="6", from_port=80, to_port=80)
    world.go(with_acl(two_subnets(world), "acl-x", web, subnets=("subnet-a",)))
    world.listen(world.node("near"), 80)
    path = followed(world, "far", "10.10.0.10", protocol="tcp", port=80)
    assert path.delivered and path.drop is None and path.answer == "lost"
    assert path.answer_drop is not None
    assert (path.answer_drop.check, path.answer_drop.counter) == ("acl", drop_comment("acl-x", "*", egress=True))
    assert verdict(path).startswith("delivered; its answer was dropped: acl: ")
    world.go(with_acl(world.cloud, "acl-x", web, entry(100, out=True), subnets=("subnet-a",)))
    path = followed(world, "far", "10.10.0.10", protocol="tcp", port=80)
    assert (path.delivered, path.answer, path.answer_drop, verdict(path)) == (True, "arrived", None, "delivered")


def followed(world: World, node: str, target: str, **fields: object) -> Path:
    """A trace through the fabric as it is claimed."""
    roles: dict[str, Role] = dict.fromkeys(world.kernel.known, "node")
    roles |= {world.vpc: "vpc", f"{world.lab}-igw": "igw", f"{world.lab}-internet": "internet"}
    wires = wires_of((netns, world.book.desired(netns)) for netns in roles)
    request = replace(TraceRequest(world.node(node), node, target, target), **fields)  # type: ignore[arg-type]  # fields by name
    patience = Patience(arrival_s=2.0, answer_s=0.3)
    return trace(world.kernel, lambda: observed_world(world.kernel, roles, wires, {}), request, patience).path


def traced(world: World, node: str, target: str) -> str:
    """The counter that a trace names for a packet that is dropped."""
    path = followed(world, node, target)
    assert path.drop is not None and not path.delivered
    assert f"counter {path.drop.counter!r} in {world.vpc}: +1" in path.notes
    if "ACL" in path.drop.counter:
        assert path.drop.check == "acl" and path.drop.counter in path.drop.text
    return path.drop.counter


def test_a_packet_that_an_acl_dropped_leaves_no_trace_in_connection_tracking(world: World) -> None:
    """Else the way back would be `established` without any rule that allows it."""
    cloud = with_group(two_subnets(world), "sg-deaf")
    cloud = changed(cloud, "eni-near-0", security_groups=("sg-deaf",))
    world.go(with_acl(cloud, "acl-x", entry(100), subnets=("subnet-a",)))
    near, far = udp(world, "near", "10.10.0.10", 5000), udp(world, "far", "10.10.32.10", 53)
    near.sendto(b"1", ("10.10.32.10", 53))
    assert counted(world, "acl-x", "*", OUT) == 1
    far.sendto(b"2", ("10.10.0.10", 5000))
    assert world.dropped(tables.DROP_INGRESS) == 1


# ---- against an oracle ----------------------------------------------------------------------------------------------------


def random_entries(chance: random.Random) -> list[AclEntry]:
    found = []
    for number in sorted(chance.sample(range(1, 200), 8)):
        protocol = chance.choice(["-1", "17", "17", "17", "6", "47"])
        low = chance.randrange(1000, 1012)
        ports = {"from_port": low, "to_port": low + chance.randrange(4)} if protocol in ("17", "6") else {}
        cidr = chance.choice(["0.0.0.0/0", "10.10.32.0/19", "10.10.32.10/32", "10.10.32.11/32", "10.10.32.10/31", "192.0.2.0/24"])
        if protocol == "-1":
            cidr = "10.10.32.11/32"
        found.append(entry(number, chance.choice(["allow", "deny"]), protocol=protocol, cidr=cidr, **ports))
    return found


def deciding(entries: list[AclEntry], source: str, port: int) -> tuple[str, int | str]:
    """What AWS's words say of a UDP packet: the first entry that fits, by number; else deny."""
    for one in sorted(entries, key=lambda it: it.number):
        fits = IPv4Address(source) in IPv4Network(one.cidr) and one.protocol in ("-1", "17")
        if fits and (one.from_port is None or one.to_port is None or one.from_port <= port <= one.to_port):
            return one.action, one.number
    return "deny", "*"


@pytest.mark.parametrize("seed", range(6))
def test_random_entries_decide_as_first_match_says(world: World, seed: int) -> None:
    chance = random.Random(seed)
    cloud = with_eni(two_subnets(world), "far", 0, "10.10.32.10", "10.10.32.11", subnet="subnet-b")
    entries = random_entries(chance)
    chance.shuffle(entries)  # the order of the state says nothing, the numbers do
    world.go(with_acl(cloud, "acl-x", *entries, entry(100, out=True), subnets=("subnet-a",)))
    world.also(world.node("far"), Addr("eth0", "10.10.32.11", 19))
    wanted: dict[int | str, int] = {}
    arriving = set()
    servers = [udp(world, "near", "10.10.0.10", port) for port in range(1000, 1016)]
    for source in ("10.10.32.10", "10.10.32.11"):
        sender = world.socket(world.node("far"), socket.SOCK_DGRAM)
        sender.bind((source, 0))
        for port in range(1000, 1016):
            action, number = deciding(entries, source, port)
            if action == "deny":
                wanted[number] = wanted.get(number, 0) + 1
            else:
                arriving.add((source, port))
            sender.sendto(b"x", ("10.10.0.10", port))
    came = set()
    for server in servers:
        port = server.getsockname()[1]
        came |= {(server.recvfrom(10)[1][0], port) for _ in [one for one in arriving if one[1] == port]}
    assert came == arriving
    counts = {number: counted(world, "acl-x", number, IN) for number in [one.number for one in entries] + ["*"]}
    assert {number: packets for number, packets in counts.items() if packets} == wanted


# ---- size -----------------------------------------------------------------------------------------------------------------


def test_nothing_grows_with_enis_but_two_elements_each(world: World) -> None:
    cloud = with_acl(two_subnets(world), "acl-x", *OPEN, entry(1, "deny", cidr="192.0.2.0/24"), subnets=("subnet-a", "subnet-b"))
    world.go(cloud)
    (before,) = [item for item in world.kernel.observe(world.vpc).all(NftTable) if item.name == "acl"]
    for number in range(20):
        cloud = with_node(cloud, f"n{number}", f"10.10.1.{number + 4}")
    world.go(cloud)
    state = world.kernel.observe(world.vpc)
    assert [item for item in state.all(NftTable) if item.name == "acl"] == [before]
    assert len([item for item in state.all(NftElement) if item.set.startswith("border_")]) == 2 * 23
    told: list[object] = []
    world.book.on_change = lambda netns, name, change: told.append(change.object)
    acl = world.cloud.network_acls["acl-x"]
    world.go(replace(world.cloud, network_acls={"acl-x": replace(acl, entries=(*acl.entries[:-1], entry(2, "deny", cidr="192.0.2.0/24")))}))
    assert [type(item) for item in told] == [NftTable], "one table, in one transaction"
