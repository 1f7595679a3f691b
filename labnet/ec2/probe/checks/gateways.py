"""Internet gateways, elastic addresses, NAT gateways, peering."""

from __future__ import annotations

from typing import Any

from labnet.ec2.probe.check import of_group, same
from labnet.ec2.probe.site import Site

gateway = of_group("Gateways and elastic addresses")
peering = of_group("Peering")
UNKNOWN = "0123456789abcdef0"
ADDRESSES_PER_REGION = 5


def _address(at: Site) -> str:
    return str(at.call("AllocateAddress", Domain="vpc")["AllocationId"])


def _public(at: Site) -> tuple[str, str]:
    """A VPC with an internet gateway, and a subnet in it."""
    vpc = at.vpc()
    at.gateway(vpc)
    return vpc, at.subnet(vpc=vpc)


@gateway("internet gateway")
def second_gateway(at: Site) -> None:
    """A VPC has one: a second is refused."""
    vpc = at.vpc()
    at.gateway(vpc)
    other = at.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    at.refused("AttachInternetGateway", "InvalidParameterValue Resource.AlreadyAssociated", InternetGatewayId=other, VpcId=vpc)


@gateway("internet gateway")
def gateway_attached_twice(at: Site) -> None:
    """It is attached to one VPC: Resource.AlreadyAssociated."""
    made = at.gateway(at.vpc())
    at.refused("AttachInternetGateway", "Resource.AlreadyAssociated", InternetGatewayId=made, VpcId=at.vpc("10.78.0.0/16"))


@gateway("internet gateway")
def gateway_in_use(at: Site) -> None:
    """An attached one is not deleted, nor the VPC that has it: DependencyViolation."""
    vpc = at.vpc()
    made = at.gateway(vpc)
    at.refused("DeleteInternetGateway", "DependencyViolation", InternetGatewayId=made)
    at.refused("DeleteVpc", "DependencyViolation", VpcId=vpc)
    at.call("DetachInternetGateway", InternetGatewayId=made, VpcId=vpc)
    at.refused("DetachInternetGateway", "Gateway.NotAttached", InternetGatewayId=made, VpcId=vpc)


@gateway("internet gateway")
def gateway_with_addresses(at: Site) -> None:
    """With mapped public addresses it is not detached: DependencyViolation."""
    vpc = at.vpc()
    made = at.gateway(vpc)
    at.call("AssociateAddress", AllocationId=_address(at), NetworkInterfaceId=at.eni(at.subnet(vpc=vpc)))
    at.refused("DetachInternetGateway", "DependencyViolation", InternetGatewayId=made, VpcId=vpc)


@gateway("unknown internet gateway")
def unknown_gateway(at: Site) -> None:
    """InvalidInternetGatewayID.NotFound."""
    wanted = f"igw-{UNKNOWN}"
    at.refused("DescribeInternetGateways", "InvalidInternetGatewayID.NotFound", InternetGatewayIds=[wanted])
    at.refused("AttachInternetGateway", "InvalidInternetGatewayID.NotFound", InternetGatewayId=wanted, VpcId=at.vpc())


@gateway("elastic addresses per region")
def address_limit(at: Site) -> None:
    """Five; the next is AddressLimitExceeded."""
    present = len(at.call("DescribeAddresses")["Addresses"])
    for _ in range(present, ADDRESSES_PER_REGION):
        _address(at)
    at.refused("AllocateAddress", "AddressLimitExceeded", "The maximum number of addresses has been reached.", Domain="vpc")


@gateway("elastic address association")
def address_moves(at: Site) -> None:
    """It belongs to one private address; it moves only with AllowReassociation."""
    _, subnet = _public(at)
    address = _address(at)
    one, other = at.eni(subnet), at.eni(subnet)
    at.call("AssociateAddress", AllocationId=address, NetworkInterfaceId=one)
    again = {"AllocationId": address, "NetworkInterfaceId": other, "AllowReassociation": False}
    at.refused("AssociateAddress", "Resource.AlreadyAssociated", **again)
    at.call("AssociateAddress", **{**again, "AllowReassociation": True})
    same(at.call("DescribeAddresses", AllocationIds=[address])["Addresses"][0]["NetworkInterfaceId"], other, "the ENI that has it")
    same("Association" in at.see_eni(one), False, "the first ENI still has an association")


@gateway("elastic address association")
def address_in_use(at: Site) -> None:
    """The ENI shows it; an associated address is not released: InvalidIPAddress.InUse."""
    _, subnet = _public(at)
    made = at.call("AllocateAddress", Domain="vpc")
    eni = at.eni(subnet)
    association = at.call("AssociateAddress", AllocationId=made["AllocationId"], NetworkInterfaceId=eni)["AssociationId"]
    seen = at.see_eni(eni)["Association"]
    same([seen["PublicIp"], seen["AllocationId"]], [made["PublicIp"], made["AllocationId"]], "the ENI's association")
    at.refused("ReleaseAddress", "InvalidIPAddress.InUse", AllocationId=made["AllocationId"])
    at.call("DisassociateAddress", AssociationId=association)
    at.call("ReleaseAddress", AllocationId=made["AllocationId"])


@gateway("elastic address association")
def address_without_a_gateway(at: Site) -> None:
    """Without an internet gateway it is Gateway.NotAttached."""
    wanted = {"AllocationId": _address(at), "NetworkInterfaceId": at.eni(at.subnet())}
    at.refused("AssociateAddress", "Gateway.NotAttached", **wanted)


@gateway("unknown elastic address")
def unknown_address(at: Site) -> None:
    """InvalidAllocationID.NotFound, for an unknown association InvalidAssociationID.NotFound."""
    at.refused("ReleaseAddress", "InvalidAllocationID.NotFound", AllocationId=f"eipalloc-{UNKNOWN}")
    at.refused("DisassociateAddress", "InvalidAssociationID.NotFound", AssociationId=f"eipassoc-{UNKNOWN}")


@gateway("NAT gateway")
def nat_gateway(at: Site) -> None:
    """It takes an address of its subnet by an ENI of its own, and the elastic address."""
    _, subnet = _public(at)
    address = _address(at)
    made = at.call("CreateNatGateway", SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]

    def seen() -> dict[str, Any]:
        return dict(at.call("DescribeNatGateways", NatGatewayIds=[made])["NatGateways"][0])

    at.until(lambda: seen()["State"] == "available", "available")
    place = seen()["NatGatewayAddresses"][0]
    same(place["AllocationId"], address, "its elastic address")
    eni = at.see_eni(place["NetworkInterfaceId"])
    same([eni["SubnetId"], eni["PrivateIpAddress"], eni["InterfaceType"]], [subnet, place["PrivateIp"], "nat_gateway"], "its ENI")
    same(at.free(subnet), 250, "AvailableIpAddressCount")
    at.refused("DeleteSubnet", "DependencyViolation", SubnetId=subnet)


@gateway("NAT gateway")
def unknown_nat_gateway(at: Site) -> None:
    """An unknown one is NatGatewayNotFound, an unknown elastic address InvalidAllocationID.NotFound."""
    at.refused("DeleteNatGateway", "NatGatewayNotFound", NatGatewayId=f"nat-{UNKNOWN}")
    _, subnet = _public(at)
    at.refused("CreateNatGateway", "InvalidAllocationID.NotFound", SubnetId=subnet, AllocationId=f"eipalloc-{UNKNOWN}")


def _ask(at: Site, one: str, other: str) -> str:
    answer = at.call("CreateVpcPeeringConnection", VpcId=one, PeerVpcId=other)
    return str(answer["VpcPeeringConnection"]["VpcPeeringConnectionId"])


def _becomes(at: Site, connection: str, state: str) -> None:
    def seen() -> bool:
        found = at.call("DescribeVpcPeeringConnections", VpcPeeringConnectionIds=[connection])["VpcPeeringConnections"]
        return bool(found[0]["Status"]["Code"] == state)

    at.until(seen, f"{state}: {connection}")


@peering("peering")
def peering_accepted(at: Site) -> None:
    """Asked for it is pending-acceptance, accepted it is active."""
    connection = _ask(at, at.vpc(), at.vpc("10.78.0.0/16"))
    _becomes(at, connection, "pending-acceptance")
    at.call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=connection)
    _becomes(at, connection, "active")


@peering("peering of overlapping VPCs")
def peering_overlap(at: Site) -> None:
    """It ends in state failed."""
    _becomes(at, _ask(at, at.vpc(), at.vpc("10.77.128.0/17")), "failed")


@peering("one peering a pair")
def peering_twice(at: Site) -> None:
    """A second one of two peered VPCs is VpcPeeringConnectionAlreadyExists."""
    one, other = at.vpc(), at.vpc("10.78.0.0/16")
    connection = _ask(at, one, other)
    at.call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=connection)
    _becomes(at, connection, "active")
    for pair in ((one, other), (other, one)):
        at.refused("CreateVpcPeeringConnection", "VpcPeeringConnectionAlreadyExists", VpcId=pair[0], PeerVpcId=pair[1])


@peering("states of a peering")
def peering_rejected(at: Site) -> None:
    """A rejected one is not accepted any more: InvalidStateTransition."""
    connection = _ask(at, at.vpc(), at.vpc("10.78.0.0/16"))
    at.call("RejectVpcPeeringConnection", VpcPeeringConnectionId=connection)
    _becomes(at, connection, "rejected")
    at.refused("AcceptVpcPeeringConnection", "InvalidStateTransition", VpcPeeringConnectionId=connection)


@peering("unknown peering")
def unknown_peering(at: Site) -> None:
    """InvalidVpcPeeringConnectionID.NotFound."""
    at.refused("AcceptVpcPeeringConnection", "InvalidVpcPeeringConnectionID.NotFound", VpcPeeringConnectionId=f"pcx-{UNKNOWN}")
