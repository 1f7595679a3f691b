"""The verbs about scenario files: scenarios, validate, schema. None of them needs root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from labnet.cli.output import Table, counted, data, json_text, print_document, say, warn
from labnet.cli.session import DOCUMENT, FORMATS, Session, complete_scenarios, pass_session, session_options
from labnet.errors import ScenarioError


@click.group("scenarios", invoke_without_command=True, short_help="List the scenarios that come with labnet, or show one.")
@session_options(*FORMATS)
@click.pass_context
def scenarios_verb(context: click.Context) -> int:
    """List the scenarios that come with labnet; `scenarios show NAME` prints one, to learn from or to copy."""
    session = context.ensure_object(Session)
    if context.invoked_subcommand is None:
        _list(session)
    return 0


@scenarios_verb.command("list", short_help="List them.")
@session_options(*FORMATS)
@pass_session
def scenarios_list(session: Session) -> int:
    """List the scenarios that come with labnet."""
    _list(session)
    return 0


@scenarios_verb.command("show", short_help="Print one.")
@click.argument("name", shell_complete=complete_scenarios)
@pass_session
def scenarios_show(session: Session, name: str) -> int:
    """Print a scenario, comments and all."""
    click.echo(session.backend.scenario_text(name), nl=False)
    return 0


def _list(session: Session) -> None:
    output = session.format(*FORMATS)
    found = session.backend.built_ins()
    items = [{"name": item.name, "description": item.description, "path": str(item.path)} for item in found]
    document = {"apiVersion": "labnet/v1", "kind": "ScenarioList", "scenarios": items}

    def tables(wide: bool) -> list[Table]:
        columns = ("NAME", "DESCRIPTION", "PATH") if wide else ("NAME", "DESCRIPTION")
        rows = [(item["name"], item["description"], item["path"])[: len(columns)] for item in items]
        return [Table(columns, tuple(rows))]

    print_document(document, output, tables, lambda: [item["name"] for item in items])


@click.command("validate", short_help="Check a scenario file without running it.")
@click.argument("scenario", shell_complete=complete_scenarios)
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Replace a value, as `up --set` does.")
@session_options(*DOCUMENT)
@pass_session
def validate_verb(session: Session, scenario: str, sets: tuple[str, ...]) -> int:
    """Check SCENARIO, a file, a built-in name or - for standard input, and list everything that is wrong with it.

    What works but is against the advice of AWS is a warning: exit code 0.
    """
    output = session.format(*DOCUMENT)
    try:
        found = session.backend.load(scenario, sets)
    except ScenarioError as error:
        if output == "table":
            raise
        print_document(_verdict(scenario, [_problem(item) for item in getattr(error, "problems", ())] or [_whole(error)]), output)
        return error.exit_code
    if output == "table":
        counts = (counted(len(found.nodes), "node"), counted(len(found.pods), "pod"), counted(len(found.checks), "check"))
        say(f"{scenario} is valid: {', '.join(counts)}")
    else:
        print_document(_verdict(scenario, [], [asdict(one) for one in found.cautions]), output)
    warn(found.cautions)
    return 0


def _verdict(scenario: str, problems: list[dict[str, Any]], warnings: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "apiVersion": "labnet/v1", "kind": "Validation", "scenario": scenario, "valid": not problems, "problems": problems,
        "warnings": list(warnings),
    }


def _problem(problem: Any) -> dict[str, Any]:
    return {
        "file": problem.place.file, "line": problem.place.line, "field": problem.field, "message": problem.message, "hint": problem.hint,
    }


def _whole(error: ScenarioError) -> dict[str, Any]:
    return {"file": error.file, "line": error.line, "field": error.field, "message": error.message, "hint": error.hint}


@click.command("schema", short_help="Print the JSON Schema of scenario files.")
@session_options("json")
@pass_session
def schema_verb(session: Session) -> int:
    """Print the JSON Schema of scenario files, for editors: labnet schema > labnet.schema.json."""
    session.format("json")
    data(json_text(session.backend.schema()))
    return 0
