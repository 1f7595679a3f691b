"""What stands around a path: the Scene document, from which the pictures of a trace are drawn (pure).

A trace says where a packet was; a picture also shows the VPCs, subnets, nodes with their ENIs, pods and gateways around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.fabric.places import gateway_of, igw_netns_of, vpc_netns_of
from labnet.model import names
from labnet.model.cloud import CloudState, Subnet
from labnet.model.cloud_vpc import RouteTable


def scene(cloud: CloudState, status: Mapping[str, Any], macs: Mapping[str, str]) -> dict[str, Any]:
    """The document: `status` is the lab's Status, whose nodes, pods and NAT gateways it repeats; `macs` says whose each MAC is."""
    return {
        "apiVersion": "labnet/v1", "kind": "Scene", "lab": status["lab"], "scenario": status["scenario"],
        "vpcs": [_vpc(cloud, vpc_id) for vpc_id in cloud.vpcs],
        "subnets": [_subnet(cloud, subnet) for subnet in cloud.subnets.values()],
        "peerings": _peerings(cloud), "nodes": status["nodes"], "pods": status["pods"], "natGateways": status["natGateways"],
        "internet": names.internet_netns(cloud.lab), "macs": dict(macs), "addresses": _addresses(status),
    }


def _vpc(cloud: CloudState, vpc_id: str) -> dict[str, Any]:
    vpc = cloud.vpcs[vpc_id]
    gateway = gateway_of(cloud, vpc_id)
    return {
        "id": vpc_id, "name": vpc.name, "cidrs": list(vpc.cidrs), "netns": vpc_netns_of(cloud, vpc_id),
        "igw": igw_netns_of(cloud, vpc_id) if gateway is not None else "",
    }


def _subnet(cloud: CloudState, subnet: Subnet) -> dict[str, Any]:
    table = _route_table(cloud, subnet)
    return {
        "id": subnet.id, "name": subnet.tags.get("Name", subnet.id), "vpc": subnet.vpc_id, "cidr": subnet.cidr,
        "availabilityZone": subnet.availability_zone, "routeTable": table.tags.get("Name", table.id) if table else "",
    }


def _route_table(cloud: CloudState, subnet: Subnet) -> RouteTable | None:
    """The table that the subnet is associated with, else the VPC's main one."""
    tables = [table for table in cloud.route_tables.values() if table.vpc_id == subnet.vpc_id]
    own = (table for table in tables if any(one.subnet_id == subnet.id for one in table.associations))
    return next(own, None) or next((table for table in tables if table.is_main), None)


def _peerings(cloud: CloudState) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id, "name": one.tags.get("Name", one.id), "port": names.peering_port(one.id),
            "vpcs": [one.requester.vpc_id, one.accepter.vpc_id],
        }
        for one in cloud.peerings.values()
        if one.state == "active"
    ]


def _addresses(status: Mapping[str, Any]) -> dict[str, str]:
    """Address → who has it; a pod on the host network shares its node's, and the node is named."""
    found: dict[str, str] = {}
    for node in status["nodes"]:
        for eni in node["enis"]:
            found.setdefault(eni["ip"], f"{node['name']} {eni['name']}")
        found.setdefault(node["publicIp"], f"{node['name']}, public")
    for nat in status["natGateways"]:
        found.setdefault(nat["ip"], nat["name"])
        found.setdefault(nat["publicIp"], f"{nat['name']}, public")
    for pod in status["pods"]:
        found.setdefault(pod["ip"], pod["name"] if pod["namespace"] == "default" else f"{pod['namespace']}/{pod['name']}")
    found.pop("", None)
    return found
