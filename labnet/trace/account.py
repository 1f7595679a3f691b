"""What the kernel itself said, joined to the decisions of a path: lookups, rules that its trace events named, tracked flows (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from labnet.model.packet import Decision, Finding, FlowChange, Hop, KernelLookup, NetfilterRule, Path
from labnet.model.values import frozen
from labnet.ports import RuleEvent
from labnet.trace.routing import table_name

RuleKey = tuple[str, str, str, int]
"""Family, table, chain and place of a rule; iptables-legacy's tables are of the family ``legacy``."""


@frozen
class KernelAccount:
    """What was asked and told. `rules` by namespace: those it could be followed in; `flows` by hop number of the path."""

    lookups: Mapping[int, KernelLookup] = field(default_factory=dict)
    rules: Mapping[str, Sequence[RuleEvent]] = field(default_factory=dict)
    flows: Mapping[tuple[str, str, str], FlowChange] = field(default_factory=dict)
    """By namespace, link and direction of the frame that stood at the door."""


Words = Callable[[str, RuleEvent], str]
"""A namespace and an event → the rule in words."""


def with_account(path: Path, account: KernelAccount, words: Words | None = None) -> Path:
    """The path with the kernel's own words at each decision, and what does not agree as findings.

    A drop that nobody could name is named by the rule, or the policy of a chain, of which the kernel says that it dropped the packet.
    """
    words = words or (lambda _netns, event: f"{event.family} {event.table} {event.chain}, rule {event.number}")
    findings = [Finding("seen", 0, note) for note in path.notes if _is_difference(note)]
    hops: list[Hop] = []
    untold = {netns: [event for event in events if event.number] for netns, events in account.rules.items()}
    for hop in path.hops:
        decision = hop.decision
        if decision is not None:
            findings += _lookup_findings(hop, decision)
            decision = _with_rules(decision, account.rules.get(hop.netns))
            told = {_key(rule) for rule in decision.matched}
            untold[hop.netns] = [event for event in untold.get(hop.netns, ()) if _event_key(event) not in told]
            findings += _rule_findings(hop, decision)
        change = account.flows.get((hop.netns, hop.link, hop.direction))
        if change is not None:
            decision = replace(decision or Decision(), conntrack=change)
        hops.append(replace(hop, decision=decision))
    findings += _surplus(hops, untold, words)
    return _named_drop(replace(path, hops=tuple(hops), findings=(*path.findings, *findings)), account, words)


def _named_drop(path: Path, account: KernelAccount, words: Words) -> Path:
    if path.drop is None or path.drop.check != "unknown" or not path.hops:
        return path
    last = path.hops[path.drop.hop - 1]
    dropped = next((event for event in reversed(account.rules.get(last.netns, ())) if event.verdict == "drop"), None)
    if dropped is None:
        return path
    text = f"the kernel's trace says who dropped it in {last.owner}: {words(last.netns, dropped)}"
    hops = list(path.hops)
    hops[path.drop.hop - 1] = replace(last, decision=replace(last.decision or Decision(), check="netfilter"))
    return replace(path, hops=tuple(hops), drop=replace(path.drop, check="netfilter", text=text))


def _is_difference(note: str) -> bool:
    return note.startswith(("not predicted:", "predicted, not seen:", "the target answered although")) or ", predicted " in note


def _lookup_findings(hop: Hop, decision: Decision) -> list[Finding]:
    said = decision.kernel
    if said is None or said.agrees:
        return []
    walked = f"{decision.route or 'no route'} of table {table_name(decision.table) if decision.table is not None else 'none'}"
    kernel = f"error {said.error}" if said.error else f"{said.route} of table {table_name(said.table)}"
    return [Finding("lookup", hop.n, f"{hop.owner}: the rules lead to {walked}, the kernel's own lookup says {kernel}")]


def _with_rules(decision: Decision, events: Sequence[RuleEvent] | None) -> Decision:
    if events is None:
        return decision
    told = {_event_key(event): event for event in events}
    matched = tuple(
        replace(rule, traced=_key(rule) in told, handle=told[_key(rule)].handle if _key(rule) in told else 0) for rule in decision.matched
    )
    return replace(decision, matched=matched)


def _rule_findings(hop: Hop, decision: Decision) -> list[Finding]:
    return [
        Finding("netfilter", hop.n, f"{hop.owner}: this rule should have matched, the kernel's trace does not name it: {_words(rule)}")
        for rule in decision.matched if rule.traced is False
    ]


def _surplus(hops: Sequence[Hop], untold: Mapping[str, Sequence[RuleEvent]], words: Words) -> list[Finding]:
    found = []
    for netns, events in untold.items():
        hop = next((hop for hop in hops if hop.netns == netns), None)
        for event in dict.fromkeys(events):
            owner = hop.owner if hop is not None else netns
            text = f"{words(netns, event)} ({event.verdict})"
            said = f"{owner}: the kernel's trace names a rule that was not foreseen: {text}"
            found.append(Finding("netfilter", hop.n if hop is not None else 0, said))
    return found


def _key(rule: NetfilterRule) -> RuleKey:
    return "legacy" if rule.backend == "legacy" else rule.family, rule.table, rule.chain, rule.number


def _event_key(event: RuleEvent) -> RuleKey:
    return event.family, event.table, event.chain, event.number


def _words(rule: NetfilterRule) -> str:
    return f"{rule.table} {rule.chain}, rule {rule.number}: {rule.text}"
