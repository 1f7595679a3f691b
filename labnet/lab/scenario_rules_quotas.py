"""What of a scenario EC2 would refuse by its quotas, told before anything is made (pure). The numbers are those of EC2's rules.

Source: docs/sources.md#quotas
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from labnet.ec2.rules.quotas import (
    ADDRESSES_PER_REGION,
    ENIS_PER_REGION,
    GATEWAYS_PER_ZONE,
    GROUPS_PER_ENI,
    GROUPS_PER_REGION,
    ROUTES_PER_TABLE,
    RULES_PER_DIRECTION,
    SUBNETS_PER_VPC,
    TABLES_PER_VPC,
)
from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.scenario_build import room_of, vpcs_of
from labnet.lab.scenario_problems import Findings, Path

Rule = vpcwords.SecurityGroupRule
COUNTED = "remove some; a prefix list counts as many as it has room for"


def check_quotas(document: schema.Document, findings: Findings) -> None:
    """Note everything of which there is more than an account has. Names are known to be good."""
    room = {one.name: room_of(one) for one in document.prefix_lists}
    for path, vpc in vpcs_of(document):
        _at_most(_each(path, "subnets", vpc.subnets), SUBNETS_PER_VPC, "subnets, and a VPC has", findings)
        own = [(*path, "routeTables", n) for n, table in enumerate(vpc.route_tables) if not table.main]
        _at_most(own, TABLES_PER_VPC - 1, "route tables, and beside the main one a VPC has", findings)
        for n, table in enumerate(vpc.route_tables):
            routes = (((*path, "routeTables", n, "routes", m), room.get(route.destination, 1)) for m, route in enumerate(table.routes))
            _at_most(_weighed(routes), ROUTES_PER_TABLE, "routes, and a table has", findings, COUNTED)
        for n, group in enumerate(vpc.security_groups):
            for key, rules in (("ingress", group.ingress), ("egress", group.egress or [])):
                different = _different((*path, "securityGroups", n, key), rules)
                places = _weighed((place, room.get(rule.prefix_list or "", 1)) for place, rule in different)
                _at_most(places, RULES_PER_DIRECTION, "rules, and a direction has", findings, COUNTED)
    _groups_of_enis(document, findings)
    _region(document, findings)


def _each(path: Path, key: str, things: Sequence[object]) -> list[Path]:
    return [(*path, key, n) for n in range(len(things))]


def _weighed(places: Iterable[tuple[Path, int]]) -> list[Path]:
    """Each place as often as it counts."""
    return [place for place, count in places for _ in range(count)]


def _at_most(places: Sequence[Path], most: int, what: str, findings: Findings, hint: str = "remove some") -> None:
    """Note what is too much, at the first place that is."""
    if len(places) > most:
        findings.add(places[most], f"{len(places)} {what} {most} at most", hint)


def _different(path: Path, rules: Iterable[Rule]) -> list[tuple[Path, Rule]]:
    """Each rule with where it stands first: one that stands twice is one, so does `up` ask for it."""
    seen: dict[tuple[object, ...], tuple[Path, Rule]] = {}
    for n, one in enumerate(rules):
        last = one.from_port if one.to_port is None else one.to_port
        seen.setdefault((one.protocol, one.from_port, last, one.cidr, one.group, one.prefix_list), ((*path, n), one))
    return list(seen.values())


def _groups_of_enis(document: schema.Document, findings: Findings) -> None:
    """Those of a node's first ENI, and of the ENIs that an ENIConfig describes."""
    nodes: Iterator[tuple[Path, list[str]]] = ((("nodes", n), node.security_groups) for n, node in enumerate(document.nodes))
    objects: Iterator[tuple[Path, list[str]]] = ((("objects", n, "spec"), it.spec.security_groups) for n, it in enumerate(document.objects))
    for path, groups in (*nodes, *objects):
        places = [(*path, "securityGroups", groups.index(group)) for group in dict.fromkeys(groups)]
        _at_most(places, GROUPS_PER_ENI, "security groups, and a network interface has", findings)


def _region(document: schema.Document, findings: Findings) -> None:
    """What all VPCs of the lab have together."""
    groups: list[Path] = []
    nats: list[Path] = []
    zones: dict[str, list[Path]] = {}
    enis = sum(node.count or 1 for node in document.nodes)
    for path, vpc in vpcs_of(document):
        groups += [path, *((*path, "securityGroups", n) for n in range(len(vpc.security_groups)))]  # the default one counts too
        zone_of = {subnet.name: subnet.availability_zone for subnet in vpc.subnets}
        for n, nat in enumerate(vpc.nat_gateways):
            nats.append((*path, "natGateways", n))
            zones.setdefault(zone_of.get(nat.subnet, ""), []).append(nats[-1])
        enis += len(vpc.nat_gateways) + sum(len(subnet.network_interfaces) for subnet in vpc.subnets)
    for zone, places in zones.items():
        hint = "one a zone is enough: route several subnets to it"
        _at_most(places, GATEWAYS_PER_ZONE, f"NAT gateways in {zone}, and a zone has", findings, hint)
    _at_most(nats, ADDRESSES_PER_REGION, "NAT gateways, each with an Elastic IP, and a region has", findings)
    _at_most(groups, GROUPS_PER_REGION, "security groups with the default ones, and a region has", findings)
    if enis > ENIS_PER_REGION:
        message = f"{enis} network interfaces of nodes, NAT gateways and others, and a region has {ENIS_PER_REGION} at most"
        findings.add(("nodes",), message, "fewer nodes")
