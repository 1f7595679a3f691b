"""Questions, records and replies as plain text, so that who decides needs no DNS library (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from labnet.model.values import frozen

ADDRESS_TTL_S = 60
"""How long an answer may be kept. Source: docs/sources.md#dns"""


@frozen
class Record:
    """One record as a zone file has it: an absolute name without its last dot, a type, a value in that type's text form."""

    name: str
    type: str
    value: str
    ttl_s: int = ADDRESS_TTL_S


@frozen
class Reply:
    """What a resolver says: NOERROR with or without answers, or NXDOMAIN; `authority` names the zone that says so."""

    code: Literal["NOERROR", "NXDOMAIN"]
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()


Lookup = Callable[[str, str], "Reply | None"]
"""(name in lower case without its last dot, type) → the reply; None = say nothing at all. Whoever has names of its own (a cluster's
services, say) puts one in front of another.
"""


def reply_of(found: tuple[Record, ...], kind: str, soa: Record) -> Reply:
    """The reply when a name is there: its records of the type asked for, or word that it has none of that type."""
    wanted = tuple(one for one in found if kind in (one.type, "ANY"))
    return Reply("NOERROR", wanted) if wanted else Reply("NOERROR", (), (soa,))


def no_such_name(soa: Record) -> Reply:
    """NXDOMAIN."""
    return Reply("NXDOMAIN", (), (soa,))
