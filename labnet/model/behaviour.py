"""How a lab's EC2 API behaves in time: throttling, latency, delays, faults and denials, as frozen values (pure).

What a scenario's `ec2:` says, what the command line sets, and what `ec2.behaviour` acts on are the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from labnet.model.values import frozen

Throttling = Literal["off", "aws"]


@frozen
class Latency:
    """How long a call takes: half of all no longer than `p50_s`, 95 of 100 no longer than `p95_s`; equal = always that long."""

    p50_s: float
    p95_s: float


@frozen
class FaultSpec:
    """Calls that fail on purpose: which (`action` may hold ``*``; `node` = only that node's ipamd), with what, and how often.

    `times` = the first so many calls that match, `rate` = that share of them by chance, `for_s` = so long from when it was set;
    None = no such limit, and all that are given hold together. `status` None and `message` empty = what EC2 says with that code.
    """

    action: str
    code: str
    message: str = ""
    status: int | None = None
    times: int | None = None
    rate: float | None = None
    for_s: float | None = None
    node: str = ""


@frozen
class DenySpec:
    """An action that nobody may call, or one node's ipamd may not, as if its IAM policy lacked it."""

    action: str
    node: str = ""


@frozen
class Ec2Spec:
    """A scenario's `ec2:`. `latency` maps actions (``*`` is taken) to times; the most exact name counts."""

    throttling: Throttling = "off"
    latency: Mapping[str, Latency] = field(default_factory=dict)
    imds_delay_s: float = 0.0
    faults: tuple[FaultSpec, ...] = ()
    deny: tuple[DenySpec, ...] = ()
