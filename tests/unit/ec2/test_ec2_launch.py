"""Launches with several interfaces, reservations, names of nodes, and how long a terminated instance is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import IMAGE, Cloud

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context

Spec = dict[str, Any]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def subnet(cloud: Cloud) -> str:
    return cloud.subnet(cloud.vpc())


def params(*interfaces: Spec, kind: str = "t3.small", **more: Any) -> Spec:
    return {"ImageId": IMAGE, "InstanceType": kind, "MinCount": 1, "MaxCount": 1, "NetworkInterfaces": list(interfaces), **more}


def launched(cloud: Cloud, *interfaces: Spec, **more: Any) -> Spec:
    answer: Spec = cloud.call("RunInstances", **params(*interfaces, **more))["Instances"][0]
    return answer


def test_several_interfaces_with_addresses_and_prefixes(cloud: Cloud, subnet: str) -> None:
    other = cloud.subnet(cloud.state.subnets[subnet].vpc_id, "10.10.1.0/24")
    group = cloud.call("CreateSecurityGroup", GroupName="web", Description="d", VpcId=cloud.state.subnets[subnet].vpc_id)["GroupId"]
    made = launched(
        cloud,
        {"DeviceIndex": 1, "SubnetId": other, "Ipv4PrefixCount": 1, "DeleteOnTermination": False, "Groups": [group], "Description": "second"},
        {"DeviceIndex": 0, "SubnetId": subnet, "SecondaryPrivateIpAddressCount": 2, "PrivateIpAddress": "10.10.0.50"},
    )  # fmt: skip
    first, second = cloud.state.enis_of(made["InstanceId"])
    assert [item.address for item in first.addresses] == ["10.10.0.50", "10.10.0.4", "10.10.0.5"]
    assert second.prefixes == ("10.10.1.16/28",) and second.security_groups == (group,) and second.description == "second"
    assert [one["Attachment"]["DeviceIndex"] for one in made["NetworkInterfaces"]] == [0, 1]
    cloud.call("TerminateInstances", InstanceIds=[made["InstanceId"]])
    assert list(cloud.state.enis) == [second.id], "only the one that was to stay"


def test_interfaces_of_a_launch_that_are_refused(cloud: Cloud, subnet: str) -> None:
    zero, ready = {"DeviceIndex": 0, "SubnetId": subnet}, cloud.interface(subnet)

    def refused(code: str, *interfaces: Spec, **more: Any) -> str:
        return cloud.refused(code, "RunInstances", **params(*interfaces, **more))

    assert refused("InvalidParameterValue", {"SubnetId": subnet}) == "Each network interface requires a device index."
    refused("InvalidParameterValue", {"DeviceIndex": 1, "SubnetId": subnet})
    refused("InvalidParameterValue", zero, zero)
    said = refused("InvalidParameterCombination", {**zero, "AssociatePublicIpAddress": True}, {"DeviceIndex": 1, "SubnetId": subnet})
    assert said == "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces."
    assert refused("AttachmentLimitExceeded", *({"DeviceIndex": n, "SubnetId": subnet} for n in range(4))) == (
        "Interface count 4 exceeds the limit for t3.small"
    )
    refused("PrivateIpAddressLimitExceeded", {**zero, "SecondaryPrivateIpAddressCount": 4})
    refused("InvalidParameterCombination", {"DeviceIndex": 0, "NetworkInterfaceId": ready, "SubnetId": subnet})
    refused("InvalidParameterCombination", {"DeviceIndex": 0, "NetworkInterfaceId": ready, "DeleteOnTermination": True})
    refused("InvalidNetworkInterface.InUse", {"DeviceIndex": 0, "NetworkInterfaceId": ready}, MaxCount=2, MinCount=2)
    away = cloud.subnet(cloud.state.subnets[subnet].vpc_id, "10.10.1.0/24", "us-west-2b")
    refused("InvalidParameterValue", zero, {"DeviceIndex": 1, "SubnetId": away})
    words = {"SubnetId": "subnet ID", "SecurityGroupIds": "security groups", "PrivateIpAddress": "private IP address"}
    for name, word in words.items():
        value: object = ["sg-0123456789abcdef0"] if name == "SecurityGroupIds" else "x"
        said = refused("InvalidParameterCombination", zero, **{name: value})
        assert said == f"Network interfaces and an instance-level {word} may not be specified on the same request"
    assert not cloud.state.instances and list(cloud.state.enis) == [ready]


def test_an_interface_that_was_there_before_outlives_the_instance(cloud: Cloud, subnet: str) -> None:
    ready = cloud.interface(subnet)
    made = launched(cloud, {"DeviceIndex": 0, "NetworkInterfaceId": ready})
    assert made["NetworkInterfaces"][0]["Attachment"]["DeleteOnTermination"] is False
    cloud.call("TerminateInstances", InstanceIds=[made["InstanceId"]])
    assert ready in cloud.state.enis


def test_interfaces_on_further_network_cards(cloud: Cloud, subnet: str) -> None:
    made = launched(
        cloud, {"DeviceIndex": 0, "SubnetId": subnet}, {"DeviceIndex": 1, "NetworkCardIndex": 1, "SubnetId": subnet}, kind="p4d.24xlarge"
    )
    assert [(one["Attachment"]["NetworkCardIndex"], one["Attachment"]["DeviceIndex"]) for one in made["NetworkInterfaces"]] == [(0, 0), (1, 1)]


def test_instances_of_one_request_share_a_reservation(cloud: Cloud, subnet: str) -> None:
    answer = cloud.call("RunInstances", **{**params({"DeviceIndex": 0, "SubnetId": subnet}), "MaxCount": 3, "MinCount": 3})
    alone = cloud.node(subnet)
    launches = cloud.call("DescribeInstances")["Reservations"]
    assert [len(one["Instances"]) for one in launches] == [3, 1] and launches[0]["ReservationId"] == answer["ReservationId"]
    assert [one["AmiLaunchIndex"] for one in answer["Instances"]] == [0, 1, 2]
    assert launches[1]["Instances"][0]["InstanceId"] == alone


def test_a_terminated_instance_is_shown_for_an_hour(cloud: Cloud, subnet: str) -> None:
    node, other = cloud.node(subnet), cloud.node(subnet, name="node2")
    cloud.call("TerminateInstances", InstanceIds=[node])
    cloud.now_s += 3600
    (shown,) = cloud.call("DescribeInstances", InstanceIds=[node])["Reservations"]
    assert shown["Instances"][0]["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    cloud.now_s += 1
    cloud.refused("InvalidInstanceID.NotFound", "DescribeInstances", InstanceIds=[node])
    cloud.call("TerminateInstances", InstanceIds=[other])
    assert list(cloud.state.instances) == [other], "and then nothing is left of it"


def test_a_node_is_named_by_its_tag_where_that_is_a_free_name(cloud: Cloud, subnet: str) -> None:
    first, second = cloud.node(subnet, name="web"), cloud.node(subnet, name="web")
    names = {key: one.name for key, one in cloud.state.instances.items()}
    assert names == {first: "web", second: second}
    for tag in ("Web server", "vpc", "internet", "a" * 33, "-a"):
        instance = cloud.node(subnet, name=tag)
        assert cloud.state.instances[instance].name == instance
    cloud.call("CreateTags", Resources=[first], Tags=[{"Key": "Name", "Value": "other"}])
    assert cloud.state.instances[first].name == "web", "a tag that changes renames nobody"
    cloud.call("TerminateInstances", InstanceIds=[first])
    third = cloud.node(subnet, name="web")
    assert cloud.state.instances[third].name == "web"


def test_a_name_that_something_else_has_is_not_free(cloud: Cloud, subnet: str) -> None:
    context = Context(0.0, limits.load(), "t", lambda name: name == "pod1")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "pod1"}]}]
    state, _ = execute(cloud.state, "RunInstances", {**params({"DeviceIndex": 0, "SubnetId": subnet}), "TagSpecifications": tags}, context)
    (instance,) = state.instances.values()
    assert instance.name == instance.id and instance.tags["Name"] == "pod1"
