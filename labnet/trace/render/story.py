"""The document of a trace as a story of legs and steps, which every picture tells in its own way (pure).

Read from the document of `trace -o json`, so that a saved trace can be drawn too; keys that an older one lacks count as empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from itertools import pairwise
from typing import Any

from labnet.model.netstate import TABLE_NAMES
from labnet.model.values import frozen

Doc = Mapping[str, Any]

FABRIC_WORDS = {
    "route-table": "route", "security-group": "group", "acl": "acl", "gateway": "gw", "source-dest-check": "check", "zone": "zone",
}
"""What AWS decides, in a word that fits a note."""


@frozen
class Step:
    """One hop: `number` counts over both legs from 1, `n` within its own; `drop` where the packet ended here."""

    number: int
    n: int
    netns: str
    owner: str
    link: str
    direction: str
    frame: Doc | None
    decision: Doc
    time_ns: int | None = None
    drop: Doc | None = None

    @property
    def ends(self) -> tuple[str, str]:
        """Source and destination, with ports where there are any."""
        return (end_of(self.frame, "src"), end_of(self.frame, "dst")) if self.frame else ("", "")

    @property
    def macs(self) -> tuple[str, str]:
        """Source and destination MAC."""
        return (str(self.frame["srcMac"]), str(self.frame["dstMac"])) if self.frame else ("", "")


@frozen
class Leg:
    """One direction of a trace."""

    source: str
    target: str
    probe: Doc
    delivered: bool
    steps: tuple[Step, ...] = ()
    drop: Doc | None = None
    answer_drop: Doc | None = None
    notes: tuple[str, ...] = ()
    document: Doc = field(default_factory=dict)

    @property
    def places(self) -> tuple[str, ...]:
        """The namespaces, in the order in which the packet came to them."""
        return tuple(dict.fromkeys(step.netns for step in self.steps))


@frozen
class Arrow:
    """One frame on a wire: the step where it left and the one where it arrived; one of them is None where it was not seen."""

    left: Step | None
    arrived: Step | None

    @property
    def seen(self) -> Step:
        """A step at which the frame was seen."""
        step = self.left or self.arrived
        assert step is not None
        return step


def legs_of(document: Doc) -> tuple[Leg, ...]:
    """There, and back where the trace went both ways."""
    legs = [_leg(document, 0)]
    if document.get("back"):
        legs.append(_leg(document["back"], len(legs[0].steps)))
    return tuple(legs)


def _leg(document: Doc, before: int) -> Leg:
    drop = document.get("drop")
    steps = tuple(_step(hop, before + index, drop) for index, hop in enumerate(document["hops"], 1))
    return Leg(
        source=str(document["from"]).removeprefix("default/"), target=str(document["to"]).removeprefix("default/"), probe=document["probe"],
        delivered=bool(document["delivered"]), steps=steps, drop=drop, answer_drop=document.get("answerDrop"),
        notes=tuple(document.get("notes") or ()), document=document,
    )


def _step(hop: Doc, number: int, drop: Doc | None) -> Step:
    return Step(
        number=number, n=hop["n"], netns=hop["netns"], owner=hop["owner"], link=hop["link"], direction=hop["direction"], frame=hop["frame"],
        decision=hop.get("decision") or {}, time_ns=hop.get("time_ns"), drop=drop if drop and drop["hop"] == hop["n"] else None,
    )


def arrows_of(leg: Leg) -> Iterator[Arrow]:
    """The wires that the packet crossed, in order."""
    waiting: Step | None = None
    for step in leg.steps:
        if step.frame is None:
            continue
        if step.direction == "out":
            if waiting is not None:
                yield Arrow(waiting, None)
            waiting = step
        else:
            yield Arrow(waiting, step)
            waiting = None
    if waiting is not None:
        yield Arrow(waiting, None)


def end_of(frame: Doc, side: str) -> str:
    """``10.0.0.1``, or ``10.0.0.1:80`` where the protocol has ports."""
    port = frame.get(f"{side}Port")
    return f"{frame[side]}:{port}" if port and frame.get("protocol") != "icmp" else str(frame[side])


def table_name(table: int) -> str:
    """A routing table as `ip` names it; the numbers by which the fabric tells route tables apart say nothing."""
    return TABLE_NAMES.get(table, str(table))


def reasons(step: Step) -> list[tuple[str, str]]:
    """Why the packet went on from here: a word of at most six letters and what it says, in the order of the kernel's checks."""
    decision = step.decision
    fabric = decision.get("fabric") or ()
    said: list[tuple[str, str]] = [(FABRIC_WORDS.get(one["kind"], "check"), fabric_text(one)) for one in fabric]
    if said:  # AWS decided; by which rules of the kernel it is imitated says nothing more
        return said + ([("nat", decision["nat"])] if decision.get("nat") else [])
    rule = decision.get("rule")
    if rule:
        said.append(("rule", f"{rule['priority']}: {rule['text']}"))
    if decision.get("table") is not None:
        said.append(("table", f"{table_name(decision['table'])}: {decision.get('route') or 'no route'}"))
    elif decision.get("route"):
        said.append(("route", decision["route"]))
    if decision.get("confirmed") is False:
        said.append(("kernel", "the kernel's own route lookup differs"))
    if decision.get("neighbour"):
        said.append(("neigh", decision["neighbour"]))
    said += [("filter", rule) for rule in netfilter(step)]
    if decision.get("nat"):
        said.append(("nat", decision["nat"]))
    if decision.get("check"):
        said.append(("check", decision["check"]))
    return said


def fabric_text(check: Doc) -> str:
    """One of AWS's decisions as a line: ``sg-… egress: sgr-…: an outbound rule allows ICMP``, ``rtb-…: 0.0.0.0/0 → igw-…``."""
    said = ": ".join(part for part in (check.get("rule") if not check.get("target") else "", fabric_says(check)) if part)
    return f"{' '.join(part for part in (check['id'], check.get('way')) if part)}: {said or check['verdict']}"


def fabric_says(check: Doc) -> str:
    """Where it leads, and its sentence where that says more."""
    leads = " → ".join(str(part) for part in (check.get("rule"), check.get("target")) if part) if check.get("target") else ""
    text = str(check.get("text") or "")
    known = leads and text and (text in leads or all(part in text for part in leads.split(" → ")))
    return (text if text not in leads else leads) if known else ": ".join(part for part in (leads, text) if part)


def netfilter(step: Step) -> list[str]:
    """The rules that say something: those by which the VPC's namespaces imitate AWS (allowed pairs, TTL upkeep) do not."""
    rules: Iterable[str] = step.decision.get("netfilter") or ()
    return [
        rule for rule in rules if not (rule.startswith(("netdev ", "ip vpc ", "ip igw ")) or "-m ttl " in rule or "-j TTL " in rule)
    ]


def why(drop: Doc) -> str:
    """Check, sentence and counter of a drop; a sentence that quotes its counter says it once."""
    counter = f' (counter "{drop["counter"]}")' if drop.get("counter") and drop["counter"] not in drop["text"] else ""
    return f"{drop['check']}: {drop['text']}{counter}"


def remedy(drop: Doc) -> str:
    """What would have let the packet pass, tried on a copy of the state; "" where nothing was tried."""
    other = drop.get("counterfactual")
    if not other:
        return ""
    said = str(other.get("verdict") or "")
    if not other.get("change"):
        return said or f"none of {other['tried']} single changes lets it pass"
    return said if other["change"] in said else f"{said} with {other['change']}".strip()


def verdict(leg: Leg) -> str:
    """``delivered``, or where and why it was dropped."""
    if leg.delivered:
        return f"delivered; its answer was dropped: {why(leg.answer_drop)}" if leg.answer_drop else "delivered"
    return f"dropped at hop {leg.drop['hop']}: {why(leg.drop)}" if leg.drop else "not delivered"


def asked(leg: Leg) -> str:
    """``tcp port 80, 10.0.0.1 → 10.0.0.2``: the packet that was sent."""
    probe = leg.probe
    port = f" port {probe['dstPort']}" if probe.get("dstPort") else ""
    return f"{probe['protocol']}{port}, {probe['src']} → {probe['dst']}"


def changes(leg: Leg) -> dict[int, dict[str, str]]:
    """What is new in each step's frame against the one before: step number → field of the frame → what it was."""
    seen = [step for step in leg.steps if step.frame is not None]
    found: dict[int, dict[str, str]] = {}
    for before, after in pairwise(seen):
        assert before.frame is not None and after.frame is not None
        old, new = before.frame, after.frame
        found[after.number] = {key: str(old.get(key)) for key in new if old.get(key) != new[key] and key != "mark"}
    return found
