"""Where words go: data to stdout, everything else to stderr; tables plain, or through rich on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from labnet.model.scenario import Caution

_STYLES = {
    "Running": "green", "running": "green", "ok": "green", "Pending": "yellow", "starting": "yellow", "stopping": "yellow",
    "Failed": "red", "dead": "red", "missing": "red",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of text; `title` stands above where a document has several tables."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


def color_wanted(stream: TextIO) -> bool:
    """Colours only on a terminal, and never with NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def warn(cautions: Iterable[Caution]) -> None:
    """What to be careful about, a line each, on stderr."""
    for one in cautions:
        say(f"warning: {one.text}")


def data(text: str) -> None:
    """Data, on stdout."""
    click.echo(text)


def print_document(
    document: Mapping[str, Any], output: str, tables: Callable[[bool], Sequence[Table]] | None = None,
    names: Callable[[], Sequence[str]] | None = None,
) -> None:
    """A document as `-o` asks: json, yaml, name, or its tables (`tables` is told whether wide ones are wanted)."""
    if output == "json":
        data(json_text(document))
    elif output == "yaml":
        data(_yaml_text(document))
    elif output == "name" and names is not None:
        for name in names():
            data(name)
    elif tables is not None:
        print_tables(tables(output == "wide"))


def json_text(document: Mapping[str, Any], indent: int | None = 2) -> str:
    """A document as JSON; `indent` None = in one line."""
    import json  # late, as below: a table needs none of it

    return json.dumps(document, indent=indent, ensure_ascii=False)


def _yaml_text(document: Mapping[str, Any]) -> str:
    import json

    import yaml

    return str(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, allow_unicode=True)).rstrip()


def counted(number: int, word: str) -> str:
    """A number and its word: ``1 node``, ``3 pods``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def print_tables(tables: Sequence[Table]) -> None:
    """Tables one below the other, on stdout."""
    shown = [table for table in tables if table.rows]
    for number, table in enumerate(shown):
        if number:
            data("")
        if table.title:
            data(table.title)
        if sys.stdout.isatty():
            _print_rich(table)
        else:
            data(plain(table))


def plain(table: Table) -> str:
    """A table as aligned text; nothing is cut, no blanks at the ends of lines."""
    widths = [max(len(row[n]) for row in (table.columns, *table.rows)) for n in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (table.columns, *table.rows)]
    return "\n".join(lines)


def _print_rich(table: Table) -> None:
    from rich.console import Console  # late: pipes and scripts need none of it
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns:
        drawn.add_column(column, no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    width = max(len(line) for line in plain(table).splitlines()) + 2  # never cut or folded: addresses are there to be copied
    Console(file=sys.stdout, width=width, highlight=False, no_color=not color_wanted(sys.stdout)).print(drawn)
