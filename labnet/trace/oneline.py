"""A frame in one line, for a reader who watches them go by (pure)."""

from __future__ import annotations

import struct

from labnet.model.addressing import to_text
from labnet.trace.dissect import ETHERNET_BYTES, ETHERTYPE_IPV4, ICMP, TCP, UDP

ARP, IPV6 = 0x0806, 0x86DD
ICMP_WORDS = {
    0: "echo reply", 3: "unreachable", 4: "source quench", 5: "redirect", 8: "echo request", 11: "time exceeded", 12: "parameter problem",
}
UNREACHABLE_WORDS = {
    0: "net", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed", 9: "net prohibited", 10: "host prohibited", 13: "prohibited",
}
TCP_FLAGS = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"))


def oneline(data: bytes) -> str:
    """What an Ethernet frame carries: addresses, ports, flags, TTL and length in bytes. Never fails: what is cut short says so."""
    if len(data) < ETHERNET_BYTES:
        return f"cut short, {len(data)} bytes"
    kind = int(struct.unpack_from("!H", data, 12)[0])
    body = data[ETHERNET_BYTES:]
    try:
        if kind == ETHERTYPE_IPV4:
            return _ipv4(body)
        if kind == ARP:
            return _arp(body)
        if kind == IPV6:
            return _ipv6(body)
    except (struct.error, IndexError):
        return f"cut short: Ethernet type 0x{kind:04x}, {len(body)} bytes"
    return f"{data[6:12].hex(':')} > {data[:6].hex(':')}: Ethernet type 0x{kind:04x}, length {len(body)}"


def _ipv4(packet: bytes) -> str:
    header_bytes = (packet[0] & 15) * 4
    length, fragment = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!H", packet, 6)[0]
    protocol, ttl = packet[9], packet[8]
    source, target = (to_text(number) for number in struct.unpack_from("!II", packet, 12))
    rest = packet[header_bytes:]
    end = f", ttl {ttl}, length {length}"
    if fragment & 0x1FFF:
        return f"{source} > {target}: fragment of protocol {protocol} at {(fragment & 0x1FFF) * 8}{end}"
    if protocol == ICMP:
        return f"{source} > {target}: icmp {_icmp(rest)}{end}"
    if protocol not in (TCP, UDP):
        return f"{source} > {target}: protocol {protocol}{end}"
    source_port, target_port = struct.unpack_from("!HH", rest)
    ends = f"{source}.{source_port} > {target}.{target_port}"
    if protocol == UDP:
        return f"{ends}: udp {len(rest) - 8}{end}"
    seq, ack, offset, flags, window = struct.unpack_from("!IIBBH", rest, 4)
    said = "".join(word for bit, word in TCP_FLAGS if flags & bit) or "none"
    payload = length - header_bytes - (offset >> 4) * 4
    return f"{ends}: tcp [{said}] seq {seq}{f' ack {ack}' if flags & 0x10 else ''} win {window} payload {payload}{end}"


def _icmp(message: bytes) -> str:
    kind, code = message[0], message[1]
    if kind in (0, 8):
        ident, number = struct.unpack_from("!HH", message, 4)
        return f"{ICMP_WORDS[kind]} id {ident} seq {number}"
    said = f"{UNREACHABLE_WORDS.get(code, f'code {code}')} " if kind == 3 else ""
    return f"{said}{ICMP_WORDS.get(kind, f'type {kind} code {code}')}"


def _arp(body: bytes) -> str:
    operation = struct.unpack_from("!H", body, 6)[0]
    sender_mac, (sender,) = body[8:14].hex(":"), struct.unpack_from("!I", body, 14)
    (target,) = struct.unpack_from("!I", body, 24)
    if operation == 1:
        return f"arp who-has {to_text(target)} tell {to_text(sender)}"
    return f"arp {to_text(sender)} is-at {sender_mac}"


def _ipv6(packet: bytes) -> str:
    from ipaddress import IPv6Address  # late: labs have no IPv6 but what kernels say of themselves

    length, following, hops = struct.unpack_from("!HBB", packet, 4)
    source, target = (IPv6Address(packet[start : start + 16].ljust(16, b"\0")) for start in (8, 24))
    return f"{source} > {target}: ip6 next header {following}, hop limit {hops}, length {length}"
