"""Small makers of CloudStates for tests: the cloud's dataclasses directly, no EC2 rules in between."""

from __future__ import annotations

from dataclasses import replace

from labnet.model.cloud import (
    Attachment,
    CloudState,
    Eni,
    Instance,
    InternetGateway,
    PrivateAddress,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from labnet.model.cloud_vpc import (
    AclAssociation,
    AclEntry,
    NetworkAcl,
    PrefixList,
    PrefixListEntry,
    RouteAssociation,
    RouteTable,
    VpcRoute,
)

ALL_IN = SecurityGroupRule("-1", cidr="0.0.0.0/0")
ALL_OUT = SecurityGroupRule("-1", cidr="0.0.0.0/0")


def tcp(first: int, last: int | None = None, cidr: str | None = "0.0.0.0/0", group: str | None = None) -> SecurityGroupRule:
    return SecurityGroupRule("tcp", first, first if last is None else last, None if group else cidr, group)


def a_cloud(lab: str = "lnt-cloud", cidr: str = "10.10.0.0/16", igw: bool = True) -> CloudState:
    """One VPC with two /19 subnets in two zones, one group `sg-open` that lets everything in and out, an internet gateway."""
    cloud = CloudState(lab)
    cloud = with_vpc(cloud, "vpc-1", cidr, igw=igw)
    base = cidr.split(".")[0] + "." + cidr.split(".")[1]
    cloud = with_subnet(cloud, "subnet-a", "vpc-1", f"{base}.0.0/19", "us-west-2a")
    return with_subnet(cloud, "subnet-b", "vpc-1", f"{base}.32.0/19", "us-west-2b")


def with_vpc(cloud: CloudState, vpc_id: str, *cidrs: str, igw: bool = True, name: str | None = None) -> CloudState:
    vpc = Vpc(vpc_id, cidrs, {"Name": name} if name else {})
    cloud = replace(cloud, vpcs={**cloud.vpcs, vpc_id: vpc})
    cloud = with_group(cloud, f"sg-open-{vpc_id}", vpc_id, (ALL_IN,), (ALL_OUT,))
    if igw:
        gateway = InternetGateway(f"igw-{vpc_id}", vpc_id)
        cloud = replace(cloud, internet_gateways={**cloud.internet_gateways, gateway.id: gateway})
    return with_table(cloud, f"rtb-{vpc_id}", vpc_id, {"0.0.0.0/0": f"igw-{vpc_id}"} if igw else {}, main=True)


def with_table(
    cloud: CloudState, table_id: str, vpc_id: str, routes: dict[str, str], *subnets: str, main: bool = False,
) -> CloudState:
    """A route table: destination → target; the subnets that name it."""
    users = (None, *subnets) if main else subnets
    associations = tuple(RouteAssociation(f"rtbassoc-{table_id}-{number}", user) for number, user in enumerate(users))
    table = RouteTable(table_id, vpc_id, tuple(VpcRoute(*route) for route in routes.items()), associations)
    return replace(cloud, route_tables={**cloud.route_tables, table_id: table})


def with_subnet(cloud: CloudState, subnet_id: str, vpc_id: str, cidr: str, zone: str = "us-west-2a") -> CloudState:
    return replace(cloud, subnets={**cloud.subnets, subnet_id: Subnet(subnet_id, vpc_id, cidr, zone)})


def with_group(
    cloud: CloudState,
    group_id: str,
    vpc_id: str = "vpc-1",
    ingress: tuple[SecurityGroupRule, ...] = (),
    egress: tuple[SecurityGroupRule, ...] = (ALL_OUT,),
) -> CloudState:
    group = SecurityGroup(group_id, group_id, vpc_id, "", ingress, egress)
    return replace(cloud, security_groups={**cloud.security_groups, group_id: group})


def with_node(cloud: CloudState, name: str, address: str, *, subnet: str = "subnet-a", **eni: object) -> CloudState:
    """An instance `i-NAME` whose tag Name is `name`, with its primary ENI `eni-NAME-0`."""
    where = cloud.subnets[subnet]
    instance = Instance(f"i-{name}", "t3.nano", "ami-1", where.vpc_id, subnet, where.availability_zone, tags={"Name": name}, node_name=name)
    cloud = replace(cloud, instances={**cloud.instances, instance.id: instance})
    return with_eni(cloud, name, 0, address, subnet=subnet, **eni)


def eni_id(node: str, index: int) -> str:
    return f"eni-{node}-{index}"


def eni_mac(node: str, index: int) -> str:
    number = sum(ord(letter) * 31**place for place, letter in enumerate(node)) & 0xFFFFFFFF
    return f"02:{number >> 24:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}:{index:02x}"


def with_eni(
    cloud: CloudState,
    node: str,
    index: int,
    *addresses: str,
    subnet: str = "subnet-a",
    prefixes: tuple[str, ...] = (),
    groups: tuple[str, ...] | None = None,
    check: bool = True,
    public: dict[str, str] | None = None,
    attached: bool = True,
) -> CloudState:
    """An ENI `eni-NODE-INDEX` on a node; `public` maps private to public addresses."""
    where = cloud.subnets[subnet]
    key = eni_id(node, index)
    eni = Eni(
        key,
        where.vpc_id,
        subnet,
        where.availability_zone,
        eni_mac(node, index),
        tuple(PrivateAddress(address, place == 0, (public or {}).get(address)) for place, address in enumerate(addresses)),
        prefixes,
        (f"sg-open-{where.vpc_id}",) if groups is None else groups,
        check,
        Attachment(f"eni-attach-{node}-{index}", f"i-{node}", index) if attached else None,
    )
    return replace(cloud, enis={**cloud.enis, key: eni})


def changed(cloud: CloudState, key: str, **fields: object) -> CloudState:
    """The cloud with some fields of one ENI changed."""
    return replace(cloud, enis={**cloud.enis, key: replace(cloud.enis[key], **fields)})


def assigned(cloud: CloudState, key: str, *addresses: str) -> CloudState:
    """Secondary private addresses added to an ENI."""
    eni = cloud.enis[key]
    return changed(cloud, key, addresses=(*eni.addresses, *(PrivateAddress(address) for address in addresses)))


def unassigned(cloud: CloudState, key: str, *addresses: str) -> CloudState:
    """Private addresses taken from an ENI."""
    eni = cloud.enis[key]
    return changed(cloud, key, addresses=tuple(item for item in eni.addresses if item.address not in addresses))


def associated(cloud: CloudState, key: str, address: str, public: str | None) -> CloudState:
    """One private address of an ENI with another public one, or none."""
    eni = cloud.enis[key]
    return changed(cloud, key, addresses=tuple(replace(item, public=public) if item.address == address else item for item in eni.addresses))


def terminated(cloud: CloudState, node: str) -> CloudState:
    """An instance terminated, its ENIs deleted."""
    instance = cloud.instances[f"i-{node}"]
    enis = {key: eni for key, eni in cloud.enis.items() if not (eni.attachment and eni.attachment.instance_id == instance.id)}
    return replace(cloud, instances={**cloud.instances, instance.id: replace(instance, state="terminated")}, enis=enis)


def with_acl(cloud: CloudState, key: str, *entries: AclEntry, subnets: tuple[str, ...] = (), vpc_id: str = "vpc-1") -> CloudState:
    """A network ACL that filters some subnets, which no other ACL filters then."""
    acls = {
        one.id: replace(one, associations=tuple(it for it in one.associations if it.subnet_id not in subnets))
        for one in cloud.network_acls.values() if one.id != key
    }  # fmt: skip
    acl = NetworkAcl(key, vpc_id, entries=entries, associations=tuple(AclAssociation(f"aclassoc-{key}-{one}", one) for one in subnets))
    return replace(cloud, network_acls={**acls, key: acl})


def entry(number: int, action: str = "allow", *, out: bool = False, protocol: str = "-1", cidr: str = "0.0.0.0/0", **more: int) -> AclEntry:
    """An inbound entry of an ACL, or an outbound one."""
    return AclEntry(number, out, protocol, action, cidr, **more)  # type: ignore[arg-type]  # the word and the numbers as tests write them


def with_prefix_list(cloud: CloudState, key: str, *cidrs: str) -> CloudState:
    """A managed prefix list with these blocks."""
    item = PrefixList(key, key, 100, (tuple(PrefixListEntry(cidr) for cidr in cidrs),))
    return replace(cloud, prefix_lists={**cloud.prefix_lists, key: item})
