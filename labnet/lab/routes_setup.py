"""A scenario's NAT gateways, peerings and route tables as EC2 calls; names of targets become ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from labnet.model.scenario import RouteTableSpec, Scenario, VpcSpec
from labnet.model.values import frozen
from labnet.ports import Ec2Api

INTERNET_GATEWAY = "internetGateway"
"""The word for a VPC's internet gateway as the target of a route."""
VPN_GATEWAY = "vpnGateway"
"""The same for its virtual private gateway."""
_MEMBERS = {"igw": "GatewayId", "vgw": "GatewayId", "nat": "NatGatewayId", "pcx": "VpcPeeringConnectionId"}
NodeRoutes = dict[str, list[tuple[str, str]]]
"""Node → (route table id, destination, a block or a prefix list's id): routes that can only be made when the node is there."""


@frozen
class Known:
    """What route tables speak of: ids by name, and the names of nodes, which come later."""

    subnets: Mapping[str, str]
    targets: Mapping[str, str]
    lists: Mapping[str, str]
    nodes: Collection[str]


def tagged(resource: str, name: str) -> dict[str, Any]:
    """A tag specification that names a new object."""
    return {"ResourceType": resource, "Tags": [{"Key": "Name", "Value": name}]}


async def make_gateways(
    api: Ec2Api, scenario: Scenario, vpcs: Mapping[str, str], subnets: Mapping[str, str], targets: dict[str, str],
) -> None:
    """NAT gateways, each with a new Elastic IP, and peerings, asked for and accepted; fills `targets` by name. Errors: Ec2Error."""
    for vpc in scenario.vpcs:
        for nat in vpc.nat_gateways:
            address = await api.call("AllocateAddress", {"Domain": "vpc", "TagSpecifications": [tagged("elastic-ip", nat.name)]})
            params = {
                "SubnetId": subnets[nat.subnet], "AllocationId": address["AllocationId"], "ClientToken": f"labnet-{nat.name}",
                "TagSpecifications": [tagged("natgateway", nat.name)],
            }
            targets[nat.name] = str((await api.call("CreateNatGateway", params))["NatGateway"]["NatGatewayId"])
        for peering in vpc.peerings:
            wanted = {
                "VpcId": vpcs[vpc.name], "PeerVpcId": vpcs[peering.peer],
                "TagSpecifications": [tagged("vpc-peering-connection", peering.name)],
            }
            made = await api.call("CreateVpcPeeringConnection", wanted)
            peering_id = targets[peering.name] = str(made["VpcPeeringConnection"]["VpcPeeringConnectionId"])
            await api.call("AcceptVpcPeeringConnection", {"VpcPeeringConnectionId": peering_id})


async def make_tables(api: Ec2Api, vpc: VpcSpec, vpc_id: str, known: Known, later: NodeRoutes) -> None:
    """The route tables of a VPC and who uses them; routes to nodes are noted in `later`. Errors: Ec2Error."""
    for table in vpc.route_tables:
        table_id = await _table(api, vpc_id, table)
        for wanted, target in table.routes:
            destination = known.lists.get(wanted, wanted)
            if target in known.nodes:
                later.setdefault(target, []).append((table_id, destination))
                continue
            key = known.targets[f"{vpc.name}/{target}" if target in (INTERNET_GATEWAY, VPN_GATEWAY) else target]
            route = {"RouteTableId": table_id, _destination_member(destination): destination, _MEMBERS[key.partition("-")[0]]: key}
            await api.call("CreateRoute", route)
        if table.propagate:
            params = {"RouteTableId": table_id, "GatewayId": known.targets[f"{vpc.name}/{VPN_GATEWAY}"]}
            await api.call("EnableVgwRoutePropagation", params)
        for subnet in vpc.subnets:
            if subnet.route_table == table.name:
                await api.call("AssociateRouteTable", {"RouteTableId": table_id, "SubnetId": known.subnets[subnet.name]})


def _destination_member(destination: str) -> str:
    return "DestinationPrefixListId" if destination.startswith("pl-") else "DestinationCidrBlock"


async def _table(api: Ec2Api, vpc_id: str, table: RouteTableSpec) -> str:
    """A new table, or the VPC's own main one under the scenario's name."""
    if not table.main:
        made = await api.call("CreateRouteTable", {"VpcId": vpc_id, "TagSpecifications": [tagged("route-table", table.name)]})
        return str(made["RouteTable"]["RouteTableId"])
    filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "association.main", "Values": ["true"]}]
    found = await api.call("DescribeRouteTables", {"Filters": filters})
    table_id = str(found["RouteTables"][0]["RouteTableId"])
    await api.call("CreateTags", {"Resources": [table_id], "Tags": [{"Key": "Name", "Value": table.name}]})
    return table_id


async def lead_to_node(api: Ec2Api, instance_id: str, routes: Iterable[tuple[str, str]], *, again: bool) -> None:
    """The routes to a node that was launched just now; `again` = they are there, and lead to an instance that is gone. Errors: Ec2Error."""
    for table_id, destination in routes:
        params = {"RouteTableId": table_id, _destination_member(destination): destination, "InstanceId": instance_id}
        await api.call("ReplaceRoute" if again else "CreateRoute", params)
