"""The verbs about the daemons of a running lab: set, logs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from labnet.cli.groups import SubVerbs
from labnet.cli.output import counted, data, print_document, say
from labnet.cli.progress import ProgressLine
from labnet.cli.session import DOCUMENT, Session, duration, pass_session, session_options

KINDS = ("daemonset", "daemonsets", "ds", "daemonset.apps", "daemonsets.apps")
NAME = "aws-node"
NAMESPACE = "kube-system"
POLL_S = 0.2


@click.group("set", cls=SubVerbs, short_help="Change the settings of a running lab.")
@session_options()
def set_verb() -> None:
    """Change the settings of a running lab."""


@set_verb.command("env", short_help="Change the environment of aws-node, which rolls.")
@click.argument("words", nargs=-1, required=True, metavar="aws-node [NAME=VALUE]... [NAME-]...")
@click.option("--list", "listed", is_flag=True, help="Print the variables that are set, and change nothing.")
@click.option("-n", "--namespace", metavar="NAME", default=NAMESPACE, show_default=True, help="As kubectl has it; there is no other.")
@click.option("--timeout", "timeout_s", default="120s", show_default=True, metavar="TIME", callback=duration, help="How long that may take.")
@session_options(*DOCUMENT)
@pass_session
def env_verb(session: Session, words: tuple[str, ...], listed: bool, namespace: str, timeout_s: float) -> int:
    """Change the environment of the daemon set, as 'kubectl set env' does: labnet set env aws-node WARM_IP_TARGET=5 MAX_ENI-

    Every node's ipamd ends and starts with the new settings, a tenth of the nodes at a time; pods stay. NAME- takes a variable
    away: the value of the shipped manifest counts again. A value that would keep ipamd from starting is refused, and nothing changes.
    """
    output = session.format(*DOCUMENT)
    if namespace != NAMESPACE:
        raise click.UsageError(f"there is no daemon set in namespace {namespace}; aws-node is in {NAMESPACE}", click.get_current_context())
    sets, removals = _changes(_without_target(words))
    if listed and (sets or removals):
        raise click.UsageError("--list stands beside changes", click.get_current_context())
    if not listed and not sets and not removals:
        raise click.UsageError("what shall change? NAME=VALUE sets, NAME- takes away, --list shows", click.get_current_context())
    args = {"set": sets, "remove": removals, "list": listed, "timeout": timeout_s}
    from labnet.lab.progress import progress_of  # late, as all of labnet.lab

    with ProgressLine() as progress:
        result = session.backend.call(
            session.run_dir, session.the_lab(), "set-env", args, lambda event: progress(progress_of(event)),
        )
    if output != "table":
        print_document(result, output)
    elif listed:
        for name, value in sorted(result["env"].items()):
            data(f"{name}={value}")
    elif not result["nodes"]:
        say("nothing to do: aws-node runs with these settings")
    else:
        say(f"daemonset aws-node: env updated, {counted(result['nodes'], 'node')} rolled")
    return 0


def _without_target(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words behind `aws-node`, ``ds/aws-node`` or ``ds aws-node``."""
    first, slash, name = words[0].partition("/")
    if slash and first in KINDS and name == NAME:
        return words[1:]
    if words[0] in KINDS and words[1:2] == (NAME,):
        return words[2:]
    if words[0] == NAME:
        return words[1:]
    raise click.UsageError(f"{words[0]} is no daemon set of the lab; aws-node is", click.get_current_context())


def _changes(words: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    sets: dict[str, str] = {}
    removals: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name:
            sets[name] = value
        elif word.endswith("-") and len(word) > 1:
            removals.append(word[:-1])
        else:
            raise click.UsageError(f"{word!r} changes nothing; NAME=VALUE sets, NAME- takes away", click.get_current_context())
    return sets, removals


@click.command("logs", short_help="Print the log of a node's ipamd, or of a pod.")
@click.argument("target")
@click.option("--plugin", is_flag=True, help="The node's CNI plugin instead of its ipamd.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what comes.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@session_options()
@pass_session
def logs_verb(session: Session, target: str, plugin: bool, follow: bool, tail: int | None) -> int:
    """Print a log: of a node its ipamd's (ipamd.log), with --plugin its CNI plugin's (plugin.log); of a pod what its programs print.

    The same files stand in the node's own view below /var/log/aws-routed-eni.
    """
    found = session.backend.call(session.run_dir, session.the_lab(), "logs", {"target": target, "plugin": plugin})
    _print(Path(found["path"]), tail, follow)
    return 0


def _print(path: Path, tail: int | None, follow: bool) -> None:
    """A file's text, and with `follow` what is added until the file goes; what was put aside is followed into the new file."""
    while not path.exists():
        if not follow:
            return  # nothing has been said yet
        time.sleep(POLL_S)
    with path.open("rb") as stream:
        lines = stream.readlines()
        skipped = 0 if tail is None else max(len(lines) - tail, 0)
        _out(b"".join(lines[skipped:]))
        while follow and _is_same(path, stream.fileno()):
            _out(stream.read())
            time.sleep(POLL_S)
        _out(stream.read())
    if follow and path.exists():
        _print(path, None, follow)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _out(text: bytes) -> None:
    if text:
        sys.stdout.write(text.decode(errors="replace"))
        sys.stdout.flush()
