"""Resolvers of a running lab: base+2 and 169.254.169.253 in each VPC, and those of the Internet.

Their sockets are opened while the lab comes up, so that questions wait instead of being refused; they are answered once the
DNS library is loaded. Each address has sockets of its own: an answer comes from the address that was asked. The sockets stay
while `enableDnsSupport` is off; then the fabric lets nothing through to them.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import socket
from collections.abc import Sequence
from types import ModuleType

from labnet.dns import internet
from labnet.dns.amazon import ANYWHERE, resolver_of
from labnet.dns.records import Lookup
from labnet.dns.server import DnsServer
from labnet.ec2.service import Ec2Service
from labnet.fabric.places import vpc_netns_of
from labnet.fabric.tables import RESOLVER_ADDRESS
from labnet.model.addressing import resolver_of as vpc_resolver
from labnet.model.cloud import NO_DHCP_OPTIONS, CloudState
from labnet.model.names import internet_netns
from labnet.ports import Kernel

PORT = 53
BACKLOG = 64
IP_FREEBIND = 15
AMAZON = "AmazonProvidedDNS"


class Resolvers:
    """DNS servers by the namespace that they listen in."""

    def __init__(self, service: Ec2Service, kernel: Kernel) -> None:
        self._service, self._kernel = service, kernel
        self._open: dict[str, tuple[Lookup, list[socket.socket]]] = {}
        self._servers: dict[str, DnsServer] = {}
        self._wire: ModuleType | None = None

    async def open_in_vpc(self, vpc_id: str) -> None:
        """Listen in a VPC. Errors: KernelError, OSError."""
        state = self._service.state
        addresses = (vpc_resolver(state.vpcs[vpc_id].cidrs[0]), RESOLVER_ADDRESS)
        netns = vpc_netns_of(state, vpc_id)
        self._listen(netns, addresses, resolver_of(lambda: self._service.state, vpc_id))
        await self._attach(netns)

    def listen_in_internet(self) -> None:
        """Open the sockets in the Internet: what is asked from now on waits for `answer_in_internet`. Errors: KernelError, OSError."""
        netns = internet_netns(self._service.state.lab)
        if netns not in self._open:
            self._listen(netns, internet.RESOLVERS, resolver_of(lambda: self._service.state, ANYWHERE))

    async def answer_in_internet(self) -> None:
        """Answer there, as soon as the DNS library is loaded."""
        await self._attach(internet_netns(self._service.state.lab))

    def leave(self, netns: str) -> None:
        """Listen no more in a namespace. Unknown is fine."""
        waiting = self._open.pop(netns, None)
        server = self._servers.pop(netns, None)
        if server is not None:
            server.close()
        elif waiting is not None:
            for sock in waiting[1]:
                sock.close()

    async def answer(self) -> None:
        """Load the DNS library and begin to answer on what is open; from now on at once."""
        self._wire = await asyncio.to_thread(importlib.import_module, "labnet.dns.wire")
        for netns in tuple(self._open):
            await self._attach(netns)

    def close(self) -> None:
        """Listen nowhere any more."""
        for netns in tuple(self._open):
            self.leave(netns)

    def _listen(self, netns: str, addresses: Sequence[str], lookup: Lookup) -> None:
        kinds = [(socket.AF_INET, kind, 0) for _ in addresses for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        sockets = self._kernel.open_sockets(netns, kinds)
        try:
            for number, sock in enumerate(sockets):
                sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # the address comes and goes with enableDnsSupport
                if sock.type == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((addresses[number // 2], PORT))
                if sock.type == socket.SOCK_STREAM:
                    sock.listen(BACKLOG)
        except OSError:
            for sock in sockets:
                sock.close()
            raise
        self._open[netns] = lookup, sockets

    async def _attach(self, netns: str) -> None:
        if self._wire is not None and netns in self._open and netns not in self._servers:
            lookup, sockets = self._open[netns]
            server = self._servers[netns] = DnsServer(functools.partial(self._wire.respond, lookup))
            await server.start(sockets)


def resolv_conf(cloud: CloudState, vpc_id: str) -> str:
    """`/etc/resolv.conf` of a machine that starts in a VPC, from the DHCP options that it gets there. Source: docs/sources.md#dhcp-options"""
    vpc = cloud.vpcs[vpc_id]
    if vpc.dhcp_options_id == NO_DHCP_OPTIONS:
        return ""
    given = cloud.dhcp_options[vpc.dhcp_options_id].options
    amazon = vpc_resolver(vpc.cidrs[0])
    domains = " ".join(given.get("domain-name", ()))
    lines = [f"search {domains}"] if domains else []
    lines += [f"nameserver {amazon if one == AMAZON else one}" for one in given.get("domain-name-servers", ())]
    return "\n".join(lines) + "\n" if lines else ""
