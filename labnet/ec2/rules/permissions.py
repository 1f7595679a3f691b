"""Permissions of security groups as requests write them → rules (pure). Source: docs/sources.md#security-groups

A permission comes in three forms: `IpPermissions` (ranges and groups of one protocol and ports together), the flat short form
of one range or one group's name, and the single rule of ModifySecurityGroupRules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from labnet.ec2.rules.find import get_group, get_prefix_list
from labnet.ec2.rules.request import Params, check_members, invalid
from labnet.errors import Ec2Error
from labnet.model.addressing import canonical
from labnet.model.cloud import CloudState, SecurityGroup, SecurityGroupRule

NAMES = {"1": "icmp", "6": "tcp", "17": "udp"}
MAX_PORT, MAX_PROTOCOL, MAX_ICMP = 65_535, 255, 255
DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
FLAT = ("IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupName", "SourceSecurityGroupOwnerId")
_PERMISSION = "IpProtocol FromPort ToPort IpRanges UserIdGroupPairs Ipv6Ranges PrefixListIds"


def rules_of(state: CloudState, group: SecurityGroup, params: Params) -> list[SecurityGroupRule]:
    """The rules that a request names, in `IpPermissions` or in the flat form, without ids. Errors: Ec2Error."""
    listed = params.get("IpPermissions")
    flat = {key: params[key] for key in FLAT if params.get(key) is not None}
    if listed and flat:
        raise Ec2Error("InvalidParameterCombination", f"The parameter ipPermissions cannot be used with {', '.join(flat)}")
    if flat:
        return list(_flat(state, group, flat))
    if not listed:
        raise _no_source()
    return [rule for item in listed for rule in _permission(state, group, item)]


def _flat(state: CloudState, group: SecurityGroup, flat: Mapping[str, Any]) -> Iterator[SecurityGroupRule]:
    """One range, or all of TCP, UDP and ICMP from a group that is named."""
    name = flat.get("SourceSecurityGroupName")
    if flat.get("SourceSecurityGroupOwnerId", state.account_id) != state.account_id:
        raise _no_group_named(str(name), group)
    if name is not None:
        if set(flat) - {"SourceSecurityGroupName", "SourceSecurityGroupOwnerId"}:
            text = "A source group's name cannot be given together with a protocol, ports or a CIDR: use ipPermissions"
            raise Ec2Error("InvalidParameterCombination", text)
        other = _named(state, group, str(name))
        yield SecurityGroupRule("tcp", 0, MAX_PORT, group_id=other.id)
        yield SecurityGroupRule("udp", 0, MAX_PORT, group_id=other.id)
        yield SecurityGroupRule("icmp", group_id=other.id)
    elif "CidrIp" not in flat:
        raise _no_source()
    else:
        protocol, low, high = _service(flat)
        yield SecurityGroupRule(protocol, low, high, cidr=_cidr(flat["CidrIp"]))


def _permission(state: CloudState, group: SecurityGroup, item: Mapping[str, Any]) -> Iterator[SecurityGroupRule]:
    check_members(item, _PERMISSION, "IpPermissions")
    if item.get("Ipv6Ranges"):
        raise Ec2Error("UnknownParameter", "The parameter IpPermissions.Ipv6Ranges is not recognized")
    protocol, low, high = _service(item)
    ranges, pairs, lists = item.get("IpRanges") or (), item.get("UserIdGroupPairs") or (), item.get("PrefixListIds") or ()
    if not ranges and not pairs and not lists:
        raise _no_source()
    for entry in ranges:
        check_members(entry, "CidrIp Description", "IpPermissions.IpRanges")
        yield SecurityGroupRule(protocol, low, high, cidr=_cidr(entry.get("CidrIp")), description=check_description(entry.get("Description")))
    for pair in pairs:
        check_members(pair, "GroupId GroupName UserId VpcId Description", "IpPermissions.UserIdGroupPairs")
        other = _paired(state, group, pair)
        yield SecurityGroupRule(protocol, low, high, group_id=other.id, description=check_description(pair.get("Description")))
    for one in lists:
        check_members(one, "PrefixListId Description", "IpPermissions.PrefixListIds")
        text, list_id = check_description(one.get("Description")), get_prefix_list(state, str(one.get("PrefixListId"))).id
        yield SecurityGroupRule(protocol, low, high, prefix_list_id=list_id, description=text)


def single_rule(state: CloudState, group: SecurityGroup, item: Mapping[str, Any]) -> SecurityGroupRule:
    """The rule of a `SecurityGroupRuleRequest`. Errors: Ec2Error."""
    members = "IpProtocol FromPort ToPort CidrIpv4 PrefixListId ReferencedGroupId Description"
    check_members(item, members, "SecurityGroupRules.SecurityGroupRule")
    protocol, low, high = _service(item)
    text = check_description(item.get("Description"))
    if sum(item.get(name) is not None for name in ("CidrIpv4", "ReferencedGroupId", "PrefixListId")) != 1:
        raise _no_source()
    if item.get("PrefixListId") is not None:
        list_id = get_prefix_list(state, str(item["PrefixListId"])).id
        return SecurityGroupRule(protocol, low, high, prefix_list_id=list_id, description=text)
    if item.get("CidrIpv4") is not None:
        return SecurityGroupRule(protocol, low, high, cidr=_cidr(item["CidrIpv4"]), description=text)
    other = _paired(state, group, {"GroupId": item["ReferencedGroupId"]})
    return SecurityGroupRule(protocol, low, high, group_id=other.id, description=text)


def check_description(text: object) -> str:
    """A rule's description, empty for none. Errors: Ec2Error."""
    if text is not None and not DESCRIPTION.fullmatch(str(text)):
        allowed = "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        raise invalid(f"Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: {allowed}")
    return str(text or "")


# ---- the other side -------------------------------------------------------------------------------------------------------


def _paired(state: CloudState, group: SecurityGroup, pair: Mapping[str, Any]) -> SecurityGroup:
    """The group that a pair names, by id or by name, of the same VPC."""
    if str(pair.get("UserId") or state.account_id) != state.account_id:
        raise _no_group_named(str(pair.get("GroupId") or pair.get("GroupName")), group)
    if not pair.get("GroupId"):
        if not pair.get("GroupName"):
            raise Ec2Error("MissingParameter", "Source group ID missing.")
        return _named(state, group, str(pair["GroupName"]))
    other = get_group(state, str(pair["GroupId"]))
    if other.vpc_id != group.vpc_id or str(pair.get("VpcId") or group.vpc_id) != group.vpc_id:
        raise Ec2Error("InvalidGroup.NotFound", f"You have specified two resources that belong to different networks: {other.id}")
    return other


def _named(state: CloudState, group: SecurityGroup, name: str) -> SecurityGroup:
    for other in state.security_groups.values():
        if other.name == name and other.vpc_id == group.vpc_id:
            return other
    raise _no_group_named(name, group)


def _no_group_named(name: str, group: SecurityGroup) -> Ec2Error:
    return Ec2Error("InvalidGroup.NotFound", f"The security group '{name}' does not exist in VPC '{group.vpc_id}'")


def _no_source() -> Ec2Error:
    return Ec2Error("MissingParameter", "Missing source specification: include source security group or CIDR information")


def _cidr(text: object) -> str:
    try:
        return canonical(str(text))
    except ValueError:
        raise invalid(f"CIDR block {text} is malformed") from None


# ---- protocol and ports ---------------------------------------------------------------------------------------------------


def _service(item: Mapping[str, Any]) -> tuple[str, int | None, int | None]:
    """Protocol, and ports or ICMP type and code; None where all."""
    if item.get("IpProtocol") in (None, ""):
        raise Ec2Error("InvalidPermission.Malformed", "The specified permission names no IP protocol")
    protocol = str(item["IpProtocol"]).lower()
    protocol = NAMES.get(protocol, protocol)
    if protocol not in ("tcp", "udp", "icmp"):
        if protocol != "-1" and not (protocol.isascii() and protocol.isdigit() and int(protocol) <= MAX_PROTOCOL):
            raise invalid(f"Invalid value '{item['IpProtocol']}' for IP protocol. Unknown protocol.")
        return protocol if protocol == "-1" else str(int(protocol)), None, None  # ports mean nothing then, as on EC2
    low, high = item.get("FromPort"), item.get("ToPort")
    if low is None or high is None:
        raise invalid(f"Invalid value 'Must specify both from and to ports with {protocol.upper()}/IP.' for portRange")
    return (protocol, *(_icmp(int(low), int(high)) if protocol == "icmp" else _ports(int(low), int(high))))


def _ports(low: int, high: int) -> tuple[int, int]:
    if not 0 <= low <= high <= MAX_PORT:
        raise invalid(f"Invalid value '{low}-{high}' for portRange: it must be from 0 to {MAX_PORT}, the first not above the second")
    return low, high


def _icmp(kind: int, code: int) -> tuple[int | None, int | None]:
    if not -1 <= kind <= MAX_ICMP or not -1 <= code <= MAX_ICMP or (kind == -1 and code != -1):
        raise invalid(f"ICMP type {kind} and code {code} are not valid: -1 to {MAX_ICMP}, and all codes where all types are meant")
    return (None, None) if kind == -1 else (kind, code)


def words(rule: SecurityGroupRule) -> str:
    """A rule as EC2's errors put it."""
    ports = "ALL" if rule.from_port is None else f"from port: {rule.from_port}, to port: {rule.to_port}"
    return f"peer: {rule.cidr or rule.group_id or rule.prefix_list_id}, {rule.protocol.upper()}, {ports}, ALLOW"
