"""What EC2's objects say about addresses and routes, as a walk asks (pure). Source: docs/sources.md#route-tables"""

from __future__ import annotations

from labnet.ec2.rules.routes import is_active, ways
from labnet.ec2.rules.ways import Way, gateway_at, ways_of
from labnet.fabric.places import gateway_of, is_plugged
from labnet.fabric.vpn import ways_to
from labnet.model.addressing import contains, prefix_length, resolver_of
from labnet.model.cloud import CloudState, Eni, Subnet
from labnet.model.cloud_vpc import LOCAL, NatGateway, RouteTable, VpcRoute
from labnet.model.values import frozen

SERVICES = ("169.254.169.254", "169.254.169.200")
"""Link-local addresses of the VPC's own services, which no group and no ACL filters: metadata and the lab's EC2 API."""
RESOLVER = "169.254.169.253"


@frozen
class Choice:
    """What a subnet's route table says of a destination: `active` False = a blackhole; no `route` = there is none. `block` is the
    destination that fits, one of its list's where the route leads to a prefix list.
    """

    table: RouteTable | None
    route: VpcRoute | None = None
    active: bool = True
    block: str = ""

    @property
    def destination(self) -> str:
        """The route's destination in words: a block, and of which prefix list it is."""
        listed = self.route.prefix_list_id if self.route is not None else None
        return f"{self.block} of {listed}" if listed is not None else self.block


def is_service(cloud: CloudState, vpc_id: str, address: str) -> bool:
    """Is it a service of the VPC itself? The resolver is one while DNS resolution is on."""
    return address in SERVICES or (cloud.vpcs[vpc_id].dns_support and is_resolver(cloud, vpc_id, address))


def is_resolver(cloud: CloudState, vpc_id: str, address: str) -> bool:
    """Is it where the VPC's resolver answers while DNS resolution is on?"""
    return address in (RESOLVER, resolver_of(cloud.vpcs[vpc_id].cidrs[0]))


def table_of(cloud: CloudState, subnet: Subnet) -> RouteTable | None:
    """The subnet's own route table, else the main one of its VPC."""
    tables = [table for table in cloud.route_tables.values() if table.vpc_id == subnet.vpc_id]
    own = next((table for table in tables if any(one.subnet_id == subnet.id for one in table.associations)), None)
    return own or next((table for table in tables if table.is_main), None)


def choose(cloud: CloudState, subnet: Subnet, address: str) -> Choice:
    """The longest prefix of the subnet's table that holds the address."""
    table = table_of(cloud, subnet)
    found = ways(cloud, table) if table else {cidr: VpcRoute(cidr, LOCAL) for cidr in cloud.vpcs[subnet.vpc_id].cidrs}
    fitting = [block for block in found if contains(block, address)]
    if not fitting:
        return Choice(table)
    best = max(fitting, key=prefix_length)
    return Choice(table, found[best], table is None or is_active(cloud, table, found[best]), best)


def inside(cloud: CloudState, vpc_id: str, address: str) -> bool:
    """Is the address in one of the VPC's blocks?"""
    return any(contains(cidr, address) for cidr in cloud.vpcs[vpc_id].cidrs)


def owns(eni: Eni, address: str) -> bool:
    """Is the address one of the ENI's, or of its prefixes?"""
    return any(item.address == address for item in eni.addresses) or any(contains(prefix, address) for prefix in eni.prefixes)


def owner(cloud: CloudState, vpc_id: str, address: str) -> Eni | None:
    """The ENI of a VPC that has an address, plugged in or not."""
    return next((eni for eni in cloud.enis.values() if eni.vpc_id == vpc_id and owns(eni, address)), None)


def public_of(cloud: CloudState, vpc_id: str, private: str) -> str | None:
    """The public address of a private one, where its ENI is in use."""
    eni = owner(cloud, vpc_id, private)
    if eni is None or not (is_plugged(cloud, eni) or nat_of(cloud, eni)):
        return None
    return next((item.public for item in eni.addresses if item.address == private), None)


def private_of(cloud: CloudState, public: str) -> tuple[Eni, str] | None:
    """The ENI and its private address that have a public one."""
    for eni in cloud.enis.values():
        for item in eni.addresses:
            if item.public == public:
                return eni, item.address
    return None


def nat_of(cloud: CloudState, eni: Eni) -> NatGateway | None:
    """The NAT gateway whose ENI it is."""
    return next((nat for nat in cloud.nat_gateways.values() if nat.eni_id == eni.id and nat.state == "available"), None)


def has_gateway(cloud: CloudState, vpc_id: str) -> bool:
    """Has the VPC an internet gateway?"""
    return gateway_of(cloud, vpc_id) is not None


def way_out(cloud: CloudState, gateway_id: str, address: str) -> tuple[str, Way] | None:
    """The block and the way by which a virtual private gateway sends to an address: longest prefix, then the preferred one.

    A way with nobody at its other end is told only where no other one fits.
    """
    fitting = [
        (destination, way) for way in ways_of(cloud, gateway_id) for destination in way.destinations if contains(destination, address)
    ]
    up = [pair for pair in fitting if pair[1].site is not None]
    return max(up or fitting, key=lambda pair: prefix_length(pair[0]), default=None)


def way_in(cloud: CloudState, site: str, address: str) -> tuple[Way, str, str] | None:
    """The way by which a network outside sends to an address, with the gateway and the VPC at its other end."""
    found: tuple[int, Way, str] | None = None
    for way, vpc_id in ways_to(cloud, site):
        for cidr in cloud.vpcs[vpc_id].cidrs:
            if contains(cidr, address) and (found is None or prefix_length(cidr) > found[0]):
                found = prefix_length(cidr), way, vpc_id
    gateway = gateway_at(cloud, found[2]) if found is not None else None
    return None if found is None or gateway is None else (found[1], gateway.id, found[2])
