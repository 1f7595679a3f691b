"""A cloud whose routes, NAT gateways and peerings come and go, step by step, through EC2's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builders_cloud import terminated, with_node, with_subnet, with_table, with_vpc

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.model.cloud import CloudState


def call(cloud: CloudState, name: str, **params: object) -> tuple[CloudState, Mapping[str, Any]]:
    return execute(cloud, name, params, Context(0.0, limits.load()))


def routing_steps(cloud: CloudState) -> tuple[CloudState, ...]:
    """States to go through in order, from `builders_cloud.a_cloud` on: forwards, and back again."""
    one = with_node(with_node(cloud, "node1", "10.10.0.10"), "box", "10.10.32.10", subnet="subnet-b", check=False)
    two = with_table(one, "rtb-b", "vpc-1", {"10.10.0.0/19": "eni-box-0"}, "subnet-b")
    three = terminated(two, "box")
    blue = with_subnet(with_vpc(one, "vpc-2", "10.20.0.0/16", name="blue"), "z", "vpc-2", "10.20.0.0/24")
    blue = with_node(blue, "node3", "10.20.0.4", subnet="z")
    waiting, made = call(blue, "CreateVpcPeeringConnection", VpcId="vpc-1", PeerVpcId="vpc-2")
    peering = {"VpcPeeringConnectionId": made["VpcPeeringConnection"]["VpcPeeringConnectionId"]}
    peered, _ = call(call(waiting, "AcceptVpcPeeringConnection", **peering)[0], "CreateRoute", RouteTableId="rtb-vpc-1",
                     DestinationCidrBlock="10.20.0.0/16", **peering)  # fmt: skip
    parted, _ = call(peered, "DeleteVpcPeeringConnection", **peering)
    allocated, address = call(parted, "AllocateAddress")
    translated, made = call(allocated, "CreateNatGateway", SubnetId="subnet-a", AllocationId=address["AllocationId"])
    nat = {"NatGatewayId": made["NatGateway"]["NatGatewayId"]}
    led, _ = call(translated, "ReplaceRoute", RouteTableId="rtb-vpc-1", DestinationCidrBlock="0.0.0.0/0", **nat)
    gone, _ = call(led, "DeleteNatGateway", **nat)
    return (one, two, three, two, blue, waiting, peered, parted, peered, led, translated, gone, led, one, peered, one, led)
