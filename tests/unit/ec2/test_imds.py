"""The metadata tree, path by path, as the VPC CNI and the usual agents read it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

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


def every_path(node: Node, path: str = "") -> dict[str, str]:
    """All texts, listings included, by path."""
    text = node(path)
    out = {path: text}
    if not path:
        names = [f"{name}/" for name in text.split("\n")]
    else:
        names = text.split("\n") if path.endswith("/") else []
    for name in names:
        out |= every_path(node, path + name)
    return out


def test_every_path_and_its_exact_text(node: Node) -> None:
    first, second = node.eni(0), node.eni(1)
    group = first.security_groups[0]
    dns = "ip-10-10-0-4.us-west-2.compute.internal"
    shared = {
        "mac": "", "network-card": "0", "owner-id": "111122223333", "security-group-ids": group, "security-groups": "default",
        "subnet-id": node.subnet, "subnet-ipv4-cidr-block": "10.10.0.0/19", "vpc-id": node.vpc, "vpc-ipv4-cidr-block": "10.10.0.0/16",
        "vpc-ipv4-cidr-blocks": "10.10.0.0/16\n100.64.0.0/16",
    }
    interfaces = {
        f"{first.mac}/": {
            "device-number": "0", "interface-id": first.id, "ipv4-associations/": {"203.0.113.1": "10.10.0.4"}, "local-hostname": dns,
            "local-ipv4s": "10.10.0.4\n10.10.0.5\n10.10.0.6", **shared, "mac": first.mac,
            "public-hostname": "ec2-203-0-113-1.us-west-2.compute.amazonaws.com", "public-ipv4s": "203.0.113.1",
        },
        f"{second.mac}/": {
            "device-number": "1", "interface-id": second.id, "ipv4-prefix": "10.10.0.16/28\n10.10.0.32/28",
            "local-hostname": "ip-10-10-0-7.us-west-2.compute.internal", "local-ipv4s": "10.10.0.7\n10.10.0.8", **shared, "mac": second.mac,
        },
    }
    for one in interfaces.values():  # EC2 lists by the alphabet, wherever an entry came from
        ordered = dict(sorted(one.items()))
        one.clear()
        one.update(ordered)
    document = """{
  "accountId" : "111122223333",
  "architecture" : "x86_64",
  "availabilityZone" : "us-west-2a",
  "billingProducts" : null,
  "devpayProductCodes" : null,
  "marketplaceProductCodes" : null,
  "imageId" : "ami-0123456789abcdef0",
  "instanceId" : "INSTANCE",
  "instanceType" : "m5.large",
  "kernelId" : null,
  "pendingTime" : "2023-11-14T22:13:20Z",
  "privateIp" : "10.10.0.4",
  "ramdiskId" : null,
  "region" : "us-west-2",
  "version" : "2017-09-30"
}""".replace("INSTANCE", node.id)
    tree = {
        "dynamic/": {"fws/": {"instance-monitoring": "disabled"}, "instance-identity/": {"document": document}},
        "meta-data/": {
            "ami-id": "ami-0123456789abcdef0", "ami-launch-index": "0", "ami-manifest-path": "(unknown)",
            "events/": {"maintenance/": {"history": "[]", "scheduled": "[]"}}, "hibernation/": {"configured": "false"}, "hostname": dns,
            "instance-action": "none", "instance-id": node.id, "instance-life-cycle": "on-demand", "instance-type": "m5.large",
            "local-hostname": dns, "local-ipv4": "10.10.0.4", "mac": first.mac,
            "metrics/": {"vhostmd": '<?xml version="1.0" encoding="UTF-8"?>'}, "network/": {"interfaces/": {"macs/": interfaces}},
            "placement/": {"availability-zone": "us-west-2a", "availability-zone-id": "usw2-az1", "region": "us-west-2"},
            "profile": "default-hvm", "public-hostname": "ec2-203-0-113-1.us-west-2.compute.amazonaws.com", "public-ipv4": "203.0.113.1",
            "reservation-id": "r-" + node.id[2:], "security-groups": "default",
            "services/": {"domain": "amazonaws.com", "partition": "aws"}, "system": "nitro",
        },
    }
    expected = {"": "dynamic\nmeta-data"}

    def add(path: str, level: dict[str, Any]) -> None:
        if path:
            expected[path] = "\n".join(level)
        for name, item in level.items():
            if isinstance(item, dict):
                add(path + name, item)
            else:
                expected[path + name] = item

    add("", tree)
    assert every_path(node) == expected
    assert not any(text.endswith("\n") for text in expected.values())
    assert all(node(path.rstrip("/")) == text for path, text in expected.items()), "with and without the slash at the end"


def test_tags_are_there_when_they_are_allowed(node: Node) -> None:
    state = node.cloud.state
    before = state.instances[node.id]
    allowed = replace(before, tags={"Name": "node1", "with blank": "ä"}, metadata=replace(before.metadata, instance_tags="enabled"))
    state = replace(state, instances={**state.instances, node.id: allowed})
    assert metadata(state, node.id, "meta-data/tags/instance") == "Name\nwith blank"
    assert metadata(state, node.id, "meta-data/tags/instance/Name") == "node1"
    assert metadata(state, node.id, "meta-data/tags/instance/with%20blank") == "ä"
    assert "tags/" in metadata(state, node.id, "meta-data/").split("\n")
    with pytest.raises(ImdsError):
        node("meta-data/tags/instance")


def test_encoded_names_are_read_and_lead_nowhere_else(node: Node) -> None:
    mac = node.eni(0).mac
    assert node(f"meta-data/network/interfaces/macs/{mac.replace(':', '%3A')}/mac") == mac
    assert node("meta-data//mac") == mac


def test_directories_are_listed_with_a_slash_and_read_without(node: Node) -> None:
    top = node("meta-data").split("\n")
    assert "network/" in top and "placement/" in top and "mac" in top
    assert node("meta-data/placement") == node("meta-data/placement/")


@pytest.mark.parametrize(
    "path",
    ["meta-data/ipv6", "meta-data/nothing", "meta-data/mac/further", "user-data", "meta-data/network/interfaces/macs/02:00:00:00:00:01",
     "meta-data/iam/security-credentials/", "../etc/passwd", "meta-data/../meta-data/mac", "meta-data/%2e%2e/meta-data/mac",
     "meta-data%2fmac", "meta-data/placement%2Fregion", "meta-data/iam", "meta-data/iam/info", "meta-data/tags/instance",
     "meta-data/spot/instance-action",
     "meta-data/autoscaling/target-lifecycle-state", "meta-data/events/recommendations/rebalance", "meta-data/public-keys/",
     "meta-data/placement/group-name", "dynamic/instance-identity/pkcs7", "dynamic/instance-identity/signature",
     "dynamic/instance-identity/rsa2048", "META-DATA/mac", "meta-data/network/interfaces/macs/../macs", "meta-data/%00", "meta-data/mac%0a",
     "x" * 3000, "a/" * 1500],
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
