"""The words of a rule that the kernel's trace names by its place only (pure)."""

from __future__ import annotations

from labnet.ports import RuleEvent
from labnet.trace.iptables_walk import Tables
from labnet.trace.nft_walk import tables_of
from labnet.trace.world import Host, World


def rule_text(world: World, netns: str, event: RuleEvent) -> str:
    """``nat POSTROUTING, rule 3: -j MASQUERADE``; without the rule's own words where the state does not hold it."""
    table = event.table if event.family in ("ip", "legacy") else f"{event.family} {event.table}"
    if not event.number:
        return f"the policy of {table} {event.chain}"
    words = _words(Host(world, netns), event) if netns in world.states else ""
    return f"{table} {event.chain}, rule {event.number}" + (f": {words}" if words else "")


def _words(host: Host, event: RuleEvent) -> str:
    for tables in Tables.of(host):
        rules = tables.chains.get((event.table, event.chain), ())
        if (event.family == "legacy") == (tables.backend == "legacy") and event.family in ("ip", "legacy") and event.number <= len(rules):
            return rules[event.number - 1]
    for found in tables_of(host):
        chain = found.chains.get(event.chain) if (found.family, found.name) == (event.family, event.table) else None
        if chain is not None and event.number <= len(chain.rules):
            return chain.rules[event.number - 1].text
    return ""
