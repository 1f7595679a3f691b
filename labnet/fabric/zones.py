"""Availability zones in the fabric: loss between two, and zones that have failed, as one nftables table of a VPC (pure).

::

    ip prerouting -320     by a port of a failed zone      no packet leaves its ENIs and NAT gateways
    ip forward -15         subnet it leaves . subnet it enters → the pair's chain: by chance, drop
    iptables security      by the pair's mark              wait in a queue: docs/adr/0010-latency-between-zones.md
    ip postrouting -170    by a port of a failed zone      no packet enters them

Between zones the two subnets count that chain `border` of table `vpc` has written on the packet: the table has one element a subnet,
whatever the number of ENIs. A failed zone is told by its ports, because what the router itself answers crosses no border. Where nothing
is set there is no table, and packets meet nothing. What goes to or comes from another VPC or the Internet has no second zone.
Source: docs/sources.md#zones-that-fail
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from math import ceil

from labnet.fabric import tables
from labnet.fabric.acls import subnet_number
from labnet.fabric.places import is_plugged
from labnet.fabric.security import class_text, mark_text
from labnet.model.cloud import CloudState, Eni, Subnet
from labnet.model.names import eni_port, nat_port
from labnet.model.netstate import IptRule, NftTable, Slice
from labnet.model.values import frozen
from labnet.model.zones import ZoneLinkSpec, link_between

SLICE = "zones"
TABLE = "zones"
PRIORITY_IN, PRIORITY_BETWEEN, PRIORITY_OUT = -320, -15, -170
"""Before the source check; between the subnets' numbers and the ACLs; before the destination check."""
CHANCES = 1_000_000
QUEUES_A_MS = 10


@frozen
class Crossing:
    """Two zones of a VPC between which packets meet something, their numbers, and what."""

    zones: tuple[str, str]
    numbers: tuple[int, int]
    link: ZoneLinkSpec

    @property
    def chain(self) -> str:
        """The name of the pair's chain."""
        return f"z{self.numbers[0]}_z{self.numbers[1]}"

    @property
    def queue(self) -> int:
        """The queue in which packets wait: the round trip in tenths of a millisecond; 0 = they do not."""
        return ceil(round(self.link.round_trip_ms * QUEUES_A_MS, 6))  # never less than was asked for


def sent_comment(zone: str) -> str:
    """The comment of the counter of what a failed zone's ports send."""
    return f"zone failure: {zone}, from it"


def received_comment(zone: str) -> str:
    """The comment of the counter of what would go to a failed zone's ports."""
    return f"zone failure: {zone}, to it"


def loss_comment(one: str, other: str) -> str:
    """The comment of the counter of what is lost between two zones."""
    return f"zone loss: between {' and '.join(sorted((one, other)))}"


def is_busy(cloud: CloudState) -> bool:
    """Is anything set for zones at all?"""
    return bool(cloud.zone_links or cloud.zone_failures)


def plan_zones(cloud: CloudState, vpc_id: str) -> Slice:
    """Slice ``zones`` of a VPC: one table, or nothing where nothing is set for its zones."""
    if not is_busy(cloud):
        return Slice(SLICE)
    subnets = [subnet for subnet in cloud.subnets.values() if subnet.vpc_id == vpc_id]
    ports = {zone: found for zone in sorted(cloud.zone_failures) if (found := sorted(_ports(cloud, vpc_id, zone)))}
    crossings = list(_crossings(cloud, subnets))
    if not ports and not crossings:
        return Slice(SLICE)
    lines = [*_failures(ports), *(_between(subnets, crossings) if crossings else ())]
    table = NftTable("ip", TABLE, "\n".join(lines) + "\n")
    return Slice(SLICE, (table, *(queue_rule(queue) for queue in queues_of(cloud, vpc_id))))


def queues_of(cloud: CloudState, vpc_id: str) -> tuple[int, ...]:
    """The queues in which packets of a VPC wait, sorted: one for each length of time."""
    subnets = [subnet for subnet in cloud.subnets.values() if subnet.vpc_id == vpc_id]
    return tuple(sorted({one.queue for one in _crossings(cloud, subnets) if one.queue}))


def tells_zones_apart(cloud: CloudState, vpc_id: str) -> bool:
    """Do packets of a VPC need the numbers of their subnets, because they meet something between two zones?"""
    return bool(cloud.zone_links) and any(_crossings(cloud, [subnet for subnet in cloud.subnets.values() if subnet.vpc_id == vpc_id]))


def queue_rule(queue: int) -> IptRule:
    """Packets of a queue's mark wait in it; where nobody serves it they pass. nft has no `queue` on every kernel, iptables has."""
    return IptRule("security", "FORWARD", f"-m connmark --mark {queue:#x} -j NFQUEUE --queue-num {queue} --queue-bypass")


def concerns(cloud: CloudState, eni: Eni | None) -> bool:
    """Does the table of an ENI's VPC follow from this ENI?"""
    return eni is not None and eni.availability_zone in cloud.zone_failures


def _ports(cloud: CloudState, vpc_id: str, zone: str) -> Iterator[str]:
    """The ports of a zone's ENIs and NAT gateways."""
    for eni in cloud.enis.values():
        if eni.vpc_id == vpc_id and eni.availability_zone == zone and is_plugged(cloud, eni):
            yield eni_port(eni.id)
    for nat in cloud.nat_gateways.values():
        if nat.vpc_id == vpc_id and nat.state == "available" and cloud.subnets[nat.subnet_id].availability_zone == zone:
            yield nat_port(nat.id)


def _crossings(cloud: CloudState, subnets: Iterable[Subnet]) -> Iterator[Crossing]:
    zones = sorted({subnet.availability_zone for subnet in subnets})
    for (n, one), (m, other) in combinations(enumerate(zones), 2):
        link = link_between(cloud.zone_links, one, other)
        if link is not None:
            crossing = Crossing((one, other), (n, m), link)
            if link.loss_percent or crossing.queue:
                yield crossing


def _failures(ports: dict[str, list[str]]) -> Iterator[str]:
    if not ports:
        return
    for chain, hook, priority, key, comment in (
        ("from_failed", "prerouting", PRIORITY_IN, "iifname", sent_comment),
        ("to_failed", "postrouting", PRIORITY_OUT, "oifname", received_comment),
    ):
        yield f"  chain {chain} {{ type filter hook {hook} priority {priority}; policy accept;"
        for zone, names in ports.items():
            yield f'    {key} {{ {", ".join(names)} }} counter drop comment "{comment(zone)}"'
        yield "  }"


def _between(subnets: list[Subnet], crossings: list[Crossing]) -> Iterator[str]:
    """By the subnet it leaves to its zone's chain, by the subnet it enters to the pair's."""
    by_zone: dict[int, dict[int, str]] = {}
    names: dict[int, str] = {}
    for one in crossings:
        for here, there in ((0, 1), (1, 0)):
            by_zone.setdefault(one.numbers[here], {})[one.numbers[there]] = one.chain
            names[one.numbers[here]] = one.zones[here]
    numbers = {place: sorted(subnet_number(one) for one in subnets if one.availability_zone == zone) for place, zone in names.items()}
    marks = [(mark, place) for place in sorted(by_zone) for number in numbers[place] for mark in _marks(number)]
    yield f"  chain between {{ type filter hook forward priority {PRIORITY_BETWEEN}; policy accept;"
    if any(one.queue for one in crossings):
        yield "    ct mark set 0"
    yield f"    meta mark vmap {{ {', '.join(f'{mark} : jump from_z{place}' for mark, place in marks)} }}"
    yield "  }"
    for place, far in sorted(by_zone.items()):
        entries = [f"{class_text(number)} : jump {chain}" for other, chain in sorted(far.items()) for number in numbers[other]]
        yield f"  chain from_z{place} {{"
        yield f"    meta priority vmap {{ {', '.join(entries)} }}"
        yield "  }"
    for one in crossings:
        yield f"  chain {one.chain} {{"
        if one.link.loss_percent:
            yield f'    {_chance(one.link.loss_percent)}counter drop comment "{loss_comment(*one.zones)}"'
        if one.queue:
            yield f"    ct mark set {one.queue}"
        yield "  }"


def _chance(percent: float) -> str:
    """The condition that holds for so many of a hundred packets."""
    wanted = round(percent / 100 * CHANCES)
    return "" if wanted >= CHANCES else f"numgen random mod {CHANCES} < {wanted} "


def _marks(number: int) -> tuple[str, str]:
    """A subnet's number as it stands on a packet, and on one that arrived with TTL 255."""
    return mark_text(number), mark_text(number | tables.TTL_255_BIT)
