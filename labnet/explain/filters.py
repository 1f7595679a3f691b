"""Security groups and network ACLs over one flow (pure). Source: docs/sources.md#security-groups, docs/sources.md#network-acls"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labnet.explain.verdict import Flow, Ports
from labnet.model.addressing import contains
from labnet.model.cloud import CloudState, Eni, SecurityGroupRule
from labnet.model.cloud_vpc import AclEntry, NetworkAcl
from labnet.model.values import frozen

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
ICMP, TCP, UDP = "1", "6", "17"


def number_of(protocol: str) -> str:
    """A protocol's IANA number as text, -1 for all."""
    return str(NUMBERS.get(protocol, protocol))


# ---- security groups ------------------------------------------------------------------------------------------------------


def group_that_allows(cloud: CloudState, eni: Eni, egress: bool, flow: Flow, peer_groups: Sequence[str]) -> str:
    """The first of an ENI's groups with a rule for the flow, "" when there is none. `peer_groups`: the groups of the other ENI."""
    other = flow.dst if egress else flow.src
    for group_id in eni.security_groups:
        if any(_covers(cloud, rule, other, peer_groups) and _serves(rule, flow) for rule in rules_of(cloud, group_id, egress)):
            return group_id
    return ""


def rule_that_allows(cloud: CloudState, group_id: str, egress: bool, flow: Flow, peer_groups: Sequence[str]) -> str:
    """The id of the first rule of a group that allows the flow, "" when there is none."""
    other = flow.dst if egress else flow.src
    found = (rule for rule in rules_of(cloud, group_id, egress) if _covers(cloud, rule, other, peer_groups) and _serves(rule, flow))
    return next((rule.id for rule in found), "")


def rules_of(cloud: CloudState, group_id: str, egress: bool) -> tuple[SecurityGroupRule, ...]:
    """The rules of a group in one direction."""
    group = cloud.security_groups.get(group_id)
    return () if group is None else group.egress if egress else group.ingress


def _covers(cloud: CloudState, rule: SecurityGroupRule, address: str, groups: Sequence[str]) -> bool:
    if rule.group_id is not None:
        return rule.group_id in groups
    if rule.prefix_list_id is not None:
        listed = cloud.prefix_lists.get(rule.prefix_list_id)
        return listed is not None and any(contains(entry.cidr, address) for entry in listed.entries)
    return rule.cidr is not None and ":" not in rule.cidr and contains(rule.cidr, address)


def _serves(rule: SecurityGroupRule, flow: Flow) -> bool:
    wanted, has = number_of(rule.protocol), number_of(flow.protocol)
    if wanted == "-1":
        return True
    if wanted != has:
        return False
    if wanted == ICMP:
        return rule.from_port in (None, -1) or (rule.from_port == flow.icmp_type and rule.to_port in (None, -1, 0))
    if rule.from_port is None or rule.from_port < 0:
        return True
    last = rule.from_port if rule.to_port is None else rule.to_port
    return rule.from_port <= flow.dst_ports[0] and flow.dst_ports[1] <= last


# ---- network ACLs ---------------------------------------------------------------------------------------------------------


@frozen
class AclVerdict:
    """What an ACL says; where only some of the flow's ports pass, it does not allow it."""

    acl_id: str
    allows: bool
    reason: str


def acl_of(cloud: CloudState, subnet_id: str) -> NetworkAcl | None:
    """The network ACL of a subnet."""
    return next((acl for acl in cloud.network_acls.values() if any(one.subnet_id == subnet_id for one in acl.associations)), None)


def judge_acl(acl: NetworkAcl, egress: bool, flow: Flow) -> AclVerdict:
    """First match by number, each port of the flow for itself; the implicit deny at the end."""
    actions: dict[str, str] = {}
    for number, action, ports in _matches(acl, egress, flow):
        text = f"rule {number} {'allows' if action == 'allow' else 'denies'} it"
        actions.setdefault(action, text if ports == flow.dst_ports else f"{text} for ports {ports[0]}-{ports[1]}")
    if set(actions) == {"allow"}:
        return AclVerdict(acl.id, True, actions["allow"])
    return AclVerdict(acl.id, False, actions["deny"])


def _matches(acl: NetworkAcl, egress: bool, flow: Flow) -> Iterator[tuple[str, str, Ports]]:
    """(rule, action, ports) that between them cover all of the flow's destination ports."""
    left: list[Ports] = [flow.dst_ports]
    for entry in sorted((one for one in acl.entries if one.egress == egress), key=lambda one: one.number):
        if not _concerns(entry, flow, flow.dst if egress else flow.src):
            continue
        low, high = (entry.from_port, entry.to_port) if entry.from_port is not None else (None, None)
        rest: list[Ports] = []
        for ports in left:
            inside = ports if low is None or high is None else (max(ports[0], low), min(ports[1], high))
            if inside[0] > inside[1]:
                rest.append(ports)
                continue
            yield str(entry.number), entry.action, inside
            rest += [part for part in ((ports[0], inside[0] - 1), (inside[1] + 1, ports[1])) if part[0] <= part[1]]
        left = rest
    yield from (("*", "deny", ports) for ports in left)


def _concerns(entry: AclEntry, flow: Flow, address: str) -> bool:
    if ":" in entry.cidr or not contains(entry.cidr, address):
        return False
    if entry.protocol == "-1":
        return True
    if entry.protocol != number_of(flow.protocol):
        return False
    return entry.protocol != ICMP or (entry.icmp_type in (None, -1, flow.icmp_type) and entry.icmp_code in (None, -1, 0))
