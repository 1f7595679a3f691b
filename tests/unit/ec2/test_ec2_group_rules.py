"""Rules of security groups: ids, descriptions, tags, the forms in which they come, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud

from labnet.fabric.security import plan_groups

Item = dict[str, Any]
WEB: Item = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "inside"}]}


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def vpc(cloud: Cloud) -> str:
    return cloud.vpc()


@pytest.fixture
def group(cloud: Cloud, vpc: str) -> str:
    return made(cloud, vpc, "web")


def made(cloud: Cloud, vpc: str, name: str) -> str:
    return str(cloud.call("CreateSecurityGroup", GroupName=name, Description="d", VpcId=vpc)["GroupId"])


def rules(cloud: Cloud, group: str, *, egress: bool = False) -> list[Item]:
    found = cloud.call("DescribeSecurityGroupRules", Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    return [one for one in found if one["IsEgress"] == egress]


def permit(cloud: Cloud, group: str, *items: Item, **more: Any) -> list[Item]:
    answer: list[Item] = cloud.call("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=list(items), **more)["SecurityGroupRules"]
    return answer


def test_every_rule_has_an_id_that_stays_and_is_never_used_again(cloud: Cloud, group: str) -> None:
    (default,) = rules(cloud, group, egress=True)
    assert (default["IpProtocol"], default["FromPort"], default["CidrIpv4"]) == ("-1", -1, "0.0.0.0/0")
    (one,) = permit(cloud, group, WEB)
    assert one["SecurityGroupRuleId"].startswith("sgr-") and one["Description"] == "inside" and rules(cloud, group) == [one]
    gone = cloud.call("RevokeSecurityGroupIngress", GroupId=group, SecurityGroupRuleIds=[one["SecurityGroupRuleId"]])
    assert [item["SecurityGroupRuleId"] for item in gone["RevokedSecurityGroupRules"]] == [one["SecurityGroupRuleId"]]
    (again,) = permit(cloud, group, WEB)
    assert again["SecurityGroupRuleId"] != one["SecurityGroupRuleId"]
    assert cloud.call("DescribeSecurityGroupRules", SecurityGroupRuleIds=[again["SecurityGroupRuleId"]])["SecurityGroupRules"] == [again]
    said = cloud.refused("InvalidSecurityGroupRuleId.NotFound", "DescribeSecurityGroupRules", SecurityGroupRuleIds=[one["SecurityGroupRuleId"]])
    assert said == f"The security group rule ID '{one['SecurityGroupRuleId']}' does not exist"
    cloud.refused("InvalidSecurityGroupRuleId.Malformed", "DescribeSecurityGroupRules", SecurityGroupRuleIds=["x"])
    ids = [item["SecurityGroupRuleId"] for item in cloud.call("DescribeSecurityGroupRules")["SecurityGroupRules"]]
    assert len(set(ids)) == len(ids) == 4, "the default group's two as well"


def test_rules_carry_tags(cloud: Cloud, group: str) -> None:
    tags = [{"ResourceType": "security-group-rule", "Tags": [{"Key": "a", "Value": "b"}]}]
    (one,) = permit(cloud, group, WEB, TagSpecifications=tags)
    found = cloud.call("DescribeSecurityGroupRules", Filters=[{"Name": "tag:a", "Values": ["b"]}])["SecurityGroupRules"]
    assert found == [one] and one["Tags"] == [{"Key": "a", "Value": "b"}]


def test_rules_are_tagged_later_like_any_object(cloud: Cloud, group: str) -> None:
    (one,) = permit(cloud, group, WEB)
    rule = one["SecurityGroupRuleId"]
    cloud.call("CreateTags", Resources=[rule, group], Tags=[{"Key": "team", "Value": "net"}])
    assert rules(cloud, group)[0]["Tags"] == [{"Key": "team", "Value": "net"}]
    listed = cloud.call("DescribeTags", Filters=[{"Name": "resource-type", "Values": ["security-group-rule"]}])["Tags"]
    assert listed == [{"Key": "team", "Value": "net", "ResourceId": rule, "ResourceType": "security-group-rule"}]
    cloud.call("DeleteTags", Resources=[rule])
    assert rules(cloud, group)[0]["Tags"] == []
    cloud.refused("InvalidID", "CreateTags", Resources=["sgr-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])


def test_a_description_makes_no_other_rule(cloud: Cloud, group: str) -> None:
    permit(cloud, group, WEB)
    other = {**WEB, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "other"}]}
    cloud.refused("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[other])
    said = cloud.refused("InvalidParameterValue", "AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=[WEB, other])
    assert said == "The same permission must not appear multiple times"
    cloud.call("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=[other])
    assert rules(cloud, group) == []


def test_descriptions_change_alone_and_no_packet_feels_it(cloud: Cloud, vpc: str, group: str) -> None:
    cloud.node(cloud.subnet(vpc), SecurityGroupIds=[group])
    (one,) = permit(cloud, group, WEB)
    before = plan_groups(cloud.state, vpc)
    named = {"SecurityGroupRuleId": one["SecurityGroupRuleId"], "Description": "by id"}
    cloud.call("UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group, SecurityGroupRuleDescriptions=[named])
    assert rules(cloud, group) == [{**one, "Description": "by id"}]
    again = {**WEB, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    cloud.call("UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group, IpPermissions=[again])
    assert "Description" not in rules(cloud, group)[0]
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "out"}]}
    cloud.call("UpdateSecurityGroupRuleDescriptionsEgress", GroupId=group, IpPermissions=[everything])
    assert rules(cloud, group, egress=True)[0]["Description"] == "out"
    assert plan_groups(cloud.state, vpc) == before
    cloud.refused("InvalidPermission.NotFound", "UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group, IpPermissions=[everything])
    cloud.refused("InvalidParameterCombination", "UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group)
    wrong = {**WEB, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "Grüße"}]}
    assert "Invalid rule description" in cloud.refused(
        "InvalidParameterValue", "UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group, IpPermissions=[wrong],
    )  # fmt: skip


def test_a_rule_is_modified_in_place(cloud: Cloud, vpc: str, group: str) -> None:
    one, other = permit(cloud, group, WEB, {**WEB, "FromPort": 443, "ToPort": 443})
    key = one["SecurityGroupRuleId"]
    change = {"SecurityGroupRuleId": key, "SecurityGroupRule": {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "ReferencedGroupId": group}}
    cloud.call("ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[change])
    shown = rules(cloud, group)[0]
    assert (shown["SecurityGroupRuleId"], shown["IpProtocol"], shown["ReferencedGroupInfo"]["GroupId"]) == (key, "udp", group)
    taken = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": other["CidrIpv4"]}
    same = {"SecurityGroupRuleId": key, "SecurityGroupRule": taken}
    cloud.refused("InvalidPermission.Duplicate", "ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[same])
    nobody = {**same, "SecurityGroupRuleId": "sgr-0123456789abcdef0"}
    cloud.refused("InvalidSecurityGroupRuleId.NotFound", "ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[nobody])
    cloud.refused("InvalidSecurityGroupRuleId.NotFound", "ModifySecurityGroupRules", GroupId=made(cloud, vpc, "b"), SecurityGroupRules=[change])
    six = {"SecurityGroupRuleId": key, "SecurityGroupRule": {"IpProtocol": "-1", "CidrIpv6": "::/0"}}
    assert "CidrIpv6" in cloud.refused("UnknownParameter", "ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=[six])


def test_the_short_form(cloud: Cloud, vpc: str, group: str) -> None:
    flat = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "10.0.0.0/8"}
    cloud.call("AuthorizeSecurityGroupIngress", **flat)
    assert [(one["FromPort"], one["CidrIpv4"]) for one in rules(cloud, group)] == [(22, "10.0.0.0/8")]
    cloud.call("RevokeSecurityGroupIngress", **flat)
    assert rules(cloud, group) == []
    made(cloud, vpc, "clients")
    cloud.call("AuthorizeSecurityGroupIngress", GroupId=group, SourceSecurityGroupName="clients")
    assert [one["IpProtocol"] for one in rules(cloud, group)] == ["tcp", "udp", "icmp"]
    cloud.refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", GroupId=group, SourceSecurityGroupName="nobody")
    cloud.refused("InvalidParameterCombination", "AuthorizeSecurityGroupIngress", **flat, IpPermissions=[WEB])
    cloud.refused("InvalidParameterCombination", "AuthorizeSecurityGroupIngress", **flat, SourceSecurityGroupName="clients")
    cloud.refused("UnknownParameter", "AuthorizeSecurityGroupEgress", **flat)


def test_peers_by_name_owner_and_vpc(cloud: Cloud, vpc: str, group: str) -> None:
    clients = made(cloud, vpc, "clients")
    pair: Item = {"GroupName": "clients", "UserId": "111122223333", "VpcId": vpc}
    (one,) = permit(cloud, group, {"IpProtocol": "-1", "UserIdGroupPairs": [pair]})
    assert one["ReferencedGroupInfo"]["GroupId"] == clients
    foreign = made(cloud, cloud.vpc("10.20.0.0/16", "second"), "away")
    for wrong in ({"GroupId": foreign}, {"GroupId": clients, "UserId": "999999999999"}, {"GroupName": "nobody"}):
        item = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "UserIdGroupPairs": [wrong]}
        cloud.refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[item])


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "InvalidPermission.Malformed"),
        ({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}, "MissingParameter"),
        ({"IpProtocol": "tcp", "FromPort": 1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "InvalidParameterValue"),
        ({"IpProtocol": "256", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "InvalidParameterValue"),
        ({"IpProtocol": "icmp", "FromPort": 300, "ToPort": 0, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "InvalidParameterValue"),
        ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": 3, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "InvalidParameterValue"),
        ({"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}, "UnknownParameter"),
        ({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}, "InvalidPrefixListId.Malformed"),
        ({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-0123456789abcdef0"}]}, "InvalidPrefixListID.NotFound"),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"VpcPeeringConnectionId": "pcx-1"}]}, "UnknownParameter"),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"UserId": "111122223333"}]}, "MissingParameter"),
    ],
)  # fmt: skip
def test_permissions_that_are_refused(cloud: Cloud, group: str, item: Item, code: str) -> None:
    cloud.refused(code, "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[item])


def test_all_of_icmp_is_minus_one(cloud: Cloud, group: str) -> None:
    permit(cloud, group, {"IpProtocol": "1", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})
    (shown,) = cloud.call("DescribeSecurityGroups", GroupIds=[group])["SecurityGroups"]
    assert [(one["IpProtocol"], one["FromPort"], one["ToPort"]) for one in shown["IpPermissions"]] == [("icmp", -1, -1)]
    cloud.call("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=shown["IpPermissions"])
    assert rules(cloud, group) == []


def test_groups_by_what_their_rules_say(cloud: Cloud, vpc: str, group: str) -> None:
    permit(cloud, group, WEB)
    made(cloud, vpc, "other")

    def only(name: str, value: str) -> list[str]:
        return [one["GroupId"] for one in cloud.call("DescribeSecurityGroups", Filters=[{"Name": name, "Values": [value]}])["SecurityGroups"]]

    for name, value in (("cidr", "10.0.0.0/8"), ("from-port", "80"), ("to-port", "80"), ("protocol", "tcp")):
        assert only(f"ip-permission.{name}", value) == [group]
    assert len(only("egress.ip-permission.cidr", "0.0.0.0/0")) == 3
    (default,) = only("ip-permission.group-name", "default")
    assert only("ip-permission.group-id", default) == [default] == only("ip-permission.user-id", "111122223333")
    assert group in only("owner-id", "111122223333")


def test_names_of_groups_that_are_refused(cloud: Cloud, vpc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(code: str, name: str = "g", description: str = "d", **more: Any) -> str:
        return cloud.refused(code, "CreateSecurityGroup", **{"GroupName": name, "Description": description, "VpcId": vpc, **more})

    refused("InvalidGroup.Reserved", "default")
    refused("InvalidParameterValue", "sg-mine")
    refused("InvalidParameterValue", "g" * 256)
    refused("InvalidParameterValue", description="Grüße")
    refused("VPCIdNotSpecified", VpcId="")
    monkeypatch.setattr("labnet.ec2.rules.groups.GROUPS_PER_REGION", 1)
    refused("SecurityGroupLimitExceeded")
