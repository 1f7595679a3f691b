"""Names of actions as people write them: exact, or with ``*`` for any letters (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from labnet.ec2.cloud import ACTIONS
from labnet.errors import UsageError

NEAREST = 3


def actions_of(pattern: str) -> tuple[str, ...]:
    """The actions that a name or pattern means. Errors: UsageError when there is none, with the nearest ones."""
    found = tuple(sorted(name for name in ACTIONS if matches(pattern, name)))
    if found:
        return found
    if "*" in pattern:
        raise UsageError(f"no action of the EC2 API is like {pattern!r}", "for example 'Describe*'; 'labnet ec2 coverage' lists all there are")
    near = _nearest(pattern, ACTIONS)
    hint = f"did you mean {' or '.join(near)}?" if near else "'labnet ec2 coverage' lists those there are"
    raise UsageError(f"the EC2 API of this lab has no action {pattern!r}", hint)


def _nearest(word: str, names: Iterable[str]) -> list[str]:
    """Known names, whatever the case of their letters; one that is the same but for case is enough."""
    lower = {name.lower(): name for name in names}
    if word.lower() in lower:
        return [lower[word.lower()]]
    import difflib  # late: only a wrong word needs it

    return [lower[name] for name in difflib.get_close_matches(word.lower(), list(lower), n=NEAREST, cutoff=0.6)]


def matches(pattern: str, action: str) -> bool:
    """Does the pattern mean the action?"""
    return pattern == action or ("*" in pattern and _compiled(pattern).fullmatch(action) is not None)


def exactness(pattern: str) -> tuple[bool, int]:
    """For sorting: exact names before patterns, long patterns before short ones."""
    return "*" not in pattern, len(pattern.replace("*", ""))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
