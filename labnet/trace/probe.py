"""Sending: one packet made by scapy, put into the source namespace so that its own rules, routes and netfilter act on it.

The socket is a raw one bound to the source address: the kernel routes with that source, and OUTPUT and POSTROUTING see the
packet like any other. After a TCP probe is answered, the source's kernel resets the half-open connection, as it knows of none.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from labnet.errors import TraceError
from labnet.model.packet import Probe
from labnet.ports import Kernel
from labnet.trace.dissect import tag

ANY_ADDRESS = "0.0.0.0"


def craft(probe: Probe) -> bytes:
    """The probe as an IPv4 packet: don't-fragment set, `length` bytes in all where that is more than it needs."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP  # late: scapy takes most of a second to import

    head: Any = IP(src=probe.src, dst=probe.dst, ttl=probe.ttl, flags="DF", id=probe.ident & 0xFFFF)
    marked = tag(probe.ident)
    if probe.protocol == "icmp":
        packet = head / ICMP(type=8, id=probe.ident & 0xFFFF, seq=1) / marked
    elif probe.protocol == "udp":
        packet = head / UDP(sport=probe.src_port, dport=probe.dst_port) / marked
    else:
        return bytes(head / TCP(sport=probe.src_port, dport=probe.dst_port, flags="S", seq=probe.ident & 0xFFFFFFFF))
    missing = probe.length - len(packet)
    return bytes(packet / bytes(missing) if missing > 0 else packet)


def measured(probe: Probe) -> Probe:
    """The probe with the length that it will really have."""
    return replace(probe, length=len(craft(probe)))


def send(kernel: Kernel, netns: str, probe: Probe) -> OSError | None:
    """Send it from inside a namespace; an error of the kernel's is an answer too (no route, not permitted) and is returned.

    Errors: TraceError when the source address cannot be used there.
    """
    packet = craft(probe)
    with kernel.open_socket(netns, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        if probe.src != ANY_ADDRESS:
            try:
                raw.bind((probe.src, 0))
            except OSError as error:
                raise TraceError(f"{probe.src} is no address of {netns}", "leave the source out, or give one of its own") from error
        try:
            raw.sendto(packet, (probe.dst, 0))
        except OSError as error:
            return error
    return None
