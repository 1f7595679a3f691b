"""The kernel's routing decision over a state: policy rules by priority, tables by longest prefix, reverse path (pure)."""

from __future__ import annotations

from typing import Literal

from labnet.model.addressing import contains
from labnet.model.netstate import TABLE_NAMES, Route, Rule
from labnet.model.packet import DropCheck, RuleChoice
from labnet.model.values import frozen
from labnet.trace.world import Host

LOOPBACK = "lo"
END_TYPES: dict[str, DropCheck] = {"blackhole": "blackhole", "unreachable": "no-route", "prohibit": "no-route"}
STRICT, LOOSE = 1, 2


@frozen
class Question:
    """What a lookup is asked: `iif` is "lo" for packets of the namespace itself, `oif` only where a socket fixes it."""

    dst: str
    src: str
    iif: str = LOOPBACK
    mark: int = 0
    oif: str | None = None


@frozen
class Answer:
    """The rule and the route that won; both None when no table had one (`refused` says which kind of end it is)."""

    rule: Rule | None = None
    route: Route | None = None
    refused: DropCheck | None = None

    @property
    def local(self) -> bool:
        """Is the packet for this namespace itself?"""
        return self.route is not None and self.route.type in ("local", "broadcast")

    @property
    def choice(self) -> RuleChoice | None:
        """The rule as a decision tells it."""
        return None if self.rule is None else RuleChoice(self.rule.priority, self.rule.text.partition(": ")[2])


def lookup(host: Host, question: Question) -> Answer:
    """Walk the rules in order; the first table with a route that is no `throw` decides."""
    for rule in host.rules:
        if not _matches(rule, question):
            continue
        route = host.longest(rule.table, question.dst, question.oif)
        if route is None or route.type == "throw":
            continue
        return Answer(rule, route, END_TYPES.get(route.type))
    return Answer(refused="no-route")


def table_name(table: int) -> str:
    """``main``, ``local``, ``default`` or the number."""
    return TABLE_NAMES.get(table, str(table))


def reverse_path(host: Host, src: str, dst: str, iif: str) -> str:
    """Why the kernel refuses this source on that link (rp_filter, martian source); "" when it takes it.

    The mark does not count here (src_valid_mark is 0 on nodes). A mode that was not observed counts as off.
    """
    mode = host.conf(iif, "rp_filter") or 0
    answer = lookup(host, Question(src, dst))
    if answer.local and answer.route is not None and answer.route.type == "local" and iif != LOOPBACK:
        return f"{src} is an address of this namespace itself (martian source)"
    if not mode:
        return ""
    if answer.route is None or answer.refused:
        return f"rp_filter={mode} on {iif}: there is no route back to {src}"
    if answer.route.dev == iif or (mode == LOOSE and host.has_address(iif)):
        return ""
    kind: Literal["strict", "loose"] = "strict" if mode == STRICT else "loose"
    return f"rp_filter={mode} ({kind}) on {iif}: the route back to {src} leads out of {answer.route.dev}"


def _matches(rule: Rule, question: Question) -> bool:
    if rule.src and not contains(rule.src, question.src):
        return False
    if rule.dst and not contains(rule.dst, question.dst):
        return False
    if rule.fwmark is not None:
        mask = 0xFFFFFFFF if rule.fwmask is None else rule.fwmask
        if question.mark & mask != rule.fwmark & mask:
            return False
    if rule.iif and rule.iif != question.iif:
        return False
    return not rule.oif or rule.oif == question.oif
