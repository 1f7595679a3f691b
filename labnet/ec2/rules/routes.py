"""Routes of route tables: which are legal, where they lead, whether that is still there (pure). Source: docs/sources.md#route-tables"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules.blocks import parse_cidr
from labnet.ec2.rules.find import blocks_of_route, get_instance, get_own_eni, get_peering, get_prefix_list, get_table
from labnet.ec2.rules.prefix_lists import weight
from labnet.ec2.rules.quotas import ROUTES_PER_TABLE
from labnet.ec2.rules.request import Context, Params, Result, action, invalid
from labnet.ec2.rules.ways import propagated
from labnet.errors import Ec2Error
from labnet.model.addressing import contains
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import LOCAL, RouteTable, VpcRoute
from labnet.model.cloud_vpn import VpnGateway

SERVICES = "169.254.168.0/22"
"""AWS's own link-local services: no route leads a part of it elsewhere."""
Target = Callable[[CloudState, RouteTable, str], str]


def all_routes(state: CloudState, table: RouteTable) -> tuple[VpcRoute, ...]:
    """A table's routes as they hold: one local route a block of the VPC, or what replaces it, the others, what gateways propagate."""
    own = {route.destination: route for route in table.routes}
    local = tuple(own.pop(cidr, VpcRoute(cidr, LOCAL)) for cidr in state.vpcs[table.vpc_id].cidrs)
    return (*local, *own.values(), *propagated(state, table))


def ways(state: CloudState, table: RouteTable) -> dict[str, VpcRoute]:
    """Block → the route that holds for it, prefix lists as their blocks: a route of its own comes before a list's, an older list's before
    a younger one's, what a gateway propagates last."""
    found: dict[str, VpcRoute] = {}
    for route in sorted(all_routes(state, table), key=lambda route: 2 if route.propagated else route.prefix_list_id is not None):
        for block in blocks_of_route(state, route):
            found.setdefault(block, route)
    return found


def is_active(state: CloudState, table: RouteTable, route: VpcRoute) -> bool:
    """Is the target there and plugged in? Else the route is a blackhole."""
    target = route.target
    if target == LOCAL:
        return True
    if target.startswith("igw-"):
        gateway = state.internet_gateways.get(target)
        return gateway is not None and gateway.vpc_id == table.vpc_id
    if target.startswith("vgw-"):
        private = state.vpn_gateways.get(target)
        return private is not None and private.vpc_id == table.vpc_id
    if target.startswith("nat-"):
        nat = state.nat_gateways.get(target)
        return nat is not None and nat.state == "available"
    if target.startswith("pcx-"):
        peering = state.peerings.get(target)
        return peering is not None and peering.state == "active"
    return _instance_behind(state, target) is not None


def _instance_behind(state: CloudState, eni_id: str) -> str | None:
    """The running instance that an ENI is plugged into."""
    eni = state.enis.get(eni_id)
    if eni is None or eni.attachment is None or eni.attachment.status != "attached":
        return None
    instance = state.instances.get(eni.attachment.instance_id)
    return instance.id if instance is not None and instance.state == "running" else None


def route_shape(state: CloudState, table: RouteTable, route: VpcRoute) -> dict[str, Any]:
    """`Route`."""
    origin = "EnableVgwRoutePropagation" if route.propagated else "CreateRouteTable" if route.target == LOCAL else "CreateRoute"
    out: dict[str, Any] = {
        _DESTINATION[route.prefix_list_id is not None]: route.destination, "Origin": origin,
        "State": "active" if is_active(state, table, route) else "blackhole",
    }
    kind = route.target.partition("-")[0]
    member = {"nat": "NatGatewayId", "pcx": "VpcPeeringConnectionId", "eni": "NetworkInterfaceId"}.get(kind, "GatewayId")
    out[member] = route.target
    instance = _instance_behind(state, route.target) if kind == "eni" else None
    if instance is not None:
        out |= {"InstanceId": instance, "InstanceOwnerId": state.account_id}
    return out


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateRoute."""
    table, destination = get_table(state, params["RouteTableId"]), _destination(state, params)
    target = _target(state, table, params)
    if any(route.destination == destination and not route.propagated for route in all_routes(state, table)):
        raise Ec2Error("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    made = VpcRoute(destination, target)
    for block in blocks_of_route(state, made):
        if contains(SERVICES, block):
            raise invalid(f"The destination CIDR block {block} is within {SERVICES}, which is reserved for link-local services.")
    _check_inside(state, table, made)
    if weight(state, (*table.routes, made)) > ROUTES_PER_TABLE:
        raise Ec2Error("RouteLimitExceeded", "The maximum number of routes has been reached.")
    return _with(state, table, (*table.routes, made)), {"Return": True}


def replace_route(state: CloudState, params: Params, context: Context) -> Result:
    """ReplaceRoute; a local route can lead to an ENI or a NAT gateway, and back to `local` by LocalTarget alone."""
    table, destination = get_table(state, params["RouteTableId"]), _destination(state, params)
    local = destination in state.vpcs[table.vpc_id].cidrs
    others = tuple(route for route in table.routes if route.destination != destination)
    if params.get("LocalTarget"):
        if any(params.get(name) for name in _TARGETS):
            raise Ec2Error("InvalidParameterCombination", "LocalTarget and another target exclude one another")
        if not local:
            raise invalid(f"The route to {destination} in route table {table.id} is no local route")
        return (state if len(others) == len(table.routes) else _with(state, table, others)), {}
    target = _target(state, table, params)
    if not local and len(others) == len(table.routes):
        raise _no_route(table, destination)
    made = VpcRoute(destination, target)
    _check_inside(state, table, made)
    routes = tuple(made if route.destination == destination else route for route in table.routes)
    if len(others) == len(table.routes):
        routes = (made, *routes)
    return (state if routes == table.routes else _with(state, table, routes)), {}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteRoute; local routes stay."""
    table, destination = get_table(state, params["RouteTableId"]), _destination(state, params)
    if destination in state.vpcs[table.vpc_id].cidrs:
        raise invalid(f"cannot remove local route {destination} in route table {table.id}")
    routes = tuple(route for route in table.routes if route.destination != destination)
    if len(routes) == len(table.routes):
        raise _no_route(table, destination)
    return _with(state, table, routes), {}


def _destination(state: CloudState, params: Params) -> str:
    """The block or the prefix list that a request names. Errors: Ec2Error unless it is exactly one, which is there."""
    named = [name for name in _DESTINATION if params.get(name)]
    if not named:
        raise Ec2Error("MissingParameter", f"The request must contain the parameter {' or '.join(_DESTINATION)}")
    if len(named) > 1:
        raise Ec2Error("InvalidParameterCombination", f"The request must contain exactly one of {' and '.join(named)}")
    if named[0] == _DESTINATION[0]:
        return parse_cidr(str(params[named[0]]), "destinationCidrBlock")
    return get_prefix_list(state, str(params[named[0]])).id


def _no_route(table: RouteTable, destination: str) -> Ec2Error:
    what = "destination-prefix-list-id" if destination.startswith("pl-") else "destination-cidr-block"
    return Ec2Error("InvalidRoute.NotFound", f"no route with {what} {destination} in route table {table.id}")


def _with(state: CloudState, table: RouteTable, routes: tuple[VpcRoute, ...]) -> CloudState:
    return replace(state, route_tables={**state.route_tables, table.id: replace(table, routes=routes)})


def _check_inside(state: CloudState, table: RouteTable, route: VpcRoute) -> None:
    """A route at or inside a block of the VPC leads to an ENI or a NAT gateway, and inside it covers one whole subnet."""
    cidrs = state.vpcs[table.vpc_id].cidrs
    subnets = {one.cidr for one in state.subnets.values() if one.vpc_id == table.vpc_id}
    for block in blocks_of_route(state, route):
        if not any(contains(cidr, block) for cidr in cidrs):
            continue
        if not route.target.startswith(("eni-", "nat-")):
            text = f"The destination CIDR block {block} is equal to or more specific than one of this VPC's CIDR blocks."
            raise invalid(f"{text} This route can target only an interface or an instance.")
        if block not in cidrs and block not in subnets:
            raise invalid(f"The destination CIDR block {block} is more specific than the local route and equals no subnet of the VPC.")


def _target(state: CloudState, table: RouteTable, params: Params) -> str:
    """What the one target of a request becomes. Errors: Ec2Error, InvalidParameterCombination unless there is exactly one."""
    named = [name for name in _TARGETS if params.get(name)]
    if not named:
        raise Ec2Error("MissingParameter", f"The request must contain exactly one of {', '.join(_TARGETS)}")
    if len(named) > 1:
        raise Ec2Error("InvalidParameterCombination", f"The request must contain exactly one target, not {' and '.join(named)}")
    return _TARGETS[named[0]](state, table, str(params[named[0]]))


def _gateway(state: CloudState, table: RouteTable, gateway_id: str) -> str:
    if gateway_id == LOCAL:
        raise invalid(f"{LOCAL} is no target that a request can name: ReplaceRoute with LocalTarget restores a local route")
    gateway = state.vpn_gateways.get(gateway_id) or state.internet_gateways.get(gateway_id)
    if gateway is None or (isinstance(gateway, VpnGateway) and gateway.state == "deleted"):
        raise Ec2Error("InvalidGatewayID.NotFound", f"The gateway ID '{gateway_id}' does not exist")
    return _same_vpc(table, f"network gateway {gateway_id}", gateway_id, gateway.vpc_id)


def _nat(state: CloudState, table: RouteTable, nat_id: str) -> str:
    nat = state.nat_gateways.get(nat_id)
    if nat is None or nat.state != "available":
        raise Ec2Error("InvalidNatGatewayID.NotFound", f"The natGateway ID '{nat_id}' does not exist")
    return _same_vpc(table, f"NAT gateway {nat_id}", nat_id, nat.vpc_id)


def _eni(state: CloudState, table: RouteTable, eni_id: str) -> str:
    return _same_vpc(table, f"interface {eni_id}", eni_id, get_own_eni(state, eni_id).vpc_id)


def _instance(state: CloudState, table: RouteTable, instance_id: str) -> str:
    return _same_vpc(table, f"instance {instance_id}", only_eni(state, instance_id), get_instance(state, instance_id).vpc_id)


def only_eni(state: CloudState, instance_id: str) -> str:
    """The ENI that is meant where a request names an instance. Errors: Ec2Error unless it has exactly one."""
    get_instance(state, instance_id)
    enis = state.enis_of(instance_id)
    if not enis:
        raise Ec2Error("IncorrectInstanceState", f"The instance '{instance_id}' is not in a valid state for this operation.")
    if len(enis) > 1:
        text = f"There are multiple interfaces attached to instance '{instance_id}'. Please specify an interface ID for the operation instead."
        raise Ec2Error("InvalidInstanceID", text)
    return enis[0].id


def _peering(state: CloudState, table: RouteTable, peering_id: str) -> str:
    peering = get_peering(state, peering_id)
    if peering.state not in ("pending-acceptance", "active"):
        raise invalid(f"The VPC peering connection {peering_id} is {peering.state}")
    sides = (peering.requester.vpc_id, peering.accepter.vpc_id)
    return _same_vpc(table, f"peering connection {peering_id}", peering_id, table.vpc_id if table.vpc_id in sides else None)


def _same_vpc(table: RouteTable, what: str, target: str, vpc_id: str | None) -> str:
    if vpc_id != table.vpc_id:
        raise invalid(f"route table {table.id} and {what} belong to different networks")
    return target


_TARGETS: Mapping[str, Target] = {
    "GatewayId": _gateway, "NatGatewayId": _nat, "NetworkInterfaceId": _eni, "InstanceId": _instance, "VpcPeeringConnectionId": _peering,
}
_DESTINATION = ("DestinationCidrBlock", "DestinationPrefixListId")
_ROUTE = "RouteTableId " + " ".join(_DESTINATION)
_NAMES = f"{_ROUTE} " + " ".join(_TARGETS)

ACTIONS = {
    "CreateRoute": action(create, _NAMES, "RouteTableId"),
    "ReplaceRoute": action(replace_route, f"{_NAMES} LocalTarget", "RouteTableId"),
    "DeleteRoute": action(delete, _ROUTE, "RouteTableId"),
}
