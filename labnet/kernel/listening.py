"""Who listens in a namespace: TCP sockets that accept and UDP sockets that are bound, from the kernel's own lists."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

from labnet.kernel.netns import enter
from labnet.model.values import frozen

_LISTS = (("tcp", "tcp", "0A"), ("tcp", "tcp6", "0A"), ("udp", "udp", ""), ("udp", "udp6", ""))
"""Protocol, file below /proc/net, and the state that counts (0A: LISTEN); UDP has no such state."""
ANY = "0.0.0.0"


@frozen
class Listener:
    """A socket that takes what comes to an address (`ANY`: to any) and a port."""

    protocol: str
    address: str
    port: int

    def takes(self, protocol: str, address: str, port: int) -> bool:
        """Would it take a packet?"""
        return (self.protocol, self.port) == (protocol, port) and self.address in (ANY, address)


def listeners(fd: int) -> frozenset[Listener]:
    """Of the namespace that a descriptor names. Errors: OSError.

    A socket of IPv6 that is bound to no address counts for IPv4 too: the kernel does not tell those apart that take IPv6 alone.
    """
    with enter(fd):
        return frozenset(_read())


def _read() -> Iterator[Listener]:
    for protocol, name, state in _LISTS:
        try:
            with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:  # noqa: PTH123 - the thread's own namespace
                rows = file.read().splitlines()[1:]
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for row in rows:
            words = row.split()
            address, _colon, port = words[1].partition(":")
            found = _ipv4(address)
            if found is not None and state in ("", words[3]):
                yield Listener(protocol, found, int(port, 16))


def _ipv4(text: str) -> str | None:
    """An address as /proc writes it, in the machine's byte order; None for one of IPv6."""
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    if len(raw) == 4:
        return socket.inet_ntoa(raw)
    if not any(raw):
        return ANY
    return socket.inet_ntoa(raw[12:]) if raw[:12] == bytes(10) + b"\xff\xff" else None
