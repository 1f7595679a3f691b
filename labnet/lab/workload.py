"""What runs in pods and in the Internet: built-in servers on sockets opened inside their namespaces, and real programs.

A pod needs no process: a listening socket opened in its namespace stays there, so one process serves thousands of pods.
Sockets are opened when the pod starts (clients queue at once) and answered after `up`, when the HTTP library is loaded.
Every HTTP answer says who asked and who answers, as one JSON object a line.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from labnet.lab.served import DEFAULT_PORTS
from labnet.model.cluster import ContainerSpec, PodView
from labnet.ports import Kernel

if TYPE_CHECKING:
    from aiohttp import web

UDP_BYTES = 65_535


@dataclass(slots=True)
class Served:
    """What one owner (a pod, the Internet) has open."""

    owner: str
    netns: str
    sockets: list[socket.socket] = field(default_factory=list)
    servers: list[asyncio.AbstractServer] = field(default_factory=list)
    http: list[web.Server] = field(default_factory=list)
    readers: list[socket.socket] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

Spawn = Callable[[str, tuple[str, ...], Mapping[str, str]], "subprocess.Popen[bytes] | None"]
"""Start a program in a namespace with its view: (netns, argv, environment) → the program."""


class Workloads:
    """Starts and stops what pods run. `spawn` starts a real program."""

    def __init__(self, lab: str, kernel: Kernel, spawn: Spawn, log: Callable[[str], None]) -> None:
        self._lab, self._kernel, self._spawn, self._log = lab, kernel, spawn, log
        self._served: dict[str, Served] = {}
        self._waiting: list[tuple[Served, socket.socket]] = []
        self._http: ModuleType | None = None
        self._starting = True

    def start_pod(self, pod: PodView, netns: str) -> None:
        """Open the servers and start the programs of a pod. Errors: KernelError (a port is taken by another container)."""
        if not pod.containers:
            self.serve(pod.key, netns, DEFAULT_PORTS)
        for container in pod.containers:
            self._start_container(pod, netns, container)

    def serve(self, owner: str, netns: str, ports: Iterable[tuple[str, int]]) -> None:
        """Open (protocol, port) pairs in a namespace for an owner. Errors: KernelError."""
        served = self._served.setdefault(owner, Served(owner, netns))
        opened = self._kernel.listen(netns, tuple(ports))
        served.sockets += opened
        for sock in opened:
            if self._starting:
                self._waiting.append((served, sock))
            else:
                self._take_up(served, sock)

    def stop(self, owner: str) -> None:
        """Close what an owner has open and end its programs, by pid."""
        served = self._served.pop(owner, None)
        if served is None:
            return
        self._waiting = [item for item in self._waiting if item[0] is not served]
        loop = asyncio.get_running_loop()
        for reader in served.readers:
            loop.remove_reader(reader.fileno())
        for server in served.servers:
            server.close()
        for connection in [one for http in served.http for one in http.connections]:
            _cut(connection.transport)
        for sock in served.sockets:
            sock.close()
        for task in served.tasks:
            task.cancel()
        for program in served.programs:
            if program.poll() is None:
                program.terminate()  # what does not heed it ends with the namespace's other programs in `down`

    def stop_all(self) -> None:
        """Close everything."""
        for owner in list(self._served):
            self.stop(owner)

    async def answer(self) -> None:
        """Begin to answer on what is open: UDP now, HTTP once the library is loaded; from then on at once."""
        self._starting = False
        waiting, self._waiting = self._waiting, []
        for served, sock in waiting:
            self._take_up(served, sock)
        if self._http is None:
            self._http = await asyncio.to_thread(importlib.import_module, "aiohttp.web")
        waiting, self._waiting = self._waiting, []
        for served, sock in waiting:
            await self._attach(served, sock)

    # ---- inside -----------------------------------------------------------------------------------------------------------

    def _start_container(self, pod: PodView, netns: str, container: ContainerSpec) -> None:
        if container.command:
            served = self._served.setdefault(pod.key, Served(pod.key, netns))
            program = self._spawn(netns, container.command, {"LABNET_LAB": self._lab, "HOSTNAME": pod.name})
            if program is not None:
                served.programs.append(program)
                served.tasks.append(asyncio.get_running_loop().create_task(self._watch(served, program, container)))
        else:
            self.serve(pod.key, netns, container.serve or DEFAULT_PORTS)

    async def _watch(self, served: Served, program: subprocess.Popen[bytes], container: ContainerSpec) -> None:
        """Wait for a program's end through a pidfd: no thread, and no busy loop."""
        loop = asyncio.get_running_loop()
        handle = os.pidfd_open(program.pid)
        ended = asyncio.Event()
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
            self._log(f"container {container.name} of {served.owner} ended: exit {program.wait()}")
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    def _take_up(self, served: Served, sock: socket.socket) -> None:
        """Begin to answer, or as soon as the HTTP library is there."""
        loop = asyncio.get_running_loop()
        if sock.type == socket.SOCK_DGRAM:
            loop.add_reader(sock.fileno(), _echo, sock)  # by number: asyncio writes a socket's whole text into an error that it drops
            served.readers.append(sock)
        elif self._http is None:
            self._waiting.append((served, sock))
        else:
            served.tasks.append(loop.create_task(self._attach(served, sock)))

    async def _attach(self, served: Served, sock: socket.socket) -> None:
        assert self._http is not None
        server = self._http.Server(functools.partial(self._respond, served.owner), access_log=None)
        served.http.append(server)
        served.servers.append(await asyncio.get_running_loop().create_server(server, sock=sock))

    async def _respond(self, owner: str, request: web.BaseRequest) -> web.StreamResponse:
        assert self._http is not None
        transport = request.transport
        asker = transport.get_extra_info("peername") if transport else None
        here = transport.get_extra_info("sockname") if transport else None
        body = {
            "you": asker[0] if asker else "", "yourPort": asker[1] if asker else 0,
            "me": owner, "address": here[0] if here else "", "port": here[1] if here else 0, "path": request.path,
        }
        answer: web.StreamResponse = self._http.Response(text=json.dumps(body) + "\n", content_type="application/json")
        return answer


def _cut(transport: asyncio.Transport | None) -> None:
    """End a connection by a reset: a client that keeps it, or never answers the FIN, would keep the namespace."""
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _echo(sock: socket.socket) -> None:
    """Send a datagram back, from the address that it was sent to (a namespace may have several)."""
    try:
        data, ancillary, _flags, asker = sock.recvmsg(UDP_BYTES, socket.CMSG_SPACE(12))
        reply = [(level, kind, b"\0\0\0\0" + payload[4:8] + b"\0\0\0\0") for level, kind, payload in ancillary]
        sock.sendmsg([data], reply, 0, asker)
    except OSError:
        pass  # an ICMP error of an earlier answer, or nobody there any more
