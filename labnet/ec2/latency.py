"""How long calls take: log-normal around a median, by a chance that follows from the seed (pure).

The shape is what web services show: most calls near the median, a long tail above. Same seed, same order of calls, same times.
Source: docs/sources.md#ec2-latency
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from labnet.ec2.patterns import exactness, matches
from labnet.model.behaviour import Latency
from labnet.model.names import digest

Z95 = 1.6448536269514722
"""How many standard deviations above the median 95 of 100 normal values end."""
MAX_S = 600.0

AWS_PRESET: Mapping[str, Latency] = {
    "*": Latency(0.20, 0.60),
    "Describe*": Latency(0.10, 0.40),
    "CreateNetworkInterface": Latency(0.60, 1.50),
    "AttachNetworkInterface": Latency(2.00, 4.00),
    "DetachNetworkInterface": Latency(2.00, 5.00),
    "AssignPrivateIpAddresses": Latency(0.50, 1.20),
    "UnassignPrivateIpAddresses": Latency(0.50, 1.20),
    "RunInstances": Latency(1.50, 3.00),
    "CreateNatGateway": Latency(1.00, 2.50),
}
"""`latency: aws`: labnet's own estimate of a busy region, with attach and detach taking seconds; AWS publishes no such numbers."""


def latency_for(latencies: Mapping[str, Latency], action: str) -> Latency | None:
    """What is set for an action: its own name, else the longest pattern that means it."""
    found = [pattern for pattern in latencies if matches(pattern, action)]
    return latencies[max(found, key=exactness)] if found else None


def draw_s(latency: Latency, *chance_of: object) -> float:
    """One call's time in seconds; `chance_of` names the call, and the same words give the same time."""
    if latency.p50_s <= 0 or latency.p95_s <= latency.p50_s:
        return latency.p50_s
    spread = math.log(latency.p95_s / latency.p50_s) / Z95
    return min(MAX_S, latency.p50_s * math.exp(spread * _normal(*chance_of)))


def chance(*words: object) -> float:
    """A number from 0 up to 1 that follows from the words alone."""
    return int.from_bytes(digest(*words)[:7], "big") / (1 << 56)


def _normal(*words: object) -> float:
    """A standard normal number, by Box and Muller."""
    return math.sqrt(-2.0 * math.log(1.0 - chance(*words, "radius"))) * math.cos(2.0 * math.pi * chance(*words, "angle"))
