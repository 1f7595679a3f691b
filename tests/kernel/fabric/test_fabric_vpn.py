"""A network outside of AWS with real packets: both sides need a route, nothing is translated, nothing goes further, PMTU discovery works."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, entry, tcp, with_acl, with_group, with_node, with_subnet, with_table, with_vpc
from builders_vpn import OFFICE_VPN, VGW, propagating, with_interface, with_site, with_vgw, with_vpn
from fabric_world import World

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.fabric import tables
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import Peering, PeeringSide
from labnet.model.names import tunnel_link
from labnet.model.netstate import Addr, Route

pytestmark = pytest.mark.kernel
OFFICE, DB, SPARE = "192.168.0.0/16", "192.168.10.20", "192.168.10.21"
TUNNEL = tunnel_link(OFFICE_VPN)


def routed(cloud: CloudState, routes: dict[str, str], vpc_id: str = "vpc-1") -> CloudState:
    return with_table(cloud, f"rtb-{vpc_id}", vpc_id, routes, main=True)


def begin(world: World, cloud: CloudState) -> World:
    world.cloud = replace(world.cloud, sites=cloud.sites)
    world.fabric.begin(world.cloud)
    world.go(cloud)
    return world


def an_office(lab: str) -> CloudState:
    """VPC with node red, an office with two hosts behind a VPN, a static route to it."""
    cloud = with_node(with_site(a_cloud(lab), "office", OFFICE, DB, SPARE), "red", "10.10.0.10")
    cloud = with_vpn(with_vgw(cloud), "office", OFFICE)
    return routed(cloud, {"0.0.0.0/0": "igw-vpc-1", OFFICE: VGW})


@pytest.fixture
def office(world: World) -> World:
    return begin(world, an_office(world.lab))


def site(world: World, name: str = "") -> str:
    return f"{world.lab}-onprem" + (f".{name}" if name else "")


def vgw(world: World) -> str:
    return f"{world.lab}-vgw"


def test_both_ways_without_translation_and_the_gateway_is_a_hop(office: World) -> None:
    there, back = office.ping(office.node("red"), DB), office.ping(site(office), "10.10.0.10")
    assert there is not None and back is not None
    assert (there.source, there.ttl) == (DB, 63)
    assert (back.source, back.ttl) == ("10.10.0.10", 63)
    assert office.ping(office.node("red"), SPARE), "every host of the network"
    listening = office.listen(office.node("red"), 8080)
    assert office.connect(site(office), "10.10.0.10", 8080) is not None
    accepted, asker = listening.accept()
    accepted.close()
    assert asker[0] == DB, "the node sees the office's host itself, as its first address"
    expired = office.ping(office.node("red"), DB, ttl=1)
    assert expired is not None and (expired.type, expired.source) == (11, "169.254.77.1"), "AWS's end of the tunnel"


def test_a_route_is_needed_and_a_more_specific_one_wins(office: World) -> None:
    whole = office.cloud
    office.go(routed(whole, {"0.0.0.0/0": "igw-vpc-1"}))
    assert office.ping(office.node("red"), DB, silence=True) is None
    assert office.ping(site(office), "10.10.0.10", silence=True) is None, "the answer has no way back"
    office.go(routed(whole, {"0.0.0.0/0": "igw-vpc-1", "192.168.10.0/24": VGW}))
    assert office.ping(office.node("red"), DB)
    office.go(propagating(routed(whole, {}), "rtb-vpc-1", VGW))
    assert office.ping(office.node("red"), DB), "propagated"
    office.go(propagating(routed(whole, {OFFICE: "igw-vpc-1"}), "rtb-vpc-1", VGW))
    assert office.ping(office.node("red"), DB, silence=True) is None, "a static route goes before a propagated one"


def test_what_the_gateway_knows_no_way_to_is_dropped_and_counted(office: World) -> None:
    office.go(routed(office.cloud, {"192.0.0.0/8": VGW}))
    assert office.ping(office.node("red"), DB)
    before = office.dropped(tables.DROP_VGW_UNKNOWN, vgw(office))
    assert office.ping(office.node("red"), "192.0.2.10", silence=True) is None
    assert office.drops(before + 1, tables.DROP_VGW_UNKNOWN, vgw(office))
    assert office.ping(office.node("red"), "192.168.99.99", silence=True) is None, "nobody has it there"


def test_detached_or_deleted_there_is_no_way_and_attached_again_there_is(office: World) -> None:
    whole = office.cloud
    for broken in (with_vgw(whole, None), replace(whole, vpn_connections={}), with_site_moved(whole)):
        office.go(broken)
        assert office.ping(office.node("red"), DB, silence=True) is None
        with pytest.raises(OSError, match="Invalid argument"):  # the kernel's word for a blackhole
            office.ping(site(office), "10.10.0.10", silence=True)
        assert not [route for route in office.kernel.observe(site(office)).all(Route) if route.dst == "10.10.0.0/16"]
        office.go(whole)
        assert office.ping(office.node("red"), DB)
    assert office.kernel.exists(vgw(office))
    office.go(with_vgw(whole, None))
    assert not office.kernel.exists(vgw(office))


def with_site_moved(cloud: CloudState) -> CloudState:
    """The customer gateway has an address that no network's device has: its tunnels are down."""
    gateways = {key: replace(one, ip_address="192.0.2.99") for key, one in cloud.customer_gateways.items()}
    return replace(cloud, customer_gateways=gateways)


def test_no_way_through_to_the_internet_or_a_nat_gateway(office: World) -> None:
    netns = site(office)
    office.also(netns, Route("0.0.0.0/0", dev=TUNNEL, via="169.254.77.1", onlink=True))
    before = office.dropped(tables.DROP_VGW_TRANSIT, vgw(office))
    assert office.ping(netns, "8.8.8.8", src=DB, silence=True) is None
    assert office.drops(before + 1, tables.DROP_VGW_TRANSIT, vgw(office))


def test_no_way_through_to_a_peer_or_from_it(world: World) -> None:
    cloud = with_subnet(with_vpc(an_office(world.lab), "vpc-blue", "10.20.0.0/16", name="blue"), "subnet-blue", "vpc-blue", "10.20.0.0/24")
    cloud = with_node(cloud, "blue", "10.20.0.10", subnet="subnet-blue")
    pcx = "pcx-0000000000blue001"
    sides = (PeeringSide(vpc, cloud.account_id, cloud.region) for vpc in ("vpc-1", "vpc-blue"))
    cloud = replace(cloud, peerings={pcx: Peering(pcx, *sides, state="active")})
    cloud = routed(cloud, {"10.20.0.0/16": pcx, OFFICE: VGW})
    begin(world, routed(cloud, {"10.10.0.0/16": pcx, OFFICE: pcx}, "vpc-blue"))
    assert world.ping(world.node("blue"), "10.10.0.10")
    before = world.dropped(tables.DROP_TRANSIT)
    assert world.ping(world.node("blue"), DB, silence=True) is None
    assert world.drops(before + 1, tables.DROP_TRANSIT)
    world.also(site(world), Route("10.20.0.0/16", dev=TUNNEL, via="169.254.77.1", onlink=True))
    before = world.dropped(tables.DROP_VGW_TRANSIT, vgw(world))
    assert world.ping(site(world), "10.20.0.10", src=DB, silence=True) is None
    assert world.drops(before + 1, tables.DROP_VGW_TRANSIT, vgw(world))


def test_nobody_outside_has_an_address_of_the_vpc_and_nobody_inside_one_of_outside(office: World) -> None:
    office.also(site(office), Addr("lo", "10.10.0.77", 32))
    before = office.dropped(tables.DROP_VGW_SPOOFED, vgw(office))
    assert office.ping(site(office), "10.10.0.10", src="10.10.0.77", silence=True) is None
    assert office.drops(before + 1, tables.DROP_VGW_SPOOFED, vgw(office))
    office.go(with_node(office.cloud, "box", "10.10.0.66", check=False))
    office.also(office.node("box"), Addr("lo", "172.30.0.1", 32))
    before = office.dropped(tables.DROP_VGW_FOREIGN, vgw(office))
    assert office.ping(office.node("box"), DB, src="172.30.0.1", silence=True) is None
    assert office.drops(before + 1, tables.DROP_VGW_FOREIGN, vgw(office))


def test_the_routers_own_services_are_not_for_them(office: World) -> None:
    office.also(site(office), Route("169.254.169.0/24", dev=TUNNEL, via="169.254.77.1", onlink=True))
    before = office.dropped(tables.DROP_ROUTER)
    assert office.ping(site(office), "10.10.0.2", silence=True) is None
    assert office.drops(before + 1, tables.DROP_ROUTER)
    assert office.ping(site(office), "169.254.169.253", silence=True) is None


def test_groups_and_acls_judge_them_by_their_block(office: World) -> None:
    whole = office.cloud
    cloud = with_group(whole, "sg-web", ingress=(tcp(8080, cidr="192.168.10.20/32"),))
    office.go(with_node(cloud, "web", "10.10.0.11", groups=("sg-web",)))
    office.listen(office.node("web"), 8080)
    assert office.connect(site(office), "10.10.0.11", 8080) is not None
    before = office.dropped(tables.DROP_INGRESS)
    assert office.ping(site(office), "10.10.0.11", silence=True) is None
    assert office.ping(office.node("web"), DB), "what it asks itself is answered"
    assert office.drops(before + 1, tables.DROP_INGRESS)
    deny = with_acl(
        office.cloud, "acl-a", entry(90, "deny", cidr="192.168.10.0/24"), entry(100), entry(100, out=True), subnets=("subnet-a",)
    )
    office.go(deny)
    assert office.connect(site(office), "10.10.0.11", 8080, silence=True) is None


@pytest.mark.parametrize(("way", "mtu"), [("vpn", 1446), ("vif", 1500), ("jumbo", 8500)])
def test_what_is_too_big_is_said_so_and_fragments_otherwise(world: World, way: str, mtu: int) -> None:
    cloud = an_office(world.lab)
    if way != "vpn":
        cloud = with_interface(replace(cloud, vpn_connections={}), "office", mtu=mtu)
    begin(world, cloud)
    red = world.node("red")
    fits = world.ping(red, DB, size=mtu - 28, dont_fragment=True)
    assert fits is not None and fits.type == 0
    said = world.ping(red, DB, size=mtu - 27, dont_fragment=True)
    assert said is not None
    assert (said.type, said.code, said.mtu) == (3, 4, mtu)
    parts = world.ping(red, DB, size=8900)
    assert parts is not None and parts.source == DB
    listening = world.listen(site(world), 8080)
    client = world.connect(red, DB, 8080)
    assert client is not None
    client.sendall(bytes(60_000))
    server, _ = listening.accept()
    server.settimeout(5)
    got = len(server.recv(60_000, socket.MSG_WAITALL))
    server.close()
    assert got == 60_000, "TCP learns the size of the path"


def test_two_networks_one_by_a_line_of_its_own(world: World) -> None:
    cloud = with_site(an_office(world.lab), "plant", "172.20.0.0/16", "172.20.0.5", device="192.0.2.202")
    cloud = with_interface(cloud, "plant")
    begin(world, propagating(cloud, "rtb-vpc-1", VGW))
    assert world.ping(world.node("red"), "172.20.0.5")
    assert world.ping(world.node("red"), DB)
    world.also(site(world), Route("172.20.0.0/16", dev=TUNNEL, via="169.254.77.1", onlink=True))
    assert world.ping(site(world), "172.20.0.5", src=DB, silence=True) is None, "the gateway does not connect them"


def test_the_line_goes_before_the_vpn(world: World) -> None:
    cloud = with_interface(an_office(world.lab), "office", mtu=8500)
    begin(world, cloud)
    wide = world.ping(world.node("red"), DB, size=8000, dont_fragment=True)
    assert wide is not None and wide.type == 0, "Direct Connect is preferred"
    back = world.ping(site(world), "10.10.0.10", size=8000, dont_fragment=True)
    assert back is not None and back.type == 0
    world.go(replace(cloud, virtual_interfaces={}))
    narrow = world.ping(world.node("red"), DB, size=8000, dont_fragment=True)
    assert narrow is not None and (narrow.type, narrow.mtu) == (3, 1446)
    assert OFFICE_VPN in world.cloud.vpn_connections


def test_nothing_drifts_and_all_goes(office: World) -> None:
    for netns in (site(office), vgw(office), office.vpc):
        assert list(office.book.drift(netns)) == []
    empty = replace(CloudState(office.lab), sites=office.cloud.sites)
    office.go(empty)
    assert set(office.kernel.known) == {site(office)}


def test_one_network_and_two_vpcs(world: World) -> None:
    cloud = with_subnet(with_vpc(an_office(world.lab), "vpc-blue", "10.20.0.0/16", name="blue"), "subnet-blue", "vpc-blue", "10.20.0.0/24")
    cloud = with_node(cloud, "blue", "10.20.0.10", subnet="subnet-blue")
    second = "vgw-00000000000000002"
    cloud = with_vpn(
        with_vgw(cloud, "vpc-blue", second), "office", OFFICE, key="vpn-0000000000office2", gateway=second, inside="169.254.78.0/30"
    )
    begin(world, routed(cloud, {OFFICE: second, "10.10.0.0/16": second}, "vpc-blue"))
    assert world.ping(world.node("red"), DB)
    assert world.ping(world.node("blue"), DB)
    assert world.ping(site(world), "10.20.0.10")
    assert world.kernel.exists(f"{world.lab}-vgw.blue")
    before = world.dropped(tables.DROP_VGW_UNKNOWN, f"{world.lab}-vgw.blue")
    assert world.ping(world.node("blue"), "10.10.0.10", silence=True) is None, "a network outside is no way from VPC to VPC"
    assert world.dropped(tables.DROP_VGW_UNKNOWN, f"{world.lab}-vgw.blue") == before + 1


def test_a_private_way_out_of_a_nat_gateway(office: World) -> None:
    """What a NAT gateway sends to a network outside has its private address, and the answer comes back to it."""
    cloud = with_subnet(office.cloud, "subnet-n", "vpc-1", "10.10.64.0/24")
    context = Context(0.0, limits.load())
    cloud, made = execute(cloud, "AllocateAddress", {}, context)
    params = {"SubnetId": "subnet-n", "AllocationId": made["AllocationId"], "ClientToken": "n", "PrivateIpAddress": "10.10.64.9"}
    cloud, answer = execute(cloud, "CreateNatGateway", params, context)
    nat = answer["NatGateway"]["NatGatewayId"]
    cloud = with_table(cloud, "rtb-nat", "vpc-1", {OFFICE: VGW, "0.0.0.0/0": "igw-vpc-1"}, "subnet-n")
    office.go(routed(cloud, {OFFICE: nat}))
    listening = office.listen(site(office), 8080)
    client = office.connect(office.node("red"), DB, 8080)
    assert client is not None
    accepted, asker = listening.accept()
    accepted.close()
    assert asker[0] == "10.10.64.9"
    assert office.ping(site(office), "10.10.64.9", silence=True) is None, "a NAT gateway is for nobody outside"
    before = office.dropped(tables.DROP_NAT_INBOUND, f"{office.lab}-nat.{nat.removeprefix('nat-')}")
    assert before >= 1
