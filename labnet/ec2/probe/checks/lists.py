"""Managed prefix lists: versions, entries, who names them; and what they count for."""

from __future__ import annotations

from typing import Any

from labnet.ec2.probe.check import Refusal, expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Prefix lists")
UNKNOWN = "pl-0123456789abcdef0"
ROUTES_PER_TABLE, RULES_PER_GROUP = 50, 60
RULES_FULL = "The maximum number of rules per security group has been reached."
ONE, TWO, THREE = "198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"


def _make(at: Site, *cidrs: str, room: int = 5) -> str:
    """A list that is ready."""
    entries = {"Entries": [{"Cidr": cidr, "Description": f"at {cidr}"} for cidr in cidrs]} if cidrs else {}
    made = at.call("CreateManagedPrefixList", PrefixListName="labnet-probe", AddressFamily="IPv4", MaxEntries=room, **entries)
    return _settled(at, str(made["PrefixList"]["PrefixListId"]))


def _see(at: Site, listed: str) -> dict[str, Any]:
    return dict(at.call("DescribeManagedPrefixLists", PrefixListIds=[listed])["PrefixLists"][0])


def _settled(at: Site, listed: str) -> str:
    at.until(lambda: not str(_see(at, listed)["State"]).endswith("-in-progress"), f"settled: {listed}")
    return listed


def _modify(at: Site, listed: str, **more: Any) -> None:
    at.call("ModifyManagedPrefixList", PrefixListId=listed, **more)
    _settled(at, listed)


def _cidrs(at: Site, listed: str, **more: Any) -> list[str]:
    return sorted(str(one["Cidr"]) for one in at.call("GetManagedPrefixListEntries", PrefixListId=listed, **more)["Entries"])


def _rule(listed: str) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{"PrefixListId": listed}]}]


def _route(at: Site, vpc: str, listed: str) -> dict[str, str]:
    """What CreateRoute needs for a list, in a table of its own."""
    table = str(at.call("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"])
    return {"RouteTableId": table, "DestinationPrefixListId": listed, "GatewayId": at.gateway(vpc)}


@check("a new prefix list")
def list_created(at: Site) -> None:
    """It is version 1, create-complete, with the entries and the room that were asked for."""
    seen = _see(at, listed := _make(at, ONE, TWO))
    wanted = {"Version": 1, "State": "create-complete", "MaxEntries": 5, "AddressFamily": "IPv4", "PrefixListName": "labnet-probe"}
    same({key: seen.get(key) for key in wanted}, wanted, "the prefix list")
    same(_cidrs(at, listed), sorted((ONE, TWO)), "its entries")


@check("versions of a prefix list")
def list_modified(at: Site) -> None:
    """Entries that come and go make a new version; the entries of the old one can still be read."""
    listed = _make(at, ONE, TWO)
    _modify(at, listed, CurrentVersion=1, AddEntries=[{"Cidr": THREE}], RemoveEntries=[{"Cidr": ONE}])
    same(_see(at, listed)["Version"], 2, "the version")
    same(_cidrs(at, listed), sorted((TWO, THREE)), "its entries")
    same(_cidrs(at, listed, TargetVersion=1), sorted((ONE, TWO)), "the entries of version 1")


@check("versions of a prefix list")
def list_version_mismatch(at: Site) -> None:
    """Who names another version than the current one is refused with PrefixListVersionMismatch."""
    listed = _make(at, ONE)
    _modify(at, listed, CurrentVersion=1, AddEntries=[{"Cidr": TWO}])
    wanted = {"PrefixListId": listed, "CurrentVersion": 1, "AddEntries": [{"Cidr": THREE}]}
    at.refused("ModifyManagedPrefixList", "PrefixListVersionMismatch", **wanted)
    same(_cidrs(at, listed), sorted((ONE, TWO)), "its entries")


@check("versions of a prefix list")
def list_restored(at: Site) -> None:
    """RestoreManagedPrefixListVersion makes a new version with the entries of an old one."""
    listed = _make(at, ONE)
    _modify(at, listed, CurrentVersion=1, AddEntries=[{"Cidr": TWO}], RemoveEntries=[{"Cidr": ONE}])
    at.call("RestoreManagedPrefixListVersion", PrefixListId=listed, PreviousVersion=1, CurrentVersion=2)
    same(_see(at, _settled(at, listed))["Version"], 3, "the version")
    same(_cidrs(at, listed), [ONE], "its entries")


@check("versions of a prefix list")
def list_renamed(at: Site) -> None:
    """A new name or size makes no version."""
    listed = _make(at, ONE)
    _modify(at, listed, PrefixListName="labnet-probe-2")
    _modify(at, listed, MaxEntries=7)
    seen = _see(at, listed)
    same([seen["Version"], seen["PrefixListName"], seen["MaxEntries"]], [1, "labnet-probe-2", 7], "version, name and size")


@check("who names a prefix list")
def list_in_a_rule(at: Site) -> None:
    """A rule shows the list's id, and GetManagedPrefixListAssociations the group."""
    listed, group = _make(at, ONE), at.group(at.vpc())
    at.call("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=_rule(listed))
    (shown,) = at.call("DescribeSecurityGroups", GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    same([one["PrefixListId"] for one in shown["PrefixListIds"]], [listed], "the rule's prefix lists")
    _associated(at, listed, group)


@check("who names a prefix list")
def list_in_a_route(at: Site) -> None:
    """A route shows the list's id, GetManagedPrefixListAssociations the table; it is deleted by that id."""
    vpc, listed = at.vpc(), _make(at, ONE)
    wanted = _route(at, vpc, listed)
    at.call("CreateRoute", **wanted)
    at.refused("CreateRoute", "RouteAlreadyExists", **wanted)
    table = wanted["RouteTableId"]
    routes = at.call("DescribeRouteTables", RouteTableIds=[table])["RouteTables"][0]["Routes"]
    found = [one for one in routes if one.get("DestinationPrefixListId") == listed]
    same([(one.get("GatewayId"), "DestinationCidrBlock" in one) for one in found], [(wanted["GatewayId"], False)], "the route")
    _associated(at, listed, table)
    at.call("DeleteRoute", RouteTableId=table, DestinationPrefixListId=listed)
    at.refused("DeleteRoute", "InvalidRoute.NotFound", RouteTableId=table, DestinationPrefixListId=listed)


def _associated(at: Site, listed: str, resource: str) -> None:
    def found() -> bool:
        shown = at.call("GetManagedPrefixListAssociations", PrefixListId=listed)["PrefixListAssociations"]
        return any(one["ResourceId"] == resource for one in shown)

    at.until(found, f"associated with {resource}")


@check("who names a prefix list")
def list_in_use_stays(at: Site) -> None:
    """One that a rule names is not deleted."""
    listed, group = _make(at, ONE), at.group(at.vpc())
    at.call("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=_rule(listed))
    try:
        at.call("DeleteManagedPrefixList", PrefixListId=listed)
    except Refusal:
        pass  # AWS tells it by the state of the list, or at once: both keep it
    same(_cidrs(at, _settled(at, listed)), [ONE], "its entries")


@check("what a prefix list counts for")
def list_counts_as_rules(at: Site) -> None:
    """In a group as many rules as it has room for, however many entries it has."""
    group, listed = at.group(at.vpc()), _make(at, ONE, room=RULES_PER_GROUP + 1)
    wanted = {"GroupId": group, "IpPermissions": _rule(listed)}
    at.refused("AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded", RULES_FULL, **wanted)


@check("what a prefix list counts for")
def list_counts_as_routes(at: Site) -> None:
    """In a route table as many routes as it has room for."""
    listed = _make(at, ONE, room=ROUTES_PER_TABLE + 1)
    at.refused("CreateRoute", "RouteLimitExceeded", **_route(at, at.vpc(), listed))


@check("unknown prefix list")
def unknown_list(at: Site) -> None:
    """InvalidPrefixListID.NotFound."""
    at.refused("DescribeManagedPrefixLists", "InvalidPrefixListID.NotFound", PrefixListIds=[UNKNOWN])
    at.refused("GetManagedPrefixListEntries", "InvalidPrefixListID.NotFound", PrefixListId=UNKNOWN)
    at.refused("DeleteManagedPrefixList", "InvalidPrefixListID.NotFound", PrefixListId=UNKNOWN)


@check("delete a prefix list")
def list_deleted(at: Site) -> None:
    """It is gone, and its id is not known any more."""
    listed = _make(at, ONE)
    at.call("DeleteManagedPrefixList", PrefixListId=listed)

    def gone() -> bool:
        try:
            return str(_see(at, listed)["State"]) == "delete-complete"
        except Refusal as refusal:
            expect(refusal.code == "InvalidPrefixListID.NotFound", f"{refusal.code} for a prefix list that is deleted")
            return True

    at.until(gone, f"gone: {listed}")
