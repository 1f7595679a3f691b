"""What must hold for a scenario's `zoneLinks`: two zones that its subnets are in, once each pair, times and shares that can be (pure)."""

from __future__ import annotations

from labnet.ec2.zone_faults import MAX_LOSS_PERCENT, ROUND_TRIPS, is_round_trip
from labnet.lab import scenario_schema as schema
from labnet.lab.scenario_build import vpcs_of, zone_link_of
from labnet.lab.scenario_problems import Findings, Path, nearest

A_PAIR = 2


def check_zone_links(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with what is set between zones."""
    used = sorted({subnet.availability_zone for _path, vpc in vpcs_of(document) for subnet in vpc.subnets})
    seen: dict[str, Path] = {}
    for n, link in enumerate(document.zone_links):
        at: Path = ("zoneLinks", n)
        if link.between is not None and (len(link.between) != A_PAIR or len(set(link.between)) != A_PAIR):
            findings.add((*at, "between"), "names no two zones", "for example [us-west-2a, us-west-2b]; without 'between' all pairs are meant")
        for m, zone in enumerate(link.between or ()):
            if zone not in used:
                findings.add((*at, "between", m), f"no subnet is in zone {zone!r}", nearest(zone, used))
        if not is_round_trip(link.round_trip_ms):
            findings.add((*at, "roundTripMs"), f"a round trip cannot take {link.round_trip_ms:g} ms more", ROUND_TRIPS)
        if not 0 <= link.loss_percent <= MAX_LOSS_PERCENT:
            findings.add((*at, "lossPercent"), f"{link.loss_percent:g} of a hundred packets cannot be lost", f"0 to {MAX_LOSS_PERCENT:g}")
        key = zone_link_of(link).id
        if key in seen:
            findings.add(at, f"a second entry for the same zones; the first is in {findings.place(seen[key]).text}", "write one of them")
        seen.setdefault(key, at)
