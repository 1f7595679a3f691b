"""A tracked flow as its first packet was (pure)."""

from __future__ import annotations

from labnet.model.values import frozen


@frozen
class Flow:
    """Who began it and towards what; ports are 0 where the protocol has none."""

    protocol: int
    source: str
    destination: str
    source_port: int = 0
    destination_port: int = 0
