"""The kernel's routing decision over a state: policy rules by priority, tables by longest prefix, reverse path (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from labnet.model.addressing import contains
from labnet.model.netstate import TABLE_MAIN, TABLE_NAMES, Route, Rule
from labnet.model.packet import DropCheck, ReversePath, RouteTried, RuleChoice, RuleTried
from labnet.model.values import frozen
from labnet.trace.world import Host

LOOPBACK = "lo"
END_TYPES: dict[str, DropCheck] = {"blackhole": "blackhole", "unreachable": "no-route", "prohibit": "no-route"}
STRICT, LOOSE = 1, 2
NEAR_MISSES = 3
"""How many routes of a table that just miss the destination are told: a table may have thousands."""


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
    """The rule and the route that won; both None when no table had one (`refused` says which kind of end it is).

    `rules`: every rule that was come to, in order, with the reason why it was passed over.
    """

    rule: Rule | None = None
    route: Route | None = None
    refused: DropCheck | None = None
    rules: tuple[RuleTried, ...] = ()

    @property
    def local(self) -> bool:
        """Is the packet for this namespace itself?"""
        return self.route is not None and self.route.type in ("local", "broadcast")

    @property
    def choice(self) -> RuleChoice | None:
        """The rule as a decision tells it."""
        return None if self.rule is None else RuleChoice(self.rule.priority, _words(self.rule))


def lookup(host: Host, question: Question) -> Answer:
    """Walk the rules in order; the first table with a route that is no `throw` decides."""
    tried: list[RuleTried] = []
    for rule in host.rules:
        reason = _mismatch(rule, question)
        route = host.longest(rule.table, question.dst, question.oif) if not reason else None
        if route is not None and route.type != "throw":
            won = RuleTried(rule.priority, _words(rule), won=True)
            return Answer(rule, route, END_TYPES.get(route.type), (*tried, won))
        if not reason:
            reason = f"table {table_name(rule.table)} has no route to {question.dst}" if route is None else f"{route.text}: on to the next rule"
        tried.append(RuleTried(rule.priority, _words(rule), reason=reason))
    return Answer(refused="no-route", rules=tuple(tried))


def routes_tried(host: Host, dst: str, answer: Answer) -> tuple[RouteTried, ...]:
    """The routes of the winning table that lead to the destination, the one that won first, then a few that just miss it."""
    if answer.rule is None or answer.route is None:
        return ()
    won, table = answer.route, answer.rule.table
    found = [RouteTried(table, _route(won), won=True)]
    for route in host.fitting(table, dst):
        if route is not won:
            found.append(RouteTried(table, _route(route), reason="higher metric" if route.dst == won.dst else "less specific"))
    misses = () if table_name(table) == "local" else host.nearly(table, dst, NEAR_MISSES)
    return (*found, *(RouteTried(table, _route(route), reason=f"does not hold {dst}") for route in misses))


def _words(rule: Rule) -> str:
    return rule.text.partition(": ")[2]


def _route(route: Route) -> str:
    return replace(route, table=TABLE_MAIN).text  # the table is told beside it


def table_name(table: int) -> str:
    """``main``, ``local``, ``default`` or the number."""
    return TABLE_NAMES.get(table, str(table))


def reverse_path(host: Host, src: str, dst: str, iif: str) -> ReversePath:
    """What the kernel says of this source on that link (rp_filter, martian source), with the reason where it drops the packet.

    The mark does not count here (src_valid_mark is 0 on nodes). A mode that was not observed counts as off.
    """
    mode = host.conf(iif, "rp_filter") or 0
    answer = lookup(host, Question(src, dst))
    if answer.local and answer.route is not None and answer.route.type == "local" and iif != LOOPBACK:
        return ReversePath(iif, mode, "drops", f"{src} is an address of this namespace itself (martian source)")
    if not mode:
        return ReversePath(iif, 0, "off")
    if answer.route is None or answer.refused:
        return ReversePath(iif, mode, "drops", f"rp_filter={mode} on {iif}: there is no route back to {src}")
    back = answer.route.dev
    if back == iif:
        return ReversePath(iif, mode, "passes", f"the route back to {src} leads out of {iif}")
    if mode == LOOSE and host.has_address(iif):
        return ReversePath(iif, mode, "passes", f"loose: there is a route back to {src}, out of {back}")
    kind: Literal["strict", "loose"] = "strict" if mode == STRICT else "loose"
    return ReversePath(iif, mode, "drops", f"rp_filter={mode} ({kind}) on {iif}: the route back to {src} leads out of {back}")


def _mismatch(rule: Rule, question: Question) -> str:
    """Why a rule does not apply, "" when it does."""
    if rule.src and not contains(rule.src, question.src):
        return f"from {rule.src.removesuffix('/32')}: the packet is from {question.src}"
    if rule.dst and not contains(rule.dst, question.dst):
        return f"to {rule.dst.removesuffix('/32')}: the packet is for {question.dst}"
    if rule.fwmark is not None:
        mask = 0xFFFFFFFF if rule.fwmask is None else rule.fwmask
        if question.mark & mask != rule.fwmark & mask:
            return f"fwmark {rule.fwmark:#x}: the packet's mark is {question.mark:#x}"
    if rule.iif and rule.iif != question.iif:
        return f"iif {rule.iif}: it came by {'nothing, it starts here' if question.iif == LOOPBACK else question.iif}"
    if rule.oif and rule.oif != question.oif:
        return f"oif {rule.oif}: no link is asked for"
    return ""
