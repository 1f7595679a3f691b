"""Security groups as set elements (pure).

An ENI's *profile* is the combination of its groups; ports map to profiles, rules hang on profiles. So the kernel holds
one map entry per port and direction and a few elements per profile in use, whatever the number of ENIs: never a rule
per pair. A rule is a box (protocols × ports × addresses); the kernel refuses overlapping boxes in one set, therefore
the union of a profile's rules is cut into boxes that do not overlap.

ICMP has no ports: type and code stand in the port's 16 bits (type × 256 + code), where the ICMP header has them too.
Source: docs/sources.md#security-groups
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

from labnet.errors import LabnetError
from labnet.fabric import tables
from labnet.fabric.places import is_plugged
from labnet.model.addressing import bounds, to_text
from labnet.model.cloud import CloudState, SecurityGroupRule
from labnet.model.names import digest
from labnet.model.netstate import NftElement, Slice

Range = tuple[int, int]
Box = tuple[Range, ...]
"""A product of closed ranges; all boxes of one set have the same number of parts."""
Profile = tuple[str, ...]
"""The ids of an ENI's groups, sorted."""

SLICE = "groups"
ALL_PROTOCOLS: Range = (0, 255)
ALL_PORTS: Range = (0, 65_535)
ICMP, TCP, UDP = 1, 6, 17
PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": 58}
"""IANA's numbers of the words that EC2 takes."""


def profile_of(groups: Iterable[str]) -> Profile:
    """The profile of a list of groups."""
    return _sorted(tuple(groups))


@lru_cache(maxsize=4096)
def _sorted(groups: tuple[str, ...]) -> Profile:
    return tuple(sorted(set(groups)))


@lru_cache(maxsize=4096)
def profile_number(profile: Profile) -> int:
    """A number from 1 to 2³¹-1 that follows from the groups alone, so that no other port's change ever alters it."""
    return int.from_bytes(digest("profile", *profile)[:4], "big") & 0x7FFFFFFF or 1


def profiles_in_use(cloud: CloudState, vpc_id: str) -> frozenset[Profile]:
    """The profiles of every ENI of a VPC that has a port."""
    used = {eni.security_groups for eni in cloud.enis.values() if eni.vpc_id == vpc_id and is_plugged(cloud, eni)}
    return frozenset(map(profile_of, used))


def in_use(cloud: CloudState, vpc_id: str, profile: Profile) -> bool:
    """Has any ENI of a VPC with a port this profile? Ends at the first."""
    return any(
        eni.vpc_id == vpc_id and profile_of(eni.security_groups) == profile and is_plugged(cloud, eni) for eni in cloud.enis.values()
    )


def mark_text(number: int) -> str:
    """A mark as nft prints it."""
    return f"{number:#010x}"


def class_text(number: int) -> str:
    """A class id as nft prints it: two hexadecimal halves."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def plan_groups(cloud: CloudState, vpc_id: str) -> Slice:
    """What the groups of a VPC allow, for the profiles in use, as elements of four sets."""
    used = sorted(profiles_in_use(cloud, vpc_id))
    if len({profile_number(profile) for profile in used}) < len(used):
        raise LabnetError("two combinations of security groups share a number", "add or remove a group on one of the network interfaces")
    members: dict[str, list[Profile]] = {}
    for profile in used:
        for group_id in profile:
            members.setdefault(group_id, []).append(profile)
    elements: list[NftElement] = []
    for profile in used:
        egress, ingress = rules_of(cloud, profile, "egress"), rules_of(cloud, profile, "ingress")
        elements += _by_address(tables.SG_EGRESS, "mark", mark_text(profile_number(profile)), egress)
        elements += _by_address(tables.SG_INGRESS, "classid", class_text(profile_number(profile)), ingress)
        for peer, rules in _by_peer(egress, members):
            elements += _by_group(tables.SG_EGRESS_GROUPS, profile, peer, rules)
        for peer, rules in _by_peer(ingress, members):
            elements += _by_group(tables.SG_INGRESS_GROUPS, peer, profile, rules)
    return Slice(SLICE, tuple(elements))


def _by_peer(
    rules: Iterable[SecurityGroupRule], members: Mapping[str, Sequence[Profile]]
) -> Iterable[tuple[Profile, list[SecurityGroupRule]]]:
    """The rules that name a group, by each profile in use that has the group."""
    found: dict[Profile, list[SecurityGroupRule]] = {}
    for rule in rules:
        for peer in members.get(rule.group_id, ()) if rule.group_id is not None else ():
            found.setdefault(peer, []).append(rule)
    return found.items()


def rules_of(cloud: CloudState, profile: Profile, direction: str) -> tuple[SecurityGroupRule, ...]:
    """The rules of a profile's groups in one direction, prefix lists as their blocks."""
    groups = (cloud.security_groups[group_id] for group_id in profile if group_id in cloud.security_groups)
    rules = (rule for group in groups for rule in (group.egress if direction == "egress" else group.ingress))
    return tuple(one for rule in rules for one in _expanded(cloud, rule))


def _expanded(cloud: CloudState, rule: SecurityGroupRule) -> Iterator[SecurityGroupRule]:
    """The rule, or one for each block of the prefix list that it names."""
    if rule.prefix_list_id is None:
        yield rule
    elif rule.prefix_list_id in cloud.prefix_lists:
        yield from (replace(rule, cidr=entry.cidr, prefix_list_id=None) for entry in cloud.prefix_lists[rule.prefix_list_id].entries)


def naming(cloud: CloudState, list_id: str) -> frozenset[str]:
    """The VPCs that have a group with a rule that names a prefix list."""
    return frozenset(
        group.vpc_id for group in cloud.security_groups.values() for rule in (*group.ingress, *group.egress) if rule.prefix_list_id == list_id
    )


def _by_address(set_name: str, kind: str, owner: str, rules: Sequence[SecurityGroupRule]) -> Iterator[NftElement]:
    boxes = disjoint([*service_box(rule), bounds(rule.cidr)] for rule in rules if rule.cidr is not None and ":" not in rule.cidr)
    for protocols, ports, addresses in boxes:
        fields = (owner, range_text(protocols), range_text(ports), address_text(addresses))
        yield NftElement(tables.TABLE, set_name, fields, (kind, "inet_proto", "inet_service", "ipv4_addr"), family="ip", ranges=True)


def _by_group(set_name: str, sender: Profile, receiver: Profile, rules: Sequence[SecurityGroupRule]) -> Iterator[NftElement]:
    for protocols, ports in disjoint(service_box(rule) for rule in rules):
        fields = (mark_text(profile_number(sender)), class_text(profile_number(receiver)), range_text(protocols), range_text(ports))
        yield NftElement(tables.TABLE, set_name, fields, ("mark", "classid", "inet_proto", "inet_service"), family="ip", ranges=True)


def service_box(rule: SecurityGroupRule) -> Box:
    """Protocols and ports of a rule. For ICMP AWS writes the type into the from port and the code into the to port, -1 = all."""
    if rule.protocol == "-1":
        return ALL_PROTOCOLS, ALL_PORTS
    number = PROTOCOLS[rule.protocol] if rule.protocol in PROTOCOLS else int(rule.protocol)
    if number == ICMP:
        return (ICMP, ICMP), _icmp_range(rule.from_port, rule.to_port)
    if number not in (TCP, UDP) or rule.from_port is None or rule.from_port < 0:
        return (number, number), ALL_PORTS
    return (number, number), (rule.from_port, rule.from_port if rule.to_port is None else rule.to_port)


def _icmp_range(icmp_type: int | None, code: int | None) -> Range:
    if icmp_type is None or icmp_type < 0:
        return ALL_PORTS
    if code is None or code < 0:
        return icmp_type << 8, icmp_type << 8 | 255
    return icmp_type << 8 | code, icmp_type << 8 | code


def disjoint(boxes: Iterable[Sequence[Range]]) -> tuple[Box, ...]:
    """Boxes that cover the same points and do not overlap, sorted. Large ones stay whole, small ones are cut."""
    kept: list[Box] = []
    for box in sorted({tuple(box) for box in boxes}, key=lambda box: (-prod(high - low + 1 for low, high in box), box)):
        pieces = [box]
        for other in kept:
            pieces = [rest for piece in pieces for rest in _without(piece, other)]
        kept += pieces
    return tuple(sorted(kept))


def _without(box: Box, other: Box) -> Iterator[Box]:
    """`box` less what it shares with `other`, as boxes: one part after the other is cut off to the left and to the right."""
    if any(high < other_low or other_high < low for (low, high), (other_low, other_high) in zip(box, other, strict=True)):
        yield box
        return
    for place, ((low, high), (other_low, other_high)) in enumerate(zip(box, other, strict=True)):
        if low < other_low:
            yield (*box[:place], (low, other_low - 1), *box[place + 1 :])
        if other_high < high:
            yield (*box[:place], (other_high + 1, high), *box[place + 1 :])
        box = (*box[:place], (max(low, other_low), min(high, other_high)), *box[place + 1 :])


def range_text(numbers: Range) -> str:
    """One number, or ``low-high``."""
    low, high = numbers
    return str(low) if low == high else f"{low}-{high}"


def address_text(numbers: Range) -> str:
    """As nft prints a range of addresses: one address, a prefix where the range is one, else ``low-high``."""
    low, high = numbers
    size = high - low + 1
    if size == 1:
        return to_text(low)
    if size & (size - 1) == 0 and low % size == 0:
        return f"{to_text(low)}/{32 - (size.bit_length() - 1)}"
    return f"{to_text(low)}-{to_text(high)}"
