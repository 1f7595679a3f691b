"""Pieces of SVG and HTML as text, escaped, and how wide text comes out (pure)."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator

MONO_EM, SANS_EM = 0.605, 0.58
"""Width of a character in parts of the font's size: exact for the usual monospaced fonts, generous for others."""


def clean(text: object) -> str:
    """A text without characters that XML forbids or that do not print."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def escaped(text: object) -> str:
    """For the inside of an element and of a quoted attribute."""
    return html.escape(clean(text), quote=True)


def tag(name: str, attributes: dict[str, object] | None = None, *inside: str) -> str:
    """An element; `inside` is markup already. Attributes that are None are left out, numbers are rounded to a tenth."""
    said = "".join(f' {key}="{escaped(_number(value))}"' for key, value in (attributes or {}).items() if value is not None)
    return f"<{name}{said}>{''.join(inside)}</{name}>"


def _number(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def label(x: float, y: float, text: object, css: str = "", anchor: str | None = None) -> str:
    """A line of text in an SVG; `anchor` is start (None), middle or end."""
    return tag("text", {"x": float(x), "y": float(y), "class": css or None, "text-anchor": anchor}, escaped(text))


def width(text: object, size: float, em: float = MONO_EM) -> float:
    """Pixels that a line takes."""
    return len(clean(text)) * size * em


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most so many characters; long words are broken, so that nothing leaves its box."""
    return textwrap.wrap(clean(text), max(8, columns), break_on_hyphens=False) or [""]


def shortened(text: str, columns: int) -> str:
    """A name that fits: its middle is left out where it is too long."""
    text = clean(text)
    if len(text) <= columns:
        return text
    keep = columns - 1
    return text[: keep - keep // 2] + "…" + (text[-(keep // 2):] if keep // 2 else "")


def boxes_overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Do two boxes (left, top, right, bottom) share more than an edge?"""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def numbered(lines: list[str], y: float, step: float) -> Iterator[tuple[float, str]]:
    """Each line with its baseline."""
    for index, line in enumerate(lines):
        yield y + index * step, line
