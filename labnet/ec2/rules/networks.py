"""VPCs, subnets, internet gateways (pure). Source: docs/sources.md#subnets"""

from __future__ import annotations

from dataclasses import replace

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_gateway, get_subnet, get_vpc, no_gateway, no_subnet, no_vpc
from labnet.ec2.rules.grouprules import with_ids
from labnet.ec2.rules.pool import free_count
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tags_for
from labnet.ec2.rules.shapes import gateway_shape, subnet_shape, vpc_shape
from labnet.errors import Ec2Error
from labnet.model.addressing import canonical, contains, overlap, prefix_length
from labnet.model.cloud import CloudState, InternetGateway, SecurityGroup, SecurityGroupRule, Subnet, Vpc

LARGEST, SMALLEST = 16, 28
CIDRS_PER_VPC = 5


def _block(text: str, code: str) -> str:
    """A CIDR block of a size that AWS takes, host bits cleared. Errors: Ec2Error."""
    try:
        block = canonical(text)
    except ValueError:
        raise invalid(f"Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block.") from None
    if not LARGEST <= prefix_length(block) <= SMALLEST:
        raise Ec2Error(code, f"The CIDR '{text}' is invalid.")
    return block


def create_vpc(state: CloudState, params: Params, context: Context) -> Result:
    """CreateVpc, with its default security group: all from itself in, all out."""
    cidr = _block(str(params["CidrBlock"]), "InvalidVpc.Range")
    tags = tags_for(params, "vpc")
    state, vpc_id = new_id(state, "vpc", tags.get("Name", ""))
    vpc = Vpc(vpc_id, (cidr,), tags)
    state, group_id = new_id(state, "sg", f"{vpc_id}/default")
    state, rules = with_ids(state, (SecurityGroupRule("-1", group_id=group_id), SecurityGroupRule("-1", cidr="0.0.0.0/0")))
    group = SecurityGroup(group_id, "default", vpc_id, "default VPC security group", rules[:1], rules[1:])
    state = replace(state, vpcs={**state.vpcs, vpc_id: vpc}, security_groups={**state.security_groups, group_id: group})
    return state, {"Vpc": vpc_shape(state, vpc)}


def associate_cidr(state: CloudState, params: Params, context: Context) -> Result:
    """AssociateVpcCidrBlock: a further block of a VPC."""
    vpc = get_vpc(state, params["VpcId"])
    cidr = _block(str(params["CidrBlock"]), "InvalidVpc.Range")
    if any(overlap(cidr, one) for one in vpc.cidrs):
        raise Ec2Error("InvalidVpc.Conflict", f"The CIDR '{cidr}' conflicts with another CIDR of VPC {vpc.id}")
    if len(vpc.cidrs) >= CIDRS_PER_VPC:
        raise Ec2Error("CidrLimitExceeded", f"This network '{vpc.id}' has met its maximum number of allowed CIDRs: {CIDRS_PER_VPC}")
    vpc = replace(vpc, cidrs=(*vpc.cidrs, cidr))
    state = replace(state, vpcs={**state.vpcs, vpc.id: vpc})
    return state, {"VpcId": vpc.id, "CidrBlockAssociation": vpc_shape(state, vpc)["CidrBlockAssociationSet"][-1]}


def delete_vpc(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteVpc: nothing may be left in it but its default group."""
    vpc = get_vpc(state, params["VpcId"])
    groups = [one for one in state.security_groups.values() if one.vpc_id == vpc.id]
    left = any(one.vpc_id == vpc.id for one in state.subnets.values()) or any(one.vpc_id == vpc.id for one in state.enis.values())
    left = left or any(one.vpc_id == vpc.id for one in state.internet_gateways.values())
    if left or any(one.name != "default" for one in groups):
        raise Ec2Error("DependencyViolation", f"The vpc '{vpc.id}' has dependencies and cannot be deleted.")
    gone = {one.id for one in groups}
    kept = {key: one for key, one in state.security_groups.items() if key not in gone}
    return replace(state, vpcs={key: one for key, one in state.vpcs.items() if key != vpc.id}, security_groups=kept), {}


def create_subnet(state: CloudState, params: Params, context: Context) -> Result:
    """CreateSubnet: inside one block of the VPC, overlapping no other subnet."""
    vpc = get_vpc(state, params["VpcId"])
    cidr = _block(str(params["CidrBlock"]), "InvalidSubnet.Range")
    if not any(contains(one, cidr) for one in vpc.cidrs):
        raise Ec2Error("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.")
    if any(one.vpc_id == vpc.id and overlap(one.cidr, cidr) for one in state.subnets.values()):
        raise Ec2Error("InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet")
    zone = str(params.get("AvailabilityZone") or f"{state.region}a")
    if zone[:-1] != state.region or not zone[-1].isalpha():
        raise invalid(f"Value ({zone}) for parameter availabilityZone is invalid. Subnets can be created in zones of {state.region}.")
    tags = tags_for(params, "subnet")
    state, subnet_id = new_id(state, "subnet", f"{vpc.id}/{tags['Name']}" if tags.get("Name") else "")
    subnet = Subnet(subnet_id, vpc.id, cidr, zone, False, tags)
    state = replace(state, subnets={**state.subnets, subnet_id: subnet})
    return state, {"Subnet": subnet_shape(state, subnet)}


def delete_subnet(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteSubnet: no ENI may be left in it."""
    subnet = get_subnet(state, params["SubnetId"])
    if any(one.subnet_id == subnet.id for one in state.enis.values()):
        raise Ec2Error("DependencyViolation", f"The subnet '{subnet.id}' has dependencies and cannot be deleted.")
    return replace(state, subnets={key: one for key, one in state.subnets.items() if key != subnet.id}), {}


def modify_subnet(state: CloudState, params: Params, context: Context) -> Result:
    """ModifySubnetAttribute: MapPublicIpOnLaunch."""
    subnet = get_subnet(state, params["SubnetId"])
    if params.get("MapPublicIpOnLaunch") is None:
        raise Ec2Error("MissingParameter", "The request must contain the parameter MapPublicIpOnLaunch")
    subnet = replace(subnet, map_public_ip_on_launch=bool(params["MapPublicIpOnLaunch"].get("Value")))
    return replace(state, subnets={**state.subnets, subnet.id: subnet}), {}


def create_gateway(state: CloudState, params: Params, context: Context) -> Result:
    """CreateInternetGateway."""
    tags = tags_for(params, "internet-gateway")
    state, gateway_id = new_id(state, "igw", tags.get("Name", ""))
    gateway = InternetGateway(gateway_id, None, tags)
    state = replace(state, internet_gateways={**state.internet_gateways, gateway_id: gateway})
    return state, {"InternetGateway": gateway_shape(state, gateway)}


def attach_gateway(state: CloudState, params: Params, context: Context) -> Result:
    """AttachInternetGateway: one a VPC."""
    gateway, vpc = get_gateway(state, params["InternetGatewayId"]), get_vpc(state, params["VpcId"])
    if gateway.vpc_id is not None:
        raise Ec2Error("Resource.AlreadyAssociated", f"resource {gateway.id} is already attached to network {gateway.vpc_id}")
    if any(one.vpc_id == vpc.id for one in state.internet_gateways.values()):
        raise invalid(f"Network {vpc.id} already has an internet gateway attached")
    gateway = replace(gateway, vpc_id=vpc.id)
    return replace(state, internet_gateways={**state.internet_gateways, gateway.id: gateway}), {}


def detach_gateway(state: CloudState, params: Params, context: Context) -> Result:
    """DetachInternetGateway: no public address of the VPC may be in use."""
    gateway = get_gateway(state, params["InternetGatewayId"])
    if gateway.vpc_id is None or gateway.vpc_id != params["VpcId"]:
        raise Ec2Error("Gateway.NotAttached", f"resource {gateway.id} is not attached to network {params['VpcId']}")
    if any(item.public for eni in state.enis.values() if eni.vpc_id == gateway.vpc_id for item in eni.addresses):
        text = f"Network {gateway.vpc_id} has some mapped public address(es)."
        raise Ec2Error("DependencyViolation", f"{text} Please unmap those public address(es) before detaching the gateway.")
    return replace(state, internet_gateways={**state.internet_gateways, gateway.id: replace(gateway, vpc_id=None)}), {}


def delete_gateway(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteInternetGateway."""
    gateway = get_gateway(state, params["InternetGatewayId"])
    if gateway.vpc_id is not None:
        raise Ec2Error("DependencyViolation", f"The internetGateway '{gateway.id}' has dependencies and cannot be deleted.")
    kept = {key: one for key, one in state.internet_gateways.items() if key != gateway.id}
    return replace(state, internet_gateways=kept), {}


_VPC_FIELDS: dict[str, describe.Field[Vpc]] = {
    "vpc-id": lambda one: (one.id,), "cidr": lambda one: (one.cidrs[0],), "cidr-block-association.cidr-block": lambda one: one.cidrs,
    "state": lambda one: ("available",), "is-default": lambda one: ("false",),
}
_GATEWAY_FIELDS: dict[str, describe.Field[InternetGateway]] = {
    "internet-gateway-id": lambda one: (one.id,), "attachment.vpc-id": lambda one: (one.vpc_id,) if one.vpc_id else (),
    "attachment.state": lambda one: ("available",) if one.vpc_id else (),
}


def describe_vpcs(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeVpcs."""
    found = describe.matching(describe.chosen(state.vpcs, params.get("VpcIds"), no_vpc), params, _VPC_FIELDS, lambda one: one.tags)
    shown, more = describe.page(found, params)
    return state, {"Vpcs": [vpc_shape(state, one) for one in shown], **more}


def describe_subnets(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeSubnets."""
    fields: dict[str, describe.Field[Subnet]] = {
        "subnet-id": lambda one: (one.id,), "vpc-id": lambda one: (one.vpc_id,), "cidr-block": lambda one: (one.cidr,),
        "cidr": lambda one: (one.cidr,), "cidrBlock": lambda one: (one.cidr,), "availability-zone": lambda one: (one.availability_zone,),
        "availabilityZone": lambda one: (one.availability_zone,), "state": lambda one: ("available",),
        "map-public-ip-on-launch": lambda one: (str(one.map_public_ip_on_launch).lower(),),
        "available-ip-address-count": lambda one: (str(free_count(state, one)),),
    }
    found = describe.matching(describe.chosen(state.subnets, params.get("SubnetIds"), no_subnet), params, fields, lambda one: one.tags)
    shown, more = describe.page(found, params)
    return state, {"Subnets": [subnet_shape(state, one) for one in shown], **more}


def describe_gateways(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInternetGateways."""
    found = describe.chosen(state.internet_gateways, params.get("InternetGatewayIds"), no_gateway)
    shown, more = describe.page(describe.matching(found, params, _GATEWAY_FIELDS, lambda one: one.tags), params)
    return state, {"InternetGateways": [gateway_shape(state, one) for one in shown], **more}


ACTIONS = {
    "CreateVpc": action(create_vpc, "CidrBlock TagSpecifications", "CidrBlock"),
    "AssociateVpcCidrBlock": action(associate_cidr, "VpcId CidrBlock", "VpcId CidrBlock", dry_run=False),
    "DeleteVpc": action(delete_vpc, "VpcId", "VpcId"),
    "DescribeVpcs": action(describe_vpcs, "VpcIds Filters MaxResults NextToken", mutates=False),
    "CreateSubnet": action(create_subnet, "VpcId CidrBlock AvailabilityZone TagSpecifications", "VpcId CidrBlock"),
    "DeleteSubnet": action(delete_subnet, "SubnetId", "SubnetId"),
    "ModifySubnetAttribute": action(modify_subnet, "SubnetId MapPublicIpOnLaunch", "SubnetId", dry_run=False),
    "DescribeSubnets": action(describe_subnets, "SubnetIds Filters MaxResults NextToken", mutates=False),
    "CreateInternetGateway": action(create_gateway, "TagSpecifications"),
    "AttachInternetGateway": action(attach_gateway, "InternetGatewayId VpcId", "InternetGatewayId VpcId"),
    "DetachInternetGateway": action(detach_gateway, "InternetGatewayId VpcId", "InternetGatewayId VpcId"),
    "DeleteInternetGateway": action(delete_gateway, "InternetGatewayId", "InternetGatewayId"),
    "DescribeInternetGateways": action(describe_gateways, "InternetGatewayIds Filters MaxResults NextToken", mutates=False),
}
