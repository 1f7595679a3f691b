"""The packet fields that nftables rules speak of, and their values for a packet in flight (pure).

Canonical names are nft's own words. A field that the packet does not have (a TCP port of an ICMP packet) reads as None and
no condition on it holds, as in the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Value = str | int
Fields = Mapping[str, Value]

_PLAIN = (
    "iifname", "oifname", "ip saddr", "ip daddr", "ip protocol", "ip ttl", "ip length", "ip6 saddr", "ip6 daddr", "ip6 nexthdr",
    "ether saddr", "ether daddr", "ether type", "tcp dport", "tcp sport", "tcp flags", "udp dport", "udp sport", "th dport", "th sport",
    "icmp type", "icmpv6 type", "ct state", "ct mark", "ct status", "ct id", "ct direction", "fib daddr type", "fib saddr type",
    "meta mark", "meta priority", "meta pkttype", "meta l4proto", "meta protocol", "meta nfproto",
    "arp operation", "arp saddr ip", "arp daddr ip",
    "arp saddr ether", "arp daddr ether",
)
_SHORT = {
    "meta iifname": "iifname", "meta oifname": "oifname", "iif": "iifname", "oif": "oifname", "mark": "meta mark", "pkttype": "meta pkttype",
    "l4proto": "meta l4proto",
}

FIELD_WORDS: Final[dict[tuple[str, ...], str]] = {
    tuple(name.split()): name for name in _PLAIN
} | {tuple(short.split()): name for short, name in _SHORT.items()}
"""Words in a rule → canonical field name."""

UNTOLD: Final = frozenset({"ct status", "ct id", "ct direction"})
"""Fields whose value a walk cannot tell: conditions on them are undecided."""
