"""What a virtual private gateway knows the way to, and which of it its VPC's route tables learn (pure).

Of two ways with one prefix the first wins: Direct Connect, then static routes of VPN connections, then what VPN connections learn by
BGP. Source: docs/sources.md#virtual-private-gateways
"""

from __future__ import annotations

from collections.abc import Iterator

from labnet.model.addressing import contains
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import RouteTable, VpcRoute
from labnet.model.cloud_vpn import Site, VpnConnection, VpnGateway
from labnet.model.values import frozen


@frozen
class Way:
    """A VPN connection or a private virtual interface: where it leads, and over what.

    `site` None = nobody is at its other end. `destinations` are its static routes, or what the site announces by BGP. `inside` are the
    two addresses at its ends, AWS's first.
    """

    id: str
    site: Site | None
    destinations: tuple[str, ...]
    mtu_bytes: int
    inside: tuple[str, str]


def gateway_at(state: CloudState, vpc_id: str) -> VpnGateway | None:
    """The virtual private gateway that is attached to a VPC."""
    return next((one for one in state.vpn_gateways.values() if one.vpc_id == vpc_id), None)


def ways_of(state: CloudState, gateway_id: str) -> tuple[Way, ...]:
    """All ways of a virtual private gateway, the preferred ones first."""
    found = [*_interfaces(state, gateway_id)]
    vpns = [one for one in state.vpn_connections.values() if one.vpn_gateway_id == gateway_id and one.state == "available"]
    found += [_vpn(state, one) for one in vpns if one.static_routes_only]
    found += [_vpn(state, one) for one in vpns if not one.static_routes_only]
    return tuple(found)


def _interfaces(state: CloudState, gateway_id: str) -> Iterator[Way]:
    for number, one in enumerate(state.virtual_interfaces.values()):
        if one.vpn_gateway_id == gateway_id:
            site = next((site for site in state.sites.values() if site.connection_id == one.connection_id), None)
            inside = f"169.254.255.{4 * (number % 64) + 1}", f"169.254.255.{4 * (number % 64) + 2}"
            yield Way(one.id, site, site.cidrs if site else (), one.mtu_bytes, inside)


def site_behind(state: CloudState, connection: VpnConnection) -> Site | None:
    """The network whose VPN device has the address of the connection's customer gateway."""
    address = state.customer_gateways[connection.customer_gateway_id].ip_address
    return next((site for site in state.sites.values() if site.gateway_ip == address), None)


def _vpn(state: CloudState, connection: VpnConnection) -> Way:
    site = site_behind(state, connection)
    network = connection.tunnels[0].inside_cidr.partition("/")[0]
    start, _dot, last = network.rpartition(".")
    inside = f"{start}.{int(last) + 1}", f"{start}.{int(last) + 2}"
    learned = connection.routes if connection.static_routes_only else site.cidrs if site else ()
    return Way(connection.id, site, learned, site.vpn_mtu_bytes if site else VPN_MTU_BYTES, inside)


VPN_MTU_BYTES = 1446
"""What passes a Site-to-Site VPN tunnel. Source: docs/sources.md#virtual-private-gateways"""


def propagated(state: CloudState, table: RouteTable) -> tuple[VpcRoute, ...]:
    """The routes that a table learns: none inside the VPC, none where a static route has the same destination."""
    static = {route.destination for route in table.routes}
    cidrs = state.vpcs[table.vpc_id].cidrs
    found: dict[str, VpcRoute] = {}
    for gateway_id in table.propagating:
        gateway = state.vpn_gateways.get(gateway_id)
        if gateway is None or gateway.vpc_id != table.vpc_id:
            continue
        for destination in (one for way in ways_of(state, gateway_id) for one in way.destinations):
            if destination not in static and not any(contains(cidr, destination) for cidr in cidrs):
                found.setdefault(destination, VpcRoute(destination, gateway_id, propagated=True))
    return tuple(found.values())
