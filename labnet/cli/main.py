"""`labnet`: the group of verbs, and the one place that prints errors and sets exit codes.

A verb's module is imported when the verb runs; the table below is all that `labnet --help` needs.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from labnet.cli.groups import check_known
from labnet.cli.output import color_wanted
from labnet.cli.session import FORMATS, Session, session_options
from labnet.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, LabnetError

VERBS: dict[str, tuple[str, str, str]] = {
    "up": ("Labs", "lab", "Bring a lab up, or make a running one what its scenario says."),
    "down": ("Labs", "lab", "Take a lab down; nothing of it stays on the machine."),
    "ls": ("Labs", "lab", "List the labs of this machine."),
    "status": ("Labs", "look", "Show nodes with their ENIs, and pods with their addresses."),
    "get": ("Labs", "get", "Print Kubernetes objects of a lab: pods, nodes, ENIConfigs."),
    "exec": ("Labs", "lab", "Run a program on a node or in a pod."),
    "set": ("Labs", "set", "Change the settings of a running lab."),
    "logs": ("Labs", "set", "Print the log of a node's ipamd, or of a pod."),
    "env": ("Labs", "lab", "Print the variables that point boto3 and the AWS CLI at the lab."),
    "ec2": ("AWS", "ec2", "Show the EC2 API's calls, subnets, throttling and coverage."),
    "fault": ("AWS", "fault", "Make EC2 calls or availability zones fail, on purpose."),
    "trace": ("Packets", "look", "Send one packet and show every hop that it takes."),
    "capture": ("Packets", "capture", "Listen in the lab: print packets, or write them as pcapng."),
    "watch": ("Packets", "capture", "Follow the live flows of a pod, through NAT, without a probe."),
    "explain": ("Packets", "explain", "Say whether A reaches B, and what stops it, without a packet."),
    "check": ("Packets", "health", "Prove what a scenario promises."),
    "events": ("Packets", "look", "Show what happened in the lab."),
    "plan": ("Plans", "look", "Show what would be changed, as ip and iptables would print it."),
    "repair": ("Plans", "health", "Put back what was changed behind the lab's back."),
    "capacity": ("Plans", "capacity", "Count the pods of an instance type, and the nodes of a subnet."),
    "scenarios": ("Scenarios", "scenario", "List the scenarios that come with labnet, or show one."),
    "validate": ("Scenarios", "scenario", "Check a scenario file without running it."),
    "schema": ("Scenarios", "scenario", "Print the JSON Schema of scenario files."),
    "doctor": ("This machine", "health", "Try what labnet needs of this machine."),
    "version": ("This machine", "about", "Print the version."),
    "completion": ("This machine", "about", "Print a completion script for a shell."),
}
"""Verb → section of the help, module below `labnet.cli`, one line of help."""


class VerbGroup(click.Group):
    """A group whose verbs are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name: ``labnet.cli.verb_<module>.<verb>``."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"labnet.cli.verb_{VERBS[cmd_name][1]}")
        command: click.Command = getattr(module, f"{cmd_name}_verb")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb of the first word. Errors: a usage error with the nearest verb."""
        check_known(ctx, args, VERBS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs by section."""
        for section in dict.fromkeys(section for section, _module, _help in VERBS.values()):
            with formatter.section(section):
                formatter.write_dl([(verb, text) for verb, (home, _module, text) in VERBS.items() if home == section])


@click.group(
    cls=VerbGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: sudo labnet up eks-2node",
)
@session_options(*FORMATS)
@click.option(
    "--run-dir", metavar="DIR", envvar="LABNET_RUN_DIR", type=click.Path(path_type=Path),
    help="Where labs keep their state. Also LABNET_RUN_DIR.",
)
@click.version_option(package_name="labnet", message="labnet %(version)s")
@click.pass_context
def cli(context: click.Context, run_dir: Path | None) -> int:
    """AWS container networking on one Linux machine: real packets, no AWS account."""
    session = context.ensure_object(Session)
    session.lab = session.lab or os.environ.get("LABNET_LAB") or None
    session.run_dir = (run_dir or session.run_dir).absolute()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


def main(argv: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run one command; returns the exit code. `session` is replaced in tests."""
    words = list(sys.argv[1:] if argv is None else argv)
    used = session or Session()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an arrow must not fail where the locale knows ASCII only
    try:
        code = cli.main(args=words, prog_name="labnet", standalone_mode=False, obj=used)
    except LabnetError as error:
        code = _report(used, error, error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        code = _report(used, error, *_usage(error), EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt) as error:
        code = _report(used, error, "interrupted", "", EXIT_INTERRUPTED)
    except BrokenPipeError:
        code = _close_quietly()
    except Exception as error:  # noqa: BLE001 - the last place: a fault of ours still gets two lines and an exit code
        hint = "a fault of labnet: run it again with --debug and report what it prints"
        code = _report(used, error, f"{type(error).__name__}: {error}", hint, EXIT_FAILED)
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> tuple[str, str]:
    context = getattr(error, "ctx", None)
    message = error.format_message().strip().rstrip(".")
    return message[:1].lower() + message[1:], f"'{context.command_path if context else 'labnet'} --help' shows how it goes"


def _report(session: Session, error: BaseException, message: str, hint: str, code: int) -> int:
    if session.debug:
        import traceback  # late: only a fault needs it

        traceback.print_exception(error)
    try:
        for word, text, color in (("error", message, "31;1"), ("hint", hint, "36")):
            if text:
                shown = f"\x1b[{color}m{word}:\x1b[0m" if color_wanted(sys.stderr) else f"{word}:"
                sys.stderr.write(f"{shown} {text}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        pass  # nobody reads: the exit code says it
    return code


def _close_quietly() -> int:
    """Whoever read our output has gone: no message, and none when Python flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return EXIT_FAILED
