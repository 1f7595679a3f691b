"""`labnet fault`: EC2 calls that fail or are denied on purpose, zones that fail, loss and latency between zones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from labnet.cli.groups import SubVerbs
from labnet.cli.output import Table, counted, data, print_document, say
from labnet.cli.render_ec2 import fault_tables, fault_text, zone_fault_tables, zone_fault_text
from labnet.cli.session import FORMATS, Session, complete_actions, duration, pass_session, session_options


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    return None if value is None else duration(context, parameter, value)


def _milliseconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Milliseconds with a fraction, or a length of time as elsewhere."""
    if value is not None and value.endswith("ms") and value[:-2].replace(".", "", 1).isdigit():
        return float(value[:-2])
    return None if value is None else duration(context, parameter, value) * 1000


def _percent(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else float(value.removesuffix("%"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no share of packets: 5%, 0.1%", context, parameter) from None


@click.group("fault", cls=SubVerbs, short_help="Make EC2 calls or availability zones fail, on purpose.")
@session_options()
def fault_verb() -> None:
    """Make calls of a lab's EC2 API fail or deny them, let a zone fail, or lose packets between zones, to see what programs do then."""


@fault_verb.command("api", short_help="Make calls of an action fail.")
@click.argument("action", shell_complete=complete_actions)
@click.option("--code", required=True, metavar="CODE", help="The error code: RequestLimitExceeded, InsufficientCidrBlocks, …")
@click.option("--message", metavar="TEXT", help="The text; without it what EC2 says with that code.")
@click.option("--status", type=click.IntRange(400, 599), help="The HTTP status; without it EC2's own.")
@click.option("--times", type=click.IntRange(1), metavar="N", help="Only the first N calls.")
@click.option("--rate", type=float, metavar="SHARE", help="Only that share of the calls, such as 0.3, by a seeded chance.")
@click.option("--for", "for_s", metavar="TIME", callback=_duration, help="Only for so long: 60s, 2m.")
@click.option("--node", metavar="NODE", help="Only calls of this node's ipamd.")
@session_options(*FORMATS)
@pass_session
def api_verb(
    session: Session, action: str, code: str, message: str | None, status: int | None, times: int | None, rate: float | None,
    for_s: float | None, node: str | None,
) -> int:
    """Make calls of ACTION fail with CODE; * in ACTION stands for any letters. --times, --rate and --for hold together.

    AWS SDKs, and so ipamd, try throttled calls and server faults (5xx) three times before anybody hears of it.
    """
    args = {
        "action": action, "code": code, "message": message, "status": status, "times": times, "rate": rate, "for": for_s, "node": node,
    }
    return _made(session, "fault-api", args)


@fault_verb.command("deny", short_help="Deny an action, as IAM does.")
@click.argument("action", shell_complete=complete_actions)
@click.option("--node", metavar="NODE", help="Only to this node's ipamd.")
@session_options(*FORMATS)
@pass_session
def deny_verb(session: Session, action: str, node: str | None) -> int:
    """Answer calls of ACTION with UnauthorizedOperation, as if an IAM policy denied it; * in ACTION stands for any letters."""
    return _made(session, "fault-deny", {"action": action, "node": node})


def _made(session: Session, verb: str, args: Mapping[str, Any]) -> int:
    output = session.format(*FORMATS)
    fault = session.backend.call(session.run_dir, session.the_lab(), verb, args)
    if session.output is not None:
        print_document(fault, output, lambda _wide: fault_tables([fault]), lambda: [fault["id"]])
    else:
        say(f"{fault['id']}: {fault_text(fault)}; 'labnet fault clear {fault['id']}' takes it back")
    return 0


@fault_verb.command("zone", short_help="Let an availability zone fail.")
@click.argument("zone")
@session_options(*FORMATS)
@pass_session
def zone_verb(session: Session, zone: str) -> int:
    """Let ZONE fail: no packet enters or leaves any ENI or NAT gateway in it, and EC2 launches nothing there, until it is cleared.

    Nodes and pods keep running, and calls of the EC2 API are answered.
    """
    return _set_for_zones(session, "fault-zone", {"zone": zone})


@fault_verb.command("link", short_help="Lose and delay packets between availability zones.")
@click.option("--between", nargs=2, metavar="ZONE ZONE", help="The two zones; without it any two that have nothing of their own.")
@click.option("--rtt", metavar="TIME", callback=_milliseconds, help="So much longer a round trip takes, half of it each way: 20ms, 1.5ms.")
@click.option("--loss", metavar="PERCENT", callback=_percent, help="So many of a hundred packets are lost: 5%, 0.1%.")
@session_options(*FORMATS)
@pass_session
def link_verb(session: Session, between: tuple[str, str] | None, rtt: float | None, loss: float | None) -> int:
    """Set what packets meet between two zones of a VPC, in both directions, in place of what was set for them.

    Once it is cleared nothing is set for them, until the next `labnet up` of a scenario that says something.
    """
    return _set_for_zones(session, "fault-link", {"between": list(between or ()), "roundTripMs": rtt, "lossPercent": loss})


def _set_for_zones(session: Session, verb: str, args: Mapping[str, Any]) -> int:
    output = session.format(*FORMATS)
    made = session.backend.call(session.run_dir, session.the_lab(), verb, args)
    if session.output is not None:
        print_document(made, output, lambda _wide: zone_fault_tables([made]), lambda: [made["id"]])
    else:
        say(f"{zone_fault_text(made)}; 'labnet fault clear {made['id']}' takes it back")
    return 0


@fault_verb.command("list", short_help="List faults and denials.")
@session_options(*FORMATS)
@pass_session
def list_verb(session: Session) -> int:
    """List faults and denials with how often each one struck, and what is set for zones."""
    output = session.format(*FORMATS)
    result = session.backend.call(session.run_dir, session.the_lab(), "fault-list", {})
    every = [*result["faults"], *result.get("zones", ())]
    tables: list[Table] = [*fault_tables(result["faults"]), *zone_fault_tables(result.get("zones", ()))]
    print_document(result, output, lambda _wide: tables, lambda: [item["id"] for item in every])
    if not every and output in ("table", "wide"):
        say("no fault is set")
    return 0


@fault_verb.command("clear", short_help="Take faults and denials back.")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All of them.")
@session_options("table", "name", "json", "yaml")
@pass_session
def clear_verb(session: Session, ids: tuple[str, ...], every: bool) -> int:
    """Take faults and denials back, by the ids that `labnet fault list` shows, or all."""
    output = session.format("table", "name", "json", "yaml")
    if every and ids:
        raise click.UsageError("--all stands beside ids", click.get_current_context())
    if not every and not ids:
        raise click.UsageError("which fault? give its id, or --all", click.get_current_context())
    result = session.backend.call(session.run_dir, session.the_lab(), "fault-clear", {"ids": list(ids), "all": every})
    if output == "table":
        say(f"{counted(len(result['cleared']), 'fault')} taken back" + (f": {', '.join(result['cleared'])}" if result["cleared"] else ""))
    elif output == "name":
        for one in result["cleared"]:
            data(one)
    else:
        print_document(result, output)
    return 0
