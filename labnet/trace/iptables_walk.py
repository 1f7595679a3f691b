"""A packet through one iptables table at one hook: which rules match and what they do (pure).

The packet is taken as the first of its flow, so nat tables are consulted and the connection is NEW, unless it `answers` one. A match
or target that is not known here is never guessed: the rule counts as not matching only when another of its matches fails; otherwise
its text goes to `unknown` and the walk goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Literal

from labnet.model.addressing import contains
from labnet.model.netstate import Backend, IptChain, IptPolicy, IptRule
from labnet.model.packet import NetfilterRule
from labnet.model.values import frozen
from labnet.trace.flight import MARK_BITS, PROTOCOL_NUMBERS, InFlight, Outcome
from labnet.trace.iptables_rule import IptablesRule, Match, masked, parse_rule
from labnet.trace.world import Host

MAX_DEPTH = 32
GOES_ON = frozenset({"", "LOG", "NFLOG", "TRACE", "AUDIT"})


@frozen
class Tables:
    """The iptables rules of one namespace and one back end by (table, chain); user chains and built-in ones alike."""

    chains: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    backend: Backend = "legacy"
    policies: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Of built-in chains whose policy is not ACCEPT."""

    @classmethod
    def of(cls, host: Host) -> tuple[Tables, ...]:
        """Collect them from an observed state, those of each back end in use."""
        found: dict[Backend, dict[tuple[str, str], list[str]]] = {}
        for chain in host.state.all(IptChain):
            if chain.family == "inet":
                found.setdefault(chain.backend, {}).setdefault((chain.table, chain.name), []).extend(chain.rules)
        for rule in host.state.all(IptRule):
            if rule.family == "inet":
                found.setdefault(rule.backend, {}).setdefault((rule.table, rule.chain), []).append(rule.spec)
        policies: dict[Backend, dict[tuple[str, str], str]] = {}
        for item in host.state.all(IptPolicy):
            if item.family == "inet":
                found.setdefault(item.backend, {})
                policies.setdefault(item.backend, {})[item.table, item.chain] = item.policy
        return tuple(
            cls({key: tuple(rules) for key, rules in chains.items()}, backend, policies.get(backend, {})) for backend, chains in found.items()
        )


def run_table(tables: Tables, host: Host, table: str, chain: str, packet: InFlight) -> Outcome:
    """Walk a built-in chain of a table; who falls off its end meets its policy."""
    walk = _Walk(tables, host, table)
    outcome, decided = walk.chain(chain, Outcome(packet), 0)
    policy = tables.policies.get((table, chain), "ACCEPT")
    if decided or policy == "ACCEPT":
        return outcome
    backend: Literal["legacy", "iptables-nft"] = "legacy" if tables.backend == "legacy" else "iptables-nft"
    told = NetfilterRule(backend, "ip", table, chain, 0, 0, f"policy {policy}", policy)
    return replace(outcome, verdict="drop", rule=f"{table} {chain}: its policy is {policy}", rules=(*outcome.rules, told))


@frozen
class _Walk:
    tables: Tables
    host: Host
    table: str

    def chain(self, name: str, so_far: Outcome, depth: int) -> tuple[Outcome, bool]:
        """Walk a chain; True = the table has decided, False = go on behind the jump."""
        if depth > MAX_DEPTH:
            return replace(so_far, unknown=(*so_far.unknown, f"{self.table} {name}: chains nested too deep")), True
        for number, text in enumerate(self.tables.chains.get((self.table, name), ()), start=1):
            rule = parse_rule(text)
            verdict = self.applies(rule, so_far.packet)
            if verdict is None:
                so_far = replace(so_far, unknown=(*so_far.unknown, f"{self.table} {name}: {text}"))
            if not verdict:
                continue
            so_far = replace(so_far, rules=(*so_far.rules, self.told(name, number, rule)))
            if rule.target == "RETURN":
                return self.noted(so_far, name, text), False
            if (self.table, rule.target) in self.tables.chains:
                so_far, decided = self.chain(rule.target, so_far, depth + 1)
                if decided or rule.goto:
                    return so_far, decided
                continue
            so_far, decided = self.target(rule, name, so_far)
            if decided:
                return so_far, True
        return so_far, False

    def told(self, chain: str, number: int, rule: IptablesRule) -> NetfilterRule:
        jump = (self.table, rule.target) in self.tables.chains
        verdict = f"{'goto' if rule.goto else 'jump'} {rule.target}" if jump else rule.target or "continue"
        legacy = self.tables.backend == "legacy"
        return NetfilterRule("legacy" if legacy else "iptables-nft", "ip", self.table, chain, number, 0, rule.text, verdict)

    def noted(self, so_far: Outcome, chain: str, text: str) -> Outcome:
        return replace(so_far, matched=(*so_far.matched, f"{self.table} {chain}: {text}"))

    def applies(self, rule: IptablesRule, packet: InFlight) -> bool | None:
        answers = [self.holds(match, packet, rule) for match in rule.matches]
        if False in answers:
            return False
        return None if rule.unknown or None in answers else True

    def holds(self, match: Match, packet: InFlight, rule: IptablesRule) -> bool | None:
        """Does one condition hold? None = cannot be said."""
        if match.kind in ("dst-type", "src-type"):
            answer = self.address_type(match, packet, rule)
        else:
            judge = JUDGES.get(match.kind)
            answer = None if judge is None else judge(match.value, packet)
        return answer if answer is None or not match.negated else not answer

    def address_type(self, match: Match, packet: InFlight, rule: IptablesRule) -> bool | None:
        if match.value not in ("LOCAL", "UNICAST"):
            return None
        kinds = {item.kind for item in rule.matches}
        link = packet.iif if "limit-iface-in" in kinds else packet.oif if "limit-iface-out" in kinds else None
        local = self.host.is_local(packet.dst if match.kind == "dst-type" else packet.src, link)
        return local if match.value == "LOCAL" else not local

    def target(self, rule: IptablesRule, chain: str, so_far: Outcome) -> tuple[Outcome, bool]:
        """Do what a target does; True = the table has decided."""
        packet, label = so_far.packet, f"{self.table} {chain}: {rule.text}"
        if rule.target in GOES_ON:
            return so_far, False
        if rule.target in ("ACCEPT", "NFQUEUE"):  # what waits in a queue goes on behind the table
            return self.noted(so_far, chain, rule.text), True
        if rule.target in ("DROP", "REJECT"):
            return replace(self.noted(so_far, chain, rule.text), verdict="drop", rule=label), True
        if rule.target in ("SNAT", "DNAT", "MASQUERADE"):
            translated, nat = self.translate(rule, packet)
            return replace(self.noted(so_far, chain, rule.text), packet=translated, nat=nat), True
        changed = _set_marks(rule, packet)
        if changed is None:
            return replace(so_far, unknown=(*so_far.unknown, label)), False
        if changed == packet:
            return so_far, False
        return replace(self.noted(so_far, chain, rule.text), packet=changed), False

    def translate(self, rule: IptablesRule, packet: InFlight) -> tuple[InFlight, str]:
        """NAT as the target says; a range of ports leaves the port as it was, the kernel chooses."""
        if rule.target == "MASQUERADE":
            text = next((item.address for item in self.host.addresses if item.link == packet.oif), packet.src)
        else:
            text = rule.options.get("--to-source" if rule.target == "SNAT" else "--to-destination", "")
        address, _, port = text.partition(":")
        address = address.partition("-")[0]
        return translated(packet, "DNAT" if rule.target == "DNAT" else "SNAT", address, int(port) if port.isdigit() else 0)


def translated(packet: InFlight, kind: str, address: str, port: int = 0) -> tuple[InFlight, str]:
    """The packet with another source (SNAT) or destination (DNAT), and the change as text; an empty address keeps the old one."""
    if kind == "SNAT":
        new = replace(packet, src=address or packet.src, src_port=port or packet.src_port)
        return new, "" if new == packet else f"SNAT {packet.src} → {new.src}"
    new = replace(packet, dst=address or packet.dst, dst_port=port or packet.dst_port)
    ports = (f":{packet.dst_port}", f":{new.dst_port}") if new.dst_port != packet.dst_port else ("", "")
    return new, "" if new == packet else f"DNAT {packet.dst}{ports[0]} → {new.dst}{ports[1]}"


def _set_marks(rule: IptablesRule, packet: InFlight) -> InFlight | None:
    """MARK, CONNMARK and TTL; None for a target that is not known."""
    options = rule.options
    if rule.target in ("MARK", "CONNMARK") and "--set-xmark" in options:
        value, mask = masked(options["--set-xmark"])
        if rule.target == "MARK":
            return replace(packet, mark=(packet.mark & ~mask & MARK_BITS) ^ value)
        return replace(packet, ct_mark=(packet.ct_mark & ~mask & MARK_BITS) ^ value)
    if rule.target == "CONNMARK" and ("--restore-mark" in options or "--save-mark" in options):
        nf_mask, ct_mask = (int(options.get(name, "0xffffffff"), 0) for name in ("--nfmask", "--ctmask"))
        if "--restore-mark" in options:
            return replace(packet, mark=(packet.mark & ~nf_mask & MARK_BITS) ^ (packet.ct_mark & ct_mask))
        return replace(packet, ct_mark=(packet.ct_mark & ~ct_mask & MARK_BITS) ^ (packet.mark & nf_mask))
    if rule.target == "TTL":
        if "--ttl-set" in options:
            return replace(packet, ttl=int(options["--ttl-set"]))
        step = int(options.get("--ttl-inc", 0)) - int(options.get("--ttl-dec", 0))
        return replace(packet, ttl=min(255, max(0, packet.ttl + step)))
    return None


# ---- single conditions ----------------------------------------------------------------------------------------------------


def _link(wanted: str, link: str) -> bool:
    return link.startswith(wanted[:-1]) if wanted.endswith("+") else link == wanted


def _prefix(wanted: str, address: str) -> bool:
    return contains(wanted if "/" in wanted else f"{wanted}/32", address)


def _protocol(wanted: str, packet: InFlight) -> bool:
    return wanted in (packet.protocol, str(PROTOCOL_NUMBERS.get(packet.protocol, "")), "all", "0")


def _ports(wanted: str, port: int, packet: InFlight) -> bool:
    if packet.protocol not in ("tcp", "udp"):
        return False
    for part in wanted.split(","):
        low, colon, high = part.partition(":")
        if int(low or 0) <= port <= int((high or 65535) if colon else low):
            return True
    return False


def _flow_state(states: list[str], packet: InFlight) -> bool | None:
    """The first packet of a flow is NEW, an answer ESTABLISHED; whether it counts as DNAT or SNAT is not followed here."""
    if ("ESTABLISHED" if packet.answers else "NEW") in states:
        return True
    return None if {"DNAT", "SNAT"} & set(states) else False


def _mark(wanted: str, mark: int) -> bool:
    value, mask = masked(wanted)
    return mark & mask == value


_ECHO = {False: ("8", "echo-request", "any"), True: ("0", "echo-reply", "any")}
JUDGES: dict[str, Callable[[str, InFlight], bool | None]] = {
    "src": lambda value, packet: _prefix(value, packet.src),
    "dst": lambda value, packet: _prefix(value, packet.dst),
    "iif": lambda value, packet: _link(value, packet.iif),
    "oif": lambda value, packet: _link(value, packet.oif),
    "protocol": _protocol,
    "dport": lambda value, packet: _ports(value, packet.dst_port, packet),
    "sport": lambda value, packet: _ports(value, packet.src_port, packet),
    "dports": lambda value, packet: _ports(value, packet.dst_port, packet),
    "sports": lambda value, packet: _ports(value, packet.src_port, packet),
    "ports": lambda value, packet: _ports(value, packet.src_port, packet) or _ports(value, packet.dst_port, packet),
    "mark": lambda value, packet: _mark(value, packet.mark),
    "connmark": lambda value, packet: _mark(value, packet.ct_mark),
    "ctstate": lambda value, packet: _flow_state(value.split(","), packet),
    "ttl-eq": lambda value, packet: packet.ttl == int(value),
    "ttl-lt": lambda value, packet: packet.ttl < int(value),
    "ttl-gt": lambda value, packet: packet.ttl > int(value),
    "icmp-type": lambda value, packet: packet.protocol == "icmp" and value in _ECHO[packet.answers],
    "limit-iface-in": lambda _value, _packet: True,
    "limit-iface-out": lambda _value, _packet: True,
    "syn": lambda _value, packet: packet.protocol == "tcp",
}
