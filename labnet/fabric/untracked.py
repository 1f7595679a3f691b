"""Flows that security groups do not track, and that a change of rules therefore ends at once (pure).

A TCP or UDP flow that a rule for everywhere lets in is not tracked where every answer may leave for everywhere too, and the other
way round: AWS judges each of its packets by rule. The kernel tracks it all the same, because that is quicker and no packet can tell
the difference until rules change. Then it forgets the flows of which the rules allow a direction no more; tracked ones go on.
Source: docs/sources.md#security-groups
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property

from labnet.fabric.places import is_plugged, vpc_netns_of
from labnet.fabric.port import delivered
from labnet.fabric.security import TCP, UDP, Profile, profile_of, rules_of, service_box
from labnet.model.addressing import contains
from labnet.model.cloud import CloudState, Eni, SecurityGroupRule
from labnet.model.flow import Flow

EVERYWHERE = "0.0.0.0/0"
ALL_PORTS = (0, 65_535)
Rules = tuple[SecurityGroupRule, ...]


def interrupted(
    old: CloudState, new: CloudState, vpcs: Collection[str], enis: Iterable[str]
) -> Iterator[tuple[str, Callable[[Flow], bool]]]:
    """(namespace, which flows end) when one state follows another: `vpcs` are those whose groups changed, `enis` ENIs that changed."""
    both = ((old.enis[key], new.enis[key]) for key in enis if key in old.enis and key in new.enis)
    moved = {was.vpc_id for was, now in both if was.security_groups != now.security_groups}
    for vpc_id in sorted(moved | {vpc_id for vpc_id in vpcs if vpc_id in old.vpcs and vpc_id in new.vpcs}):
        ended = ended_by(old, new, vpc_id)
        if ended is not None:
            yield vpc_netns_of(new, vpc_id), ended


def ended_by(old: CloudState, new: CloudState, vpc_id: str) -> Callable[[Flow], bool] | None:
    """Which flows of a VPC end when one state follows another; None where none can: no ENI's rules changed."""
    both = ((eni, new.enis[key]) for key, eni in old.enis.items() if eni.vpc_id == vpc_id and key in new.enis)
    pairs = {(profile_of(was), profile_of(now)) for was, now in {(was.security_groups, now.security_groups) for was, now in both}}
    lost = {pair for pair in pairs if any(rules_of(old, pair[0], side) != rules_of(new, pair[1], side) for side in ("ingress", "egress"))}
    if not lost:
        return None
    return _Judge(old, new, vpc_id, frozenset(lost)).ends


class _Judge:
    """Asks of each flow what its two ends make of it. Who has which address it finds out with the first flow: often there is none."""

    def __init__(self, old: CloudState, new: CloudState, vpc_id: str, lost: frozenset[tuple[Profile, Profile]]) -> None:
        self._old, self._new, self._vpc_id, self._lost = old, new, vpc_id, lost

    @cached_property
    def _enis(self) -> Mapping[str, tuple[Eni, Eni]]:
        """Address → its ENI before and now, for those whose rules have changed."""
        both = ((eni, self._new.enis[key]) for key, eni in self._old.enis.items() if eni.vpc_id == self._vpc_id and key in self._new.enis)
        return {
            address: (was, now)
            for was, now in both
            if (profile_of(was.security_groups), profile_of(now.security_groups)) in self._lost
            and is_plugged(self._old, was)
            and is_plugged(self._new, now)
            for address in delivered(now)
        }

    @cached_property
    def _groups(self) -> Mapping[str, Iterable[str]]:
        """Address → the groups of its ENI."""
        return {
            address: eni.security_groups for eni in self._new.enis.values() if eni.vpc_id == self._vpc_id for address in delivered(eni)
        }

    def ends(self, flow: Flow) -> bool:
        """Was it untracked at one end, and do that end's rules now refuse its packets or their answers?"""
        return self._at(flow, flow.destination, flow.source, "ingress", "egress") or self._at(
            flow, flow.source, flow.destination, "egress", "ingress"
        )

    def _at(self, flow: Flow, own: str, peer: str, side: str, back: str) -> bool:
        if own not in self._enis or flow.protocol not in (TCP, UDP):
            return False
        was, now = (profile_of(eni.security_groups) for eni in self._enis[own])
        if not is_untracked(rules_of(self._old, was, side), rules_of(self._old, was, back), flow.protocol, flow.destination_port):
            return False
        there = rules_of(self._new, now, side), rules_of(self._new, now, back)
        ports = flow.destination_port, flow.source_port
        return not all(self._allows(rules, flow.protocol, port, peer) for rules, port in zip(there, ports, strict=True))

    def _allows(self, rules: Rules, protocol: int, port: int, peer: str) -> bool:
        groups = set(self._groups.get(peer, ()))
        return any(
            (rule.group_id in groups if rule.cidr is None else ":" not in rule.cidr and contains(rule.cidr, peer))
            for rule in rules
            if _serves(rule, protocol, port)
        )


def is_untracked(rules: Rules, back: Rules, protocol: int, port: int) -> bool:
    """Does a rule for everywhere allow it, and another one every answer to everywhere?"""
    return any(rule.cidr == EVERYWHERE and _serves(rule, protocol, port) for rule in rules) and any(
        rule.cidr == EVERYWHERE and _serves(rule, protocol, 0) and service_box(rule)[1] == ALL_PORTS for rule in back
    )


def _serves(rule: SecurityGroupRule, protocol: int, port: int) -> bool:
    (first, last), (low, high) = service_box(rule)
    return first <= protocol <= last and low <= port <= high
