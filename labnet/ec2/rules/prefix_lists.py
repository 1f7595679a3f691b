"""Managed prefix lists: blocks under one id, in versions, for the rules of security groups and for routes (pure).

Source: docs/sources.md#prefix-lists
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.blocks import parse_cidr
from labnet.ec2.rules.find import find_made, get_prefix_list, no_prefix_list, token_of
from labnet.ec2.rules.quotas import LISTS_PER_REGION, MAX_ENTRIES_A_CALL, MAX_SIZE, ROUTES_PER_TABLE, RULES_PER_DIRECTION
from labnet.ec2.rules.request import Context, Params, Result, action, check_members, invalid, new_id, tag_list, tags_for
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import PrefixList, PrefixListEntry

MAX_NAME, LARGEST_PAGE = 255, 255
RESERVED_NAME = "com.amazonaws"
Entries = tuple[PrefixListEntry, ...]


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateManagedPrefixList: version 1, with room for `MaxEntries`."""
    made = find_made(state.prefix_lists, params)
    if made is None:
        if params["AddressFamily"] != "IPv4":
            raise invalid(f"Value ({params['AddressFamily']}) for parameter addressFamily is invalid. This lab has IPv4 only.")
        if len(state.prefix_lists) >= LISTS_PER_REGION:
            raise Ec2Error("PrefixListLimitExceeded", "The maximum number of prefix lists has been reached.")
        name, size = _name(params["PrefixListName"]), _size(params["MaxEntries"])
        entries = _added((), params.get("Entries") or (), size)
        tags = tags_for(params, "prefix-list")
        state, list_id = new_id(state, "pl", name)
        token, said = token_of(params)
        made = PrefixList(list_id, name, size, (entries,), tags=tags, client_token=token, request_digest=said)
        state = _put(state, made)
    return state, {"PrefixList": list_shape(state, made)}


def modify(state: CloudState, params: Params, context: Context) -> Result:
    """ModifyManagedPrefixList: entries make a new version, whose current one must be named; a size or a name does not."""
    old = get_prefix_list(state, params["PrefixListId"])
    add, remove = params.get("AddEntries") or (), params.get("RemoveEntries") or ()
    if params.get("CurrentVersion") is not None and int(params["CurrentVersion"]) != old.version:
        raise Ec2Error("PrefixListVersionMismatch", "The prefix list has the incorrect version number.")
    new = replace(old, name=_name(params["PrefixListName"])) if params.get("PrefixListName") else old
    if params.get("MaxEntries") is not None:
        if add or remove:
            text = "The size of a prefix list and its entries cannot be modified in one request"
            raise Ec2Error("InvalidParameterCombination", text)
        new = replace(new, max_entries=_resized(state, old, _size(params["MaxEntries"])))
    if add or remove:
        if params.get("CurrentVersion") is None:
            raise Ec2Error("MissingParameter", "The request must contain the parameter CurrentVersion where entries change")
        kept = _removed(old.entries, remove)
        new = replace(new, versions=(*new.versions, _added(kept, add, old.max_entries)))
    if new is old:
        raise Ec2Error("MissingParameter", "The request changes neither the name nor the size nor the entries")
    new = replace(new, state="modify-complete", state_message="")
    return _put(state, new), {"PrefixList": list_shape(state, new)}


def restore(state: CloudState, params: Params, context: Context) -> Result:
    """RestoreManagedPrefixListVersion: the entries of an earlier version, as a new one."""
    old = get_prefix_list(state, params["PrefixListId"])
    if int(params["CurrentVersion"]) != old.version:
        raise Ec2Error("PrefixListVersionMismatch", "The prefix list has the incorrect version number.")
    entries = _version(old, params["PreviousVersion"])
    if len(entries) > old.max_entries:
        raise _too_many(old.max_entries)
    new = replace(old, versions=(*old.versions, entries), state="restore-complete", state_message="")
    return _put(state, new), {"PrefixList": list_shape(state, new)}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteManagedPrefixList. One that a security group or a route names stays, in state delete-failed, as AWS says afterwards."""
    old = get_prefix_list(state, params["PrefixListId"])
    users = _users(state, old.id)
    if users:
        said = f"The prefix list is referenced by {', '.join(users[:10])}"
        failed = replace(old, state="delete-failed", state_message=said)
        return _put(state, failed), {"PrefixList": list_shape(state, failed)}
    kept = {key: one for key, one in state.prefix_lists.items() if key != old.id}
    return replace(state, prefix_lists=kept), {"PrefixList": {**list_shape(state, old), "State": "delete-complete"}}


def uses(list_id: str, rules: Iterable[Any]) -> bool:
    """Does any of the rules of a group, or of the routes of a table, name the prefix list?"""
    return any(rule.prefix_list_id == list_id for rule in rules)


def _users(state: CloudState, list_id: str) -> list[str]:
    """The ids of the security groups and route tables that name a prefix list."""
    groups = [group.id for group in state.security_groups.values() if uses(list_id, (*group.ingress, *group.egress))]
    return groups + [table.id for table in state.route_tables.values() if uses(list_id, table.routes)]


def weight(state: CloudState, rules: Iterable[Any]) -> int:
    """What rules count against the quota of their group, routes of their table: a prefix list as many as it has room for."""
    return sum(state.prefix_lists[rule.prefix_list_id].max_entries if rule.prefix_list_id else 1 for rule in rules)


# ---- parts ----------------------------------------------------------------------------------------------------------------


def _name(text: object) -> str:
    name = str(text)
    if not 1 <= len(name) <= MAX_NAME or name.startswith(RESERVED_NAME):
        raise invalid(f"Value ({name}) for parameter prefixListName is invalid: 1 to {MAX_NAME} letters, not beginning with {RESERVED_NAME}")
    return name


def _size(number: object) -> int:
    size = int(str(number))
    if not 1 <= size <= MAX_SIZE:
        raise invalid(f"Value ({size}) for parameter maxEntries is invalid. It must be between 1 and {MAX_SIZE}.")
    return size


def _resized(state: CloudState, old: PrefixList, size: int) -> int:
    """Room for the entries that are there, and for the list in every group and route table that names it."""
    if size < len(old.entries):
        raise invalid(f"Value ({size}) for parameter maxEntries is invalid. The prefix list has {len(old.entries)} entries.")
    for group in state.security_groups.values():
        for rules in (group.ingress, group.egress):
            more = sum(size - old.max_entries for rule in rules if rule.prefix_list_id == old.id)
            if more > 0 and weight(state, rules) + more > RULES_PER_DIRECTION:
                raise Ec2Error("RulesPerSecurityGroupLimitExceeded", f"The security group {group.id} cannot support the new maximum size.")
    for table in state.route_tables.values():
        if size > old.max_entries and uses(old.id, table.routes) and weight(state, table.routes) + size - old.max_entries > ROUTES_PER_TABLE:
            raise Ec2Error("RouteLimitExceeded", f"The route table {table.id} cannot support the new maximum size.")
    return size


def _added(entries: Entries, items: Sequence[Mapping[str, Any]], size: int) -> Entries:
    _check_count(items)
    found = {one.cidr: one for one in entries}
    for item in items:
        check_members(item, "Cidr Description", "Entries")
        cidr = parse_cidr(str(item.get("Cidr")), "cidr")
        if cidr in found and cidr not in {one.cidr for one in entries}:
            raise invalid(f"The CIDR {cidr} is named twice")
        found[cidr] = PrefixListEntry(cidr, str(item.get("Description") or ""))  # naming one again changes its description
    if len(found) > size:
        raise _too_many(size)
    return tuple(found.values())


def _removed(entries: Entries, items: Sequence[Mapping[str, Any]]) -> Entries:
    _check_count(items)
    gone = set()
    for item in items:
        check_members(item, "Cidr", "RemoveEntries")
        cidr = parse_cidr(str(item.get("Cidr")), "cidr")
        if all(one.cidr != cidr for one in entries):
            raise invalid(f"The prefix list has no entry {cidr}")
        gone.add(cidr)
    return tuple(one for one in entries if one.cidr not in gone)


def _check_count(items: Sequence[object]) -> None:
    if len(items) > MAX_ENTRIES_A_CALL:
        raise invalid(f"A request names {MAX_ENTRIES_A_CALL} entries at most")


def _too_many(size: int) -> Ec2Error:
    return Ec2Error("PrefixListMaxEntriesExceeded", f"The prefix list has room for {size} entries.")


def _version(item: PrefixList, number: object) -> Entries:
    version = int(str(number))
    if not 1 <= version <= item.version:
        raise Ec2Error("InvalidPrefixListVersion.NotFound", f"The prefix list {item.id} has no version {version}")
    return item.versions[version - 1]


def _put(state: CloudState, item: PrefixList) -> CloudState:
    return replace(state, prefix_lists={**state.prefix_lists, item.id: item})


# ---- descriptions ---------------------------------------------------------------------------------------------------------


def list_shape(state: CloudState, item: PrefixList) -> dict[str, Any]:
    """`ManagedPrefixList`."""
    return {
        "PrefixListId": item.id, "AddressFamily": "IPv4", "State": item.state,
        "PrefixListArn": f"arn:aws:ec2:{state.region}:{state.account_id}:prefix-list/{item.id}", "PrefixListName": item.name,
        "MaxEntries": item.max_entries, "Version": item.version, "OwnerId": state.account_id, "Tags": tag_list(item.tags),
        **({"StateMessage": item.state_message} if item.state_message else {}),
    }


def describe_lists(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeManagedPrefixLists."""
    fields: dict[str, describe.Field[PrefixList]] = {
        "owner-id": lambda one: (state.account_id,), "prefix-list-id": lambda one: (one.id,), "prefix-list-name": lambda one: (one.name,),
    }
    found = describe.chosen(state.prefix_lists, params.get("PrefixListIds"), no_prefix_list)
    shown, more = describe.page(describe.matching(found, params, fields, lambda one: one.tags), params)
    return state, {"PrefixLists": [list_shape(state, one) for one in shown], **more}


def get_entries(state: CloudState, params: Params, context: Context) -> Result:
    """GetManagedPrefixListEntries: of the current version, or of the one that is named."""
    item = get_prefix_list(state, params["PrefixListId"])
    entries = _version(item, params.get("TargetVersion") or item.version)
    shown, more = describe.page(list(entries), params)
    said = [{"Cidr": one.cidr, **({"Description": one.description} if one.description else {})} for one in shown]
    return state, {"Entries": said, **more}


def get_associations(state: CloudState, params: Params, context: Context) -> Result:
    """GetManagedPrefixListAssociations: what names it."""
    item = get_prefix_list(state, params["PrefixListId"])
    shown, more = describe.page(_users(state, item.id), params, LARGEST_PAGE)
    return state, {"PrefixListAssociations": [{"ResourceId": one, "ResourceOwner": state.account_id} for one in shown], **more}


ACTIONS = {
    "CreateManagedPrefixList": action(
        create, "PrefixListName Entries MaxEntries TagSpecifications AddressFamily ClientToken", "PrefixListName MaxEntries AddressFamily"
    ),
    "ModifyManagedPrefixList": action(
        modify, "PrefixListId CurrentVersion PrefixListName AddEntries RemoveEntries MaxEntries", "PrefixListId"
    ),
    "RestoreManagedPrefixListVersion": action(
        restore, "PrefixListId PreviousVersion CurrentVersion", "PrefixListId PreviousVersion CurrentVersion"
    ),
    "DeleteManagedPrefixList": action(delete, "PrefixListId", "PrefixListId"),
    "DescribeManagedPrefixLists": action(describe_lists, "PrefixListIds Filters MaxResults NextToken", mutates=False),
    "GetManagedPrefixListEntries": action(get_entries, "PrefixListId TargetVersion MaxResults NextToken", "PrefixListId", mutates=False),
    "GetManagedPrefixListAssociations": action(get_associations, "PrefixListId MaxResults NextToken", "PrefixListId", mutates=False),
}
