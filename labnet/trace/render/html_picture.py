"""The picture of a trace as SVG: places, wires, the packet's way with its hops, and where it ended (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from labnet.trace.render.drawing import boxes_overlap, label, tag, width
from labnet.trace.render.html_layout import BADGE, Box, Layout
from labnet.trace.render.html_route import Way
from labnet.trace.render.story import Leg

LEFT_TEXT = frozenset({"vpc", "router", "node"})
Frame = tuple[float, float, float, float]


def picture(layout: Layout, legs: Sequence[Leg], ways: Sequence[Way], keys: dict[str, str]) -> str:
    """The ``svg`` element. `keys` gives each place and table a short id by which the page's script finds it."""
    m = layout.metrics
    inside = [_box(box, layout, keys) for box in layout.behind]
    inside += [tag("line", {"class": "wire", "x1": x1, "y1": y1, "x2": x2, "y2": y2}) for x1, y1, x2, y2 in layout.wires]
    inside += [_track(way, index) for index, way in enumerate(ways)]
    inside += [_box(box, layout, keys) for box in layout.front]
    inside += [_marks(leg, way, index, layout) for index, (leg, way) in enumerate(zip(legs, ways, strict=True))]
    inside.append(_packet())
    return tag(
        "svg", {
            "xmlns": "http://www.w3.org/2000/svg", "class": f"picture {m.name}", "viewBox": f"0 0 {layout.width:.0f} {layout.height:.0f}",
            "data-width": f"{layout.width:.0f}", "role": "img", "aria-label": "the way of the packet",
        },
        *inside,
    )


def _box(box: Box, layout: Layout, keys: dict[str, str]) -> str:
    """A rectangle and its text: upright in the middle, or from `text_y` on."""
    m = layout.metrics
    step = m.size * 1.3
    first = box.text_y or (box.h - (len(box.lines) - 1) * step) / 2 + m.size * 0.36
    left = box.kind in LEFT_TEXT
    x = box.x + (10 if left else box.w / 2)
    parts = [tag("rect", {"x": box.x, "y": box.y, "width": box.w, "height": box.h, "rx": 10 if box.h > 60 else 6})]
    for index, line in enumerate(box.lines):
        parts.append(label(x, box.y + first + index * step, line, "first" if index == 0 else "more", None if left else "middle"))
    return tag("g", {"class": f"box {box.kind}", "data-key": keys.get(box.key)}, *parts)


def _track(way: Way, leg: int) -> str:
    """The whole way in grey, and a line for each step that the script colours."""
    lines = [tag("path", {"class": "track", "d": line}) for line in way.lines.values()]
    lines += [tag("path", {"class": "track", "d": way.end_line})] if way.end_line else []
    lines += [tag("path", {"class": "seg", "data-step": number, "d": line}) for number, line in way.lines.items()]
    lines += [tag("path", {"class": "seg lost", "d": way.end_line})] if way.end_line else []
    return tag("g", {"class": "leg", "data-leg": leg}, *lines)


def _marks(leg: Leg, way: Way, index: int, layout: Layout) -> str:
    """Numbers at the hops, one badge where several are at the same place; and the cross."""
    places: dict[tuple[float, float], list[int]] = {}
    for number, point in way.points.items():
        places.setdefault(point, []).append(number)
    numbers = {step.number: step.n for step in leg.steps}
    parts = []
    for (x, y), found in places.items():
        said = ",".join(str(numbers[number]) for number in found)
        wide = max(2 * BADGE, width(said, 9.5) + 8)
        parts.append(tag(
            "g", {"class": "badge", "data-steps": " ".join(map(str, found))},
            tag("rect", {"x": x - wide / 2, "y": y - BADGE, "width": wide, "height": 2 * BADGE, "rx": BADGE}),
            label(x, y + 3.5, said, "", "middle"),
        ))
    if way.end is not None and leg.drop is not None:
        parts.append(_cross(way.end, str(leg.drop["check"]), layout, way))
    return tag("g", {"class": "leg", "data-leg": index}, *parts)


def _cross(end: tuple[float, float], check: str, layout: Layout, way: Way) -> str:
    x, y = end
    said = f"✕ {check}"
    size = layout.metrics.size
    wide, high = width(said, size) + 16, size + 11
    left, top = _free_place(x, y, wide, high, layout, way)
    return tag(
        "g", {"class": "cross"}, tag("circle", {"cx": x, "cy": y, "r": 11}), tag("path", {"d": f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"}),
        tag("rect", {"x": left, "y": top, "width": wide, "height": high, "rx": high / 2}),
        label(left + wide / 2, top + high / 2 + size * 0.36, said, "", "middle"),
    )


def _free_place(x: float, y: float, wide: float, high: float, layout: Layout, way: Way) -> tuple[float, float]:
    """The nearest place for a label beside a point where it covers no text, no badge and does not leave the picture."""
    badges = ((px - 11, py - 11, px + 11, py + 11) for px, py in way.points.values())
    taken = [*_texts(layout), *_lines(way), *badges, (x - 20, y - 14, x + 20, y + 14)]
    best: tuple[float, float] | None = None
    for distance in range(22, 150, 6):
        rows = (y - high / 2, y + distance, y - distance - high)
        spots = [(left, rows[0]) for left in (x + distance, x - distance - wide)]
        spots += [(left, top) for top in rows[1:] for left in (x - wide / 2, x + 8, x - 8 - wide)]
        for left, top in spots:
            inside = left >= 2 and top >= 2 and left + wide <= layout.width - 2 and top + high <= layout.height - 2
            best = best or ((left, top) if inside else None)
            if inside and not any(boxes_overlap((left - 3, top - 3, left + wide + 3, top + high + 3), other) for other in taken):
                return left, top
    return best or (max(2.0, min(x, layout.width - wide - 2)), y + 14)


def _texts(layout: Layout) -> Iterator[Frame]:
    """Where text stands: whole boxes where it is in the middle, the lines where it is at a container's edge."""
    m = layout.metrics
    for box in layout.front:
        yield box.x, box.y, box.x + box.w, box.y + box.h
    for box in layout.behind:
        step = m.size * 1.3
        for index, line in enumerate(box.lines):
            y = box.y + box.text_y + index * step
            wide = width(line, m.size)
            left = box.x + 10 if box.kind in LEFT_TEXT else box.middle - wide / 2
            yield left, y - m.size, left + wide, y + 4


def _lines(way: Way) -> Iterator[Frame]:
    """The boxes around the parts of the packet's way."""
    for line in (*way.lines.values(), way.end_line):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", line)]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        for (x1, y1), (x2, y2) in pairwise(points):
            yield min(x1, x2) - 4, min(y1, y2) - 4, max(x1, x2) + 4, max(y1, y2) + 4


def _packet() -> str:
    """An envelope of two halves: the colour of the source and of the destination. The script moves it."""
    return tag(
        "g", {"class": "packet"}, tag("rect", {"class": "halo", "x": -20, "y": -13, "width": 40, "height": 26, "rx": 13}),
        tag("path", {"class": "half from", "d": "M0 -9h-8a9 9 0 0 0 0 18h8z"}),
        tag("path", {"class": "half to", "d": "M0 -9h8a9 9 0 0 1 0 18h-8z"}),
        tag("path", {"class": "arrow", "d": "M-5 0h9m-3.5 -3.5l3.5 3.5l-3.5 3.5"}),
        tag("g", {"class": "dead"}, tag("circle", {"r": 12}), tag("path", {"d": "M-5 -5l10 10m0 -10l-10 10"})),
    )
