"""Latency between zones in a running lab: one process for all VPCs, there as long as any is set, and started again when it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from labnet.errors import LabnetError
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.zones import queues_of
from labnet.model.cloud import CloudState
from labnet.ports import Events, Kernel

if TYPE_CHECKING:
    from labnet.kernel.delay import DelayProcess

NETLINK_NETFILTER = 12
MOST_RESTARTS, IN_S = 5, 60.0
Queues = tuple[int, ...]


class ZoneLatency:
    """Follows the cloud: which queues of which namespaces shall be served. `start` makes the process, None where there is none (a plan)."""

    def __init__(self, lab: str, kernel: Kernel, start: Callable[[], DelayProcess | None], events: Events, log: Callable[[str], None]) -> None:
        self._lab, self._kernel, self._start, self._events, self._log = lab, kernel, start, events, log
        self._process: DelayProcess | None = None
        self._wanted: Mapping[str, Queues] = {}
        self._served: dict[str, Queues] = {}
        self._ended_s: list[float] = []
        self.failure: LabnetError | None = None
        """Why packets are not held back as they should be."""

    def follow(self, old: CloudState, new: CloudState) -> None:
        """Serve what a state wants. A VPC that goes has no subnets any more: nothing keeps a socket in its namespace."""
        if (old.zone_links, old.subnets, old.vpcs) == (new.zone_links, new.subnets, new.vpcs):
            return
        found = {vpc_netns_of(new, vpc_id): queues_of(new, vpc_id) for vpc_id in new.vpcs} if new.zone_links else {}
        self._wanted = {netns: queues for netns, queues in found.items() if queues}
        self._serve()

    def close(self) -> None:
        """End the process."""
        self._wanted = {}
        self._stop()

    def _serve(self) -> None:
        self.failure = None
        if not self._wanted:
            self._stop()
            return
        try:
            process = self._process or self._begin()
            for netns in [*self._served, *self._wanted] if process is not None else ():
                queues = self._wanted.get(netns, ())
                if self._served.get(netns, ()) != queues:
                    self._hold(process, netns, queues)
        except LabnetError as error:
            self.failure = error
            self._tell("LatencyFailed", f"packets between zones are not held back: {error.message}")

    def _begin(self) -> DelayProcess | None:
        process = self._process = self._start()
        if process is not None:
            asyncio.get_running_loop().add_reader(process.handle, self._ended)
        return process

    def _hold(self, process: DelayProcess | None, netns: str, queues: Queues) -> None:
        if process is None:
            return
        if queues:
            with self._kernel.open_socket(netns, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
                process.hold(netns, queues, sock)
            self._served[netns] = queues
        else:
            process.hold(netns, (), None)
            del self._served[netns]

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._served.clear()
        if process is not None:
            asyncio.get_running_loop().remove_reader(process.handle)
            process.end()

    def _ended(self) -> None:
        """The process has ended by itself: meanwhile packets pass at once; say so and start another one, a few times."""
        self._stop()
        now_s = time.monotonic()
        self._ended_s = [at for at in self._ended_s if now_s - at < IN_S]
        if len(self._ended_s) >= MOST_RESTARTS:
            said = f"what holds packets between zones back ended {MOST_RESTARTS + 1} times within a minute: there is no latency any more"
            self._tell("LatencyFailed", said)
            return
        self._ended_s.append(now_s)
        self._tell("LatencyInterrupted", "what holds packets between zones back has ended: they pass at once until it runs again")
        self._serve()
        if self.failure is None:
            self._tell("LatencyRestored", "packets between zones are held back again")

    def _tell(self, reason: str, message: str) -> None:
        self._log(message)
        self._events.record(f"lab/{self._lab}", reason, message)
