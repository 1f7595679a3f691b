"""A trace as a Mermaid sequence diagram: text that GitHub, GitLab and many editors draw (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from labnet.trace.render.story import Arrow, Doc, Leg, Step, arrows_of, asked, legs_of, reasons, verdict, why

SPECIAL = {
    "#": "#35;", ";": "#59;", "<": "#lt;", ">": "#gt;", "&": "#amp;", '"': "#quot;", "\\": "#92;", "%": "#37;", "{": "#123;", "}": "#125;",
}
"""Characters that mean something to Mermaid or to the HTML that it makes, and how it writes them."""


def render_mermaid(document: Doc) -> str:
    """The diagram: a participant for every namespace in the order of the path, an arrow for every wire, notes for decisions.

    Ends with a newline. Shape of the text: https://mermaid.js.org/syntax/sequenceDiagram.html
    """
    legs = legs_of(document)
    names = _participants(legs)
    lines = ["sequenceDiagram"]
    lines += [f"    participant {key} as {_escaped(owner)}" for key, owner in names.values()]
    keys = {netns: key for netns, (key, _owner) in names.items()}
    for leg in legs:
        lines += [f"    {line}" for line in _leg(leg, keys, list(keys.values()))]
    return "\n".join(lines) + "\n"


def _participants(legs: tuple[Leg, ...]) -> dict[str, tuple[str, str]]:
    """Namespace → the diagram's key and the name to show."""
    found: dict[str, tuple[str, str]] = {}
    for leg in legs:
        for step in leg.steps:
            found.setdefault(step.netns, (f"p{len(found) + 1}", step.owner))
    return found


def _leg(leg: Leg, keys: dict[str, str], order: list[str]) -> Iterator[str]:
    if order:
        over = order[0] if len(order) == 1 else f"{order[0]},{order[-1]}"
        yield f"Note over {over}: {_escaped(f'{leg.source} → {leg.target}: {asked(leg)}')}"
    for step in leg.steps:
        if step.frame is None:
            yield from (*_decided(step, keys), *_ended(step, keys))
    for arrow in arrows_of(leg):
        if arrow.left is not None:
            yield from _decided(arrow.left, keys)
        yield _arrow(arrow, keys)
        if arrow.left is not None:
            yield from _ended(arrow.left, keys)
        if arrow.arrived is not None:
            yield from (*_decided(arrow.arrived, keys), *_ended(arrow.arrived, keys))
    if order and not leg.drop:
        over = order[0] if len(order) == 1 else f"{order[0]},{order[-1]}"
        yield f"Note over {over}: {_escaped(verdict(leg))}"


def _arrow(arrow: Arrow, keys: dict[str, str]) -> str:
    """``p1->>p2: 1-2 eth0 → eni…<br/>src → dst ttl 64<br/>mac → mac``; a cross where it was not seen to arrive."""
    seen = arrow.seen
    start = keys[(arrow.left or seen).netns]
    end = keys[(arrow.arrived or seen).netns]
    numbers = "–".join(str(step.n) for step in (arrow.left, arrow.arrived) if step is not None)
    links = " → ".join(step.link for step in (arrow.left, arrow.arrived) if step is not None)
    ttl = seen.frame["ttl"] if seen.frame else ""
    lines = [f"{numbers}  {links}", f"{seen.ends[0]} → {seen.ends[1]}, ttl {ttl}", f"{seen.macs[0]} → {seen.macs[1]}"]
    head = "->>" if arrow.arrived is not None else "-x"
    return f"{start}{head}{end}: {'<br/>'.join(_escaped(line) for line in lines)}"


def _decided(step: Step, keys: dict[str, str]) -> Iterator[str]:
    said = reasons(step)
    if said:
        yield f"Note over {keys[step.netns]}: {'<br/>'.join(_escaped(f'{word}: {text}') for word, text in said)}"


def _ended(step: Step, keys: dict[str, str]) -> Iterator[str]:
    if step.drop is not None:
        yield f"{keys[step.netns]}-x{keys[step.netns]}: {_escaped(f'dropped: {why(step.drop)}')}"


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(char, char if char.isprintable() else " ") for char in text)
