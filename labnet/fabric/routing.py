"""Route tables as policy routing (pure): one kernel table for each, chosen by a mark that follows from the sender's subnet.

::

    nft add element netdev vpc subnet_table { SUBNET : N }        which table a subnet uses (and bits: tables.SUBNET_TABLE)
    ip rule add priority 1000 fwmark N/0x1fffffff lookup N        one a table, never one an ENI
    ip route add throw CIDR table N                               the local route: go on in main, where each address has a /32
    ip route add 0.0.0.0/0 via … dev … onlink table N             a route to a gateway or an ENI
    ip route add blackhole DESTINATION table N                    a route whose target is gone
    ip route add blackhole default metric 4294967295 table N      no route: silence

Within a table the longest prefix wins, a local route like any other. A route to a prefix list is one to each block that the list
holds; of equal ones a route of its own wins. What comes from gateways and peers carries no mark and sees main alone: the VPC's
addresses. So does a frame that is addressed to a neighbour's own MAC: it never meets the router.
Source: docs/sources.md#routing-in-the-fabric
"""

from __future__ import annotations

from collections.abc import Iterator

from labnet.ec2.rules.routes import is_active, ways
from labnet.errors import LabnetError
from labnet.fabric import tables
from labnet.fabric.acls import filters_any
from labnet.fabric.gateway import AT_GATEWAY, VPC_PORT, silence
from labnet.fabric.peering import address_beyond, is_linked
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.port import subnet_mark
from labnet.fabric.security import mark_text
from labnet.fabric.vpn import AT_GATEWAY as AT_VGW
from labnet.fabric.vpn import VPC_PORT as VGW_PORT
from labnet.fabric.zones import tells_zones_apart
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import LOCAL, RouteTable, VpcRoute
from labnet.model.names import digest, eni_port, nat_port, peering_port
from labnet.model.netstate import KernelObject, NftElement, Route, Rule, Slice

SLICE = "routes"
PRIORITY = 1000
KERNELS_OWN = 256
"""Below are tables that have names or that the kernel keeps."""


def table_number(table_id: str) -> int:
    """The kernel's number of a route table and its mark, 256 to 2²⁹-1: it follows from the id alone."""
    return max(KERNELS_OWN, int.from_bytes(digest("route table", table_id)[:4], "big") & tables.MARK_MASK)


def tables_of(cloud: CloudState, vpc_id: str) -> tuple[RouteTable, ...]:
    """The route tables of a VPC."""
    return tuple(table for table in cloud.route_tables.values() if table.vpc_id == vpc_id)


def plan_routes(cloud: CloudState, vpc_id: str) -> tuple[str, Slice]:
    """(namespace, slice ``routes``) of a VPC: its route tables and which subnet uses which. Errors: LabnetError, when numbers clash."""
    found = tables_of(cloud, vpc_id)
    if len({table_number(table.id) for table in found}) < len(found):
        raise LabnetError("two route tables of a VPC share a number", "delete one of them and make it again")
    objects: list[KernelObject] = []
    for table in found:
        objects += _table(cloud, table)
    objects += _associations(cloud, vpc_id, found)
    return vpc_netns_of(cloud, vpc_id), Slice(SLICE, tuple(objects))


def _associations(cloud: CloudState, vpc_id: str, found: tuple[RouteTable, ...]) -> Iterator[NftElement]:
    """One element a subnet: its own table, or the main one, with what that says of its packets."""
    bordered = filters_any(cloud, vpc_id) or tells_zones_apart(cloud, vpc_id)
    bits = tables.CHECKED_BIT | (0 if bordered else tables.UNFILTERED_BIT)
    main = next((table_number(table.id) for table in found if table.is_main), 0)
    own = {one.subnet_id: table_number(table.id) for table in found for one in table.associations if one.subnet_id is not None}
    for subnet in cloud.subnets.values():
        if subnet.vpc_id == vpc_id:
            key, value = mark_text(subnet_mark(subnet)), mark_text(bits | own.get(subnet.id, main))
            yield NftElement(tables.TABLE, tables.SUBNET_TABLE, (key,), ("mark", "mark"), value, family="netdev")


def _table(cloud: CloudState, table: RouteTable) -> Iterator[KernelObject]:
    number = table_number(table.id)
    yield Rule(PRIORITY, number, fwmark=number, fwmask=tables.MARK_MASK)
    for block, route in ways(cloud, table).items():
        yield _route(cloud, table, block, route, number)
    last = silence()
    yield Route(last.dst, type=last.type, metric=last.metric, table=number)


def _route(cloud: CloudState, table: RouteTable, block: str, route: VpcRoute, number: int) -> Route:
    dst, target = "default" if block == "0.0.0.0/0" else block, route.target
    if target == LOCAL:
        return Route(dst, type="throw", table=number)
    if not is_active(cloud, table, route) or (target.startswith("pcx-") and not is_linked(cloud, cloud.peerings[target])):
        return Route(dst, type="blackhole", table=number)
    dev, via = _next_hop(cloud, table, target)
    return Route(dst, dev=dev, via=via, onlink=True, table=number)


def _next_hop(cloud: CloudState, table: RouteTable, target: str) -> tuple[str, str]:
    """Port and neighbour of a target that is there."""
    if target.startswith("igw-"):
        return VPC_PORT, AT_GATEWAY
    if target.startswith("vgw-"):
        return VGW_PORT, AT_VGW
    if target.startswith("nat-"):
        return nat_port(target), cloud.nat_gateways[target].private_address
    if target.startswith("pcx-"):
        return peering_port(target), address_beyond(cloud.peerings[target], table.vpc_id)
    return eni_port(target), cloud.enis[target].primary
