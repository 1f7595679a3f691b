"""NAT gateways as slices (pure): a namespace of its own behind a port in its subnet.

::

    <lab>-vpc   n<gateway id> ──────── vpc   <lab>-nat.<gateway id>   PRIVATE/32

In the fabric its ENI is one of the subnet, with its address and MAC, and its subnet's route table says where translated packets
go on. It is a hop. It takes what routes bring, translates it to its one address, and answers nothing and nobody itself.
Source: docs/sources.md#nat-gateways
"""

from __future__ import annotations

from collections.abc import Iterator

from labnet.fabric import tables
from labnet.fabric.gateway import FABRIC_SLICE, router_sysctls
from labnet.fabric.gateway import MTU_BYTES as INTERNET_MTU_BYTES
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.port import addressed, port_sysctls, wired
from labnet.model.addressing import router_of
from labnet.model.cloud import CloudState, Eni
from labnet.model.names import nat_netns, nat_port
from labnet.model.netstate import Addr, KernelObject, Link, LinkUp, Neigh, NftElement, Route, Slice, Sysctl, VethPeer

LINK = "vpc"
MTU_BYTES = 8500
"""What a NAT gateway takes. Source: docs/sources.md#nat-gateways"""
IDLE_TIMEOUT_S = 350
"""After so long without a packet a flow is forgotten. Source: docs/sources.md#nat-gateways"""

_TRACKING = (
    *((f"net/netfilter/nf_conntrack_{name}", str(IDLE_TIMEOUT_S)) for name in ("tcp_timeout_established", "udp_timeout", "udp_timeout_stream")),
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
)
"""A TCP flow begins with its SYN: what comes in the middle of one that is not known is answered with a reset."""


def plan_nat(cloud: CloudState, nat_id: str) -> tuple[tuple[str, Slice], ...]:
    """(namespace, slice) of an available NAT gateway: the fabric's port, then its own namespace. Else nothing."""
    nat = cloud.nat_gateways[nat_id]
    eni = cloud.enis.get(nat.eni_id) if nat.state == "available" else None
    if eni is None or nat.vpc_id not in cloud.vpcs:
        return ()
    port, own = nat_port(nat_id), nat_netns(cloud.lab, nat_id)
    near = Link(port, tables.ROUTER_MAC, mtu_bytes=MTU_BYTES, peer=VethPeer(own, LINK, eni.mac))
    gateway = NftElement(tables.TABLE, tables.GATEWAYS, (port,), ("ifname",), family="ip")
    fabric = (near, *wired(cloud, eni, port), gateway, *addressed(cloud, eni, port))
    return (
        (vpc_netns_of(cloud, nat.vpc_id), Slice(f"nat:{nat_id}", fabric)),
        (own, Slice(FABRIC_SLICE, tuple(_own_side(cloud, eni)))),
    )


def _own_side(cloud: CloudState, eni: Eni) -> Iterator[KernelObject]:
    router = router_of(cloud.subnets[eni.subnet_id].cidr)
    yield from router_sysctls()
    yield from (Sysctl(path, value) for path, value in _TRACKING)
    yield Link(LINK, eni.mac, mtu_bytes=MTU_BYTES, made_by="peer")
    yield from port_sysctls(LINK)
    yield LinkUp(LINK)
    yield Addr(LINK, eni.primary, 32)
    yield Neigh(LINK, router, tables.ROUTER_MAC)
    yield from (Route(cidr, dev=LINK, via=router, onlink=True) for cidr in cloud.vpcs[eni.vpc_id].cidrs)
    yield Route("default", dev=LINK, via=router, onlink=True, mtu_bytes=INTERNET_MTU_BYTES)  # so that it says itself what is too big
    yield from tables.NAT_TABLES
    yield NftElement(tables.NAT_TABLE, tables.OWN_ADDRESS, (LINK,), ("ifname", "ipv4_addr"), eni.primary, family="ip")
