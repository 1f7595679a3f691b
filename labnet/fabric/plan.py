"""The fabric of a whole cloud as slices (pure): what each namespace holds, from the cloud's objects alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from labnet.fabric import tables
from labnet.fabric.acls import plan_acls
from labnet.fabric.gateway import FABRIC_SLICE, cidr_elements, plan_igw, plan_internet, plan_public, router_sysctls, silence
from labnet.fabric.nat import plan_nat
from labnet.fabric.nodeos import plan_os, primaries
from labnet.fabric.peering import plan_peering
from labnet.fabric.places import is_alive, namespaces, node_netns_of, vpc_netns_of
from labnet.fabric.port import plan_eni, subnet_mark
from labnet.fabric.routing import plan_routes
from labnet.fabric.security import mark_text, plan_groups
from labnet.fabric.vpn import plan_site, plan_vgw
from labnet.fabric.zones import plan_zones
from labnet.model.addressing import contains, resolver_of, router_of
from labnet.model.cloud import CloudState, Subnet, Vpc
from labnet.model.names import internet_netns
from labnet.model.netstate import Addr, KernelObject, NftElement, Route, Slice

Part = tuple[str, Slice]
"""A namespace and a slice of it."""
NodeSysctls = Mapping[str, Mapping[str, str]]
"""Node name → sysctls that the scenario sets there."""


def plan_vpc(cloud: CloudState, vpc_id: str) -> Part:
    """(namespace, slice ``fabric``) of a VPC: all of it but its ports, its groups' rules, its gateways and its routes."""
    vpc = cloud.vpcs[vpc_id]
    subnets = [subnet for subnet in cloud.subnets.values() if subnet.vpc_id == vpc_id]
    services = services_of(vpc)
    objects: tuple[KernelObject, ...] = (
        *router_sysctls(),
        *(Addr("lo", router_of(subnet.cidr), 32) for subnet in subnets),
        *(Addr("lo", address, 32) for address in services),
        *(Route(cidr, type="blackhole") for cidr in vpc.cidrs),
        silence(),
        *tables.TABLES,
        *cidr_elements(vpc.cidrs, tables.TABLE),
        *(NftElement(tables.TABLE, tables.SERVICE_ADDRESS, (address,), ("ipv4_addr",), family="ip") for address in services),
        *(element for subnet in subnets for element in _router_elements(subnet, services)),
        *tables.ROUTER_TTL_RULES,
    )
    return vpc_netns_of(cloud, vpc_id), Slice(FABRIC_SLICE, objects)


def services_of(vpc: Vpc) -> tuple[str, ...]:
    """The addresses in a VPC that are AWS's own; no port's security group filters them. Source: docs/sources.md#dns"""
    return (*tables.SERVICES, tables.RESOLVER_ADDRESS, resolver_of(vpc.cidrs[0])) if vpc.dns_support else tables.SERVICES


def _router_elements(subnet: Subnet, services: tuple[str, ...]) -> tuple[NftElement, ...]:
    """What a subnet's mapping holds beside ENIs: the router and the services that are on its link, with the router's MAC."""
    mark = mark_text(subnet_mark(subnet))
    near = (address for address in services if address in tables.LINK_LOCAL or contains(subnet.cidr, address))
    return tuple(
        NftElement(tables.TABLE, tables.MAPPING, (mark, address), ("mark", "ipv4_addr", "ether_addr"), tables.ROUTER_MAC, family="netdev")
        for address in (router_of(subnet.cidr), *near)
    )


def plan_parts(cloud: CloudState, sysctls: NodeSysctls | None = None) -> tuple[Part, ...]:
    """Every (namespace, slice) of a cloud, in the order in which they can be applied to empty namespaces."""
    parts: list[Part] = [*(plan_site(cloud, site) for site in cloud.sites), *(plan_vpc(cloud, vpc_id) for vpc_id in cloud.vpcs)]
    if internet_netns(cloud.lab) in namespaces(cloud):
        parts.append((internet_netns(cloud.lab), plan_internet(cloud)))
    for gateway_id in cloud.internet_gateways:
        parts += plan_igw(cloud, gateway_id)
    parts += [(vpc_netns_of(cloud, vpc_id), plan(cloud, vpc_id)) for vpc_id in cloud.vpcs for plan in (plan_groups, plan_acls)]
    for eni_id in cloud.enis:
        parts += plan_eni(cloud, eni_id)
    for nat_id in cloud.nat_gateways:
        parts += plan_nat(cloud, nat_id)
    for peering_id in cloud.peerings:
        parts += plan_peering(cloud, peering_id)
    for vgw_id in cloud.vpn_gateways:
        parts += plan_vgw(cloud, vgw_id)
    parts += [(vpc_netns_of(cloud, vpc_id), plan_zones(cloud, vpc_id)) for vpc_id in cloud.vpcs]
    parts += [plan_routes(cloud, vpc_id) for vpc_id in cloud.vpcs]  # behind every port that a route may lead to
    parts += plan_nodes(cloud, cloud.instances, sysctls or {})
    for eni_id in cloud.enis:
        parts += plan_public(cloud, eni_id)
    return tuple(part for part in parts if part[1].objects)


def plan_nodes(cloud: CloudState, instance_ids: Iterable[str], sysctls: NodeSysctls) -> Iterator[Part]:
    """(namespace, slice ``os``) of those instances that are alive."""
    nodes = [cloud.instances[key] for key in instance_ids if is_alive(cloud.instances[key])]
    primary = primaries(cloud) if nodes else {}
    for instance in nodes:
        yield node_netns_of(cloud, instance), plan_os(cloud, instance, primary.get(instance.id), sysctls.get(instance.name))


def plan_all(cloud: CloudState, sysctls: NodeSysctls | None = None) -> dict[str, tuple[Slice, ...]]:
    """Namespace → its slices, for every namespace that the cloud needs; what repair and adoption compare with."""
    return by_namespace(namespaces(cloud), plan_parts(cloud, sysctls))


def by_namespace(netns: Iterable[str], parts: Iterable[Part]) -> dict[str, tuple[Slice, ...]]:
    """Parts sorted into their namespaces, order kept."""
    found: dict[str, tuple[Slice, ...]] = dict.fromkeys(netns, ())
    for name, part in parts:
        found[name] = (*found.get(name, ()), part)
    return found
