"""scapy's packets for who works with a lab in Python: frames that were heard, and packets that shall be sent from inside a namespace.

scapy fills in what a packet leaves out by looking at the machine that it runs on, and may even ask its neighbours. What of that
would be wrong inside a namespace is filled in here, or refused.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Iterable
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.plist import PacketList

from labnet.errors import KernelError, UsageError
from labnet.ports import Kernel
from labnet.trace.dissect import Captured

__all__ = ["Packet", "Sniffed", "send", "sniffed"]

SIOCGIFHWADDR = 0x8927
IP_FREEBIND = 15
ETH_P_ALL = 0x0003
S = 1_000_000_000


class Sniffed(PacketList):  # type: ignore[misc]  # scapy has no types
    """Packets in the order of time, as scapy lists them. `lost`: frames for which the kernel had no room."""

    lost = 0


def sniffed(frames: Iterable[Captured], lost: int) -> Sniffed:
    """Each frame as a scapy packet with `netns`, `sniffed_on` (the interface), `direction` ("in", "out") and `time` (seconds)."""
    packets = []
    for frame in frames:
        packet: Any = Ether(frame.data)
        packet.time = frame.time_ns / S
        packet.netns, packet.sniffed_on, packet.direction = frame.netns, frame.link, frame.direction
        packets.append(packet)
    found = Sniffed(packets, "Sniffed")
    found.lost = lost
    return found


def send(kernel: Kernel, netns: str, address: str, packet: Packet, link: str) -> int:
    """Send a packet from inside a namespace: IP by the namespace's own rules and routes, a frame (Ether) on a link. Bytes sent.

    A source that the packet does not say is `address`, a frame's is the link's MAC. Errors: UsageError for what can be neither
    of the two, and for a frame that does not say to which MAC; KernelError with what the kernel says (no route, too long).
    """
    whole: Any = packet.copy() if isinstance(packet, Packet) else packet
    if isinstance(whole, IP):
        _own_source(whole, address)
        return _send_ip(kernel, netns, whole)
    if isinstance(whole, Ether):
        if "dst" not in whole.fields:
            raise UsageError("the frame does not say to which MAC it goes", "Ether(dst=…)/…; or leave Ether away, and the kernel finds its way")
        _own_source(whole.payload, address)
        return _send_frame(kernel, netns, whole, link)
    said = f"a packet that begins with {whole.name}" if isinstance(whole, Packet) else type(whole).__name__
    raise UsageError(f"{said} cannot be sent", "IP(dst=…)/…, or a frame: Ether(dst=…)/…")


def _own_source(packet: Any, address: str) -> None:
    if isinstance(packet, IP) and "src" not in packet.fields:
        packet.src = address


def _send_ip(kernel: Kernel, netns: str, packet: Any) -> int:
    """Bound to its source, or the kernel would route it without one; whoever has that address."""
    with kernel.open_socket(netns, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        try:
            raw.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if packet.src != "0.0.0.0":
                raw.bind((packet.src, 0))
            return raw.sendto(bytes(packet), (packet.dst, 0))
        except OSError as error:
            raise KernelError("send", netns, f"{packet.src} > {packet.dst}", error.errno or 0) from error


def _send_frame(kernel: Kernel, netns: str, packet: Any, link: str) -> int:
    with kernel.open_socket(netns, socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        try:
            if "src" not in packet.fields:
                answer = fcntl.ioctl(raw.fileno(), SIOCGIFHWADDR, struct.pack("16s16x", link.encode()[:15]))
                packet.src = answer[18:24].hex(":")
            return raw.sendto(bytes(packet), (link, 0))
        except OSError as error:
            number = errno.ENODEV if error.errno is None else error.errno
            raise KernelError("send", netns, link, number) from error
