"""VPCs, subnets, internet gateways (pure). Source: docs/sources.md#subnets"""

from __future__ import annotations

from dataclasses import replace

from labnet.ec2.rules import cidr_reservations, describe, dhcp_options, network_acls, route_tables
from labnet.ec2.rules.blocks import add_block, parse_block
from labnet.ec2.rules.find import get_gateway, get_subnet, get_vpc, no_gateway, no_subnet, no_vpc
from labnet.ec2.rules.grouprules import with_ids
from labnet.ec2.rules.pool import free_count
from labnet.ec2.rules.quotas import GATEWAYS_PER_REGION, SUBNETS_PER_VPC, VPCS_PER_REGION
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tags_for
from labnet.ec2.rules.shapes import gateway_shape, subnet_arn, subnet_shape, vpc_shape, zone_id
from labnet.ec2.rules.zones import zones_of
from labnet.errors import Ec2Error
from labnet.model.addressing import contains, overlap
from labnet.model.cloud import CloudState, InternetGateway, SecurityGroup, SecurityGroupRule, Subnet, Vpc


def create_vpc(state: CloudState, params: Params, context: Context) -> Result:
    """CreateVpc, with its main route table, its default network ACL and its default security group: all from itself in, all out."""
    cidr = parse_block(str(params["CidrBlock"]), "InvalidVpc.Range")
    if len(state.vpcs) >= VPCS_PER_REGION:
        raise Ec2Error("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
    tags = tags_for(params, "vpc")
    state, vpc_id = new_id(state, "vpc", tags.get("Name", ""))
    state, options_id = dhcp_options.with_default(state)
    state, vpc = add_block(state, Vpc(vpc_id, (), tags, dhcp_options_id=options_id), cidr)
    state, group_id = new_id(state, "sg", f"{vpc_id}/default")
    state, rules = with_ids(state, (SecurityGroupRule("-1", group_id=group_id), SecurityGroupRule("-1", cidr="0.0.0.0/0")))
    group = SecurityGroup(group_id, "default", vpc_id, "default VPC security group", rules[:1], rules[1:])
    state = replace(state, security_groups={**state.security_groups, group_id: group})
    state = network_acls.add_default_acl(route_tables.add_main_table(state, vpc_id), vpc_id)
    return state, {"Vpc": {**vpc_shape(state, vpc), "State": "pending"}}


def delete_vpc(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteVpc: nothing may be left in it but what came with it: the default group, the main route table, the default ACL."""
    vpc = get_vpc(state, params["VpcId"])
    groups = [one for one in state.security_groups.values() if one.vpc_id == vpc.id]
    tables = [one for one in state.route_tables.values() if one.vpc_id == vpc.id]
    acls = [one for one in state.network_acls.values() if one.vpc_id == vpc.id]
    left = any(one.name != "default" for one in groups) or any(not one.is_main for one in tables) or any(not one.is_default for one in acls)
    left = left or any(one.vpc_id == vpc.id for one in state.subnets.values()) or any(one.vpc_id == vpc.id for one in state.enis.values())
    left = left or any(one.vpc_id == vpc.id for one in state.internet_gateways.values())
    left = left or any(one.vpc_id == vpc.id for one in state.vpn_gateways.values())
    left = left or any(
        one.state in ("active", "pending-acceptance") and vpc.id in (one.requester.vpc_id, one.accepter.vpc_id)
        for one in state.peerings.values()
    )
    if left:
        raise Ec2Error("DependencyViolation", f"The vpc '{vpc.id}' has dependencies and cannot be deleted.")
    gone = {one.id for one in groups} | {one.id for one in tables} | {one.id for one in acls}
    return replace(
        state, vpcs={key: one for key, one in state.vpcs.items() if key != vpc.id},
        security_groups={key: one for key, one in state.security_groups.items() if key not in gone},
        route_tables={key: one for key, one in state.route_tables.items() if key not in gone},
        network_acls={key: one for key, one in state.network_acls.items() if key not in gone},
    ), {}


_DNS = {"enableDnsSupport": "EnableDnsSupport", "enableDnsHostnames": "EnableDnsHostnames"}


def describe_attribute(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeVpcAttribute: one attribute a call."""
    vpc, name = get_vpc(state, params["VpcId"]), params["Attribute"]
    if name == "enableNetworkAddressUsageMetrics":
        return state, {"VpcId": vpc.id, "EnableNetworkAddressUsageMetrics": {"Value": False}}
    if name not in _DNS:
        raise invalid(f"Value ({name}) for parameter attribute is invalid. Unknown VPC attribute.")
    return state, {"VpcId": vpc.id, _DNS[name]: {"Value": vpc.dns_support if name == "enableDnsSupport" else vpc.dns_hostnames}}


def modify_attribute(state: CloudState, params: Params, context: Context) -> Result:
    """ModifyVpcAttribute: one attribute a call; host names need DNS support."""
    vpc = get_vpc(state, params["VpcId"])
    named = [name for name in _DNS.values() if params.get(name) is not None]
    if len(named) != 1:
        raise Ec2Error("InvalidParameterCombination", "Exactly one attribute must be specified in the request")
    value = bool(params[named[0]].get("Value"))
    if named == ["EnableDnsHostnames"] and value and not vpc.dns_support:
        raise invalid("DNS hostnames cannot be enabled while DNS support is disabled")
    after = replace(vpc, dns_hostnames=value) if named == ["EnableDnsHostnames"] else replace(vpc, dns_support=value)
    return (state if after == vpc else replace(state, vpcs={**state.vpcs, vpc.id: after})), {}


def create_subnet(state: CloudState, params: Params, context: Context) -> Result:
    """CreateSubnet: inside one block of the VPC, overlapping no other subnet."""
    vpc = get_vpc(state, params["VpcId"])
    cidr = parse_block(str(params["CidrBlock"]), "InvalidSubnet.Range")
    if not any(contains(one, cidr) for one in vpc.cidrs):
        raise Ec2Error("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.")
    if any(one.vpc_id == vpc.id and overlap(one.cidr, cidr) for one in state.subnets.values()):
        raise Ec2Error("InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet")
    if sum(1 for one in state.subnets.values() if one.vpc_id == vpc.id) >= SUBNETS_PER_VPC:
        raise Ec2Error("SubnetLimitExceeded", "The maximum number of subnets has been reached.")
    zone = _zone(state, params)
    tags = tags_for(params, "subnet")
    state, subnet_id = new_id(state, "subnet", f"{vpc.id}/{tags['Name']}" if tags.get("Name") else "")
    subnet = Subnet(subnet_id, vpc.id, cidr, zone, False, tags)
    state = network_acls.add_subnet(replace(state, subnets={**state.subnets, subnet_id: subnet}), vpc.id, subnet_id)
    return state, {"Subnet": subnet_shape(state, subnet)}


def _zone(state: CloudState, params: Params) -> str:
    """The zone of a new subnet, by name or id, the first one where the request says none. Errors: Ec2Error."""
    zones = zones_of(state.region)
    if params.get("AvailabilityZone") and params.get("AvailabilityZoneId"):
        raise Ec2Error("InvalidParameterCombination", "AvailabilityZone and AvailabilityZoneId exclude one another")
    member = "AvailabilityZoneId" if params.get("AvailabilityZoneId") else "AvailabilityZone"
    wanted = params.get(member) or zones[0].name
    names = [one.id if member == "AvailabilityZoneId" else one.name for one in zones]
    if wanted not in names:
        text = f"Value ({wanted}) for parameter {member[0].lower()}{member[1:]} is invalid."
        raise invalid(f"{text} Subnets can currently only be created in the following availability zones: {', '.join(names)}.")
    return zones[names.index(wanted)].name


def delete_subnet(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteSubnet: no ENI may be left in it, a NAT gateway's neither; its associations and reservations go with it."""
    subnet = get_subnet(state, params["SubnetId"])
    if any(one.subnet_id == subnet.id for one in state.enis.values()):
        raise Ec2Error("DependencyViolation", f"The subnet '{subnet.id}' has dependencies and cannot be deleted.")
    state = replace(state, subnets={key: one for key, one in state.subnets.items() if key != subnet.id})
    for part in (route_tables, network_acls, cidr_reservations):
        state = part.forget_subnet(state, subnet.id)
    return state, {}


def modify_subnet(state: CloudState, params: Params, context: Context) -> Result:
    """ModifySubnetAttribute: MapPublicIpOnLaunch."""
    subnet = get_subnet(state, params["SubnetId"])
    if params.get("MapPublicIpOnLaunch") is None:
        raise Ec2Error("MissingParameter", "The request must contain the parameter MapPublicIpOnLaunch")
    after = replace(subnet, map_public_ip_on_launch=bool(params["MapPublicIpOnLaunch"].get("Value")))
    return (state if after == subnet else replace(state, subnets={**state.subnets, subnet.id: after})), {}


def create_gateway(state: CloudState, params: Params, context: Context) -> Result:
    """CreateInternetGateway."""
    if len(state.internet_gateways) >= GATEWAYS_PER_REGION:
        raise Ec2Error("InternetGatewayLimitExceeded", "The maximum number of internet gateways has been reached.")
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


def describe_vpcs(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeVpcs."""
    fields: dict[str, describe.Field[Vpc]] = {
        "vpc-id": lambda one: (one.id,), "cidr": lambda one: (one.cidrs[0],), "cidr-block": lambda one: (one.cidrs[0],),
        "cidr-block-association.cidr-block": lambda one: one.cidrs,
        "cidr-block-association.association-id": lambda one: one.cidr_ids.values(),
        "cidr-block-association.state": lambda one: ("associated",), "state": lambda one: ("available",),
        "is-default": lambda one: ("false",), "isDefault": lambda one: ("false",), "owner-id": lambda one: (state.account_id,),
        "dhcp-options-id": lambda one: (one.dhcp_options_id,), "ipv6-cidr-block-association.association-id": lambda one: (),
        "ipv6-cidr-block-association.ipv6-cidr-block": lambda one: (), "ipv6-cidr-block-association.ipv6-pool": lambda one: (),
        "ipv6-cidr-block-association.state": lambda one: (),
    }
    found = describe.matching(describe.chosen(state.vpcs, params.get("VpcIds"), no_vpc), params, fields, lambda one: one.tags)
    shown, more = describe.page(found, params)
    return state, {"Vpcs": [vpc_shape(state, one) for one in shown], **more}


def describe_subnets(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeSubnets."""
    fields: dict[str, describe.Field[Subnet]] = {
        **dict.fromkeys(("cidr-block", "cidr", "cidrBlock"), lambda one: (one.cidr,)),
        **dict.fromkeys(("availability-zone", "availabilityZone"), lambda one: (one.availability_zone,)),
        **dict.fromkeys(("availability-zone-id", "availabilityZoneId"), lambda one: (zone_id(one.availability_zone),)),
        **dict.fromkeys(("default-for-az", "defaultForAz", "ipv6-native", "enable-dns64"), lambda one: ("false",)),
        **dict.fromkeys(("outpost-arn", "customer-owned-ipv4-pool", "ipv6-cidr-block-association.ipv6-cidr-block"), lambda one: ()),
        **dict.fromkeys(("ipv6-cidr-block-association.association-id", "ipv6-cidr-block-association.state"), lambda one: ()),
        "subnet-id": lambda one: (one.id,), "vpc-id": lambda one: (one.vpc_id,), "state": lambda one: ("available",),
        "map-public-ip-on-launch": lambda one: (str(one.map_public_ip_on_launch).lower(),),
        "available-ip-address-count": lambda one: (str(free_count(state, one)),), "owner-id": lambda one: (state.account_id,),
        "subnet-arn": lambda one: (subnet_arn(state, one),),
    }
    found = describe.matching(describe.chosen(state.subnets, params.get("SubnetIds"), no_subnet), params, fields, lambda one: one.tags)
    shown, more = describe.page(found, params)
    return state, {"Subnets": [subnet_shape(state, one) for one in shown], **more}


def describe_gateways(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInternetGateways."""
    fields: dict[str, describe.Field[InternetGateway]] = {
        "internet-gateway-id": lambda one: (one.id,), "attachment.vpc-id": lambda one: (one.vpc_id,) if one.vpc_id else (),
        "attachment.state": lambda one: ("available",) if one.vpc_id else (), "owner-id": lambda one: (state.account_id,),
    }
    found = describe.chosen(state.internet_gateways, params.get("InternetGatewayIds"), no_gateway)
    shown, more = describe.page(describe.matching(found, params, fields, lambda one: one.tags), params)
    return state, {"InternetGateways": [gateway_shape(state, one) for one in shown], **more}


ACTIONS = {
    "CreateVpc": action(create_vpc, "CidrBlock TagSpecifications", "CidrBlock"),
    "DeleteVpc": action(delete_vpc, "VpcId", "VpcId"),
    "DescribeVpcs": action(describe_vpcs, "VpcIds Filters MaxResults NextToken", mutates=False),
    "DescribeVpcAttribute": action(describe_attribute, "VpcId Attribute", "VpcId Attribute", mutates=False),
    "ModifyVpcAttribute": action(modify_attribute, "VpcId EnableDnsSupport EnableDnsHostnames", "VpcId", dry_run=False),
    "CreateSubnet": action(create_subnet, "VpcId CidrBlock AvailabilityZone AvailabilityZoneId TagSpecifications", "VpcId CidrBlock"),
    "DeleteSubnet": action(delete_subnet, "SubnetId", "SubnetId"),
    "ModifySubnetAttribute": action(modify_subnet, "SubnetId MapPublicIpOnLaunch", "SubnetId", dry_run=False),
    "DescribeSubnets": action(describe_subnets, "SubnetIds Filters MaxResults NextToken", mutates=False),
    "CreateInternetGateway": action(create_gateway, "TagSpecifications"),
    "AttachInternetGateway": action(attach_gateway, "InternetGatewayId VpcId", "InternetGatewayId VpcId"),
    "DetachInternetGateway": action(detach_gateway, "InternetGatewayId VpcId", "InternetGatewayId VpcId"),
    "DeleteInternetGateway": action(delete_gateway, "InternetGatewayId", "InternetGatewayId"),
    "DescribeInternetGateways": action(describe_gateways, "InternetGatewayIds Filters MaxResults NextToken", mutates=False),
}
