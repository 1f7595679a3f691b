"""How full each subnet is, down to its /28 blocks, and what will fail next (pure). Source: docs/sources.md#subnets"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from labnet.ec2.rules.pool import free_count, taken_in
from labnet.model.addressing import PREFIX_ADDRESSES, bounds, free_prefixes, prefix_length, reserved, to_int, to_text
from labnet.model.capacity import UPGRADE_ADDRESSES
from labnet.model.cloud import CloudState, Subnet

USES = ("reserved", "primary", "secondary", "prefix", "other")
"""What an address may be used for; `other` is taken, but by no ENI."""
BY_ADDRESS_FROM = 26
"""Subnets this small and smaller are drawn address by address."""


def subnet_reports(state: CloudState, *, blocks: bool) -> list[dict[str, Any]]:
    """Every subnet in order of making: counts and warnings; with `blocks` its /28 blocks, and its addresses where it is small."""
    return [_report(state, subnet, blocks) for subnet in state.subnets.values()]


def _report(state: CloudState, subnet: Subnet, blocks: bool) -> dict[str, Any]:
    uses = _uses(state, subnet)
    counts = Counter(uses.values())
    first, last = bounds(subnet.cidr)
    free_blocks = sum(1 for _ in free_prefixes(subnet.cidr, taken_in(state, subnet)))
    free = free_count(state, subnet)
    report: dict[str, Any] = {
        "id": subnet.id, "name": subnet.tags.get("Name", subnet.id), "vpc": state.vpcs[subnet.vpc_id].name, "cidr": subnet.cidr,
        "availabilityZone": subnet.availability_zone, "addresses": last - first + 1, **{use: counts.get(use, 0) for use in USES},
        "used": last - first + 1 - counts.get("reserved", 0) - free, "free": free, "freePrefixes": free_blocks,
        "nextPrefix": next(islice(free_prefixes(subnet.cidr, taken_in(state, subnet)), 1), None),
        "warnings": _warnings(free, free_blocks),
    }
    if blocks:
        report["blocks"] = _blocks(subnet, uses)
        if prefix_length(subnet.cidr) >= BY_ADDRESS_FROM:
            report["uses"] = {to_text(number): uses.get(number, "free") for number in range(first, last + 1)}
    return report


def _uses(state: CloudState, subnet: Subnet) -> dict[int, str]:
    """What each address that is not free is used for."""
    uses = dict.fromkeys(taken_in(state, subnet), "other")
    uses |= dict.fromkeys(reserved(subnet.cidr), "reserved")
    for eni in state.enis.values():
        if eni.subnet_id != subnet.id:
            continue
        for prefix in eni.prefixes:
            low, high = bounds(prefix)
            uses |= dict.fromkeys(range(low, high + 1), "prefix")
        uses |= {to_int(item.address): "primary" if item.primary else "secondary" for item in eni.addresses}
    return uses


def _blocks(subnet: Subnet, uses: Mapping[int, str]) -> list[dict[str, Any]]:
    """The /28 blocks, ascending, each with how many of its addresses are used for what."""
    by_block: dict[int, Counter[str]] = {}
    for number, use in uses.items():
        by_block.setdefault(number // PREFIX_ADDRESSES, Counter())[use] += 1
    first, last = bounds(subnet.cidr)
    out = []
    for base in range(first, last + 1, PREFIX_ADDRESSES):
        counts = by_block.get(base // PREFIX_ADDRESSES, Counter())
        used = {use: counts[use] for use in USES if counts[use]}
        out.append({"cidr": f"{to_text(base)}/28", **used, "free": PREFIX_ADDRESSES - sum(used.values())})
    return out


def _warnings(free: int, free_blocks: int) -> list[str]:
    """What will fail next though addresses are free, and what an upgrade would lack."""
    found = []
    if free and not free_blocks:
        why = "they lie scattered" if free >= PREFIX_ADDRESSES else "fewer than sixteen"
        addresses = "1 address is" if free == 1 else f"{free} addresses are"
        found.append(f"the next prefix will fail with InsufficientCidrBlocks: {addresses} free, but no whole /28 block ({why})")
    if free < UPGRADE_ADDRESSES:
        found.append(f"{free} free: an upgrade of the cluster may want up to {UPGRADE_ADDRESSES} addresses here")
    return found
