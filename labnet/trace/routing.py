"""The kernel's routing decision over a state: policy rules by priority, tables by longest prefix, reverse path (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from labnet.model.addressing import contains, prefix_length
from labnet.model.drops import DropCheck
from labnet.model.netobjects import IP_PROTOCOLS
from labnet.model.netstate import TABLE_MAIN, TABLE_NAMES, Route, Rule, RuleExtras
from labnet.model.packet import ReversePath, RouteTried, RuleChoice, RuleTried
from labnet.model.values import frozen
from labnet.trace.world import Host

LOOPBACK = "lo"
END_TYPES: dict[str, DropCheck] = {"blackhole": "blackhole", "unreachable": "no-route", "prohibit": "no-route"}
STRICT, LOOSE = 1, 2
NEAR_MISSES = 3
"""How many routes of a table that just miss the destination are told: a table may have thousands."""


@frozen
class Question:
    """What a lookup is asked: `iif` is "lo" for packets of the namespace itself, `oif` only where a socket fixes it.

    `protocol` and ports count where a policy rule names them.
    """

    dst: str
    src: str
    iif: str = LOOPBACK
    mark: int = 0
    oif: str | None = None
    protocol: str = ""
    sport: int = 0
    dport: int = 0


@frozen
class Answer:
    """The rule and the route that won; both None when no table had one (`refused` says which kind of end it is).

    `rules`: every rule that was come to, in order, with the reason why it was passed over. A rule may end a packet by itself: then
    it has no route. `unknown`: rules of which it cannot be told what they do.
    """

    rule: Rule | None = None
    route: Route | None = None
    refused: DropCheck | None = None
    rules: tuple[RuleTried, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        """Is the packet for this namespace itself?"""
        return self.route is not None and self.route.type in ("local", "broadcast")

    @property
    def choice(self) -> RuleChoice | None:
        """The rule as a decision tells it."""
        return None if self.rule is None else RuleChoice(self.rule.priority, _words(self.rule))


def lookup(host: Host, question: Question) -> Answer:
    """Walk the rules in order; the first table with a route that is no `throw` decides, or a rule that ends the packet by itself."""
    tried: list[RuleTried] = []
    unknown: list[str] = []
    goal = 0
    for rule in host.rules:
        if rule.priority < goal:
            tried.append(RuleTried(rule.priority, _words(rule), reason=f"jumped over, to {goal}"))
            continue
        reason = _mismatch(rule, question)
        if not reason and rule.action in END_TYPES:
            return Answer(rule, None, END_TYPES[rule.action], (*tried, RuleTried(rule.priority, _words(rule), won=True)), tuple(unknown))
        if not reason and rule.extras is not None and rule.action != "lookup":
            goal, reason = _deed(host, rule, rule.extras)
        unknown += [rule.text] if not reason and rule.extras is not None and rule.extras.unread else []
        route = host.longest(rule.table, question.dst, question.oif) if not reason else None
        if route is not None and _suppressed(rule, route):
            reason = f"suppressed: {route.text} has a prefix of {_bits(route)} bits"
        elif route is not None and route.type != "throw":
            won = RuleTried(rule.priority, _words(rule), won=True)
            return Answer(rule, route, END_TYPES.get(route.type), (*tried, won), tuple(unknown))
        if not reason:
            reason = f"table {table_name(rule.table)} has no route to {question.dst}" if route is None else f"{route.text}: on to the next rule"
        tried.append(RuleTried(rule.priority, _words(rule), reason=reason))
    return Answer(refused="no-route", rules=tuple(tried), unknown=tuple(unknown))


def _deed(host: Host, rule: Rule, extras: RuleExtras) -> tuple[int, str]:
    """Where a rule that looks nothing up leads (0 = the next one), and that in words."""
    if rule.action == "nop":
        return 0, "does nothing"
    if not any(one.priority == extras.goto for one in host.rules):
        return 0, f"there is no rule {extras.goto} to go to"
    return extras.goto, f"on to {extras.goto}"


def _suppressed(rule: Rule, route: Route) -> bool:
    """Does the rule pass over a route because its prefix is too short?"""
    bits = rule.extras.suppress_bits if rule.extras is not None else None
    if bits is None or route.type in (*END_TYPES, "throw"):
        return False  # routes that end a packet do so all the same
    return _bits(route) <= bits


def _bits(route: Route) -> int:
    return 0 if route.dst == "default" else prefix_length(route.dst) if "/" in route.dst else 32


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


def reverse_path(host: Host, packet: Question) -> ReversePath:
    """What the kernel says of this source on that link (rp_filter, martian source), with the reason where it drops the packet.

    `packet` as it was asked for the way on. The mark does not count here (src_valid_mark is 0 on nodes). A mode that was not observed
    counts as off.
    """
    src, iif = packet.src, packet.iif
    mode = host.conf(iif, "rp_filter") or 0
    answer = lookup(host, Question(src, packet.dst, protocol=packet.protocol, sport=packet.dport, dport=packet.sport))
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
    reason = _condition_missed(rule, question)
    if rule.extras is not None and rule.extras.inverted:
        return "" if reason else "not: the packet is as it says"
    return reason


def _condition_missed(rule: Rule, question: Question) -> str:
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
    return _extra_missed(rule.extras, question) if rule.extras is not None else ""


def _extra_missed(extras: RuleExtras, question: Question) -> str:
    """The rarer conditions. Programs of a lab are root's, and what is forwarded counts as root's too."""
    if extras.tos:
        return f"tos {extras.tos:#04x}: the packet's is 0x00"
    if extras.ip_protocol and IP_PROTOCOLS.get(extras.ip_protocol) != question.protocol:
        return f"it is for another protocol: the packet is {question.protocol or 'of none'}"
    for word, ports, port in (("sport", extras.sport, question.sport), ("dport", extras.dport, question.dport)):
        if ports and not ports[0] <= port <= ports[1]:
            return f"{word} {ports[0]}-{ports[1]}: the packet's is {port}"
    if extras.uids and extras.uids[0] > 0:
        return f"uidrange {extras.uids[0]}-{extras.uids[1]}: the packet is root's"
    return ""
