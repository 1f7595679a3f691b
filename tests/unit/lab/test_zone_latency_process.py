"""Who holds packets back between zones: one process, started, told, restarted and ended; it is a stand-in here, packets are elsewhere."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from builders_cloud import a_cloud

from labnet.ec2 import zone_faults
from labnet.errors import KernelError
from labnet.lab.zone_latency import MOST_RESTARTS, ZoneLatency
from labnet.model.cloud import CloudState
from labnet.model.zones import ZoneLink, ZoneLinkSpec

VPC = "lnt-cloud-vpc"


class Process:
    """Ends when `die` is called: its handle becomes readable then."""

    def __init__(self, refuses: bool = False) -> None:
        self.handle, self._other = os.pipe()
        self.refuses, self.ended = refuses, False
        self.told: list[tuple[str, tuple[int, ...], bool]] = []

    def hold(self, netns: str, queues: Sequence[int], sock: object) -> None:
        if self.refuses:
            raise KernelError("hold", netns, "queues", 1)
        self.told.append((netns, tuple(queues), sock is not None))

    def die(self) -> None:
        os.write(self._other, b"x")

    def end(self) -> None:
        self.ended = True
        os.close(self.handle)
        os.close(self._other)


class Place:
    """A ZoneLatency whose processes, events and log are lists."""

    def __init__(self, refuses: bool = False) -> None:
        self.processes: list[Process] = []
        self.events: list[str] = []
        self.refuses = refuses
        self.cloud = a_cloud()
        self.latency = ZoneLatency("lnt-cloud", self, self.start, self, lambda text: None)  # type: ignore[arg-type]

    def start(self) -> Any:
        self.processes.append(Process(self.refuses))
        return self.processes[-1]

    def record(self, object: str, reason: str, message: str) -> None:  # noqa: A002 - the port's word
        self.events.append(reason)

    def open_socket(self, netns: str, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002 - the port's word
        return socket.socket()

    def go(self, cloud: CloudState) -> None:
        old, self.cloud = self.cloud, cloud
        self.latency.follow(old, cloud)

    def set(self, ms: float, *between: str) -> None:
        self.go(zone_faults.set_link(self.cloud, ZoneLink(ZoneLinkSpec(between, ms))))


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_it_is_there_as_long_as_any_latency_is_set() -> None:
    async def work() -> None:
        place = Place()
        place.go(zone_faults.set_link(place.cloud, ZoneLink(ZoneLinkSpec((), 0, 5))))
        place.go(zone_faults.fail_zone(place.cloud, "us-west-2a", 0.0))
        assert not place.processes, "loss and failure need none"
        place.set(20)
        place.set(30)
        place.set(40, "us-west-2a", "us-west-2c")  # no subnet is in zone c
        assert [process.told for process in place.processes] == [[(VPC, (200,), True), (VPC, (300,), True)]]
        place.go(zone_faults.clear(place.cloud, ["all-zones"]))
        assert place.processes[0].ended and len(place.processes) == 1 and not place.events
        place.set(20)
        place.latency.close()
        assert [process.ended for process in place.processes] == [True, True]

    run(work)


def test_another_one_takes_over_a_few_times() -> None:
    async def work() -> None:
        place = Place()
        place.set(20)
        for number in range(MOST_RESTARTS):
            place.processes[-1].die()
            await asyncio.sleep(0.01)
            assert len(place.processes) == number + 2 and place.processes[-1].told == [(VPC, (200,), True)]
        assert place.events == ["LatencyInterrupted", "LatencyRestored"] * MOST_RESTARTS
        place.processes[-1].die()
        await asyncio.sleep(0.01)
        assert len(place.processes) == MOST_RESTARTS + 1 and place.events[-1] == "LatencyFailed"
        assert all(process.ended for process in place.processes)

    run(work)


def test_what_cannot_be_served_is_told() -> None:
    async def work() -> None:
        place = Place(refuses=True)
        place.set(20)
        assert isinstance(place.latency.failure, KernelError) and place.events == ["LatencyFailed"]
        place.go(zone_faults.clear(place.cloud, ["all-zones"]))
        assert place.latency.failure is None and place.processes[0].ended

    run(work)
