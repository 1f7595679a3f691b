"""Objects by id, with EC2's words when they are not there (pure)."""

from __future__ import annotations

from labnet.ec2.rules.request import is_id
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, Instance, InternetGateway, SecurityGroup, Subnet, Vpc


def _missing(text: str, prefix: str, malformed: str, code: str, message: str) -> Ec2Error:
    """The refusal of an id that is not there: malformed where it cannot be an id at all."""
    if not is_id(prefix, text):
        return Ec2Error(malformed, f'Invalid id: "{text}" (expecting "{prefix}-...")')
    return Ec2Error(code, message)


def no_eni(eni_id: str) -> Ec2Error:
    """InvalidNetworkInterfaceID.NotFound."""
    code, text = "InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{eni_id}' does not exist"
    return _missing(eni_id, "eni", "InvalidNetworkInterfaceId.Malformed", code, text)


def no_subnet(subnet_id: str) -> Ec2Error:
    """InvalidSubnetID.NotFound."""
    return Ec2Error("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")


def no_vpc(vpc_id: str) -> Ec2Error:
    """InvalidVpcID.NotFound."""
    return Ec2Error("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")


def no_instance(instance_id: str) -> Ec2Error:
    """InvalidInstanceID.NotFound."""
    code, text = "InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist"
    return _missing(instance_id, "i", "InvalidInstanceID.Malformed", code, text)


def no_group(group_id: str) -> Ec2Error:
    """InvalidGroup.NotFound."""
    code, text = "InvalidGroup.NotFound", f"The security group '{group_id}' does not exist"
    return _missing(group_id, "sg", "InvalidGroupId.Malformed", code, text)


def no_gateway(gateway_id: str) -> Ec2Error:
    """InvalidInternetGatewayID.NotFound."""
    return Ec2Error("InvalidInternetGatewayID.NotFound", f"The internetGateway ID '{gateway_id}' does not exist")


def get_eni(state: CloudState, eni_id: str) -> Eni:
    """The ENI. Errors: Ec2Error."""
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
