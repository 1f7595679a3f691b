"""The machine's own network state as text, to be compared before and after a lab: links, addresses, routes, rules, packet filters,
sysctls, mounts and the names of namespaces.

Counters, lifetimes and what changes by itself are left out. Reading creates nothing: rules of iptables are read through
nf_tables for the one back end, and for the other only where the kernel has its tables already.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from labnet.kernel.command import PATH, which

SYSCTLS = Path("/proc/sys/net")
RESTLESS = re.compile(r"/(nf_conntrack_count|cookie_key|.*_count|stable_secret|.*fastopen_key|flow_limit_cpu_bitmap|nf_conntrack_.*hash.*)$")
"""Counts of entries and random keys: they change without anybody's doing."""

VOLATILE = frozenset({
    "stats", "stats64", "preferred_life_time", "valid_life_time", "ifi_age", "operstate", "used", "lastuse", "users", "expires",
})
COUNTERS = re.compile(r"packets \d+ bytes \d+|\[\d+:\d+\]")
LEGACY = {"ip_tables_names": "iptables-legacy-save", "ip6_tables_names": "ip6tables-legacy-save"}


def snapshot() -> str:
    """Everything, section by section, one thing a line. Errors: OSError when `ip` is missing."""
    sections: dict[str, Callable[[], Iterable[str]]] = {
        "links": lambda: _ip("-d", "link"), "addresses": lambda: _ip("addr"),
        "routes": lambda: [*_ip("-4", "route", "show", "table", "all"), *_ip("-6", "route", "show", "table", "all")],
        "rules": lambda: [*_ip("-4", "rule"), *_ip("-6", "rule")],
        "nftables": lambda: _text("nft", "-s", "list", "ruleset"), "iptables (legacy)": _legacy, "sysctls": _sysctls, "mounts": _mounts,
        "namespaces": _namespaces,
    }
    lines: list[str] = []
    for heading, read in sections.items():
        lines += [f"== {heading}", *read()]
    return "\n".join(lines) + "\n"


def _run(*command: str) -> str:
    environ = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=30).stdout


def _text(*command: str) -> list[str]:
    if which(command[0]) is None:
        return []
    return [COUNTERS.sub("", line).rstrip() for line in _run(*command).splitlines() if not line.startswith("#")]


def _ip(*words: str) -> list[str]:
    items: list[dict[str, Any]] = json.loads(_run("ip", "-j", *words) or "[]")
    return [json.dumps(_stable(item), sort_keys=True) for item in items if item]


def _stable(item: Any) -> Any:
    """Without what counts or ages."""
    if isinstance(item, dict):
        return {key: _stable(value) for key, value in item.items() if key not in VOLATILE}
    if isinstance(item, list):
        return [_stable(value) for value in item]
    return item


def _legacy() -> list[str]:
    found: list[str] = []
    for names, program in LEGACY.items():
        try:
            used = Path(f"/proc/net/{names}").read_text().split()
        except OSError:
            continue
        for table in sorted(used):
            found += _text(program, "-t", table)
    return found


def _sysctls() -> list[str]:
    found: list[str] = []
    for folder, _folders, files in os.walk(SYSCTLS):
        for name in files:
            path = f"{folder}/{name}"
            if RESTLESS.search(path):
                continue
            try:
                found.append(f"{path} = {' '.join(Path(path).read_text().split())}")
            except OSError:
                continue  # write-only, or of a link that has just gone
    return sorted(found)


def _mounts() -> list[str]:
    """Target, type, source and options, without the numbers of mounts, which say only in which order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        separator = words.index("-")
        found.append(" ".join([words[4], words[separator + 1], words[separator + 2], words[5], words[separator + 3]]))
    return sorted(found)


def _namespaces() -> list[str]:
    try:
        return sorted(os.listdir("/run/netns"))  # noqa: PTH208 - a flat list of names
    except OSError:
        return []
