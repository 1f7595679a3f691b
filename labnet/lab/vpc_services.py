"""What answers in each VPC (metadata service, EC2 API, resolver) and in the Internet (servers, resolvers), while each of them is there.

VPCs come and go while the lab runs; the Internet comes with the first internet gateway that is attached and goes with the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from labnet.ec2.imds_http import ImdsServer
from labnet.ec2.service import Ec2Service
from labnet.errors import LabnetError
from labnet.fabric.places import vpc_netns_of
from labnet.lab.ec2_endpoint import Ec2Endpoint
from labnet.lab.imds import new_tokens, serve_imds
from labnet.lab.resolvers import Resolvers
from labnet.lab.workload import Workloads
from labnet.model.cloud import CloudState
from labnet.model.names import internet_netns
from labnet.ports import Clock, Kernel

INTERNET = "internet"
"""Who answers there."""
INTERNET_PORTS = (("tcp", 80), ("tcp", 8080), ("udp", 7))

Spawn = Callable[[Coroutine[Any, Any, Any], str], None]
"""Run something for as long as the lab lives; its failure is told and ends nothing else."""


class VpcServices:
    """Follows EC2's VPCs: `follow` hears of every change of its state, `retire` of namespaces that it needs no more."""

    def __init__(
        self, service: Ec2Service, kernel: Kernel, clock: Clock, endpoint: Ec2Endpoint, resolvers: Resolvers, workloads: Workloads,
        spawn: Spawn,
    ) -> None:
        self._service, self._kernel, self._clock, self._endpoint, self._spawn = service, kernel, clock, endpoint, spawn
        self._resolvers, self._workloads = resolvers, workloads
        self._tokens = new_tokens()
        self._imds: dict[str, ImdsServer] = {}
        self._vpcs: dict[str, str] = {}
        """Namespace → VPC, for those in which something listens or soon will."""
        self._in_internet = False

    async def begin(self) -> None:
        """Listen in every VPC that is there, and in the Internet. Errors: KernelError, OSError."""
        for vpc_id in self._service.state.vpcs:
            self._vpcs[vpc_netns_of(self._service.state, vpc_id)] = vpc_id
            await self._open(vpc_id)
        self._listen_in_internet()
        await self._resolvers.answer_in_internet()

    def follow(self, old: CloudState, new: CloudState) -> None:
        """A VPC came, or the Internet with the first gateway: listen there."""
        for vpc_id in new.vpcs.keys() - old.vpcs.keys() if old.vpcs is not new.vpcs else ():
            self._vpcs[vpc_netns_of(new, vpc_id)] = vpc_id
            self._spawn(self._open(vpc_id), f"services of {vpc_id}")
        if old.internet_gateways is not new.internet_gateways:
            self._spawn(self._answer_in_internet(self._listening_there()), "services of the Internet")

    def retire(self, gone: Iterable[str]) -> tuple[str, ...]:
        """Of namespaces that EC2 needs no more, those in which nothing listens; the others go once nothing does."""
        names = tuple(gone)
        internet = internet_netns(self._service.state.lab)
        if internet in names:
            self._resolvers.leave(internet)
            self._workloads.stop(INTERNET)
            self._in_internet = False
        for netns in names:
            if netns in self._vpcs:
                self._spawn(self._leave(netns, self._vpcs[netns]), f"end of {self._vpcs[netns]}")
        return tuple(netns for netns in names if netns not in self._vpcs)

    async def close(self) -> None:
        """Listen nowhere any more."""
        for server in self._imds.values():
            await server.close()
        self._resolvers.close()

    def _listen_in_internet(self) -> None:
        """Listen in the Internet, if there is one and nobody does yet. Errors: KernelError, OSError."""
        internet = internet_netns(self._service.state.lab)
        if self._kernel.exists(internet) and not self._in_internet:
            self._in_internet = True
            self._workloads.serve(INTERNET, internet, INTERNET_PORTS)
            self._resolvers.listen_in_internet()

    def _listening_there(self) -> Exception | None:
        """Listen before whoever attached the gateway has his answer: what he asks next must find somebody. The error, if it fails."""
        try:
            self._listen_in_internet()
        except (LabnetError, OSError) as error:
            return error
        return None

    async def _answer_in_internet(self, failed: Exception | None) -> None:
        if failed is not None:
            raise failed  # told as every failure of an actor is; the gateway is attached all the same
        await self._resolvers.answer_in_internet()

    async def _open(self, vpc_id: str) -> None:
        if vpc_id in self._service.state.vpcs:  # else it went before its turn came
            self._imds[vpc_id] = await serve_imds(self._service, self._kernel, self._clock, self._tokens, vpc_id)
            await self._resolvers.open_in_vpc(vpc_id)
            await self._endpoint.open_in(vpc_id, self._kernel, vpc_netns_of(self._service.state, vpc_id))

    async def _leave(self, netns: str, vpc_id: str) -> None:
        """Sockets hold a namespace: they go first."""
        self._resolvers.leave(netns)
        server = self._imds.pop(vpc_id, None)
        if server is not None:
            await server.close()
        await self._endpoint.leave(vpc_id)
        self._vpcs.pop(netns, None)
        self._kernel.remove_netns([netns])
