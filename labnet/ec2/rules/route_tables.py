"""Route tables and which subnets use them (pure). Source: docs/sources.md#route-tables"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import find_made, get_subnet, get_table, get_vpc, no_association, no_table, token_of
from labnet.ec2.rules.quotas import TABLES_PER_VPC
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tag_list, tags_for
from labnet.ec2.rules.routes import all_routes, route_shape
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import RouteAssociation, RouteTable

LARGEST_PAGE = 100
ASSOCIATED = {"State": "associated"}


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateRouteTable, with one local route a block of the VPC."""
    table = find_made(state.route_tables, params)
    if table is None:
        vpc = get_vpc(state, params["VpcId"])
        if sum(1 for one in state.route_tables.values() if one.vpc_id == vpc.id) >= TABLES_PER_VPC:
            raise Ec2Error("RouteTableLimitExceeded", "The maximum number of route tables has been reached.")
        tags = tags_for(params, "route-table")
        state, table_id = new_id(state, "rtb", f"{vpc.id}/{tags['Name']}" if tags.get("Name") else "")
        token, said = token_of(params)
        table = RouteTable(table_id, vpc.id, tags=tags, client_token=token, request_digest=said)
        state = replace(state, route_tables={**state.route_tables, table_id: table})
    return state, {"RouteTable": table_shape(state, table), **({"ClientToken": table.client_token} if table.client_token else {})}


def add_main_table(state: CloudState, vpc_id: str) -> CloudState:
    """The main table of a new VPC."""
    state, table_id = new_id(state, "rtb", f"{vpc_id}/main")
    state, association_id = new_id(state, "rtbassoc")
    table = RouteTable(table_id, vpc_id, associations=(RouteAssociation(association_id),))
    return replace(state, route_tables={**state.route_tables, table_id: table})


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteRouteTable: neither the main one nor one that a subnet uses."""
    table = get_table(state, params["RouteTableId"])
    if table.associations:
        raise Ec2Error("DependencyViolation", f"The routeTable '{table.id}' has dependencies and cannot be deleted.")
    return replace(state, route_tables={key: one for key, one in state.route_tables.items() if key != table.id}), {}


def associate(state: CloudState, params: Params, context: Context) -> Result:
    """AssociateRouteTable: a subnet names one table at most."""
    table, subnet = get_table(state, params["RouteTableId"]), get_subnet(state, params["SubnetId"])
    if table.vpc_id != subnet.vpc_id:
        raise invalid(f"route table {table.id} and subnet {subnet.id} belong to different networks")
    if any(one.subnet_id == subnet.id for other in state.route_tables.values() for one in other.associations):
        text = f"the specified association for route table {table.id} conflicts with an existing association"
        raise Ec2Error("Resource.AlreadyAssociated", text)
    state, made = new_id(state, "rtbassoc")
    return _put(state, replace(table, associations=(*table.associations, RouteAssociation(made, subnet.id)))), {
        "AssociationId": made, "AssociationState": ASSOCIATED,
    }


def disassociate(state: CloudState, params: Params, context: Context) -> Result:
    """DisassociateRouteTable: the subnet uses the main table again."""
    table, association = _associated(state, str(params["AssociationId"]))
    if association.subnet_id is None:
        raise invalid(f"cannot disassociate the main route table association {association.id}")
    return _put(state, _without(table, association)), {}


def replace_association(state: CloudState, params: Params, context: Context) -> Result:
    """ReplaceRouteTableAssociation: another table for a subnet, or another main table."""
    old, association = _associated(state, str(params["AssociationId"]))
    if get_table(state, params["RouteTableId"]).vpc_id != old.vpc_id:
        raise invalid(f"route table {params['RouteTableId']} and association {association.id} belong to different networks")
    state = _put(state, _without(old, association))
    state, made = new_id(state, "rtbassoc")
    table = state.route_tables[params["RouteTableId"]]
    state = _put(state, replace(table, associations=(*table.associations, RouteAssociation(made, association.subnet_id))))
    return state, {"NewAssociationId": made, "AssociationState": ASSOCIATED}


def forget_subnet(state: CloudState, subnet_id: str) -> CloudState:
    """Without the association of a subnet that goes."""
    for table in state.route_tables.values():
        for association in table.associations:
            if association.subnet_id == subnet_id:
                return _put(state, _without(table, association))
    return state


def _associated(state: CloudState, association_id: str) -> tuple[RouteTable, RouteAssociation]:
    for table in state.route_tables.values():
        for association in table.associations:
            if association.id == association_id:
                return table, association
    raise no_association(association_id)


def _without(table: RouteTable, association: RouteAssociation) -> RouteTable:
    return replace(table, associations=tuple(one for one in table.associations if one.id != association.id))


def _put(state: CloudState, table: RouteTable) -> CloudState:
    return replace(state, route_tables={**state.route_tables, table.id: table})


def table_shape(state: CloudState, table: RouteTable) -> dict[str, Any]:
    """`RouteTable`."""
    return {
        "RouteTableId": table.id, "VpcId": table.vpc_id, "OwnerId": state.account_id, "Tags": tag_list(table.tags),
        "PropagatingVgws": [{"GatewayId": one} for one in table.propagating],
        "Associations": [
            {
                "RouteTableAssociationId": one.id, "RouteTableId": table.id, "Main": one.subnet_id is None, "AssociationState": ASSOCIATED,
                **({"SubnetId": one.subnet_id} if one.subnet_id else {}),
            }
            for one in table.associations
        ],
        "Routes": [route_shape(state, table, route) for route in all_routes(state, table)],
    }


def _fields(state: CloudState) -> dict[str, describe.Field[RouteTable]]:
    def of_routes(member: str) -> Callable[[RouteTable], list[str]]:
        return lambda one: [
            str(shown[member]) for shown in (route_shape(state, one, route) for route in all_routes(state, one)) if member in shown
        ]

    return {
        "route-table-id": lambda one: (one.id,), "vpc-id": lambda one: (one.vpc_id,), "owner-id": lambda one: (state.account_id,),
        "association.main": lambda one: (str(it.subnet_id is None).lower() for it in one.associations),
        "association.route-table-association-id": lambda one: (it.id for it in one.associations),
        "association.route-table-id": lambda one: (one.id,) if one.associations else (),
        "association.subnet-id": lambda one: (it.subnet_id for it in one.associations if it.subnet_id),
        "association.gateway-id": lambda one: (),
        "route.destination-cidr-block": of_routes("DestinationCidrBlock"), "route.gateway-id": of_routes("GatewayId"),
        "route.nat-gateway-id": of_routes("NatGatewayId"), "route.instance-id": of_routes("InstanceId"),
        "route.vpc-peering-connection-id": of_routes("VpcPeeringConnectionId"), "route.origin": of_routes("Origin"),
        "route.state": of_routes("State"), "route.transit-gateway-id": lambda one: (), "route.destination-ipv6-cidr-block": lambda one: (),
        "route.destination-prefix-list-id": of_routes("DestinationPrefixListId"), "route.egress-only-internet-gateway-id": lambda one: (),
    }


def describe_tables(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeRouteTables: pages of 100 at most."""
    size = params.get("MaxResults")
    if size is not None and int(size) > LARGEST_PAGE:
        raise invalid(f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and {LARGEST_PAGE}.")
    found = describe.chosen(state.route_tables, params.get("RouteTableIds"), no_table)
    shown, more = describe.page(describe.matching(found, params, _fields(state), lambda one: one.tags), params)
    return state, {"RouteTables": [table_shape(state, one) for one in shown], **more}


ACTIONS = {
    "CreateRouteTable": action(create, "VpcId TagSpecifications ClientToken", "VpcId"),
    "DeleteRouteTable": action(delete, "RouteTableId", "RouteTableId"),
    "AssociateRouteTable": action(associate, "RouteTableId SubnetId", "RouteTableId SubnetId"),
    "DisassociateRouteTable": action(disassociate, "AssociationId", "AssociationId"),
    "ReplaceRouteTableAssociation": action(replace_association, "AssociationId RouteTableId", "AssociationId RouteTableId"),
    "DescribeRouteTables": action(describe_tables, "RouteTableIds Filters MaxResults NextToken", mutates=False),
}
