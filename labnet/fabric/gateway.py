"""The internet gateway and the Internet as slices (pure).

::

    <lab>-vpc   igw ──────── vpc   <lab>-igw   wan ──────── i<gateway id>   <lab>-internet   lo 1.1.1.1 8.8.8.8 192.0.2.10
        169.254.200.1   169.254.200.2      169.254.200.5   169.254.200.6

The transfer addresses stand on no link: routes go `via … onlink` to permanent neighbours, so nothing resolves or answers
there. The gateway translates one private address to one public address by two maps, in a namespace of its own, so that
traffic between two public addresses of one VPC passes it as on AWS; it is no hop.

Source: docs/sources.md#gateways
"""

from __future__ import annotations

from collections.abc import Iterator

from labnet.fabric import tables
from labnet.fabric.places import gateway_of, igw_netns_of, vpc_netns_of
from labnet.fabric.port import port_sysctls
from labnet.model.cloud import CloudState, Eni, InternetGateway
from labnet.model.names import internet_netns
from labnet.model.netstate import Addr, KernelObject, Link, LinkUp, Neigh, NftElement, Route, Slice, Sysctl, VethPeer

MTU_BYTES = 1500
"""What passes an internet gateway. Source: docs/sources.md#mtu"""

INTERNET_ADDRESSES = ("1.1.1.1", "8.8.8.8", "192.0.2.10")
"""What answers in the Internet."""

VPC_PORT, GATEWAY_VPC, GATEWAY_WAN = "igw", "vpc", "wan"
_AT_VPC, AT_GATEWAY, _AT_WAN, _AT_INTERNET = "169.254.200.1", "169.254.200.2", "169.254.200.5", "169.254.200.6"
_MAC_GATEWAY, _MAC_WAN, _MAC_INTERNET = "0e:00:00:00:00:02", "0e:00:00:00:00:03", "0e:00:00:00:00:04"
LAST_METRIC = 4294967295

FABRIC_SLICE, IGW_SLICE = "fabric", "igw"

ROUTER_SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    *((f"net/ipv4/conf/{scope}/{name}", value) for scope in ("all", "default") for name, value in (
        ("rp_filter", "0"), ("send_redirects", "0"), ("accept_redirects", "0"), ("accept_source_route", "0"), ("proxy_arp", "0"),
        ("arp_ignore", "0"), ("arp_announce", "0"), ("arp_filter", "0"), ("arp_accept", "0"), ("accept_local", "0"), ("log_martians", "0"),
    )),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_errors_use_inbound_ifaddr", "0"),
    ("net/ipv4/ip_forward_use_pmtu", "0"),
    ("net/ipv4/ip_default_ttl", "64"),
    ("net/ipv4/ip_early_demux", "0"),  # looks for a socket of each packet, and almost all go on
)  # fmt: skip
"""What a namespace that forwards needs, written out: a new namespace inherits the machine's values."""


def router_sysctls() -> tuple[Sysctl, ...]:
    """The sysctls of the fabric, the gateways and the Internet."""
    return tuple(Sysctl(path, value) for path, value in ROUTER_SYSCTLS)


def silence() -> Route:
    """No route means no answer, not an ICMP error. Source: docs/sources.md#fabric"""
    return Route("default", type="blackhole", metric=LAST_METRIC)


def internet_port(gateway_id: str) -> str:
    """The Internet's end of a gateway's veth."""
    return f"i{gateway_id[-13:]}"


def cidr_elements(cidrs: tuple[str, ...], table: str) -> tuple[NftElement, ...]:
    """A VPC's blocks as elements of the interval set that guards gateways."""
    return tuple(NftElement(table, tables.VPC_CIDRS, (cidr,), ("ipv4_addr",), family="ip") for cidr in cidrs)


def plan_igw(cloud: CloudState, gateway_id: str) -> tuple[tuple[str, Slice], ...]:
    """(namespace, slice) of an attached gateway: the fabric's port, its own namespace, its place in the Internet. Else nothing."""
    gateway = cloud.internet_gateways[gateway_id]
    if gateway.vpc_id is None or gateway.vpc_id not in cloud.vpcs:
        return ()
    internet = internet_netns(cloud.lab)
    return (
        (vpc_netns_of(cloud, gateway.vpc_id), Slice(IGW_SLICE, tuple(_vpc_side(cloud, gateway.vpc_id)))),
        (igw_netns_of(cloud, gateway.vpc_id), Slice(FABRIC_SLICE, tuple(_own_side(cloud, gateway, gateway.vpc_id, internet)))),
        (internet, Slice(f"igw:{gateway_id}", tuple(_internet_side(gateway)))),
    )


def _vpc_side(cloud: CloudState, vpc_id: str) -> Iterator[KernelObject]:
    peer = VethPeer(igw_netns_of(cloud, vpc_id), GATEWAY_VPC, _MAC_GATEWAY)
    yield Link(VPC_PORT, tables.ROUTER_MAC, mtu_bytes=MTU_BYTES, peer=peer)
    yield from port_sysctls(VPC_PORT)
    yield LinkUp(VPC_PORT)
    yield NftElement(tables.TABLE, tables.GATEWAYS, (VPC_PORT,), ("ifname",), family="ip")
    yield Neigh(VPC_PORT, AT_GATEWAY, _MAC_GATEWAY)


def _own_side(cloud: CloudState, gateway: InternetGateway, vpc_id: str, internet: str) -> Iterator[KernelObject]:
    cidrs = cloud.vpcs[vpc_id].cidrs
    yield from router_sysctls()
    yield Link(GATEWAY_VPC, _MAC_GATEWAY, mtu_bytes=MTU_BYTES, made_by="peer")
    yield Link(GATEWAY_WAN, _MAC_WAN, mtu_bytes=MTU_BYTES, peer=VethPeer(internet, internet_port(gateway.id), _MAC_INTERNET))
    for link in (GATEWAY_VPC, GATEWAY_WAN):
        yield from port_sysctls(link)
        yield LinkUp(link)
    yield Neigh(GATEWAY_VPC, _AT_VPC, tables.ROUTER_MAC)
    yield Neigh(GATEWAY_WAN, _AT_INTERNET, _MAC_INTERNET)
    yield from (Route(cidr, dev=GATEWAY_VPC, via=_AT_VPC, onlink=True) for cidr in cidrs)
    yield Route("default", dev=GATEWAY_WAN, via=_AT_INTERNET, onlink=True)
    yield from tables.GATEWAY_TABLES
    yield from cidr_elements(cidrs, tables.GATEWAY_TABLE)
    yield from tables.TTL_RULES


def _internet_side(gateway: InternetGateway) -> Iterator[KernelObject]:
    link = internet_port(gateway.id)
    yield Link(link, _MAC_INTERNET, mtu_bytes=MTU_BYTES, made_by="peer")
    yield from port_sysctls(link)
    yield LinkUp(link)
    yield Neigh(link, _AT_WAN, _MAC_WAN)


def plan_internet(cloud: CloudState) -> Slice:
    """The Internet itself: addresses that answer, and silence for all that nobody has."""
    answers = tuple(Addr("lo", address, 32) for address in INTERNET_ADDRESSES)
    return Slice(FABRIC_SLICE, (*router_sysctls(), *answers, silence()))


def public_addresses(eni: Eni) -> dict[str, str]:
    """Public → private, for each association of an ENI."""
    return {item.public: item.address for item in eni.addresses if item.public is not None}


def plan_public(cloud: CloudState, eni_id: str) -> tuple[tuple[str, Slice], ...]:
    """(namespace, slice) for each association of an ENI: the gateway's two map elements, the Internet's route."""
    eni = cloud.enis[eni_id]
    public = public_addresses(eni)
    gateway = gateway_of(cloud, eni.vpc_id) if public else None
    if gateway is None or eni.vpc_id not in cloud.vpcs:
        return ()
    parts: list[tuple[str, Slice]] = []
    for outside, inside in public.items():
        pair = (
            NftElement(tables.GATEWAY_TABLE, tables.TO_PRIVATE, (outside,), ("ipv4_addr", "ipv4_addr"), inside, family="ip"),
            NftElement(tables.GATEWAY_TABLE, tables.TO_PUBLIC, (inside,), ("ipv4_addr", "ipv4_addr"), outside, family="ip"),
        )
        back = Route(f"{outside}/32", dev=internet_port(gateway.id), via=_AT_WAN, onlink=True)
        parts.append((igw_netns_of(cloud, eni.vpc_id), Slice(f"public:{outside}", pair)))
        parts.append((internet_netns(cloud.lab), Slice(f"public:{outside}", (back,))))
    return tuple(parts)
