"""VPC peering connections: asked for, accepted, rejected, expired, deleted (pure). Source: docs/sources.md#peering"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.find import get_peering, get_vpc, no_peering
from labnet.ec2.rules.quotas import ACTIVE_PER_VPC, PENDING_PER_VPC
from labnet.ec2.rules.request import Context, Params, Result, action, new_id, tag_list, tags_for
from labnet.ec2.rules.shapes import time_of
from labnet.errors import Ec2Error
from labnet.model.addressing import overlap
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import Peering, PeeringSide

EXPIRES_AFTER_S = 7 * 86_400.0
SHOWN_AFTER_END_S = {"failed": 2 * 3_600.0, "rejected": 2 * 86_400.0, "deleted": 2 * 86_400.0, "expired": 2 * 86_400.0}
"""How long a connection that has ended is still described."""


def status_of(peering: Peering, now_s: float) -> str:
    """The state of a connection at a time: nobody accepts what has waited for seven days."""
    if peering.state == "pending-acceptance" and now_s >= peering.created_at_s + EXPIRES_AFTER_S:
        return "expired"
    return peering.state


def create(state: CloudState, params: Params, context: Context) -> Result:
    """CreateVpcPeeringConnection; what cannot be peered becomes a failed connection, as on AWS."""
    vpc = get_vpc(state, params["VpcId"])
    if not params.get("PeerVpcId"):
        raise Ec2Error("MissingParameter", "The request must contain the parameter PeerVpcId")
    requester = PeeringSide(vpc.id, state.account_id, state.region)
    accepter = PeeringSide(
        str(params["PeerVpcId"]), str(params.get("PeerOwnerId") or state.account_id), str(params.get("PeerRegion") or state.region)
    )
    waiting = [one for one in state.peerings.values() if status_of(one, context.now_s) in ("pending-acceptance", "active")]
    if any({one.requester.vpc_id, one.accepter.vpc_id} == {vpc.id, accepter.vpc_id} for one in waiting):
        raise Ec2Error("VpcPeeringConnectionAlreadyExists", "A VPC peering connection between the VPCs already exists.")
    if sum(1 for one in waiting if one.state == "pending-acceptance" and one.requester.vpc_id == vpc.id) >= PENDING_PER_VPC:
        text = "The maximum number of outstanding VPC peering connection requests has been reached."
        raise Ec2Error("OutstandingVpcPeeringConnectionLimitExceeded", text)
    tags = tags_for(params, "vpc-peering-connection")
    state, peering_id = new_id(state, "pcx", tags.get("Name", ""))
    possible = _can_peer(state, requester, accepter)
    peering = Peering(peering_id, requester, accepter, "pending-acceptance", context.now_s, tags=tags)
    if not possible:
        peering = replace(peering, state="failed", ended_at_s=context.now_s)
    state = _put(state, peering)
    shown = peering_shape(state, peering, context.now_s)
    shown["Status"] = {"Code": "initiating-request", "Message": f"Initiating Request to {accepter.owner_id}"}
    shown["ExpirationTime"] = time_of(context.now_s + EXPIRES_AFTER_S)
    return state, {"VpcPeeringConnection": shown}


def _can_peer(state: CloudState, requester: PeeringSide, accepter: PeeringSide) -> bool:
    """Is there such a VPC, and is no block of either in one of the other?"""
    if (accepter.owner_id, accepter.region) != (state.account_id, state.region) or accepter.vpc_id not in state.vpcs:
        return False
    one, other = state.vpcs[requester.vpc_id], state.vpcs[accepter.vpc_id]
    return not any(overlap(a, b) for a in one.cidrs for b in other.cidrs)


def accept(state: CloudState, params: Params, context: Context) -> Result:
    """AcceptVpcPeeringConnection; blocks that overlap by now make it fail."""
    peering = get_peering(state, params["VpcPeeringConnectionId"])
    _check_state(peering, context, "provisioning", "pending-acceptance")
    for side in (peering.requester, peering.accepter):
        active = [one for one in state.peerings.values() if one.state == "active"]
        if sum(1 for one in active if side.vpc_id in (one.requester.vpc_id, one.accepter.vpc_id)) >= ACTIVE_PER_VPC:
            text = f"The maximum number of active VPC peering connections of {side.vpc_id} has been reached."
            raise Ec2Error("ActiveVpcPeeringConnectionPerVpcLimitExceeded", text)
    if _can_peer(state, peering.requester, peering.accepter):
        after = replace(peering, state="active")
    else:
        after = replace(peering, state="failed", ended_at_s=context.now_s)
    state = _put(state, after)
    shown = {**peering_shape(state, after, context.now_s), "Status": {"Code": "provisioning", "Message": "Provisioning"}}
    return state, {"VpcPeeringConnection": shown}


def reject(state: CloudState, params: Params, context: Context) -> Result:
    """RejectVpcPeeringConnection: one that waits."""
    peering = get_peering(state, params["VpcPeeringConnectionId"])
    _check_state(peering, context, "rejected", "pending-acceptance")
    return _put(state, replace(peering, state="rejected", ended_at_s=context.now_s)), {"Return": True}


def delete(state: CloudState, params: Params, context: Context) -> Result:
    """DeleteVpcPeeringConnection: one that waits or is active; routes to it are blackholes."""
    peering = get_peering(state, params["VpcPeeringConnectionId"])
    _check_state(peering, context, "deleting", "pending-acceptance", "active")
    return _put(state, replace(peering, state="deleted", ended_at_s=context.now_s)), {"Return": True}


def _check_state(peering: Peering, context: Context, wanted: str, *allowed: str) -> None:
    now = status_of(peering, context.now_s)
    if now not in allowed:
        text = f"Invalid state transition for {peering.id}, attempted to transition from {now} to {wanted}"
        raise Ec2Error("InvalidStateTransition", text)


def _put(state: CloudState, peering: Peering) -> CloudState:
    return replace(state, peerings={**state.peerings, peering.id: peering})


def _is_shown(peering: Peering, now_s: float) -> bool:
    status = status_of(peering, now_s)
    end_s = peering.created_at_s + EXPIRES_AFTER_S if status == "expired" else peering.ended_at_s
    return end_s is None or now_s - end_s < SHOWN_AFTER_END_S[status]


def _message(peering: Peering, status: str) -> str:
    owner = peering.accepter.owner_id
    return {
        "pending-acceptance": f"Pending Acceptance by {owner}", "active": "Active", "rejected": f"Rejected by {owner}",
        "failed": "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range", "expired": "Expired",
        "deleted": f"Deleted by {peering.requester.owner_id}",
    }[status]


def _side_shape(state: CloudState, side: PeeringSide) -> dict[str, Any]:
    out: dict[str, Any] = {
        "VpcId": side.vpc_id, "OwnerId": side.owner_id, "Region": side.region,
        "PeeringOptions": {
            "AllowDnsResolutionFromRemoteVpc": False, "AllowEgressFromLocalClassicLinkToRemoteVpc": False,
            "AllowEgressFromLocalVpcToRemoteClassicLink": False,
        },
    }
    vpc = state.vpcs.get(side.vpc_id)
    if vpc is not None:
        out |= {"CidrBlock": vpc.cidrs[0], "CidrBlockSet": [{"CidrBlock": cidr} for cidr in vpc.cidrs]}
    return out


def peering_shape(state: CloudState, peering: Peering, now_s: float) -> dict[str, Any]:
    """`VpcPeeringConnection`."""
    status = status_of(peering, now_s)
    out: dict[str, Any] = {
        "VpcPeeringConnectionId": peering.id, "RequesterVpcInfo": _side_shape(state, peering.requester),
        "AccepterVpcInfo": _side_shape(state, peering.accepter), "Status": {"Code": status, "Message": _message(peering, status)},
        "Tags": tag_list(peering.tags),
    }
    if status == "pending-acceptance":
        out["ExpirationTime"] = time_of(peering.created_at_s + EXPIRES_AFTER_S)
    return out


def describe_peerings(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeVpcPeeringConnections."""
    def blocks(side: PeeringSide) -> tuple[str, ...]:
        return state.vpcs[side.vpc_id].cidrs if side.vpc_id in state.vpcs else ()

    fields: dict[str, describe.Field[Peering]] = {
        "vpc-peering-connection-id": lambda one: (one.id,), "status-code": lambda one: (status_of(one, context.now_s),),
        "status-message": lambda one: (_message(one, status_of(one, context.now_s)),),
        "expiration-time": lambda one: (time_of(one.created_at_s + EXPIRES_AFTER_S).strftime("%Y-%m-%dT%H:%M:%S.000Z"),),
        "requester-vpc-info.vpc-id": lambda one: (one.requester.vpc_id,), "requester-vpc-info.owner-id": lambda one: (one.requester.owner_id,),
        "requester-vpc-info.cidr-block": lambda one: blocks(one.requester), "accepter-vpc-info.vpc-id": lambda one: (one.accepter.vpc_id,),
        "accepter-vpc-info.owner-id": lambda one: (one.accepter.owner_id,), "accepter-vpc-info.cidr-block": lambda one: blocks(one.accepter),
    }
    found = describe.chosen(state.peerings, params.get("VpcPeeringConnectionIds"), no_peering)
    found = [one for one in found if _is_shown(one, context.now_s)]
    shown, more = describe.page(describe.matching(found, params, fields, lambda one: one.tags), params)
    return state, {"VpcPeeringConnections": [peering_shape(state, one, context.now_s) for one in shown], **more}


_ID = "VpcPeeringConnectionId"

ACTIONS = {
    "CreateVpcPeeringConnection": action(create, "VpcId PeerVpcId PeerOwnerId PeerRegion TagSpecifications", "VpcId"),
    "AcceptVpcPeeringConnection": action(accept, _ID, _ID),
    "RejectVpcPeeringConnection": action(reject, _ID, _ID),
    "DeleteVpcPeeringConnection": action(delete, _ID, _ID),
    "DescribeVpcPeeringConnections": action(describe_peerings, "VpcPeeringConnectionIds Filters MaxResults NextToken", mutates=False),
}
