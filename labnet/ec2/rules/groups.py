"""Security groups: create, delete, describe (pure); their rules are `grouprules`. Source: docs/sources.md#security-groups"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_group, get_vpc, no_group
from labnet.ec2.rules.grouprules import Side, rules_on, with_ids
from labnet.ec2.rules.quotas import GROUPS_PER_REGION
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tags_for
from labnet.ec2.rules.shapes import group_arn, group_shape, port_shape
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, SecurityGroup, SecurityGroupRule

ALL_OUT = SecurityGroupRule("-1", cidr="0.0.0.0/0")
WORDS = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}")
"""Which characters names and descriptions of groups may have."""


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateSecurityGroup: nothing in, everything out."""
    if not params.get("VpcId"):
        raise Ec2Error("VPCIdNotSpecified", "No default VPC for this user")
    vpc = get_vpc(state, params["VpcId"])
    name, description = str(params["GroupName"]), str(params["Description"])
    if name == "default":
        raise Ec2Error("InvalidGroup.Reserved", "Cannot use reserved security group name: default")
    if name.startswith("sg-"):
        raise invalid(f"Invalid value '{name}' for groupName. Group names may not be in the format sg-*")
    for member, text in (("groupName", name), ("groupDescription", description)):
        if not WORDS.fullmatch(text):
            raise invalid(f"Value ({text}) for parameter {member} is invalid. Character sets beyond ASCII are not supported.")
    if any(one.vpc_id == vpc.id and one.name == name for one in state.security_groups.values()):
        raise Ec2Error("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc.id}'")
    if len(state.security_groups) >= GROUPS_PER_REGION:
        raise Ec2Error("SecurityGroupLimitExceeded", "The maximum number of security groups has been reached.")
    state, group_id = new_id(state, "sg", f"{vpc.id}/{name}")
    state, egress = with_ids(state, (ALL_OUT,))
    group = SecurityGroup(group_id, name, vpc.id, description, (), egress, tags_for(params, "security-group"))
    state = replace(state, security_groups={**state.security_groups, group_id: group})
    return state, {"GroupId": group_id, "Tags": group_shape(state, group)["Tags"], "SecurityGroupArn": group_arn(state, group)}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteSecurityGroup: neither the default one nor one that an ENI or another group names."""
    group = get_group(state, params["GroupId"])
    if group.name == "default":
        raise Ec2Error("CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user')
    named = any(group.id in one.security_groups for one in state.enis.values())
    others = [one for one in state.security_groups.values() if one.id != group.id]
    if named or any(rule.group_id == group.id for one in others for rule in (*one.ingress, *one.egress)):
        raise Ec2Error("DependencyViolation", f"resource {group.id} has a dependent object")
    kept = {key: one for key, one in state.security_groups.items() if key != group.id}
    return replace(state, security_groups=kept), {"Return": True, "GroupId": group.id}


def _fields(state: CloudState) -> dict[str, describe.Field[SecurityGroup]]:
    fields: dict[str, describe.Field[SecurityGroup]] = {
        "group-id": lambda one: (one.id,), "group-name": lambda one: (one.name,), "vpc-id": lambda one: (one.vpc_id,),
        "description": lambda one: (one.description,), "owner-id": lambda one: (state.account_id,),
    }
    sides: tuple[tuple[str, Side], ...] = (("ip-permission", "ingress"), ("egress.ip-permission", "egress"))
    for prefix, side in sides:
        fields |= {f"{prefix}.{name}": _of_rules(side, read) for name, read in _rule_fields(state).items()}
    return fields


def _of_rules(side: Side, read: Callable[[SecurityGroupRule], str | None]) -> describe.Field[SecurityGroup]:
    return lambda group: [text for rule in rules_on(group, side) if (text := read(rule)) is not None]


def _rule_fields(state: CloudState) -> dict[str, Callable[[SecurityGroupRule], str | None]]:
    """What the rules of groups can be asked for; None where a rule has no such member."""
    def port(member: str) -> Callable[[SecurityGroupRule], str | None]:
        return lambda rule: str(port_shape(rule)[member]) if member in port_shape(rule) else None

    return {
        "cidr": lambda rule: rule.cidr, "from-port": port("FromPort"), "to-port": port("ToPort"), "protocol": lambda rule: rule.protocol,
        "prefix-list-id": lambda rule: rule.prefix_list_id,
        "group-id": lambda rule: rule.group_id, "user-id": lambda rule: state.account_id if rule.group_id else None,
        "group-name": lambda rule: state.security_groups[rule.group_id].name if rule.group_id in state.security_groups else None,
    }


def describe_groups(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeSecurityGroups."""
    describe.page_or_ids(params, "GroupIds", "groupIds")
    found = describe.chosen(state.security_groups, params.get("GroupIds"), no_group)
    shown, more = describe.page(describe.matching(found, params, _fields(state), lambda one: one.tags), params)
    return state, {"SecurityGroups": [group_shape(state, one) for one in shown], **more}


ACTIONS = {
    "CreateSecurityGroup": action(create, "GroupName Description VpcId TagSpecifications", "GroupName Description"),
    "DeleteSecurityGroup": action(delete, "GroupId", "GroupId"),
    "DescribeSecurityGroups": action(describe_groups, "GroupIds Filters MaxResults NextToken", mutates=False),
}
