"""Network ACLs: the default one, entries by number and direction, subnets in exactly one, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud


class Net:
    """A VPC with a subnet and an ACL of its own."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.subnet = self.cloud.subnet(self.vpc)
        self.default = self.acls(default="true")[0]["NetworkAclId"]
        self.own = self.cloud.call("CreateNetworkAcl", VpcId=self.vpc)["NetworkAcl"]["NetworkAclId"]

    def acls(self, **filters: str) -> list[dict[str, Any]]:
        asked = [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        return list(self.cloud.call("DescribeNetworkAcls", Filters=asked)["NetworkAcls"])

    def entry(self, number: int = 100, **more: Any) -> dict[str, Any]:
        return {
            "NetworkAclId": self.own, "RuleNumber": number, "Protocol": "-1", "RuleAction": "allow", "Egress": False, "CidrBlock": "0.0.0.0/0",
            **more,
        }

    def numbers(self, acl: str) -> list[tuple[bool, int, str]]:
        (shown,) = self.cloud.call("DescribeNetworkAcls", NetworkAclIds=[acl])["NetworkAcls"]
        return [(one["Egress"], one["RuleNumber"], one["RuleAction"]) for one in shown["Entries"]]


@pytest.fixture
def net() -> Net:
    return Net()


def test_the_default_acl_allows_all_and_a_new_one_nothing(net: Net) -> None:
    (shown,) = net.acls(default="true")
    assert shown["IsDefault"] is True and [one["SubnetId"] for one in shown["Associations"]] == [net.subnet]
    assert net.numbers(net.default) == [(True, 100, "allow"), (True, 32767, "deny"), (False, 100, "allow"), (False, 32767, "deny")]
    assert shown["Entries"][1] == {"RuleNumber": 32767, "Egress": True, "Protocol": "-1", "RuleAction": "deny", "CidrBlock": "0.0.0.0/0"}
    assert net.numbers(net.own) == [(True, 32767, "deny"), (False, 32767, "deny")]
    net.cloud.refused("InvalidParameterValue", "DeleteNetworkAcl", NetworkAclId=net.default)


def test_entries_are_kept_by_direction_and_number(net: Net) -> None:
    net.cloud.call("CreateNetworkAclEntry", **net.entry(200, Protocol="6", PortRange={"From": 22, "To": 22}))
    net.cloud.call("CreateNetworkAclEntry", **net.entry(110, Protocol="udp", PortRange={"From": 0, "To": 65535}, CidrBlock="10.1.2.3/8"))
    net.cloud.call("CreateNetworkAclEntry", **net.entry(110, Egress=True, Protocol="1", IcmpTypeCode={"Type": 8, "Code": -1}))
    assert net.numbers(net.own) == [
        (True, 110, "allow"), (True, 32767, "deny"), (False, 110, "allow"), (False, 200, "allow"), (False, 32767, "deny")
    ]
    said = net.cloud.refused("NetworkAclEntryAlreadyExists", "CreateNetworkAclEntry", **net.entry(110))
    assert said == "The network acl entry identified by 110 already exists."
    (shown,) = net.cloud.call("DescribeNetworkAcls", NetworkAclIds=[net.own])["NetworkAcls"]
    assert shown["Entries"][0]["IcmpTypeCode"] == {"Type": 8, "Code": -1}
    assert shown["Entries"][2] == {
        "RuleNumber": 110, "Egress": False, "Protocol": "17", "RuleAction": "allow", "CidrBlock": "10.0.0.0/8",
        "PortRange": {"From": 0, "To": 65535},
    }
    net.cloud.call("ReplaceNetworkAclEntry", **net.entry(110, RuleAction="deny"))
    assert (False, 110, "deny") in net.numbers(net.own) and (True, 110, "allow") in net.numbers(net.own)
    net.cloud.call("DeleteNetworkAclEntry", NetworkAclId=net.own, RuleNumber=110, Egress=False)
    for name, call in (("ReplaceNetworkAclEntry", net.entry(110)), ("DeleteNetworkAclEntry", {"NetworkAclId": net.own, "RuleNumber": 110,
                                                                                            "Egress": False})):
        net.cloud.refused("InvalidNetworkAclEntry.NotFound", name, **call)


@pytest.mark.parametrize(("code", "wrong"), [
    ("InvalidParameterValue", {"RuleNumber": 0}), ("InvalidParameterValue", {"RuleNumber": 32767}),
    ("InvalidParameterValue", {"Protocol": "256"}), ("InvalidParameterValue", {"Protocol": "tpc"}),
    ("InvalidParameterValue", {"RuleAction": "drop"}), ("InvalidParameterValue", {"CidrBlock": "10.0.0.0"}),
    ("InvalidParameterValue", {"Protocol": "6", "PortRange": {"From": 9, "To": 8}}),
    ("InvalidParameterValue", {"Protocol": "6", "PortRange": {"From": 0, "To": 65536}}),
    ("InvalidParameterValue", {"Protocol": "1", "IcmpTypeCode": {"Type": 256, "Code": 0}}),
    ("MissingParameter", {"Protocol": "17"}), ("MissingParameter", {"Protocol": "6", "PortRange": {"From": 1}}),
    ("MissingParameter", {"Protocol": "icmp"}), ("InvalidNetworkAclID.NotFound", {"NetworkAclId": "acl-0123456789abcdef0"}),
    ("UnknownParameter", {"Ipv6CidrBlock": "::/0"}),
])
def test_entries_that_ec2_refuses(net: Net, code: str, wrong: dict[str, Any]) -> None:
    net.cloud.refused(code, "CreateNetworkAclEntry", **net.entry(**{"number": wrong.pop("RuleNumber", 100), **wrong}))


def test_twenty_entries_a_direction(net: Net) -> None:
    for number in range(1, 21):
        net.cloud.call("CreateNetworkAclEntry", **net.entry(number))
    net.cloud.refused("NetworkAclEntryLimitExceeded", "CreateNetworkAclEntry", **net.entry(21))
    net.cloud.call("CreateNetworkAclEntry", **net.entry(21, Egress=True))


def test_a_subnet_is_in_exactly_one_acl(net: Net) -> None:
    association = net.acls(association__subnet_id=net.subnet)[0]["Associations"][0]["NetworkAclAssociationId"]
    moved = net.cloud.call("ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=net.own)["NewAssociationId"]
    assert [one["NetworkAclId"] for one in net.acls(association__subnet_id=net.subnet)] == [net.own] and moved != association
    said = net.cloud.refused("InvalidAssociationID.NotFound", "ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=net.own)
    assert said == f"The association ID '{association}' does not exist"
    said = net.cloud.refused("DependencyViolation", "DeleteNetworkAcl", NetworkAclId=net.own)
    assert said == f"The networkAcl '{net.own}' has dependencies and cannot be deleted."
    other = net.cloud.vpc("10.20.0.0/16", "other")
    foreign = net.acls(vpc_id=other)[0]["NetworkAclId"]
    net.cloud.refused("InvalidParameterValue", "ReplaceNetworkAclAssociation", AssociationId=moved, NetworkAclId=foreign)
    net.cloud.call("DeleteSubnet", SubnetId=net.subnet)
    net.cloud.call("DeleteNetworkAcl", NetworkAclId=net.own)
    net.cloud.refused("InvalidNetworkAclID.NotFound", "DeleteNetworkAcl", NetworkAclId=net.own)


def test_a_client_token_makes_one_acl_and_filters_find_entries(net: Net) -> None:
    one, again = (net.cloud.call("CreateNetworkAcl", VpcId=net.vpc, ClientToken="t")["NetworkAcl"]["NetworkAclId"] for _ in range(2))
    assert one == again
    net.cloud.call("CreateNetworkAclEntry", **net.entry(120, Protocol="6", PortRange={"From": 22, "To": 23}))
    for filters in ({"entry__port_range__from": "22"}, {"entry__protocol": "6"}, {"entry__rule_number": "120"}):
        assert [item["NetworkAclId"] for item in net.acls(**filters)] == [net.own]
    assert [item["NetworkAclId"] for item in net.acls(entry__rule_action="allow", default="true")] == [net.default]
