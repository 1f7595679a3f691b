"""VPC peering as slices (pure): a veth between the namespaces of two VPCs.

::

    <lab>-vpc   x<peering id> ──────── x<peering id>   <lab>-vpc.blue

Each VPC lets out what has a source inside it, and takes what has a destination inside it: that is why a peer's peer, gateway or
NAT gateway cannot be reached through it. Whether anything goes there at all is what the two route tables say.
Source: docs/sources.md#peering
"""

from __future__ import annotations

from collections.abc import Iterator

from labnet.fabric import tables
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.port import MTU_BYTES, port_sysctls
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import Peering
from labnet.model.names import peering_port
from labnet.model.netstate import KernelObject, Link, LinkUp, Neigh, NftElement, Slice, VethPeer

_AT_REQUESTER, _AT_ACCEPTER = "169.254.200.9", "169.254.200.10"
_MAC_REQUESTER, _MAC_ACCEPTER = "0e:00:00:00:00:05", "0e:00:00:00:00:06"


def is_linked(cloud: CloudState, peering: Peering) -> bool:
    """Is there a way: accepted, not deleted, and both VPCs are there?"""
    return peering.state == "active" and {peering.requester.vpc_id, peering.accepter.vpc_id} <= cloud.vpcs.keys()


def address_beyond(peering: Peering, vpc_id: str) -> str:
    """The next hop towards the other VPC, as one of the two sees it: a transfer address that stands on no link."""
    return _AT_ACCEPTER if peering.requester.vpc_id == vpc_id else _AT_REQUESTER


def plan_peering(cloud: CloudState, peering_id: str) -> tuple[tuple[str, Slice], ...]:
    """(namespace, slice) of both sides of an active peering connection. Else nothing."""
    peering = cloud.peerings[peering_id]
    if not is_linked(cloud, peering):
        return ()
    port, name = peering_port(peering_id), f"peering:{peering_id}"
    near, far = vpc_netns_of(cloud, peering.requester.vpc_id), vpc_netns_of(cloud, peering.accepter.vpc_id)
    asking = Link(port, _MAC_REQUESTER, mtu_bytes=MTU_BYTES, peer=VethPeer(far, port, _MAC_ACCEPTER))
    asked = Link(port, _MAC_ACCEPTER, mtu_bytes=MTU_BYTES, made_by="peer")
    return (
        (near, Slice(name, (asking, *_side(port, _AT_ACCEPTER, _MAC_ACCEPTER)))),
        (far, Slice(name, (asked, *_side(port, _AT_REQUESTER, _MAC_REQUESTER)))),
    )


def _side(port: str, beyond: str, mac: str) -> Iterator[KernelObject]:
    yield from port_sysctls(port)
    yield LinkUp(port)
    yield Neigh(port, beyond, mac)
    for name in (tables.GATEWAYS, tables.PEERINGS):
        yield NftElement(tables.TABLE, name, (port,), ("ifname",), family="ip")
