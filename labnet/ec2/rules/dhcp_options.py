"""DHCP options sets: made, associated with VPCs, deleted (pure). Source: docs/sources.md#dhcp-options

Every VPC begins with the account's default set, which comes with its first VPC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_vpc, no_dhcp_options
from labnet.ec2.rules.quotas import SETS_PER_REGION
from labnet.ec2.rules.request import Context, Params, Result, action, check_members, invalid, new_id, tag_list, tags_for
from labnet.ec2.rules.shapes import private_domain
from labnet.errors import Ec2Error
from labnet.model.addressing import is_address
from labnet.model.cloud import NO_DHCP_OPTIONS, CloudState
from labnet.model.cloud_vpc import DhcpOptions

AMAZON = "AmazonProvidedDNS"
SERVERS = 4
"""The most addresses of one option."""
_ADDRESSES = ("domain-name-servers", "ntp-servers", "netbios-name-servers")
_NODE_TYPES = ("1", "2", "4", "8")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?")


def with_default(state: CloudState) -> tuple[CloudState, str]:
    """The id of the default set, which is made when there is none: Amazon's resolver, and the domain of private names."""
    wanted: Mapping[str, tuple[str, ...]] = {"domain-name": (private_domain(state),), "domain-name-servers": (AMAZON,)}
    for one in state.dhcp_options.values():
        if one.options == wanted:
            return state, one.id
    state, made = new_id(state, "dopt")
    return _put(state, DhcpOptions(made, wanted)), made


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateDhcpOptions: any of six options, each with its kind of values."""
    if len(state.dhcp_options) >= SETS_PER_REGION:
        raise Ec2Error("DhcpOptionsLimitExceeded", "The maximum number of DHCP options sets has been reached.")
    options: dict[str, tuple[str, ...]] = {}
    for item in params["DhcpConfigurations"]:
        check_members(item, "Key Values", "DhcpConfiguration")
        name, values = str(item.get("Key", "")), tuple(str(value) for value in item.get("Values") or ())
        if name in options:
            raise invalid(f"Duplicate DHCP option {name}")
        _check(name, values)
        options[name] = values
    tags = tags_for(params, "dhcp-options")
    state, made = new_id(state, "dopt", tags.get("Name", ""))
    fresh = DhcpOptions(made, options, tags)
    return _put(state, fresh), {"DhcpOptions": _shape(state, fresh)}


def _check(name: str, values: tuple[str, ...]) -> None:
    """Errors: Ec2Error for an option that is none, or values that are not its kind."""
    if name in _ADDRESSES:
        good = 0 < len(values) <= SERVERS and all(is_address(one) or (one == AMAZON and name == _ADDRESSES[0]) for one in values)
    elif name == "domain-name":  # some systems take several names in one text
        good = len(values) == 1 and all(_DOMAIN.fullmatch(word) for word in values[0].split(" "))
    elif name == "netbios-node-type":
        good = len(values) == 1 and values[0] in _NODE_TYPES
    elif name == "ipv6-address-preferred-lease-time":
        good = len(values) == 1 and values[0].isdigit() and 140 <= int(values[0]) <= 2_147_483_647
    else:
        raise invalid(f"Value ({name}) for parameter name is invalid. Unknown DHCP option")
    if not good:
        raise invalid(f"Value ({', '.join(values)}) for parameter {name} is invalid.")


def associate(state: CloudState, params: Params, context: Context) -> Result:
    """AssociateDhcpOptions: in place of the VPC's set; `default` = none. Instances follow when they ask again."""
    vpc, wanted = get_vpc(state, params["VpcId"]), str(params["DhcpOptionsId"])
    if wanted != NO_DHCP_OPTIONS and wanted not in state.dhcp_options:
        raise no_dhcp_options(wanted)
    if vpc.dhcp_options_id == wanted:
        return state, {}
    return replace(state, vpcs={**state.vpcs, vpc.id: replace(vpc, dhcp_options_id=wanted)}), {}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteDhcpOptions: one that no VPC has."""
    wanted = str(params["DhcpOptionsId"])
    if wanted not in state.dhcp_options:
        refusal = no_dhcp_options(wanted)
        if refusal.code.endswith(".NotFound"):  # this action has words of its own
            refusal = Ec2Error("InvalidDhcpOptionsID.NotFound", f"The dhcpOptions ID '{wanted}' does not exist")
        raise refusal
    if any(vpc.dhcp_options_id == wanted for vpc in state.vpcs.values()):
        raise Ec2Error("DependencyViolation", f"The dhcpOptions '{wanted}' has dependencies and cannot be deleted.")
    return replace(state, dhcp_options={key: one for key, one in state.dhcp_options.items() if key != wanted}), {}


def describe_sets(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeDhcpOptions."""
    fields: dict[str, describe.Field[DhcpOptions]] = {
        "dhcp-options-id": lambda one: (one.id,), "key": lambda one: one.options, "owner-id": lambda one: (state.account_id,),
        "value": lambda one: (value for values in one.options.values() for value in values),
    }
    found = describe.matching(
        describe.chosen(state.dhcp_options, params.get("DhcpOptionsIds"), no_dhcp_options), params, fields, lambda one: one.tags
    )
    shown, more = describe.page(found, params)
    return state, {"DhcpOptions": [_shape(state, one) for one in shown], **more}


def _put(state: CloudState, one: DhcpOptions) -> CloudState:
    return replace(state, dhcp_options={**state.dhcp_options, one.id: one})


def _shape(state: CloudState, one: DhcpOptions) -> dict[str, Any]:
    configurations = [{"Key": key, "Values": [{"Value": value} for value in values]} for key, values in one.options.items()]
    return {"DhcpOptionsId": one.id, "OwnerId": state.account_id, "DhcpConfigurations": configurations, "Tags": tag_list(one.tags)}


ACTIONS = {
    "CreateDhcpOptions": action(create, "DhcpConfigurations TagSpecifications", "DhcpConfigurations"),
    "AssociateDhcpOptions": action(associate, "DhcpOptionsId VpcId", "DhcpOptionsId VpcId"),
    "DeleteDhcpOptions": action(delete, "DhcpOptionsId", "DhcpOptionsId"),
    "DescribeDhcpOptions": action(describe_sets, "DhcpOptionsIds Filters MaxResults NextToken", mutates=False),
}
