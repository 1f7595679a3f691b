"""Route tables: the main one, the local route, what a route may lead to."""

from __future__ import annotations

from typing import Any

from labnet.ec2.probe.check import Refusal, expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Route tables")
UNKNOWN = "0123456789abcdef0"
ROUTES_PER_TABLE = 50
LOCAL_COUNTS = 1  # whether the local route is one of the fifty, the quota's text leaves open


def _table(at: Site, vpc: str) -> str:
    return str(at.call("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"])


def _routes(at: Site, table: str) -> dict[str, dict[str, Any]]:
    routes = at.call("DescribeRouteTables", RouteTableIds=[table])["RouteTables"][0]["Routes"]
    return {str(one.get("DestinationCidrBlock")): one for one in routes}


def _main(at: Site, vpc: str) -> dict[str, Any]:
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    return dict(at.call("DescribeRouteTables", Filters=filters)["RouteTables"][0])


@check("the local route")
def local_route(at: Site) -> None:
    """Each block of the VPC has one in every table, and it is not removable."""
    table = _table(at, at.vpc())
    route = _routes(at, table)["10.77.0.0/16"]
    same([route["GatewayId"], route["State"], route["Origin"]], ["local", "active", "CreateRouteTable"], "the local route")
    at.refused("DeleteRoute", "InvalidParameterValue", RouteTableId=table, DestinationCidrBlock="10.77.0.0/16")


@check("the local route")
def local_route_of_a_further_block(at: Site) -> None:
    """A further block of the VPC gets its own."""
    vpc = at.vpc()
    table = _table(at, vpc)
    at.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="100.64.0.0/16")
    at.until(lambda: _routes(at, table).get("100.64.0.0/16", {}).get("GatewayId") == "local", "a local route to 100.64.0.0/16")


@check("the main table")
def main_table_stays(at: Site) -> None:
    """It can not be deleted: DependencyViolation."""
    at.refused("DeleteRouteTable", "DependencyViolation", RouteTableId=_main(at, at.vpc())["RouteTableId"])


@check("the main table")
def main_table_replaced(at: Site) -> None:
    """Another table becomes the main one by ReplaceRouteTableAssociation."""
    vpc = at.vpc()
    before = _main(at, vpc)
    table = _table(at, vpc)
    association = before["Associations"][0]["RouteTableAssociationId"]
    new = at.call("ReplaceRouteTableAssociation", AssociationId=association, RouteTableId=table)["NewAssociationId"]
    try:
        same(_main(at, vpc)["RouteTableId"], table, "the main table")
    finally:  # the VPC's own table is the one that goes with the VPC
        at.call("ReplaceRouteTableAssociation", AssociationId=new, RouteTableId=before["RouteTableId"])


@check("route exists")
def route_exists(at: Site) -> None:
    """RouteAlreadyExists names the destination."""
    vpc = at.vpc()
    wanted = {"RouteTableId": _table(at, vpc), "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": at.gateway(vpc)}
    at.call("CreateRoute", **wanted)
    at.refused("CreateRoute", "RouteAlreadyExists", **wanted)


@check("route missing")
def route_missing(at: Site) -> None:
    """InvalidRoute.NotFound, when deleted."""
    table = _table(at, at.vpc())
    at.refused("DeleteRoute", "InvalidRoute.NotFound", RouteTableId=table, DestinationCidrBlock="198.51.100.0/24")


@check("route missing")
def route_replaced(at: Site) -> None:
    """ReplaceRoute makes none, and changes the target of one that is there."""
    vpc = at.vpc()
    table, gateway, eni = _table(at, vpc), at.gateway(vpc), at.eni(at.subnet(vpc=vpc))
    wanted = {"RouteTableId": table, "DestinationCidrBlock": "198.51.100.0/24"}
    at.refused("ReplaceRoute", "InvalidRoute.NotFound InvalidParameterValue", GatewayId=gateway, **wanted)
    at.call("CreateRoute", GatewayId=gateway, **wanted)
    at.call("ReplaceRoute", NetworkInterfaceId=eni, **wanted)
    same(_routes(at, table)["198.51.100.0/24"].get("NetworkInterfaceId"), eni, "the route's target")


@check("route table full")
def route_limit(at: Site) -> None:
    """Fifty routes; the next is RouteLimitExceeded."""
    vpc = at.vpc()
    wanted = {"RouteTableId": _table(at, vpc), "GatewayId": at.gateway(vpc)}
    made = 0
    try:
        while made <= ROUTES_PER_TABLE:
            at.call("CreateRoute", DestinationCidrBlock=f"198.18.{made}.0/24", **wanted)
            made += 1
    except Refusal as refusal:
        same(refusal.code, "RouteLimitExceeded", f"after {made} routes")
    allowed = (ROUTES_PER_TABLE - LOCAL_COUNTS, ROUTES_PER_TABLE)
    expect(made in allowed, f"{made} routes were taken into one table")


@check("unknown route table")
def unknown_table(at: Site) -> None:
    """InvalidRouteTableID.NotFound."""
    at.refused("DescribeRouteTables", "InvalidRouteTableID.NotFound", RouteTableIds=[f"rtb-{UNKNOWN}"])
    wanted = {"RouteTableId": f"rtb-{UNKNOWN}", "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": f"igw-{UNKNOWN}"}
    at.refused("CreateRoute", "InvalidRouteTableID.NotFound", **wanted)


@check("where a route may lead")
def route_to_link_local(at: Site) -> None:
    """A link-local range of AWS's own is no destination: InvalidParameterValue."""
    vpc = at.vpc()
    wanted = {"RouteTableId": _table(at, vpc), "GatewayId": at.gateway(vpc)}
    for cidr in ("169.254.168.0/22", "169.254.169.0/24"):
        at.refused("CreateRoute", "InvalidParameterValue", DestinationCidrBlock=cidr, **wanted)


@check("where a route may lead")
def route_inside_the_vpc(at: Site) -> None:
    """More specific than local: only a whole subnet, and not to an internet gateway."""
    vpc = at.vpc()
    table, gateway, eni = _table(at, vpc), at.gateway(vpc), at.eni(at.subnet("10.77.1.0/24", vpc))
    for cidr, target in (("10.77.1.0/24", {"GatewayId": gateway}), ("10.77.1.0/25", {"NetworkInterfaceId": eni})):
        at.refused("CreateRoute", "InvalidParameterValue", RouteTableId=table, DestinationCidrBlock=cidr, **target)
    at.call("CreateRoute", RouteTableId=table, DestinationCidrBlock="10.77.1.0/24", NetworkInterfaceId=eni)


@check("where a route may lead")
def route_to_a_foreign_gateway(at: Site) -> None:
    """An internet gateway that is not the VPC's own is refused."""
    vpc, other = at.vpc(), at.vpc("10.78.0.0/16")
    codes = "InvalidParameterValue InvalidGatewayID.NotFound Gateway.NotAttached"
    wanted = {"RouteTableId": _table(at, vpc), "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": at.gateway(other)}
    at.refused("CreateRoute", codes, **wanted)


@check("a target that is gone")
def route_blackhole(at: Site) -> None:
    """The route stays, in state blackhole."""
    vpc = at.vpc()
    table, eni = _table(at, vpc), at.eni(at.subnet(vpc=vpc))
    at.call("CreateRoute", RouteTableId=table, DestinationCidrBlock="198.51.100.0/24", NetworkInterfaceId=eni)
    at.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    at.until(lambda: _routes(at, table)["198.51.100.0/24"]["State"] == "blackhole", "blackhole: the route to an ENI that is gone")


@check("associations")
def association_twice(at: Site) -> None:
    """A subnet has one table of its own: a second is Resource.AlreadyAssociated."""
    vpc = at.vpc()
    subnet = at.subnet(vpc=vpc)
    at.call("AssociateRouteTable", RouteTableId=_table(at, vpc), SubnetId=subnet)
    at.refused("AssociateRouteTable", "Resource.AlreadyAssociated", RouteTableId=_table(at, vpc), SubnetId=subnet)


@check("associations")
def association_keeps(at: Site) -> None:
    """An associated table can not be deleted: DependencyViolation."""
    vpc = at.vpc()
    table = _table(at, vpc)
    association = at.call("AssociateRouteTable", RouteTableId=table, SubnetId=at.subnet(vpc=vpc))["AssociationId"]
    at.refused("DeleteRouteTable", "DependencyViolation", RouteTableId=table)
    at.call("DisassociateRouteTable", AssociationId=association)
    at.call("DeleteRouteTable", RouteTableId=table)
    at.refused("DescribeRouteTables", "InvalidRouteTableID.NotFound", RouteTableIds=[table])
