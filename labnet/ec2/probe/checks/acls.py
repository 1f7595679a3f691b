"""Network ACLs: what the default one and a new one hold, numbers, limits, associations."""

from __future__ import annotations

from typing import Any

from labnet.ec2.probe.check import Refusal, expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Network ACLs")
UNKNOWN = "0123456789abcdef0"
ENTRIES_PER_DIRECTION = 20
STAR_COUNTS = 1  # whether the entry * is one of the twenty: AWS's quota says so, consoles count otherwise
LAST = 32767


def _acl(at: Site, vpc: str) -> str:
    return str(at.call("CreateNetworkAcl", VpcId=vpc)["NetworkAcl"]["NetworkAclId"])


def _default(at: Site, vpc: str) -> dict[str, Any]:
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "default", "Values": ["true"]}]
    return dict(at.call("DescribeNetworkAcls", Filters=filters)["NetworkAcls"][0])


def _entries(acl: dict[str, Any]) -> list[tuple[int, bool, str]]:
    return sorted((one["RuleNumber"], one["Egress"], one["RuleAction"]) for one in acl["Entries"])


def _entry(acl: str, number: int, **more: Any) -> dict[str, Any]:
    allow = {"Protocol": "-1", "RuleAction": "allow", "Egress": False, "CidrBlock": "0.0.0.0/0"}
    return {"NetworkAclId": acl, "RuleNumber": number, **allow, **more}


@check("the default ACL")
def default_acl(at: Site) -> None:
    """100 allows everything both ways, * denies the rest; a new subnet has it."""
    vpc = at.vpc()
    subnet = at.subnet(vpc=vpc)
    acl = _default(at, vpc)
    wanted = [(100, False, "allow"), (100, True, "allow"), (LAST, False, "deny"), (LAST, True, "deny")]
    same(_entries(acl), wanted, "its entries (number, egress, action)")
    same([one["SubnetId"] for one in acl["Associations"]], [subnet], "its subnets")


@check("the default ACL")
def default_acl_stays(at: Site) -> None:
    """It can not be deleted."""
    at.refused("DeleteNetworkAcl", "InvalidParameterValue DependencyViolation", NetworkAclId=_default(at, at.vpc())["NetworkAclId"])


@check("a new ACL")
def new_acl(at: Site) -> None:
    """Denies everything both ways."""
    acl = _acl(at, at.vpc())
    seen = at.call("DescribeNetworkAcls", NetworkAclIds=[acl])["NetworkAcls"][0]
    same(_entries(seen), [(LAST, False, "deny"), (LAST, True, "deny")], "its entries (number, egress, action)")
    same([seen["IsDefault"], seen["Associations"]], [False, []], "default, and its subnets")


@check("entries")
def entry_twice(at: Site) -> None:
    """A number is used once in a direction: NetworkAclEntryAlreadyExists."""
    acl = _acl(at, at.vpc())
    at.call("CreateNetworkAclEntry", **_entry(acl, 100))
    at.refused("CreateNetworkAclEntry", "NetworkAclEntryAlreadyExists", **_entry(acl, 100, RuleAction="deny"))
    at.call("CreateNetworkAclEntry", **_entry(acl, 100, Egress=True))


@check("entries")
def entry_missing(at: Site) -> None:
    """One that is not there is InvalidNetworkAclEntry.NotFound."""
    acl = _acl(at, at.vpc())
    at.refused("DeleteNetworkAclEntry", "InvalidNetworkAclEntry.NotFound", NetworkAclId=acl, RuleNumber=100, Egress=False)


@check("entries")
def entry_numbers(at: Site) -> None:
    """Numbers go from 1 to 32766: others are InvalidParameterValue."""
    acl = _acl(at, at.vpc())
    for number in (0, LAST):
        at.refused("CreateNetworkAclEntry", "InvalidParameterValue", **_entry(acl, number))
    at.call("CreateNetworkAclEntry", **_entry(acl, LAST - 1))


@check("entries")
def entry_replaced(at: Site) -> None:
    """ReplaceNetworkAclEntry changes one in place."""
    acl = _acl(at, at.vpc())
    at.call("CreateNetworkAclEntry", **_entry(acl, 100))
    at.call("ReplaceNetworkAclEntry", **_entry(acl, 100, RuleAction="deny"))
    seen = _entries(at.call("DescribeNetworkAcls", NetworkAclIds=[acl])["NetworkAcls"][0])
    same(seen, [(100, False, "deny"), (LAST, False, "deny"), (LAST, True, "deny")], "its entries (number, egress, action)")


@check("entries per direction")
def entry_limit(at: Site) -> None:
    """Twenty; the next is NetworkAclEntryLimitExceeded."""
    acl = _acl(at, at.vpc())
    made = 0
    try:
        while made <= ENTRIES_PER_DIRECTION:
            at.call("CreateNetworkAclEntry", **_entry(acl, made + 1))
            made += 1
    except Refusal as refusal:
        same(refusal.code, "NetworkAclEntryLimitExceeded", f"after {made} entries")
    allowed = (ENTRIES_PER_DIRECTION - STAR_COUNTS, ENTRIES_PER_DIRECTION)
    expect(made in allowed, f"{made} entries were taken in one direction")


@check("associations")
def acl_association(at: Site) -> None:
    """A subnet changes its ACL by ReplaceNetworkAclAssociation; an associated ACL stays: DependencyViolation."""
    vpc = at.vpc()
    subnet = at.subnet(vpc=vpc)
    acl, before = _acl(at, vpc), _default(at, vpc)
    association = before["Associations"][0]["NetworkAclAssociationId"]
    at.call("ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=acl)
    seen = at.call("DescribeNetworkAcls", NetworkAclIds=[acl])["NetworkAcls"][0]["Associations"]
    same([one["SubnetId"] for one in seen], [subnet], "subnets of the new ACL")
    same(_default(at, vpc)["Associations"], [], "subnets of the default one")
    at.refused("DeleteNetworkAcl", "DependencyViolation", NetworkAclId=acl)


@check("unknown ACL")
def unknown_acl(at: Site) -> None:
    """InvalidNetworkAclID.NotFound."""
    at.refused("DescribeNetworkAcls", "InvalidNetworkAclID.NotFound", NetworkAclIds=[f"acl-{UNKNOWN}"])
    at.refused("DeleteNetworkAcl", "InvalidNetworkAclID.NotFound", NetworkAclId=f"acl-{UNKNOWN}")
