"""Subnet CIDR reservations: what no address is chosen from (pure). Source: docs/sources.md#cidr-reservations

`rules.pool` respects them; what an ENI has already stays with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.blocks import parse_cidr
from labnet.ec2.rules.find import get_reservation, get_subnet
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id, tag_list, tags_for
from labnet.model.addressing import PREFIX_BITS, contains, overlap, prefix_length
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import CidrReservation


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateSubnetCidrReservation: inside the subnet, apart from other reservations; one for prefixes has room for one at least."""
    subnet, kind = get_subnet(state, params["SubnetId"]), params["ReservationType"]
    cidr = parse_cidr(str(params["Cidr"]), "cidr")
    if kind not in ("prefix", "explicit"):
        raise invalid(f"Value ({kind}) for parameter reservationType is invalid. It must be prefix or explicit.")
    if not contains(subnet.cidr, cidr):
        raise invalid(f"The CIDR '{cidr}' is not within the CIDR '{subnet.cidr}' of subnet {subnet.id}")
    if kind == "prefix" and prefix_length(cidr) > PREFIX_BITS:
        raise invalid(f"The CIDR '{cidr}' has no room for a prefix of /{PREFIX_BITS}")
    if any(one.subnet_id == subnet.id and overlap(one.cidr, cidr) for one in state.cidr_reservations.values()):
        raise invalid(f"Reservation CIDR {cidr} has overlap with existing reserved CIDR block")
    tags = tags_for(params, "subnet-cidr-reservation")
    state, made = new_id(state, "scr")
    reservation = CidrReservation(made, subnet.id, cidr, kind, str(params.get("Description") or ""), tags)
    state = replace(state, cidr_reservations={**state.cidr_reservations, made: reservation})
    return state, {"SubnetCidrReservation": reservation_shape(state, reservation)}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteSubnetCidrReservation; addresses and prefixes that came from it stay where they are."""
    reservation = get_reservation(state, params["SubnetCidrReservationId"])
    kept = {key: one for key, one in state.cidr_reservations.items() if key != reservation.id}
    return replace(state, cidr_reservations=kept), {"DeletedSubnetCidrReservation": reservation_shape(state, reservation)}


def forget_subnet(state: CloudState, subnet_id: str) -> CloudState:
    """Without the reservations of a subnet that goes."""
    kept = {key: one for key, one in state.cidr_reservations.items() if one.subnet_id != subnet_id}
    return state if len(kept) == len(state.cidr_reservations) else replace(state, cidr_reservations=kept)


def reservation_shape(state: CloudState, reservation: CidrReservation) -> dict[str, Any]:
    """`SubnetCidrReservation`."""
    return {
        "SubnetCidrReservationId": reservation.id, "SubnetId": reservation.subnet_id, "Cidr": reservation.cidr,
        "ReservationType": reservation.type, "OwnerId": state.account_id, "Description": reservation.description,
        "Tags": tag_list(reservation.tags),
    }


_FIELDS: dict[str, describe.Field[CidrReservation]] = {
    "reservationType": lambda one: (one.type,), "reservation-type": lambda one: (one.type,), "subnet-id": lambda one: (one.subnet_id,),
}


def get_all(state: CloudState, params: Params, context: Context) -> Result:
    """GetSubnetCidrReservations, of one subnet."""
    subnet = get_subnet(state, params["SubnetId"])
    found = [one for one in state.cidr_reservations.values() if one.subnet_id == subnet.id]
    shown, more = describe.page(describe.matching(found, params, _FIELDS, lambda one: one.tags), params)
    answer = {"SubnetIpv4CidrReservations": [reservation_shape(state, one) for one in shown], "SubnetIpv6CidrReservations": []}
    return state, {**answer, **more}


ACTIONS = {  # the choice of addresses follows, and packets follow the addresses
    "CreateSubnetCidrReservation": action(
        create, "SubnetId Cidr ReservationType Description TagSpecifications", "SubnetId Cidr ReservationType"
    ),
    "DeleteSubnetCidrReservation": action(delete, "SubnetCidrReservationId", "SubnetCidrReservationId"),
    "GetSubnetCidrReservations": action(get_all, "SubnetId Filters MaxResults NextToken", "SubnetId", mutates=False),
}
