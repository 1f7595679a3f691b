"""Lengths of time as people write them (pure; light, because every `up` reads one)."""

from __future__ import annotations

import re

_DURATION_RE = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)(?:s|$))?(?:(\d+)ms)?")


def seconds_of(text: str) -> float:
    """A length of time as 90s, 2m, 1h30m, 500ms or a bare number of seconds → seconds. Errors: ValueError."""
    found = _DURATION_RE.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration; say 90s, 2m or 1h30m")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
