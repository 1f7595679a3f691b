"""From what the kernel says to the words of a trace: which check a counter or a rule stands for, and a sentence for it (pure)."""

from __future__ import annotations

from labnet.model.packet import DropCheck
from labnet.trace.world import Role

# What the comments of the fabric's counters contain → the check. The first that fits counts.
COUNTER_WORDS: tuple[tuple[str, DropCheck], ...] = (
    ("source/dest check", "source-dest-check"),
    ("security group: egress", "security-group-egress"),
    ("security group: ingress", "security-group-ingress"),
    ("network acl", "acl"),
    ("acl", "acl"),
    ("mac", "neighbour"),
)

SENTENCES: dict[DropCheck, str] = {
    "source-dest-check": "the VPC takes and gives a packet only where its source and destination belong to the ENI",
    "security-group-egress": "no security group of the sending ENI lets it out",
    "security-group-ingress": "no security group of the receiving ENI lets it in",
    "acl": "the network ACL of the subnet refuses it",
    "neighbour": "the frame was not addressed to a MAC that is taken there",
    "netfilter": "a netfilter rule drops it",
}


def check_of(comment: str) -> DropCheck | None:
    """The check that a counter of this comment belongs to; None for comments that are no check's."""
    lower = comment.lower()
    return next((check for words, check in COUNTER_WORDS if words in lower), None)


def end_of_route(kind: DropCheck, role: Role | None, dst: str, route: str) -> tuple[DropCheck, str]:
    """Check and sentence for a packet that no route takes on. The VPC's own blackholes mean: no route, and silence."""
    if role == "vpc" and kind in ("blackhole", "no-route"):
        return "no-route", f"the VPC knows no way to {dst}" + (f" ({route})" if route else "")
    if kind == "blackhole":
        return kind, f"the route to {dst} is a blackhole: {route}"
    return kind, f"there is no route to {dst}" + (f": {route}" if route else "")
