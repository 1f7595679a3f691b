"""The verbs about labnet itself: version, completion."""

from __future__ import annotations

import os
import sys

import click
from click.shell_completion import get_completion_class

import labnet
from labnet.cli.output import data, print_document
from labnet.cli.session import DOCUMENT, Session, pass_session, session_options


@click.command("version", short_help="Print the version.")
@session_options(*DOCUMENT)
@pass_session
def version_verb(session: Session) -> int:
    """Print the version; -o json tells Python's and the kernel's too."""
    output = session.format(*DOCUMENT)
    if output == "table":
        data(f"labnet {labnet.__version__}")
        return 0
    system = os.uname()
    document = {
        "apiVersion": "labnet/v1", "kind": "Version", "version": labnet.__version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]), "kernel": f"{system.sysname} {system.release}",
    }
    print_document(document, output)
    return 0


@click.command("completion", short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_verb(context: click.Context, shell: str) -> int:
    """Print a completion script for a shell.

    \b
    bash:  eval "$(labnet completion bash)"
    zsh:   eval "$(labnet completion zsh)"
    fish:  labnet completion fish | source
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows these three"
    root = context.find_root()
    data(made(root.command, {}, "labnet", "_LABNET_COMPLETE").source())
    return 0
