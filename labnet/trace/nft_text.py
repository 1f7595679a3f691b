"""The body of an nftables table, taken apart: chains with their hooks, rules as statements, sets with elements (pure).

Only what a walk needs: conditions on packet fields, lookups in sets and maps, marks, NAT, verdicts. Everything else becomes
`Unknown`, so that a walk can say that it does not know instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from functools import lru_cache

from labnet.model.values import frozen
from labnet.trace.nft_fields import FIELD_WORDS

TOKEN = re.compile(r'"[^"]*"|#[^\n]*|[{};,\n]|[^\s{};,"]+')
HOOK = re.compile(r"type (\S+) hook (\S+)(?: device \"?([^\s\"]+)\"?)? priority ([^;]+?) *$")
PRIORITY_NAMES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
VERDICTS = frozenset({"accept", "drop", "return", "continue", "reject"})
COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">=", "eq", "ne", "lt", "gt", "le", "ge"})
WORD_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}
NAT_FLAGS = frozenset({"random", "fully-random", "persistent", ","})
NUMBER_WITH_BITS = re.compile(r"(0x[0-9a-f]+|[0-9]+)/([0-9]|[12][0-9]|3[0-2])")
MASK_WORDS = {"&": "&", "and": "&", "|": "|", "or": "|"}


@frozen
class Field:
    """One or several packet fields (a concatenation), masked with `mask` where given."""

    names: tuple[str, ...]
    mask: int | None = None


@frozen
class Literal:
    """Literal values: each an element (a tuple of parts)."""

    elements: tuple[tuple[str, ...], ...]


@frozen
class Lookup:
    """A field looked up in a map: a named one, or elements given in place."""

    key: Field
    named: str = ""
    pairs: tuple[tuple[tuple[str, ...], str], ...] = ()


@frozen
class Computed:
    """A field joined with a number by & or | (``ct mark | 0x80``)."""

    key: str
    operator: str
    number: int


Expression = Literal | Lookup | Computed


@frozen
class Condition:
    """A match: the field against a set's name or literal elements."""

    key: Field
    operator: str
    named: str = ""
    literal: Literal | None = None


@frozen
class Assign:
    """``FIELD set EXPRESSION``."""

    target: str
    value: Expression


@frozen
class Translate:
    """snat or dnat to an expression; `masquerade` without one."""

    kind: str
    value: Expression | None


@frozen
class Verdict:
    """accept, drop, return, jump or goto; `lookup` for a verdict map."""

    kind: str
    chain: str = ""
    lookup: Lookup | None = None


@frozen
class Unknown:
    """Words that are not understood here."""

    text: str


Statement = Condition | Assign | Translate | Verdict | Unknown


@frozen
class NftRule:
    """One rule: its text, its statements in order, and the comment behind it ("" = none)."""

    text: str
    statements: tuple[Statement, ...]
    comment: str = ""


@frozen
class NftChain:
    """A chain; base chains have `type`, `hook`, `priority`, `policy` and perhaps `device`."""

    name: str
    rules: tuple[NftRule, ...] = ()
    type: str = ""
    hook: str = ""
    device: str = ""
    priority: int = 0
    policy: str = "accept"


Elements = tuple[tuple[tuple[str, ...], str | None], ...]


@frozen
class NftBody:
    """What stands between the braces of a table."""

    chains: dict[str, NftChain] = field(default_factory=dict)
    elements: dict[str, Elements] = field(default_factory=dict)


@lru_cache(maxsize=256)
def parse_body(body: str) -> NftBody:
    """Take a table's body apart. Errors: none; unbalanced text ends where it ends."""
    tokens = [token for token in TOKEN.findall(body) if not token.startswith("#")]
    result = NftBody()
    at = 0
    while at < len(tokens):
        if tokens[at] in ("chain", "set", "map") and at + 2 < len(tokens) and tokens[at + 2] == "{":
            end = _closing(tokens, at + 2)
            name, inside = tokens[at + 1], tokens[at + 3 : end]
            if tokens[at] == "chain":
                result.chains[name] = _chain(name, inside)
            else:
                result.elements[name] = _inline_elements(inside)
            at = end
        at += 1
    return result


def priority_of(text: str) -> int:
    """A hook's priority as nft writes it: ``-90``, ``mangle``, ``dstnat + 10``. Errors: ValueError."""
    total, sign = 0, 1
    for word in text.replace("+", " + ").replace("-", " - ").split():
        if word in "+-":
            sign = -1 if word == "-" else 1
        else:
            total += sign * (PRIORITY_NAMES[word] if word in PRIORITY_NAMES else int(word))
            sign = 1
    return total


def unquoted(word: str) -> str:
    """A word without nft's quotes."""
    return word[1:-1] if word.startswith('"') else word


def _closing(tokens: list[str], opening: int) -> int:
    depth = 0
    for at in range(opening, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[at], 0)
        if depth == 0:
            return at
    return len(tokens)


def _lines(tokens: list[str]) -> Iterator[list[str]]:
    """Statements of a block: up to a newline or semicolon that stands in no braces."""
    line: list[str] = []
    depth = 0
    for token in tokens:
        depth += {"{": 1, "}": -1}.get(token, 0)
        if token in ("\n", ";") and depth == 0:
            if line:
                yield line
            line = []
        elif token != "\n":
            line.append(token)
    if line:
        yield line


def _chain(name: str, tokens: list[str]) -> NftChain:
    chain = NftChain(name)
    rules = []
    for line in _lines(tokens):
        if line[0] == "type":
            found = HOOK.match(" ".join(line))
            if found:
                kind, hook, device, priority = found.groups()
                chain = NftChain(name, (), kind, hook, device or "", priority_of(priority), chain.policy)
        elif line[0] == "policy":
            chain = NftChain(name, (), chain.type, chain.hook, chain.device, chain.priority, line[1])
        elif line[0] != "comment":
            rules.append(parse_rule(line))
    return NftChain(name, tuple(rules), chain.type, chain.hook, chain.device, chain.priority, chain.policy)


def _inline_elements(tokens: list[str]) -> Elements:
    if "elements" not in tokens:
        return ()
    opening = tokens.index("{", tokens.index("elements"))
    inside = tokens[opening + 1 : _closing(tokens, opening)]
    return tuple(_pairs(inside))


def _pairs(tokens: list[str]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Elements between braces: ``a . b : value, c . d``."""
    parts: list[str] = []
    for token in [*tokens, ","]:
        if token == "\n":
            continue
        if token != ",":
            parts.append(token)
        elif parts:
            key, colon, value = parts, None, None
            if ":" in parts:
                colon = parts.index(":")
                key, value = parts[:colon], " ".join(unquoted(word) for word in parts[colon + 1 :])
            yield tuple(unquoted(word) for word in key if word not in (".", "timeout", "expires")), value
            parts = []


def parse_rule(words: list[str]) -> NftRule:
    """One rule, its words in order."""
    return _RuleReader(words).read()


class _RuleReader:
    """Reads the words of one rule from left to right."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0
        self.comment = ""

    def read(self) -> NftRule:
        statements: list[Statement] = []
        while self.at < len(self.words):
            statement = self.statement()
            if statement is not None:
                statements.append(statement)
        return NftRule(" ".join(self.words), tuple(statements), self.comment)

    def peek(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead] if self.at + ahead < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def statement(self) -> Statement | None:
        word = self.peek()
        if word == "counter":
            self.at += 5 if self.peek(1) == "packets" else 1
            return None
        if word == "comment":
            self.at += 1
            self.comment = unquoted(self.take())
            return None
        if word in ("add", "update", "delete") and self.peek(1).startswith("@"):
            self.at += 2
            self.braces()
            return None
        if word in VERDICTS:
            return self.verdict()
        if word in ("jump", "goto"):
            return Verdict(self.take(), self.take())
        if word in ("snat", "dnat", "masquerade"):
            return self.translate()
        names = self.field_names()
        return self.with_field(names) if names else self.rest()

    def rest(self) -> Unknown:
        text = " ".join(self.words[self.at :])
        self.at = len(self.words)
        return Unknown(text)

    def verdict(self) -> Verdict:
        word = self.take()
        if word != "reject":
            return Verdict(word)
        while self.peek() not in ("", "comment", "counter"):
            self.at += 1
        return Verdict("drop")

    def translate(self) -> Translate:
        kind = self.take()
        while self.peek() in ("ip", "to") and not self.names_field():
            self.at += 1
        result = Translate("snat", None) if kind == "masquerade" else Translate(kind, self.expression())
        while self.peek() in NAT_FLAGS:
            self.at += 1
        return result

    def names_field(self) -> bool:
        return any(tuple(self.words[self.at : self.at + len(words)]) == words for words in FIELD_WORDS)

    def field_names(self) -> tuple[str, ...]:
        names: list[str] = []
        while True:
            found = next((words for words in FIELD_WORDS if tuple(self.words[self.at : self.at + len(words)]) == words), None)
            if found is None:
                return tuple(names)
            names.append(FIELD_WORDS[found])
            self.at += len(found)
            if self.peek() != ".":
                return tuple(names)
            self.at += 1

    def with_field(self, names: tuple[str, ...]) -> Statement:
        """What follows a field: set, vmap, or a comparison."""
        if self.peek() == "set" and len(names) == 1:
            self.at += 1
            return Assign(names[0], self.expression())
        mask = None
        if self.peek() in ("&", "and"):
            self.at += 1
            mask = int(self.take(), 0)
        key = Field(names, mask)
        if self.peek() == "vmap":
            self.at += 1
            return Verdict("vmap", lookup=self.map_of(key))
        operator = "=="
        if self.peek() in COMPARISONS:
            word = self.take()
            operator = WORD_COMPARISONS.get(word, word)
        if self.peek().startswith("@"):
            return Condition(key, operator, named=self.take()[1:])
        literal = self.literal()
        found = NUMBER_WITH_BITS.fullmatch(literal.elements[0][0]) if mask is None and len(names) == len(literal.elements) == 1 else None
        if found is not None:  # nft prints a mask of leading bits as a length, also behind a mark
            return Condition(Field(names, (0xFFFFFFFF << 32 - int(found[2])) & 0xFFFFFFFF), operator, literal=Literal(((found[1],),)))
        return Condition(key, operator, literal=literal)

    def expression(self) -> Expression:
        """A literal, a map lookup, or a field with a mask."""
        names = self.field_names()
        if not names:
            return self.literal()
        if self.peek() == "map":
            self.at += 1
            return self.map_of(Field(names))
        if self.peek() in MASK_WORDS:
            return Computed(names[0], MASK_WORDS[self.take()], int(self.take(), 0))
        return Computed(names[0], "|", 0)

    def map_of(self, key: Field) -> Lookup:
        if self.peek().startswith("@"):
            return Lookup(key, named=self.take()[1:])
        return Lookup(key, pairs=tuple((fields, value or "") for fields, value in _pairs(self.braces())))

    def literal(self) -> Literal:
        if self.peek() == "{":
            return Literal(tuple(fields for fields, _ in _pairs(self.braces())))
        elements = [[unquoted(self.take())]]
        while self.peek() in (".", ","):
            if self.take() == ".":
                elements[-1].append(unquoted(self.take()))
            else:
                elements.append([unquoted(self.take())])
        return Literal(tuple(tuple(parts) for parts in elements))

    def braces(self) -> list[str]:
        """The words between the braces that open here."""
        end = _closing(self.words, self.at)
        inside = self.words[self.at + 1 : end]
        self.at = end + 1
        return inside
