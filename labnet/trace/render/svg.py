"""A trace as a sequence diagram in SVG: self-contained, without scripts, for light and dark (pure).

A column for every namespace in the order of the path, an arrow for every frame on a wire with its addresses and MACs, a note for
every decision, a cross where the packet ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from labnet.trace.render.drawing import escaped, label, shortened, tag, width, wrapped
from labnet.trace.render.story import Arrow, Doc, Leg, Step, arrows_of, asked, legs_of, reasons, remedy, verdict, why

GAP, MARGIN, TOP = 256, 190, 64
HEAD_WIDTH, HEAD_HEIGHT = 168, 40
LINE, SMALL = 14, 10.5
NOTE_COLUMNS, WORD_COLUMNS = 52, 8
HEAD_COLUMNS, TITLE_SIZE = 20, 20


def render_svg(document: Doc) -> str:
    """The diagram as a file of its own; ends with a newline."""
    css = resources.files("labnet.trace.render").joinpath("page", "sequence.css").read_text("utf-8")
    return sequence(document, css) + "\n"


def sequence(document: Doc, css: str = "") -> str:
    """The diagram as an ``svg`` element; `css` is put into it, without it the page around brings the style."""
    legs = legs_of(document)
    drawing = _Drawing(legs)
    for leg in legs:
        drawing.leg(leg)
    return drawing.finished(css)


class _Drawing:
    """Draws downwards: `y` is where the next thing goes."""

    def __init__(self, legs: tuple[Leg, ...]) -> None:
        self.owners: dict[str, str] = {}
        for leg in legs:
            for step in leg.steps:
                self.owners.setdefault(step.netns, step.owner)
        self.columns = {netns: MARGIN + index * GAP for index, netns in enumerate(self.owners)}
        self.title = f"{legs[0].source} → {legs[0].target}"
        self.right = MARGIN * 2 + GAP * (max(1, len(self.columns)) - 1)
        self.right = max(self.right, 48 + int(width(self.title, TITLE_SIZE)), 48 + int(width(asked(legs[0]), SMALL * 1.2)))
        self.y = float(TOP + HEAD_HEIGHT + 24)
        self.parts: list[str] = []

    def leg(self, leg: Leg) -> None:
        """One direction: a headline, the wires with their decisions, the verdict."""
        self._banner(f"{leg.source} → {leg.target}   {asked(leg)}", "way")
        for step in leg.steps:
            if step.frame is None:
                self._decided(step)
                self._ended(step)
        for arrow in arrows_of(leg):
            if arrow.left is not None:
                self._decided(arrow.left)
            self._wire(arrow)
            if arrow.left is not None:
                self._ended(arrow.left)
            if arrow.arrived is not None:
                self._decided(arrow.arrived)
                self._ended(arrow.arrived)
        if not leg.drop:
            self._banner(verdict(leg), "good" if leg.delivered and not leg.answer_drop else "bad")

    def finished(self, css: str) -> str:
        """The whole element."""
        height = self.y + 16
        back = [tag("rect", {"class": "seq-paper", "width": float(self.right), "height": height})]
        back += [label(24, 40, self.title, "seq-title")]
        back += [
            tag("line", {"class": "seq-life", "x1": x, "x2": x, "y1": TOP + HEAD_HEIGHT, "y2": height - 12}) for x in self.columns.values()
        ]
        for netns, x in self.columns.items():
            back.append(tag("rect", {
                "class": "seq-head", "x": x - HEAD_WIDTH // 2, "y": TOP, "width": HEAD_WIDTH, "height": HEAD_HEIGHT, "rx": 8,
            }))
            back.append(label(x, TOP + 25, shortened(self.owners[netns], HEAD_COLUMNS), "seq-name", "middle"))
        style = [tag("style", None, css)] if css else []
        return tag(
            "svg", {
                "xmlns": "http://www.w3.org/2000/svg", "class": "seq", "viewBox": f"0 0 {self.right} {height:.0f}", "width": self.right,
                "height": f"{height:.0f}", "role": "img", "aria-label": f"sequence diagram: {self.title}",
            },
            tag("title", None, escaped(self.title)), *style, *back, *self.parts,
        )

    # ---- pieces -------------------------------------------------------------------------------------------------------------

    def _banner(self, text: str, css: str) -> None:
        lines = wrapped(text, int((self.right - 80) / (SMALL * 1.1 * 0.605)))
        high = len(lines) * LINE + 12
        self.parts.append(tag("rect", {
            "class": f"seq-banner seq-{css}", "x": 24, "y": self.y, "width": float(self.right - 48), "height": float(high), "rx": 6,
        }))
        self._lines(lines, self.right / 2, self.y + 17, f"seq-banner-text seq-{css}", "middle")
        self.y += high + 16

    def _wire(self, arrow: Arrow) -> None:
        seen = arrow.seen
        start, end = self.columns[(arrow.left or seen).netns], self.columns[(arrow.arrived or seen).netns]
        numbers = "–".join(str(step.n) for step in (arrow.left, arrow.arrived) if step is not None)
        links = " → ".join(step.link for step in (arrow.left, arrow.arrived) if step is not None)
        ttl = f"  ttl {seen.frame['ttl']}" if seen.frame else ""
        if start == end:  # seen at one end only
            end = start + (60 if arrow.arrived is None else 0)
            start = start if arrow.arrived is None else end - 60
        middle = (start + end) / 2
        self._lines([f"{numbers}  {links}"], middle, self.y + 4, "seq-links", "middle")
        self._lines([f"{seen.ends[0]} → {seen.ends[1]}{ttl}"], middle, self.y + 4 + LINE, "seq-ends", "middle")
        self._lines([f"{seen.macs[0]} → {seen.macs[1]}"], middle, self.y + 4 + 2 * LINE, "seq-macs", "middle")
        line = self.y + 3 * LINE
        lost = arrow.arrived is None
        way = 1 if end >= start else -1
        self.parts.append(tag("line", {"class": "seq-wire", "x1": start, "x2": float(end - 6 * way), "y1": line, "y2": line}))
        self.parts.append(self._cross(end, line) if lost else tag("path", {
            "class": "seq-tip", "d": f"M{end} {line:.1f}l{-11 * way} -5v10z",
        }))
        self.y = line + 20

    def _decided(self, step: Step) -> None:
        said = reasons(step)
        if said:
            self._note(step, said, "seq-note")

    def _ended(self, step: Step) -> None:
        if step.drop is not None:
            x = self.columns[step.netns]
            self.parts.append(self._cross(x, self.y + 4))
            self.y += 18
            self._note(step, [("drop", why(step.drop)), *_causes(step.drop)], "seq-note seq-bad")

    def _note(self, step: Step, said: Iterable[tuple[str, str]], css: str) -> None:
        rows = [(word if first else "", line) for word, text in said for first, line in _firsts(wrapped(text, NOTE_COLUMNS - WORD_COLUMNS))]
        wide = 20 + max(len(line) for _word, line in rows) * SMALL * 0.605 + WORD_COLUMNS * SMALL * 0.605
        high = len(rows) * LINE + 10
        left = min(max(12.0, self.columns[step.netns] - wide / 2), self.right - wide - 12)
        self.parts.append(tag("rect", {"class": css, "x": left, "y": self.y - 4, "width": wide, "height": float(high), "rx": 5}))
        for index, (word, line) in enumerate(rows):
            y = self.y + 11 + index * LINE
            self.parts += [label(left + 10, y, word, "seq-word")] if word else []
            self.parts.append(label(left + 10 + WORD_COLUMNS * SMALL * 0.605, y, line, "seq-said"))
        self.y += high + 14

    def _lines(self, lines: Iterable[str], x: float, y: float, css: str, anchor: str) -> None:
        self.parts += [label(x, y + index * LINE, line, css, anchor) for index, line in enumerate(lines)]

    @staticmethod
    def _cross(x: float, y: float) -> str:
        return tag("path", {"class": "seq-cross", "d": f"M{x - 7:.1f} {y - 7:.1f}l14 14m0 -14l-14 14"})


def _causes(drop: Doc) -> list[tuple[str, str]]:
    said = [("state", line) for line in drop.get("state") or ()]
    return said + ([("tried", remedy(drop))] if remedy(drop) else [])


def _firsts(lines: list[str]) -> list[tuple[bool, str]]:
    return [(index == 0, line) for index, line in enumerate(lines)]
