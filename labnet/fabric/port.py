"""One ENI as slices: its port in the VPC's namespace and its link on the node (pure).

::

    ip link add PORT address 0e:00:00:00:00:01 mtu 9001 type veth peer name ethN netns NODE address ENI-MAC mtu 9001
    ip route add ADDRESS dev PORT                         per private address
    ip route add PREFIX via PRIMARY dev PORT onlink       per /28 prefix: one route, the primary's neighbour serves it
    ip neigh add ADDRESS lladdr ENI-MAC dev PORT nud permanent
    nft add element ip vpc eni_address { PORT . ADDRESS } …

Neighbours are permanent: the table of dynamic ones is shared by the whole machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from labnet.fabric import tables
from labnet.fabric.acls import border_elements, subnet_number
from labnet.fabric.places import instance_of, node_netns_of, vpc_netns_of
from labnet.fabric.security import class_text, mark_text, profile_number, profile_of
from labnet.model.addressing import prefix_addresses, router_of
from labnet.model.cloud import CloudState, Eni, Subnet
from labnet.model.names import eni_link, eni_port
from labnet.model.netstate import KernelObject, Link, LinkUp, Neigh, NftElement, NftPortChain, Route, Slice, Sysctl, VethPeer

MTU_BYTES = 9001
"""What an ENI carries inside a VPC. Source: docs/sources.md#mtu"""


def slice_name(eni_id: str) -> str:
    """The name of an ENI's slices, in the fabric and on the node."""
    return f"eni:{eni_id}"


def subnet_mark(subnet: Subnet) -> int:
    """The number of a subnet on packets: its address in units of a /28, the smallest subnet, so no two are equal (28 bits)."""
    return subnet_number(subnet)


def delivered(eni: Eni) -> tuple[str, ...]:
    """Every address that the fabric delivers to an ENI: its own, and all sixteen of each prefix."""
    single = tuple(item.address for item in eni.addresses)
    return single + tuple(address for prefix in eni.prefixes for address in prefix_addresses(prefix))


def plan_eni(cloud: CloudState, eni_id: str) -> tuple[tuple[str, Slice], ...]:
    """(namespace, slice) of an attached ENI: the fabric's side, then the node's. Nothing for one that is not plugged in."""
    eni = cloud.enis[eni_id]
    instance = instance_of(cloud, eni)
    if instance is None or eni.attachment is None:
        return ()
    node, port = node_netns_of(cloud, instance), eni_port(eni_id)
    link = eni_link(eni.attachment.device_index, eni.attachment.network_card_index)
    near = Link(port, tables.ROUTER_MAC, mtu_bytes=MTU_BYTES, peer=VethPeer(node, link, eni.mac))
    far = Link(link, eni.mac, mtu_bytes=MTU_BYTES, made_by="peer")
    objects = (near, *_port(cloud, eni, port), *addressed(cloud, eni, port))
    name = slice_name(eni_id)
    return (vpc_netns_of(cloud, eni.vpc_id), Slice(name, objects)), (node, Slice(name, (far,)))


def _port(cloud: CloudState, eni: Eni, port: str) -> Iterator[KernelObject]:
    """The port itself: what it is before any address is assigned."""
    yield from wired(cloud, eni, port)
    number = profile_number(profile_of(eni.security_groups))
    yield _ip(tables.PORT_SENDER, (port,), ("ifname", "mark"), mark_text(number))
    yield _ip(tables.PORT_RECEIVER, (port,), ("ifname", "classid"), class_text(number))
    if not eni.source_dest_check:
        yield _ip(tables.NO_CHECK, (port,), ("ifname",))
        yield _netdev(tables.NO_CHECK, (port,), ("ifname",))


def wired(cloud: CloudState, eni: Eni, port: str) -> Iterator[KernelObject]:
    """What every port in a subnet is, whoever is behind it: up, strict on layer 2, with its subnet's mark and router."""
    subnet = cloud.subnets[eni.subnet_id]
    yield from port_sysctls(port)
    yield Sysctl(f"net/ipv4/conf/{port}/proxy_arp", "1")
    yield Sysctl(f"net/ipv4/neigh/{port}/proxy_delay", "0")
    yield LinkUp(port)
    yield NftPortChain(tables.TABLE, f"in_{port}", port, "ingress", tables.CHAIN_IN)
    yield NftPortChain(tables.TABLE, f"out_{port}", port, "egress", tables.CHAIN_OUT)
    yield _netdev(tables.PORT_MAC, (port, eni.mac), ("ifname", "ether_addr"))
    yield _netdev(tables.PORT_SUBNET, (port,), ("ifname", "mark"), mark_text(subnet_mark(subnet)))
    yield _ip(tables.PORT_ROUTER, (port,), ("ifname", "ipv4_addr"), router_of(subnet.cidr))
    yield from border_elements(port, subnet)


def port_sysctls(link: str) -> tuple[Sysctl, ...]:
    """What every link of the fabric and its gateways needs beside `all` and `default`, which are copied at creation only."""
    return (Sysctl(f"net/ipv4/conf/{link}/rp_filter", "0"), Sysctl(f"net/ipv4/conf/{link}/send_redirects", "0"))


def addressed(cloud: CloudState, eni: Eni, port: str) -> Iterator[KernelObject]:
    """What makes the fabric deliver each address, and take it as a source."""
    for item in eni.addresses:
        yield Neigh(port, item.address, eni.mac)
        yield Route(f"{item.address}/32", dev=port, scope="link")
    for prefix in eni.prefixes:
        yield Route(prefix, dev=port, via=eni.primary, onlink=True)
    mark = mark_text(subnet_mark(cloud.subnets[eni.subnet_id]))
    for address in delivered(eni):
        yield _ip(tables.ENI_ADDRESS, (port, address), ("ifname", "ipv4_addr"))
        yield _netdev(tables.MAPPING, (mark, address), ("mark", "ipv4_addr", "ether_addr"), eni.mac)
        yield _netdev(tables.MAPPED, (mark, address, eni.mac), ("mark", "ipv4_addr", "ether_addr"))
        yield _netdev(tables.SOURCES, (port, eni.mac, address), ("ifname", "ether_addr", "ipv4_addr", "mark"), mark)


def _ip(set_name: str, fields: tuple[str, ...], types: tuple[str, ...], value: str | None = None) -> NftElement:
    return NftElement(tables.TABLE, set_name, fields, types, value, family="ip")


def _netdev(set_name: str, fields: tuple[str, ...], types: tuple[str, ...], value: str | None = None) -> NftElement:
    return NftElement(tables.TABLE, set_name, fields, types, value, family="netdev")
