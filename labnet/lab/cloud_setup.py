"""Turn a scenario's VPCs and nodes into EC2 calls: `up` is a client of the Ec2Api port and has no other way to make anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labnet.lab import routes_setup, sites_setup
from labnet.lab.cloud_acls import make_acls
from labnet.lab.lists_setup import make_lists
from labnet.lab.routes_setup import tagged as _tagged
from labnet.model.cloud_vpn import Site
from labnet.model.scenario import NodeSpec, Scenario, SecurityGroupSpec, SubnetSpec, VpcSpec
from labnet.ports import Ec2Api

IMAGE_ID = "ami-0123456789abcdef0"  # any well-formed id does: a node's image is this machine's own programs


@dataclass(slots=True)
class CloudIds:
    """What the scenario's names became: ids by name, instance ids by node."""

    vpcs: dict[str, str] = field(default_factory=dict)
    subnets: dict[str, str] = field(default_factory=dict)
    groups: dict[tuple[str, str], str] = field(default_factory=dict)
    vpc_of_subnet: dict[str, str] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    launches: dict[str, int] = field(default_factory=dict)
    prefix_lists: dict[str, str] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    """Names that routes may lead to: NAT gateways and peerings."""
    node_routes: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Node → (route table id, destination) of the routes that lead to it."""


async def make_vpcs(api: Ec2Api, scenario: Scenario, sites: Mapping[str, Site] | None = None) -> CloudIds:
    """Create the prefix lists, every VPC with its gateways, subnets and security groups, and the ways to networks outside. Errors: Ec2Error."""
    ids = CloudIds()
    ids.prefix_lists.update(await make_lists(api, scenario.prefix_lists))
    for vpc in scenario.vpcs:
        await _make_vpc(api, vpc, ids)
    await sites_setup.connect(api, scenario, sites or {}, ids.vpcs, ids.targets)
    await routes_setup.make_gateways(api, scenario, ids.vpcs, ids.subnets, ids.targets)
    nodes = {node.name for node in scenario.nodes}
    for vpc in scenario.vpcs:
        known = routes_setup.Known(ids.subnets, ids.targets, ids.prefix_lists, nodes)
        await routes_setup.make_tables(api, vpc, ids.vpcs[vpc.name], known, ids.node_routes)
    return ids


async def run_node(api: Ec2Api, node: NodeSpec, ids: CloudIds) -> str:
    """RunInstances for one node; returns the instance id. A node that is launched again is another instance. Errors: Ec2Error."""
    launch = ids.launches[node.name] = ids.launches.get(node.name, 0) + 1
    vpc = ids.vpc_of_subnet[node.subnet]
    params: dict[str, Any] = {
        "ImageId": IMAGE_ID, "InstanceType": node.instance_type, "MinCount": 1, "MaxCount": 1,
        "TagSpecifications": [_tagged("instance", node.name)], "ClientToken": f"labnet-{node.name}" + (f"-{launch}" if launch > 1 else ""),
    }
    groups = [ids.groups[vpc, group] for group in node.security_groups]
    if node.public_ip is None:
        params["SubnetId"] = ids.subnets[node.subnet]
        if groups:
            params["SecurityGroupIds"] = groups
    else:
        interface: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": ids.subnets[node.subnet], "AssociatePublicIpAddress": node.public_ip}
        if groups:
            interface["Groups"] = groups
        params["NetworkInterfaces"] = [interface]
    answer = await api.call("RunInstances", params)
    instance_id = str(answer["Instances"][0]["InstanceId"])
    ids.instances[node.name] = instance_id
    if not node.source_dest_check:
        await api.call("ModifyInstanceAttribute", {"InstanceId": instance_id, "SourceDestCheck": {"Value": False}})
    await routes_setup.lead_to_node(api, instance_id, ids.node_routes.get(node.name, ()), again=launch > 1)
    return instance_id


async def _make_vpc(api: Ec2Api, vpc: VpcSpec, ids: CloudIds) -> None:
    answer = await api.call("CreateVpc", {"CidrBlock": vpc.cidrs[0], "TagSpecifications": [_tagged("vpc", vpc.name)]})
    vpc_id = ids.vpcs[vpc.name] = str(answer["Vpc"]["VpcId"])
    for cidr in vpc.cidrs[1:]:
        await api.call("AssociateVpcCidrBlock", {"VpcId": vpc_id, "CidrBlock": cidr})
    if vpc.dns_hostnames:  # off in a new VPC; support is on, and must be for this
        await api.call("ModifyVpcAttribute", {"VpcId": vpc_id, "EnableDnsHostnames": {"Value": True}})
    if not vpc.dns_support:
        await api.call("ModifyVpcAttribute", {"VpcId": vpc_id, "EnableDnsSupport": {"Value": False}})
    gateway = ""
    if vpc.internet_gateway:
        made = await api.call("CreateInternetGateway", {"TagSpecifications": [_tagged("internet-gateway", vpc.name)]})
        gateway = made["InternetGateway"]["InternetGatewayId"]
        await api.call("AttachInternetGateway", {"InternetGatewayId": gateway, "VpcId": vpc_id})
    await _make_subnets(api, vpc_id, vpc, ids)
    ids.targets[f"{vpc.name}/{routes_setup.INTERNET_GATEWAY}"] = gateway
    if gateway and not vpc.route_tables:
        await _route_out(api, vpc_id, vpc, ids, gateway)
    await _make_groups(api, vpc_id, vpc, ids)
    await make_acls(api, vpc_id, vpc, ids.subnets)


async def _make_subnets(api: Ec2Api, vpc_id: str, vpc: VpcSpec, ids: CloudIds) -> None:
    for subnet in vpc.subnets:
        params = {
            "VpcId": vpc_id, "CidrBlock": subnet.cidr, "AvailabilityZone": subnet.availability_zone,
            "TagSpecifications": [_tagged("subnet", subnet.name)],
        }
        subnet_id = str((await api.call("CreateSubnet", params))["Subnet"]["SubnetId"])
        ids.subnets[subnet.name] = subnet_id
        ids.vpc_of_subnet[subnet.name] = vpc.name
        if subnet.map_public_ip_on_launch:
            await api.call("ModifySubnetAttribute", {"SubnetId": subnet_id, "MapPublicIpOnLaunch": {"Value": True}})
        await _fill_subnet(api, subnet_id, subnet)


async def _fill_subnet(api: Ec2Api, subnet_id: str, subnet: SubnetSpec) -> None:
    """The subnet's CIDR reservations, and ENIs that take up addresses of it."""
    for one in subnet.cidr_reservations:
        params = {"SubnetId": subnet_id, "Cidr": one.cidr, "ReservationType": one.reservation_type, "Description": one.description}
        await api.call("CreateSubnetCidrReservation", params)
    for eni in subnet.network_interfaces:
        addresses = [{"PrivateIpAddress": address, "Primary": not n} for n, address in enumerate(eni.private_ip_addresses)]
        await api.call("CreateNetworkInterface", {"SubnetId": subnet_id, "Description": eni.description, "PrivateIpAddresses": addresses})


async def _route_out(api: Ec2Api, vpc_id: str, vpc: VpcSpec, ids: CloudIds, gateway: str) -> None:
    """A route table with the default route to the internet gateway, for the subnets that map public addresses."""
    public = [ids.subnets[subnet.name] for subnet in vpc.subnets if subnet.map_public_ip_on_launch]
    if not public:
        return
    made = await api.call("CreateRouteTable", {"VpcId": vpc_id, "TagSpecifications": [_tagged("route-table", "public")]})
    table = made["RouteTable"]["RouteTableId"]
    await api.call("CreateRoute", {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway})
    for subnet_id in public:
        await api.call("AssociateRouteTable", {"RouteTableId": table, "SubnetId": subnet_id})


async def _make_groups(api: Ec2Api, vpc_id: str, vpc: VpcSpec, ids: CloudIds) -> None:
    for group in vpc.security_groups:
        params = {"GroupName": group.name, "Description": f"{group.name} of {vpc.name}", "VpcId": vpc_id}
        ids.groups[vpc.name, group.name] = str((await api.call("CreateSecurityGroup", params))["GroupId"])
    found = await api.call("DescribeSecurityGroups", {"Filters": [{"Name": "vpc-id", "Values": [vpc_id]}]})
    for item in found["SecurityGroups"]:
        ids.groups.setdefault((vpc.name, item["GroupName"]), str(item["GroupId"]))
    for group in vpc.security_groups:
        await _authorize(api, vpc.name, group, ids)


async def _authorize(api: Ec2Api, vpc: str, group: SecurityGroupSpec, ids: CloudIds) -> None:
    group_id = ids.groups[vpc, group.name]
    if group.ingress:
        permissions = _permissions(group.ingress, vpc, ids)
        await api.call("AuthorizeSecurityGroupIngress", {"GroupId": group_id, "IpPermissions": permissions})
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    await api.call("RevokeSecurityGroupEgress", {"GroupId": group_id, "IpPermissions": everything})
    if group.egress:
        permissions = _permissions(group.egress, vpc, ids)
        await api.call("AuthorizeSecurityGroupEgress", {"GroupId": group_id, "IpPermissions": permissions})


def _permissions(rules: Sequence[Mapping[str, Any]], vpc: str, ids: CloudIds) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for rule in rules:
        item: dict[str, Any] = {"IpProtocol": str(rule.get("protocol", "-1"))}
        if rule.get("fromPort") is not None:
            item["FromPort"] = int(rule["fromPort"])
            item["ToPort"] = int(rule.get("toPort", rule["fromPort"]))
        elif item["IpProtocol"] in ("icmp", "1"):
            item["FromPort"] = item["ToPort"] = -1
        if rule.get("group"):
            item["UserIdGroupPairs"] = [{"GroupId": ids.groups[vpc, str(rule["group"])]}]
        elif rule.get("prefixList"):
            item["PrefixListIds"] = [{"PrefixListId": ids.prefix_lists[str(rule["prefixList"])]}]
        else:
            item["IpRanges"] = [{"CidrIp": str(rule["cidr"])}]
        if item not in out:  # EC2 refuses a permission that is named twice
            out.append(item)
    return out
