"""What must hold for route tables, NAT gateways and peerings of a scenario: every name is there, every route is one that EC2 takes (pure).

Source: docs/sources.md#route-tables
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.routes_setup import INTERNET_GATEWAY, VPN_GATEWAY
from labnet.lab.scenario_build import MAX_NODES_LISTED, blocks_of, node_names, vpc_name, vpcs_of
from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.scenario_rules_vpc import NAME_RE, check_block, unique
from labnet.model import addressing

Vpcs = Mapping[str, tuple[Path, vpcwords.Vpc]]
Lists = Mapping[str, Sequence[str]]
"""Prefix lists: name → blocks."""


def check_routes(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with where packets shall go."""
    vpcs = {vpc_name(vpc): (path, vpc) for path, vpc in vpcs_of(document)}
    seen: dict[str, Path] = {}
    pairs: dict[frozenset[str], Path] = {}
    for path, vpc in vpcs.values():
        _nat_gateways(path, vpc, seen, findings)
        for n, peering in enumerate(vpc.peerings):
            _peering((*path, "peerings", n), vpc, peering, vpcs, pairs, findings)
            _named(peering.name, (*path, "peerings", n, "name"), "peering", seen, findings)
    lists = {one.name: [entry.cidr for entry in one.entries] for one in document.prefix_lists}
    for path, vpc in vpcs.values():
        _tables(path, vpc, _targets(document, vpc), lists, findings)


def _targets(document: schema.Document, vpc: vpcwords.Vpc) -> Mapping[str, int]:
    """What routes of a VPC may lead to, and how many things have the name."""
    if not vpc.route_tables:
        return {}
    subnets = {subnet.name for subnet in vpc.subnets}
    found = [INTERNET_GATEWAY] if vpc.internet_gateway else []
    found += [VPN_GATEWAY] if vpc.vpn_gateway else []
    found += [nat.name for nat in vpc.nat_gateways] + [one.name for one in vpc.peerings]
    found += [one.name for _path, other in vpcs_of(document) for one in other.peerings if one.peer == vpc_name(vpc)]
    listed = (node for node in document.nodes if node.subnet in subnets and (node.count or 1) <= MAX_NODES_LISTED)
    found += [name for node in listed for name in node_names(node)]
    return Counter(found)


def _named(name: str, path: Path, what: str, seen: dict[str, Path], findings: Findings) -> None:
    if not NAME_RE.fullmatch(name) or name in (INTERNET_GATEWAY, VPN_GATEWAY):
        findings.add(path, f"{name!r} is no name for a {what}", "letters, digits, dots, dashes and underscores, 63 at most")
    unique(seen, name, path, "NAT gateway or peering", findings)


def _nat_gateways(path: Path, vpc: vpcwords.Vpc, seen: dict[str, Path], findings: Findings) -> None:
    subnets = {subnet.name for subnet in vpc.subnets}
    for n, nat in enumerate(vpc.nat_gateways):
        at: Path = (*path, "natGateways", n)
        _named(nat.name, (*at, "name"), "NAT gateway", seen, findings)
        if nat.subnet not in subnets:
            findings.add((*at, "subnet"), f"there is no subnet {nat.subnet!r} in this VPC", nearest(nat.subnet, subnets))
        if not vpc.internet_gateway:
            findings.add(at, "has no way out: the VPC has no internet gateway", "add 'internetGateway: true'")


def _peering(
    path: Path, vpc: vpcwords.Vpc, peering: vpcwords.Peering, vpcs: Vpcs, pairs: dict[frozenset[str], Path], findings: Findings,
) -> None:
    if peering.peer not in vpcs or peering.peer == vpc_name(vpc):
        others = [name for name in vpcs if name != vpc_name(vpc)]
        findings.add((*path, "with"), f"there is no other VPC {peering.peer!r}", nearest(peering.peer, others))
        return
    pair = frozenset((vpc_name(vpc), peering.peer))
    if pair in pairs:
        message = f"a second peering of {' and '.join(sorted(pair))}; the first is in {findings.place(pairs[pair]).text}"
        findings.add(path, message, "two VPCs have one at most: remove one of them")
    pairs.setdefault(pair, path)
    for _at, mine in blocks_of((), vpc):
        for _there, theirs in blocks_of((), vpcs[peering.peer][1]):
            if _is_block(mine) and _is_block(theirs) and addressing.overlap(mine, theirs):
                findings.add(path, f"{mine} overlaps {theirs} of {peering.peer}", "VPCs whose blocks overlap cannot be peered")


def _tables(path: Path, vpc: vpcwords.Vpc, targets: Mapping[str, int], lists: Lists, findings: Findings) -> None:
    seen: dict[str, Path] = {}
    for n, table in enumerate(vpc.route_tables):
        at: Path = (*path, "routeTables", n)
        if not NAME_RE.fullmatch(table.name):
            hint = "letters, digits, dots, dashes and underscores, 63 at most"
            findings.add((*at, "name"), f"{table.name!r} is no name for a route table", hint)
        unique(seen, table.name, (*at, "name"), "route table of this VPC", findings)
        if table.propagate and not vpc.vpn_gateway:
            findings.add((*at, "propagate"), "there is nobody to learn from: the VPC has no VPN gateway", "add 'vpnGateway: true' to the VPC")
        taken: dict[str, Path] = {}
        for m, route in enumerate(table.routes):
            _route(route, (*at, "routes", m), vpc, targets, lists, findings)
            unique(taken, route.destination, (*at, "routes", m, "destination"), "route of this table", findings)
    mains = [n for n, table in enumerate(vpc.route_tables) if table.main]
    for n in mains[1:]:
        findings.add((*path, "routeTables", n, "main"), "is a second main route table", "a VPC has one: remove 'main' here")
    for n, subnet in enumerate(vpc.subnets):
        if subnet.route_table is not None and subnet.route_table not in seen:
            message = f"there is no route table {subnet.route_table!r} in this VPC"
            findings.add((*path, "subnets", n, "routeTable"), message, nearest(subnet.route_table, seen, "add it below 'routeTables'"))


def _route(
    route: vpcwords.Route, path: Path, vpc: vpcwords.Vpc, targets: Mapping[str, int], lists: Lists, findings: Findings,
) -> None:
    if route.destination in lists:
        for block in lists[route.destination]:
            _check_destination(route, block, path, vpc, findings)
    elif lists and NAME_RE.fullmatch(route.destination) and not addressing.is_address(route.destination):
        message = f"{route.destination!r} is neither a block nor one of the prefix lists"
        findings.add((*path, "destination"), message, nearest(route.destination, lists))
    elif check_block(route.destination, (*path, "destination"), findings, sized=False):
        _check_destination(route, route.destination, path, vpc, findings)
    if route.target not in targets:
        otherwise = f"one of {', '.join(targets)}" if targets else "add 'internetGateway: true', a NAT gateway, a peering or a node"
        message = f"nothing in this VPC is named {route.target!r}"
        findings.add((*path, "target"), message, nearest(route.target, targets, otherwise))
    elif targets[route.target] > 1:
        findings.add((*path, "target"), f"{route.target!r} means {targets[route.target]} things", "give them different names")


def _check_destination(route: vpcwords.Route, block: str, path: Path, vpc: vpcwords.Vpc, findings: Findings) -> None:
    """What is inside the VPC is local, but for a whole subnet that lies behind a node or a NAT gateway."""
    inside = [own for _at, own in blocks_of((), vpc) if _is_block(own) and addressing.contains(own, block)]
    if not inside:
        return
    if block in inside:
        findings.add((*path, "destination"), f"{block} is the VPC's own: that route is local in every table", "remove it")
    elif block not in {subnet.cidr for subnet in vpc.subnets}:
        findings.add((*path, "destination"), f"{block} is a part of the VPC and no subnet", "name a whole subnet's block")
    elif route.target in (INTERNET_GATEWAY, VPN_GATEWAY) or route.target in {one.name for one in vpc.peerings}:
        message = f"{route.target} cannot be the way to a subnet of the VPC"
        findings.add((*path, "target"), message, "a node or a NAT gateway can")


def _is_block(text: str) -> bool:
    try:
        return addressing.canonical(text) == text
    except ValueError:
        return False
