"""What every verb knows: where labs live, which lab is meant, how to print; and the options that set it, shared by all verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from labnet.cli.backend import Backend, LabBackend

FORMATS = ("table", "wide", "json", "yaml", "name")
DOCUMENT = ("table", "json", "yaml")
"""The formats of what has neither wide tables nor names."""
DEFAULT_RUN_DIR = "/run/labnet"
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """One command: `output` is what `-o` said, None where it was not given."""

    backend: Backend = field(default_factory=LabBackend)
    run_dir: Path = Path(DEFAULT_RUN_DIR)
    lab: str | None = None
    output: str | None = None
    debug: bool = False

    def the_lab(self) -> str:
        """The lab that is meant. Errors: NotFoundError, UsageError."""
        return self.backend.resolve(self.run_dir, self.lab)

    def format(self, *known: str) -> str:
        """The format to print in, one of `known`, the first where none was asked for. Errors: click's usage error."""
        if self.output is None:
            return known[0]
        if self.output not in known:
            raise click.UsageError(f"-o {self.output} is not there for this verb; it prints {', '.join(known)}", click.get_current_context())
        return self.output


pass_session = click.make_pass_decorator(Session, ensure=True)


def session_options(*formats: str) -> Callable[[Function], Function]:
    """Give a verb `--lab`, `--debug` and, where it prints `formats`, `-o`: they may stand before or behind its name."""

    def decorate(function: Function) -> Function:
        function = _debug_option(function)
        if formats:
            function = click.option(
                "-o", "--output", "_output", type=click.Choice(formats), expose_value=False, callback=_remember("output"), help="How to print.",
            )(function)
        return _lab_option(function)

    return decorate


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        if value is not None and value is not False:
            setattr(context.ensure_object(Session), name, value)
        return value

    return callback


def _lab_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    session = context.find_object(Session) or Session()
    return [str(lab["name"]) for lab in session.backend.labs(session.run_dir) if str(lab["name"]).startswith(incomplete)]


def _scenario_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    session = context.find_object(Session) or Session()
    names: list[Any] = [item.name for item in session.backend.built_ins() if item.name.startswith(incomplete)]
    return [click.shell_completion.CompletionItem(name) for name in names] or [click.shell_completion.CompletionItem(incomplete, type="file")]


def _action_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    session = context.find_object(Session) or Session()
    return [name for name in session.backend.ec2_actions() if name.lower().startswith(incomplete.lower())]


def _type_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    session = context.find_object(Session) or Session()
    return [name for name in session.backend.instance_types() if name.startswith(incomplete.lower())]


_lab_option = click.option(
    "-l", "--lab", "_lab", metavar="NAME", expose_value=False, callback=_remember("lab"), shell_complete=_lab_names,
    help="Which lab; needed where several run. Also LABNET_LAB.",
)
_debug_option = click.option(
    "--debug", "_debug", is_flag=True, expose_value=False, callback=_remember("debug"), help="Show a traceback when something fails.",
)

complete_labs = _lab_names
complete_scenarios = _scenario_names
complete_actions = _action_names
complete_types = _type_names


def duration(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """An option's callback: a length of time as 90s, 2m, 1h30m, 500ms or a bare number of seconds → seconds."""
    from labnet.model.durations import seconds_of  # late: most verbs know no duration

    try:
        return seconds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


SMALLEST, LARGEST = 64, 65_535
size_option = click.option(
    "--size", metavar="BYTES", type=click.IntRange(SMALLEST, LARGEST),
    help="How long the packet is, from the IP header on; it may not be cut (icmp, udp).",
)
