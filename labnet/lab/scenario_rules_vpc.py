"""What must hold for the VPCs of a scenario: blocks, subnets, security groups (pure).

Source: docs/sources.md#subnets
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from labnet.ec2.rules.blocks import is_restricted
from labnet.ec2.rules.quotas import CIDRS_PER_VPC, VPCS_PER_REGION
from labnet.ec2.rules.zones import zones_of
from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.scenario_build import blocks_of, vpc_name, vpcs_of
from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.scenario_rules_acls import DEFAULT, check_entries, check_uses
from labnet.lab.scenario_rules_subnet import check_inside
from labnet.model import addressing, names
from labnet.model.addressing import is_address

LARGEST, SMALLEST = 16, 28
"""Prefix lengths that AWS takes for VPCs and subnets."""
FOREIGN_BLOCKS = {
    "0.0.0.0/8": "'this network'", "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local (IMDS lives there)", "224.0.0.0/3": "multicast and reserved",
}
NAME_RE = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
ZONE_RE = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9][a-z]")
PROTOCOLS = ("-1", "tcp", "udp", "icmp")
WITH_PORTS = ("tcp", "udp", "icmp", "6", "17", "1")
MAX_PROTOCOL, MAX_PORT = 255, 65_535


def check_vpcs(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with the VPCs."""
    vpcs = vpcs_of(document)
    if document.vpc and document.vpcs is not None:
        findings.add(("vpcs",), "stands beside 'vpc'", "write all of them below 'vpcs', or one below 'vpc'")
    if not vpcs:
        findings.add((), "there is no VPC", "add one: 'vpc: {cidr: 10.10.0.0/16, subnets: [{name: a, cidr: 10.10.0.0/19}]}'")
    seen_vpcs: dict[str, Path] = {}
    seen_subnets: dict[str, Path] = {}
    lists = [one.name for one in document.prefix_lists]
    for path, vpc in vpcs:
        _names(path, vpc, len(vpcs) > 1, findings)
        unique(seen_vpcs, vpc_name(vpc), (*path, "name"), "VPC", findings)
        _blocks(path, vpc, findings)
        _subnets(path, vpc, seen_subnets, findings)
        _groups(path, vpc, lists, findings)
        _acls(path, vpc, findings)
    _region(vpcs, findings)
    if len(vpcs) > VPCS_PER_REGION:
        findings.add(("vpcs",), f"{len(vpcs)} VPCs, and a region has {VPCS_PER_REGION} at most", "remove some, or make several labs")


def unique(seen: dict[str, Path], name: str, path: Path, what: str, findings: Findings) -> None:
    """Note a name that stands twice; `seen` remembers where each stood first."""
    if name in seen:
        message = f"a second {what} named {name!r}; the first is in {findings.place(seen[name]).text}"
        findings.add(path, message, "give one of them another name")
    seen.setdefault(name, path)


def check_block(cidr: str, path: Path, findings: Findings, sized: bool = True) -> bool:
    """Is it an IPv4 block without host bits, and (`sized`) one of the sizes that AWS takes? Notes what is off."""
    try:
        canonical = addressing.canonical(cidr)
    except ValueError:
        bare = is_address(cidr)
        hint = f"add the mask: {cidr}/{LARGEST}" if bare and sized else "for example 10.10.0.0/16"
        findings.add(path, f"{cidr!r} has no mask" if bare else f"{cidr!r} is not an IPv4 block", hint)
        return False
    if canonical != cidr:
        findings.add(path, f"{cidr} has host bits set", f"the block is {canonical}")
        return False
    if sized and not LARGEST <= addressing.prefix_length(cidr) <= SMALLEST:
        findings.add(path, f"{cidr} is not of a size that AWS takes", f"between /{LARGEST} and /{SMALLEST}")
        return False
    return True


def _names(path: Path, vpc: vpcwords.Vpc, several: bool, findings: Findings) -> None:
    if several and not vpc.name:
        findings.add(path, "has no name", "of several VPCs each needs one: 'name: blue'")
    if vpc.name and not names.is_name(vpc.name):
        findings.add((*path, "name"), f"{vpc.name!r} is no name for a VPC", "lower-case letters, digits and dashes, 32 at most")
    if vpc.dns.hostnames and not vpc.dns.support:
        findings.add((*path, "dns", "hostnames"), "is on while 'support' is off", "AWS gives host names only where its resolver answers")


def _blocks(path: Path, vpc: vpcwords.Vpc, findings: Findings) -> None:
    if vpc.cidr is not None and vpc.cidrs is not None:
        findings.add((*path, "cidrs"), "stands beside 'cidr'", "write all blocks below 'cidrs', the primary one first")
    blocks = blocks_of(path, vpc)
    if not blocks:
        findings.add(path, "has no block", "add 'cidr: 10.10.0.0/16'")
    good: list[str] = []
    for at, cidr in blocks:
        if not check_block(cidr, at, findings):
            continue
        foreign = [one for one in FOREIGN_BLOCKS if addressing.overlap(cidr, one)]
        for one in foreign:
            findings.add(at, f"{cidr} overlaps {one}, which is {FOREIGN_BLOCKS[one]}", "take a private block, as 10.10.0.0/16")
        twice = [other for other in good if addressing.overlap(cidr, other)]
        for other in twice:
            findings.add(at, f"{cidr} overlaps {other}, another block of this VPC", "blocks of a VPC must not overlap")
        if good and not foreign and not twice and is_restricted(good[0], cidr):
            hint = "further blocks are of the first one's private range, of 100.64.0.0/10, or public"
            findings.add(at, f"{cidr} cannot stand beside {good[0]} in a VPC", hint)
        good.append(cidr)
    if len(good) > CIDRS_PER_VPC:
        findings.add(path, f"has {len(good)} blocks, and a VPC has {CIDRS_PER_VPC} at most", "remove some")


def _subnets(path: Path, vpc: vpcwords.Vpc, seen: dict[str, Path], findings: Findings) -> None:
    blocks = [cidr for _path, cidr in blocks_of(path, vpc) if _is_block(cidr)]
    good: list[vpcwords.Subnet] = []
    for n, subnet in enumerate(vpc.subnets):
        at = (*path, "subnets", n)
        _name(subnet.name, (*at, "name"), "subnet", findings)
        unique(seen, subnet.name, (*at, "name"), "subnet", findings)
        if not ZONE_RE.fullmatch(subnet.availability_zone):
            hint = "a region and a letter, as us-west-2a"
            findings.add((*at, "availabilityZone"), f"{subnet.availability_zone!r} is no availability zone", hint)
        if not check_block(subnet.cidr, (*at, "cidr"), findings):
            continue
        if blocks and not any(addressing.contains(block, subnet.cidr) for block in blocks):
            findings.add((*at, "cidr"), f"{subnet.cidr} is outside the VPC", f"the VPC is {', '.join(blocks)}")
        for other in good:
            if addressing.overlap(subnet.cidr, other.cidr):
                findings.add((*at, "cidr"), f"{subnet.cidr} overlaps {other.cidr} of subnet {other.name}", "subnets must not overlap")
        good.append(subnet)
        check_inside(subnet, at, findings)


def _is_block(cidr: str) -> bool:
    try:
        return addressing.canonical(cidr) == cidr
    except ValueError:
        return False


def _name(name: str, path: Path, what: str, findings: Findings) -> None:
    if not NAME_RE.fullmatch(name):
        findings.add(path, f"{name!r} is no name for a {what}", "letters, digits, dots, dashes and underscores, 63 at most")


def _region(vpcs: list[tuple[Path, vpcwords.Vpc]], findings: Findings) -> None:
    first = ""
    for path, vpc in vpcs:
        for n, subnet in enumerate(vpc.subnets):
            region = subnet.availability_zone[:-1]
            first = first or region
            zones = [zone.name for zone in zones_of(region)]
            if subnet.availability_zone not in zones and ZONE_RE.fullmatch(subnet.availability_zone):
                at = (*path, "subnets", n, "availabilityZone")
                findings.add(at, f"there is no zone {subnet.availability_zone}", f"{region} has {', '.join(zones)}")
            if region != first and ZONE_RE.fullmatch(subnet.availability_zone):
                at = (*path, "subnets", n, "availabilityZone")
                findings.add(at, f"{subnet.availability_zone} is in another region than {first}", "a lab is in one region")


def _groups(path: Path, vpc: vpcwords.Vpc, lists: Sequence[str], findings: Findings) -> None:
    seen: dict[str, Path] = {}
    known = {group.name for group in vpc.security_groups} | {"default"}
    for n, group in enumerate(vpc.security_groups):
        at = (*path, "securityGroups", n)
        _name(group.name, (*at, "name"), "security group", findings)
        if group.name == "default":
            findings.add((*at, "name"), "every VPC has a group named default already", "give yours another name")
        unique(seen, group.name, (*at, "name"), "security group of this VPC", findings)
        for key, rules in (("ingress", group.ingress), ("egress", group.egress or [])):
            for m, rule in enumerate(rules):
                _rule(rule, (*at, key, m), known, lists, findings)


def _acls(path: Path, vpc: vpcwords.Vpc, findings: Findings) -> None:
    seen: dict[str, Path] = {}
    for n, acl in enumerate(vpc.network_acls):
        at: Path = (*path, "networkAcls", n)
        _name(acl.name, (*at, "name"), "network ACL", findings)
        if acl.name == DEFAULT:
            findings.add((*at, "name"), "every VPC has a network ACL named default already", "give yours another name")
        unique(seen, acl.name, (*at, "name"), "network ACL of this VPC", findings)
        for key, entries in (("ingress", acl.ingress), ("egress", acl.egress)):
            check_entries(entries, (*at, key), findings)
            for m, entry in enumerate(entries):
                _protocol(entry, (*at, key, m), findings)
                check_block(entry.cidr, (*at, key, m, "cidr"), findings, sized=False)
                _ports(entry, (*at, key, m), findings)
    check_uses(vpc, path, findings)


def _protocol(rule: vpcwords.SecurityGroupRule | vpcwords.NetworkAclEntry, path: Path, findings: Findings) -> None:
    if rule.protocol not in PROTOCOLS and not (rule.protocol.isdigit() and int(rule.protocol) <= MAX_PROTOCOL):
        otherwise = "tcp, udp, icmp, -1 for all, or a number up to 255"
        findings.add((*path, "protocol"), f"{rule.protocol!r} is no protocol", nearest(rule.protocol, PROTOCOLS, otherwise))


def _rule(rule: vpcwords.SecurityGroupRule, path: Path, known: set[str], lists: Sequence[str], findings: Findings) -> None:
    _protocol(rule, path, findings)
    sides = [word for word, side in (("cidr", rule.cidr), ("group", rule.group), ("prefixList", rule.prefix_list)) if side is not None]
    if len(sides) != 1:
        message = f"names both a {' and a '.join(sides)}" if sides else "names no other side"
        findings.add(path, message, "give it one: 'cidr: 0.0.0.0/0', 'group: NAME' or 'prefixList: NAME'")
    if rule.prefix_list is not None and rule.prefix_list not in lists:
        hint = nearest(rule.prefix_list, lists, "add it below 'prefixLists'")
        findings.add((*path, "prefixList"), f"there is no prefix list {rule.prefix_list!r}", hint)
    if rule.cidr is not None:
        check_block(rule.cidr, (*path, "cidr"), findings, sized=False)
    if rule.group is not None and rule.group not in known:
        findings.add((*path, "group"), f"there is no security group {rule.group!r} in this VPC", nearest(rule.group, known))
    _ports(rule, path, findings)


def _ports(rule: vpcwords.SecurityGroupRule | vpcwords.NetworkAclEntry, path: Path, findings: Findings) -> None:
    if rule.from_port is None:
        if rule.to_port is not None:
            findings.add((*path, "toPort"), "stands without fromPort", "give both, or none for all ports")
        return
    if rule.protocol not in WITH_PORTS:
        findings.add((*path, "fromPort"), f"protocol {rule.protocol} has no ports", "remove fromPort and toPort")
        return
    icmp = rule.protocol in ("icmp", "1")
    last = rule.from_port if rule.to_port is None else rule.to_port
    low = -1 if icmp else 0
    for key, port in (("fromPort", rule.from_port), ("toPort", last)):
        if not low <= port <= MAX_PORT:
            findings.add((*path, key), f"{port} is no port", f"{low} to {MAX_PORT}")
    if not icmp and last < rule.from_port:
        findings.add((*path, "toPort"), f"{last} is below fromPort {rule.from_port}", "swap them")
