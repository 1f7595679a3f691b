"""Tags of every kind of object (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.request import Context, Params, Result, action, check_tags
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, SecurityGroup, SecurityGroupRule

SHELVES = {
    "vpc": ("vpcs", "vpc"), "subnet": ("subnets", "subnet"), "igw": ("internet_gateways", "internet-gateway"),
    "sg": ("security_groups", "security-group"), "eni": ("enis", "network-interface"), "i": ("instances", "instance"),
    "rtb": ("route_tables", "route-table"), "eipalloc": ("addresses", "elastic-ip"), "nat": ("nat_gateways", "natgateway"),
    "acl": ("network_acls", "network-acl"), "pcx": ("peerings", "vpc-peering-connection"),
    "pl": ("prefix_lists", "prefix-list"),
    "vgw": ("vpn_gateways", "vpn-gateway"), "cgw": ("customer_gateways", "customer-gateway"), "vpn": ("vpn_connections", "vpn-connection"),
    "dopt": ("dhcp_options", "dhcp-options"), "scr": ("cidr_reservations", "subnet-cidr-reservation"),
}
"""Id prefix → where the objects are, and what DescribeTags calls them."""


RULE_PREFIX, RULE_KIND = "sgr", "security-group-rule"
"""Rules of security groups are parts of their groups, and tagged like objects of their own."""


def _shelf(state: CloudState, resource: str) -> tuple[str, Mapping[str, Any]]:
    found = SHELVES.get(resource.partition("-")[0])
    if found is None or resource not in getattr(state, found[0]):
        raise Ec2Error("InvalidID", f"The ID '{resource}' is not valid")
    return found[0], getattr(state, found[0])


def _rule(state: CloudState, rule_id: str) -> tuple[SecurityGroup, SecurityGroupRule]:
    for group in state.security_groups.values():
        for rule in (*group.ingress, *group.egress):
            if rule.id == rule_id:
                return group, rule
    raise Ec2Error("InvalidID", f"The ID '{rule_id}' is not valid")


def _tags_of(state: CloudState, resource: str) -> dict[str, str]:
    if resource.startswith(f"{RULE_PREFIX}-"):
        return dict(_rule(state, resource)[1].tags)
    return dict(_shelf(state, resource)[1][resource].tags)


def _retag(state: CloudState, resource: str, tags: dict[str, str]) -> CloudState:
    if resource.startswith(f"{RULE_PREFIX}-"):
        group, rule = _rule(state, resource)
        ingress, egress = (
            tuple(replace(one, tags=tags) if one is rule else one for one in rules) for rules in (group.ingress, group.egress)
        )
        retagged = replace(group, ingress=ingress, egress=egress)
        return replace(state, security_groups={**state.security_groups, group.id: retagged})
    name, shelf = _shelf(state, resource)
    changes: dict[str, Any] = {name: {**shelf, resource: replace(shelf[resource], tags=tags)}}
    return replace(state, **changes)


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateTags: adds or overwrites."""
    added = {str(tag["Key"]): str(tag.get("Value", "")) for tag in params["Tags"]}
    for resource in params["Resources"]:
        before = _tags_of(state, resource)
        after = {**before, **added}
        check_tags(after)
        if after != before:
            state = _retag(state, resource, after)
    return state, {}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteTags: a tag with a value goes only where the value is the same; without tags all go."""
    wanted = params.get("Tags")
    for resource in params["Resources"]:
        before = _tags_of(state, resource)
        gone = set(before) if not wanted else {
            str(tag["Key"]) for tag in wanted if "Value" not in tag or before.get(str(tag["Key"])) == str(tag["Value"])
        }
        after = {key: value for key, value in before.items() if key not in gone}
        if after != before:
            state = _retag(state, resource, after)
    return state, {}


_FIELDS: dict[str, describe.Field[dict[str, str]]] = {
    "key": lambda one: (one["Key"],), "value": lambda one: (one["Value"],), "resource-id": lambda one: (one["ResourceId"],),
    "resource-type": lambda one: (one["ResourceType"],),
}


def describe_tags(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeTags."""
    rows = [
        {"Key": key, "Value": value, "ResourceId": one, "ResourceType": kind}
        for shelf, kind in SHELVES.values()
        for one, item in getattr(state, shelf).items()
        for key, value in item.tags.items()
    ]
    rows += [
        {"Key": key, "Value": value, "ResourceId": rule.id, "ResourceType": RULE_KIND}
        for group in state.security_groups.values()
        for rule in (*group.ingress, *group.egress)
        for key, value in rule.tags.items()
    ]
    shown, more = describe.page(describe.matching(rows, params, _FIELDS, lambda row: {row["Key"]: row["Value"]}), params)
    return state, {"Tags": list(shown), **more}


ACTIONS = {
    "CreateTags": action(create, "Resources Tags", "Resources Tags"),
    "DeleteTags": action(delete, "Resources Tags", "Resources"),
    "DescribeTags": action(describe_tags, "Filters MaxResults NextToken", mutates=False),
}
