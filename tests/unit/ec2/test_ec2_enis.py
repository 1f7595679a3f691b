"""ENIs and their addresses: what EC2 grants, and every refusal with its code and words."""

from __future__ import annotations

import pytest
from builders_ec2 import Cloud


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def subnet(cloud: Cloud) -> str:
    return cloud.subnet(cloud.vpc())


def addresses(cloud: Cloud, eni: str) -> list[str]:
    return [item.address for item in cloud.state.enis[eni].addresses]


def test_lowest_free_address_first_and_the_reserved_five_never(cloud: Cloud) -> None:
    tiny = cloud.subnet(cloud.vpc(), "10.10.9.0/28")
    assert cloud.free(tiny) == 11
    eni = cloud.interface(tiny, SecondaryPrivateIpAddressCount=10)
    assert addresses(cloud, eni) == [f"10.10.9.{n}" for n in range(4, 15)]
    assert cloud.free(tiny) == 0
    said = cloud.refused("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface", SubnetId=tiny)
    assert said == "The specified subnet does not have enough free addresses to satisfy the request."


def test_a_freed_address_is_the_next_one(cloud: Cloud, subnet: str) -> None:
    first, second = cloud.interface(subnet), cloud.interface(subnet)
    assert addresses(cloud, first) + addresses(cloud, second) == ["10.10.0.4", "10.10.0.5"]
    cloud.call("DeleteNetworkInterface", NetworkInterfaceId=first)
    assert addresses(cloud, cloud.interface(subnet)) == ["10.10.0.4"]


def test_attach_limit_counts_device_0(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet, "t3.small")
    for index in (1, 2):
        cloud.attach(cloud.interface(subnet), node, index)
    fourth = cloud.interface(subnet)
    said = cloud.refused("AttachmentLimitExceeded", "AttachNetworkInterface", NetworkInterfaceId=fourth, InstanceId=node, DeviceIndex=3)
    assert said == "Interface count 4 exceeds the limit for t3.small"


def test_attach_limit_holds_for_each_network_card(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet, "p5.48xlarge")
    cloud.attach(cloud.interface(subnet), node, 1, NetworkCardIndex=0)
    cloud.attach(cloud.interface(subnet), node, 1, NetworkCardIndex=1)
    one = cloud.interface(subnet)
    cloud.refused(
        "AttachmentLimitExceeded", "AttachNetworkInterface", NetworkInterfaceId=one, InstanceId=node, DeviceIndex=2, NetworkCardIndex=0,
    )
    said = cloud.refused(
        "InvalidParameterValue", "AttachNetworkInterface", NetworkInterfaceId=one, InstanceId=node, DeviceIndex=2, NetworkCardIndex=32
    )
    assert "32" in said


def test_a_taken_device_index(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)
    cloud.attach(cloud.interface(subnet), node, 1)
    other = cloud.interface(subnet)
    said = cloud.refused("InvalidParameterValue", "AttachNetworkInterface", NetworkInterfaceId=other, InstanceId=node, DeviceIndex=1)
    assert said == f"Instance '{node}' already has an interface attached at device index '1'."


def test_an_eni_in_use_is_neither_attached_again_nor_deleted(cloud: Cloud, subnet: str) -> None:
    node, other = cloud.node(subnet), cloud.node(subnet, name="node2")
    eni = cloud.interface(subnet)
    cloud.attach(eni, node)
    said = cloud.refused("InvalidNetworkInterface.InUse", "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId=other, DeviceIndex=1)
    assert said == f"Interface: [{eni}] in use."
    said = cloud.refused("InvalidParameterValue", "DeleteNetworkInterface", NetworkInterfaceId=eni)
    assert said == f"Network interface '{eni}' is currently in use."


def test_an_eni_of_another_zone_or_vpc_cannot_be_attached(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    node = cloud.node(cloud.subnet(vpc))
    away = cloud.interface(cloud.subnet(vpc, "10.10.32.0/24", "us-west-2b"))
    cloud.refused("InvalidParameterValue", "AttachNetworkInterface", NetworkInterfaceId=away, InstanceId=node, DeviceIndex=1)
    foreign = cloud.interface(cloud.subnet(cloud.vpc("10.20.0.0/16", "second"), "10.20.0.0/24"))
    cloud.refused("InvalidParameterValue", "AttachNetworkInterface", NetworkInterfaceId=foreign, InstanceId=node, DeviceIndex=1)


def test_device_0_stays(cloud: Cloud, subnet: str) -> None:
    at = cloud.primary(cloud.node(subnet)).attachment
    assert at is not None
    said = cloud.refused("OperationNotPermitted", "DetachNetworkInterface", AttachmentId=at.id)
    assert said == "The network interface at device index 0 and networkCard index 0 cannot be detached."


def test_detach_then_delete_frees_the_addresses(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)
    free = cloud.free(subnet)
    eni = cloud.interface(subnet, SecondaryPrivateIpAddressCount=3)
    attachment = cloud.attach(eni, node)
    assert cloud.free(subnet) == free - 4
    cloud.call("DetachNetworkInterface", AttachmentId=attachment)
    assert cloud.state.enis[eni].attachment is None
    cloud.refused("InvalidAttachmentID.NotFound", "DetachNetworkInterface", AttachmentId=attachment)
    cloud.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    assert cloud.free(subnet) == free
    said = cloud.refused("InvalidNetworkInterfaceID.NotFound", "DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])
    assert said == f"The networkInterface ID '{eni}' does not exist"


def test_reattached_it_has_a_new_attachment(cloud: Cloud, subnet: str) -> None:
    node, eni = cloud.node(subnet), cloud.interface(subnet)
    first = cloud.attach(eni, node)
    cloud.call("DetachNetworkInterface", AttachmentId=first)
    assert cloud.attach(eni, node) != first


def test_assigning_up_to_the_limit_of_the_type(cloud: Cloud, subnet: str) -> None:
    eni = cloud.primary(cloud.node(subnet, "t3.small")).id  # four addresses an ENI, the primary one too
    answer = cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    assert [one["PrivateIpAddress"] for one in answer["AssignedPrivateIpAddresses"]] == ["10.10.0.5", "10.10.0.6"]
    said = cloud.refused("PrivateIpAddressLimitExceeded", "AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    assert said == "Number of private addresses will exceed limit."
    cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1)


def test_a_prefix_counts_as_one_address_and_takes_sixteen(cloud: Cloud, subnet: str) -> None:
    eni = cloud.primary(cloud.node(subnet, "t3.small")).id
    free = cloud.free(subnet)
    answer = cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=3)
    assert [one["Ipv4Prefix"] for one in answer["AssignedIpv4Prefixes"]] == ["10.10.0.16/28", "10.10.0.32/28", "10.10.0.48/28"]
    assert cloud.free(subnet) == free - 48
    cloud.refused("PrivateIpAddressLimitExceeded", "AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    cloud.call("UnassignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4Prefixes=["10.10.0.32/28"])
    assert cloud.free(subnet) == free - 32


def test_prefixes_must_be_aligned_free_and_of_the_subnet(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    for wrong in ("10.10.0.24/28", "10.10.0.32/27", "10.11.0.0/28", "10.10.0.32", "nonsense"):
        cloud.refused("InvalidParameterValue", "AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4Prefixes=[wrong])
    cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4Prefixes=["10.10.0.64/28"])
    other = cloud.interface(subnet)
    cloud.refused("InvalidIPAddress.InUse", "AssignPrivateIpAddresses", NetworkInterfaceId=other, Ipv4Prefixes=["10.10.0.64/28"])
    cloud.refused("InvalidIPAddress.InUse", "AssignPrivateIpAddresses", NetworkInterfaceId=other, PrivateIpAddresses=["10.10.0.70"])


def test_no_free_aligned_block(cloud: Cloud) -> None:
    small = cloud.subnet(cloud.vpc(), "10.10.8.0/27")  # the first and the last block hold reserved addresses
    eni = cloud.interface(small)
    said = cloud.refused("InsufficientCidrBlocks", "AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    assert said == "The specified subnet does not have enough free cidr blocks to satisfy the request."


def test_an_address_that_the_caller_names(cloud: Cloud, subnet: str) -> None:
    one, other = cloud.interface(subnet, PrivateIpAddress="10.10.0.77"), cloud.interface(subnet)
    assert addresses(cloud, one) == ["10.10.0.77"]
    said = cloud.refused("InvalidIPAddress.InUse", "AssignPrivateIpAddresses", NetworkInterfaceId=other, PrivateIpAddresses=["10.10.0.77"])
    assert said == "Address 10.10.0.77 is in use."
    said = cloud.refused("InvalidParameterValue", "AssignPrivateIpAddresses", NetworkInterfaceId=other, PrivateIpAddresses=["10.99.0.1"])
    assert said == "invalid value for parameter address: 10.99.0.1"
    for reserved in ("10.10.0.0", "10.10.0.1", "10.10.0.2", "10.10.0.3", "10.10.0.255"):
        said = cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress=reserved)
        assert said == f"Address {reserved} is in subnet's reserved address range"
    for twice in (["10.10.0.80", "10.10.0.80"],):
        with pytest.raises(Exception, match=r"10\.10\.0\.80"):
            cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=other, PrivateIpAddresses=twice)


def test_only_own_secondary_addresses_can_be_unassigned(cloud: Cloud, subnet: str) -> None:
    one = cloud.interface(subnet, SecondaryPrivateIpAddressCount=1)
    other = cloud.interface(subnet)
    for wrong in (addresses(cloud, other), addresses(cloud, one)[:1], ["10.10.0.200"], [addresses(cloud, one)[1], "10.10.0.200"]):
        said = cloud.refused("InvalidParameterValue", "UnassignPrivateIpAddresses", NetworkInterfaceId=one, PrivateIpAddresses=wrong)
        assert said == f"Some of the specified addresses are not assigned to interface {one}"
    cloud.call("UnassignPrivateIpAddresses", NetworkInterfaceId=one, PrivateIpAddresses=addresses(cloud, one)[1:])
    assert len(addresses(cloud, one)) == 1


def test_reassignment_moves_a_secondary_address_and_never_a_primary_one(cloud: Cloud, subnet: str) -> None:
    one, other = cloud.interface(subnet, SecondaryPrivateIpAddressCount=2), cloud.interface(subnet)
    primary, moving, staying = addresses(cloud, one)
    free = cloud.free(subnet)
    cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=other, PrivateIpAddresses=[moving], AllowReassignment=True)
    assert addresses(cloud, one) == [primary, staying]
    assert addresses(cloud, other)[1:] == [moving]
    assert cloud.free(subnet) == free
    cloud.refused(
        "InvalidIPAddress.InUse", "AssignPrivateIpAddresses", NetworkInterfaceId=other, PrivateIpAddresses=[primary], AllowReassignment=True,
    )


def test_assigning_an_address_that_the_eni_has_already(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet, SecondaryPrivateIpAddressCount=1)
    again = addresses(cloud, eni)[1]
    before = cloud.state.enis[eni]
    cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddresses=[again], AllowReassignment=True)
    assert cloud.state.enis[eni].addresses == before.addresses


def test_zero_and_negative_counts(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    for count in (0, -1):
        with pytest.raises(Exception, match=r"count|must be given"):
            cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=count)
    cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, SecondaryPrivateIpAddressCount=-1)
    cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, Ipv4PrefixCount=-1)


def test_creating_with_addresses_prefixes_groups_and_tags(cloud: Cloud, subnet: str) -> None:
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "node.k8s.amazonaws.com/instance_id", "Value": "i-1"}]}]
    answer = cloud.call(
        "CreateNetworkInterface", SubnetId=subnet, Description="aws-K8S-i-1", Ipv4PrefixCount=1, TagSpecifications=tags, ClientToken="t"
    )["NetworkInterface"]
    assert answer["Description"] == "aws-K8S-i-1"
    assert answer["TagSet"] == [{"Key": "node.k8s.amazonaws.com/instance_id", "Value": "i-1"}]
    assert answer["Ipv4Prefixes"] == [{"Ipv4Prefix": "10.10.0.16/28"}]
    assert answer["Groups"][0]["GroupName"] == "default"
    assert answer["Status"] == "available"
    again = cloud.call(
        "CreateNetworkInterface", SubnetId=subnet, Description="aws-K8S-i-1", Ipv4PrefixCount=1, TagSpecifications=tags, ClientToken="t",
    )
    assert again["NetworkInterface"]["NetworkInterfaceId"] == answer["NetworkInterfaceId"]
    assert len(cloud.state.enis) == 1


def test_a_client_token_with_other_parameters_is_a_mistake(cloud: Cloud, subnet: str) -> None:
    cloud.interface(subnet, ClientToken="t", Description="one")
    cloud.refused("IdempotentParameterMismatch", "CreateNetworkInterface", SubnetId=subnet, ClientToken="t", Description="two")


def test_listed_addresses_with_one_primary(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(
        subnet, PrivateIpAddresses=[{"PrivateIpAddress": "10.10.0.9"}, {"PrivateIpAddress": "10.10.0.8", "Primary": True}]
    )
    assert addresses(cloud, eni) == ["10.10.0.8", "10.10.0.9"]
    two = [{"PrivateIpAddress": "10.10.0.20", "Primary": True}, {"PrivateIpAddress": "10.10.0.21", "Primary": True}]
    cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, PrivateIpAddresses=two)


def test_an_eni_too_full_for_a_type_is_not_attached(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet, "t3.small")
    eni = cloud.interface(subnet, SecondaryPrivateIpAddressCount=4)
    cloud.refused("PrivateIpAddressLimitExceeded", "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId=node, DeviceIndex=1)


def test_malformed_and_unknown_ids(cloud: Cloud, subnet: str) -> None:
    said = cloud.refused("InvalidNetworkInterfaceId.Malformed", "DeleteNetworkInterface", NetworkInterfaceId="x")
    assert said == 'Invalid id: "x" (expecting "eni-...")'
    said = cloud.refused("InvalidNetworkInterfaceId.Malformed", "DescribeNetworkInterfaces", NetworkInterfaceIds=["x"])
    missing = "eni-0123456789abcdef0"
    said = cloud.refused(
        "InvalidNetworkInterfaceID.NotFound", "DescribeNetworkInterfaces", NetworkInterfaceIds=[missing, "eni-11111111111111111"],
    )
    assert said == f"The networkInterface ID '{missing}' does not exist"
    said = cloud.refused("InvalidSubnetID.NotFound", "CreateNetworkInterface", SubnetId="subnet-0123456789abcdef0")
    assert said == "The subnet ID 'subnet-0123456789abcdef0' does not exist"
    eni = cloud.interface(subnet)
    said = cloud.refused(
        "InvalidInstanceID.NotFound", "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId="i-0123456789abcdef0", DeviceIndex=1
    )
    assert said == "The instance ID 'i-0123456789abcdef0' does not exist"


def test_modify_one_attribute_at_a_time(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    node = cloud.node(subnet)
    eni = cloud.interface(subnet)
    attachment = cloud.attach(eni, node)
    group = cloud.call("CreateSecurityGroup", GroupName="web", Description="d", VpcId=vpc)["GroupId"]
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, Groups=[group])
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, Description={"Value": "d"})
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    shown = cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
    assert [one["GroupId"] for one in shown["Groups"]] == [group]
    assert (shown["SourceDestCheck"], shown["Description"], shown["Attachment"]["DeleteOnTermination"]) == (False, "d", True)
    cloud.refused("InvalidParameterCombination", "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni)
    cloud.refused(
        "InvalidAttachmentID.NotFound", "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni,
        Attachment={"AttachmentId": "eni-attach-0123456789abcdef0", "DeleteOnTermination": True},
    )


def test_five_groups_an_eni_at_most(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    groups = [cloud.call("CreateSecurityGroup", GroupName=f"g{n}", Description="d", VpcId=vpc)["GroupId"] for n in range(6)]
    said = cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, Groups=groups)
    assert said == "user 111122223333 exceeded limit 5 on the number of interface security group memberships"
    eni = cloud.interface(subnet, Groups=groups[:5])
    said = cloud.refused("SecurityGroupsPerInterfaceLimitExceeded", "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, Groups=groups)
    assert said == "The maximum number of security groups per interface has been reached."


def test_filters_wildcards_tags_and_pages(cloud: Cloud, subnet: str) -> None:
    node = cloud.node(subnet)
    made = [
        cloud.interface(
            subnet, Description=f"aws-K8S-{n}",
            TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "n", "Value": str(n % 2)}]}],
        )
        for n in range(12)
    ]
    cloud.attach(made[0], node)

    def ids(**params: object) -> list[str]:
        return [one["NetworkInterfaceId"] for one in cloud.call("DescribeNetworkInterfaces", **params)["NetworkInterfaces"]]

    def only(name: str, *values: str) -> list[str]:
        return ids(Filters=[{"Name": name, "Values": list(values)}])

    assert only("attachment.instance-id", node) == [cloud.primary(node).id, made[0]]
    assert only("description", "aws-K8S-1*") == [made[1], made[10], made[11]]
    assert only("description", "aws-K8S-?0") == [made[10]]
    assert only("tag:n", "1") == made[1::2]
    assert only("tag-key", "n") == made
    assert only("tag-value", "0") == made[0::2]
    assert only("status", "in-use") == [cloud.primary(node).id, made[0]]
    assert only("addresses.private-ip-address", "10.10.0.5") == [made[0]]
    assert only("network-interface-id", made[3], made[4]) == made[3:5]
    assert ids(Filters=[{"Name": "tag:n", "Values": ["1"]}, {"Name": "description", "Values": ["aws-K8S-1*"]}]) == [made[1], made[11]]
    said = cloud.refused("InvalidParameterValue", "DescribeNetworkInterfaces", Filters=[{"Name": "colour", "Values": ["red"]}])
    assert "colour" in said

    first = cloud.call("DescribeNetworkInterfaces", MaxResults=5)
    second = cloud.call("DescribeNetworkInterfaces", MaxResults=5, NextToken=first["NextToken"])
    third = cloud.call("DescribeNetworkInterfaces", MaxResults=5, NextToken=second["NextToken"])
    seen = [one["NetworkInterfaceId"] for part in (first, second, third) for one in part["NetworkInterfaces"]]
    assert seen == [cloud.primary(node).id, *made] and "NextToken" not in third
    cloud.refused("InvalidParameterValue", "DescribeNetworkInterfaces", MaxResults=4)
    cloud.refused("InvalidNextToken", "DescribeNetworkInterfaces", NextToken="bogus")
