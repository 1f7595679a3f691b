"""What drops a packet, as traces and checks name it: scenarios are read with these words, long before there is a packet (pure)."""

from __future__ import annotations

from typing import Literal

DropCheck = Literal[
    "source-dest-check", "forwarding-off", "rp-filter", "no-route", "blackhole", "neighbour", "security-group-egress",
    "security-group-ingress", "acl", "netfilter", "mtu", "ttl", "not-listening", "unknown",
    "zone-failure", "zone-loss",
]
