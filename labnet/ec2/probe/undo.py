"""What has to go again after a call that made something, and in which order (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Undo:
    """One call that takes something away. `wait` = the Describe call, its id parameter and the state that ends the wait."""

    rank: int
    operation: str
    params: Mapping[str, Any]
    wait: tuple[str, str, str] | None = None

    @property
    def what(self) -> str:
        """The id of what goes."""
        return " ".join(str(one) for one in self.params.values())


@dataclass(frozen=True, slots=True)
class _Maker:
    """How to read from an answer what a call made."""

    rank: int
    undo: str
    parameter: str
    path: tuple[str, ...]
    wait: tuple[str, str, str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


# lower ranks go first: what is in something before what it is in
_MAKERS: dict[str, _Maker] = {
    "CreateNatGateway": _Maker(
        1, "DeleteNatGateway", "NatGatewayId", ("NatGateway", "NatGatewayId"), ("DescribeNatGateways", "NatGatewayIds", "deleted")
    ),
    "AssociateAddress": _Maker(2, "DisassociateAddress", "AssociationId", ("AssociationId",)),
    "AllocateAddress": _Maker(3, "ReleaseAddress", "AllocationId", ("AllocationId",)),
    "CreateNetworkInterface": _Maker(
        4, "DeleteNetworkInterface", "NetworkInterfaceId", ("NetworkInterface", "NetworkInterfaceId")
    ),
    "CreateVpcPeeringConnection": _Maker(
        5, "DeleteVpcPeeringConnection", "VpcPeeringConnectionId", ("VpcPeeringConnection", "VpcPeeringConnectionId")
    ),
    "CreateSubnetCidrReservation": _Maker(
        6, "DeleteSubnetCidrReservation", "SubnetCidrReservationId", ("SubnetCidrReservation", "SubnetCidrReservationId")
    ),
    "AssociateRouteTable": _Maker(6, "DisassociateRouteTable", "AssociationId", ("AssociationId",)),
    "CreateSubnet": _Maker(7, "DeleteSubnet", "SubnetId", ("Subnet", "SubnetId")),
    "CreateRouteTable": _Maker(8, "DeleteRouteTable", "RouteTableId", ("RouteTable", "RouteTableId")),
    "CreateNetworkAcl": _Maker(8, "DeleteNetworkAcl", "NetworkAclId", ("NetworkAcl", "NetworkAclId")),
    "CreateSecurityGroup": _Maker(9, "DeleteSecurityGroup", "GroupId", ("GroupId",)),
    "CreateManagedPrefixList": _Maker(10, "DeleteManagedPrefixList", "PrefixListId", ("PrefixList", "PrefixListId")),
    "CreateInternetGateway": _Maker(11, "DeleteInternetGateway", "InternetGatewayId", ("InternetGateway", "InternetGatewayId")),
    "CreateVpc": _Maker(12, "DeleteVpc", "VpcId", ("Vpc", "VpcId")),
    "CreateDhcpOptions": _Maker(13, "DeleteDhcpOptions", "DhcpOptionsId", ("DhcpOptions", "DhcpOptionsId")),
}


def undo_of(operation: str, params: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[Undo, ...]:
    """What takes away again what a successful call made; nothing for a call that made nothing."""
    if operation == "RunInstances":
        made = answer.get("Instances", ())
        ended = ("DescribeInstances", "InstanceIds", "terminated")
        instances = [Undo(0, "TerminateInstances", {"InstanceIds": [one["InstanceId"]]}, ended) for one in made]
        ids = [eni["NetworkInterfaceId"] for one in made for eni in one.get("NetworkInterfaces", ())]  # of which a check may have spared one
        return (*instances, *(Undo(4, "DeleteNetworkInterface", {"NetworkInterfaceId": one}) for one in ids))
    if operation == "AttachInternetGateway":
        return (Undo(10, "DetachInternetGateway", dict(params)),)
    maker = _MAKERS.get(operation)
    if maker is None:
        return ()
    found: Any = answer
    for word in maker.path:
        found = found.get(word) if isinstance(found, Mapping) else None
    return (Undo(maker.rank, maker.undo, {maker.parameter: found}, maker.wait),) if found else ()


def in_order(undos: list[Undo]) -> list[Undo]:
    """By rank; within one the latest first."""
    return [undos[place] for place in sorted(range(len(undos)), key=lambda place: (undos[place].rank, -place))]


def is_gone(code: str) -> bool:
    """Does a refusal say that there is nothing left to take away? (A peering that failed cannot be deleted: it goes by itself.)"""
    return "NotFound" in code or code in ("Gateway.NotAttached", "InvalidNetworkInterfaceID", "InvalidStateTransition")
