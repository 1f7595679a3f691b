"""A checked `Document` → `Scenario`: short forms written out, counts expanded (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.scenario_problems import Path
from labnet.model.addressing import bounds, to_text
from labnet.model.behaviour import DenySpec, Ec2Spec, FaultSpec, Latency
from labnet.model.cluster import ContainerSpec
from labnet.model.durations import seconds_of
from labnet.model.scenario import (
    Check,
    CidrReservationSpec,
    CniSpec,
    Ec2Check,
    EventCheck,
    KernelCheck,
    NatGatewaySpec,
    NetworkAclEntrySpec,
    NetworkAclSpec,
    NetworkInterfaceSpec,
    NodeSpec,
    PacketCheck,
    PeeringSpec,
    PodCheck,
    PodSpec,
    PrefixListSpec,
    RouteTableSpec,
    Scenario,
    SecurityGroupSpec,
    SiteSpec,
    SubnetSpec,
    TaintSpec,
    VpcSpec,
)
from labnet.model.zones import ZoneLinkSpec

DEFAULT_VPC = "vpc"
"""The name of a VPC that has none."""
DEFAULT_MTUS = {"vpn": 1446, "direct-connect": 1500}
"""Source: docs/sources.md#virtual-private-gateways"""
MAX_NODES_LISTED = 5_000
"""Of more nodes than that no list of names is made."""
ALLOW_ALL: Mapping[str, Any] = {"protocol": "-1", "cidr": "0.0.0.0/0"}
"""What a security group lets out when nothing is said, as a new one does on AWS."""


def vpcs_of(document: schema.Document) -> list[tuple[Path, vpcwords.Vpc]]:
    """Every VPC with where it stands: `vpc` and `vpcs` alike."""
    found: list[tuple[Path, vpcwords.Vpc]] = [(("vpc",), document.vpc)] if document.vpc else []
    return found + [(("vpcs", n), vpc) for n, vpc in enumerate(document.vpcs or ())]


def blocks_of(path: Path, vpc: vpcwords.Vpc) -> list[tuple[Path, str]]:
    """Every block of a VPC with where it stands."""
    found: list[tuple[Path, str]] = [((*path, "cidr"), vpc.cidr)] if vpc.cidr is not None else []
    return found + [((*path, "cidrs", n), cidr) for n, cidr in enumerate(vpc.cidrs or ())]


def vpc_name(vpc: vpcwords.Vpc) -> str:
    """The name of a VPC."""
    return vpc.name or DEFAULT_VPC


def room_of(listed: vpcwords.PrefixList) -> int:
    """For how many blocks a prefix list has room."""
    return max(len(listed.entries), 1) if listed.max_entries is None else listed.max_entries


def node_names(node: schema.Node) -> list[str]:
    """The names that a `nodes` entry stands for: with `count`, even 1, they are numbered from 1."""
    return [node.name] if node.count is None else [f"{node.name}-{n}" for n in range(1, node.count + 1)]


def words_of(command: str | list[str] | None) -> tuple[str, ...]:
    """A command as words. Errors: ValueError when its quotes do not match."""
    if command is None:
        return ()
    return tuple(shlex.split(command) if isinstance(command, str) else command)


def build(document: schema.Document, source: str) -> Scenario:
    """The scenario that a document stands for; the document has passed every check."""
    return Scenario(
        name=document.metadata.name,
        description=document.metadata.description,
        vpcs=tuple(_vpc(path, vpc) for path, vpc in vpcs_of(document)),
        on_premises=tuple(_site(document, site) for site in document.on_premises),
        prefix_lists=tuple(
            PrefixListSpec(one.name, tuple((it.cidr, it.description) for it in one.entries), room_of(one)) for one in document.prefix_lists
        ),
        nodes=tuple(spec for node in document.nodes for spec in _nodes(node)),
        cni=CniSpec(document.cni.kind, document.cni.dialect, dict(document.cni.env)),
        pods=tuple(_pod(pod) for pod in document.pods),
        objects=tuple(_object(item) for item in document.objects),
        checks=tuple(_check(check) for check in document.checks),
        kubelet_exec=document.kubelet.exec,
        time_factor=document.time.factor,
        seed=document.seed,
        pending_allowed=document.pending == "allowed",
        ec2=ec2_of(document.ec2),
        zone_links=tuple(zone_link_of(item) for item in document.zone_links),
        source=source,
    )


def ec2_of(ec2: schema.Ec2) -> Ec2Spec:
    """How the API shall behave. Errors: ValueError for a length of time that is none."""
    if ec2.latency == "aws":
        from labnet.ec2.latency import AWS_PRESET  # late, as in `scenario_file`: most scenarios need no rule of EC2 to be read

        latencies = dict(AWS_PRESET)
    elif isinstance(ec2.latency, str):
        latencies = {}
    else:
        latencies = {action: _latency(item) for action, item in ec2.latency.items()}
    return Ec2Spec(
        throttling=ec2.throttling, latency=latencies, imds_delay_s=ec2.imds_delay, faults=tuple(fault_of(item) for item in ec2.faults),
        deny=tuple(DenySpec(item) if isinstance(item, str) else DenySpec(item.action, item.node or "") for item in ec2.deny),
    )


def _latency(item: float | schema.Latency) -> Latency:
    if isinstance(item, schema.Latency):
        return Latency(item.p50, item.p50 if item.p95 is None else item.p95)
    return Latency(item, item)


def fault_of(item: schema.Fault) -> FaultSpec:
    """One fault. Errors: ValueError for a length of time that is none."""
    for_s = None if item.lasts is None else seconds_of(item.lasts)
    return FaultSpec(item.action, item.code, item.message, item.status, item.times, item.rate, for_s, item.node or "")


def zone_link_of(item: vpcwords.ZoneLink) -> ZoneLinkSpec:
    """What is set between two zones, or any two."""
    return ZoneLinkSpec(tuple(item.between or ()), item.round_trip_ms, item.loss_percent)


def _vpc(path: Path, vpc: vpcwords.Vpc) -> VpcSpec:
    subnets = tuple(_subnet(item) for item in vpc.subnets)
    groups = tuple(_group(item) for item in vpc.security_groups)
    return VpcSpec(
        vpc_name(vpc), tuple(cidr for _path, cidr in blocks_of(path, vpc)), subnets, vpc.internet_gateway, groups,
        route_tables=tuple(
            RouteTableSpec(one.name, one.main, tuple((it.destination, it.target) for it in one.routes), one.propagate)
            for one in vpc.route_tables
        ),
        nat_gateways=tuple(NatGatewaySpec(one.name, one.subnet) for one in vpc.nat_gateways),
        peerings=tuple(PeeringSpec(one.name, one.peer) for one in vpc.peerings),
        network_acls=_acls(vpc), dns_support=vpc.dns.support, dns_hostnames=vpc.dns.hostnames,
        vpn_gateway=vpc.vpn_gateway,
    )


def site_blocks(site: vpcwords.OnPremises) -> list[str]:
    """The blocks of a network outside."""
    return [*([site.cidr] if site.cidr is not None else []), *(site.cidrs or ())]


def site_hosts(site: vpcwords.OnPremises) -> tuple[tuple[str, str], ...]:
    """(name, address) of its hosts: where none is named, one with the first address of its block."""
    if site.hosts or not site_blocks(site):
        return tuple((host.name, host.address) for host in site.hosts)
    return ((site.name, to_text(bounds(site_blocks(site)[0])[0] + 1)),)


def _site(document: schema.Document, site: vpcwords.OnPremises) -> SiteSpec:
    home = site.vpc or vpc_name(vpcs_of(document)[0][1])
    mtu = site.mtu or DEFAULT_MTUS[site.connection]
    return SiteSpec(site.name, tuple(site_blocks(site)), site_hosts(site), site.connection, home, mtu)


def _acls(vpc: vpcwords.Vpc) -> tuple[NetworkAclSpec, ...]:
    def entry(item: vpcwords.NetworkAclEntry) -> NetworkAclEntrySpec:
        return NetworkAclEntrySpec(item.rule_number, item.rule_action, item.protocol, item.from_port, item.to_port, item.cidr)

    return tuple(NetworkAclSpec(acl.name, tuple(map(entry, acl.ingress)), tuple(map(entry, acl.egress))) for acl in vpc.network_acls)


def _subnet(subnet: vpcwords.Subnet) -> SubnetSpec:
    reservations = tuple(CidrReservationSpec(one.cidr, one.reservation_type, one.description) for one in subnet.cidr_reservations)
    interfaces = tuple(NetworkInterfaceSpec(tuple(one.private_ip_addresses), one.description) for one in subnet.network_interfaces)
    return SubnetSpec(
        subnet.name, subnet.cidr, subnet.availability_zone, subnet.map_public_ip_on_launch, reservations, interfaces,
        route_table=subnet.route_table or "", network_acl=subnet.network_acl,
    )


def _object(item: schema.KubeObject) -> Mapping[str, Any]:
    """As Kubernetes writes it, in lists and mappings alone."""
    metadata: dict[str, Any] = {"name": item.metadata.name}
    metadata |= {"labels": dict(item.metadata.labels)} if item.metadata.labels else {}
    metadata |= {"annotations": dict(item.metadata.annotations)} if item.metadata.annotations else {}
    spec = {"subnet": item.spec.subnet, "securityGroups": list(item.spec.security_groups)}
    return {"apiVersion": item.api_version, "kind": item.kind, "metadata": metadata, "spec": spec}


def _group(group: vpcwords.SecurityGroup) -> SecurityGroupSpec:
    egress = (ALLOW_ALL,) if group.egress is None else tuple(_permission(rule) for rule in group.egress)
    return SecurityGroupSpec(group.name, tuple(_permission(rule) for rule in group.ingress), egress)


def _permission(rule: vpcwords.SecurityGroupRule) -> Mapping[str, Any]:
    out: dict[str, Any] = {"protocol": rule.protocol}
    if rule.from_port is not None:
        out |= {"fromPort": rule.from_port, "toPort": rule.from_port if rule.to_port is None else rule.to_port}
    other = {"cidr": rule.cidr, "group": rule.group, "prefixList": rule.prefix_list}
    return out | {key: name for key, name in other.items() if name is not None}


def _nodes(node: schema.Node) -> Iterator[NodeSpec]:
    for name in node_names(node):
        yield NodeSpec(
            name=name, instance_type=node.instance_type, subnet=node.subnet, security_groups=tuple(node.security_groups),
            labels=dict(node.labels), iptables=node.iptables or "auto", sysctls=_sysctls(node.sysctls), public_ip=node.public_ip,
            source_dest_check=node.source_dest_check, annotations=dict(node.annotations),
            taints=tuple(TaintSpec(one.key, one.value, one.effect) for one in node.taints),
        )


def _sysctls(given: Mapping[str, str]) -> dict[str, str]:
    """Paths with slashes, as the kernel has them; a link's name may hold dots only in the slashed form."""
    return {key if "/" in key else key.replace(".", "/"): value for key, value in given.items()}


def _pod(pod: schema.Pod) -> PodSpec:
    containers = tuple(
        ContainerSpec(item.name, words_of(item.command), tuple((item.serve or {}).items())) for item in pod.containers
    )
    return PodSpec(
        name=pod.name, namespace=pod.namespace, node=pod.node or "", labels=dict(pod.labels), annotations=dict(pod.annotations),
        host_network=pod.host_network, containers=containers,
    )


def _check(check: schema.Check) -> Check:
    if check.ec2 is not None:
        return Ec2Check(check.ec2.node, check.ec2.enis, check.ec2.addresses, check.ec2.prefixes)
    if check.kernel is not None:
        contains = check.kernel.contains
        lines = (contains,) if isinstance(contains, str) else tuple(contains or ())
        return KernelCheck(check.kernel.target, words_of(check.kernel.command), lines, check.kernel.equals)
    if check.pod is not None:
        return PodCheck(check.pod.name, check.pod.node, check.pod.phase, check.pod.reason, check.pod.count)
    if check.event is not None:
        return EventCheck(check.event.object, check.event.reason, check.event.contains)
    return PacketCheck(
        source_target=check.source_target or "", target=check.to or "", protocol=check.protocol, port=check.port,
        expect=check.expect, source=check.source, drop_at=check.drop_at, through=check.through.place if check.through else None,
        through_source=check.through.source if check.through else None, answer=check.answer,
    )
