"""Elastic IPs: allocate, associate with a private address of an ENI, and back (pure). Source: docs/sources.md#elastic-addresses"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_allocation, get_instance, get_own_eni, no_address, no_allocation, no_association, not_yours
from labnet.ec2.rules.pool import give_back_public, take_public
from labnet.ec2.rules.quotas import ADDRESSES_PER_REGION
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tag_list, tags_for
from labnet.ec2.rules.routes import only_eni
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, PrivateAddress
from labnet.model.cloud_vpc import AddressAssociation, ElasticAddress

AMAZON_POOL = "amazon"


def allocate(state: CloudState, params: Params, context: Context) -> Result:
    """AllocateAddress, from Amazon's pool."""
    if params.get("Domain") not in (None, "vpc"):
        raise invalid(f"Value ({params['Domain']}) for parameter domain is invalid. There are addresses of VPCs only.")
    if params.get("NetworkBorderGroup") not in (None, state.region):
        raise invalid(f"Value ({params['NetworkBorderGroup']}) for parameter networkBorderGroup is invalid.")
    if params.get("PublicIpv4Pool") not in (None, AMAZON_POOL):
        raise Ec2Error("InvalidPublicIpv4PoolID.NotFound", f"The pool ID '{params['PublicIpv4Pool']}' does not exist")
    if len(state.addresses) >= ADDRESSES_PER_REGION:
        raise Ec2Error("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    tags = tags_for(params, "elastic-ip")
    state, public = take_public(state)
    state, allocation_id = new_id(state, "eipalloc", tags.get("Name", ""))
    state = replace(state, addresses={**state.addresses, allocation_id: ElasticAddress(allocation_id, public, tags=tags)})
    return state, {
        "AllocationId": allocation_id, "PublicIp": public, "PublicIpv4Pool": AMAZON_POOL, "NetworkBorderGroup": state.region, "Domain": "vpc",
    }


def release(state: CloudState, params: Params, context: Context) -> Result:
    """ReleaseAddress: one that is associated with nothing."""
    if params.get("NetworkBorderGroup") not in (None, state.region):
        raise invalid(f"Value ({params['NetworkBorderGroup']}) for parameter networkBorderGroup is invalid.")
    if params.get("PublicIp"):
        raise invalid("You must specify an allocation id when releasing a VPC elastic IP address")
    if not params.get("AllocationId"):
        raise Ec2Error("MissingParameter", "The request must contain the parameter AllocationId")
    address = get_allocation(state, params["AllocationId"])
    if address.association is not None:
        _check_owner(state, address)
        raise Ec2Error("InvalidIPAddress.InUse", f"Address {address.public_ip} is in use.")
    kept = {key: one for key, one in state.addresses.items() if key != address.id}
    return replace(state, addresses=kept, public_taken=state.public_taken - {address.public_ip}), {}


def associate(state: CloudState, params: Params, context: Context) -> Result:
    """AssociateAddress: the same again is no error; one that is elsewhere moves only with AllowReassociation."""
    address = _named(state, params)
    eni, item = _place(state, params)
    if not any(one.vpc_id == eni.vpc_id for one in state.internet_gateways.values()):
        raise Ec2Error("Gateway.NotAttached", f"Network {eni.vpc_id} is not attached to any internet gateway")
    before = address.association
    if before is not None:
        if (before.eni_id, before.private_address) == (eni.id, item.address):
            return state, {"AssociationId": before.id}
        _check_owner(state, address)
        if not params.get("AllowReassociation"):
            text = f"resource {address.id} is already associated with associate-id {before.id}"
            raise Ec2Error("Resource.AlreadyAssociated", text)
    other = state.elastic(item.public)
    if other is not None:
        raise Ec2Error("Resource.AlreadyAssociated", f"resource {eni.id} is already associated with address {other.public_ip}")
    if before is not None:
        state = taken_off(state, address)
    state, made = put_on(state, address.id, eni.id, item.address)
    return state, {"AssociationId": made}


def disassociate(state: CloudState, params: Params, context: Context) -> Result:
    """DisassociateAddress, by the association or the public address."""
    if bool(params.get("AssociationId")) == bool(params.get("PublicIp")):
        raise Ec2Error("InvalidParameterCombination", "Exactly one of AssociationId and PublicIp must be given")
    if params.get("PublicIp"):
        address = _named(state, params)
        if address.association is None:
            return state, {}
    else:
        wanted = params["AssociationId"]
        found = (one for one in state.addresses.values() if one.association is not None and one.association.id == wanted)
        address = next(found, None) or _missing_association(str(wanted))
    _check_owner(state, address)
    return taken_off(state, address), {}


def _missing_association(association_id: str) -> ElasticAddress:
    raise no_association(association_id)


def put_on(state: CloudState, allocation_id: str, eni_id: str, private_address: str) -> tuple[CloudState, str]:
    """Associate an Elastic IP with a private address; what came with a launch is given back. Returns the association's id."""
    state, made = new_id(state, "eipassoc")
    item = next(one for one in state.enis[eni_id].addresses if one.address == private_address)
    association = AddressAssociation(made, eni_id, private_address, item.public is not None)
    address = replace(state.addresses[allocation_id], association=association)
    state = give_back_public(state, item.public)
    state = replace(state, addresses={**state.addresses, allocation_id: address})
    return _with_public(state, eni_id, private_address, address.public_ip), made


def taken_off(state: CloudState, address: ElasticAddress) -> CloudState:
    """The Elastic IP associated with nothing. Where it had replaced an address of a launch another one comes, to an instance with one ENI."""
    at = address.association
    assert at is not None
    state = replace(state, addresses={**state.addresses, address.id: replace(address, association=None)})
    attachment = state.enis[at.eni_id].attachment
    public = None
    if at.replaced_auto and attachment is not None and len(state.enis_of(attachment.instance_id)) == 1:
        state, public = take_public(state)
    return _with_public(state, at.eni_id, at.private_address, public)


def _with_public(state: CloudState, eni_id: str, private_address: str, public: str | None) -> CloudState:
    eni = state.enis[eni_id]
    items = tuple(replace(one, public=public) if one.address == private_address else one for one in eni.addresses)
    return replace(state, enis={**state.enis, eni_id: replace(eni, addresses=items)})


def _named(state: CloudState, params: Params) -> ElasticAddress:
    """The Elastic IP of a request, by allocation or by address. Errors: Ec2Error."""
    if bool(params.get("AllocationId")) == bool(params.get("PublicIp")):
        raise Ec2Error("InvalidParameterCombination", "Exactly one of AllocationId and PublicIp must be given")
    if params.get("AllocationId"):
        return get_allocation(state, params["AllocationId"])
    address = state.elastic(str(params["PublicIp"]))
    if address is None:
        raise no_address(str(params["PublicIp"]))
    return address


def _place(state: CloudState, params: Params) -> tuple[Eni, PrivateAddress]:
    """The ENI and its private address that a request means, the primary one where it names none. Errors: Ec2Error."""
    eni_id, instance_id = params.get("NetworkInterfaceId"), params.get("InstanceId")
    if bool(eni_id) == bool(instance_id):
        raise Ec2Error("InvalidParameterCombination", "Exactly one of InstanceId and NetworkInterfaceId must be given")
    if instance_id:
        get_instance(state, instance_id)
        eni_id = only_eni(state, instance_id)
    eni = get_own_eni(state, str(eni_id))
    wanted = params.get("PrivateIpAddress") or eni.primary
    item = next((one for one in eni.addresses if one.address == wanted), None)
    if item is None:
        raise invalid(f"Address {wanted} is not assigned to interface {eni.id}")
    return eni, item


def _check_owner(state: CloudState, address: ElasticAddress) -> None:
    """What a service of AWS has associated, its NAT gateways, only the service ends. Errors: Ec2Error AuthFailure."""
    if address.association is not None and state.enis[address.association.eni_id].requester_managed:
        raise not_yours()


def _instance_of(state: CloudState, one: ElasticAddress) -> str:
    attachment = state.enis[one.association.eni_id].attachment if one.association else None
    return attachment.instance_id if attachment is not None else ""


def address_shape(state: CloudState, one: ElasticAddress) -> dict[str, Any]:
    """`Address`."""
    out: dict[str, Any] = {
        "AllocationId": one.id, "PublicIp": one.public_ip, "Domain": "vpc", "PublicIpv4Pool": AMAZON_POOL,
        "NetworkBorderGroup": state.region, "Tags": tag_list(one.tags),
    }
    if one.association is not None:
        out |= {
            "AssociationId": one.association.id, "NetworkInterfaceId": one.association.eni_id, "NetworkInterfaceOwnerId": state.account_id,
            "PrivateIpAddress": one.association.private_address,
        }
        instance_id = _instance_of(state, one)
        out |= {"InstanceId": instance_id} if instance_id else {}
    return out


def describe_addresses(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeAddresses: never in pages."""
    fields: dict[str, describe.Field[ElasticAddress]] = {
        "allocation-id": lambda one: (one.id,), "public-ip": lambda one: (one.public_ip,), "domain": lambda one: ("vpc",),
        "association-id": lambda one: (one.association.id,) if one.association else (),
        "instance-id": lambda one: (_instance_of(state, one),) if _instance_of(state, one) else (),
        "network-border-group": lambda one: (state.region,),
        "network-interface-id": lambda one: (one.association.eni_id,) if one.association else (),
        "network-interface-owner-id": lambda one: (state.account_id,) if one.association else (),
        "private-ip-address": lambda one: (one.association.private_address,) if one.association else (),
    }
    found = describe.chosen(state.addresses, params.get("AllocationIds"), no_allocation)
    if params.get("PublicIps"):
        wanted = describe.chosen({one.public_ip: one for one in found}, params["PublicIps"], no_address)
        found = [one for one in found if one in wanted]
    return state, {"Addresses": [address_shape(state, one) for one in describe.matching(found, params, fields, lambda one: one.tags)]}


ACTIONS = {
    "AllocateAddress": action(allocate, "Domain NetworkBorderGroup PublicIpv4Pool TagSpecifications", acts=False),
    "ReleaseAddress": action(release, "AllocationId PublicIp NetworkBorderGroup", acts=False),
    "AssociateAddress": action(associate, "AllocationId PublicIp InstanceId NetworkInterfaceId PrivateIpAddress AllowReassociation"),
    "DisassociateAddress": action(disassociate, "AssociationId PublicIp"),
    "DescribeAddresses": action(describe_addresses, "AllocationIds PublicIps Filters", mutates=False),
}
