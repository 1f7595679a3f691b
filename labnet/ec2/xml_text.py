"""EC2's XML, written by botocore's shapes: each shape becomes a function once, so that an answer costs what is in it (pure).

Members stand in the order of the answer; an empty list stays as an empty element. XML 1.0 has no place for some characters, and
reads a carriage return as a line feed: those are escaped or replaced, so that an answer is always well-formed.
Source: docs/sources.md#ec2-query
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Write = Callable[[Any], str]
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML 1.0 cannot carry, not even as a reference."""
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_NAMES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


def escape(text: str) -> str:
    """Text between two tags."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda found: _NAMES.get(found[0], "\ufffd"), text)


def writer(shape: Any) -> Write:
    """A function from a value of a shape to the XML inside its element. The model has no shape that contains itself."""
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape)
    if kind == "list":
        return _list(shape)
    return _SCALARS.get(kind, _plain)


def _structure(shape: Any) -> Write:
    members: Mapping[str, Any] = shape.members
    made: dict[str, tuple[str, Write, str]] = {}

    def member(key: str) -> tuple[str, Write, str]:
        sub = members[key]  # a KeyError is a fault of a rule: it answers what the model has not
        name = sub.serialization.get("name", key)
        return f"<{name}>", writer(sub), f"</{name}>"

    def write(item: Mapping[str, Any]) -> str:
        parts: list[str] = []
        for key, value in item.items():
            if value is None:
                continue
            try:
                start, inner, end = made[key]
            except KeyError:
                start, inner, end = made[key] = member(key)
            parts += (start, inner(value), end)
        return "".join(parts)

    return write


def _list(shape: Any) -> Write:
    inner = writer(shape.member)
    name = shape.member.serialization.get("name", "item")
    start, end = f"<{name}>", f"</{name}>"

    def write(items: Iterable[Any]) -> str:
        between = end + start
        text = between.join([inner(one) for one in items])
        return f"{start}{text}{end}" if items else ""

    return write


def _plain(value: Any) -> str:
    return escape(value if isinstance(value, str) else str(value))


def _boolean(value: Any) -> str:
    return "true" if value else "false"


def _timestamp(value: datetime) -> str:
    at = value.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _blob(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


_SCALARS: Mapping[str, Write] = {"boolean": _boolean, "timestamp": _timestamp, "blob": _blob, "string": _plain}
