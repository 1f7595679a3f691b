"""NAT gateways: their ENI and address, how they fail, what they leave behind."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud


class Net:
    """A VPC with a gateway and a subnet with eleven addresses."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.subnet = self.cloud.subnet(self.vpc, "10.10.0.0/28")
        self.gateway = self.cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self.cloud.call("AttachInternetGateway", InternetGatewayId=self.gateway, VpcId=self.vpc)

    def allocate(self) -> str:
        return str(self.cloud.call("AllocateAddress")["AllocationId"])

    def create(self, **more: Any) -> str:
        made = self.cloud.call("CreateNatGateway", SubnetId=self.subnet, **more)["NatGateway"]
        assert made["State"] == "pending" and "FailureCode" not in made
        return str(made["NatGatewayId"])

    def nat(self, nat: str) -> dict[str, Any]:
        (shown,) = self.cloud.call("DescribeNatGateways", NatGatewayIds=[nat])["NatGateways"]
        return dict(shown)


@pytest.fixture
def net() -> Net:
    return Net()


def test_a_public_gateway_has_an_eni_of_the_service_with_the_elastic_ip(net: Net) -> None:
    allocation = net.allocate()
    nat = net.create(AllocationId=allocation, PrivateIpAddress="10.10.0.9")
    shown = net.nat(nat)
    (address,) = shown["NatGatewayAddresses"]
    assert (shown["State"], shown["ConnectivityType"], address["PrivateIp"]) == ("available", "public", "10.10.0.9")
    assert net.cloud.free(net.subnet) == 10
    (eni,) = net.cloud.call("DescribeNetworkInterfaces", Filters=[{"Name": "interface-type", "Values": ["nat_gateway"]}])["NetworkInterfaces"]
    assert (eni["NetworkInterfaceId"], eni["Description"]) == (address["NetworkInterfaceId"], f"Interface for NAT Gateway {nat}")
    assert (eni["Status"], eni["RequesterManaged"], eni["Groups"]) == ("in-use", True, [])
    assert eni["Attachment"]["InstanceOwnerId"] == "amazon-aws" and "InstanceId" not in eni["Attachment"]
    assert eni["Association"]["AllocationId"] == allocation == address["AllocationId"]
    (elastic,) = net.cloud.call("DescribeAddresses")["Addresses"]
    assert elastic["AssociationId"] == address["AssociationId"] and "InstanceId" not in elastic


def test_the_services_eni_is_not_for_the_account_to_change(net: Net) -> None:
    allocation = net.allocate()
    nat = net.create(AllocationId=allocation)
    (address,) = net.nat(nat)["NatGatewayAddresses"]
    eni = address["NetworkInterfaceId"]
    attachment = net.cloud.state.enis[eni].attachment
    assert attachment is not None
    node = net.cloud.node(net.subnet)
    for name, call in (
        ("AttachNetworkInterface", {"NetworkInterfaceId": eni, "InstanceId": node, "DeviceIndex": 1}),
        ("DetachNetworkInterface", {"AttachmentId": attachment.id}),
        ("AssignPrivateIpAddresses", {"NetworkInterfaceId": eni, "SecondaryPrivateIpAddressCount": 1}),
        ("ModifyNetworkInterfaceAttribute", {"NetworkInterfaceId": eni, "SourceDestCheck": {"Value": False}}),
        ("DisassociateAddress", {"AssociationId": address["AssociationId"]}),
        ("ReleaseAddress", {"AllocationId": allocation}),
        ("AssociateAddress", {"AllocationId": net.allocate(), "NetworkInterfaceId": eni}),
    ):
        said = net.cloud.refused("AuthFailure", name, **call)
        assert said == "You do not have permission to access the specified resource."
    net.cloud.refused("InvalidParameterValue", "DeleteNetworkInterface", NetworkInterfaceId=eni)
    net.cloud.refused("DependencyViolation", "DeleteSubnet", SubnetId=net.subnet)


def test_a_deleted_gateway_gives_back_address_and_elastic_ip_and_leaves_blackholes(net: Net) -> None:
    allocation = net.allocate()
    nat = net.create(AllocationId=allocation)
    (table,) = net.cloud.call("DescribeRouteTables")["RouteTables"]
    net.cloud.call("CreateRoute", RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)

    def states() -> list[str]:
        return [route["State"] for route in net.cloud.call("DescribeRouteTables")["RouteTables"][0]["Routes"]]

    assert states() == ["active", "active"]
    assert net.cloud.call("DeleteNatGateway", NatGatewayId=nat) == {"NatGatewayId": nat}
    assert states() == ["active", "blackhole"]
    assert net.nat(nat)["State"] == "deleted" and "DeleteTime" in net.nat(nat)
    assert net.cloud.free(net.subnet) == 11 and not net.cloud.state.enis
    net.cloud.call("ReleaseAddress", AllocationId=allocation)
    before = net.cloud.state
    net.cloud.call("DeleteNatGateway", NatGatewayId=nat)
    assert net.cloud.state is before
    net.cloud.now_s += 3_600
    assert net.cloud.call("DescribeNatGateways")["NatGateways"] == []
    net.cloud.refused(
        "InvalidNatGatewayID.NotFound", "CreateRoute", RouteTableId=table["RouteTableId"], DestinationCidrBlock="1.0.0.0/8", NatGatewayId=nat
    )


def test_a_private_gateway_needs_neither_gateway_nor_elastic_ip(net: Net) -> None:
    net.cloud.call("DetachInternetGateway", InternetGatewayId=net.gateway, VpcId=net.vpc)
    shown = net.nat(net.create(ConnectivityType="private"))
    assert (shown["State"], shown["ConnectivityType"]) == ("available", "private")
    assert "PublicIp" not in shown["NatGatewayAddresses"][0]


def test_what_fails_after_the_request_is_told_by_the_state(net: Net) -> None:
    allocation = net.allocate()
    net.create(AllocationId=allocation)
    failed = net.nat(net.create(AllocationId=allocation))
    assert (failed["State"], failed["FailureCode"]) == ("failed", "Resource.AlreadyAssociated")
    assert failed["FailureMessage"] == f"Elastic IP address [{allocation}] is already associated"
    other = net.allocate()
    for _ in range(10):
        net.cloud.interface(net.subnet)
    full = net.nat(net.create(AllocationId=other))
    assert (full["FailureCode"], full["NatGatewayAddresses"][0]["Status"]) == ("InsufficientFreeAddressesInSubnet", "failed")
    assert len(net.cloud.state.enis) == 11
    lonely = net.cloud.subnet(net.cloud.vpc("10.20.0.0/16", "lonely"), "10.20.0.0/24")
    made = net.cloud.call("CreateNatGateway", SubnetId=lonely, AllocationId=other)["NatGateway"]
    shown = net.nat(made["NatGatewayId"])
    assert (shown["FailureCode"], shown["FailureMessage"]) == (
        "Gateway.NotAttached", f"Network {net.cloud.state.subnets[lonely].vpc_id} has no Internet gateway attached"
    )
    net.cloud.call("DeleteNatGateway", NatGatewayId=made["NatGatewayId"])
    assert net.nat(made["NatGatewayId"])["State"] == "deleted"


def test_what_ec2_refuses_at_once(net: Net) -> None:
    allocation = net.allocate()
    for code, call in (
        ("MissingParameter", {}),
        ("InvalidParameterCombination", {"AllocationId": allocation, "ConnectivityType": "private"}),
        ("InvalidParameterValue", {"AllocationId": allocation, "ConnectivityType": "both"}),
        ("InvalidAllocationID.NotFound", {"AllocationId": "eipalloc-0123456789abcdef0"}),
        ("InvalidParameterValue", {"AllocationId": allocation, "PrivateIpAddress": "10.10.0.1"}),
        ("UnknownParameter", {"AllocationId": allocation, "SecondaryPrivateIpAddressCount": 1}),
    ):
        net.cloud.refused(code, "CreateNatGateway", SubnetId=net.subnet, **call)
    net.cloud.refused("InvalidSubnetID.NotFound", "CreateNatGateway", SubnetId="subnet-0123456789abcdef0", AllocationId=allocation)
    net.cloud.refused("NatGatewayNotFound", "DeleteNatGateway", NatGatewayId="nat-0123456789abcdef0")
    net.cloud.refused("NatGatewayMalformed", "DescribeNatGateways", NatGatewayIds=["nat-x"])


def test_five_a_zone(net: Net) -> None:
    for _ in range(5):
        net.create(ConnectivityType="private")
    net.cloud.refused("NatGatewayLimitExceeded", "CreateNatGateway", SubnetId=net.subnet, ConnectivityType="private")
    other = net.cloud.subnet(net.vpc, "10.10.1.0/28", "us-west-2b")
    net.cloud.call("CreateNatGateway", SubnetId=other, ConnectivityType="private")
    filters = [{"Name": "subnet-id", "Values": [net.subnet]}, {"Name": "state", "Values": ["avail*"]}]
    found = net.cloud.call("DescribeNatGateways", Filter=filters)
    assert len(found["NatGateways"]) == 5


def test_a_client_token_makes_one_gateway(net: Net) -> None:
    one, again = (net.create(ConnectivityType="private", ClientToken="t") for _ in range(2))
    assert one == again and len(net.cloud.state.enis) == 1
    net.cloud.refused("IdempotentParameterMismatch", "CreateNatGateway", SubnetId=net.subnet, AllocationId=net.allocate(), ClientToken="t")
