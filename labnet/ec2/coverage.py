"""How much of EC2 there is: generated from the table of actions and from botocore's model of EC2, so that it cannot lag behind.

botocore is loaded when somebody asks. Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labnet.ec2.cloud import ACTIONS
from labnet.ec2.rules.request import Action

OFTEN_CALLED = frozenset({
    # the VPC CNI and its controllers
    "AssignIpv6Addresses", "UnassignIpv6Addresses", "DescribeTrunkInterfaceAssociations", "AssociateTrunkInterface",
    "DisassociateTrunkInterface",
    # EKS controllers: load balancers, autoscalers, volumes
    "CreateLaunchTemplate", "DeleteLaunchTemplate", "DescribeLaunchTemplates", "DescribeLaunchTemplateVersions", "CreateFleet",
    "DescribeInstanceTypeOfferings", "DescribeSpotPriceHistory", "DescribeImages", "CreateVolume", "DeleteVolume", "AttachVolume",
    "DetachVolume", "DescribeVolumes", "DescribeCoipPools", "GetCoipPoolUsage", "GetSecurityGroupsForVpc", "DescribeIpamPools",
    # people with the AWS CLI
    "StartInstances", "StopInstances", "RebootInstances", "DescribeInstanceStatus", "GetConsoleOutput", "CreateKeyPair", "DescribeKeyPairs",
    "DescribeAccountAttributes", "CreateVpcEndpoint", "DeleteVpcEndpoints", "DescribeVpcEndpoints", "DescribePrefixLists",
    "CreateManagedPrefixList", "DeleteManagedPrefixList", "DescribeManagedPrefixLists", "GetManagedPrefixListEntries",
    "ModifyManagedPrefixList", "CreateFlowLogs", "DescribeFlowLogs", "CreateTransitGateway",
    "DescribeTransitGateways", "CreateDefaultVpc", "CreateDefaultSubnet", "CreateDhcpOptions", "DescribeDhcpOptions", "AssociateDhcpOptions",
    "DeleteDhcpOptions",
    "CreateEgressOnlyInternetGateway", "CreateVpnGateway", "CreateCustomerGateway", "CreateVpnConnection", "DescribeVpnConnections",
    # what the lab means to have
    "AcceptVpcPeeringConnection", "AllocateAddress", "AssignPrivateIpAddresses", "AssociateAddress", "AssociateRouteTable",
    "AssociateVpcCidrBlock", "AttachInternetGateway", "AttachNetworkInterface", "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress", "CreateInternetGateway", "CreateNatGateway", "CreateNetworkAcl", "CreateNetworkAclEntry",
    "CreateNetworkInterface", "CreateRoute", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateSubnetCidrReservation",
    "CreateTags", "CreateVpc", "CreateVpcPeeringConnection", "DeleteInternetGateway", "DeleteNatGateway", "DeleteNetworkAcl",
    "DeleteNetworkAclEntry", "DeleteNetworkInterface", "DeleteRoute", "DeleteRouteTable", "DeleteSecurityGroup", "DeleteSubnet",
    "DeleteSubnetCidrReservation", "DeleteTags", "DeleteVpc", "DeleteVpcPeeringConnection", "DescribeAddresses",
    "DescribeAvailabilityZones", "DescribeInstances", "DescribeInstanceTypes", "DescribeInternetGateways", "DescribeNatGateways",
    "DescribeNetworkAcls", "DescribeNetworkInterfaceAttribute", "DescribeNetworkInterfaces", "DescribeRegions", "DescribeRouteTables",
    "DescribeSecurityGroupRules", "DescribeSecurityGroups", "DescribeSubnets", "DescribeTags", "DescribeVpcAttribute",
    "DescribeVpcPeeringConnections", "DescribeVpcs", "DetachInternetGateway", "DetachNetworkInterface", "DisassociateAddress",
    "DisassociateRouteTable", "DisassociateVpcCidrBlock", "GetSubnetCidrReservations", "ModifyInstanceAttribute",
    "ModifyInstanceMetadataOptions", "ModifyNetworkInterfaceAttribute", "ModifySecurityGroupRules", "ModifySubnetAttribute",
    "ModifyVpcAttribute", "RejectVpcPeeringConnection", "ReleaseAddress", "ReplaceNetworkAclAssociation", "ReplaceNetworkAclEntry",
    "ReplaceRoute", "ReplaceRouteTableAssociation", "ResetNetworkInterfaceAttribute", "RevokeSecurityGroupEgress",
    "RevokeSecurityGroupIngress", "RunInstances", "TerminateInstances", "UnassignPrivateIpAddresses",
    "UpdateSecurityGroupRuleDescriptionsEgress", "UpdateSecurityGroupRuleDescriptionsIngress",
})
"""Actions that networking people, the VPC CNI and the controllers of an EKS cluster call often: named when they are missing."""


def kind_of(entry: Action) -> str:
    """`acts`: packets feel it; `state only`: validated, kept and described; `reads`: tells what there is."""
    if not entry.mutates:
        return "reads"
    return "acts" if entry.acts else "state only"


def coverage(known: Iterable[str] | None = None, actions: Mapping[str, Action] = ACTIONS) -> dict[str, Any]:
    """The Ec2Coverage document; `known` are all actions of EC2 (default: botocore's model).

    `stateOnlyParameters` are those that an action which acts otherwise keeps and describes alone.
    """
    every = sorted(_model_actions() if known is None else known)
    missing = [name for name in every if name not in actions]
    rows = [
        {
            "action": name, "kind": kind_of(actions[name]), "parameters": sorted(actions[name].parameters),
            "stateOnlyParameters": list(actions[name].state_only),
        }
        for name in sorted(actions)
    ]
    return {
        "apiVersion": "labnet/v1", "kind": "Ec2Coverage", "actions": rows,
        "counts": {kind: sum(row["kind"] == kind for row in rows) for kind in ("acts", "state only", "reads")},
        "missingOften": [name for name in missing if name in OFTEN_CALLED], "missing": missing, "known": len(every),
    }


def _model_actions() -> list[str]:
    from botocore.loaders import Loader  # late: half a second, and only this verb wants it

    return list(Loader().load_service_model("ec2", "service-2")["operations"])
