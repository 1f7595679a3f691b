"""The verbs of a running lab about its availability zones: one fails, packets between two are lost or take longer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.ec2 import zone_faults
from labnet.kernel import preflight
from labnet.lab.control import Emit, Verb
from labnet.lab.world import World
from labnet.model.zones import ZoneFailure, ZoneLink, ZoneLinkSpec

Args = Mapping[str, Any]
Answer = dict[str, Any]


class ZoneVerbs:
    """One method a verb, as `Verbs` has them. Errors: LabnetError."""

    def __init__(self, world: World) -> None:
        self._world = world

    def table(self) -> dict[str, Verb]:
        """Verb → what serves it."""
        return {"fault-zone": self.fail, "fault-link": self.link}

    async def fail(self, args: Args, emit: Emit) -> Answer:
        """A zone fails; the failure as it stands."""
        zone, world = str(args["zone"]), self._world
        world.ec2.change(lambda state: zone_faults.fail_zone(state, zone, world.clock.now_s()))
        world.events.record(f"zone/{zone}", "ZoneFailed", "no packet enters or leaves its network interfaces")
        return {"apiVersion": "labnet/v1", "kind": "Fault", "lab": world.lab, **failure_document(world.ec2.state.zone_failures[zone])}

    async def link(self, args: Args, emit: Emit) -> Answer:
        """Set what packets meet between two zones, or with `between` empty between any two; the link as it stands."""
        between = tuple(str(one) for one in args.get("between") or ())
        spec = ZoneLinkSpec(between, float(args.get("roundTripMs") or 0), float(args.get("lossPercent") or 0))
        link = ZoneLink(spec)
        preflight.check_zone_links(loss=spec.loss_percent > 0, latency=spec.round_trip_ms > 0)
        self._world.ec2.change(lambda state: zone_faults.set_link(state, link))
        if self._world.latency.failure is not None:
            raise self._world.latency.failure
        return {"apiVersion": "labnet/v1", "kind": "Fault", "lab": self._world.lab, **link_document(link)}


def zone_fault_ids(world: World) -> list[str]:
    """The ids of what is set for zones."""
    state = world.ec2.state
    return [*state.zone_failures, *state.zone_links]


def zone_fault_list(world: World) -> list[Answer]:
    """What is set for zones, failures first."""
    state = world.ec2.state
    return [*map(failure_document, state.zone_failures.values()), *map(link_document, state.zone_links.values())]


def clear_zone_faults(world: World, ids: list[str]) -> None:
    """Take back what is set for zones, by ids of it."""
    failed = [one for one in ids if one in world.ec2.state.zone_failures]
    world.ec2.change(lambda state: zone_faults.clear(state, ids))
    for zone in failed:
        world.events.record(f"zone/{zone}", "ZoneBack", "packets enter and leave its network interfaces again")


def failure_document(failure: ZoneFailure) -> Answer:
    """A failure in JSON."""
    return {"id": failure.zone, "type": "zone", "zones": [failure.zone], "since": failure.since_s, "origin": "added"}


def link_document(link: ZoneLink) -> Answer:
    """A link in JSON."""
    spec = link.spec
    return {
        "id": spec.id, "type": "link", "zones": sorted(spec.between), "roundTripMs": spec.round_trip_ms, "lossPercent": spec.loss_percent,
        "origin": link.origin,
    }
