"""Managed prefix lists: versions, room, references from security groups, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud


class Lists:
    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.group = self.cloud.call("CreateSecurityGroup", GroupName="web", Description="web", VpcId=self.vpc)["GroupId"]

    def make(self, *cidrs: str, size: int = 5, name: str = "corp", **more: Any) -> str:
        entries = [{"Cidr": cidr, "Description": f"at {cidr}"} for cidr in cidrs]
        asked = {"PrefixListName": name, "MaxEntries": size, "AddressFamily": "IPv4", **({"Entries": entries} if entries else {}), **more}
        return str(self.cloud.call("CreateManagedPrefixList", **asked)["PrefixList"]["PrefixListId"])

    def modify(self, list_id: str, **more: Any) -> dict[str, Any]:
        return dict(self.cloud.call("ModifyManagedPrefixList", PrefixListId=list_id, **more)["PrefixList"])

    def shown(self, list_id: str) -> dict[str, Any]:
        (one,) = self.cloud.call("DescribeManagedPrefixLists", PrefixListIds=[list_id])["PrefixLists"]
        return dict(one)

    def cidrs(self, list_id: str, **more: Any) -> list[str]:
        return [one["Cidr"] for one in self.cloud.call("GetManagedPrefixListEntries", PrefixListId=list_id, **more)["Entries"]]

    def permission(self, *lists: str, **more: Any) -> list[dict[str, Any]]:
        return [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "PrefixListIds": [{"PrefixListId": one, **more} for one in lists]}]

    def allow(self, *lists: str, **more: Any) -> dict[str, Any]:
        return self.cloud.call("AuthorizeSecurityGroupIngress", GroupId=self.group, IpPermissions=self.permission(*lists, **more))


@pytest.fixture
def lists() -> Lists:
    return Lists()


def test_a_new_one_is_version_1_and_entries_make_further_ones(lists: Lists) -> None:
    made = lists.make("10.1.0.0/16", "10.2.3.4/16")
    shown = lists.shown(made)
    assert (shown["Version"], shown["State"], shown["MaxEntries"], shown["PrefixListName"]) == (1, "create-complete", 5, "corp")
    assert lists.cidrs(made) == ["10.1.0.0/16", "10.2.0.0/16"]
    after = lists.modify(made, CurrentVersion=1, AddEntries=[{"Cidr": "10.3.0.0/16"}], RemoveEntries=[{"Cidr": "10.1.0.0/16"}])
    assert (after["Version"], after["State"]) == (2, "modify-complete")
    assert lists.cidrs(made) == ["10.2.0.0/16", "10.3.0.0/16"] and lists.cidrs(made, TargetVersion=1) == ["10.1.0.0/16", "10.2.0.0/16"]
    assert lists.modify(made, PrefixListName="other", MaxEntries=9)["Version"] == 2, "a name and a size make no version"
    lists.cloud.call("RestoreManagedPrefixListVersion", PrefixListId=made, PreviousVersion=1, CurrentVersion=2)
    assert lists.shown(made)["Version"] == 3 and lists.cidrs(made) == ["10.1.0.0/16", "10.2.0.0/16"]
    found = lists.cloud.call("DescribeManagedPrefixLists", Filters=[{"Name": "prefix-list-name", "Values": ["oth*"]}])["PrefixLists"]
    assert [one["PrefixListId"] for one in found] == [made]


def test_a_client_token_and_tags(lists: Lists) -> None:
    tags = [{"ResourceType": "prefix-list", "Tags": [{"Key": "team", "Value": "net"}]}]
    made = lists.make("10.1.0.0/16", ClientToken="t", TagSpecifications=tags)
    assert lists.make("10.1.0.0/16", ClientToken="t", TagSpecifications=tags) == made
    other = {"PrefixListName": "x", "MaxEntries": 1, "AddressFamily": "IPv4", "ClientToken": "t"}
    lists.cloud.refused("IdempotentParameterMismatch", "CreateManagedPrefixList", **other)
    lists.cloud.call("CreateTags", Resources=[made], Tags=[{"Key": "a", "Value": "b"}])
    assert lists.shown(made)["Tags"] == [{"Key": "team", "Value": "net"}, {"Key": "a", "Value": "b"}]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"CurrentVersion": 2, "AddEntries": [{"Cidr": "10.9.0.0/16"}]}, "PrefixListVersionMismatch"),
        ({"AddEntries": [{"Cidr": "10.9.0.0/16"}]}, "MissingParameter"),
        ({}, "MissingParameter"),
        ({"CurrentVersion": 1, "AddEntries": [{"Cidr": "10.9.0.0/16"}, {"Cidr": "10.8.0.0/16"}]}, "PrefixListMaxEntriesExceeded"),
        ({"CurrentVersion": 1, "RemoveEntries": [{"Cidr": "10.9.0.0/16"}]}, "InvalidParameterValue"),
        ({"CurrentVersion": 1, "AddEntries": [{"Cidr": "10.9.0.0/16"}, {"Cidr": "10.9.0.0/16"}]}, "InvalidParameterValue"),
        ({"CurrentVersion": 1, "AddEntries": [{"Cidr": "nonsense"}]}, "InvalidParameterValue"),
        ({"CurrentVersion": 1, "MaxEntries": 4, "AddEntries": [{"Cidr": "10.9.0.0/16"}]}, "InvalidParameterCombination"),
        ({"MaxEntries": 1}, "InvalidParameterValue"),
        ({"MaxEntries": 1001}, "InvalidParameterValue"),
        ({"PrefixListName": "com.amazonaws.x"}, "InvalidParameterValue"),
    ],
)
def test_what_cannot_be_changed(lists: Lists, change: dict[str, Any], code: str) -> None:
    made = lists.make("10.1.0.0/16", "10.2.0.0/16", size=3)
    lists.cloud.refused(code, "ModifyManagedPrefixList", PrefixListId=made, **change)


def test_what_cannot_be_made_or_found(lists: Lists) -> None:
    base = {"PrefixListName": "x", "MaxEntries": 1, "AddressFamily": "IPv4"}
    refused = lists.cloud.refused
    refused("InvalidParameterValue", "CreateManagedPrefixList", **{**base, "AddressFamily": "IPv6"})
    refused("PrefixListMaxEntriesExceeded", "CreateManagedPrefixList", **base, Entries=[{"Cidr": "10.1.0.0/16"}, {"Cidr": "10.2.0.0/16"}])
    made = lists.make("10.1.0.0/16")
    refused("InvalidPrefixListVersion.NotFound", "GetManagedPrefixListEntries", PrefixListId=made, TargetVersion=2)
    refused("PrefixListVersionMismatch", "RestoreManagedPrefixListVersion", PrefixListId=made, PreviousVersion=1, CurrentVersion=2)
    refused("InvalidPrefixListID.NotFound", "DeleteManagedPrefixList", PrefixListId="pl-0123456789abcdef0")
    refused("InvalidPrefixListId.Malformed", "GetManagedPrefixListEntries", PrefixListId="pl-x")


def test_rules_that_name_one(lists: Lists) -> None:
    made = lists.make("10.1.0.0/16")
    answer = lists.allow(made, Description="from corp")
    assert answer["SecurityGroupRules"][0]["PrefixListId"] == made
    naming = [{"Name": "ip-permission.prefix-list-id", "Values": [made]}]
    (group,) = lists.cloud.call("DescribeSecurityGroups", Filters=naming)["SecurityGroups"]
    assert group["IpPermissions"][0]["PrefixListIds"] == [{"PrefixListId": made, "Description": "from corp"}]
    again = {"GroupId": lists.group, "IpPermissions": lists.permission(made)}
    lists.cloud.refused("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", **again)
    other, rule = lists.make(name="other"), answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    change = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, "PrefixListId": other}
    lists.cloud.call("ModifySecurityGroupRules", GroupId=lists.group, SecurityGroupRules=[
        {"SecurityGroupRuleId": rule, "SecurityGroupRule": change},
    ])  # fmt: skip
    (shown,) = lists.cloud.call("DescribeSecurityGroupRules", SecurityGroupRuleIds=[rule])["SecurityGroupRules"]
    assert (shown["PrefixListId"], shown["FromPort"]) == (other, 81)
    gone = [{"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, "PrefixListIds": [{"PrefixListId": other}]}]
    said = lists.cloud.call("RevokeSecurityGroupIngress", GroupId=lists.group, IpPermissions=gone)
    assert said["RevokedSecurityGroupRules"][0]["PrefixListId"] == other


def test_one_counts_as_many_rules_as_it_has_room_for(lists: Lists) -> None:
    first, second = lists.make(size=50), lists.make(size=11, name="second")
    lists.allow(first)
    lists.cloud.refused(
        "RulesPerSecurityGroupLimitExceeded", "AuthorizeSecurityGroupIngress", GroupId=lists.group, IpPermissions=lists.permission(second)
    )
    lists.modify(second, MaxEntries=10)
    lists.allow(second)
    lists.cloud.refused("RulesPerSecurityGroupLimitExceeded", "ModifyManagedPrefixList", PrefixListId=second, MaxEntries=11)


def test_one_that_a_group_names_is_not_deleted(lists: Lists) -> None:
    made = lists.make("10.1.0.0/16")
    lists.allow(made)
    said = lists.cloud.call("DeleteManagedPrefixList", PrefixListId=made)["PrefixList"]
    assert said["State"] == "delete-failed" and lists.group in lists.shown(made)["StateMessage"]
    lists.cloud.call("RevokeSecurityGroupIngress", GroupId=lists.group, IpPermissions=lists.permission(made))
    assert lists.cloud.call("DeleteManagedPrefixList", PrefixListId=made)["PrefixList"]["State"] == "delete-complete"
    lists.cloud.refused("InvalidPrefixListID.NotFound", "DescribeManagedPrefixLists", PrefixListIds=[made])


def test_what_names_one_is_told(lists: Lists) -> None:
    made, other = lists.make("10.1.0.0/16"), lists.make(name="other")
    lists.allow(made)
    gateway = lists.cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    lists.cloud.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=lists.vpc)
    table = lists.cloud.call("CreateRouteTable", VpcId=lists.vpc)["RouteTable"]["RouteTableId"]
    lists.cloud.call("CreateRoute", RouteTableId=table, DestinationPrefixListId=made, GatewayId=gateway)
    shown = lists.cloud.call("GetManagedPrefixListAssociations", PrefixListId=made)["PrefixListAssociations"]
    assert [one["ResourceId"] for one in shown] == [lists.group, table]
    assert lists.cloud.call("GetManagedPrefixListAssociations", PrefixListId=other)["PrefixListAssociations"] == []
    lists.cloud.refused("InvalidPrefixListID.NotFound", "GetManagedPrefixListAssociations", PrefixListId="pl-0123456789abcdef0")
