"""Private addresses of ENIs (pure). Source: docs/sources.md#enis"""

from __future__ import annotations

from dataclasses import replace

from labnet.ec2.rules.find import get_own_eni
from labnet.ec2.rules.pool import (
    check_given,
    check_given_prefixes,
    choose,
    choose_prefixes,
    give_back,
    give_back_public,
    taken_with,
)
from labnet.ec2.rules.request import Context, Params, Result, action, invalid
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, Eni, PrivateAddress

_KINDS = ("SecondaryPrivateIpAddressCount", "PrivateIpAddresses", "Ipv4PrefixCount", "Ipv4Prefixes")


def assign(state: CloudState, params: Params, context: Context) -> Result:
    """AssignPrivateIpAddresses: by count, by list, or prefixes; the answer names what the request brought."""
    eni = get_own_eni(state, params["NetworkInterfaceId"])
    named = [key for key in _KINDS if params.get(key) is not None]
    if len(named) != 1:
        raise Ec2Error("InvalidParameterCombination", "Exactly one of addresses, their count, prefixes or their count must be given")
    kind, wanted = named[0], params[named[0]]
    _check_room(state, context, eni, len(wanted) if isinstance(wanted, list | tuple) else int(wanted), params)
    subnet = state.subnets[eni.subnet_id]
    addresses: list[str] = []
    prefixes: list[str] = []
    if kind == "SecondaryPrivateIpAddressCount":
        addresses = choose(state, subnet, int(wanted))
    elif kind == "PrivateIpAddresses":
        addresses = _not_yet(eni, params)
        if params.get("AllowReassignment"):
            state = _taken_from_others(state, eni, addresses)
        check_given(state, subnet, addresses)
    elif kind == "Ipv4PrefixCount":
        prefixes = choose_prefixes(state, subnet, int(wanted))
    else:
        prefixes = [str(one) for one in wanted]
        check_given_prefixes(state, subnet, prefixes)
    if addresses or prefixes:
        grown = replace(eni, addresses=(*eni.addresses, *(PrivateAddress(one) for one in addresses)), prefixes=(*eni.prefixes, *prefixes))
        taken = taken_with(state, subnet.id, addresses, prefixes)
        state = replace(state, enis={**state.enis, eni.id: grown}, taken=taken)
    told = wanted if kind == "PrivateIpAddresses" else addresses
    return state, {
        "NetworkInterfaceId": eni.id, "AssignedPrivateIpAddresses": [{"PrivateIpAddress": one} for one in told],
        "AssignedIpv4Prefixes": [{"Ipv4Prefix": one} for one in prefixes],
    }


def _not_yet(eni: Eni, params: Params) -> list[str]:
    """The listed addresses; with AllowReassignment those that the ENI has already are no news."""
    own = {item.address for item in eni.addresses} if params.get("AllowReassignment") else set()
    return [str(one) for one in params["PrivateIpAddresses"] if one not in own]


def _check_room(state: CloudState, context: Context, eni: Eni, count: int, params: Params) -> None:
    if count < 1:
        raise invalid(f"invalid value for parameter count: {count}")
    if eni.attachment is None:
        return
    if params.get("PrivateIpAddresses"):
        count = len(_not_yet(eni, params))
    kind = context.limits[state.instances[eni.attachment.instance_id].instance_type]
    if eni.slots_used + count > kind.ipv4_per_eni:
        raise Ec2Error("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")


def _taken_from_others(state: CloudState, eni: Eni, addresses: list[str]) -> CloudState:
    """AllowReassignment: secondary addresses leave the ENI that has them, in the same subnet."""
    for other in state.enis.values():
        moving = [item for item in other.addresses if item.address in addresses]
        if other.id == eni.id or not moving or other.subnet_id != eni.subnet_id:
            continue
        if any(item.primary for item in moving):
            raise Ec2Error("InvalidIPAddress.InUse", f"Address {moving[0].address} is in use.")
        kept = tuple(item for item in other.addresses if item not in moving)
        for item in moving:
            state = give_back_public(state, item.public)
        state = give_back(state, other.subnet_id, [item.address for item in moving])
        state = replace(state, enis={**state.enis, other.id: replace(other, addresses=kept)})
    return state


def unassign(state: CloudState, params: Params, context: Context) -> Result:
    """UnassignPrivateIpAddresses: addresses or prefixes."""
    eni = get_own_eni(state, params["NetworkInterfaceId"])
    addresses = [str(one) for one in params.get("PrivateIpAddresses") or ()]
    prefixes = [str(one) for one in params.get("Ipv4Prefixes") or ()]
    if bool(addresses) == bool(prefixes):
        raise Ec2Error("InvalidParameterCombination", "Either addresses or prefixes must be given")
    own = {item.address for item in eni.addresses if not item.primary}
    if not set(addresses) <= own or not set(prefixes) <= set(eni.prefixes):
        raise invalid(f"Some of the specified addresses are not assigned to interface {eni.id}")
    for item in eni.addresses:
        if item.address in addresses:
            state = give_back_public(state, item.public)
    state = give_back(state, eni.subnet_id, addresses, prefixes)
    shrunk = replace(
        eni, addresses=tuple(item for item in eni.addresses if item.address not in addresses),
        prefixes=tuple(one for one in eni.prefixes if one not in prefixes),
    )
    return replace(state, enis={**state.enis, eni.id: shrunk}), {}


ACTIONS = {
    "AssignPrivateIpAddresses": action(
        assign, "NetworkInterfaceId SecondaryPrivateIpAddressCount PrivateIpAddresses Ipv4PrefixCount Ipv4Prefixes AllowReassignment",
        "NetworkInterfaceId", dry_run=False,
    ),
    "UnassignPrivateIpAddresses": action(unassign, "NetworkInterfaceId PrivateIpAddresses Ipv4Prefixes", "NetworkInterfaceId", dry_run=False),
}
