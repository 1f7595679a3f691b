"""Bigger buffers of sockets than the machine's limit lets everybody have."""

from __future__ import annotations

import socket

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33


def widen_sending(sock: socket.socket, size: int) -> None:
    """Room for so many bytes on the way out; in a user namespace only up to the machine's limit."""
    _widen(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)


def widen_receiving(sock: socket.socket, size: int) -> None:
    """Room for so many bytes on the way in; in a user namespace only up to the machine's limit."""
    _widen(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)


def _widen(sock: socket.socket, force: int, plain: int, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
