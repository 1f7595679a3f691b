"""The verbs about health: check, repair, doctor."""

from __future__ import annotations

from pathlib import Path

import click

from labnet.cli.output import Table, data, print_document, print_tables, say
from labnet.cli.progress import ProgressLine
from labnet.cli.render_checks import check_lines, junit
from labnet.cli.render_plan import print_plan
from labnet.cli.session import DOCUMENT, Session, complete_scenarios, pass_session, session_options
from labnet.errors import EXIT_UNFIT, EXIT_VERDICT


@click.command("check", short_help="Prove what a scenario promises.")
@click.argument("what", metavar="[LAB|SCENARIO]", required=False, shell_complete=complete_scenarios)
@click.option(
    "--junit", "junit_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write the results as JUnit XML too.",
)
@session_options(*DOCUMENT)
@pass_session
def check_verb(session: Session, what: str | None, junit_file: Path | None) -> int:
    """Run the checks of the running lab, or of a scenario, which is brought up for it and taken down again.

    Exit code 0 when all hold, 3 otherwise.
    """
    output = session.format(*DOCUMENT)
    with ProgressLine() as progress:
        report = session.backend.check(session.run_dir, what, session.lab, progress)
    if junit_file is not None:
        junit_file.write_text(junit(report), encoding="utf-8")
    if output == "table":
        data("\n".join(check_lines(report)))
    else:
        print_document(report, output)
    return EXIT_VERDICT if report["failed"] else 0


@click.command("repair", short_help="Put back what was changed behind the lab's back.")
@session_options(*DOCUMENT)
@pass_session
def repair_verb(session: Session) -> int:
    """Put back what was changed behind the lab's back, and show each change; what nobody planned is left alone.

    `labnet plan` shows the same without doing it.
    """
    output = session.format(*DOCUMENT)
    result = session.backend.call(session.run_dir, session.the_lab(), "repair", {})
    print_plan(result, output, "nothing to repair: the kernel is as planned")
    return 0


@click.command("doctor", short_help="Try what labnet needs of this machine.")
@session_options(*DOCUMENT)
@pass_session
def doctor_verb(session: Session) -> int:
    """Try, one by one, what labnet needs of this machine, and say how to get what is missing. Exit code 4 when it is unfit."""
    output = session.format(*DOCUMENT)
    found = session.backend.probe()
    if output == "table":
        rows = [(item["name"], "ok" if item["ok"] else _lack(item), item["detail"]) for item in found]
        print_tables([Table(("WHAT", "STATE", "DETAIL"), tuple(rows))])
        for item in found:
            if not item["ok"] and item["hint"]:
                say(f"{item['name']}: {item['hint']}")
    else:
        document = {"apiVersion": "labnet/v1", "kind": "Probe", "fit": not any(_unfit(item) for item in found), "probes": found}
        print_document(document, output)
    return EXIT_UNFIT if any(_unfit(item) for item in found) else 0


def _unfit(item: dict[str, object]) -> bool:
    """Is something missing that labnet cannot do without?"""
    return not item["ok"] and bool(item.get("needed", True))


def _lack(item: dict[str, object]) -> str:
    return "missing" if _unfit(item) else "without"
