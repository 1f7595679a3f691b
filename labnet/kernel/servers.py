"""Sockets on which the built-in servers are asked: opened and bound in whatever namespace the calling thread is in."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Mapping

from labnet.errors import KernelError

BACKLOG = 128
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
Port = tuple[str, int]
"""("tcp" | "udp", number)."""
Stock = Mapping[Port, socket.socket]


def opened(netns: str, ports: Iterable[Port]) -> dict[Port, socket.socket]:
    """A socket for each port, on every address of the namespace, not blocking: connections queue from now on, and a datagram tells to
    which address it was sent. `netns` is its name, for errors. Errors: KernelError (EADDRINUSE), then none is open.
    """
    made: dict[Port, socket.socket] = {}
    try:
        for protocol, number in ports:
            try:
                if (protocol, number) in made:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
                made[protocol, number] = sock = socket.socket(socket.AF_INET, _KINDS[protocol] | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
                _bind(sock, protocol, number)
            except OSError as error:
                raise KernelError("bind", netns, f"{protocol} port {number}", error.errno or 0) from error
    except BaseException:
        for sock in made.values():
            sock.close()
        raise
    return made


def taken(port: Port, descriptor: int) -> socket.socket:
    """A socket that was opened so in another process, from its descriptor, which is its own from now on."""
    sock = socket.socket(socket.AF_INET, _KINDS[port[0]], 0, fileno=descriptor)
    sock.setblocking(False)
    return sock


def _bind(sock: socket.socket, protocol: str, number: int) -> None:
    if protocol == "tcp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_PKTINFO", 8), 1)
    sock.bind(("0.0.0.0", number))
    if protocol == "tcp":
        sock.listen(BACKLOG)
