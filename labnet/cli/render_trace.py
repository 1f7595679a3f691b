"""A trace as files: page, sequence diagrams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from labnet.cli.output import say
from labnet.errors import UsageError

STDOUT = "-"
FACES = ("html", "svg", "mermaid")
Function = Callable[..., Any]

HELP = {
    "html": "Write one page, to open from disk: the packet moves through a picture of the lab, step by step.",
    "svg": "Write a sequence diagram as a picture.",
    "mermaid": "Write a sequence diagram as Mermaid text, which GitHub and GitLab draw.",
}


def face_options(function: Function) -> Function:
    """Give a verb `--html`, `--svg` and `--mermaid`, each with a FILE or - for stdout."""
    for face in reversed(FACES):
        function = click.option(
            f"--{face}", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True), help=f"{HELP[face]} - is stdout.",
        )(function)
    return function


def one_stdout(files: Mapping[str, str | None]) -> bool:
    """Does a face go to stdout, instead of the table? Errors: click's usage error where two would."""
    there = [face for face, file in files.items() if file == STDOUT]
    if len(there) > 1:
        raise click.UsageError(f"only one of --{' and --'.join(there)} can go to stdout", click.get_current_context())
    return bool(there)


def write_faces(files: Mapping[str, str | None], document: Mapping[str, Any], scene: Mapping[str, Any] | None) -> None:
    """Write every face that was asked for. Errors: UsageError when a file cannot be written."""
    for face, file in files.items():
        if file is None:
            continue
        text = _face(face, document, scene)
        if file == STDOUT:
            click.echo(text, nl=not text.endswith("\n"))
            continue
        try:
            Path(file).write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}", "say another file") from error
        say(f"wrote {file}")


def _face(face: str, document: Mapping[str, Any], scene: Mapping[str, Any] | None) -> str:
    """The text of one face. Late imports: a trace for a terminal needs none of them."""
    if face == "html":
        from labnet.trace.render.html import render_html

        return render_html(document, scene)
    if face == "svg":
        from labnet.trace.render.svg import render_svg

        return render_svg(document)
    from labnet.trace.render.mermaid import render_mermaid

    return render_mermaid(document)
