"""Attributes of ENIs and instances: read, changed one at a time, put back; and what is asked of instances."""

from __future__ import annotations

import pytest
from builders_ec2 import Cloud

from labnet.ec2.imds import metadata
from labnet.errors import ImdsError


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def subnet(cloud: Cloud) -> str:
    return cloud.subnet(cloud.vpc())


# ---- ENIs -----------------------------------------------------------------------------------------------------------------


def test_each_attribute_of_an_eni_can_be_read_by_itself(cloud: Cloud, subnet: str) -> None:
    node, eni = cloud.node(subnet), cloud.interface(subnet, Description="d")

    def read(name: str) -> dict[str, object]:
        return cloud.call("DescribeNetworkInterfaceAttribute", NetworkInterfaceId=eni, Attribute=name)

    assert read("description") == {"NetworkInterfaceId": eni, "Description": {"Value": "d"}}
    assert read("sourceDestCheck")["SourceDestCheck"] == {"Value": True}
    assert read("attachment") == {"NetworkInterfaceId": eni}
    attachment = cloud.attach(eni, node)
    assert read("attachment")["Attachment"]["AttachmentId"] == attachment  # type: ignore[index]
    assert [one["GroupName"] for one in read("groupSet")["Groups"]] == ["default"]  # type: ignore[index, attr-defined]
    name = "associatePublicIpAddress"
    assert name in cloud.refused("InvalidParameterValue", "DescribeNetworkInterfaceAttribute", NetworkInterfaceId=eni, Attribute=name)
    cloud.refused("MissingParameter", "DescribeNetworkInterfaceAttribute", NetworkInterfaceId=eni)


def test_the_source_dest_check_is_reset(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    cloud.refused("MissingParameter", "ResetNetworkInterfaceAttribute", NetworkInterfaceId=eni)
    cloud.call("ResetNetworkInterfaceAttribute", NetworkInterfaceId=eni, SourceDestCheck="true")
    assert cloud.state.enis[eni].source_dest_check


def test_what_would_be_ignored_in_an_attribute_is_refused(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    attachment = cloud.attach(eni, cloud.node(subnet))

    def refused(code: str, **attribute: object) -> str:
        return cloud.refused(code, "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, **attribute)

    refused("InvalidParameterCombination", Description={"Value": "d"}, SourceDestCheck={"Value": True})
    refused("MissingParameter", SourceDestCheck={})
    assert "EnaQueueCount" in refused("UnknownParameter", Attachment={"AttachmentId": attachment, "EnaQueueCount": 2})
    refused("MissingParameter", Attachment={"AttachmentId": attachment})
    refused("UnknownParameter", EnaSrdSpecification={"EnaSrdEnabled": True})


def test_other_kinds_of_interfaces_are_not_offered(cloud: Cloud, subnet: str) -> None:
    cloud.interface(subnet, InterfaceType="interface")
    assert "efa" in cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, InterfaceType="efa")


def test_named_prefixes_and_addresses_at_creation(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet, Ipv4Prefixes=[{"Ipv4Prefix": "10.10.0.32/28"}])
    assert cloud.state.enis[eni].prefixes == ("10.10.0.32/28",)
    said = cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, Ipv4Prefixes=[{"Ipv4Prefix": "10.10.0.0/28"}])
    assert said == "Prefix 10.10.0.0/28 is in subnet's reserved address range"
    both = {"Ipv4PrefixCount": 1, "SecondaryPrivateIpAddressCount": 1}
    cloud.refused("InvalidParameterCombination", "CreateNetworkInterface", SubnetId=subnet, **both)
    cloud.refused("InvalidParameterCombination", "AssignPrivateIpAddresses", NetworkInterfaceId=eni, **both)


def test_force_detaches_as_well(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    cloud.call("DetachNetworkInterface", AttachmentId=cloud.attach(eni, cloud.node(subnet)), Force=True)
    assert cloud.state.enis[eni].attachment is None
    shown = cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
    assert shown["Status"] == "available" and "Attachment" not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attachment.delete-on-termination", "true"), ("attachment.device-index", "0"), ("attachment.network-card-index", "0"),
        ("attachment.status", "attached"), ("attachment.instance-owner-id", "111122223333"), ("addresses.primary", "true"),
        ("attachment.attach-time", "2023-11-14T22:13:20.000Z"), ("association.public-ip", "203.0.113.*"),
        ("association.public-dns-name", "ec2-203-*"), ("availability-zone-id", "usw2-az1"), ("group-name", "default"),
        ("owner-id", "111122223333"), ("private-dns-name", "ip-10-10-0-4.*"), ("requester-managed", "false"), ("status", "in-use"),
        ("source-dest-check", "true"), ("addresses.association.public-ip", "203.0.113.1"),
    ],
)  # fmt: skip
def test_enis_and_their_instance_by_every_filter(cloud: Cloud, subnet: str, name: str, value: str) -> None:
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    node = cloud.node(subnet)
    eni = cloud.primary(node).id
    vpc = cloud.state.subnets[subnet].vpc_id
    group = cloud.call("CreateSecurityGroup", GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    spare = cloud.interface(cloud.subnet(vpc, "10.10.9.0/24", "us-west-2b"), Groups=[group])
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=spare, SourceDestCheck={"Value": False})
    found = cloud.call("DescribeNetworkInterfaces", Filters=[{"Name": name, "Values": [value]}])["NetworkInterfaces"]
    shared = name in ("owner-id", "requester-managed", "addresses.primary")
    assert [one["NetworkInterfaceId"] for one in found] == ([eni, spare] if shared else [eni])
    (launch,) = cloud.call("DescribeInstances", Filters=[{"Name": f"network-interface.{name}", "Values": [value]}])["Reservations"]
    assert launch["Instances"][0]["InstanceId"] == node
    assert cloud.call("DescribeInstances", Filters=[{"Name": f"network-interface.{name}", "Values": ["no"]}])["Reservations"] == []


# ---- instances ------------------------------------------------------------------------------------------------------------


def test_attributes_of_an_instance_are_those_of_its_only_interface(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)

    def read(name: str) -> object:
        answer = cloud.call("DescribeInstanceAttribute", InstanceId=node, Attribute=name)
        return next(value for key, value in answer.items() if key != "InstanceId")

    assert (read("instanceType"), read("sourceDestCheck")) == ({"Value": "t3.small"}, {"Value": True})
    cloud.call("ModifyInstanceAttribute", InstanceId=node, SourceDestCheck={"Value": False})
    assert read("sourceDestCheck") == {"Value": False} and not cloud.primary(node).source_dest_check
    cloud.call("ModifyInstanceAttribute", InstanceId=node, Attribute="sourceDestCheck", Value="true")
    assert cloud.primary(node).source_dest_check
    group = cloud.call("CreateSecurityGroup", GroupName="web", Description="d", VpcId=cloud.primary(node).vpc_id)["GroupId"]
    cloud.call("ModifyInstanceAttribute", InstanceId=node, Groups=[group])
    assert cloud.primary(node).security_groups == (group,)
    for wrong in ({"Attribute": "userData", "Value": "x"}, {"Attribute": "sourceDestCheck", "Value": "maybe"}):
        cloud.refused("InvalidParameterValue", "ModifyInstanceAttribute", InstanceId=node, **wrong)
    assert "UserData" in cloud.refused("UnknownParameter", "ModifyInstanceAttribute", InstanceId=node, UserData={"Value": b"x"})
    cloud.refused("InvalidParameterCombination", "ModifyInstanceAttribute", InstanceId=node)
    assert "kernel" in cloud.refused("InvalidParameterValue", "DescribeInstanceAttribute", InstanceId=node, Attribute="kernel")
    cloud.attach(cloud.interface(subnet), node)
    said = cloud.refused("InvalidInstanceID", "ModifyInstanceAttribute", InstanceId=node, SourceDestCheck={"Value": False})
    assert said == f"There are multiple interfaces attached to instance '{node}'. Please specify an interface ID for the operation instead."


def test_a_terminated_instance_keeps_its_attributes(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)
    cloud.call("TerminateInstances", InstanceIds=[node])
    cloud.refused("IncorrectInstanceState", "ModifyInstanceAttribute", InstanceId=node, SourceDestCheck={"Value": False})
    cloud.refused("IncorrectInstanceState", "ModifyInstanceMetadataOptions", InstanceId=node, HttpTokens="required")


def test_tags_are_in_the_metadata_when_they_are_enabled(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet, name="web")
    with pytest.raises(ImdsError):
        metadata(cloud.state, node, "meta-data/tags/instance/Name")
    answer = cloud.call("ModifyInstanceMetadataOptions", InstanceId=node, InstanceMetadataTags="enabled")
    assert answer["InstanceMetadataOptions"]["InstanceMetadataTags"] == "enabled"
    assert metadata(cloud.state, node, "meta-data/tags/instance/Name") == "web"


def test_metadata_options_that_are_not_offered(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet, MetadataOptions={"HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "disabled"})
    for wrong in ({"HttpProtocolIpv6": "enabled"}, {"InstanceMetadataTags": "perhaps"}):
        cloud.refused("InvalidParameterValue", "ModifyInstanceMetadataOptions", InstanceId=node, **wrong)
    cloud.refused("MissingParameter", "ModifyInstanceMetadataOptions", InstanceId=node)


def test_status_of_instances(cloud: Cloud, subnet: str) -> None:
    one, other = cloud.node(subnet), cloud.node(subnet, name="node2")
    cloud.call("TerminateInstances", InstanceIds=[other])

    def status(**params: object) -> dict[str, str]:
        found = cloud.call("DescribeInstanceStatus", **params)["InstanceStatuses"]
        return {item["InstanceId"]: item["InstanceStatus"]["Status"] for item in found}

    assert status() == {one: "ok"}
    assert status(IncludeAllInstances=True) == {one: "ok", other: "not-applicable"}
    assert status(InstanceIds=[other], IncludeAllInstances=True) == {other: "not-applicable"}
    assert status(Filters=[{"Name": "instance-status.reachability", "Values": ["passed"]}]) == {one: "ok"}
    said = cloud.refused("InvalidParameterCombination", "DescribeInstanceStatus", InstanceIds=[one], MaxResults=5)
    assert said == "The parameter instancesSet cannot be used with the parameter maxResults"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("launch-index", "0"), ("launch-time", "2023-11-14T*"), ("owner-id", "111122223333"), ("tenancy", "default"),
        ("metadata-options.http-tokens", "optional"), ("metadata-options.http-put-response-hop-limit", "1"), ("architecture", "x86_64"),
        ("subnet-id", "subnet-*"), ("vpc-id", "vpc-*"), ("dns-name", "ec2-203-*"), ("ip-address", "203.0.113.1"), ("source-dest-check", "true"),
        ("instance.group-name", "default"), ("private-dns-name", "ip-10-10-0-4.*"), ("reservation-id", "r-*"),
    ],
)  # fmt: skip
def test_instances_by_every_filter(cloud: Cloud, subnet: str, name: str, value: str) -> None:
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    node = cloud.node(subnet)
    (launch,) = cloud.call("DescribeInstances", Filters=[{"Name": name, "Values": [value]}])["Reservations"]
    assert launch["Instances"][0]["InstanceId"] == node
    assert cloud.call("DescribeInstances", Filters=[{"Name": name, "Values": ["no"]}])["Reservations"] == []


# ---- instance types -------------------------------------------------------------------------------------------------------


def test_instance_types_by_wildcard_filter_and_page(cloud: Cloud) -> None:
    def names(**params: object) -> list[str]:
        return [one["InstanceType"] for one in cloud.call("DescribeInstanceTypes", **params)["InstanceTypes"]]

    assert set(names(Filters=[{"Name": "instance-type", "Values": ["t3.*"]}])) == set(names(InstanceTypes=["t3.*"])) != set()
    three = names(Filters=[{"Name": "instance-type", "Values": ["t3.*"]}, {"Name": "network-info.maximum-network-interfaces", "Values": ["2"]}])
    assert set(three) == {"t3.nano", "t3.micro"}
    assert "p5.48xlarge" in names(Filters=[{"Name": "network-info.maximum-network-cards", "Values": ["32"]}])
    seen: list[str] = []
    token: dict[str, object] = {}
    while True:
        answer = cloud.call("DescribeInstanceTypes", MaxResults=100, **token)
        seen += [one["InstanceType"] for one in answer["InstanceTypes"]]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert len(seen) == len(set(seen)) == 1391
    for size in (4, 101):
        cloud.refused("InvalidParameterValue", "DescribeInstanceTypes", MaxResults=size)
    cloud.refused("InvalidParameterCombination", "DescribeInstanceTypes", InstanceTypes=["t3.nano"], MaxResults=5)
    said = cloud.refused("InvalidInstanceType", "DescribeInstanceTypes", InstanceTypes=["t3.nano", "x.y", "a.*"])
    assert said == "The following supplied instance types do not exist: [x.y, a.*]"
