"""What lies between availability zones, and zones that have failed, as frozen values (pure).

Neither is an object of the EC2 API: AWS has no call that makes a zone fail. They stand in the cloud's state all the same, because the
fabric, EC2's rules and `explain` all follow from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from labnet.model.values import frozen

Origin = Literal["scenario", "added"]
EVERY_PAIR = "all-zones"
"""The id of the link that stands for each pair of zones that has none of its own."""


@frozen
class ZoneLinkSpec:
    """What packets meet between two zones; `between` empty = between any two. `round_trip_ms` is added to a round trip, half each way."""

    between: tuple[str, ...] = ()
    round_trip_ms: float = 0.0
    loss_percent: float = 0.0

    @property
    def id(self) -> str:
        """The two zones, or the word for all."""
        return ":".join(sorted(self.between)) or EVERY_PAIR


@frozen
class ZoneLink:
    """A link that is set, and by whom."""

    spec: ZoneLinkSpec
    origin: Origin = "added"


@frozen
class ZoneFailure:
    """A zone that has failed: no packet enters or leaves any of its network interfaces."""

    zone: str
    since_s: float = 0.0


def link_between(links: Mapping[str, ZoneLink], one: str, other: str) -> ZoneLinkSpec | None:
    """What is set between two zones: for the pair, else for all pairs; None inside a zone, and where nothing is."""
    if one == other:
        return None
    found = links.get(ZoneLinkSpec((one, other)).id) or links.get(EVERY_PAIR)
    return found.spec if found is not None else None
