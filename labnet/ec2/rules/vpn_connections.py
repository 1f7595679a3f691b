"""Site-to-Site VPN connections and their static routes; private virtual interfaces of Direct Connect (pure).

Source: docs/sources.md#virtual-private-gateways
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.blocks import parse_cidr
from labnet.ec2.rules.find import get_customer_gateway, get_vpn_connection, get_vpn_gateway, no_vpn_connection
from labnet.ec2.rules.request import Context, Params, Result, action, check_members, invalid, new_id, tag_list, tags_for
from labnet.ec2.rules.shapes import time_of
from labnet.ec2.rules.vpn_gateways import TYPE, check_type, is_shown
from labnet.ec2.rules.ways import site_behind
from labnet.errors import Ec2Error
from labnet.model.addressing import contains, prefix_length
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpn import VirtualInterface, VpnConnection, VpnTunnel
from labnet.model.names import digest

CONNECTIONS_PER_REGION = 50
CONNECTIONS_PER_GATEWAY = 10
ROUTES_PER_CONNECTION = 100
TUNNELS = 2
INSIDE = "169.254.0.0/16"
INSIDE_BITS = 30
RESERVED_INSIDE = (*(f"169.254.{n}.0/30" for n in range(6)), "169.254.169.252/30")
"""What AWS keeps of the addresses inside tunnels."""
INTERFACE_MTUS = (1500, 8500)
"""What a private virtual interface carries. Source: docs/sources.md#virtual-private-gateways"""


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateVpnConnection: between a virtual private gateway and a customer gateway there is one; asked for again it is the same."""
    check_type(params)
    gateway = get_vpn_gateway(state, params["VpnGatewayId"])
    customer = get_customer_gateway(state, params["CustomerGatewayId"])
    alive = [one for one in state.vpn_connections.values() if one.state == "available"]
    for one in alive:
        if (one.vpn_gateway_id, one.customer_gateway_id) == (gateway.id, customer.id):
            return state, {"VpnConnection": connection_shape(state, one)}
    if len(alive) >= CONNECTIONS_PER_REGION or sum(1 for one in alive if one.vpn_gateway_id == gateway.id) >= CONNECTIONS_PER_GATEWAY:
        raise Ec2Error("VpnConnectionLimitExceeded", "The maximum number of VPN connections has been reached.")
    options = params.get("Options") or {}
    check_members(options, "StaticRoutesOnly TunnelOptions", "Options")
    tags = tags_for(params, "vpn-connection")
    state, connection_id = new_id(state, "vpn", tags.get("Name", ""))
    tunnels = _tunnels(state, connection_id, options.get("TunnelOptions") or [])
    made = VpnConnection(
        connection_id, gateway.id, customer.id, bool(options.get("StaticRoutesOnly")), tunnels=tunnels, created_at_s=context.now_s, tags=tags,
    )
    state = _put(state, made)
    return state, {"VpnConnection": {**connection_shape(state, made), "State": "pending"}}


def _tunnels(state: CloudState, connection_id: str, wanted: list[dict[str, Any]]) -> tuple[VpnTunnel, ...]:
    """Two tunnels: as the request says, else with what follows from the connection's id. Errors: Ec2Error."""
    if len(wanted) > TUNNELS:
        raise invalid(f"A VPN connection has {TUNNELS} tunnels")
    taken = {tunnel.inside_cidr for one in state.vpn_connections.values() if one.state == "available" for tunnel in one.tunnels}
    found: list[VpnTunnel] = []
    for number in range(TUNNELS):
        said = wanted[number] if number < len(wanted) else {}
        check_members(said, "TunnelInsideCidr PreSharedKey", f"Options.TunnelOptions.{number + 1}")
        seed = digest("tunnel", connection_id, number)
        inside = _inside(str(said["TunnelInsideCidr"]), taken) if said.get("TunnelInsideCidr") else _free_inside(seed, taken)
        taken.add(inside)
        found.append(VpnTunnel(f"198.18.{seed[0]}.{seed[1] or 1}", inside, _key(str(said.get("PreSharedKey") or f"k{seed.hex()[:31]}"))))
    return tuple(found)


def _key(key: str) -> str:
    if not 8 <= len(key) <= 64 or key.startswith("0") or not key.replace(".", "").replace("_", "").isalnum():
        raise invalid("The pre-shared key must have 8 to 64 letters, digits, dots and underscores, and not begin with 0")
    return key


def _inside(text: str, taken: set[str]) -> str:
    cidr = parse_cidr(text, "tunnelInsideCidr")
    if not contains(INSIDE, cidr) or prefix_length(cidr) != INSIDE_BITS or cidr in RESERVED_INSIDE:
        raise invalid(f"Value ({text}) for parameter tunnelInsideCidr is invalid. It must be a free /{INSIDE_BITS} of {INSIDE}.")
    if cidr in taken:
        raise invalid(f"Value ({text}) for parameter tunnelInsideCidr is invalid. Another tunnel uses it.")
    return cidr


def _free_inside(seed: bytes, taken: set[str]) -> str:
    """A /30 that follows from the tunnel alone, or the next free one."""
    number = seed[2] << 6 | seed[3] >> 2
    while True:
        cidr = f"169.254.{number >> 6 & 0xFF}.{(number & 0x3F) << 2}/{INSIDE_BITS}"
        lab_own = cidr.startswith(("169.254.169.", "169.254.200.", "169.254.255."))  # services, transfer addresses, virtual interfaces
        if cidr not in taken and cidr not in RESERVED_INSIDE and not lab_own:
            return cidr
        number += 1


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteVpnConnection."""
    connection = get_vpn_connection(state, params["VpnConnectionId"])
    return _put(state, replace(connection, state="deleted", ended_at_s=context.now_s)), {}


def create_route(state: CloudState, params: Params, context: Context) -> Result:
    """CreateVpnConnectionRoute: a block behind the customer gateway; the same again changes nothing."""
    connection = _static(state, params)
    cidr = parse_cidr(str(params["DestinationCidrBlock"]), "destinationCidrBlock")
    if cidr in connection.routes:
        return state, {}
    if len(connection.routes) >= ROUTES_PER_CONNECTION:
        raise Ec2Error("RouteLimitExceeded", "The maximum number of routes has been reached.")
    return _put(state, replace(connection, routes=(*connection.routes, cidr))), {}


def delete_route(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteVpnConnectionRoute."""
    connection = _static(state, params)
    cidr = parse_cidr(str(params["DestinationCidrBlock"]), "destinationCidrBlock")
    if cidr not in connection.routes:
        text = f"no route with destination-cidr-block {cidr} in VPN connection {connection.id}"
        raise Ec2Error("InvalidRoute.NotFound", text)
    return _put(state, replace(connection, routes=tuple(one for one in connection.routes if one != cidr))), {}


def _static(state: CloudState, params: Params) -> VpnConnection:
    connection = get_vpn_connection(state, params["VpnConnectionId"])
    if not connection.static_routes_only:
        raise Ec2Error("InvalidVpnConnection.InvalidType", "The specified VPN connection does not support static routes.")
    return connection


def _put(state: CloudState, connection: VpnConnection) -> CloudState:
    return replace(state, vpn_connections={**state.vpn_connections, connection.id: connection})


# ---- describe -------------------------------------------------------------------------------------------------------------


def is_up(state: CloudState, connection: VpnConnection) -> bool:
    """Is there somebody at both ends: a network with that device, and a VPC with the gateway?"""
    gateway = state.vpn_gateways[connection.vpn_gateway_id]
    return connection.state == "available" and gateway.vpc_id is not None and site_behind(state, connection) is not None


def connection_shape(state: CloudState, connection: VpnConnection) -> dict[str, Any]:
    """`VpnConnection`; both tunnels have the state of the one link that there is."""
    up = is_up(state, connection)
    out: dict[str, Any] = {
        "VpnConnectionId": connection.id, "State": connection.state, "Type": TYPE, "Category": "VPN", "VpnGatewayId": connection.vpn_gateway_id,
        "CustomerGatewayId": connection.customer_gateway_id, "Tags": tag_list(connection.tags),
        "Options": {
            "StaticRoutesOnly": connection.static_routes_only, "EnableAcceleration": False, "LocalIpv4NetworkCidr": "0.0.0.0/0",
            "RemoteIpv4NetworkCidr": "0.0.0.0/0", "TunnelInsideIpVersion": "ipv4", "OutsideIpAddressType": "PublicIpv4",
            "TunnelOptions": [
                {"OutsideIpAddress": one.outside_ip, "TunnelInsideCidr": one.inside_cidr, "PreSharedKey": one.pre_shared_key}
                for one in connection.tunnels
            ],
        },
        "Routes": [{"DestinationCidrBlock": cidr, "Source": "Static", "State": "available"} for cidr in connection.routes],
    }
    if connection.state == "available":
        out["CustomerGatewayConfiguration"] = _configuration(state, connection)
        out["VgwTelemetry"] = [
            {
                "OutsideIpAddress": one.outside_ip, "Status": "UP" if up else "DOWN", "StatusMessage": "" if up else "IPSEC IS DOWN",
                "AcceptedRouteCount": len(connection.routes), "LastStatusChange": time_of(connection.created_at_s),
            }
            for one in connection.tunnels
        ]
    return out


def _configuration(state: CloudState, connection: VpnConnection) -> str:
    """What the customer's device must know, in the shape of AWS's document."""
    from xml.etree.ElementTree import Element, SubElement, tostring  # late: only who describes a connection needs it

    customer = state.customer_gateways[connection.customer_gateway_id]
    root = Element("vpn_connection", id=connection.id)
    for name, text in (
        ("customer_gateway_id", customer.id), ("vpn_gateway_id", connection.vpn_gateway_id), ("vpn_connection_type", TYPE),
    ):  # fmt: skip
        SubElement(root, name).text = text
    for tunnel in connection.tunnels:
        part = SubElement(root, "ipsec_tunnel")
        near = SubElement(SubElement(SubElement(part, "customer_gateway"), "tunnel_outside_address"), "ip_address")
        near.text = customer.ip_address
        far = SubElement(part, "vpn_gateway")
        SubElement(SubElement(far, "tunnel_outside_address"), "ip_address").text = tunnel.outside_ip
        SubElement(SubElement(far, "tunnel_inside_address"), "network_cidr").text = tunnel.inside_cidr
        SubElement(SubElement(part, "ike"), "pre_shared_key").text = tunnel.pre_shared_key
    return tostring(root, encoding="unicode")


def describe_connections(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeVpnConnections."""
    fields: dict[str, describe.Field[VpnConnection]] = {
        "vpn-connection-id": lambda one: (one.id,), "vpn-gateway-id": lambda one: (one.vpn_gateway_id,), "type": lambda one: (TYPE,),
        "customer-gateway-id": lambda one: (one.customer_gateway_id,), "state": lambda one: (one.state,),
        "option.static-routes-only": lambda one: (str(one.static_routes_only).lower(),),
        "route.destination-cidr-block": lambda one: one.routes, "transit-gateway-id": lambda one: (),
        "bgp-asn": lambda one: (str(state.customer_gateways[one.customer_gateway_id].bgp_asn),),
        "customer-gateway-configuration": lambda one: (_configuration(state, one),),
    }
    every = describe.chosen(state.vpn_connections, params.get("VpnConnectionIds"), no_vpn_connection)
    found = describe.matching([one for one in every if is_shown(one, context)], params, fields, lambda one: one.tags)
    return state, {"VpnConnections": [connection_shape(state, one) for one in found]}


_ROUTE = "VpnConnectionId DestinationCidrBlock"

ACTIONS = {
    "CreateVpnConnection": action(
        create, "Type CustomerGatewayId VpnGatewayId Options TagSpecifications", "Type CustomerGatewayId VpnGatewayId",
        state_only="Options.TunnelOptions.PreSharedKey",
    ),
    "DeleteVpnConnection": action(delete, "VpnConnectionId", "VpnConnectionId"),
    "DescribeVpnConnections": action(describe_connections, "VpnConnectionIds Filters", mutates=False),
    "CreateVpnConnectionRoute": action(create_route, _ROUTE, _ROUTE, dry_run=False),
    "DeleteVpnConnectionRoute": action(delete_route, _ROUTE, _ROUTE, dry_run=False),
}


# ---- Direct Connect -------------------------------------------------------------------------------------------------------


def create_interface(state: CloudState, params: Params, context: Context) -> Result:
    """Direct Connect's CreatePrivateVirtualInterface, to a virtual private gateway; with the members of that service."""
    new = params["newPrivateVirtualInterface"]
    gateway = get_vpn_gateway(state, str(new["virtualGatewayId"]))
    mtu = int(new.get("mtu") or INTERFACE_MTUS[0])
    if mtu not in INTERFACE_MTUS:
        raise Ec2Error("DirectConnectClientException", f"MTU {mtu} is not one of {', '.join(map(str, INTERFACE_MTUS))}")
    name, connection = str(new["virtualInterfaceName"]), str(params["connectionId"])
    state, made = new_id(state, "dxvif", name)
    one = VirtualInterface(made, name, connection, gateway.id, int(new["vlan"]), int(new["asn"]), mtu)
    return replace(state, virtual_interfaces={**state.virtual_interfaces, made: one}), {
        "virtualInterfaceId": made, "virtualInterfaceState": "available", "virtualGatewayId": gateway.id, "mtu": mtu,
    }


def delete_interface(state: CloudState, params: Params, context: Context) -> Result:
    """Direct Connect's DeleteVirtualInterface."""
    wanted = str(params["virtualInterfaceId"])
    if wanted not in state.virtual_interfaces:
        raise Ec2Error("DirectConnectClientException", f"Virtual Interface {wanted} does not exist")
    kept = {key: one for key, one in state.virtual_interfaces.items() if key != wanted}
    return replace(state, virtual_interfaces=kept), {"virtualInterfaceState": "deleting"}


DIRECT_CONNECT = {
    "directconnect:CreatePrivateVirtualInterface": action(
        create_interface, "connectionId newPrivateVirtualInterface", "connectionId newPrivateVirtualInterface", dry_run=False
    ),
    "directconnect:DeleteVirtualInterface": action(delete_interface, "virtualInterfaceId", "virtualInterfaceId", dry_run=False),
}
"""Actions of another service, which the lab itself calls in process: EC2's API on the wire does not know them."""
