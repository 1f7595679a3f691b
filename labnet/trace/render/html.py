"""A trace as one self-contained HTML page: the picture, the packet that moves through it, and every decision (pure).

Nothing is loaded from anywhere: style and script are in the page, allowed by their digests alone (Content-Security-Policy).
Without scripts it is still a page to read: picture, all hops, all decisions.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from labnet.trace.render.drawing import escaped, tag
from labnet.trace.render.html_cast import cast_of
from labnet.trace.render.html_layout import TALL, WIDE, Layout, laid_out
from labnet.trace.render.html_panel import Names, hop_table, names_of, panel
from labnet.trace.render.html_picture import picture
from labnet.trace.render.html_route import Way, way_of
from labnet.trace.render.story import Doc, Leg, asked, changes, legs_of, verdict
from labnet.trace.render.svg import sequence

LARGEST, SMALLEST = 1.4, 0.85
"""How far a picture is blown up or shrunk at most; where it still does not fit, it is scrolled."""


def render_html(document: Doc, scene: Doc | None = None) -> str:
    """The page of a Trace document; `scene` is what stands around (a Scene document), without it the places stand in a row."""
    scene = scene or {}
    legs = legs_of(document)
    names = names_of(scene, legs)
    layouts = [laid_out(cast_of(scene, legs, metrics.room), metrics) for metrics in (WIDE, TALL)]
    ways = {layout.metrics.name: [way_of(layout, leg) for leg in legs] for layout in layouts}
    keys = _keys(layouts)
    sizes = [
        f".picture.{one.metrics.name} {{ max-width: {one.width * LARGEST:.0f}px; min-width: {one.width * SMALLEST:.0f}px; }}" for one in layouts
    ]
    style, script = "\n".join((_part("page.css"), _part("sequence.css"), *sizes)), _part("page.js")
    return Template(_part("page.html")).substitute(
        csp=escaped(
            f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'"
        ),
        title=escaped(f"{legs[0].source} → {legs[0].target}"), style=style, script=script, head=_head(document, legs, scene),
        pictures="\n".join(picture(layout, legs, ways[layout.metrics.name], keys) for layout in layouts),
        last=sum(len(leg.steps) for leg in legs),
        panels="\n".join(_panels(leg, names) for leg in legs), hops="\n".join(hop_table(leg, names) for leg in legs),
        remarks=_remarks(document, legs), sequence=sequence(document), data=_data(document, legs, names, ways, keys),
    )


def _part(name: str) -> str:
    return resources.files("labnet.trace.render").joinpath("page", name).read_text("utf-8")


def _digest(text: str) -> str:
    """How a Content-Security-Policy names an inline part: by the SHA-256 of its text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _keys(layouts: Sequence[Layout]) -> dict[str, str]:
    """Place or table → a short id, the same in both layouts."""
    found: dict[str, str] = {}
    for layout in layouts:
        for box in (*layout.behind, *layout.front):
            if box.key:
                found.setdefault(box.key, f"k{len(found)}")
    return found


def _head(document: Doc, legs: Sequence[Leg], scene: Doc) -> str:
    parts = [tag("h1", None, escaped(f"{legs[0].source} → {legs[0].target}")), tag("p", {"class": "asked"}, escaped(asked(legs[0])))]
    for leg, word in zip(legs, ("there", "back") if len(legs) > 1 else ("",), strict=True):
        good = leg.delivered and not leg.answer_drop
        said = f"{word}: {_in_short(leg)}" if word else _in_short(leg)
        parts.append(tag("p", {"class": f"verdict {'good' if good else 'bad'}"}, escaped(said)))
    if scene.get("lab"):
        parts.append(tag("p", {"class": "lab"}, escaped(f"lab {scene['lab']}, scenario {scene['scenario']}")))
    return "".join(parts)


def _in_short(leg: Leg) -> str:
    if leg.delivered:
        return "answer lost" if leg.answer_drop else "delivered"
    return f"dropped at hop {leg.drop['hop']}" if leg.drop else "not delivered"


def _panels(leg: Leg, names: Names) -> str:
    new = changes(leg)
    return "\n".join(panel(step, leg, new.get(step.number, {}), names) for step in leg.steps)


def _remarks(document: Doc, legs: Sequence[Leg]) -> str:
    """Verdicts in full, findings, notes, and whether the ways are the same."""
    items = [tag("li", {"class": "passes" if leg.delivered and not leg.answer_drop else "stops"}, escaped(
        f"{leg.source} → {leg.target}: {verdict(leg)}")) for leg in legs]
    symmetric = document.get("symmetric")
    if symmetric:
        said = "there and back are the same way" if symmetric["verdict"] else f"there and back differ: {symmetric['text']}"
        items.append(tag("li", {"class": "passes" if symmetric["verdict"] else "finding"}, escaped(said)))
    for leg in legs:
        items += [tag("li", {"class": "finding"}, escaped(one["text"])) for one in leg.document.get("findings") or ()]
        items += [tag("li", None, escaped(note)) for note in leg.notes]
    return tag("ul", {"class": "remarks checks"}, *items)


def _data(document: Doc, legs: Sequence[Leg], names: Names, ways: Mapping[str, Sequence[Way]], keys: Mapping[str, str]) -> str:
    """What the script needs, and the trace itself, as JSON that cannot end the element around it."""
    steps = []
    for index, leg in enumerate(legs):
        way = ("there, ", "back, ")[index] if len(legs) > 1 else ""
        for step in leg.steps:
            table = ways["wide"][index].tables.get(step.number, "")
            steps.append({
                "leg": index, "place": keys.get(step.netns, ""), "link": keys.get(f"{step.netns} {step.link}", ""),
                "table": keys.get(table, ""),
                "title": f"{way}hop {step.n} of {len(leg.steps)}: {step.owner} {step.link} {step.direction}", "lost": step.drop is not None,
                "colours": [names.colour(str(step.frame[side])) if step.frame else "a0" for side in ("src", "dst")],
                "at": {name: _rounded(found[index].points[step.number]) for name, found in ways.items()},
            })
    return _safe_json({"steps": steps, "trace": document})


def _rounded(point: tuple[float, float]) -> list[float]:
    return [round(number, 1) for number in point]


def _safe_json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
