"""Objects by id, with EC2's words when they are not there (pure)."""

from __future__ import annotations

from labnet.ec2.rules.request import check_id
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, Instance, InternetGateway, SecurityGroup, Subnet, Vpc


def no_eni(eni_id: str) -> Ec2Error:
    """InvalidNetworkInterfaceID.NotFound."""
    return Ec2Error("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{eni_id}' does not exist")


def no_subnet(subnet_id: str) -> Ec2Error:
    """InvalidSubnetID.NotFound."""
    return Ec2Error("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")


def no_vpc(vpc_id: str) -> Ec2Error:
    """InvalidVpcID.NotFound."""
    return Ec2Error("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")


def no_instance(instance_id: str) -> Ec2Error:
    """InvalidInstanceID.NotFound."""
    return Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")


def no_group(group_id: str) -> Ec2Error:
    """InvalidGroup.NotFound."""
    return Ec2Error("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")


def no_gateway(gateway_id: str) -> Ec2Error:
    """InvalidInternetGatewayID.NotFound."""
    return Ec2Error("InvalidInternetGatewayID.NotFound", f"The internetGateway ID '{gateway_id}' does not exist")


def get_eni(state: CloudState, eni_id: str) -> Eni:
    """The ENI. Errors: Ec2Error."""
    check_id("eni", eni_id, "InvalidNetworkInterfaceId.Malformed")
    if eni_id not in state.enis:
        raise no_eni(eni_id)
    return state.enis[eni_id]


def get_subnet(state: CloudState, subnet_id: str) -> Subnet:
    """The subnet. Errors: Ec2Error."""
    if subnet_id not in state.subnets:
        raise no_subnet(subnet_id)
    return state.subnets[subnet_id]


def get_vpc(state: CloudState, vpc_id: str) -> Vpc:
    """The VPC. Errors: Ec2Error."""
    if vpc_id not in state.vpcs:
        raise no_vpc(vpc_id)
    return state.vpcs[vpc_id]


def get_instance(state: CloudState, instance_id: str) -> Instance:
    """The instance, terminated ones too. Errors: Ec2Error."""
    check_id("i", instance_id, "InvalidInstanceID.Malformed")
    if instance_id not in state.instances:
        raise no_instance(instance_id)
    return state.instances[instance_id]


def get_group(state: CloudState, group_id: str) -> SecurityGroup:
    """The security group. Errors: Ec2Error."""
    if group_id not in state.security_groups:
        raise no_group(group_id)
    return state.security_groups[group_id]


def get_gateway(state: CloudState, gateway_id: str) -> InternetGateway:
    """The internet gateway. Errors: Ec2Error."""
    if gateway_id not in state.internet_gateways:
        raise no_gateway(gateway_id)
    return state.internet_gateways[gateway_id]


def get_attached(state: CloudState, attachment_id: str) -> Eni:
    """The ENI of an attachment. Errors: Ec2Error."""
    for eni in state.enis.values():
        if eni.attachment is not None and eni.attachment.id == attachment_id:
            return eni
    raise Ec2Error("InvalidAttachmentID.NotFound", f"The network interface attachment ID '{attachment_id}' does not exist")
