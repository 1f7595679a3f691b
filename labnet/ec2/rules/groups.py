"""Security groups and their rules (pure). Source: docs/sources.md#security-groups"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_group, get_vpc, no_group
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tags_for
from labnet.ec2.rules.shapes import group_shape
from labnet.errors import Ec2Error
from labnet.model.addressing import canonical
from labnet.model.cloud import CloudState, SecurityGroup, SecurityGroupRule

RULES_PER_DIRECTION = 60
NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp"}
MAX_PORT = 65_535
Side = Literal["ingress", "egress"]


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateSecurityGroup: nothing in, everything out."""
    vpc = get_vpc(state, params["VpcId"])
    name = str(params["GroupName"])
    if name == "default" or name.startswith("sg-"):
        raise invalid(f"Cannot use reserved security group name: {name}")
    if any(one.vpc_id == vpc.id and one.name == name for one in state.security_groups.values()):
        raise Ec2Error("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc.id}'")
    state, group_id = new_id(state, "sg", f"{vpc.id}/{name}")
    group = SecurityGroup(
        group_id, name, vpc.id, str(params["Description"]), (), (SecurityGroupRule("-1", cidr="0.0.0.0/0"),),
        tags_for(params, "security-group"),
    )
    state = replace(state, security_groups={**state.security_groups, group_id: group})
    return state, {"GroupId": group_id, "Tags": group_shape(state, group)["Tags"]}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteSecurityGroup: neither the default one nor one that an ENI or another group names."""
    group = get_group(state, params["GroupId"])
    if group.name == "default":
        raise Ec2Error("CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user')
    named = any(group.id in one.security_groups for one in state.enis.values())
    others = [one for one in state.security_groups.values() if one.id != group.id]
    if named or any(rule.group_id == group.id for one in others for rule in (*one.ingress, *one.egress)):
        raise Ec2Error("DependencyViolation", f"resource {group.id} has a dependent object")
    return replace(state, security_groups={key: one for key, one in state.security_groups.items() if key != group.id}), {}


def _authorize(side: Side, state: CloudState, params: Params) -> Result:
    group = get_group(state, params["GroupId"])
    before: tuple[SecurityGroupRule, ...] = getattr(group, side)
    added = list(_rules(state, group, params["IpPermissions"]))
    for rule in added:
        if rule in before:
            raise Ec2Error("InvalidPermission.Duplicate", f'the specified rule "{_words(rule)}" already exists')
    after = (*before, *dict.fromkeys(added))
    if len(after) > RULES_PER_DIRECTION:
        text = "The maximum number of rules per security group has been reached."
        raise Ec2Error("RulesPerSecurityGroupLimitExceeded", text)
    return _with(state, group, side, after), {"Return": True}


def _revoke(side: Side, state: CloudState, params: Params) -> Result:
    group = get_group(state, params["GroupId"])
    before: tuple[SecurityGroupRule, ...] = getattr(group, side)
    gone = set(_rules(state, group, params["IpPermissions"]))
    if not gone <= set(before):
        raise Ec2Error("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
    return _with(state, group, side, tuple(rule for rule in before if rule not in gone)), {"Return": True}


def _with(state: CloudState, group: SecurityGroup, side: Side, rules: tuple[SecurityGroupRule, ...]) -> CloudState:
    after = replace(group, ingress=rules) if side == "ingress" else replace(group, egress=rules)
    return replace(state, security_groups={**state.security_groups, group.id: after})


def _rules(state: CloudState, group: SecurityGroup, permissions: Iterable[dict[str, Any]]) -> Iterable[SecurityGroupRule]:
    for item in permissions:
        unknown = set(item) - {"IpProtocol", "FromPort", "ToPort", "IpRanges", "UserIdGroupPairs", "Ipv6Ranges", "PrefixListIds"}
        if unknown or item.get("Ipv6Ranges") or item.get("PrefixListIds"):
            what = ", ".join(sorted(unknown)) or "Ipv6Ranges and PrefixListIds"
            raise Ec2Error("UnknownParameter", f"The parameter IpPermissions.{what} is not recognized")
        protocol = NUMBERS.get(str(item.get("IpProtocol")), str(item.get("IpProtocol")))
        low, high = _ports(protocol, item)
        for entry in item.get("IpRanges", ()):
            try:
                yield SecurityGroupRule(protocol, low, high, cidr=canonical(str(entry["CidrIp"])))
            except ValueError:
                raise invalid(f"CIDR block {entry['CidrIp']} is malformed") from None
        for pair in item.get("UserIdGroupPairs", ()):
            other = get_group(state, str(pair["GroupId"]))
            if other.vpc_id != group.vpc_id:
                raise Ec2Error("InvalidGroup.NotFound", f"You have specified two resources that belong to different networks: {other.id}")
            yield SecurityGroupRule(protocol, low, high, group_id=other.id)


def _ports(protocol: str, item: dict[str, Any]) -> tuple[int | None, int | None]:
    if protocol == "-1" or protocol not in ("tcp", "udp", "icmp"):
        if protocol != "-1" and not (protocol.isdigit() and int(protocol) <= 255):
            raise invalid(f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")
        return None, None
    low, high = item.get("FromPort"), item.get("ToPort")
    if low is None or high is None:
        raise invalid(f"Invalid value 'Must specify both from and to ports with {protocol.upper()}/IP.' for portRange")
    if protocol != "icmp" and not 0 <= int(low) <= int(high) <= MAX_PORT:
        raise invalid(f"Invalid value '{low}-{high}' for portRange: it must be from 0 to {MAX_PORT}, the first not above the second")
    if protocol == "icmp" and int(low) == -1:
        return None, None
    return int(low), int(high)


def _words(rule: SecurityGroupRule) -> str:
    ports = "ALL" if rule.from_port is None else f"from port: {rule.from_port}, to port: {rule.to_port}"
    return f"peer: {rule.cidr or rule.group_id}, {rule.protocol.upper()}, {ports}, ALLOW"


def authorize_ingress(state: CloudState, params: Params, context: Context) -> Result:
    """AuthorizeSecurityGroupIngress."""
    return _authorize("ingress", state, params)


def authorize_egress(state: CloudState, params: Params, context: Context) -> Result:
    """AuthorizeSecurityGroupEgress."""
    return _authorize("egress", state, params)


def revoke_ingress(state: CloudState, params: Params, context: Context) -> Result:
    """RevokeSecurityGroupIngress."""
    return _revoke("ingress", state, params)


def revoke_egress(state: CloudState, params: Params, context: Context) -> Result:
    """RevokeSecurityGroupEgress."""
    return _revoke("egress", state, params)


_FIELDS: dict[str, describe.Field[SecurityGroup]] = {
    "group-id": lambda one: (one.id,), "group-name": lambda one: (one.name,), "vpc-id": lambda one: (one.vpc_id,),
    "description": lambda one: (one.description,),
}


def describe_groups(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeSecurityGroups."""
    found = describe.chosen(state.security_groups, params.get("GroupIds"), no_group)
    shown, more = describe.page(describe.matching(found, params, _FIELDS, lambda one: one.tags), params)
    return state, {"SecurityGroups": [group_shape(state, one) for one in shown], **more}


ACTIONS = {
    "CreateSecurityGroup": action(create, "GroupName Description VpcId TagSpecifications", "GroupName Description VpcId"),
    "DeleteSecurityGroup": action(delete, "GroupId", "GroupId"),
    "AuthorizeSecurityGroupIngress": action(authorize_ingress, "GroupId IpPermissions", "GroupId IpPermissions"),
    "AuthorizeSecurityGroupEgress": action(authorize_egress, "GroupId IpPermissions", "GroupId IpPermissions"),
    "RevokeSecurityGroupIngress": action(revoke_ingress, "GroupId IpPermissions", "GroupId IpPermissions"),
    "RevokeSecurityGroupEgress": action(revoke_egress, "GroupId IpPermissions", "GroupId IpPermissions"),
    "DescribeSecurityGroups": action(describe_groups, "GroupIds Filters MaxResults NextToken", mutates=False),
}
