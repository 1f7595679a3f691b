"""Networks outside of AWS and what connects a VPC with them, as frozen values (pure).

AWS knows the virtual private gateway, the customer gateway (nothing but an address and an ASN), VPN connections and, in the service
Direct Connect, private virtual interfaces. The networks themselves (`Site`) are their owners': a scenario says what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from labnet.model.values import frozen


@frozen
class VpnGateway:
    """A virtual private gateway, attached to at most one VPC."""

    id: str
    vpc_id: str | None = None
    amazon_side_asn: int = 64_512
    state: Literal["available", "deleted"] = "available"
    ended_at_s: float | None = None
    availability_zone: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class CustomerGateway:
    """What AWS knows of the device at the other end of a VPN: its public address and its ASN."""

    id: str
    ip_address: str
    bgp_asn: int = 65_000
    device_name: str = ""
    state: Literal["available", "deleted"] = "available"
    ended_at_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class VpnTunnel:
    """One of the two tunnels of a VPN connection: AWS's public address, and the /30 inside, AWS first."""

    outside_ip: str
    inside_cidr: str
    pre_shared_key: str


@frozen
class VpnConnection:
    """A Site-to-Site VPN connection. `routes` are its static routes: blocks that lie behind the customer gateway."""

    id: str
    vpn_gateway_id: str
    customer_gateway_id: str
    static_routes_only: bool = False
    routes: tuple[str, ...] = ()
    tunnels: tuple[VpnTunnel, ...] = ()
    state: Literal["available", "deleted"] = "available"
    created_at_s: float = 0.0
    ended_at_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class VirtualInterface:
    """A private virtual interface of a Direct Connect connection, to a virtual private gateway."""

    id: str
    name: str
    connection_id: str
    vpn_gateway_id: str
    vlan: int
    asn: int
    mtu_bytes: int = 1500


@frozen
class SiteHost:
    """A host of a network outside of AWS."""

    name: str
    address: str


@frozen
class Site:
    """A network outside of AWS: `gateway_ip` is the public address of its VPN device, `connection_id` its Direct Connect connection.

    What it announces over BGP are its blocks; it knows a VPC's blocks while the way there is up.
    """

    name: str
    cidrs: tuple[str, ...]
    hosts: tuple[SiteHost, ...]
    gateway_ip: str
    connection_id: str
    asn: int = 65_000
    vpn_mtu_bytes: int = 1446
