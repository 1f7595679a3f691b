"""What the page of a trace says beside the picture: for each step its frame and what decided there, as HTML (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from labnet.model.values import frozen
from labnet.trace.render.drawing import escaped, tag
from labnet.trace.render.story import Doc, Leg, Step, fabric_says, netfilter, reasons, remedy, table_name, why

COLOURS = 6
AWS_WORDS = {
    "source-dest-check": "Source/dest check", "route-table": "Route table", "security-group": "Security group", "acl": "Network ACL",
    "gateway": "Gateway", "zone": "Availability zone",
}


@frozen
class Names:
    """Whose MACs and addresses are, and which colour each address has (a number, in the order of the path)."""

    macs: Mapping[str, str]
    addresses: Mapping[str, str]
    colours: Mapping[str, int]

    def colour(self, address: str) -> str:
        """The class of an address."""
        return f"a{self.colours.get(address, 0) % COLOURS}"


def names_of(scene: Doc, legs: Sequence[Leg]) -> Names:
    """The names for a page; addresses get their colours as the packet gets to them."""
    seen: dict[str, int] = {}
    for leg in legs:
        for step in leg.steps:
            for side in ("src", "dst"):
                if step.frame is not None:
                    seen.setdefault(str(step.frame[side]), len(seen))
    return Names(scene.get("macs") or {}, scene.get("addresses") or {}, seen)


def panel(step: Step, leg: Leg, changed: Mapping[str, str], names: Names) -> str:
    """One step: where, its frame, then every decision that there was."""
    way = {"in": "comes in on", "out": "goes out by"}[step.direction] if step.frame is not None else "never left by"
    where = f"{way} {step.link}" if step.link else ""
    number, owner = tag("span", {"class": "n"}, str(step.n)), tag("b", None, escaped(step.owner))
    head = tag("h2", None, number, owner, " ", tag("span", {"class": "soft"}, escaped(where)))
    findings = [one for one in leg.document.get("findings") or () if one["hop"] == step.n]
    parts = [head, _drop(step.drop) if step.drop is not None else "", *(_alarm(one["text"]) for one in findings)]
    if step.frame is not None:
        parts += [_frame(step.frame, changed, names), _facts(step, leg, changed)]
    parts += _decision(step, names) or _decided_before(step, leg)
    return tag("section", {"class": "step", "id": f"hop-{step.number}", "data-step": step.number, "aria-label": f"hop {step.n}"}, *parts)


def _alarm(text: str) -> str:
    return tag("p", {"class": "finding"}, escaped(text))


def _drop(drop: Doc) -> str:
    """Cause, the state behind it, and what would have let the packet pass."""
    parts = [tag("p", {"class": "cause"}, tag("b", None, "Dropped: "), escaped(why(drop)))]
    if drop.get("state"):
        parts.append(tag("ul", None, *(tag("li", None, tag("code", None, escaped(line))) for line in drop["state"])))
    if remedy(drop):
        parts.append(tag("p", {"class": "would"}, tag("b", None, "Tried on a copy: "), escaped(remedy(drop))))
    return tag("div", {"class": "drop", "role": "alert"}, *parts)


# ---- the frame --------------------------------------------------------------------------------------------------------------


def _frame(frame: Doc, changed: Mapping[str, str], names: Names) -> str:
    rows = [_row("MAC", [_cell(frame, side, f"{side}Mac", changed, names.macs) for side in ("src", "dst")])]
    rows.append(_row("IP", [_cell(frame, side, side, changed, names.addresses, names.colour(str(frame[side]))) for side in ("src", "dst")]))
    if frame.get("protocol") != "icmp":
        rows.append(_row("port", [_cell(frame, side, f"{side}Port", changed, {}) for side in ("src", "dst")]))
    head = tag("tr", None, tag("td", None), tag("th", {"scope": "col"}, "Source"), tag("th", {"scope": "col"}, "Destination"))
    return tag("table", {"class": "frame"}, tag("caption", None, "Frame"), tag("thead", None, head), tag("tbody", None, *rows))


def _row(name: str, cells: list[str]) -> str:
    return tag("tr", None, tag("th", {"scope": "row"}, name), *cells)


def _cell(frame: Doc, side: str, key: str, changed: Mapping[str, str], owners: Mapping[str, str], colour: str = "") -> str:
    value = str(frame[key])
    owner = owners.get(value, "")
    parts = [tag("span", {"class": f"address {colour}".strip()}, escaped(value))]
    parts += [tag("span", {"class": "owner"}, escaped(owner))] if owner else []
    parts += [tag("span", {"class": "was"}, f"was {escaped(changed[key])}")] if key in changed else []
    return tag("td", {"class": "new" if key in changed else None, "data-side": side}, *parts)


def _facts(step: Step, leg: Leg, changed: Mapping[str, str]) -> str:
    assert step.frame is not None
    frame, decision = step.frame, step.decision
    ttl = f"TTL {frame['ttl']}" + (f" (was {changed['ttl']})" if "ttl" in changed else "")
    facts = [str(frame["protocol"]), ttl, f"{frame['length']} bytes"]
    mark = (decision.get("mark") or {}).get("in")
    mark = frame.get("mark") if mark is None else mark
    facts += [f"mark {mark:#x}"] if mark else []
    facts += [f"next MTU {decision['mtu']}"] if decision.get("mtu") else []
    start = next((other.time_ns for other in leg.steps if other.time_ns is not None), None)
    if start is not None and step.time_ns is not None:
        facts.append(f"+{(step.time_ns - start) / 1000:.0f} µs")
    return tag("ul", {"class": "facts"}, *(tag("li", None, escaped(fact)) for fact in facts))


# ---- decisions --------------------------------------------------------------------------------------------------------------


def _decision(step: Step, names: Names) -> list[str]:
    """What applies, in the order in which it was decided."""
    decision = step.decision
    parts = [_nat(decision["nat"], names)] if decision.get("nat") else []
    routing = [*_rules(decision), *_routes(decision), *_reverse_path(decision), *_neighbour(decision), *_netfilter(step)]
    if decision.get("fabric"):
        checks = [_aws_check(one) for one in decision["fabric"]]
        parts.append(_block("AWS decides", _list(checks, "checks")))
        if routing:
            kernel = [*routing, *_conntrack(decision), *_marks(decision)]
            parts.append(tag("details", {"class": "inner"}, tag("summary", None, "How the lab's kernel does it"), *kernel))
        return parts
    return parts + routing + _conntrack(decision) + _marks(decision)


def _decided_before(step: Step, leg: Leg) -> list[str]:
    """A frame that goes out was decided on where the packet came into the same place: in short, once more."""
    before = next((other for other in leg.steps if other.number == step.number - 1 and other.netns == step.netns), None)
    said = reasons(before) if before is not None and step.direction == "out" else []
    if before is None or not said:
        return []
    rows = [tag("tr", None, tag("th", {"scope": "row"}, word), tag("td", None, escaped(text))) for word, text in said]
    return [_block(f"Decided at hop {before.n}", tag("table", {"class": "flow"}, tag("tbody", None, *rows)))]


def _block(title: str, *inside: str) -> str:
    return tag("div", {"class": "block"}, tag("h3", None, title), *inside)


def _list(items: Sequence[str], css: str) -> str:
    return tag("ul", {"class": css}, *items)


def _mark(good: bool, text: str) -> str:
    return tag("li", {"class": "passes" if good else "stops"}, escaped(text))


def _aws_check(one: Doc) -> str:
    """``Security group egress  an outbound rule allows ICMP`` and below it the ids, by which the AWS CLI finds them."""
    name = AWS_WORDS.get(one["kind"], str(one["kind"])) + (f", {one['way']}" if one.get("way") else "")
    ids = " ".join(str(part) for part in (one["id"], one.get("rule") if not one.get("target") else "") if part)
    inside = [tag("b", None, escaped(name)), " ", escaped(fabric_says(one)), tag("span", {"class": "ids"}, escaped(ids))]
    return tag("li", {"class": "passes" if one["verdict"] == "passes" else "stops"}, *inside)


def _nat(text: str, names: Names) -> str:
    """``SNAT a → b; DNAT c → d``, each with its addresses coloured."""
    lines = []
    for one in str(text).split("; "):
        kind, _, rest = one.partition(" ")
        sides = [tag("span", {"class": f"address {names.colour(side.partition(':')[0])}"}, escaped(side)) for side in rest.split(" → ")]
        lines.append(tag("li", None, tag("b", None, escaped(kind)), " ", " → ".join(sides)))
    return _block("NAT", _list(lines, "nat"))


def _tried(items: Sequence[Doc], said: Callable[[Doc], str]) -> str:
    rows = []
    for one in items:
        inside = [tag("code", None, escaped(said(one)))]
        inside += [tag("span", {"class": "reason"}, escaped(one["reason"]))] if one.get("reason") else []
        rows.append(tag("li", {"class": "won" if one.get("won") else "passed"}, *inside))
    return _list(rows, "tried")


def _rules(decision: Doc) -> list[str]:
    rules = decision.get("rules") or ()
    if not rules and decision.get("rule"):
        rules = ({**decision["rule"], "won": True},)
    return [_block("Policy rules", _tried(rules, lambda one: f"{one['priority']}: {one['text']}"))] if rules else []


def _routes(decision: Doc) -> list[str]:
    routes = decision.get("routes") or ()
    table = decision.get("table")
    if not routes and (decision.get("route") or table is not None):
        routes = ({"text": decision.get("route") or "no route", "won": bool(decision.get("route"))},)
    if not routes:
        return []
    said = _tried(routes, lambda one: str(one["text"]))
    lookup = decision.get("kernel")
    confirmed = lookup["agrees"] if lookup else decision.get("confirmed")
    if confirmed is not None:
        differs = "the kernel's own lookup differs" + (f": table {table_name(lookup['table'])}, {lookup['route']}" if lookup else "")
        said += _list([_mark(bool(confirmed), "the kernel's own lookup agrees" if confirmed else differs)], "checks")
    return [_block(f"Route, table {escaped(table_name(table))}" if table is not None else "Route", said)]


def _reverse_path(decision: Doc) -> list[str]:
    said = decision.get("rpFilter")
    if not said or said["verdict"] == "off":
        return []
    text = said["text"] or f"rp_filter={said['value']} on {said['link']}: {said['verdict']}"
    return [_block("Reverse path", _list([_mark(said["verdict"] != "drops", text)], "checks"))]


def _neighbour(decision: Doc) -> list[str]:
    said = decision.get("neighbour")
    return [_block("Neighbour", tag("p", None, tag("code", None, escaped(said))))] if said else []


def _netfilter(step: Step) -> list[str]:
    """The rules that matched: with their place where it is known, else as they were told."""
    matched = step.decision.get("matched") or ()
    plain = netfilter(step)
    if not matched:
        return [_block("Netfilter", _list([tag("li", None, tag("code", None, escaped(rule))) for rule in plain], "rules"))] if plain else []
    rows = []
    for rule in matched:
        place = f"{rule['table']} {rule['chain']}" + (f" #{rule['number']}" if rule["number"] else " policy")
        traced = {True: " ✓ seen in the kernel's trace", False: " ✗ not in the kernel's trace"}.get(rule.get("traced"), "")
        said = tag("span", {"class": "reason"}, escaped(rule["verdict"] + traced))
        inside = [tag("b", None, escaped(place)), tag("code", None, escaped(rule["text"])), said]
        rows.append(tag("li", {"class": "stops" if rule["verdict"] in ("DROP", "REJECT", "drop", "reject") else None}, *inside))
    return [_block("Netfilter", _list(rows, "rules"))]


def _conntrack(decision: Doc) -> list[str]:
    flow = decision.get("conntrack")
    if not flow or not (flow.get("before") or flow.get("after")):
        return []
    rows = [
        tag("tr", None, tag("th", {"scope": "row"}, when), tag("td", None, escaped(flow[when]["text"]) if flow.get(when) else "no entry"))
        for when in ("before", "after")
    ]
    return [_block("Conntrack", tag("table", {"class": "flow"}, tag("tbody", None, *rows)))]


def _marks(decision: Doc) -> list[str]:
    marks = decision.get("mark") or {}
    before, after = marks.get("in"), marks.get("out")
    if before is None or after is None or before == after:
        return []
    return [_block("Mark", tag("p", None, tag("code", None, f"{before:#x} → {after:#x}")))]


# ---- all hops ---------------------------------------------------------------------------------------------------------------


def hop_table(leg: Leg, names: Names) -> str:
    """All hops of one direction, a row each: what a page without scripts is read by."""
    heads = ("Hop", "Where", "Interface", "Source", "Destination", "Source MAC", "Destination MAC", "TTL", "")
    rows = []
    olds: list[Step | None] = [None, *(step for step, _ in pairwise(leg.steps))]
    for step, before in zip(leg.steps, olds, strict=True):
        rows.append(_hop_row(step, before, names))
    return tag(
        "table", {"class": "hops"}, tag("caption", None, escaped(f"{leg.source} → {leg.target}")),
        tag("thead", None, tag("tr", None, *(tag("th", {"scope": "col"}, head) for head in heads))), tag("tbody", None, *rows),
    )


def _hop_row(step: Step, before: Step | None, names: Names) -> str:
    link = tag("a", {"href": f"#hop-{step.number}"}, str(step.n))
    frame = step.frame
    cells = [tag("td", None, link), tag("td", None, escaped(step.owner)), tag("td", None, escaped(f"{step.link} {step.direction}"))]
    for side, text in zip(("src", "dst"), step.ends, strict=True):
        colour = names.colour(str(frame[side])) if frame else ""
        cells.append(tag("td", None, tag("span", {"class": f"address {colour}"}, escaped(text)) if frame else ""))
    old = before.macs if before is not None else ("", "")
    for text, was in zip(step.macs, old, strict=True):
        cells.append(tag("td", {"class": "mac" + (" same" if text == was else "")}, escaped(text)))
    cells.append(tag("td", None, escaped(frame["ttl"]) if frame else ""))
    cells.append(tag("td", {"class": "bad"}, f"✕ {escaped(step.drop['check'])}" if step.drop else ""))
    return tag("tr", {"data-step": step.number, "class": "dropped" if step.drop else None}, *cells)
