"""Security groups: defaults, limits, and what keeps a group alive."""

from __future__ import annotations

from typing import Any

from labnet.ec2.probe.check import of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Security groups")
UNKNOWN = "0123456789abcdef0"
RULES_PER_GROUP = 60
RULES_FULL = "The maximum number of rules per security group has been reached."


def _tcp(port: int, *cidrs: str) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": one} for one in cidrs]}]


def _see(at: Site, group: str) -> dict[str, Any]:
    return dict(at.call("DescribeSecurityGroups", GroupIds=[group])["SecurityGroups"][0])


def _default_of(at: Site, vpc: str) -> str:
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    return str(at.call("DescribeSecurityGroups", Filters=filters)["SecurityGroups"][0]["GroupId"])


@check("a new group")
def group_defaults(at: Site) -> None:
    """Lets nothing in and everything out."""
    group = _see(at, at.group(at.vpc()))
    same(group["IpPermissions"], [], "IpPermissions")
    out = [(one["IpProtocol"], [item["CidrIp"] for item in one["IpRanges"]]) for one in group["IpPermissionsEgress"]]
    same(out, [("-1", ["0.0.0.0/0"])], "IpPermissionsEgress")


@check("the default group")
def default_group(at: Site) -> None:
    """Lets everything in from itself and everything out."""
    group = _default_of(at, at.vpc())
    seen = _see(at, group)
    into = [(one["IpProtocol"], [item["GroupId"] for item in one["UserIdGroupPairs"]]) for one in seen["IpPermissions"]]
    same(into, [("-1", [group])], "IpPermissions")


@check("delete the default group")
def delete_default(at: Site) -> None:
    """CannotDelete names the group."""
    group = _default_of(at, at.vpc())
    text = f'the specified group: "{group}" name: "default" cannot be deleted by a user'
    at.refused("DeleteSecurityGroup", "CannotDelete", text, GroupId=group)


@check("delete a group in use")
def delete_in_use_by_an_eni(at: Site) -> None:
    """A group that an ENI has is DependencyViolation."""
    vpc = at.vpc()
    group = at.group(vpc)
    eni = at.eni(at.subnet(vpc=vpc), Groups=[group])
    at.refused("DeleteSecurityGroup", "DependencyViolation", f"resource {group} has a dependent object", GroupId=group)
    at.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    at.call("DeleteSecurityGroup", GroupId=group)


@check("delete a group in use")
def delete_in_use_by_a_rule(at: Site) -> None:
    """A group that a rule of another group names is DependencyViolation."""
    vpc = at.vpc()
    named, naming = at.group(vpc, "named"), at.group(vpc, "naming")
    rule = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": named}]}]
    at.call("AuthorizeSecurityGroupIngress", GroupId=naming, IpPermissions=rule)
    at.refused("DeleteSecurityGroup", "DependencyViolation", f"resource {named} has a dependent object", GroupId=named)


@check("rules per group")
def rules_limit(at: Site) -> None:
    """Sixty in a direction; the next is RulesPerSecurityGroupLimitExceeded."""
    group = at.group(at.vpc())
    at.call("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=_tcp(80, *(f"10.0.{n}.0/24" for n in range(RULES_PER_GROUP))))
    wanted = {"GroupId": group, "IpPermissions": _tcp(80, "10.1.0.0/24")}
    at.refused("AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded", RULES_FULL, **wanted)
    at.call("AuthorizeSecurityGroupEgress", **wanted)


@check("unknown group")
def unknown_group(at: Site) -> None:
    """InvalidGroup.NotFound."""
    at.refused("DescribeSecurityGroups", "InvalidGroup.NotFound", GroupIds=[f"sg-{UNKNOWN}"])
    at.refused("DeleteSecurityGroup", "InvalidGroup.NotFound", GroupId=f"sg-{UNKNOWN}")


@check("group names")
def duplicate_name(at: Site) -> None:
    """A name is used once in a VPC: InvalidGroup.Duplicate."""
    vpc = at.vpc()
    at.group(vpc)
    at.refused("CreateSecurityGroup", "InvalidGroup.Duplicate", GroupName="probe", Description="again", VpcId=vpc)


@check("a rule twice")
def rule_twice(at: Site) -> None:
    """InvalidPermission.Duplicate."""
    group = at.group(at.vpc())
    wanted = {"GroupId": group, "IpPermissions": _tcp(443, "10.0.0.0/8")}
    at.call("AuthorizeSecurityGroupIngress", **wanted)
    at.refused("AuthorizeSecurityGroupIngress", "InvalidPermission.Duplicate", **wanted)


@check("a rule that is not there")
def rule_missing(at: Site) -> None:
    """InvalidPermission.NotFound."""
    group = at.group(at.vpc())
    at.refused("RevokeSecurityGroupIngress", "InvalidPermission.NotFound", GroupId=group, IpPermissions=_tcp(443, "10.0.0.0/8"))


@check("rules that make no sense")
def rules_malformed(at: Site) -> None:
    """A reversed range of ports and a malformed CIDR are InvalidParameterValue."""
    group = at.group(at.vpc())
    reversed_ports = [{"IpProtocol": "tcp", "FromPort": 90, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    for wrong in (reversed_ports, _tcp(80, "10.0.0.0/40")):
        at.refused("AuthorizeSecurityGroupIngress", "InvalidParameterValue", GroupId=group, IpPermissions=wrong)


@check("rules are kept")
def rules_kept(at: Site) -> None:
    """What was authorized is described, what was revoked is not."""
    group = at.group(at.vpc())
    at.call("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=_tcp(443, "10.0.0.0/8", "192.0.2.0/24"))
    at.call("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=_tcp(443, "10.0.0.0/8"))
    found = [(one["FromPort"], one["ToPort"], [item["CidrIp"] for item in one["IpRanges"]]) for one in _see(at, group)["IpPermissions"]]
    same(found, [(443, 443, ["192.0.2.0/24"])], "IpPermissions")
