"""The names of the Internet: the few that its namespace has addresses for (pure). Source: docs/sources.md#dns"""

from __future__ import annotations

from labnet.dns.records import Record, Reply, no_such_name, reply_of

RESOLVERS = ("1.1.1.1", "8.8.8.8")
"""Addresses in the Internet that answer port 53."""

ADDRESSES = {"example.com": "192.0.2.10", "www.example.com": "192.0.2.10", "one.one.one.one": "1.1.1.1", "dns.google": "8.8.8.8"}
TTL_S = 300
ROOT_SOA = Record("", "SOA", "a.root-servers.net. nstld.verisign-grs.com. 2019010100 1800 900 604800 86400", 900)

_RECORDS = (
    *(Record(name, "A", address, TTL_S) for name, address in ADDRESSES.items()),
    *(
        Record(".".join(reversed(address.split("."))) + ".in-addr.arpa", "PTR", f"{name}.", TTL_S)
        for name, address in ADDRESSES.items() if name != "www.example.com"
    ),
)  # fmt: skip


def lookup(name: str, kind: str) -> Reply:
    """What the world knows of a name; a name below which there are others is there, too."""
    found = tuple(one for one in _RECORDS if one.name == name)
    if found or name == "" or any(one.name.endswith(f".{name}") for one in _RECORDS):
        return reply_of(found, kind, ROOT_SOA)
    return no_such_name(ROOT_SOA)
