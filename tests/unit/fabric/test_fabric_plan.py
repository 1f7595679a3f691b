"""What the planners say, without a kernel: ports, addresses, prefixes, nodes, names, and that slices are independent."""

from __future__ import annotations

from dataclasses import replace

from builders_cloud import a_cloud, assigned, eni_mac, with_eni, with_node, with_subnet, with_vpc

from labnet.fabric import tables
from labnet.fabric.nodeos import plan_os
from labnet.fabric.places import igw_netns_of, namespaces, vpc_netns_of
from labnet.fabric.plan import plan_all, plan_vpc
from labnet.fabric.port import delivered, plan_eni, subnet_mark
from labnet.model.cloud import Attachment, Subnet
from labnet.model.names import eni_port
from labnet.model.netstate import Link, Neigh, NftElement, NftPortChain, Route, Slice, Sysctl, merged


def texts(part: Slice) -> list[str]:
    return [item.text for item in part.objects]


def test_a_port_reads_as_the_commands_that_would_make_it() -> None:
    cloud = with_eni(with_node(a_cloud(), "node1", "10.10.0.10"), "node1", 1, "10.10.0.11", "10.10.0.12", prefixes=("10.10.4.0/28",))
    (vpc, fabric), (node, far) = plan_eni(cloud, "eni-node1-1")
    port, mac = eni_port("eni-node1-1"), eni_mac("node1", 1)
    assert (vpc, node) == ("lnt-cloud-vpc", "lnt-cloud-node1")
    assert fabric.name == far.name == "eni:eni-node1-1"
    assert far.objects == (Link("eth1", mac, mtu_bytes=9001, made_by="peer"),)
    lines = texts(fabric)
    assert lines[0] == f"link {port} address {tables.ROUTER_MAC} type veth peer name eth1 netns {node} address {mac}"
    for line in (
        f"10.10.0.12 dev {port} scope link",
        f"10.10.0.12 dev {port} lladdr {mac} PERMANENT",
        f"10.10.4.0/28 via 10.10.0.11 dev {port} onlink",
        f"net.ipv4.conf.{port}.proxy_arp = 1",
        f"net.ipv4.neigh.{port}.proxy_delay = 0",
        f"net.ipv4.conf.{port}.send_redirects = 0",
        f"element ip vpc eni_address {{ {port} . 10.10.4.15 }}",
        f"element netdev vpc mapping {{ 0x00a0a000 . 10.10.0.12 : {mac} }}",
        f"element ip vpc port_router {{ {port} : 10.10.0.1 }}",
    ):
        assert line in lines


def test_a_prefix_costs_one_route_and_no_neighbour() -> None:
    cloud = with_node(a_cloud(), "node1", "10.10.0.10", prefixes=("10.10.4.0/28",))
    objects = plan_eni(cloud, "eni-node1-0")[0][1].objects
    assert len([item for item in objects if isinstance(item, Route)]) == 2
    assert [item.address for item in objects if isinstance(item, Neigh)] == ["10.10.0.10"]
    assert len(delivered(cloud.enis["eni-node1-0"])) == 17


def test_only_what_is_attached_to_a_living_instance_has_a_port() -> None:
    cloud = with_node(a_cloud(), "node1", "10.10.0.10")
    eni, instance = cloud.enis["eni-node1-0"], cloud.instances["i-node1"]
    assert plan_eni(cloud, eni.id)
    for attachment in (None, replace(eni.attachment or Attachment("", "", 0), status="detaching")):
        assert plan_eni(replace(cloud, enis={eni.id: replace(eni, attachment=attachment)}), eni.id) == ()
    assert plan_eni(replace(cloud, instances={instance.id: replace(instance, state="terminated")}), eni.id) == ()
    assert plan_eni(replace(cloud, instances={}), eni.id) == ()


def test_a_check_that_is_off_is_one_element_in_each_table() -> None:
    on = plan_eni(with_node(a_cloud(), "node1", "10.10.0.10"), "eni-node1-0")[0][1]
    off = plan_eni(with_node(a_cloud(), "node1", "10.10.0.10", check=False), "eni-node1-0")[0][1]
    more = set(off.objects) - set(on.objects)
    assert {item.text for item in more} == {f"element {family} vpc nocheck {{ {eni_port('eni-node1-0')} }}" for family in ("ip", "netdev")}


def test_an_address_more_changes_one_slice_by_six_objects() -> None:
    cloud = with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "node2", "10.10.0.20")
    before, after = plan_all(cloud), plan_all(assigned(cloud, "eni-node2-0", "10.10.0.21"))
    different = [(netns, one, two) for netns in before for one, two in zip(before[netns], after[netns], strict=True) if one != two]
    assert [(netns, one.name) for netns, one, _two in different] == [("lnt-cloud-vpc", "eni:eni-node2-0")]
    assert len(set(different[0][2].objects) - set(different[0][1].objects)) == 6


def test_no_rule_and_no_chain_per_eni_but_the_two_hooks() -> None:
    objects = plan_eni(with_node(a_cloud(), "node1", "10.10.0.10"), "eni-node1-0")[0][1].objects
    assert [(item.hook, item.jump) for item in objects if isinstance(item, NftPortChain)] == [("ingress", "in"), ("egress", "out")]
    assert not [item for item in objects if item.kind in ("rule", "iptables-rule", "nft-table")]


def test_the_tables_are_the_same_whatever_the_cloud_holds() -> None:
    """A change of the cloud is a change of elements: a table's body, loaded once by a program, never differs."""
    one, other = a_cloud(), with_subnet(with_vpc(a_cloud(), "vpc-2", "10.20.0.0/16"), "subnet-z", "vpc-2", "10.20.0.0/20")
    first, second = (plan_vpc(cloud, vpc)[1].objects for cloud, vpc in ((one, "vpc-1"), (other, "vpc-2")))
    assert {item for item in first if item.kind == "nft-table"} == {item for item in second if item.kind == "nft-table"} == set(tables.TABLES)


def test_the_vpc_writes_out_what_it_depends_on() -> None:
    """S13, S6, N4, and the addresses of the fabric itself."""
    lines = texts(plan_vpc(a_cloud(), "vpc-1")[1])
    for line in (
        "net.ipv4.ip_forward = 1", "net.ipv4.conf.all.rp_filter = 0", "net.ipv4.conf.default.rp_filter = 0",
        "net.ipv4.conf.all.send_redirects = 0", "net.ipv4.conf.default.send_redirects = 0", "net.ipv4.icmp_ratelimit = 0",
        "blackhole 10.10.0.0/16", "blackhole default metric 4294967295", "inet 10.10.0.1/32 scope global lo",
        "inet 10.10.32.1/32 scope global lo", "inet 169.254.169.254/32 scope global lo", "inet 169.254.169.200/32 scope global lo",
        "*mangle -A PREROUTING -m ttl --ttl-lt 255 -j TTL --ttl-inc 1",
    ):  # fmt: skip
        assert line in lines


def test_every_key_of_a_namespace_is_claimed_by_one_slice() -> None:
    cloud = with_node(a_cloud(), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"})
    cloud = with_node(with_eni(cloud, "node1", 1, "10.10.0.11"), "node2", "10.10.32.9", subnet="subnet-b", check=False)
    for netns, slices in plan_all(cloud).items():
        assert len(merged(slices).objects) == sum(len(part.objects) for part in slices), netns


def test_every_element_fits_the_declaration_of_its_set() -> None:
    cloud = with_node(a_cloud(), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.1"}, check=False)
    bodies = {(item.family, item.name): item.body for item in (*tables.TABLES, *tables.GATEWAY_TABLES)}
    seen = set()
    for slices in plan_all(cloud).values():
        for item in (item for part in slices for item in part.objects if isinstance(item, NftElement)):
            keys = " . ".join(item.types[: len(item.fields)])
            kind = f"map {item.set} {{ type {keys} : {item.types[-1]};" if item.value is not None else f"set {item.set} {{ type {keys};"
            declared = [line for line in bodies[item.family, item.table].splitlines() if line.strip().startswith(kind)]
            assert declared, kind
            assert item.ranges == ("interval" in declared[0] and len(item.fields) > 1)
            seen.add(item.set)
    assert seen >= {tables.ENI_ADDRESS, tables.MAPPING, tables.SG_INGRESS, tables.TO_PUBLIC, tables.VPC_CIDRS}


def test_subnets_have_numbers_of_28_bits_that_no_other_has() -> None:
    marks = [subnet_mark(Subnet("s", "v", cidr, "z")) for cidr in ("10.10.0.0/19", "10.10.32.0/19", "10.10.0.16/28", "255.255.255.240/28")]
    assert len(set(marks)) == 4
    assert max(marks) < 2**28


def test_the_node_is_as_dhcp_leaves_it() -> None:
    cloud = with_node(a_cloud(), "node1", "10.10.0.10")
    lines = texts(plan_os(cloud, cloud.instances["i-node1"], cloud.enis["eni-node1-0"], {"net.ipv4.ip_forward": "0"}))
    for line in (
        "link set eth0 mtu 9001", "link set eth0 up", "inet 10.10.0.10/19 brd 10.10.31.255 scope global eth0",
        "default via 10.10.0.1 dev eth0", "169.254.169.254 dev eth0 scope link", "net.ipv4.conf.eth0.rp_filter = 1",
    ):  # fmt: skip
        assert line in lines
    assert "net.ipv4.ip_forward = 0" in lines, "the scenario's word counts"
    assert len([line for line in lines if "ip_forward " in line]) == 1


def test_a_node_without_its_primary_eni_has_only_sysctls() -> None:
    cloud = replace(with_node(a_cloud(), "node1", "10.10.0.10"), enis={})
    assert {type(item) for item in plan_os(cloud, cloud.instances["i-node1"], None).objects} == {Sysctl}


def test_namespaces_and_their_names() -> None:
    cloud = with_node(with_vpc(a_cloud("lab"), "vpc-2", "10.20.0.0/16", name="blue"), "node1", "10.10.0.10")
    assert namespaces(cloud) == ("lab-vpc", "lab-igw", "lab-vpc.blue", "lab-igw.blue", "lab-internet", "lab-node1")
    assert namespaces(a_cloud("lab", igw=False)) == ("lab-vpc",)
    twice = with_vpc(with_vpc(a_cloud("lab"), "vpc-2", "10.20.0.0/16", name="blue"), "vpc-3", "10.30.0.0/16", name="blue")
    assert (vpc_netns_of(twice, "vpc-3"), igw_netns_of(twice, "vpc-3")) == ("lab-vpc.vpc-3", "lab-igw.vpc-3")
    terminated = replace(cloud, instances={"i-node1": replace(cloud.instances["i-node1"], state="terminated")})
    assert "lab-node1" not in namespaces(terminated)
