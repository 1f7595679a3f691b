"""Virtual private gateways, customer gateways, and which route tables learn routes (pure).

Source: docs/sources.md#virtual-private-gateways
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_customer_gateway, get_table, get_vpc, get_vpn_gateway, no_customer_gateway, no_vpn_gateway
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tag_list, tags_for
from labnet.ec2.rules.zones import zones_of
from labnet.errors import Ec2Error
from labnet.model.addressing import is_address
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import RouteTable
from labnet.model.cloud_vpn import CustomerGateway, VpnGateway

TYPE = "ipsec.1"
VPN_GATEWAYS_PER_REGION = 5
CUSTOMER_GATEWAYS_PER_REGION = 50
DEFAULT_ASN = 64_512
CUSTOMER_ASN = 65_000
PRIVATE_ASNS = ((64_512, 65_534), (4_200_000_000, 4_294_967_294))
SHOWN_AFTER_END_S = 3_600.0
"""How long what was deleted is still described: labnet's estimate, AWS says no more than 'for a while'."""


class Ending(Protocol):
    """What is described for a while after its end."""

    @property
    def ended_at_s(self) -> float | None:
        """When it was deleted."""


def is_shown(one: Ending, context: Context) -> bool:
    """Is it there, or gone so recently that it is still described?"""
    return one.ended_at_s is None or context.now_s - one.ended_at_s < SHOWN_AFTER_END_S


def check_type(params: Params) -> None:
    """The one type that there is. Errors: Ec2Error."""
    if params["Type"] != TYPE:
        raise invalid(f"Value ({params['Type']}) for parameter type is invalid. The only supported type is {TYPE}.")


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateVpnGateway."""
    check_type(params)
    asn = int(params["AmazonSideAsn"]) if params.get("AmazonSideAsn") is not None else DEFAULT_ASN
    if not any(low <= asn <= high for low, high in PRIVATE_ASNS):
        raise invalid(f"Invalid value '{asn}' for amazonSideAsn. It must be a private ASN, from {_spans()}.")
    zone = str(params.get("AvailabilityZone") or "")
    if zone and zone not in (one.name for one in zones_of(state.region)):
        raise invalid(f"Value ({zone}) for parameter availabilityZone is invalid.")
    if sum(1 for one in state.vpn_gateways.values() if one.state == "available") >= VPN_GATEWAYS_PER_REGION:
        raise Ec2Error("VpnGatewayLimitExceeded", "The maximum number of virtual private gateways has been reached.")
    tags = tags_for(params, "vpn-gateway")
    state, gateway_id = new_id(state, "vgw", tags.get("Name", ""))
    gateway = VpnGateway(gateway_id, None, asn, availability_zone=zone, tags=tags)
    return _put(state, gateway), {"VpnGateway": gateway_shape(gateway)}


def _spans() -> str:
    return " or ".join(f"{low} to {high}" for low, high in PRIVATE_ASNS)


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteVpnGateway: attached to no VPC, and without VPN connections and virtual interfaces; route tables forget it."""
    gateway = get_vpn_gateway(state, params["VpnGatewayId"])
    if gateway.vpc_id is not None:
        raise Ec2Error("IncorrectState", f"The vpnGateway '{gateway.id}' is attached to {gateway.vpc_id}. Detach it first.")
    used = any(one.vpn_gateway_id == gateway.id and one.state == "available" for one in state.vpn_connections.values())
    if used or any(one.vpn_gateway_id == gateway.id for one in state.virtual_interfaces.values()):
        raise Ec2Error("IncorrectState", f"The vpnGateway '{gateway.id}' is in use.")
    tables = {
        key: replace(table, propagating=tuple(one for one in table.propagating if one != gateway.id))
        if gateway.id in table.propagating else table
        for key, table in state.route_tables.items()
    }
    return replace(_put(state, replace(gateway, state="deleted", ended_at_s=context.now_s)), route_tables=tables), {}


def attach(state: CloudState, params: Params, context: Context) -> Result:
    """AttachVpnGateway: one a VPC; again to the same VPC is fine."""
    gateway, vpc = get_vpn_gateway(state, params["VpnGatewayId"]), get_vpc(state, params["VpcId"])
    if gateway.vpc_id not in (None, vpc.id):
        text = f"The vpnGateway '{gateway.id}' is already attached to {gateway.vpc_id}"
        raise Ec2Error("VpnGatewayAttachmentLimitExceeded", text)
    if any(one.vpc_id == vpc.id and one.id != gateway.id for one in state.vpn_gateways.values()):
        raise invalid(f"Network {vpc.id} already has a virtual private gateway attached")
    if gateway.vpc_id is None:
        state = _put(state, replace(gateway, vpc_id=vpc.id))
    return state, {"VpcAttachment": {"VpcId": vpc.id, "State": "attaching"}}


def detach(state: CloudState, params: Params, context: Context) -> Result:
    """DetachVpnGateway: routes to it are blackholes, what tables learned from it is gone."""
    gateway, vpc = get_vpn_gateway(state, params["VpnGatewayId"]), get_vpc(state, params["VpcId"])
    if gateway.vpc_id != vpc.id:
        text = f"The attachment with vpn gateway ID '{gateway.id}' and vpc ID '{vpc.id}' does not exist"
        raise Ec2Error("InvalidVpnGatewayAttachment.NotFound", text)
    return _put(state, replace(gateway, vpc_id=None)), {}


def _put(state: CloudState, gateway: VpnGateway) -> CloudState:
    return replace(state, vpn_gateways={**state.vpn_gateways, gateway.id: gateway})


def gateway_shape(gateway: VpnGateway) -> dict[str, Any]:
    """`VpnGateway`."""
    out: dict[str, Any] = {
        "VpnGatewayId": gateway.id, "State": gateway.state, "Type": TYPE, "AmazonSideAsn": gateway.amazon_side_asn,
        "VpcAttachments": [{"VpcId": gateway.vpc_id, "State": "attached"}] if gateway.vpc_id else [], "Tags": tag_list(gateway.tags),
    }
    return out | ({"AvailabilityZone": gateway.availability_zone} if gateway.availability_zone else {})


_FIELDS: dict[str, describe.Field[VpnGateway]] = {
    "vpn-gateway-id": lambda one: (one.id,), "state": lambda one: (one.state,), "type": lambda one: (TYPE,),
    "amazon-side-asn": lambda one: (str(one.amazon_side_asn),), "attachment.vpc-id": lambda one: (one.vpc_id,) if one.vpc_id else (),
    "attachment.state": lambda one: ("attached",) if one.vpc_id else (),
    "availability-zone": lambda one: (one.availability_zone,) if one.availability_zone else (),
}


def describe_gateways(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeVpnGateways."""
    found = [one for one in describe.chosen(state.vpn_gateways, params.get("VpnGatewayIds"), no_vpn_gateway) if is_shown(one, context)]
    return state, {"VpnGateways": [gateway_shape(one) for one in describe.matching(found, params, _FIELDS, lambda one: one.tags)]}


# ---- customer gateways ----------------------------------------------------------------------------------------------------


def create_customer(state: CloudState, params: Params, context: Context) -> Result:
    """CreateCustomerGateway; the same address and ASN again are the same gateway."""
    check_type(params)
    address = str(params.get("IpAddress") or params.get("PublicIp") or "")
    if not address:
        raise Ec2Error("MissingParameter", "The request must contain the parameter IpAddress")
    if not is_address(address):
        raise invalid(f"Value ({address}) for parameter ipAddress is invalid. Invalid IPv4 address.")
    asn = int(params["BgpAsn"]) if params.get("BgpAsn") is not None else CUSTOMER_ASN
    if not 1 <= asn <= (1 << 31) - 1:
        raise invalid(f"Value ({asn}) for parameter bgpAsn is invalid.")
    alive = [one for one in state.customer_gateways.values() if one.state == "available"]
    for one in alive:
        if one.ip_address == address:
            if one.bgp_asn == asn:
                return state, {"CustomerGateway": customer_shape(one)}
            text = f"The customer gateway {one.id} has the address {address} with another ASN"
            raise Ec2Error("InvalidCustomerGateway.DuplicateIpAddress", text)
    if len(alive) >= CUSTOMER_GATEWAYS_PER_REGION:
        raise Ec2Error("CustomerGatewayLimitExceeded", "The maximum number of customer gateways has been reached.")
    tags = tags_for(params, "customer-gateway")
    state, gateway_id = new_id(state, "cgw", tags.get("Name", ""))
    gateway = CustomerGateway(gateway_id, address, asn, str(params.get("DeviceName") or ""), tags=tags)
    state = replace(state, customer_gateways={**state.customer_gateways, gateway_id: gateway})
    return state, {"CustomerGateway": customer_shape(gateway)}


def delete_customer(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteCustomerGateway: no VPN connection may use it."""
    gateway = get_customer_gateway(state, params["CustomerGatewayId"])
    if any(one.customer_gateway_id == gateway.id and one.state == "available" for one in state.vpn_connections.values()):
        raise Ec2Error("IncorrectState", "The customer gateway is in use.")
    gone = replace(gateway, state="deleted", ended_at_s=context.now_s)
    return replace(state, customer_gateways={**state.customer_gateways, gateway.id: gone}), {}


def customer_shape(gateway: CustomerGateway) -> dict[str, Any]:
    """`CustomerGateway`."""
    out: dict[str, Any] = {
        "CustomerGatewayId": gateway.id, "IpAddress": gateway.ip_address, "BgpAsn": str(gateway.bgp_asn), "State": gateway.state,
        "Type": TYPE, "Tags": tag_list(gateway.tags),
    }
    return out | ({"DeviceName": gateway.device_name} if gateway.device_name else {})


_CUSTOMER_FIELDS: dict[str, describe.Field[CustomerGateway]] = {
    "customer-gateway-id": lambda one: (one.id,), "ip-address": lambda one: (one.ip_address,), "state": lambda one: (one.state,),
    "bgp-asn": lambda one: (str(one.bgp_asn),), "type": lambda one: (TYPE,),
}


def describe_customers(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeCustomerGateways."""
    every = describe.chosen(state.customer_gateways, params.get("CustomerGatewayIds"), no_customer_gateway)
    found = describe.matching([one for one in every if is_shown(one, context)], params, _CUSTOMER_FIELDS, lambda one: one.tags)
    return state, {"CustomerGateways": [customer_shape(one) for one in found]}


# ---- propagation ----------------------------------------------------------------------------------------------------------


def enable_propagation(state: CloudState, params: Params, context: Context) -> Result:
    """EnableVgwRoutePropagation: the table learns what the gateway of its VPC knows the way to."""
    table, gateway = _pair(state, params)
    if gateway.vpc_id != table.vpc_id:
        raise Ec2Error("Gateway.NotAttached", f"resource {gateway.id} is not attached to network {table.vpc_id}")
    if gateway.id in table.propagating:
        return state, {}
    return _put_table(state, replace(table, propagating=(*table.propagating, gateway.id))), {}


def disable_propagation(state: CloudState, params: Params, context: Context) -> Result:
    """DisableVgwRoutePropagation: what the table learned from the gateway is gone; where nothing was propagated nothing changes."""
    table, gateway = _pair(state, params)
    if gateway.id not in table.propagating:
        return state, {}
    return _put_table(state, replace(table, propagating=tuple(one for one in table.propagating if one != gateway.id))), {}


def _pair(state: CloudState, params: Params) -> tuple[RouteTable, VpnGateway]:
    return get_table(state, params["RouteTableId"]), get_vpn_gateway(state, params["GatewayId"])


def _put_table(state: CloudState, table: RouteTable) -> CloudState:
    return replace(state, route_tables={**state.route_tables, table.id: table})


ACTIONS = {
    "CreateVpnGateway": action(create, "Type AmazonSideAsn AvailabilityZone TagSpecifications", "Type"),
    "DeleteVpnGateway": action(delete, "VpnGatewayId", "VpnGatewayId"),
    "AttachVpnGateway": action(attach, "VpnGatewayId VpcId", "VpnGatewayId VpcId"),
    "DetachVpnGateway": action(detach, "VpnGatewayId VpcId", "VpnGatewayId VpcId"),
    "DescribeVpnGateways": action(describe_gateways, "VpnGatewayIds Filters", mutates=False),
    "CreateCustomerGateway": action(
        create_customer, "Type IpAddress PublicIp BgpAsn DeviceName TagSpecifications", "Type", state_only="DeviceName"
    ),
    "DeleteCustomerGateway": action(delete_customer, "CustomerGatewayId", "CustomerGatewayId"),
    "DescribeCustomerGateways": action(describe_customers, "CustomerGatewayIds Filters", mutates=False),
    "EnableVgwRoutePropagation": action(enable_propagation, "GatewayId RouteTableId", "GatewayId RouteTableId"),
    "DisableVgwRoutePropagation": action(disable_propagation, "GatewayId RouteTableId", "GatewayId RouteTableId"),
}
