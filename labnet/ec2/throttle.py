"""Request throttling as EC2 documents it: a bucket of tokens for each action, shared by all callers of the account (pure).

A bucket holds at most `burst` tokens and gets `refill_per_s` back in every second (here without steps); a call takes one, and
one that finds none is refused. RunInstances and TerminateInstances also take a token for each instance from a second bucket.
Buckets are a value: `take` makes new ones. Source: docs/sources.md#ec2-throttling
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.errors import Ec2Error
from labnet.model.values import frozen


@frozen
class Limit:
    """What a bucket holds at most, in tokens, and what comes back in a second."""

    burst: float
    refill_per_s: float


@frozen
class Level:
    """What a bucket held at some time; a bucket that is not known is full."""

    tokens: float
    at_s: float


Levels = Mapping[str, Level]

READING = Limit(100, 20)
READING_EVERYTHING = Limit(50, 10)
CHANGING = Limit(50, 5)
READING_WORDS = ("Describe", "List", "Search", "Get")
SMALLER_WHEN_UNFILTERED = frozenset({
    "DescribeInstances", "DescribeInstanceStatus", "DescribeNetworkInterfaces", "DescribeSecurityGroups", "DescribeSnapshots",
    "DescribeSpotInstanceRequests", "DescribeVolumes",
})
OWN_LIMITS: Mapping[str, Limit] = {
    **dict.fromkeys((
        "AssignIpv6Addresses", "AssignPrivateIpAddresses", "AssociateIamInstanceProfile", "CreateLaunchTemplateVersion",
        "CreateNetworkInterface", "CreateVolume", "DeleteNetworkInterface", "DeleteVolume", "DisassociateIamInstanceProfile",
        "ModifyInstanceMetadataOptions", "ModifyLaunchTemplate", "ModifyNetworkInterfaceAttribute", "TerminateInstances",
        "UnassignPrivateIpAddresses",
    ), Limit(100, 5)),
    **dict.fromkeys(("CreateTags", "DeleteTags"), Limit(100, 10)),
    **dict.fromkeys(("RunInstances", "StartInstances"), Limit(5, 2)),
    **dict.fromkeys((
        "AcceptVpcEndpointConnections", "AssignPrivateNatGatewayAddress", "AssociateNatGatewayAddress", "CreateNatGateway",
        "DeleteNatGateway", "DisassociateNatGatewayAddress", "UnassignPrivateNatGatewayAddress",
    ), Limit(10, 1)),
    **dict.fromkeys(("CreateSubnetCidrReservation", "DeleteSubnetCidrReservation"), Limit(5, 1)),
    **dict.fromkeys(("CreateDefaultSubnet", "CreateDefaultVpc", "DescribeMovingAddresses", "MoveAddressToVpc"), Limit(1, 1)),
    **dict.fromkeys(("CreateVpcEndpoint", "DeleteVpcEndpoints", "ModifyVpcEndpoint"), Limit(4, 0.3)),
    **dict.fromkeys(("DescribeSecurityGroupReferences", "DescribeStaleSecurityGroups"), Limit(20, 5)),
    "DescribeInstanceTopology": Limit(1, 1),
}
PER_INSTANCE: Mapping[str, Limit] = {"RunInstances": Limit(1000, 2), "TerminateInstances": Limit(1000, 20)}
UNFILTERED, INSTANCES = "unfiltered", "instances"
"""What stands in brackets behind an action's name where it has a second bucket."""


def limit_of(bucket: str) -> Limit:
    """The size of a bucket: an action's name, with ``(unfiltered)`` or ``(instances)`` behind it for its second one."""
    action, _, kind = bucket.partition(" ")
    if kind == f"({UNFILTERED})":
        return READING_EVERYTHING
    if kind == f"({INSTANCES})":
        return PER_INSTANCE[action]
    own = OWN_LIMITS.get(action)
    if own is not None:
        return own
    return READING if action.startswith(READING_WORDS) else CHANGING


def bucket_of(action: str, params: Mapping[str, Any]) -> str:
    """The bucket that a call takes a token from: some reads without filter, ids or page size have a smaller one."""
    if action in SMALLER_WHEN_UNFILTERED and not any(key not in ("DryRun", "IncludeAllInstances") for key in params):
        return f"{action} ({UNFILTERED})"
    return action


def buckets_of(action: str) -> tuple[str, ...]:
    """Every bucket that an action can take from."""
    more = (f"{action} ({UNFILTERED})",) if action in SMALLER_WHEN_UNFILTERED else ()
    return (action, *more, *((f"{action} ({INSTANCES})",) if action in PER_INSTANCE else ()))


def tokens_in(levels: Levels, bucket: str, now_s: float) -> float:
    """What a bucket holds now."""
    limit, level = limit_of(bucket), levels.get(bucket)
    if level is None:
        return limit.burst
    return min(limit.burst, level.tokens + max(0.0, now_s - level.at_s) * limit.refill_per_s)


def take(levels: Levels, action: str, params: Mapping[str, Any], now_s: float) -> tuple[Levels, float, bool]:
    """One call: the buckets behind it, the tokens left in the one that had least, and whether the call may pass.

    A refused call takes nothing.
    """
    wanted = [(bucket_of(action, params), 1.0)]
    if action in PER_INSTANCE:
        wanted.append((f"{action} ({INSTANCES})", _instances(params)))
    found = [(bucket, count, tokens_in(levels, bucket, now_s)) for bucket, count in wanted]
    if any(tokens < count for _bucket, count, tokens in found):
        return levels, min(tokens for _bucket, _count, tokens in found), False
    taken = {bucket: Level(tokens - count, now_s) for bucket, count, tokens in found}
    return {**levels, **taken}, min(level.tokens for level in taken.values()), True


def _instances(params: Mapping[str, Any]) -> float:
    """How many instances a request means; what is no number is refused later, by the rules."""
    count = params.get("MaxCount", len(params.get("InstanceIds") or ()) or 1)
    return float(count) if isinstance(count, int) and count > 0 else 1.0


def limit_exceeded() -> Ec2Error:
    """RequestLimitExceeded."""
    return Ec2Error("RequestLimitExceeded", "Request limit exceeded.", 503)
