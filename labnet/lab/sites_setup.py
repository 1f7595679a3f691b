"""A scenario's networks outside of AWS: what they are, the EC2 calls that connect them, and how they are shown.

A network's VPN device has a public address of its own, by which its customer gateway names it; a Direct Connect connection has an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.ec2.rules.ways import VPN_MTU_BYTES
from labnet.fabric.places import site_netns_of
from labnet.fabric.vpn import ways_to
from labnet.lab.routes_setup import VPN_GATEWAY, tagged
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpn import Site, SiteHost
from labnet.model.names import aws_id
from labnet.model.scenario import Scenario, SiteSpec
from labnet.ports import Ec2Api

DEVICES = "192.0.2."
FIRST_DEVICE = 201
ASN = 65_000
FIRST_VLAN = 101


def sites_of(scenario: Scenario, lab: str) -> dict[str, Site]:
    """The networks as the cloud's state holds them, by name."""
    return {spec.name: _site(spec, number, scenario.seed, lab) for number, spec in enumerate(scenario.on_premises)}


def _site(spec: SiteSpec, number: int, seed: int, lab: str) -> Site:
    mtu = spec.mtu_bytes if spec.connection == "vpn" else VPN_MTU_BYTES
    hosts = tuple(SiteHost(name, address) for name, address in spec.hosts)
    return Site(
        spec.name, spec.cidrs, hosts, f"{DEVICES}{FIRST_DEVICE + number}", aws_id("dxcon", seed, lab, spec.name), ASN + number, mtu,
    )


async def connect(
    api: Ec2Api, scenario: Scenario, sites: Mapping[str, Site], vpcs: Mapping[str, str], targets: dict[str, str],
) -> None:
    """Virtual private gateways, attached, and a connection to each network; fills `targets`. Errors: Ec2Error."""
    for vpc in scenario.vpcs:
        if vpc.vpn_gateway:
            made = await api.call("CreateVpnGateway", {"Type": "ipsec.1", "TagSpecifications": [tagged("vpn-gateway", vpc.name)]})
            gateway_id = targets[f"{vpc.name}/{VPN_GATEWAY}"] = str(made["VpnGateway"]["VpnGatewayId"])
            await api.call("AttachVpnGateway", {"VpnGatewayId": gateway_id, "VpcId": vpcs[vpc.name]})
    for number, spec in enumerate(scenario.on_premises):
        gateway_id = targets[f"{spec.vpc}/{VPN_GATEWAY}"]
        if spec.connection == "vpn":
            await _vpn(api, sites[spec.name], gateway_id)
        else:
            await _line(api, sites[spec.name], gateway_id, FIRST_VLAN + number, spec.mtu_bytes)
    for vpc in scenario.vpcs:
        if vpc.vpn_gateway and not vpc.route_tables:
            await _propagate(api, vpcs[vpc.name], targets[f"{vpc.name}/{VPN_GATEWAY}"])


async def _vpn(api: Ec2Api, site: Site, gateway_id: str) -> None:
    """A Site-to-Site VPN connection whose static routes are the network's blocks."""
    wanted: dict[str, Any] = {
        "Type": "ipsec.1", "IpAddress": site.gateway_ip, "BgpAsn": site.asn, "TagSpecifications": [tagged("customer-gateway", site.name)],
    }
    customer = (await api.call("CreateCustomerGateway", wanted))["CustomerGateway"]["CustomerGatewayId"]
    wanted = {
        "Type": "ipsec.1", "CustomerGatewayId": customer, "VpnGatewayId": gateway_id, "Options": {"StaticRoutesOnly": True},
        "TagSpecifications": [tagged("vpn-connection", site.name)],
    }
    connection = (await api.call("CreateVpnConnection", wanted))["VpnConnection"]["VpnConnectionId"]
    for cidr in site.cidrs:
        await api.call("CreateVpnConnectionRoute", {"VpnConnectionId": connection, "DestinationCidrBlock": cidr})


async def _line(api: Ec2Api, site: Site, gateway_id: str, vlan: int, mtu_bytes: int) -> None:
    """A private virtual interface of the network's Direct Connect connection, which announces its blocks."""
    interface = {"virtualInterfaceName": site.name, "virtualGatewayId": gateway_id, "vlan": vlan, "asn": site.asn, "mtu": mtu_bytes}
    params = {"connectionId": site.connection_id, "newPrivateVirtualInterface": interface}
    await api.call("directconnect:CreatePrivateVirtualInterface", params)


async def _propagate(api: Ec2Api, vpc_id: str, gateway_id: str) -> None:
    """Every route table that a VPC has by itself learns what its gateway knows."""
    found = await api.call("DescribeRouteTables", {"Filters": [{"Name": "vpc-id", "Values": [vpc_id]}]})
    for table in found["RouteTables"]:
        await api.call("EnableVgwRoutePropagation", {"RouteTableId": table["RouteTableId"], "GatewayId": gateway_id})


def outside(cloud: CloudState) -> dict[str, tuple[str, str]]:
    """Name → (namespace, address) of networks and their hosts, the first network first."""
    found: dict[str, tuple[str, str]] = {}
    for site in cloud.sites.values():
        netns = site_netns_of(cloud, site.name)
        found[site.name] = netns, site.hosts[0].address
        found |= {host.name: (netns, host.address) for host in site.hosts}
    return found


def sites(cloud: CloudState) -> list[dict[str, Any]]:
    """The networks in the status document; `connections` are those over which anything goes now, the preferred one first."""
    return [
        {
            "name": site.name, "netns": site_netns_of(cloud, site.name), "cidrs": list(site.cidrs), "ip": site.hosts[0].address,
            "hosts": [{"name": host.name, "ip": host.address} for host in site.hosts],
            "connections": [
                {"id": way.id, "vpc": cloud.vpcs[vpc_id].name, "mtu": way.mtu_bytes, "link": "clear text"}
                for way, vpc_id in ways_to(cloud, site.name)
            ],
        }
        for site in cloud.sites.values()
    ]
