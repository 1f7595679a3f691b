"""From what the kernel says to the words of a trace: which check a counter or a rule stands for, and a sentence for it (pure)."""

from __future__ import annotations

from labnet.model.drops import DropCheck
from labnet.model.netstate import TABLE_MAIN, Route
from labnet.trace.world import Role

# What the comments of the fabric's counters contain → the check, and what it means. The first that fits counts.
COUNTERS: tuple[tuple[str, DropCheck, str], ...] = (
    ("source/dest check", "source-dest-check", "the VPC takes and gives a packet only where its source and destination belong to the ENI"),
    ("security group: egress", "security-group-egress", "no security group of the sending ENI lets it out"),
    ("security group: ingress", "security-group-ingress", "no security group of the receiving ENI lets it in"),
    ("acl", "acl", "the network ACL of the subnet refuses it"),
    ("link-local", "no-route", "nothing of the VPC has this link-local address, and none leaves it"),
    ("zone failure", "zone-failure", "an availability zone has failed: no packet enters or leaves its network interfaces"),
    ("zone loss", "zone-loss", "so many packets between two zones are lost on purpose"),
    ("layer 2: source mac", "neighbour", "an ENI sends with its own MAC only"),
    ("mac", "neighbour", "the frame is addressed to a MAC that does not own its destination address"),
    ("arp:", "neighbour", "the VPC answers ARP only for addresses of the subnet"),
    ("router answers nothing", "not-listening", "the VPC router answers nothing itself"),
    ("no public address", "no-route", "the internet gateway has no public address for this source"),
    ("no such public address", "no-route", "the internet gateway knows no such public address"),
    ("destination outside", "no-route", "a gateway gives packets to destinations inside the VPC only"),
    ("peering: source", "source-dest-check", "a peering connection carries only packets whose source is inside the VPC"),
    ("virtual private gateway: no way", "no-route", "the virtual private gateway knows no way to this destination"),
    ("virtual private gateway: source outside", "source-dest-check", "a virtual private gateway takes packets of its own VPC only"),
    ("nat gateway: no inbound", "not-listening", "a NAT gateway takes no connections and answers nothing itself"),
    ("nat gateway: no such flow", "no-route", "the NAT gateway knows no such connection"),
    ("nat gateway: protocol", "no-route", "a NAT gateway translates TCP, UDP and ICMP only"),
    ("source inside", "source-dest-check", "a packet from outside may not have a source inside the VPC"),
    ("source outside", "source-dest-check", "a packet from the VPC must have a source inside it"),
)

NAMED: frozenset[DropCheck] = frozenset({"acl", "zone-failure", "zone-loss"})
"""Checks whose counter says more than they do: which entry of which ACL, which zone."""
NETFILTER = "a netfilter rule drops it"


def check_of(comment: str) -> DropCheck | None:
    """The check that a counter of this comment belongs to; None for comments that are no check's."""
    found = _counter(comment)
    return found[1] if found else None


def sentence_of(comment: str) -> str:
    """What it means that this counter counted."""
    found = _counter(comment)
    if found is None:
        return NETFILTER
    return f"{found[2]}: {comment}" if found[1] in NAMED else found[2]


def is_chance(rule: str) -> bool:
    """Does chance alone decide whether a rule applies?"""
    return "numgen random" in rule


def _counter(comment: str) -> tuple[str, DropCheck, str] | None:
    lower = comment.lower()
    return next((entry for entry in COUNTERS if entry[0] in lower), None)


def end_of_route(kind: DropCheck, role: Role | None, dst: str, route: Route | None) -> tuple[DropCheck, str]:
    """Check and sentence for a packet that no route takes on.

    A VPC's own blackholes (in main, and the last resort of each table) mean: no route, and silence. Those of a route table are
    routes whose target is gone.
    """
    text = route.text if route else ""
    if role == "vpc" and route is not None and kind == "blackhole" and route.table != TABLE_MAIN and not route.metric:
        return kind, f"the target of the route to {route.dst} in the subnet's route table is gone"
    if role == "vpc" and kind in ("blackhole", "no-route"):
        return "no-route", f"the VPC knows no way to {dst}" + (f" ({text})" if text else "")
    if kind == "blackhole":
        return kind, f"the route to {dst} is a blackhole: {text}"
    return kind, f"there is no route to {dst}" + (f": {text}" if text else "")
