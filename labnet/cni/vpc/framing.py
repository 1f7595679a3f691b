"""How the executable and its server talk, one call a connection (pure).

::

    request   "LCN1"  length of environment  length of stdin  environment  stdin       + CNI_NETNS opened (SCM_RIGHTS)
    reply     exit code  length of stdout  length of stderr  stdout  stderr

Numbers are 4 bytes, big end first. The environment is ``NAME=value`` entries, each with a closing zero byte. The descriptor
comes with the first byte of the request; there is none where CNI_NETNS is empty or cannot be opened.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from labnet.cni.skel import Outcome
from labnet.model.values import frozen

MAGIC = b"LCN1"
ENVIRONMENT_BYTES = 1 << 20
STDIN_BYTES = 4 << 20
_NUMBERS = struct.Struct(">III")
HEAD_BYTES = len(MAGIC) + 8
REPLY_HEAD_BYTES = _NUMBERS.size


@frozen
class Head:
    """Lengths in bytes of what follows a request's head."""

    environment: int
    stdin: int


def parse_head(data: bytes) -> Head:
    """The head of a request. Errors: ValueError for anything that is none, or is too long."""
    if len(data) != HEAD_BYTES or not data.startswith(MAGIC):
        raise ValueError("no request of the CNI executable")
    head = Head(int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big"))
    if head.environment > ENVIRONMENT_BYTES or head.stdin > STDIN_BYTES:
        raise ValueError(f"request too long: {head}")
    return head


def parse_environment(data: bytes) -> dict[str, str]:
    """The entries. Errors: ValueError for one without ``=``, or without its closing zero."""
    if data and not data.endswith(b"\0"):
        raise ValueError("environment cut short")
    pairs = (entry.decode(errors="surrogateescape").partition("=") for entry in data.split(b"\0")[:-1])
    found: dict[str, str] = {}
    for name, equals, value in pairs:
        if not equals:
            raise ValueError(f"environment entry without =: {name!r}")
        found[name] = value
    return found


def render_request(environ: Mapping[str, str], stdin: bytes) -> bytes:
    """A whole request, as the executable sends it."""
    block = b"".join(f"{name}={value}\0".encode(errors="surrogateescape") for name, value in environ.items())
    return MAGIC + len(block).to_bytes(4, "big") + len(stdin).to_bytes(4, "big") + block + stdin


def render_reply(outcome: Outcome) -> bytes:
    """A whole reply."""
    stderr = outcome.stderr.encode(errors="replace")
    return _NUMBERS.pack(outcome.exit_code, len(outcome.stdout), len(stderr)) + outcome.stdout + stderr
