"""Network ACLs: numbered entries, each subnet in exactly one ACL (pure). Source: docs/sources.md#network-acls"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.blocks import parse_cidr
from labnet.ec2.rules.find import find_made, get_acl, get_vpc, no_acl, no_association, token_of
from labnet.ec2.rules.quotas import ACLS_PER_VPC, ENTRIES_PER_DIRECTION
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tag_list, tags_for
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import AclAssociation, AclEntry, NetworkAcl

LAST_NUMBER = 32_766
DENY_NUMBER = 32_767
FIRST_ALLOW = 100
NUMBERS = {"tcp": "6", "udp": "17", "icmp": "1", "all": "-1"}
TCP, UDP, ICMP = "6", "17", "1"
MAX_PROTOCOL, MAX_PORT, MAX_ICMP = 255, 65_535, 255


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateNetworkAcl: a new one denies everything."""
    acl = find_made(state.network_acls, params)
    if acl is None:
        vpc = get_vpc(state, params["VpcId"])
        if sum(1 for one in state.network_acls.values() if one.vpc_id == vpc.id) >= ACLS_PER_VPC:
            raise Ec2Error("NetworkAclLimitExceeded", "The maximum number of network ACLs has been reached.")
        tags = tags_for(params, "network-acl")
        state, acl_id = new_id(state, "acl", f"{vpc.id}/{tags['Name']}" if tags.get("Name") else "")
        token, said = token_of(params)
        acl = NetworkAcl(acl_id, vpc.id, tags=tags, client_token=token, request_digest=said)
        state = _put(state, acl)
    return state, {"NetworkAcl": acl_shape(state, acl), **({"ClientToken": acl.client_token} if acl.client_token else {})}


def add_default_acl(state: CloudState, vpc_id: str) -> CloudState:
    """The default ACL of a new VPC: entry 100 allows all, both ways."""
    state, acl_id = new_id(state, "acl", f"{vpc_id}/default")
    entries = tuple(AclEntry(FIRST_ALLOW, egress, "-1", "allow", "0.0.0.0/0") for egress in (True, False))
    return _put(state, NetworkAcl(acl_id, vpc_id, True, entries))


def add_subnet(state: CloudState, vpc_id: str, subnet_id: str) -> CloudState:
    """A new subnet is filtered by its VPC's default ACL."""
    acl = next(one for one in state.network_acls.values() if one.vpc_id == vpc_id and one.is_default)
    state, made = new_id(state, "aclassoc")
    return _put(state, replace(acl, associations=(*acl.associations, AclAssociation(made, subnet_id))))


def forget_subnet(state: CloudState, subnet_id: str) -> CloudState:
    """Without the association of a subnet that goes."""
    for acl in state.network_acls.values():
        for association in acl.associations:
            if association.subnet_id == subnet_id:
                return _put(state, _without(acl, association))
    return state


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteNetworkAcl: neither the default one nor one that filters a subnet."""
    acl = get_acl(state, params["NetworkAclId"])
    if acl.is_default:
        raise invalid(f"cannot delete default network ACL {acl.id}")
    if acl.associations:
        raise Ec2Error("DependencyViolation", f"The networkAcl '{acl.id}' has dependencies and cannot be deleted.")
    return replace(state, network_acls={key: one for key, one in state.network_acls.items() if key != acl.id}), {}


def create_entry(state: CloudState, params: Params, context: Context) -> Result:
    """CreateNetworkAclEntry."""
    acl, entry = get_acl(state, params["NetworkAclId"]), _entry(params)
    if any(_place(one) == _place(entry) for one in acl.entries):
        raise Ec2Error("NetworkAclEntryAlreadyExists", f"The network acl entry identified by {entry.number} already exists.")
    if sum(1 for one in acl.entries if one.egress == entry.egress) >= ENTRIES_PER_DIRECTION:
        raise Ec2Error("NetworkAclEntryLimitExceeded", "The maximum number of network ACL entries has been reached.")
    return _put(state, replace(acl, entries=_sorted((*acl.entries, entry)))), {}


def replace_entry(state: CloudState, params: Params, context: Context) -> Result:
    """ReplaceNetworkAclEntry: the entry of that number and direction must be there."""
    acl, entry = get_acl(state, params["NetworkAclId"]), _entry(params)
    others = tuple(one for one in acl.entries if _place(one) != _place(entry))
    if len(others) == len(acl.entries):
        raise _no_entry(entry.number)
    after = _sorted((*others, entry))
    return (state if after == acl.entries else _put(state, replace(acl, entries=after))), {}


def delete_entry(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteNetworkAclEntry."""
    acl, place = get_acl(state, params["NetworkAclId"]), (bool(params["Egress"]), _number(params))
    others = tuple(one for one in acl.entries if _place(one) != place)
    if len(others) == len(acl.entries):
        raise _no_entry(place[1])
    return _put(state, replace(acl, entries=others)), {}


def replace_association(state: CloudState, params: Params, context: Context) -> Result:
    """ReplaceNetworkAclAssociation: another ACL of the VPC filters the subnet from now on."""
    wanted = params["AssociationId"]
    pairs = ((one, it) for one in state.network_acls.values() for it in one.associations if it.id == wanted)
    old, association = next(pairs, (None, None))
    if old is None or association is None:
        raise no_association(str(wanted))
    if get_acl(state, params["NetworkAclId"]).vpc_id != old.vpc_id:
        raise invalid(f"network ACL {params['NetworkAclId']} and subnet {association.subnet_id} belong to different networks")
    state = _put(state, _without(old, association))
    state, made = new_id(state, "aclassoc")
    acl = state.network_acls[params["NetworkAclId"]]
    state = _put(state, replace(acl, associations=(*acl.associations, AclAssociation(made, association.subnet_id))))
    return state, {"NewAssociationId": made}


# ---- entries --------------------------------------------------------------------------------------------------------------


def _number(params: Params) -> int:
    number = int(params["RuleNumber"])
    if not 1 <= number <= LAST_NUMBER:
        raise invalid(f"Value ({number}) for parameter ruleNumber is invalid. It must be between 1 and {LAST_NUMBER}.")
    return number


def _entry(params: Params) -> AclEntry:
    """The entry that a request describes. Ports and ICMP types of other protocols are passed over, as EC2 does. Errors: Ec2Error."""
    protocol = NUMBERS.get(str(params["Protocol"]).lower(), str(params["Protocol"]))
    if protocol != "-1" and not (protocol.isascii() and protocol.isdigit() and int(protocol) <= MAX_PROTOCOL):
        raise invalid(f"Invalid value '{params['Protocol']}' for IP protocol. Unknown protocol.")
    if params["RuleAction"] not in ("allow", "deny"):
        raise invalid(f"Value ({params['RuleAction']}) for parameter ruleAction is invalid. It must be allow or deny.")
    entry = AclEntry(_number(params), bool(params["Egress"]), protocol, params["RuleAction"], parse_cidr(str(params["CidrBlock"])))
    if protocol in (TCP, UDP):
        low, high = _pair(params, "PortRange", "From", "To")
        if not 0 <= low <= high <= MAX_PORT:
            raise invalid(f"Invalid value '{low}-{high}' for portRange: it must be from 0 to {MAX_PORT}, the first not above the second")
        return replace(entry, from_port=low, to_port=high)
    if protocol == ICMP:
        kind, code = _pair(params, "IcmpTypeCode", "Type", "Code")
        if not (-1 <= kind <= MAX_ICMP and -1 <= code <= MAX_ICMP):
            raise invalid(f"Invalid value '{kind}/{code}' for icmpTypeCode: both must be from -1 to {MAX_ICMP}")
        return replace(entry, icmp_type=kind, icmp_code=code)
    return entry


def _pair(params: Params, name: str, one: str, other: str) -> tuple[int, int]:
    given = params.get(name) or {}
    if given.get(one) is None or given.get(other) is None:
        raise Ec2Error("MissingParameter", f"The request must contain {name}.{one} and {name}.{other} for this protocol")
    return int(given[one]), int(given[other])


def _place(entry: AclEntry) -> tuple[bool, int]:
    return entry.egress, entry.number


def _sorted(entries: tuple[AclEntry, ...]) -> tuple[AclEntry, ...]:
    """Egress first, then by number: the order in which EC2 lists them."""
    return tuple(sorted(entries, key=lambda one: (not one.egress, one.number)))


def _no_entry(number: int) -> Ec2Error:
    return Ec2Error("InvalidNetworkAclEntry.NotFound", f"The network acl entry identified by {number} does not exist.")


def _put(state: CloudState, acl: NetworkAcl) -> CloudState:
    return replace(state, network_acls={**state.network_acls, acl.id: acl})


def _without(acl: NetworkAcl, association: AclAssociation) -> NetworkAcl:
    return replace(acl, associations=tuple(one for one in acl.associations if one.id != association.id))


# ---- descriptions ---------------------------------------------------------------------------------------------------------


def entries_of(acl: NetworkAcl) -> tuple[AclEntry, ...]:
    """Every entry as it holds, the deny at the end of each direction too."""
    last = tuple(AclEntry(DENY_NUMBER, egress, "-1", "deny", "0.0.0.0/0") for egress in (True, False))
    return _sorted((*acl.entries, *last))


def _entry_shape(entry: AclEntry) -> dict[str, Any]:
    out: dict[str, Any] = {
        "RuleNumber": entry.number, "Egress": entry.egress, "Protocol": entry.protocol, "RuleAction": entry.action, "CidrBlock": entry.cidr,
    }
    if entry.from_port is not None:
        out["PortRange"] = {"From": entry.from_port, "To": entry.to_port}
    if entry.icmp_type is not None:
        out["IcmpTypeCode"] = {"Type": entry.icmp_type, "Code": entry.icmp_code}
    return out


def acl_shape(state: CloudState, acl: NetworkAcl) -> dict[str, Any]:
    """`NetworkAcl`."""
    return {
        "NetworkAclId": acl.id, "VpcId": acl.vpc_id, "OwnerId": state.account_id, "IsDefault": acl.is_default, "Tags": tag_list(acl.tags),
        "Associations": [
            {"NetworkAclAssociationId": one.id, "NetworkAclId": acl.id, "SubnetId": one.subnet_id} for one in acl.associations
        ],
        "Entries": [_entry_shape(entry) for entry in entries_of(acl)],
    }


def _fields(state: CloudState) -> dict[str, describe.Field[NetworkAcl]]:
    def of_entries(read: Callable[[AclEntry], Any]) -> describe.Field[NetworkAcl]:
        return lambda acl: [str(read(one)) for one in entries_of(acl) if read(one) is not None]

    return {
        "network-acl-id": lambda one: (one.id,), "vpc-id": lambda one: (one.vpc_id,), "owner-id": lambda one: (state.account_id,),
        "default": lambda one: (str(one.is_default).lower(),),
        "association.association-id": lambda one: (it.id for it in one.associations),
        "association.network-acl-id": lambda one: (one.id,) if one.associations else (),
        "association.subnet-id": lambda one: (it.subnet_id for it in one.associations),
        "entry.cidr": of_entries(lambda one: one.cidr), "entry.egress": of_entries(lambda one: str(one.egress).lower()),
        "entry.icmp.code": of_entries(lambda one: one.icmp_code), "entry.icmp.type": of_entries(lambda one: one.icmp_type),
        "entry.ipv6-cidr": lambda one: (), "entry.port-range.from": of_entries(lambda one: one.from_port),
        "entry.port-range.to": of_entries(lambda one: one.to_port), "entry.protocol": of_entries(lambda one: one.protocol),
        "entry.rule-action": of_entries(lambda one: one.action), "entry.rule-number": of_entries(lambda one: one.number),
    }


def describe_acls(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeNetworkAcls."""
    found = describe.chosen(state.network_acls, params.get("NetworkAclIds"), no_acl)
    shown, more = describe.page(describe.matching(found, params, _fields(state), lambda one: one.tags), params)
    return state, {"NetworkAcls": [acl_shape(state, one) for one in shown], **more}


_ENTRY = "NetworkAclId RuleNumber Protocol RuleAction Egress CidrBlock"

ACTIONS = {
    "CreateNetworkAcl": action(create, "VpcId TagSpecifications ClientToken", "VpcId"),
    "DeleteNetworkAcl": action(delete, "NetworkAclId", "NetworkAclId"),
    "CreateNetworkAclEntry": action(create_entry, f"{_ENTRY} PortRange IcmpTypeCode", _ENTRY),
    "ReplaceNetworkAclEntry": action(replace_entry, f"{_ENTRY} PortRange IcmpTypeCode", _ENTRY),
    "DeleteNetworkAclEntry": action(delete_entry, "NetworkAclId RuleNumber Egress", "NetworkAclId RuleNumber Egress"),
    "ReplaceNetworkAclAssociation": action(replace_association, "AssociationId NetworkAclId", "AssociationId NetworkAclId"),
    "DescribeNetworkAcls": action(describe_acls, "NetworkAclIds Filters MaxResults NextToken", mutates=False),
}
