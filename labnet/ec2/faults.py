"""Calls that fail on purpose, and actions that are denied: what is set, what it did, and EC2's own words (pure).

Source: docs/sources.md#ec2-errors
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from labnet.ec2.latency import chance
from labnet.ec2.patterns import actions_of, matches
from labnet.errors import Ec2Error, UsageError
from labnet.model.behaviour import DenySpec, FaultSpec
from labnet.model.values import frozen

Origin = Literal["scenario", "added"]
CODE_RE = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9]+)*")
MIN_STATUS, MAX_STATUS = 400, 599
DENIED = "You are not authorized to perform this operation. Encoded authorization failure message: "
WELL_KNOWN: Mapping[str, tuple[int, str]] = {
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "Throttling": (400, "Rate exceeded"),
    "Unavailable": (503, "The server is overloaded and can't handle the request."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "InternalError": (500, "An internal error has occurred"),
    "InternalFailure": (500, "The request processing has failed because of an unknown error, exception or failure."),
    "UnauthorizedOperation": (403, "You are not authorized to perform this operation."),
    "AuthFailure": (401, "AWS was not able to validate the provided access credentials"),
    "RequestExpired": (400, "Request has expired."),
    "InsufficientFreeAddressesInSubnet": (400, "The specified subnet does not have enough free addresses to satisfy the request."),
    "InsufficientCidrBlocks": (400, "The specified subnet does not have enough free cidr blocks to satisfy the request."),
    "InsufficientInstanceCapacity": (500, "There is not enough capacity to fulfill your request."),
    "PrivateIpAddressLimitExceeded": (400, "Number of private addresses will exceed limit."),
    "AttachmentLimitExceeded": (400, "Interface count exceeds the limit for the instance type"),
    "NetworkInterfaceLimitExceeded": (400, "The maximum number of network interfaces has been reached."),
    "AddressLimitExceeded": (400, "The maximum number of addresses has been reached."),
    "VpcLimitExceeded": (400, "The maximum number of VPCs has been reached."),
    "SecurityGroupsPerInterfaceLimitExceeded": (400, "The maximum number of security groups per interface has been reached."),
    "RulesPerSecurityGroupLimitExceeded": (400, "The maximum number of rules per security group has been reached."),
    "OperationNotPermitted": (400, "The operation is not permitted."),
    "DependencyViolation": (400, "The specified object has dependent resources."),
    "IncorrectState": (400, "The resource is in an incorrect state for the request."),
}
"""Status and text that EC2 gives with a code; where its text names an object, one without it."""


@frozen
class Fault:
    """A fault that is set: since when, how many calls it has met, and how many of them it made fail."""

    id: str
    spec: FaultSpec
    set_at_s: float
    origin: Origin = "added"
    met: int = 0
    fired: int = 0

    def state(self, now_s: float) -> Literal["active", "spent", "over"]:
        """Active, or spent (its number of times is used up), or over (its time is)."""
        if self.spec.for_s is not None and now_s >= self.set_at_s + self.spec.for_s:
            return "over"
        return "spent" if self.spec.times is not None and self.fired >= self.spec.times else "active"


@frozen
class Denial:
    """A denial that is set, and how many calls it refused."""

    id: str
    spec: DenySpec
    origin: Origin = "added"
    fired: int = 0


def check_fault(spec: FaultSpec) -> None:
    """Is it a fault that can be? Errors: UsageError."""
    actions_of(spec.action)
    if CODE_RE.fullmatch(spec.code) is None:
        raise UsageError(f"{spec.code!r} is no error code", "letters and digits, dots between: RequestLimitExceeded, InvalidSubnetID.NotFound")
    if spec.status is not None and not MIN_STATUS <= spec.status <= MAX_STATUS:
        raise UsageError(f"{spec.status} is no HTTP status of an error", f"{MIN_STATUS} to {MAX_STATUS}")
    if spec.times is not None and spec.times < 1:
        raise UsageError(f"{spec.times} times is never", "1 or more")
    if spec.rate is not None and not 0 < spec.rate <= 1:
        raise UsageError(f"{spec.rate:g} is no rate", "above 0, and at most 1 (every call)")
    if spec.for_s is not None and spec.for_s <= 0:
        raise UsageError("a fault for no time is never", "for example 60s")


def meet(fault: Fault, caller: str, action: str, now_s: float, seed: object) -> tuple[Fault, bool]:
    """A call meets a fault: the fault behind it, and whether it makes the call fail. One it does not mean leaves it as it is."""
    spec = fault.spec
    if not means(spec.action, spec.node, caller, action) or fault.state(now_s) != "active":
        return fault, False
    hit = spec.rate is None or chance(seed, fault.id, fault.met) < spec.rate
    return replace(fault, met=fault.met + 1, fired=fault.fired + hit), hit


def means(pattern: str, node: str, caller: str, action: str) -> bool:
    """Does what is set for a pattern and, maybe, a node mean this call?"""
    return (not node or node == caller) and matches(pattern, action)


def fault_error(spec: FaultSpec) -> Ec2Error:
    """The error of a fault: what it says, else what EC2 says with that code."""
    status, message = WELL_KNOWN.get(spec.code, (400, f"labnet was told to refuse this with {spec.code}"))
    return Ec2Error(spec.code, spec.message or message, spec.status or status)


def denied(action: str, caller: str) -> Ec2Error:
    """UnauthorizedOperation. Behind EC2's text stands, in base64, what was denied to whom."""
    said = json.dumps({"allowed": False, "explicitDeny": True, "context": {"action": f"ec2:{action}", "principal": caller}})
    return Ec2Error("UnauthorizedOperation", DENIED + base64.urlsafe_b64encode(said.encode()).decode(), 403)
