"""Virtual private gateways and the networks outside of AWS as slices (pure).

::

    <lab>-vpc   vgw ──────── vpc   <lab>-vgw   v<connection> ──────── v<connection>   <lab>-onprem   lo HOSTS
       169.254.200.13  169.254.200.14      169.254.A.1                  169.254.A.2

One veth for each VPN connection or private virtual interface that has somebody at both ends, as wide as the tunnel: an encrypted
tunnel is a link in clear text here. The gateway is a hop; it translates nothing. From the VPC it takes what has a source inside and a
destination that it knows a way to, from outside what has a destination inside the VPC: neither the VPC's other gateways nor a peer can
be reached through it. A network outside is one namespace with all its hosts; it knows a VPC's blocks by the tunnel alone.
Source: docs/sources.md#virtual-private-gateways
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from labnet.ec2.rules.ways import Way, ways_of
from labnet.fabric import tables
from labnet.fabric.gateway import FABRIC_SLICE, cidr_elements, router_sysctls, silence
from labnet.fabric.places import site_netns_of, vgw_netns_of, vpc_netns_of
from labnet.fabric.port import MTU_BYTES, port_sysctls
from labnet.model.addressing import bounds, contains
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpn import Site, VpnGateway
from labnet.model.names import tunnel_link
from labnet.model.netstate import Addr, KernelObject, Link, LinkUp, Neigh, NftElement, Route, Slice, Sysctl, VethPeer

VPC_PORT, GATEWAY_VPC = "vgw", "vpc"
VPC_SLICE = "vgw"
_AT_VPC, AT_GATEWAY = "169.254.200.13", "169.254.200.14"
_MAC_GATEWAY, _MAC_TUNNEL, _MAC_SITE = "0e:00:00:00:00:07", "0e:00:00:00:00:08", "0e:00:00:00:00:09"

Part = tuple[str, Slice]


def plan_site(cloud: CloudState, name: str) -> Part:
    """(namespace, slice ``fabric``) of a network outside: its hosts, and silence for all that nobody has. It forwards nothing."""
    site = cloud.sites[name]
    objects: tuple[KernelObject, ...] = (
        *(item for item in router_sysctls() if item.path != "net/ipv4/ip_forward"),
        Sysctl("net/ipv4/ip_forward", "0"),
        *(Addr("lo", host.address, 32) for host in site.hosts),
        silence(),
    )
    return site_netns_of(cloud, name), Slice(FABRIC_SLICE, objects)


def linked_ways(cloud: CloudState, gateway_id: str) -> tuple[tuple[Way, Site], ...]:
    """The ways of an attached gateway that lead somewhere."""
    if cloud.vpn_gateways[gateway_id].vpc_id not in cloud.vpcs:
        return ()
    return tuple((way, way.site) for way in ways_of(cloud, gateway_id) if way.site is not None)


def ways_to(cloud: CloudState, site: str) -> Iterator[tuple[Way, str]]:
    """(way, VPC) of every way that a network outside has, in its order of preference: where two VPCs share a block the first has it."""
    for gateway in cloud.vpn_gateways.values():
        for way, there in linked_ways(cloud, gateway.id):
            if there.name == site and gateway.vpc_id is not None:
                yield way, gateway.vpc_id


def plan_vgw(cloud: CloudState, gateway_id: str) -> tuple[Part, ...]:
    """(namespace, slice) of an attached gateway: the VPC's port, its own namespace, the far end of each tunnel. Else nothing."""
    vpc_id = cloud.vpn_gateways[gateway_id].vpc_id
    if vpc_id is None or vpc_id not in cloud.vpcs:
        return ()
    own = vgw_netns_of(cloud, vpc_id)
    parts = [
        (vpc_netns_of(cloud, vpc_id), Slice(VPC_SLICE, tuple(_vpc_side(own)))),
        (own, Slice(FABRIC_SLICE, tuple(_own_side(cloud, gateway_id, vpc_id)))),
    ]
    for way, site in linked_ways(cloud, gateway_id):
        parts.append((site_netns_of(cloud, site.name), Slice(f"vpn:{way.id}", tuple(_site_side(cloud, way, site, vpc_id)))))
    return tuple(parts)


def _vpc_side(own: str) -> Iterator[KernelObject]:
    yield Link(VPC_PORT, tables.ROUTER_MAC, mtu_bytes=MTU_BYTES, peer=VethPeer(own, GATEWAY_VPC, _MAC_GATEWAY))
    yield from port_sysctls(VPC_PORT)
    yield LinkUp(VPC_PORT)
    yield NftElement(tables.TABLE, tables.GATEWAYS, (VPC_PORT,), ("ifname",), family="ip")
    yield Neigh(VPC_PORT, AT_GATEWAY, _MAC_GATEWAY)


def _own_side(cloud: CloudState, gateway_id: str, vpc_id: str) -> Iterator[KernelObject]:
    cidrs, ways = cloud.vpcs[vpc_id].cidrs, linked_ways(cloud, gateway_id)
    yield from router_sysctls()
    yield Link(GATEWAY_VPC, _MAC_GATEWAY, mtu_bytes=MTU_BYTES, made_by="peer")
    for way, site in ways:
        peer = VethPeer(site_netns_of(cloud, site.name), tunnel_link(way.id), _MAC_SITE)
        yield Link(tunnel_link(way.id), _MAC_TUNNEL, mtu_bytes=way.mtu_bytes, peer=peer)
    for link in (GATEWAY_VPC, *(tunnel_link(way.id) for way, _site in ways)):
        yield from port_sysctls(link)
        yield LinkUp(link)
    yield Neigh(GATEWAY_VPC, _AT_VPC, tables.ROUTER_MAC)
    yield from (Route(cidr, dev=GATEWAY_VPC, via=_AT_VPC, onlink=True) for cidr in cidrs)
    known: dict[str, Route] = {}
    for way, _site in ways:
        link, (near, far) = tunnel_link(way.id), way.inside
        yield Addr(link, near, 30, connected_route=False)
        yield Neigh(link, far, _MAC_SITE)
        for destination in way.destinations:
            if not any(contains(cidr, destination) for cidr in cidrs):
                known.setdefault(destination, Route(_kernels(destination), dev=link, via=far, onlink=True))
    yield from known.values()
    yield silence()
    yield from tables.VGW_TABLES
    yield from cidr_elements(cidrs, tables.VGW_TABLE)
    yield from (NftElement(tables.VGW_TABLE, tables.BEYOND, (cidr,), ("ipv4_addr",), family="ip") for cidr in _largest(known))


def _kernels(destination: str) -> str:
    return "default" if destination == "0.0.0.0/0" else destination


def _largest(cidrs: dict[str, Route]) -> list[str]:
    """The blocks that lie in no other one: an interval set takes no overlaps."""
    return [one for one in sorted(cidrs, key=bounds) if not any(contains(other, one) for other in cidrs if other != one)]


def _site_side(cloud: CloudState, way: Way, site: Site, vpc_id: str) -> Iterator[KernelObject]:
    link, (near, far) = tunnel_link(way.id), way.inside
    yield Link(link, _MAC_SITE, mtu_bytes=way.mtu_bytes, made_by="peer")
    yield from port_sysctls(link)
    yield LinkUp(link)
    yield Addr(link, far, 30, connected_route=False)
    yield Neigh(link, near, _MAC_TUNNEL)
    taken = _taken_before(cloud, way, site)
    for cidr in cloud.vpcs[vpc_id].cidrs:
        if cidr not in taken:
            yield Route(cidr, dev=link, via=near, onlink=True, src=site.hosts[0].address if site.hosts else None)


def _taken_before(cloud: CloudState, way: Way, site: Site) -> set[str]:
    """The VPCs' blocks to which a network outside has a better way already."""
    found: set[str] = set()
    for other, vpc_id in ways_to(cloud, site.name):
        if other.id == way.id:
            break
        found |= set(cloud.vpcs[vpc_id].cidrs)
    return found


def gateways_touched(old: CloudState, new: CloudState, vpcs: Collection[str]) -> tuple[VpnGateway, ...]:
    """The gateways of both states, if anything changed that their ways follow from, `vpcs` too: there are few, and they share networks."""
    shelves = (
        (old.vpn_gateways, new.vpn_gateways), (old.customer_gateways, new.customer_gateways), (old.vpn_connections, new.vpn_connections),
        (old.virtual_interfaces, new.virtual_interfaces),
    )
    gateways = (*old.vpn_gateways.values(), *new.vpn_gateways.values())
    changed = any(was is not now for was, now in shelves) or any(gateway.vpc_id in vpcs for gateway in gateways)
    return gateways if changed else ()
