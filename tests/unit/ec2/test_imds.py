"""The metadata tree, path by path, as the VPC CNI and the usual agents read it."""

from __future__ import annotations

import json

import pytest
from builders_ec2 import Cloud

from labnet.ec2.imds import metadata, who_has
from labnet.errors import ImdsError
from labnet.model.cloud import Eni


class Node:
    """One m5.large with a second ENI that has a secondary address and a prefix; a public address on the first."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.cloud.call("AssociateVpcCidrBlock", VpcId=self.vpc, CidrBlock="100.64.0.0/16")
        self.subnet = self.cloud.subnet(self.vpc, "10.10.0.0/19")
        self.cloud.call("ModifySubnetAttribute", SubnetId=self.subnet, MapPublicIpOnLaunch={"Value": True})
        self.id = self.cloud.node(self.subnet, "m5.large")
        self.cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=self.eni(0).id, SecondaryPrivateIpAddressCount=2)
        second = self.cloud.interface(self.subnet, SecondaryPrivateIpAddressCount=1)
        self.cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=second, Ipv4PrefixCount=2)
        self.cloud.attach(second, self.id)

    def eni(self, index: int) -> Eni:
        return self.cloud.state.enis_of(self.id)[index]

    def __call__(self, path: str) -> str:
        return metadata(self.cloud.state, self.id, path)


@pytest.fixture(scope="module")
def node() -> Node:
    return Node()


def test_the_instance_itself(node: Node) -> None:
    said = {path: node(f"meta-data/{path}") for path in (
        "placement/availability-zone", "placement/region", "local-ipv4", "instance-id", "instance-type", "mac", "ami-id", "hostname",
        "local-hostname", "public-ipv4", "public-hostname", "instance-action", "instance-life-cycle", "security-groups", "services/domain",
        "services/partition", "reservation-id", "placement/availability-zone-id",
    )}
    assert said == {
        "placement/availability-zone": "us-west-2a", "placement/region": "us-west-2", "local-ipv4": "10.10.0.4", "instance-id": node.id,
        "instance-type": "m5.large", "mac": node.eni(0).mac, "ami-id": "ami-0123456789abcdef0",
        "hostname": "ip-10-10-0-4.us-west-2.compute.internal", "local-hostname": "ip-10-10-0-4.us-west-2.compute.internal",
        "public-ipv4": "203.0.113.1", "public-hostname": "ec2-203-0-113-1.us-west-2.compute.amazonaws.com", "instance-action": "none",
        "instance-life-cycle": "on-demand", "security-groups": "default", "services/domain": "amazonaws.com", "services/partition": "aws",
        "reservation-id": "r-" + node.id[2:], "placement/availability-zone-id": "usw2-az1",
    }


def test_interfaces_with_a_slash_each_and_the_primary_first(node: Node) -> None:
    listed = node("meta-data/network/interfaces/macs")
    assert listed == f"{node.eni(0).mac}/\n{node.eni(1).mac}/"
    assert node("meta-data/network/interfaces/macs/") == listed


def test_fields_of_an_interface(node: Node) -> None:
    first, second = (f"meta-data/network/interfaces/macs/{node.eni(n).mac}" for n in (0, 1))
    fields = node(first).split("\n")
    assert {"local-ipv4s", "interface-id", "subnet-id", "vpc-id", "device-number", "network-card", "security-group-ids"} <= set(fields)
    assert "ipv4-prefix" not in fields and "ipv6s" not in fields and "public-ipv4s" in fields
    assert "ipv4-prefix" in node(second) and "public-ipv4s" not in node(second)
    assert node(f"{first}/local-ipv4s") == "10.10.0.4\n10.10.0.5\n10.10.0.6"
    assert node(f"{second}/local-ipv4s") == "10.10.0.7\n10.10.0.8"
    assert node(f"{second}/ipv4-prefix") == "10.10.0.16/28\n10.10.0.32/28"
    assert (node(f"{first}/device-number"), node(f"{second}/device-number"), node(f"{second}/network-card")) == ("0", "1", "0")
    assert node(f"{first}/interface-id") == node.eni(0).id
    assert (node(f"{first}/subnet-id"), node(f"{first}/vpc-id")) == (node.subnet, node.vpc)
    assert node(f"{first}/subnet-ipv4-cidr-block") == "10.10.0.0/19"
    assert node(f"{first}/vpc-ipv4-cidr-blocks") == "10.10.0.0/16\n100.64.0.0/16"
    assert node(f"{first}/vpc-ipv4-cidr-block") == "10.10.0.0/16"
    assert node(f"{first}/security-group-ids") == node.eni(0).security_groups[0]
    assert node(f"{first}/ipv4-associations/203.0.113.1") == "10.10.0.4"


def test_no_text_ends_in_a_newline_and_every_listed_path_answers(node: Node) -> None:
    def walk(path: str) -> int:
        text = node(path)
        assert not text.endswith("\n"), path
        seen = 1
        if path.endswith("/"):
            for name in text.split("\n"):
                seen += walk(path + name)
        return seen

    assert walk("meta-data/") > 50
    assert node("") == "dynamic\nmeta-data"
    assert walk("dynamic/") == 3


def test_directories_are_listed_with_a_slash_and_read_without(node: Node) -> None:
    top = node("meta-data").split("\n")
    assert "network/" in top and "placement/" in top and "mac" in top
    assert node("meta-data/placement") == node("meta-data/placement/")


@pytest.mark.parametrize(
    "path",
    ["meta-data/ipv6", "meta-data/nothing", "meta-data/mac/further", "user-data", "meta-data/network/interfaces/macs/02:00:00:00:00:01",
     "meta-data/iam/security-credentials/", "../etc/passwd", "meta-data/../meta-data/mac"],
)
def test_what_is_not_there_is_a_404(node: Node, path: str) -> None:
    with pytest.raises(ImdsError) as caught:
        node(path)
    assert caught.value.status == 404


def test_the_identity_document(node: Node) -> None:
    document = json.loads(node("dynamic/instance-identity/document"))
    assert document["region"] == "us-west-2"
    assert (document["instanceId"], document["privateIp"], document["accountId"]) == (node.id, "10.10.0.4", "111122223333")
    assert document["pendingTime"] == "2023-11-14T22:13:20Z"


def test_who_asks_is_known_by_address_or_prefix(node: Node) -> None:
    for address in ("10.10.0.4", "10.10.0.6", "10.10.0.8", "10.10.0.16", "10.10.0.47"):
        assert who_has(node.cloud.state, node.vpc, address) == node.id, address
    for address in ("10.10.0.9", "10.10.0.48", "10.10.0.15", "8.8.8.8"):
        assert who_has(node.cloud.state, node.vpc, address) is None, address
    assert who_has(node.cloud.state, "vpc-other", "10.10.0.4") is None
