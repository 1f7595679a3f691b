"""The node's end of the CNI executable: a unix socket that takes calls with an opened namespace and answers them.

One call a connection (`framing`). What does not speak the protocol is cut off and changes nothing; descriptors that came
with it are closed. The socket is for root alone.

A namespace that a foreign runtime hands over is held by the kernel door from its ADD to its DEL, and not longer.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from labnet.cni import skel
from labnet.cni.skel import Plugin
from labnet.cni.spec import NetnsGrant
from labnet.cni.vpc.executable import SOCKET_PATH_BYTES
from labnet.cni.vpc.framing import HEAD_BYTES, parse_environment, parse_head, render_reply
from labnet.errors import KernelError, UsageError
from labnet.ports import Kernel

BACKLOG = 128
READ_S = 10.0
DESCRIPTORS = 4
ADOPTED = "net:["
"""How the door's names for adopted namespaces begin, as the kernel's own do."""


class NodePlugin(Plugin, Protocol):
    """A plugin that knows in which namespaces its pods live."""

    def occupied(self) -> Collection[str]:
        """The namespaces in which pods are attached."""


class CniServer:
    """Serves one node's plugin on one socket."""

    def __init__(self, path: Path, plugin: NodePlugin, kernel: Kernel, node_netns: str, read_s: float = READ_S) -> None:
        self._path, self._plugin, self._kernel, self._node_netns, self._read_s = path, plugin, kernel, node_netns, read_s
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._adopted: set[str] = set()
        self._in_use: Counter[str] = Counter()

    async def start(self) -> None:
        """Listen; a socket that an earlier process left is replaced. Errors: UsageError (path too long), OSError."""
        if len(os.fsencode(self._path)) > SOCKET_PATH_BYTES:
            hint = "use a shorter run directory (LABNET_RUN_DIR) or shorter names"
            raise UsageError(f"the socket path {self._path} is longer than {SOCKET_PATH_BYTES} bytes", hint)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listening.bind(os.fsencode(self._path))
            self._path.chmod(0o600)  # before it listens: nobody else ever gets in
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        self._socket = listening
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listening))

    async def stop(self) -> None:
        """Stop listening, cut off what is in flight, remove the socket."""
        tasks = [task for task in (self._accepting, *self._calls) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _peer = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(0.1)  # out of descriptors: those in flight will give some back
                continue
            task = loop.create_task(self._serve(connection))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _serve(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        netns: NetnsGrant | None = None
        connection.setblocking(False)
        try:
            async with asyncio.timeout(self._read_s):
                environ, stdin = await _receive(connection, descriptors)
            netns = self._grant(descriptors)
            outcome = await skel.run(environ, stdin, self._plugin, netns=netns)
            async with asyncio.timeout(self._read_s):
                await asyncio.get_running_loop().sock_sendall(connection, render_reply(outcome))
        except (ValueError, OSError, TimeoutError):
            return  # not our executable, or its caller is gone
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            connection.close()
            self._release(netns)

    def _grant(self, descriptors: list[int]) -> NetnsGrant | None:
        """What the caller's descriptor opens; None when it is no network namespace."""
        if not descriptors:
            return None
        with suppress(KernelError):
            netns = self._kernel.adopt(descriptors[0])
            if netns.startswith(ADOPTED):
                self._adopted.add(netns)
            self._in_use[netns] += 1
            return NetnsGrant(netns, own=netns == self._node_netns)
        return None

    def _release(self, used: NetnsGrant | None) -> None:
        """A call has ended: let go of adopted namespaces in which there is no pod and that no other call is for."""
        if used is not None:
            self._in_use[used.netns] -= 1
            if not self._in_use[used.netns]:
                del self._in_use[used.netns]
        if not self._adopted:
            return
        free = self._adopted.difference(self._plugin.occupied(), self._in_use)
        self._adopted -= free
        if free:
            with suppress(KernelError):
                self._kernel.remove_netns(sorted(free))


async def _receive(connection: socket.socket, descriptors: list[int]) -> tuple[Mapping[str, str], bytes]:
    """A whole request; descriptors are added as they arrive. Errors: ValueError, OSError."""
    await _readable(connection)
    data, came, _flags, _peer = socket.recv_fds(connection, HEAD_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    descriptors += came
    head = parse_head(data + await _exactly(connection, HEAD_BYTES - len(data)))
    environ = parse_environment(await _exactly(connection, head.environment))
    return environ, await _exactly(connection, head.stdin)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


async def _exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes. Errors: ConnectionError when the stream ends before."""
    parts: list[bytes] = []
    while count:
        part = await asyncio.get_running_loop().sock_recv(connection, min(count, 1 << 16))
        if not part:
            raise ConnectionError("request cut short")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
