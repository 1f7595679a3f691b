"""What AWS's and the deck's advice says about a valid scenario: cautions, each at its line and with the way out (pure).

None of them keeps a lab from coming up. EKS refuses a cluster whose subnets are in one zone or in several VPCs; the rest is advice.
A scenario whose `cni.kind` is vpc and that has nodes is taken for an EKS cluster. Source: docs/sources.md#cautions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as words
from labnet.lab.pod_networking import pod_networking
from labnet.lab.routes_setup import INTERNET_GATEWAY
from labnet.lab.scenario_build import blocks_of, node_names, vpc_name, vpcs_of
from labnet.lab.scenario_problems import Findings, Path, Problem
from labnet.model import addressing, capacity
from labnet.model.cloud import InstanceType
from labnet.model.scenario import Caution

DOCKER = "172.17.0.0/16"
"""The block of docker0 where nobody chose another."""
ZONES = 2
OWN_TARGETS = ("WARM_IP_TARGET", "MINIMUM_IP_TARGET", "WARM_ENI_TARGET", "WARM_PREFIX_TARGET")
Located = Sequence[tuple[Path, words.Vpc]]


def cautions(document: schema.Document, types: Mapping[str, InstanceType], findings: Findings) -> tuple[Caution, ...]:
    """What to be careful about, in the order of the file. The document has passed every check; `findings` knows its lines."""
    noted = Findings(findings.file, findings.places)
    vpcs = vpcs_of(document)
    for path, vpc in vpcs:
        _docker(path, vpc, noted)
        _checked(path, vpc, document, noted)
    if document.cni.kind == "vpc" and document.nodes:
        own = [(path, vpc) for path, vpc in vpcs if any(node.subnet == subnet.name for node in document.nodes for subnet in vpc.subnets)]
        _one_vpc(own, noted)
        for path, vpc in own:
            _zones(path, vpc, noted)
            _dns(path, vpc, noted)
            _public(path, vpc, noted)
            _upgrade(path, vpc, document, types, noted)
    return tuple(_caution(one) for one in sorted(noted.problems, key=lambda problem: problem.place.line))


def _caution(problem: Problem) -> Caution:
    return Caution(problem.place.file, problem.place.line, problem.field, problem.message, problem.hint)


def _docker(path: Path, vpc: words.Vpc, noted: Findings) -> None:
    for at, cidr in blocks_of(path, vpc):
        if addressing.overlap(cidr, DOCKER):
            message = f"{cidr} overlaps {DOCKER}, docker's own network on a node: what it shares with the VPC cannot be reached from there"
            noted.add(at, message, "take another block, as 10.10.0.0/16")


def _one_vpc(own: Located, noted: Findings) -> None:
    if len(own) > 1:
        names = " and ".join(vpc_name(vpc) for _path, vpc in own)
        noted.add(own[1][0], f"the cluster's nodes are in {names}, and an EKS cluster has one VPC", "give each VPC a lab of its own")


def _zones(path: Path, vpc: words.Vpc, noted: Findings) -> None:
    zones = {subnet.availability_zone for subnet in vpc.subnets}
    if len(zones) < ZONES:
        message = f"all subnets are in {', '.join(zones)}, and EKS makes no cluster with fewer than two zones"
        noted.add((*path, "subnets"), message, "add a subnet in another zone; it can stay empty")


def _dns(path: Path, vpc: words.Vpc, noted: Findings) -> None:
    """What is written down: a VPC of which nothing is said is none that somebody made so."""
    if (*path, "dns") not in noted.places or (vpc.dns.support and vpc.dns.hostnames):
        return
    off = " and ".join(name for name, on in (("DNS resolution", vpc.dns.support), ("DNS hostnames", vpc.dns.hostnames)) if not on)
    hint = "'dns: {support: true, hostnames: true}'"
    noted.add((*path, "dns"), f"{off} off: nodes of an EKS cluster need both to join it", hint)


def _public(path: Path, vpc: words.Vpc, noted: Findings) -> None:
    """A VPC without an internet gateway is closed on purpose; one with it needs a subnet whose default route leads there."""
    if vpc.internet_gateway and not any(_is_public(vpc, subnet) for subnet in vpc.subnets):
        message = "no subnet is public: a load balancer that faces the internet has no place"
        noted.add((*path, "subnets"), message, "a subnet with 'mapPublicIpOnLaunch: true', or with a route from 0.0.0.0/0 to internetGateway")


def _is_public(vpc: words.Vpc, subnet: words.Subnet) -> bool:
    if not vpc.route_tables:
        return subnet.map_public_ip_on_launch
    table = next((one for one in vpc.route_tables if one.name == subnet.route_table or (one.main and not subnet.route_table)), None)
    return table is not None and any(one.destination == "0.0.0.0/0" and one.target == INTERNET_GATEWAY for one in table.routes)


def _checked(path: Path, vpc: words.Vpc, document: schema.Document, noted: Findings) -> None:
    """Routes to nodes, as kubenet and NAT instances have them: a node takes what is not for itself only with its check off."""
    checked = {node.name for node in document.nodes if node.count is None and node.source_dest_check}
    for n, table in enumerate(vpc.route_tables):
        for m, route in enumerate(table.routes):
            if route.target in checked:
                message = f"{route.target} drops what comes by this route: its source/destination check is on"
                hint = f"'sourceDestCheck: false' for {route.target}, as kubenet's nodes and NAT instances have it"
                noted.add((*path, "routeTables", n, "routes", m), message, hint)


def _upgrade(path: Path, vpc: words.Vpc, document: schema.Document, types: Mapping[str, InstanceType], noted: Findings) -> None:
    for n, subnet in enumerate(vpc.subnets):
        held = sum(_held(node, document, types) for node in document.nodes if node.subnet == subnet.name)
        others = sum(len(eni.private_ip_addresses) for eni in subnet.network_interfaces)
        usable = addressing.usable_count(subnet.cidr)
        if usable - held - others < capacity.UPGRADE_ADDRESSES:
            what = f"nodes and others take up to {held + others} of the {usable} addresses of {subnet.name}"
            message = f"{what}: fewer than {capacity.UPGRADE_ADDRESSES} stay free for an upgrade of the cluster"
            noted.add((*path, "subnets", n, "cidr"), message, "a larger subnet, or nodes that hold less (WARM_IP_TARGET)")


def _held(node: schema.Node, document: schema.Document, types: Mapping[str, InstanceType]) -> int:
    """Addresses that a `nodes` entry holds of its own subnet: with the daemon's own targets its warm pool, with others the least."""
    networking, names = pod_networking(document.cni.env), node_names(node)
    if networking.custom_networking:
        return len(names)
    pods = [sum(1 for pod in document.pods if pod.node == name and not pod.host_network) for name in names]
    if any(target in document.cni.env for target in OWN_TARGETS):
        return len(names) + sum(pods)
    return sum(capacity.holding(types[node.instance_type], networking, count).total for count in pods)

