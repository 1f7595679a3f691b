"""The rules of security groups: authorize, revoke, modify, describe (pure). Source: docs/sources.md#security-groups"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_group
from labnet.ec2.rules.permissions import check_description, rules_of, single_rule, words
from labnet.ec2.rules.prefix_lists import weight
from labnet.ec2.rules.quotas import RULES_PER_DIRECTION
from labnet.ec2.rules.request import Context, Params, Result, action, check_members, invalid, is_id, new_id, tags_for
from labnet.ec2.rules.shapes import revoked_rule_shape, rule_shape
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, SecurityGroup, SecurityGroupRule
from labnet.model.values import frozen

Side = Literal["ingress", "egress"]
Rules = tuple[SecurityGroupRule, ...]


def with_ids(state: CloudState, rules: Iterable[SecurityGroupRule]) -> tuple[CloudState, Rules]:
    """The same rules, each with an id of its own."""
    made: list[SecurityGroupRule] = []
    for rule in rules:
        state, rule_id = new_id(state, "sgr")
        made.append(replace(rule, id=rule_id))
    return state, tuple(made)


# ---- authorize and revoke -------------------------------------------------------------------------------------------------


def authorize(side: Side, state: CloudState, params: Params, context: Context) -> Result:
    """AuthorizeSecurityGroupIngress and …Egress: all the rules named or none."""
    group = get_group(state, params["GroupId"])
    before = rules_on(group, side)
    had = {rule.permission for rule in before}
    tags = tags_for(params, "security-group-rule")
    added = [replace(rule, tags=tags) for rule in rules_of(state, group, params)]
    if len({rule.permission for rule in added}) < len(added):
        raise invalid("The same permission must not appear multiple times")
    for rule in added:
        if rule.permission in had:
            raise Ec2Error("InvalidPermission.Duplicate", f'the specified rule "{words(rule)}" already exists')
    if weight(state, (*before, *added)) > RULES_PER_DIRECTION:
        text = "The maximum number of rules per security group has been reached."
        raise Ec2Error("RulesPerSecurityGroupLimitExceeded", text)
    state, made = with_ids(state, added)
    shown = [rule_shape(state, group, rule, egress=side == "egress") for rule in made]
    return with_rules(state, group, side, (*before, *made)), {"Return": True, "SecurityGroupRules": shown}


def revoke(side: Side, state: CloudState, params: Params, context: Context) -> Result:
    """RevokeSecurityGroupIngress and …Egress: by ids of rules, or by what they allow."""
    group = get_group(state, params["GroupId"])
    before = rules_on(group, side)
    if params.get("SecurityGroupRuleIds"):
        if params.get("IpPermissions"):
            raise Ec2Error("InvalidParameterCombination", "Rules are named by their ids or by ipPermissions, not by both")
        named = {str(one) for one in params["SecurityGroupRuleIds"]}
        for one in named - {rule.id for rule in before}:
            raise no_rule(one)
        gone = [rule for rule in before if rule.id in named]
    else:
        wanted = {rule.permission for rule in rules_of(state, group, params)}
        gone = [rule for rule in before if rule.permission in wanted]
        if len(gone) < len(wanted):
            raise _not_here()
    lost = {rule.permission for rule in gone}
    shown = [revoked_rule_shape(group, rule, egress=side == "egress") for rule in gone]
    state = with_rules(state, group, side, tuple(rule for rule in before if rule.permission not in lost))
    return state, {"Return": True, "RevokedSecurityGroupRules": shown}


def rules_on(group: SecurityGroup, side: Side) -> Rules:
    """The rules of one direction."""
    return group.ingress if side == "ingress" else group.egress


def with_rules(state: CloudState, group: SecurityGroup, side: Side, rules: Rules) -> CloudState:
    """The state with a group's rules of one direction replaced."""
    after = replace(group, ingress=rules) if side == "ingress" else replace(group, egress=rules)
    return replace(state, security_groups={**state.security_groups, group.id: after})


# ---- modify ---------------------------------------------------------------------------------------------------------------


def modify(state: CloudState, params: Params, context: Context) -> Result:
    """ModifySecurityGroupRules: each rule named becomes what the request says, its id stays."""
    group = get_group(state, params["GroupId"])
    for item in params["SecurityGroupRules"]:
        check_members(item, "SecurityGroupRuleId SecurityGroupRule", "SecurityGroupRules")
        rule_id = str(item.get("SecurityGroupRuleId"))
        side: Side = "egress" if any(rule.id == rule_id for rule in group.egress) else "ingress"
        before = rules_on(group, side)
        found = _by_id(before, rule_id)
        after = replace(single_rule(state, group, item.get("SecurityGroupRule") or {}), id=rule_id, tags=found.tags)
        if any(rule.permission == after.permission for rule in before if rule.id != rule_id):
            raise Ec2Error("InvalidPermission.Duplicate", f'the specified rule "{words(after)}" already exists')
        state = with_rules(state, group, side, tuple(after if rule.id == rule_id else rule for rule in before))
        group = state.security_groups[group.id]
    return state, {"Return": True}


def redescribe(side: Side, state: CloudState, params: Params, context: Context) -> Result:
    """UpdateSecurityGroupRuleDescriptionsIngress and …Egress: nothing else of the rules changes."""
    group = get_group(state, params["GroupId"])
    rules = rules_on(group, side)
    by_id, by_permission = params.get("SecurityGroupRuleDescriptions"), params.get("IpPermissions")
    if bool(by_id) == bool(by_permission):
        text = "Either ipPermissions or securityGroupRuleDescriptions must be specified, and not both"
        raise Ec2Error("InvalidParameterCombination", text)
    if by_id:
        texts = {}
        for item in by_id:
            check_members(item, "SecurityGroupRuleId Description", "SecurityGroupRuleDescriptions")
            texts[_by_id(rules, str(item.get("SecurityGroupRuleId"))).permission] = check_description(item.get("Description"))
    else:
        texts = {rule.permission: rule.description for rule in rules_of(state, group, params)}
        if not texts.keys() <= {rule.permission for rule in rules}:
            raise _not_here()
    after = tuple(replace(rule, description=texts.get(rule.permission, rule.description)) for rule in rules)
    return with_rules(state, group, side, after) if after != rules else state, {"Return": True}


def _by_id(rules: Sequence[SecurityGroupRule], rule_id: str) -> SecurityGroupRule:
    for rule in rules:
        if rule.id == rule_id:
            return rule
    raise no_rule(rule_id)


def no_rule(rule_id: str) -> Ec2Error:
    """The refusal of a rule's id that is not there."""
    if not is_id("sgr", rule_id):
        return Ec2Error("InvalidSecurityGroupRuleId.Malformed", f'Invalid id: "{rule_id}" (expecting "sgr-...")')
    return Ec2Error("InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{rule_id}' does not exist")


def _not_here() -> Ec2Error:
    return Ec2Error("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")


# ---- describe -------------------------------------------------------------------------------------------------------------


@frozen
class _Placed:
    """A rule where it stands."""

    group: SecurityGroup
    rule: SecurityGroupRule
    egress: bool


_FIELDS: dict[str, describe.Field[_Placed]] = {
    "group-id": lambda one: (one.group.id,), "security-group-rule-id": lambda one: (one.rule.id,),
}


def describe_rules(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeSecurityGroupRules."""
    placed = {
        rule.id: _Placed(group, rule, egress)
        for group in state.security_groups.values()
        for egress, rules in ((False, group.ingress), (True, group.egress))
        for rule in rules
    }
    found = describe.chosen(placed, params.get("SecurityGroupRuleIds"), no_rule)
    found = describe.matching(found, params, _FIELDS, lambda one: one.rule.tags)
    shown, more = describe.page(found, params)
    return state, {"SecurityGroupRules": [rule_shape(state, one.group, one.rule, egress=one.egress) for one in shown], **more}


_FLAT = "IpProtocol FromPort ToPort CidrIp SourceSecurityGroupName SourceSecurityGroupOwnerId"
_Call = Callable[[CloudState, Params, Context], Result]


def _on(rule: Callable[[Side, CloudState, Params, Context], Result], side: Side) -> _Call:
    return partial(rule, side)


ACTIONS: dict[str, Any] = {
    "AuthorizeSecurityGroupIngress": action(_on(authorize, "ingress"), f"GroupId IpPermissions TagSpecifications {_FLAT}", "GroupId"),
    "AuthorizeSecurityGroupEgress": action(_on(authorize, "egress"), "GroupId IpPermissions TagSpecifications", "GroupId IpPermissions"),
    "RevokeSecurityGroupIngress": action(_on(revoke, "ingress"), f"GroupId IpPermissions SecurityGroupRuleIds {_FLAT}", "GroupId"),
    "RevokeSecurityGroupEgress": action(_on(revoke, "egress"), "GroupId IpPermissions SecurityGroupRuleIds", "GroupId"),
    "ModifySecurityGroupRules": action(modify, "GroupId SecurityGroupRules", "GroupId SecurityGroupRules"),
    "UpdateSecurityGroupRuleDescriptionsIngress": action(
        _on(redescribe, "ingress"), "GroupId IpPermissions SecurityGroupRuleDescriptions", "GroupId"
    ),
    "UpdateSecurityGroupRuleDescriptionsEgress": action(
        _on(redescribe, "egress"), "GroupId IpPermissions SecurityGroupRuleDescriptions", "GroupId"
    ),
    "DescribeSecurityGroupRules": action(describe_rules, "SecurityGroupRuleIds Filters MaxResults NextToken", mutates=False),
}
