"""Stands for the daemon's socket on a node: the plugin dials it, and somebody answers while ipamd runs.

It outlives the daemon behind it, as the plugin does: when ipamd is started anew (`set env`, a crash), `close` and `listen` are
what the plugin sees of that.
"""

from __future__ import annotations

import errno
import os
from typing import Protocol

from labnet.cni.vpc.plugin import DAEMON_SOCKET
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest


class Daemon(Protocol):
    """ipamd: its answers to the plugin. Errors: UnknownAttachment, IpamError."""

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container."""

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Give it back."""

    def attachments(self, network: str) -> tuple[tuple[str, str], ...]:
        """(container id, interface name) of everybody in a network who has an address."""


class DaemonSocket:
    """The `Ipamd` of a plugin. Nobody listens at first. Errors: ConnectionRefusedError while nobody does."""

    def __init__(self) -> None:
        self._daemon: Daemon | None = None

    def listen(self, daemon: Daemon) -> None:
        """From now on this one answers."""
        self._daemon = daemon

    def close(self) -> None:
        """From now on nobody does."""
        self._daemon = None

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container; `success` False when there is none."""
        return await self._dialled().add_network(request)

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Give it back."""
        return await self._dialled().del_network(request)

    async def attachments(self, network: str) -> tuple[tuple[str, str], ...]:
        """(container id, interface name) of everybody in a network who has an address."""
        return self._dialled().attachments(network)

    def _dialled(self) -> Daemon:
        if self._daemon is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), DAEMON_SOCKET)
        return self._daemon
