"""Small makers of networks outside of AWS and what connects a VPC with them: the cloud's dataclasses directly, no EC2 rules in between."""

from __future__ import annotations

from dataclasses import replace

from labnet.model.cloud import CloudState
from labnet.model.cloud_vpn import CustomerGateway, Site, SiteHost, VirtualInterface, VpnConnection, VpnGateway, VpnTunnel

VGW = "vgw-00000000000000001"
OFFICE_VPN = "vpn-0000000000office1"


def with_site(cloud: CloudState, name: str, cidr: str, *addresses: str, device: str = "192.0.2.201") -> CloudState:
    hosts = tuple(SiteHost(f"{name}-{number}", address) for number, address in enumerate(addresses, 1))
    site = Site(name, (cidr,), hosts, device, f"dxcon-{name}")
    return replace(cloud, sites={**cloud.sites, name: site})


def with_vgw(cloud: CloudState, vpc_id: str | None = "vpc-1", key: str = VGW) -> CloudState:
    return replace(cloud, vpn_gateways={**cloud.vpn_gateways, key: VpnGateway(key, vpc_id)})


def with_vpn(
    cloud: CloudState, site: str, *routes: str, key: str = OFFICE_VPN, gateway: str = VGW, static: bool = True, inside: str = "169.254.77.0/30",
) -> CloudState:
    """A VPN connection to a site's device; `routes` are its static ones."""
    customer = CustomerGateway(f"cgw-{site}", cloud.sites[site].gateway_ip)
    made = VpnConnection(key, gateway, customer.id, static, routes, (VpnTunnel("198.18.0.1", inside, "secret-one"),))
    return replace(
        cloud, customer_gateways={**cloud.customer_gateways, customer.id: customer}, vpn_connections={**cloud.vpn_connections, key: made},
    )


def with_interface(
    cloud: CloudState, site: str, *, key: str = "dxvif-00000000000000001", gateway: str = VGW, mtu: int = 1500
) -> CloudState:
    one = VirtualInterface(key, site, cloud.sites[site].connection_id, gateway, 101, 65_000, mtu)
    return replace(cloud, virtual_interfaces={**cloud.virtual_interfaces, key: one})


def propagating(cloud: CloudState, table_id: str, *gateways: str) -> CloudState:
    table = replace(cloud.route_tables[table_id], propagating=gateways)
    return replace(cloud, route_tables={**cloud.route_tables, table_id: table})
