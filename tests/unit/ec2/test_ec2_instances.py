"""Instances: launching, what comes with them, idempotency, the end."""

from __future__ import annotations

import pytest
from builders_ec2 import IMAGE, Cloud


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def subnet(cloud: Cloud) -> str:
    return cloud.subnet(cloud.vpc())


def launch(subnet: str, **more: object) -> dict[str, object]:
    return {"ImageId": IMAGE, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet, **more}


def test_an_instance_has_its_primary_eni_and_a_public_address_where_the_subnet_says_so(cloud: Cloud, subnet: str) -> None:
    private = cloud.primary(cloud.node(subnet))
    assert private.addresses[0].public is None
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    node = cloud.node(subnet, name="node2")
    (shown,) = cloud.call("DescribeInstances", InstanceIds=[node])["Reservations"]
    instance = shown["Instances"][0]
    assert (instance["PrivateIpAddress"], instance["PublicIpAddress"]) == ("10.10.0.5", "203.0.113.1")
    assert instance["PrivateDnsName"] == "ip-10-10-0-5.us-west-2.compute.internal"
    (interface,) = instance["NetworkInterfaces"]
    assert interface["Attachment"]["DeviceIndex"] == 0 and interface["Attachment"]["DeleteOnTermination"] is True
    assert interface["Association"]["PublicIp"] == "203.0.113.1"
    assert instance["State"] == {"Name": "running", "Code": 16}


def test_the_caller_chooses_about_the_public_address(cloud: Cloud, subnet: str) -> None:
    params = launch(subnet)
    del params["SubnetId"]
    given = cloud.call("RunInstances", **params, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": True}])
    assert given["Instances"][0]["PublicIpAddress"] == "203.0.113.1"
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    without = cloud.call(
        "RunInstances", **params, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": False}],
    )
    assert "PublicIpAddress" not in without["Instances"][0]
    cloud.refused("InvalidParameterCombination", "RunInstances", **params, SubnetId=subnet, NetworkInterfaces=[{"DeviceIndex": 0}])
    cloud.refused(
        "UnknownParameter", "RunInstances", **params, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "Ipv6AddressCount": 1}],
    )


def test_launching_with_an_existing_eni(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    params = launch(subnet)
    del params["SubnetId"]
    made = cloud.call("RunInstances", **params, NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": eni, "DeleteOnTermination": False}])
    node = made["Instances"][0]["InstanceId"]
    assert cloud.primary(node).id == eni
    said = cloud.refused(
        "InvalidNetworkInterface.InUse", "RunInstances", **params, NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": eni}],
    )
    assert said == f"Interface: [{eni}] in use."
    cloud.call("TerminateInstances", InstanceIds=[node])
    assert cloud.state.enis[eni].attachment is None


def test_an_eni_that_outlives_its_instance_loses_the_public_address_of_the_launch(cloud: Cloud, subnet: str) -> None:
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    node = cloud.node(subnet)
    primary = cloud.primary(node)
    assert primary.attachment is not None
    keep = {"AttachmentId": primary.attachment.id, "DeleteOnTermination": False}
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=primary.id, Attachment=keep)
    cloud.call("TerminateInstances", InstanceIds=[node])
    assert cloud.state.enis[primary.id].addresses[0].public is None
    assert not cloud.state.public_taken


def test_termination_honours_delete_on_termination(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)
    kept, gone = cloud.interface(subnet), cloud.interface(subnet)
    cloud.attach(kept, node, 1)
    attachment = cloud.attach(gone, node, 2)
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=gone, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    primary = cloud.primary(node).id
    (change,) = cloud.call("TerminateInstances", InstanceIds=[node])["TerminatingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "terminated")
    assert set(cloud.state.enis) == {kept}
    assert primary not in cloud.state.enis
    cloud.refused("IncorrectState", "AttachNetworkInterface", NetworkInterfaceId=kept, InstanceId=node, DeviceIndex=1)
    again = cloud.call("TerminateInstances", InstanceIds=[node])["TerminatingInstances"]
    assert again[0]["PreviousState"]["Name"] == "terminated"
    (shown,) = cloud.call("DescribeInstances", InstanceIds=[node])["Reservations"]
    assert shown["Instances"][0]["State"]["Name"] == "terminated" and shown["Instances"][0]["NetworkInterfaces"] == []


def test_termination_of_several_is_all_or_nothing(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)
    cloud.refused("InvalidInstanceID.NotFound", "TerminateInstances", InstanceIds=[node, "i-0123456789abcdef0"])
    assert cloud.state.instances[node].state == "running"


def test_a_client_token_makes_a_launch_happen_once(cloud: Cloud, subnet: str) -> None:
    params = launch(subnet, ClientToken="labnet-node1")
    one, again = (cloud.call("RunInstances", **params)["Instances"][0]["InstanceId"] for _ in range(2))
    assert one == again and len(cloud.state.instances) == 1
    cloud.refused("IdempotentParameterMismatch", "RunInstances", **{**params, "InstanceType": "t3.small"})


def test_several_at_once_as_many_as_there_is_room_for(cloud: Cloud) -> None:
    tiny = cloud.subnet(cloud.vpc(), "10.10.9.0/28")
    cloud.refused("InsufficientFreeAddressesInSubnet", "RunInstances", **launch(tiny, MinCount=12, MaxCount=12))
    assert len(cloud.call("RunInstances", **launch(tiny, MinCount=2, MaxCount=20))["Instances"]) == 11
    assert len(cloud.state.instances) == 11


def test_launches_that_are_refused(cloud: Cloud, subnet: str) -> None:
    cloud.refused("InvalidParameterValue", "RunInstances", **launch(subnet, InstanceType="t3.smal"))
    cloud.refused("InvalidAMIID.Malformed", "RunInstances", **launch(subnet, ImageId="debian"))
    cloud.refused("InvalidSubnetID.NotFound", "RunInstances", **launch("subnet-0123456789abcdef0"))
    cloud.refused("InvalidGroup.NotFound", "RunInstances", **launch(subnet, SecurityGroupIds=["sg-0123456789abcdef0"]))
    cloud.refused("InvalidParameterValue", "RunInstances", **launch(subnet, MinCount=2))
    cloud.refused("InvalidParameterValue", "RunInstances", **launch(subnet, PrivateIpAddress="10.10.0.1"))
    cloud.refused("UnknownParameter", "RunInstances", **launch(subnet, KeyName="mine"))
    assert not cloud.state.instances and not cloud.state.enis


def test_tags_at_launch_go_to_what_they_are_for(cloud: Cloud, subnet: str) -> None:
    specs = [
        {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "node1"}]},
        {"ResourceType": "network-interface", "Tags": [{"Key": "of", "Value": "node1"}]},
    ]
    node = cloud.call("RunInstances", **launch(subnet, TagSpecifications=specs))["Instances"][0]["InstanceId"]
    assert cloud.state.instances[node].tags == {"Name": "node1"}
    assert cloud.primary(node).tags == {"of": "node1"}


def test_metadata_options(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet, MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2})
    answer = cloud.call("ModifyInstanceMetadataOptions", InstanceId=node, HttpPutResponseHopLimit=3)
    assert answer["InstanceMetadataOptions"]["HttpTokens"] == "required"
    assert answer["InstanceMetadataOptions"]["HttpPutResponseHopLimit"] == 3
    for wrong in ({"HttpPutResponseHopLimit": 0}, {"HttpPutResponseHopLimit": 65}, {"HttpTokens": "maybe"}, {"HttpEndpoint": "off"}):
        cloud.refused("InvalidParameterValue", "ModifyInstanceMetadataOptions", InstanceId=node, **wrong)


def test_instances_by_filter(cloud: Cloud, subnet: str) -> None:
    one, other = cloud.node(subnet), cloud.node(subnet, "t3.nano", name="node2")
    cloud.call("TerminateInstances", InstanceIds=[other])

    def only(name: str, *values: str) -> list[str]:
        found = cloud.call("DescribeInstances", Filters=[{"Name": name, "Values": list(values)}])["Reservations"]
        return [item["InstanceId"] for each in found for item in each["Instances"]]

    assert only("instance-state-name", "running") == [one]
    assert only("tag:Name", "node?") == [one, other]
    assert only("instance-type", "t3.nano") == [other]
    assert only("private-ip-address", "10.10.0.4") == [one]
    assert only("network-interface.network-interface-id", cloud.primary(one).id) == [one]
    cloud.refused("InvalidInstanceID.Malformed", "DescribeInstances", InstanceIds=["x"])
