"""A packet through nftables chains: conditions against sets and maps as observed, marks, NAT, verdicts (pure).

As with iptables, nothing is guessed: a rule with a part that is not understood counts as not matching, and its text is
noted, unless one of its other conditions fails anyway.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal as OneOf

from labnet.model.addressing import contains, to_int
from labnet.model.netstate import NftElement, NftPortChain, NftTable
from labnet.model.packet import NetfilterRule
from labnet.model.values import frozen
from labnet.trace.flight import PROTOCOL_NUMBERS
from labnet.trace.nft_fields import UNTOLD, Fields, Value
from labnet.trace.nft_text import (
    Assign,
    Computed,
    Condition,
    Elements,
    Expression,
    Field,
    Literal,
    Lookup,
    NftBody,
    NftChain,
    NftRule,
    Statement,
    Translate,
    Unknown,
    Verdict,
    parse_body,
)
from labnet.trace.world import Host

MAX_DEPTH = 32
CLASS_ID = re.compile(r"[0-9a-f]{0,4}:[0-9a-f]{0,4}")
CLASS_WORDS = {"none": 0, "root": 0xFFFFFFFF}
NUMERIC_FIELDS = frozenset({"meta mark", "ct mark", "meta priority", "ip ttl"})
XTABLES = frozenset({"nat", "mangle", "filter", "raw", "security"})
LOAD_FAMILIES = frozenset({"ip", "inet", "netdev", "arp"})


@frozen
class Table:
    """One nftables table of a namespace: its chains, and named sets with every element, body's and observed ones."""

    family: str
    name: str
    body: NftBody
    chains: dict[str, NftChain]
    sets: dict[str, dict[tuple[str, ...], str | None]]


@frozen
class NftOutcome:
    """What chains did to a packet's fields. `nat` is (kind, address, port) of a translation that shall happen."""

    fields: Fields
    verdict: OneOf["accept", "drop"] = "accept"
    decided: bool = False
    matched: tuple[str, ...] = ()
    rule: str = ""
    counter: str = ""
    nat: tuple[str, str, str] | None = None
    unknown: tuple[str, ...] = ()
    rules: tuple[NetfilterRule, ...] = ()


def tables_of(host: Host) -> tuple[Table, ...]:
    """Every nftables table of a state but those that iptables keeps (they are walked as iptables rules)."""
    elements: dict[tuple[str, str], dict[str, dict[tuple[str, ...], str | None]]] = {}
    for item in host.state.all(NftElement):
        fields = tuple(part.strip('"') for part in item.fields)
        elements.setdefault((item.family, item.table), {}).setdefault(item.set, {})[fields] = item.value
    ports: dict[tuple[str, str], dict[str, NftChain]] = {}
    for port in host.state.all(NftPortChain):
        rule = NftRule(f"jump {port.jump}", (Verdict("jump", port.jump),))
        chain = NftChain(port.name, (rule,), "filter", port.hook, port.device, port.priority)
        ports.setdefault((port.family, port.table), {})[port.name] = chain
    found = []
    for table in host.state.all(NftTable):
        if table.family not in LOAD_FAMILIES or (table.family == "ip" and table.name in XTABLES):
            continue
        body, key = parse_body(table.body), (table.family, table.name)
        sets = {name: dict(items) for name, items in body.elements.items()}
        for name, items in elements.get(key, {}).items():
            sets.setdefault(name, {}).update(items)
        found.append(Table(*key, body, {**body.chains, **ports.get(key, {})}, sets))
    return tuple(found)


def run_chain(table: Table, chain: NftChain, fields: Fields) -> NftOutcome:
    """Walk a base chain; its policy decides where no rule does."""
    outcome = _Walk(table).chain(chain, NftOutcome(fields), 0)
    if not outcome.decided and chain.policy == "drop":
        return replace(outcome, verdict="drop", decided=True, rule=f"{table.family} {table.name} {chain.name}: policy drop")
    return outcome


@frozen
class _Walk:
    table: Table

    def chain(self, chain: NftChain, so_far: NftOutcome, depth: int) -> NftOutcome:
        for number, rule in enumerate(chain.rules if depth <= MAX_DEPTH else (), start=1):
            step = _Rule(self, chain, rule, so_far, depth, number).run()
            so_far = step.outcome
            if so_far.decided or step.returns:
                break
        return so_far


@frozen
class _Step:
    outcome: NftOutcome
    returns: bool = False


@dataclass(slots=True)
class _Rule:
    """One rule being carried out; `fields` grow as statements assign."""

    walk: _Walk
    chain: NftChain
    rule: NftRule
    so_far: NftOutcome
    depth: int
    number: int
    fields: dict[str, Value] = field(init=False)

    def __post_init__(self) -> None:
        self.fields = dict(self.so_far.fields)

    @property
    def label(self) -> str:
        return f"{self.walk.table.family} {self.walk.table.name} {self.chain.name}: {_brief(self.rule)}"

    def run(self) -> _Step:
        answers = [self.holds(item) for item in self.rule.statements if isinstance(item, Condition | Unknown)]
        if False in answers:
            return _Step(self.so_far)
        if None in answers:
            acts = any(isinstance(item, Assign | Translate | Verdict) for item in self.rule.statements) or any(
                isinstance(item, Unknown) for item in self.rule.statements
            )
            return _Step(replace(self.so_far, unknown=(*self.so_far.unknown, self.label)) if acts else self.so_far)
        before = self.so_far
        self.so_far = replace(before, rules=(*before.rules, self.told()))
        for item in self.rule.statements:
            if isinstance(item, Condition | Unknown):
                continue
            step = self.carry_out(item)
            if step is None:
                return _Step(replace(self.so_far, rules=before.rules))  # the kernel breaks off: the rule did not match
            if step.outcome.decided or step.returns:
                return step
            self.so_far = step.outcome
        return _Step(self.so_far)

    def told(self) -> NetfilterRule:
        last = next((item for item in reversed(self.rule.statements) if isinstance(item, Verdict | Translate)), None)
        words = "continue"
        if isinstance(last, Verdict):
            words = f"{last.kind} {last.chain}".rstrip() if last.lookup is None else self.find(last.lookup) or words
        elif last is not None:
            words = last.kind
        table = self.walk.table
        return NetfilterRule("nft", table.family, table.name, self.chain.name, self.number, 0, _brief(self.rule), words)

    def carry_out(self, item: Statement) -> _Step | None:
        """Do a statement; None = a map has no such element, the rule ends here without a verdict."""
        if isinstance(item, Assign):
            value = self.evaluate(item.value)
            if isinstance(value, str) and item.target in NUMERIC_FIELDS:
                value = _number(value)
            if value is None:
                return None
            changed = self.fields.get(item.target) != value
            self.fields[item.target] = value
            return _Step(self.noted(changed, fields=dict(self.fields)))
        if isinstance(item, Translate):
            value = "" if item.value is None else self.evaluate(item.value)
            if value is None:
                return None
            address, _, port = str(value).replace(" . ", ":").partition(":")
            return _Step(self.noted(True, nat=(item.kind, address, port), decided=True))
        assert isinstance(item, Verdict)
        return self.verdict(item)

    def verdict(self, item: Verdict) -> _Step | None:
        kind, chain = item.kind, item.chain
        if item.lookup is not None:
            found = self.find(item.lookup)
            if found is None:
                return None
            kind, _, chain = found.partition(" ")
        if kind == "accept":
            return _Step(self.noted(True, decided=True))
        if kind == "drop":
            return _Step(self.noted(True, verdict="drop", decided=True, rule=self.label, counter=self.rule.comment))
        if kind == "return":
            return _Step(self.noted(True), returns=True)
        if kind in ("jump", "goto") and chain in self.walk.table.chains:
            before = replace(self.so_far, fields=dict(self.fields))
            return _Step(self.walk.chain(self.walk.table.chains[chain], before, self.depth + 1), returns=kind == "goto")
        if kind == "continue":
            return _Step(self.so_far)
        return _Step(replace(self.so_far, unknown=(*self.so_far.unknown, self.label)))

    def noted(self, note: bool, **changes: object) -> NftOutcome:
        matched = (*self.so_far.matched, self.label) if note else self.so_far.matched
        return replace(self.so_far, matched=matched, **changes)  # type: ignore[arg-type]  # fields of NftOutcome by name

    # ---- values ----

    def holds(self, item: Condition | Unknown) -> bool | None:
        if isinstance(item, Unknown) or UNTOLD & set(item.key.names):
            return None
        actual = self.read(item.key)
        if actual is None:
            return False
        elements = tuple(self.elements(item.named)) if item.named else item.literal.elements if item.literal else ()
        if item.operator in ("==", "!="):
            return in_elements(actual, elements) == (item.operator == "==")
        return _ordered(actual[0], item.operator, elements[0][0])

    def elements(self, name: str) -> dict[tuple[str, ...], str | None]:
        return self.walk.table.sets.get(name, {})

    def read(self, key: Field) -> tuple[Value, ...] | None:
        values = [self.fields.get(name) for name in key.names]
        if None in values:
            return None
        found = tuple(value for value in values if value is not None)
        return tuple(int(value) & key.mask for value in found) if key.mask is not None else found

    def evaluate(self, expression: Expression) -> Value | None:
        if isinstance(expression, Computed):
            number = self.fields.get(expression.key)
            if number is None:
                return None
            return int(number) & expression.number if expression.operator == "&" else int(number) | expression.number
        if isinstance(expression, Lookup):
            return self.find(expression)
        return " . ".join(expression.elements[0])

    def find(self, lookup: Lookup) -> str | None:
        actual = self.read(lookup.key)
        if actual is None:
            return None
        pairs: Elements = lookup.pairs if not lookup.named else tuple(self.elements(lookup.named).items())
        return next((value for parts, value in pairs if in_elements(actual, (parts,))), None)


def in_elements(actual: tuple[Value, ...], elements: tuple[tuple[str, ...], ...] | dict[tuple[str, ...], str | None]) -> bool:
    """Is the value among the elements of a set; parts may be prefixes, ranges or names with a star."""
    if tuple(map(str, actual)) in elements:
        return True
    return any(len(parts) == len(actual) and all(_same(value, part) for value, part in zip(actual, parts, strict=True)) for parts in elements)


def _same(actual: Value, wanted: str) -> bool:
    if actual == wanted:
        return True
    number = actual if isinstance(actual, int) else _number(actual)
    if number is not None and _in_range(number, wanted):
        return True
    if isinstance(actual, int):
        return False
    if wanted.endswith("*"):
        return actual.startswith(wanted[:-1])
    return "/" in wanted and wanted[0].isdigit() and contains(wanted, actual)


def _in_range(number: int, wanted: str) -> bool:
    """Is the number the one that is wanted, or within ``first-last``?"""
    low, dash, high = wanted.partition("-")
    first, last = _number(low), _number(high) if dash else _number(low)
    return first is not None and last is not None and first <= number <= last


def _ordered(actual: Value, operator: str, wanted: str) -> bool | None:
    number = _number(wanted)
    if not isinstance(actual, int) or number is None:
        return None
    return {"<": actual < number, ">": actual > number, "<=": actual <= number, ">=": actual >= number}[operator]


def _number(word: str) -> int | None:
    """A word as a number: decimal, hexadecimal, an address, a protocol's name, a class id (``1:2``); None for anything else."""
    if word in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[word]
    if word in CLASS_WORDS:
        return CLASS_WORDS[word]
    if CLASS_ID.fullmatch(word):
        major, _, minor = word.partition(":")
        return int(major or "0", 16) << 16 | int(minor or "0", 16)
    try:
        return to_int(word) if "." in word else int(word, 16) if word.startswith("0x") else int(word)
    except ValueError:
        return None


def _brief(rule: NftRule) -> str:
    """The rule without its counter's numbers."""
    words = rule.text.split(" ")
    kept, at = [], 0
    while at < len(words):
        if words[at] == "counter":
            at += 5 if words[at + 1 : at + 2] == ["packets"] else 1
            continue
        kept.append(words[at])
        at += 1
    return " ".join(kept)


__all__ = ["Literal", "NftOutcome", "Table", "in_elements", "run_chain", "tables_of"]
