"""The way of a packet through a layout: where it is at each step and the line that leads there (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from labnet.model.values import frozen
from labnet.trace.render.html_layout import Anchor, Layout
from labnet.trace.render.story import Leg, Step

BESIDE = 12.0
"""How far the two ways of a wire lie apart where a packet goes and comes back on it."""

Point = tuple[float, float]


@frozen
class Way:
    """The way of one leg: a point for each step, the line by which it is reached, and where the packet ended if it was dropped."""

    points: Mapping[int, Point]
    lines: Mapping[int, str]
    tables: Mapping[int, str]
    """The key of the table that decided at a step, where the picture shows it."""
    end: Point | None = None
    end_line: str = ""


def way_of(layout: Layout, leg: Leg) -> Way:
    """The way through this layout; numbers are those of the steps."""
    anchors = _anchors(layout, leg)
    points = {number: (anchor.x, anchor.y) for number, anchor in anchors.items()}
    lines, tables = {}, {}
    for step in leg.steps:
        table = layout.tables.get((step.netns, int(step.decision.get("table") or 0)))
        if table is not None:
            tables[step.number] = table.key
    for before, after in pairwise(leg.steps):
        lines[after.number] = _line(layout, before, after, anchors[before.number], anchors[after.number])
    last = next((step for step in leg.steps if step.drop is not None), None)
    if last is None or leg.delivered:
        return Way(points, lines, tables)
    anchor = anchors[last.number]
    end = _end(last, anchor)
    return Way(points, lines, tables, end, f"M{anchor.x:.1f} {anchor.y:.1f}L{end[0]:.1f} {end[1]:.1f}")


def _end(last: Step, anchor: Anchor) -> Point:
    """Inside the place that it came to or never left, or on the wire that it left by."""
    if last.frame is None or last.direction == "in":
        return anchor.end or (anchor.inner_x, anchor.inner_y)
    return anchor.x + (anchor.x - anchor.inner_x) * 0.5, anchor.y + (22 if anchor.y > anchor.inner_y else -22)


def _anchors(layout: Layout, leg: Leg) -> dict[int, Anchor]:
    """Step → where the packet is; the two ways of a wire that it takes both ways lie beside each other."""
    ways: dict[tuple[str, str], set[str]] = {}
    for step in leg.steps:
        ways.setdefault((step.netns, step.link), set()).add(step.direction)
    found: dict[int, Anchor] = {}
    for step in leg.steps:
        anchor = layout.anchors.get((step.netns, step.link)) or layout.places[step.netns]
        aside = 0.0
        if len(ways[step.netns, step.link]) > 1:
            downwards = (step.direction == "out") == (step.netns in layout.routers)
            aside = -BESIDE if downwards else BESIDE
        found[step.number] = Anchor(anchor.x + aside, anchor.y, anchor.inner_x + aside, anchor.inner_y, anchor.end)
    return found


def _line(layout: Layout, before: Step, after: Step, start: Anchor, end: Anchor) -> str:
    """A wire between two places; inside of one the way by the router's middle or by the table that decided."""
    begin = f"M{start.x:.1f} {start.y:.1f}"
    if before.netns != after.netns:
        return f"{begin}L{end.x:.1f} {end.y:.1f}"
    if before.netns in layout.routers:
        return f"{begin}L{start.inner_x:.1f} {start.inner_y:.1f}L{end.inner_x:.1f} {end.inner_y:.1f}L{end.x:.1f} {end.y:.1f}"
    points: list[Point] = [(start.inner_x, start.inner_y)]
    table = layout.tables.get((before.netns, int(before.decision.get("table") or 0)))
    if table is not None:
        points += _through(table.middle, table.y, table.y + table.h, start, end)
    points.append((end.inner_x, end.inner_y))
    curve = "".join(_bend(here, there) for here, there in pairwise(points))
    return f"{begin}L{start.inner_x:.1f} {start.inner_y:.1f}{curve}L{end.x:.1f} {end.y:.1f}"


def _through(x: float, top: float, bottom: float, start: Anchor, end: Anchor) -> list[Point]:
    """The points at a table's box: in on the side that the packet comes from, out on the other."""
    inwards = bottom if start.inner_y > bottom else top
    outwards = bottom if end.inner_y > bottom else top
    if inwards == outwards:
        return [((start.inner_x + x) / 2, inwards), ((end.inner_x + x) / 2, outwards)]
    return [(x, inwards), (x, outwards)]


def _bend(here: Point, there: Point) -> str:
    """A line that starts and ends upright."""
    middle = (here[1] + there[1]) / 2
    return f"C{here[0]:.1f} {middle:.1f} {there[0]:.1f} {middle:.1f} {there[0]:.1f} {there[1]:.1f}"
