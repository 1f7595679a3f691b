"""A DNS server on sockets that the caller opened: UDP and TCP, port and address are the caller's matter.

Guards against clients that are slow or hostile: a bounded number of connections, a time to say something, one length at most.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable

Respond = Callable[..., "bytes | None"]
"""(bytes of a query, tcp=…) → bytes of the answer, or None for silence. Never raises for what a stranger sent."""

DATAGRAM_BYTES = 65_535
AT_ONCE = 32
"""Datagrams that are answered before others have their turn."""
CONNECTIONS = 128
IDLE_S = 10.0
"""By the machine's time: it guards and imitates nothing."""


class DnsServer:
    """Answers on sockets until it is closed; closing is at once, so that nothing holds a namespace."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._datagrams: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to answer. The sockets are the server's from now on."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
            if sock.type == socket.SOCK_DGRAM:
                self._datagrams.append(sock)
                loop.add_reader(sock.fileno(), self._read, sock)
            else:
                self._servers.append(await asyncio.start_server(self._serve, sock=sock))

    def close(self) -> None:
        """Answer no more: sockets are closed, connections reset."""
        loop = asyncio.get_running_loop()
        for sock in self._datagrams:
            loop.remove_reader(sock.fileno())
            sock.close()
        for server in self._servers:
            server.close()
        for client in tuple(self._clients):
            _cut(client)
        self._datagrams, self._servers = [], []

    def _read(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                data, asker = sock.recvfrom(DATAGRAM_BYTES)
            except OSError:
                return  # nothing left, or an ICMP error of an earlier answer
            answer = self._respond(data, tcp=False)
            if answer is not None:
                try:
                    sock.sendto(answer, asker)
                except OSError:
                    pass  # its buffer is full, or nobody is there any more: as lost as any datagram

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= CONNECTIONS:
            _cut(writer)
            return
        self._clients.add(writer)
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    size = struct.unpack("!H", await reader.readexactly(2))[0]
                    answer = self._respond(await reader.readexactly(size), tcp=True)
                    if answer is None:
                        break
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
            writer.close()
        except (OSError, EOFError, TimeoutError):
            _cut(writer)
        finally:
            self._clients.discard(writer)


def _cut(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset: a client that never answers the FIN would keep the namespace."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # it has ended by itself
    writer.transport.abort()
