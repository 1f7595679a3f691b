"""Rules as iptables-save prints them, taken apart: matches, target, and what is not known here (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import lru_cache

from labnet.model.values import frozen

# option → the name under which a match is kept; the value is the next word
VALUE_OPTIONS = {
    "-s": "src", "-d": "dst", "-i": "iif", "-o": "oif", "-p": "protocol",
    "--dport": "dport", "--sport": "sport", "--dports": "dports", "--sports": "sports", "--ports": "ports",
    "--ctstate": "ctstate", "--state": "ctstate", "--dst-type": "dst-type", "--src-type": "src-type",
    "--ttl-eq": "ttl-eq", "--ttl-lt": "ttl-lt", "--ttl-gt": "ttl-gt", "--icmp-type": "icmp-type",
}
FLAG_OPTIONS = {"--limit-iface-in": "limit-iface-in", "--limit-iface-out": "limit-iface-out", "--syn": "syn"}
MODULES_WITH_OPTIONS_KNOWN = frozenset({
    "comment", "addrtype", "mark", "connmark", "conntrack", "state", "multiport", "ttl", "tcp", "udp", "icmp",
})


@frozen
class Match:
    """One condition: `kind` as in VALUE_OPTIONS, or mark and connmark."""

    kind: str
    value: str = ""
    negated: bool = False


@frozen
class IptablesRule:
    """A rule: all `matches` must hold; `unknown` lists words that this parser does not understand."""

    text: str
    matches: tuple[Match, ...]
    target: str
    options: Mapping[str, str]
    goto: bool = False
    unknown: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def parse_rule(text: str) -> IptablesRule:
    """Take apart what stands behind ``-A CHAIN``. Errors: none; what is not understood lands in `unknown`."""
    words = shlex.split(text)
    matches: list[Match] = []
    unknown: list[str] = []
    target, goto, negated, module = "", False, False, ""
    options: dict[str, str] = {}
    at = 0
    while at < len(words):
        word = words[at]
        following = words[at + 1] if at + 1 < len(words) else ""
        if word == "!":
            negated, at = True, at + 1
            continue
        if word in ("-j", "-g"):
            target, goto = following, word == "-g"
            options = _target_options(words[at + 2 :])
            break
        if word == "-m":
            module = following
            unknown += [f"-m {module}"] if module not in MODULES_WITH_OPTIONS_KNOWN else []
            at += 2
            continue
        kind = _kind(word, module)
        if word == "--comment":
            at += 2
        elif kind is None:
            unknown.append(word)
            at += 1 + (not following.startswith("-") and following not in ("", "!"))
        else:
            takes_value = word not in FLAG_OPTIONS
            matches.append(Match(kind, following if takes_value else "", negated))
            at += 1 + takes_value
        negated = False
    return IptablesRule(text, tuple(matches), target, options, goto, tuple(unknown))


def _kind(word: str, module: str) -> str | None:
    if word == "--mark":
        return "connmark" if module == "connmark" else "mark"
    return VALUE_OPTIONS.get(word) or FLAG_OPTIONS.get(word)


def _target_options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
            options[name] = ""
        elif name:
            options[name] = word
    return options


def masked(text: str) -> tuple[int, int]:
    """A value with its mask: ``0x80/0x80``; without one all 32 bits count. Errors: ValueError."""
    value, slash, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if slash else 0xFFFFFFFF
