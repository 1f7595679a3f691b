"""NAT gateways: an ENI of the service in a subnet, with an Elastic IP or private (pure). Source: docs/sources.md#nat-gateways

What goes wrong after a request was taken is told by the gateway's state, as on AWS: a failed gateway has no ENI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.elastic_addresses import put_on
from labnet.ec2.rules.enis import make_eni, remove_eni
from labnet.ec2.rules.find import find_made, get_allocation, get_nat, get_subnet, no_nat, token_of
from labnet.ec2.rules.pool import check_given
from labnet.ec2.rules.quotas import GATEWAYS_PER_ZONE
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tag_list, tags_for
from labnet.ec2.rules.shapes import time_of
from labnet.errors import Ec2Error
from labnet.model.cloud import Attachment, CloudState, Subnet
from labnet.model.cloud_vpc import NatGateway

SHOWN_AFTER_END_S = 3_600.0
"""How long a deleted or failed gateway is still described."""


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateNatGateway; the answer says pending, a description what became of it."""
    nat = find_made(state.nat_gateways, params)
    if nat is None:
        subnet = get_subnet(state, params["SubnetId"])
        _check_request(state, subnet, params, context)
        tags = tags_for(params, "natgateway")
        state, nat_id = new_id(state, "nat", f"{subnet.vpc_id}/{tags['Name']}" if tags.get("Name") else "")
        token, said = token_of(params)
        nat = NatGateway(
            nat_id, subnet.vpc_id, subnet.id, params.get("ConnectivityType") or "public", allocation_id=str(params.get("AllocationId") or ""),
            created_at_s=context.now_s, tags=tags, client_token=token, request_digest=said,
        )
        state, nat = _made(state, context, subnet, nat, params.get("PrivateIpAddress"))
        kept = {key: one for key, one in state.nat_gateways.items() if _is_shown(one, context)}
        state = replace(state, nat_gateways={**kept, nat_id: nat})
    shown = {**nat_shape(state, nat), "State": "pending"} if nat.state != "deleted" else nat_shape(state, nat)
    if shown["State"] == "pending":
        shown["NatGatewayAddresses"] = [{"AllocationId": nat.allocation_id}] if nat.allocation_id else []
        for member in ("FailureCode", "FailureMessage", "DeleteTime"):
            shown.pop(member, None)
    return state, {"NatGateway": shown, **({"ClientToken": nat.client_token} if nat.client_token else {})}


def _check_request(state: CloudState, subnet: Subnet, params: Params, context: Context) -> None:
    """What EC2 refuses at once. Errors: Ec2Error."""
    kind, allocation = params.get("ConnectivityType") or "public", params.get("AllocationId")
    if kind not in ("public", "private"):
        raise invalid(f"Value ({kind}) for parameter connectivityType is invalid.")
    if kind == "private" and allocation:
        raise Ec2Error("InvalidParameterCombination", "A private NAT gateway has no Elastic IP: leave AllocationId out")
    if kind == "public" and not allocation:
        raise Ec2Error("MissingParameter", "The request must contain the parameter AllocationId")
    if allocation:
        get_allocation(state, allocation)
    if params.get("PrivateIpAddress"):
        check_given(state, subnet, [params["PrivateIpAddress"]])
    zone = subnet.availability_zone
    present = [one for one in state.nat_gateways.values() if one.state == "available" and _zone(state, one) == zone]
    if len(present) >= GATEWAYS_PER_ZONE:
        text = f"Performing this operation would exceed the limit of {GATEWAYS_PER_ZONE} NAT gateways"
        raise Ec2Error("NatGatewayLimitExceeded", text)


def _zone(state: CloudState, nat: NatGateway) -> str:
    return state.subnets[nat.subnet_id].availability_zone


def _made(
    state: CloudState, context: Context, subnet: Subnet, nat: NatGateway, given: str | None,
) -> tuple[CloudState, NatGateway]:
    """The gateway with its ENI and address, or as it failed, with nothing else changed."""
    before = state
    try:
        if nat.connectivity == "public":
            _check_way_out(state, nat)
        state, eni = make_eni(state, context, subnet, primary=given, description=f"Interface for NAT Gateway {nat.id}", name=nat.id)
        state, attachment_id = new_id(state, "ela-attach")
        at = Attachment(attachment_id, "", 1, attached_at_s=context.now_s)  # on no instance of the account
        eni = replace(eni, security_groups=(), interface_type="nat_gateway", requester_managed=True, attachment=at)
        state = replace(state, enis={**state.enis, eni.id: eni})
        nat = replace(nat, eni_id=eni.id, private_address=eni.primary)
        if nat.connectivity == "public":
            state, association_id = put_on(state, nat.allocation_id, eni.id, eni.primary)
            nat = replace(nat, association_id=association_id, public_ip=state.addresses[nat.allocation_id].public_ip)
    except Ec2Error as error:
        text = "Subnet has insufficient free addresses to create this NAT gateway"
        said = text if error.code == "InsufficientFreeAddressesInSubnet" else error.message
        return before, replace(nat, state="failed", failure_code=error.code, failure_message=said, ended_at_s=context.now_s)
    return state, nat


def _check_way_out(state: CloudState, nat: NatGateway) -> None:
    if not any(one.vpc_id == nat.vpc_id for one in state.internet_gateways.values()):
        raise Ec2Error("Gateway.NotAttached", f"Network {nat.vpc_id} has no Internet gateway attached")
    if state.addresses[nat.allocation_id].association is not None:
        raise Ec2Error("Resource.AlreadyAssociated", f"Elastic IP address [{nat.allocation_id}] is already associated")


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteNatGateway: its ENI goes, its Elastic IP stays allocated, routes to it are blackholes. Twice is fine."""
    nat = get_nat(state, params["NatGatewayId"])
    if nat.state == "available":
        state = remove_eni(state, state.enis[nat.eni_id])
    if nat.state != "deleted":
        gone = replace(nat, state="deleted", ended_at_s=context.now_s)
        state = replace(state, nat_gateways={**state.nat_gateways, nat.id: gone})
    return state, {"NatGatewayId": nat.id}


def _is_shown(nat: NatGateway, context: Context) -> bool:
    return nat.ended_at_s is None or context.now_s - nat.ended_at_s < SHOWN_AFTER_END_S


def nat_shape(state: CloudState, nat: NatGateway) -> dict[str, Any]:
    """`NatGateway`."""
    out: dict[str, Any] = {
        "NatGatewayId": nat.id, "VpcId": nat.vpc_id, "SubnetId": nat.subnet_id, "ConnectivityType": nat.connectivity, "State": nat.state,
        "CreateTime": time_of(nat.created_at_s), "Tags": tag_list(nat.tags), "NatGatewayAddresses": [],
    }
    if nat.failure_code:
        out |= {"FailureCode": nat.failure_code, "FailureMessage": nat.failure_message}
    if nat.ended_at_s is not None:
        out["DeleteTime"] = time_of(nat.ended_at_s)
    address: dict[str, Any] = {"IsPrimary": True, "Status": "failed" if nat.failure_code else "succeeded"}
    known: Mapping[str, str] = {
        "NetworkInterfaceId": nat.eni_id, "PrivateIp": nat.private_address, "AllocationId": nat.allocation_id,
        "AssociationId": nat.association_id, "PublicIp": nat.public_ip,
    }
    present = {member: text for member, text in known.items() if text}
    if present:
        out["NatGatewayAddresses"] = [{**present, **address}]
    return out


_FIELDS: dict[str, describe.Field[NatGateway]] = {
    "nat-gateway-id": lambda one: (one.id,), "state": lambda one: (one.state,), "subnet-id": lambda one: (one.subnet_id,),
    "vpc-id": lambda one: (one.vpc_id,),
}


def describe_nats(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeNatGateways; its filters are called `Filter`."""
    found = [one for one in describe.chosen(state.nat_gateways, params.get("NatGatewayIds"), no_nat) if _is_shown(one, context)]
    found = describe.matching(found, {"Filters": params.get("Filter")}, _FIELDS, lambda one: one.tags)
    shown, more = describe.page(found, params)
    return state, {"NatGateways": [nat_shape(state, one) for one in shown], **more}


ACTIONS = {
    "CreateNatGateway": action(
        create, "SubnetId AllocationId ConnectivityType PrivateIpAddress TagSpecifications ClientToken", "SubnetId"
    ),
    "DeleteNatGateway": action(delete, "NatGatewayId", "NatGatewayId"),
    "DescribeNatGateways": action(describe_nats, "NatGatewayIds Filter MaxResults NextToken", mutates=False),
}
