"""Network interfaces: create, attach, detach, delete, describe (pure); their attributes are `eni_attributes`. Source: docs/sources.md#enis"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.connection_tracking import PARAMETER, tracking_of
from labnet.ec2.rules.eni_fields import eni_fields
from labnet.ec2.rules.find import get_attached, get_eni, get_group, get_instance, get_own_eni, get_subnet, no_eni
from labnet.ec2.rules.pool import check_given, check_given_prefixes, choose, choose_prefixes, give_back, give_back_public, take
from labnet.ec2.rules.quotas import ENIS_PER_REGION, GROUPS_PER_ENI
from labnet.ec2.rules.request import (
    Context,
    Params,
    Result,
    action,
    check_members,
    check_same,
    count_of,
    invalid,
    new_id,
    request_digest,
    tags_for,
)
from labnet.ec2.rules.shapes import eni_shape
from labnet.errors import Ec2Error
from labnet.model.cloud import Attachment, CloudState, ConnectionTracking, Eni, PrivateAddress, Subnet
from labnet.model.names import mac

DEVICE_INDEXES = 100


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateNetworkInterface."""
    token = params.get("ClientToken")
    if token:
        for eni in state.enis.values():
            if eni.client_token == token:
                check_same(str(token), eni.request_digest, params)
                return state, {"NetworkInterface": eni_shape(state, eni), "ClientToken": token}
    subnet = get_subnet(state, params["SubnetId"])
    check_type(params)
    tracking = tracking_of(params)
    primary, secondary, prefixes = wanted_addresses(state, subnet, params)
    state, eni = make_eni(
        state, context, subnet, primary=primary, secondary=secondary, prefixes=prefixes,
        groups=params.get("Groups") or (), description=str(params.get("Description", "")), tags=tags_for(params, "network-interface"),
        client_token=str(token or ""), request_digest=request_digest(params) if token else "", connection_tracking=tracking,
    )
    return state, {"NetworkInterface": eni_shape(state, eni), **({"ClientToken": token} if token else {})}


def make_eni(
    state: CloudState, context: Context, subnet: Subnet, *, primary: str | None = None, secondary: Sequence[str] = (),
    prefixes: Sequence[str] = (), groups: Sequence[str] = (), description: str = "", tags: dict[str, str] | None = None, name: str = "",
    client_token: str = "", request_digest: str = "", connection_tracking: ConnectionTracking | None = None,
) -> tuple[CloudState, Eni]:
    """A new ENI with its addresses marked as taken; the VPC's default group where none is named. Errors: Ec2Error."""
    if len(state.enis) >= ENIS_PER_REGION:
        raise Ec2Error("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached.")
    groups = check_groups(state, subnet.vpc_id, groups, creating=True)
    if primary is None:
        primary = next(one for one in choose(state, subnet, 1 + len(secondary)) if one not in secondary)
    state, eni_id = new_id(state, "eni", name)
    eni = Eni(
        id=eni_id, vpc_id=subnet.vpc_id, subnet_id=subnet.id, availability_zone=subnet.availability_zone,
        mac=mac(state.seed, state.lab, eni_id), addresses=(PrivateAddress(primary, True), *(PrivateAddress(one) for one in secondary)),
        prefixes=tuple(prefixes), security_groups=groups, description=description, tags=tags or {}, created_at_s=context.now_s,
        client_token=client_token, request_digest=request_digest, connection_tracking=connection_tracking,
    )
    state = take(state, subnet.id, (primary, *secondary), prefixes)
    return replace(state, enis={**state.enis, eni_id: eni}), eni


def check_type(params: Params) -> None:
    """Plain interfaces only: EFA, trunk and branch interfaces are not offered. Errors: Ec2Error."""
    if params.get("InterfaceType", "interface") != "interface":
        raise invalid(f"Value ({params['InterfaceType']}) for parameter interfaceType is invalid. labnet offers: interface.")


def wanted_addresses(state: CloudState, subnet: Subnet, params: Params) -> tuple[str, list[str], list[str]]:
    """Primary, secondary addresses and prefixes that a request asks for, chosen where it names none. Errors: Ec2Error."""
    given: list[tuple[str, bool]] = []
    for item in params.get("PrivateIpAddresses") or ():
        check_members(item, "PrivateIpAddress Primary", "PrivateIpAddresses")
        given.append((str(item.get("PrivateIpAddress")), bool(item.get("Primary"))))
    if params.get("PrivateIpAddress"):
        if any(first for _, first in given):
            raise invalid("Only one primary private IP address can be specified.")
        given.insert(0, (str(params["PrivateIpAddress"]), True))
    named = [address for address, _ in given]
    check_given(state, subnet, named)
    primaries = [address for address, first in given if first]
    if len(primaries) > 1:
        raise invalid("Only one primary private IP address can be specified.")
    secondary = [address for address in named if address not in primaries]
    more, blocks = count_of(params, "SecondaryPrivateIpAddressCount"), count_of(params, "Ipv4PrefixCount")
    kinds = [bool(secondary), bool(more), bool(blocks), bool(params.get("Ipv4Prefixes"))]
    if sum(kinds) > 1:
        raise Ec2Error("InvalidParameterCombination", "Secondary addresses, their count and prefixes exclude one another")
    marked = take(state, subnet.id, named)
    chosen = choose(marked, subnet, more + (0 if primaries else 1))
    primary = primaries[0] if primaries else chosen.pop(0)
    marked = take(marked, subnet.id, [primary, *chosen])
    if params.get("Ipv4Prefixes"):
        for item in params["Ipv4Prefixes"]:
            check_members(item, "Ipv4Prefix", "Ipv4Prefixes")
        prefixes = [str(item.get("Ipv4Prefix")) for item in params["Ipv4Prefixes"]]
        check_given_prefixes(marked, subnet, prefixes)
    else:
        prefixes = choose_prefixes(marked, subnet, blocks)
    return primary, secondary + chosen, prefixes


def check_groups(state: CloudState, vpc_id: str, groups: Sequence[str], *, creating: bool = False) -> tuple[str, ...]:
    """The groups of an ENI; the default group where none is named. Errors: Ec2Error."""
    if not groups:
        return tuple(one.id for one in state.security_groups.values() if one.vpc_id == vpc_id and one.name == "default")
    unique = tuple(dict.fromkeys(groups))
    for one in unique:
        if get_group(state, one).vpc_id != vpc_id:
            raise invalid(f"You have specified two resources that belong to different networks: {one} and {vpc_id}.")
    if len(unique) > GROUPS_PER_ENI and creating:
        raise invalid(f"user {state.account_id} exceeded limit {GROUPS_PER_ENI} on the number of interface security group memberships")
    if len(unique) > GROUPS_PER_ENI:
        text = "The maximum number of security groups per interface has been reached."
        raise Ec2Error("SecurityGroupsPerInterfaceLimitExceeded", text)
    return unique


def attach(state: CloudState, params: Params, context: Context) -> Result:
    """AttachNetworkInterface."""
    eni = get_own_eni(state, params["NetworkInterfaceId"])
    return attach_eni(state, context, eni, params["InstanceId"], int(params["DeviceIndex"]), int(params.get("NetworkCardIndex") or 0))


def attach_eni(
    state: CloudState, context: Context, eni: Eni, instance_id: str, device_index: int, card: int = 0, *, delete_on_termination: bool = False
) -> Result:
    """Plug an ENI into an instance. Errors: Ec2Error for every rule of EC2 that it breaks."""
    instance = get_instance(state, instance_id)
    if instance.state != "running" and not (instance.state == "pending" and device_index == 0):
        text = f"Instance '{instance_id}' is not 'running' or 'stopped'."
        raise Ec2Error("IncorrectState", text)
    if eni.attachment is not None:
        raise Ec2Error("InvalidNetworkInterface.InUse", f"Interface: [{eni.id}] in use.")
    if eni.availability_zone != instance.availability_zone:
        text = f"You may not attach a network interface to an instance if they are not in the same availability zone: {eni.id}"
        raise invalid(text)
    if eni.vpc_id != instance.vpc_id:
        raise invalid(f"You may not attach a network interface of another VPC: {eni.id}")
    present = [one for one in state.enis_of(instance_id) if one.attachment is not None]
    kind = context.limits[instance.instance_type]
    on_card = [one for one in present if one.attachment and one.attachment.network_card_index == card]
    room = dict(kind.network_cards).get(card)
    if room is None:
        raise invalid(f"Network card index {card} is not valid for instance type {kind.name}.")
    if len(on_card) + 1 > room:
        raise Ec2Error("AttachmentLimitExceeded", f"Interface count {len(on_card) + 1} exceeds the limit for {kind.name}")
    if not 0 <= device_index < DEVICE_INDEXES:
        raise invalid(f"Device index {device_index} is not valid.")
    if any(one.attachment and one.attachment.device_index == device_index for one in on_card):
        raise invalid(f"Instance '{instance_id}' already has an interface attached at device index '{device_index}'.")
    if eni.slots_used > kind.ipv4_per_eni:
        raise Ec2Error("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
    state, attachment_id = new_id(state, "eni-attach")
    at = Attachment(attachment_id, instance_id, device_index, card, delete_on_termination, context.now_s)
    state = replace(state, enis={**state.enis, eni.id: replace(eni, attachment=at)})
    return state, {"AttachmentId": attachment_id, "NetworkCardIndex": card}


def detach(state: CloudState, params: Params, context: Context) -> Result:
    """DetachNetworkInterface; it takes no time here, so that `Force` finds nothing to cut short."""
    eni = get_attached(state, params["AttachmentId"])
    at = eni.attachment
    assert at is not None
    if at.device_index == 0 and at.network_card_index == 0:
        text = "The network interface at device index 0 and networkCard index 0 cannot be detached."
        raise Ec2Error("OperationNotPermitted", text)
    return replace(state, enis={**state.enis, eni.id: replace(eni, attachment=None)}), {}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteNetworkInterface."""
    eni = get_eni(state, params["NetworkInterfaceId"])
    if eni.attachment is not None:
        raise invalid(f"Network interface '{eni.id}' is currently in use.")
    return remove_eni(state, eni), {}


def remove_eni(state: CloudState, eni: Eni) -> CloudState:
    """Without the ENI; its addresses are free again."""
    state = give_back(state, eni.subnet_id, (item.address for item in eni.addresses), eni.prefixes)
    for item in eni.addresses:
        state = give_back_public(state, item.public)
    return replace(state, enis={key: one for key, one in state.enis.items() if key != eni.id})


def describe_enis(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeNetworkInterfaces."""
    describe.page_or_ids(params, "NetworkInterfaceIds", "networkInterfaceIds")
    found = describe.chosen(state.enis, params.get("NetworkInterfaceIds"), no_eni)
    found = describe.matching(found, params, eni_fields(state), lambda one: one.tags)
    shown, more = describe.page(found, params)
    answer: dict[str, Any] = {"NetworkInterfaces": [eni_shape(state, one) for one in shown], **more}
    return state, answer


ACTIONS = {
    "CreateNetworkInterface": action(
        create,
        "SubnetId Description Groups InterfaceType PrivateIpAddress PrivateIpAddresses SecondaryPrivateIpAddressCount Ipv4PrefixCount "
        f"Ipv4Prefixes TagSpecifications ClientToken {PARAMETER}",
        "SubnetId", state_only=PARAMETER,
    ),
    "AttachNetworkInterface": action(
        attach, "NetworkInterfaceId InstanceId DeviceIndex NetworkCardIndex", "NetworkInterfaceId InstanceId DeviceIndex"
    ),
    "DetachNetworkInterface": action(detach, "AttachmentId Force", "AttachmentId"),
    "DeleteNetworkInterface": action(delete, "NetworkInterfaceId", "NetworkInterfaceId"),
    "DescribeNetworkInterfaces": action(describe_enis, "NetworkInterfaceIds Filters MaxResults NextToken", mutates=False),
}
