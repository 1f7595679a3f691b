"""The verbs that listen: capture and watch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from labnet.cli.output import data, json_text, say
from labnet.cli.session import Session, duration, pass_session, session_options
from labnet.errors import UsageError

if TYPE_CHECKING:
    from labnet.lab.capture_outputs import Output


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    return None if value is None else duration(context, parameter, value)


@click.command("capture", short_help="Listen in the lab: print packets, or write them as pcapng.")
@click.argument("targets", metavar="[TARGET… | all]", nargs=-1)
@click.option("-w", "write", metavar="FILE", help="Write pcapng instead of lines; - is standard output.")
@click.option("--filter", "text", metavar="BPF", default="", help="What the kernel keeps, as tcpdump takes it: 'tcp port 80'.")
@click.option("--interface", metavar="LINK", default="", help="Only interfaces of this name: eth1.")
@click.option("--for", "for_s", metavar="TIME", callback=_duration, help="End after so long: 10s, 2m.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N packets.")
@click.option("--ready-fd", type=click.IntRange(0), metavar="FD", help="Write 'ready' and a newline there once all sockets listen.")
@session_options()
@pass_session
def capture_verb(
    session: Session, targets: tuple[str, ...], write: str | None, text: str, interface: str, for_s: float | None, count: int | None,
    ready_fd: int | None,
) -> int:
    """Listen at TARGETs: nodes, pods, ENIs (eni-…), vpc, igw, internet, an address of the lab, or all, which is meant without any.

    A node or a pod is listened to on all its interfaces, an ENI at the node and at its port in the VPC. A packet is seen once at each
    interface that it passes. "listening in …" on stderr says that every socket listens; --ready-fd tells a program. Ctrl-C, --for
    or --count end it; the summary counts what was captured and what was lost.

    \b
    labnet capture all -w - | wireshark -k -i -
    """
    from labnet.lab.capturing import CaptureOptions

    if for_s is not None and for_s <= 0:
        raise click.BadParameter("a capture lasts longer than nothing", param_hint="--for")
    options = CaptureOptions(targets or ("all",), text, interface, for_s or 0.0, count or 0, -1 if ready_fd is None else ready_fd)
    if write == "-" and stdout_is_terminal():
        raise UsageError("a pcapng stream is nothing for a terminal", "labnet capture … -w - | tshark -i - ; or -w FILE")
    lab = session.the_lab()
    with ExitStack() as stack:
        session.backend.capture(session.run_dir, lab, options, _output(write, stack), say)
    if write is not None and write != "-":
        say(f"wrote {write}")
    return 0


def stdout_is_terminal() -> bool:
    """Would a stream of bytes end on somebody's screen?"""
    return sys.stdout.isatty()


def _output(write: str | None, stack: ExitStack) -> Output:
    from labnet.lab.capture_outputs import Lines, Pcapng

    if write is None:
        return Lines(sys.stdout)

    def opened() -> BinaryIO:
        if write == "-":
            return sys.stdout.buffer
        try:
            return stack.enter_context(Path(write).open("wb"))
        except OSError as error:
            raise UsageError(f"{write}: {error.strerror}", "say another file") from error

    return Pcapng(opened)


@click.command("watch", short_help="Follow the live flows of a pod, through NAT, without a probe.")
@click.argument("pod", metavar="POD")
@click.option("--for", "for_s", metavar="TIME", callback=_duration, help="End after so long: 10s, 2m.")
@click.option("--ready-fd", type=click.IntRange(0), metavar="FD", help="Write 'ready' and a newline there once all sockets listen.")
@session_options("table", "json")
@pass_session
def watch_verb(session: Session, pod: str, for_s: float | None, ready_fd: int | None) -> int:
    """Follow the live flows of POD: a line for each new one, and when it is over the way that its packets took, what NAT made of
    them, packets and bytes, and how it ended: answered, refused, unreachable, answer lost, no answer. Nothing is sent.

    A flow is over when it was closed, or without a packet for 5 s. -o json: one object a line. Ctrl-C or --for end it.
    """
    from labnet.lab.watching import WatchOptions, flow_text

    output = session.format("table", "json")
    if for_s is not None and for_s <= 0:
        raise click.BadParameter("a watch lasts longer than nothing", param_hint="--for")

    def emit(document: Mapping[str, Any]) -> None:
        data(json_text(document, indent=None) if output == "json" else flow_text(document))
        sys.stdout.flush()

    session.backend.watch(session.run_dir, session.the_lab(), WatchOptions(pod, for_s or 0.0, -1 if ready_fd is None else ready_fd), emit, say)
    return 0
