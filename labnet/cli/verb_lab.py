"""The verbs that make, list, enter and end labs: up, down, ls, exec, env."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from labnet.cli.output import Table, counted, data, print_document, say
from labnet.cli.progress import ProgressLine
from labnet.cli.render_plan import print_plan
from labnet.cli.render_status import env_text, status_names, status_tables
from labnet.cli.session import DOCUMENT, FORMATS, Session, complete_labs, complete_scenarios, duration, pass_session, session_options
from labnet.errors import NotFoundError

FOREGROUND_PID = 1
"""As the first process of a container `up` stays, or the container would end."""


@click.command("up", short_help="Bring a lab up, or make a running one what its scenario says.")
@click.argument("scenario", shell_complete=complete_scenarios)
@click.option("--name", metavar="LAB", help="Name of the lab, instead of the scenario's own.")
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Replace a value: --set nodes.node1.instanceType=m5.large")
@click.option("--dry-run", is_flag=True, help="Print what would be made, and make nothing.")
@click.option(
    "--timeout", "timeout_s", default="120s", show_default=True, metavar="TIME", callback=duration, help="How long pods may take to run.",
)
@click.option("--wait", is_flag=True, help="Stay in the foreground; Ctrl-C takes the lab down.")
@session_options(*FORMATS)
@pass_session
def up_verb(session: Session, scenario: str, name: str | None, sets: tuple[str, ...], dry_run: bool, timeout_s: float, wait: bool) -> int:
    """Bring up the lab that SCENARIO describes: a file, a built-in name or - for standard input.

    Every node, ENI and pod is real on this machine when it returns. On a running lab it makes true what the scenario says;
    twice is a no-op. The status goes to stdout when -o asks for it.
    """
    output = session.format(*FORMATS)
    lab = name or session.lab
    if dry_run:
        print_plan(session.backend.plan(session.backend.load(scenario, sets), session.run_dir, lab), session.format(*DOCUMENT))
        return 0
    session.backend.prepare_up(session.run_dir)
    session.backend.check_machine()  # first: who lacks a program shall not wait for the scenario to be read
    began_s = time.monotonic()
    with ProgressLine() as progress:
        again = session.backend.up_again(scenario, sets, session.run_dir, lab, timeout_s, progress)
    if again is not None:
        status, cautions = again
        _warn(scenario, [(one["field"], one["message"]) for one in cautions])
    else:
        found = session.backend.load(scenario, sets)
        _warn(scenario, [(one.field, one.message) for one in found.cautions])
        with ProgressLine() as progress:
            status = session.backend.up(found, session.run_dir, lab, timeout_s, progress)
    say(_summary(status, time.monotonic() - began_s))
    if status.get("changedEnv"):
        say(f"aws-node keeps what 'labnet set env' made it: {env_text(status['changedEnv'])}; the scenario says otherwise")
    if session.output is not None:
        print_document(status, output, lambda wide: status_tables(status, wide), lambda: status_names(status))
    if wait or os.getpid() == FOREGROUND_PID:
        say("Ctrl-C takes it down")
        with ProgressLine() as progress:
            session.backend.hold(status, session.run_dir, progress)
        say(f"lab {status['lab']} is down")
    return 0


def _warn(scenario: str, cautions: Sequence[tuple[str, str]]) -> None:
    """Where warnings stand and their first words, all on one line."""
    if cautions:
        short = "; ".join(f"{field}: {message.partition(',')[0].partition(':')[0]}" for field, message in cautions)
        say(f"{counted(len(cautions), 'warning')}; 'labnet validate {scenario}' says which: {short}")


def _summary(status: Mapping[str, Any], took_s: float) -> str:
    pods = status["pods"]
    running = sum(pod["phase"] == "Running" for pod in pods)
    waiting = f" ({len(pods) - running} not running)" if running < len(pods) else ""
    return f"lab {status['lab']} is up: {counted(len(status['nodes']), 'node')}, {counted(len(pods), 'pod')}{waiting} in {took_s:.1f} s"


@click.command("down", short_help="Take a lab down; nothing of it stays on the machine.")
@click.argument("labs", nargs=-1, metavar="[LAB]...", shell_complete=complete_labs)
@click.option("--all", "every", is_flag=True, help="Take down every lab.")
@session_options("table", "name")
@pass_session
def down_verb(session: Session, labs: tuple[str, ...], every: bool) -> int:
    """Take labs down: those named, or the only one that runs. Returns when the kernel has let go of everything.

    What is not there is down already: twice is fine.
    """
    if labs and every:
        raise click.UsageError("--all stands beside names", click.get_current_context())
    output = session.format("table", "name")
    given = labs or ((session.lab,) if session.lab and not every else ())
    try:
        wanted = session.backend.find_labs(session.run_dir, given, every)
    except NotFoundError as error:
        say(f"nothing to do: {error.message}" + (f" ({error.hint})" if given else ""))
        return 0
    with ProgressLine() as progress:
        gone = session.backend.down(wanted, session.run_dir, progress)
    for lab in gone:
        if output == "name":
            data(f"lab/{lab}")
        else:
            say(f"lab {lab} is down")
    if not gone:
        say("nothing to do: no lab is running")
    return 0


@click.command("ls", short_help="List the labs of this machine.")
@session_options(*FORMATS)
@pass_session
def ls_verb(session: Session) -> int:
    """List the labs of this machine; `dead` is one whose process has ended: `up` brings it back, `down` removes it."""
    output = session.format(*FORMATS)
    labs = session.backend.labs(session.run_dir)
    document = {"apiVersion": "labnet/v1", "kind": "LabList", "labs": labs}
    if not labs and output in ("table", "wide"):
        say("no lab is running; 'labnet up eks-2node' makes one")
    print_document(document, output, lambda wide: [_labs(labs, wide)], lambda: [f"lab/{lab['name']}" for lab in labs])
    return 0


def _labs(labs: list[dict[str, Any]], wide: bool) -> Table:
    columns = ("LAB", "STATE", "NODES", "PODS", "AGE", "SCENARIO", *(("PID",) if wide else ()))
    rows = [
        (
            str(lab["name"]), str(lab["state"]), str(lab["nodes"]), str(lab["pods"]), age(time.time() - lab["started"]), str(lab["scenario"]),
            *((str(lab["pid"]),) if wide else ()),
        )
        for lab in labs
    ]
    return Table(columns, tuple(rows))


def age(seconds: float) -> str:
    """A length of time as kubectl prints it: 42s, 5m, 3h, 2d."""
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{letter}"
    return f"{max(0, int(seconds))}s"


@click.command(
    "exec", short_help="Run a program on a node or in a pod.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@session_options()
@click.argument("target")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@pass_session
def exec_verb(session: Session, target: str, command: tuple[str, ...]) -> int:
    """Run COMMAND on a node or in a pod, with its network, host name and files: labnet exec node1 -- ip rule

    The exit code is the program's own.
    """
    words = command[1:] if command[0] == "--" else command
    if words and words[0].startswith("-"):
        raise click.UsageError(f"{words[0]} stands behind TARGET; labnet's own options stand before it", click.get_current_context())
    if not words:
        raise click.UsageError("no command", click.get_current_context())
    return session.backend.exec_in_target(session.run_dir, session.the_lab(), target, words)


@click.command("env", short_help="Print the variables that point boto3 and the AWS CLI at the lab.")
@click.option("--inside", is_flag=True, help="For programs inside nodes and pods.")
@session_options(*DOCUMENT)
@pass_session
def env_verb(session: Session, inside: bool) -> int:
    """Print export lines for a shell: eval "$(labnet env)" points boto3 and the AWS CLI at the lab."""
    output = session.format(*DOCUMENT)
    result = session.backend.call(session.run_dir, session.the_lab(), "env", {"inside": inside})
    if output != "table":
        print_document({"apiVersion": "labnet/v1", "kind": "Environment", **result}, output)
        return 0
    for name, value in result["env"].items():
        data(f"export {name}={shlex.quote(str(value))}")
    if result.get("unset"):
        data(f"unset {' '.join(result['unset'])}")
    return 0
