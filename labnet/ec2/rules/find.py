"""Objects by id, with EC2's words when they are not there (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from labnet.ec2.rules.request import Params, check_same, is_id, request_digest
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, Instance, InternetGateway, SecurityGroup, Subnet, Vpc
from labnet.model.cloud_vpc import CidrReservation, ElasticAddress, NatGateway, NetworkAcl, Peering, PrefixList, RouteTable, VpcRoute
from labnet.model.cloud_vpn import CustomerGateway, VpnConnection, VpnGateway


class Tokened(Protocol):
    """An object that remembers the request that made it."""

    @property
    def client_token(self) -> str:
        """The ClientToken, or nothing."""

    @property
    def request_digest(self) -> str:
        """What the request asked for."""


Made = TypeVar("Made", bound=Tokened)


def find_made(objects: Mapping[str, Made], params: Params) -> Made | None:
    """What a request with this ClientToken made before. Errors: Ec2Error where it then said something else."""
    token = str(params.get("ClientToken") or "")
    for one in objects.values() if token else ():
        if one.client_token == token:
            check_same(token, one.request_digest, params)
            return one
    return None


def token_of(params: Params) -> tuple[str, str]:
    """What an object remembers of the request that makes it: its ClientToken and its digest, or nothing."""
    token = str(params.get("ClientToken") or "")
    return token, request_digest(params) if token else ""


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


def no_table(table_id: str) -> Ec2Error:
    """InvalidRouteTableID.NotFound."""
    code, text = "InvalidRouteTableID.NotFound", f"The routeTable ID '{table_id}' does not exist"
    return _missing(table_id, "rtb", "InvalidRouteTableId.Malformed", code, text)


def no_allocation(allocation_id: str) -> Ec2Error:
    """InvalidAllocationID.NotFound."""
    return Ec2Error("InvalidAllocationID.NotFound", f"The allocation ID '{allocation_id}' does not exist")


def no_address(public_ip: str) -> Ec2Error:
    """InvalidAddress.NotFound."""
    return Ec2Error("InvalidAddress.NotFound", f"Address '{public_ip}' not found.")


def no_association(association_id: str) -> Ec2Error:
    """InvalidAssociationID.NotFound: of an address, a route table or a network ACL."""
    return Ec2Error("InvalidAssociationID.NotFound", f"The association ID '{association_id}' does not exist")


def no_nat(nat_id: str) -> Ec2Error:
    """NatGatewayNotFound."""
    code, text = "NatGatewayNotFound", f"The Nat Gateway {nat_id} was not found"
    return _missing(nat_id, "nat", "NatGatewayMalformed", code, text)


def no_acl(acl_id: str) -> Ec2Error:
    """InvalidNetworkAclID.NotFound."""
    return Ec2Error("InvalidNetworkAclID.NotFound", f"The networkAcl ID '{acl_id}' does not exist")


def no_prefix_list(list_id: str) -> Ec2Error:
    """InvalidPrefixListID.NotFound."""
    code, text = "InvalidPrefixListID.NotFound", f"The prefix list ID '{list_id}' does not exist"
    return _missing(list_id, "pl", "InvalidPrefixListId.Malformed", code, text)


def no_peering(peering_id: str) -> Ec2Error:
    """InvalidVpcPeeringConnectionID.NotFound."""
    code, text = "InvalidVpcPeeringConnectionID.NotFound", f"The vpcPeeringConnection ID '{peering_id}' does not exist"
    return _missing(peering_id, "pcx", "InvalidVpcPeeringConnectionId.Malformed", code, text)


def no_dhcp_options(set_id: str) -> Ec2Error:
    """InvalidDhcpOptionID.NotFound."""
    text = f"The dhcpOption ID '{set_id}' does not exist"
    return _missing(set_id, "dopt", "InvalidDhcpOptionsId.Malformed", "InvalidDhcpOptionID.NotFound", text)


def no_vpn_gateway(gateway_id: str) -> Ec2Error:
    """InvalidVpnGatewayID.NotFound."""
    return Ec2Error("InvalidVpnGatewayID.NotFound", f"The vpnGateway ID '{gateway_id}' does not exist")


def no_customer_gateway(gateway_id: str) -> Ec2Error:
    """InvalidCustomerGatewayID.NotFound."""
    text = f"The customerGateway ID '{gateway_id}' does not exist"
    return _missing(gateway_id, "cgw", "InvalidCustomerGatewayId.Malformed", "InvalidCustomerGatewayID.NotFound", text)


def no_vpn_connection(connection_id: str) -> Ec2Error:
    """InvalidVpnConnectionID.NotFound."""
    return Ec2Error("InvalidVpnConnectionID.NotFound", f"The vpnConnection ID '{connection_id}' does not exist")


def no_reservation(reservation_id: str) -> Ec2Error:
    """InvalidSubnetCidrReservationID.NotFound."""
    text = f"The subnetCidrReservation ID '{reservation_id}' does not exist"
    return Ec2Error("InvalidSubnetCidrReservationID.NotFound", text)


def get_eni(state: CloudState, eni_id: str) -> Eni:
    """The ENI. Errors: Ec2Error."""
    if eni_id not in state.enis:
        raise no_eni(eni_id)
    return state.enis[eni_id]


def get_own_eni(state: CloudState, eni_id: str) -> Eni:
    """An ENI that its owner may change: those of NAT gateways belong to the service. Errors: Ec2Error."""
    eni = get_eni(state, eni_id)
    if eni.requester_managed:
        raise not_yours()
    return eni


def not_yours() -> Ec2Error:
    """AuthFailure: what a service of AWS keeps in the account is not for the account to change."""
    return Ec2Error("AuthFailure", "You do not have permission to access the specified resource.", 401)


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
            if eni.requester_managed:
                raise not_yours()
            return eni
    raise Ec2Error("InvalidAttachmentID.NotFound", f"The network interface attachment ID '{attachment_id}' does not exist")


def get_table(state: CloudState, table_id: str) -> RouteTable:
    """The route table. Errors: Ec2Error."""
    if table_id not in state.route_tables:
        raise no_table(table_id)
    return state.route_tables[table_id]


def get_allocation(state: CloudState, allocation_id: str) -> ElasticAddress:
    """The Elastic IP. Errors: Ec2Error."""
    if allocation_id not in state.addresses:
        raise no_allocation(allocation_id)
    return state.addresses[allocation_id]


def get_nat(state: CloudState, nat_id: str) -> NatGateway:
    """The NAT gateway, deleted ones too. Errors: Ec2Error."""
    if nat_id not in state.nat_gateways:
        raise no_nat(nat_id)
    return state.nat_gateways[nat_id]


def get_acl(state: CloudState, acl_id: str) -> NetworkAcl:
    """The network ACL. Errors: Ec2Error."""
    if acl_id not in state.network_acls:
        raise no_acl(acl_id)
    return state.network_acls[acl_id]


def get_prefix_list(state: CloudState, list_id: str) -> PrefixList:
    """The managed prefix list. Errors: Ec2Error."""
    if list_id not in state.prefix_lists:
        raise no_prefix_list(list_id)
    return state.prefix_lists[list_id]


def blocks_of_route(state: CloudState, route: VpcRoute) -> tuple[str, ...]:
    """The blocks that a route leads to: its own, or those that its prefix list holds now."""
    if route.prefix_list_id is None:
        return (route.destination,)
    listed = state.prefix_lists.get(route.prefix_list_id)
    return tuple(entry.cidr for entry in listed.entries) if listed is not None else ()


def get_peering(state: CloudState, peering_id: str) -> Peering:
    """The peering connection, ended ones too. Errors: Ec2Error."""
    if peering_id not in state.peerings:
        raise no_peering(peering_id)
    return state.peerings[peering_id]


def get_reservation(state: CloudState, reservation_id: str) -> CidrReservation:
    """The CIDR reservation. Errors: Ec2Error."""
    if reservation_id not in state.cidr_reservations:
        raise no_reservation(reservation_id)
    return state.cidr_reservations[reservation_id]


def get_vpn_gateway(state: CloudState, gateway_id: str) -> VpnGateway:
    """The virtual private gateway. Errors: Ec2Error, for a deleted one too."""
    found = state.vpn_gateways.get(gateway_id)
    if found is None or found.state == "deleted":
        raise no_vpn_gateway(gateway_id)
    return found


def get_customer_gateway(state: CloudState, gateway_id: str) -> CustomerGateway:
    """The customer gateway. Errors: Ec2Error, for a deleted one too."""
    found = state.customer_gateways.get(gateway_id)
    if found is None or found.state == "deleted":
        raise no_customer_gateway(gateway_id)
    return found


def get_vpn_connection(state: CloudState, connection_id: str) -> VpnConnection:
    """The VPN connection. Errors: Ec2Error, for a deleted one too."""
    found = state.vpn_connections.get(connection_id)
    if found is None or found.state == "deleted":
        raise no_vpn_connection(connection_id)
    return found
