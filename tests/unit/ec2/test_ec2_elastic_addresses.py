"""Elastic IPs: where they are, what they replace, whom they belong to, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud

from labnet.fabric.gateway import plan_public
from labnet.model.netstate import NftElement


class Net:
    """A VPC with a gateway and a public subnet."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.subnet = self.cloud.subnet(self.vpc)
        self.cloud.call("ModifySubnetAttribute", SubnetId=self.subnet, MapPublicIpOnLaunch={"Value": True})
        self.gateway = self.cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self.cloud.call("AttachInternetGateway", InternetGatewayId=self.gateway, VpcId=self.vpc)

    def allocate(self) -> tuple[str, str]:
        made = self.cloud.call("AllocateAddress", Domain="vpc")
        return made["AllocationId"], made["PublicIp"]

    def associate(self, allocation: str, **place: Any) -> str:
        return str(self.cloud.call("AssociateAddress", AllocationId=allocation, **place)["AssociationId"])

    def address(self, allocation: str) -> dict[str, Any]:
        (shown,) = self.cloud.call("DescribeAddresses", AllocationIds=[allocation])["Addresses"]
        return dict(shown)

    def interface(self, eni: str) -> dict[str, Any]:
        (shown,) = self.cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])["NetworkInterfaces"]
        return dict(shown)


@pytest.fixture
def net() -> Net:
    return Net()


def test_an_elastic_ip_takes_the_place_of_the_launchs_and_gives_it_back(net: Net) -> None:
    node = net.cloud.node(net.subnet)
    eni = net.cloud.primary(node).id
    automatic = net.interface(eni)["Association"]
    assert automatic["IpOwnerId"] == "amazon" and "AllocationId" not in automatic
    allocation, public = net.allocate()
    association = net.associate(allocation, InstanceId=node)
    shown = net.interface(eni)["Association"]
    assert (shown["PublicIp"], shown["AllocationId"], shown["AssociationId"]) == (public, allocation, association)
    assert shown["IpOwnerId"] == "111122223333" and association.startswith("eipassoc-")
    assert automatic["PublicIp"] not in net.cloud.state.public_taken
    (instance,) = net.cloud.call("DescribeInstances", InstanceIds=[node])["Reservations"][0]["Instances"]
    assert instance["PublicIpAddress"] == public and instance["NetworkInterfaces"][0]["Association"]["IpOwnerId"] == "111122223333"
    at = net.address(allocation)
    assert (at["InstanceId"], at["NetworkInterfaceId"], at["PrivateIpAddress"]) == (node, eni, net.cloud.primary(node).primary)
    net.cloud.call("DisassociateAddress", AssociationId=association)
    assert net.interface(eni)["Association"]["IpOwnerId"] == "amazon"
    assert "AssociationId" not in net.address(allocation) and "InstanceId" not in net.address(allocation)


def test_an_instance_with_two_enis_gets_no_other_public_address(net: Net) -> None:
    node = net.cloud.node(net.subnet)
    allocation, _ = net.allocate()
    association = net.associate(allocation, InstanceId=node)
    net.cloud.attach(net.cloud.interface(net.subnet), node)
    net.cloud.call("DisassociateAddress", AssociationId=association)
    assert "Association" not in net.interface(net.cloud.primary(node).id)


def test_the_fabric_translates_what_is_associated(net: Net) -> None:
    eni = net.cloud.interface(net.subnet, SecondaryPrivateIpAddressCount=1)
    allocation, public = net.allocate()
    second = net.cloud.state.enis[eni].addresses[1].address
    net.associate(allocation, NetworkInterfaceId=eni, PrivateIpAddress=second)
    objects = [item for _, part in plan_public(net.cloud.state, eni) for item in part.objects]
    elements = {item.fields: item.value for item in objects if isinstance(item, NftElement)}
    assert elements == {(public,): second, (second,): public}
    net.cloud.call("DisassociateAddress", PublicIp=public)
    assert plan_public(net.cloud.state, eni) == ()


def test_the_same_again_is_no_error_and_another_place_needs_a_word(net: Net) -> None:
    one, other = net.cloud.interface(net.subnet), net.cloud.interface(net.subnet)
    allocation, public = net.allocate()
    association = net.associate(allocation, NetworkInterfaceId=one)
    assert net.associate(allocation, NetworkInterfaceId=one) == association
    said = net.cloud.refused("Resource.AlreadyAssociated", "AssociateAddress", AllocationId=allocation, NetworkInterfaceId=other)
    assert said == f"resource {allocation} is already associated with associate-id {association}"
    moved = net.associate(allocation, NetworkInterfaceId=other, AllowReassociation=True)
    assert moved != association and "Association" not in net.interface(one)
    assert net.interface(other)["Association"]["PublicIp"] == public
    second, _ = net.allocate()
    call = {"AllocationId": second, "NetworkInterfaceId": other, "AllowReassociation": True}
    assert public in net.cloud.refused("Resource.AlreadyAssociated", "AssociateAddress", **call)


def test_an_eni_that_goes_leaves_its_elastic_ip(net: Net) -> None:
    eni, node = net.cloud.interface(net.subnet), net.cloud.node(net.subnet)
    first, kept = net.allocate()
    second, other = net.allocate()
    net.associate(first, NetworkInterfaceId=eni)
    net.associate(second, InstanceId=node)
    net.cloud.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    net.cloud.call("TerminateInstances", InstanceIds=[node])
    assert "AssociationId" not in net.address(first) and "AssociationId" not in net.address(second)
    assert {kept, other} == net.cloud.state.public_taken
    for one in (first, second):
        net.cloud.call("ReleaseAddress", AllocationId=one)
    assert not net.cloud.state.public_taken


def test_an_eni_that_outlives_its_instance_keeps_its_elastic_ip(net: Net) -> None:
    node, eni = net.cloud.node(net.subnet), net.cloud.interface(net.subnet)
    net.cloud.attach(eni, node)
    allocation, public = net.allocate()
    net.associate(allocation, NetworkInterfaceId=eni)
    assert net.address(allocation)["InstanceId"] == node
    net.cloud.call("TerminateInstances", InstanceIds=[node])
    assert net.interface(eni)["Association"]["PublicIp"] == public and "InstanceId" not in net.address(allocation)


def test_a_private_address_that_goes_leaves_its_elastic_ip(net: Net) -> None:
    eni = net.cloud.interface(net.subnet, SecondaryPrivateIpAddressCount=1)
    second = net.cloud.state.enis[eni].addresses[1].address
    allocation, public = net.allocate()
    net.associate(allocation, NetworkInterfaceId=eni, PrivateIpAddress=second)
    net.cloud.call("UnassignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddresses=[second])
    assert "AssociationId" not in net.address(allocation) and public in net.cloud.state.public_taken


def test_five_a_region_and_never_the_same_twice(net: Net) -> None:
    made = [net.allocate() for _ in range(5)]
    assert len({public for _, public in made}) == 5
    assert net.cloud.refused("AddressLimitExceeded", "AllocateAddress") == "The maximum number of addresses has been reached."
    net.cloud.call("ReleaseAddress", AllocationId=made[0][0])
    assert net.allocate()[1] == made[0][1]


def test_an_address_in_use_is_not_released(net: Net) -> None:
    allocation, public = net.allocate()
    association = net.associate(allocation, NetworkInterfaceId=net.cloud.interface(net.subnet))
    said = net.cloud.refused("InvalidIPAddress.InUse", "ReleaseAddress", AllocationId=allocation)
    assert said == f"Address {public} is in use."
    net.cloud.refused("DependencyViolation", "DetachInternetGateway", InternetGatewayId=net.gateway, VpcId=net.vpc)
    net.cloud.call("DisassociateAddress", AssociationId=association)
    net.cloud.call("DetachInternetGateway", InternetGatewayId=net.gateway, VpcId=net.vpc)
    net.cloud.call("ReleaseAddress", AllocationId=allocation)


def test_what_is_not_there_and_what_does_not_fit(net: Net) -> None:
    allocation, _ = net.allocate()
    eni, node = net.cloud.interface(net.subnet), net.cloud.node(net.subnet)
    gone = "eipalloc-0123456789abcdef0"
    for code, name, call in (
        ("InvalidAllocationID.NotFound", "AssociateAddress", {"AllocationId": gone, "NetworkInterfaceId": eni}),
        ("InvalidAllocationID.NotFound", "ReleaseAddress", {"AllocationId": gone}),
        ("InvalidAllocationID.NotFound", "DescribeAddresses", {"AllocationIds": [gone]}),
        ("InvalidAddress.NotFound", "DescribeAddresses", {"PublicIps": ["9.9.9.9"]}),
        ("InvalidAddress.NotFound", "AssociateAddress", {"PublicIp": "9.9.9.9", "NetworkInterfaceId": eni}),
        ("InvalidAssociationID.NotFound", "DisassociateAddress", {"AssociationId": "eipassoc-0123456789abcdef0"}),
        ("InvalidParameterCombination", "DisassociateAddress", {}),
        ("InvalidParameterCombination", "AssociateAddress", {"AllocationId": allocation}),
        ("InvalidParameterCombination", "AssociateAddress", {"AllocationId": allocation, "NetworkInterfaceId": eni, "InstanceId": node}),
        ("InvalidParameterValue", "AssociateAddress", {"AllocationId": allocation, "InstanceId": node, "PrivateIpAddress": "10.10.0.99"}),
        ("InvalidParameterValue", "AllocateAddress", {"Domain": "standard"}),
        ("InvalidParameterValue", "AllocateAddress", {"NetworkBorderGroup": "us-east-1"}),
        ("InvalidPublicIpv4PoolID.NotFound", "AllocateAddress", {"PublicIpv4Pool": "ipv4pool-ec2-0123456789abcdef0"}),
        ("MissingParameter", "ReleaseAddress", {}),
        ("InvalidParameterValue", "ReleaseAddress", {"PublicIp": "9.9.9.9"}),
    ):
        net.cloud.refused(code, name, **call)
    net.cloud.attach(eni, node)
    said = net.cloud.refused("InvalidInstanceID", "AssociateAddress", AllocationId=allocation, InstanceId=node)
    assert said.startswith("There are multiple interfaces attached to instance")


def test_a_vpc_without_gateway_takes_no_elastic_ip(net: Net) -> None:
    other = net.cloud.vpc("10.20.0.0/16", "other")
    eni = net.cloud.interface(net.cloud.subnet(other, "10.20.0.0/24"))
    said = net.cloud.refused("Gateway.NotAttached", "AssociateAddress", AllocationId=net.allocate()[0], NetworkInterfaceId=eni)
    assert said == f"Network {other} is not attached to any internet gateway"


def test_addresses_are_found_by_their_filters(net: Net) -> None:
    node = net.cloud.node(net.subnet)
    one, public = net.allocate()
    net.allocate()
    association = net.associate(one, InstanceId=node)
    for name, value in (
        ("instance-id", node), ("association-id", association), ("public-ip", public), ("allocation-id", one),
        ("network-interface-id", net.cloud.primary(node).id), ("private-ip-address", net.cloud.primary(node).primary),
        ("network-interface-owner-id", "111122223333"),
    ):
        found = net.cloud.call("DescribeAddresses", Filters=[{"Name": name, "Values": [value]}])["Addresses"]
        assert [item["AllocationId"] for item in found] == [one], name
    assert [item["PublicIp"] for item in net.cloud.call("DescribeAddresses", PublicIps=[public])["Addresses"]] == [public]
    assert len(net.cloud.call("DescribeAddresses", Filters=[{"Name": "domain", "Values": ["vpc"]}])["Addresses"]) == 2
