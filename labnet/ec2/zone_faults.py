"""What is set for zones: links between them and failures, as changes of the cloud's state (pure).

Source: docs/sources.md#zones-that-fail
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from labnet.ec2.rules.zones import zones_of
from labnet.errors import Ec2Error, NotFoundError, UsageError
from labnet.model.cloud import CloudState, Subnet
from labnet.model.zones import ZoneFailure, ZoneLink, ZoneLinkSpec

MIN_ROUND_TRIP_MS, MAX_ROUND_TRIP_MS, MAX_LOSS_PERCENT = 0.1, 1_000.0, 100.0
"""What `trace` still waits for, also where a packet crosses twice."""
ROUND_TRIPS = f"0, or {MIN_ROUND_TRIP_MS:g} to {MAX_ROUND_TRIP_MS:g} ms, in steps of {MIN_ROUND_TRIP_MS:g}"
A_PAIR = 2


def check_link(spec: ZoneLinkSpec, region: str) -> None:
    """Is it a link that can be? Errors: UsageError; NotFoundError for a zone that is none."""
    for zone in spec.between:
        check_zone(zone, region)
    if spec.between and (len(spec.between) != A_PAIR or len(set(spec.between)) != A_PAIR):
        raise UsageError(f"{' and '.join(spec.between)} is no pair of zones", "name two different zones, or none for every pair")
    if not is_round_trip(spec.round_trip_ms):
        raise UsageError(f"a round trip cannot take {spec.round_trip_ms:g} ms more", ROUND_TRIPS)
    if not 0 <= spec.loss_percent <= MAX_LOSS_PERCENT:
        raise UsageError(f"{spec.loss_percent:g} of a hundred packets cannot be lost", f"0 to {MAX_LOSS_PERCENT:g}")


def is_round_trip(ms: float) -> bool:
    """Can packets be held back so long?"""
    return ms == 0 or MIN_ROUND_TRIP_MS <= ms <= MAX_ROUND_TRIP_MS


def check_zone(zone: str, region: str) -> None:
    """Is there such a zone? Errors: NotFoundError."""
    known = [one.name for one in zones_of(region)]
    if zone not in known:
        raise NotFoundError(f"there is no zone {zone!r}", f"{region} has {', '.join(known)}")


def set_link(state: CloudState, link: ZoneLink) -> CloudState:
    """The state with a link; one of the same pair gives way. Errors: UsageError, NotFoundError."""
    check_link(link.spec, state.region)
    return replace(state, zone_links={**state.zone_links, link.spec.id: link})


def fail_zone(state: CloudState, zone: str, now_s: float) -> CloudState:
    """The state in which a zone has failed. Errors: NotFoundError."""
    check_zone(zone, state.region)
    if zone in state.zone_failures:
        return state
    return replace(state, zone_failures={**state.zone_failures, zone: ZoneFailure(zone, now_s)})


def clear(state: CloudState, ids: Iterable[str]) -> CloudState:
    """The state without links and failures of these ids; other ids are nobody's here."""
    gone = set(ids)
    if not gone & {*state.zone_links, *state.zone_failures}:
        return state
    return replace(
        state, zone_links={key: one for key, one in state.zone_links.items() if key not in gone},
        zone_failures={key: one for key, one in state.zone_failures.items() if key not in gone},
    )


def configure(state: CloudState, specs: Iterable[ZoneLinkSpec]) -> CloudState:
    """The state with a scenario's links, and those that were added otherwise. Errors: UsageError, NotFoundError."""
    wanted = {spec.id: ZoneLink(spec, "scenario") for spec in specs}
    for link in wanted.values():
        check_link(link.spec, state.region)
    added = {key: link for key, link in state.zone_links.items() if link.origin == "added"}
    links = {**wanted, **added}
    return state if links == state.zone_links else replace(state, zone_links=links)


def refuse_failed(state: CloudState, subnet: Subnet, instance_type: str) -> None:
    """No instance can be launched in a zone that has failed. Errors: Ec2Error."""
    zone = subnet.availability_zone
    if zone not in state.zone_failures:
        return
    others = [one.name for one in zones_of(state.region) if one.name not in state.zone_failures]
    raise Ec2Error(
        "InsufficientInstanceCapacity",
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone}). Our system will be "
        f"working on provisioning additional capacity. You can currently get {instance_type} capacity by not specifying an Availability Zone "
        f"in your request or choosing {', '.join(others)}.", 500,
    )
