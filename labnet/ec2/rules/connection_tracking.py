"""Idle timeouts of an ENI's tracked flows: read from requests and shown (pure). Source: docs/sources.md#enis

State only: what tracks flows here is the kernel, whose timeouts belong to a namespace and not to one ENI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labnet.ec2.rules.request import Params, check_members, invalid
from labnet.errors import Ec2Error
from labnet.model.cloud import ConnectionTracking

PARAMETER = "ConnectionTrackingSpecification"
_TIMEOUTS = {
    "TcpEstablishedTimeout": ("tcp_established_timeout_s", 60, 432_000),
    "UdpStreamTimeout": ("udp_stream_timeout_s", 60, 180),
    "UdpTimeout": ("udp_timeout_s", 30, 60),
}
"""Member → our field, the least and the most of AWS in seconds."""


def tracking_of(item: Params, before: ConnectionTracking | None = None, *, required: bool = False) -> ConnectionTracking | None:
    """The timeouts of a request or of one interface in it: those that it names, the others as `before`. Errors: Ec2Error.

    None = no timeout was ever named; `required` refuses a specification that names none.
    """
    wanted: Mapping[str, Any] = item.get(PARAMETER) or {}
    check_members(wanted, " ".join(_TIMEOUTS), PARAMETER)
    named = {member: value for member, value in wanted.items() if value is not None}
    if not named:
        if required:
            raise Ec2Error("MissingParameter", f"The request must contain one of {', '.join(f'{PARAMETER}.{one}' for one in _TIMEOUTS)}")
        return before
    changes = {}
    for member, value in named.items():
        field, least, most = _TIMEOUTS[member]
        if not least <= int(value) <= most:
            raise invalid(f"Value ({value}) for parameter {member} is invalid. It must be between {least} and {most}.")
        changes[field] = int(value)
    return replace(before or ConnectionTracking(), **changes)


def tracking_shape(tracking: ConnectionTracking | None) -> dict[str, Any]:
    """The member `ConnectionTrackingConfiguration` with the timeouts that were set; none where none ever was."""
    if tracking is None:
        return {}
    shown = {member: getattr(tracking, field) for member, (field, _least, _most) in _TIMEOUTS.items()}
    return {"ConnectionTrackingConfiguration": {member: value for member, value in shown.items() if value is not None}}
