"""`labnet ec2`: what the EC2 API of a lab was asked, how full its subnets are, how it is throttled, and what it can do."""

from __future__ import annotations

import click

from labnet.cli.groups import SubVerbs
from labnet.cli.output import counted, data, print_document, say
from labnet.cli.render_ec2 import bucket_tables, call_tables, coverage_tables, subnet_maps, subnet_tables, sum_tables
from labnet.cli.session import DOCUMENT, FORMATS, Session, complete_actions, pass_session, session_options

WIDE = ("table", "wide", "json", "yaml")
LAST = 50


@click.group("ec2", cls=SubVerbs, short_help="Show the EC2 API's calls, subnets, throttling and coverage.")
@session_options()
def ec2_verb() -> None:
    """Look at the EC2 API of a lab: who called it and what came of it, its subnets, its throttling, what it can do."""


@ec2_verb.command("calls", short_help="List the calls that were made.")
@click.option("--by", type=click.Choice(["action", "node"]), help="Sum up, for each action or each caller.")
@click.option("--last", type=click.IntRange(0), help=f"The last N calls; {LAST} for a table, all for json and yaml and --by. 0 is all.")
@click.option("--action", metavar="ACTION", shell_complete=complete_actions, help="Only this action; * stands for any letters.")
@click.option("--node", metavar="CALLER", help="Only this caller: a node, an access key, or labnet.")
@click.option("--errors", is_flag=True, help="Only calls that were refused.")
@session_options(*WIDE)
@pass_session
def calls_verb(session: Session, by: str | None, last: int | None, action: str | None, node: str | None, errors: bool) -> int:
    """List the calls of the EC2 API, oldest first: when, by whom, what, with what result, how long it took.

    A caller is a node (its ipamd), an access key (a program on the wire), or labnet (`up` itself).
    """
    output = session.format(*WIDE)
    if last is None:
        last = LAST if output in ("table", "wide") and by is None else 0
    args = {"by": by, "last": last, "action": action, "caller": node, "errors": errors}
    result = session.backend.call(session.run_dir, session.the_lab(), "ec2-calls", args)
    print_document(result, output, lambda wide: sum_tables(result) if by else call_tables(result, wide))
    if output in ("table", "wide") and not by:
        shown = len(result["calls"])
        if not shown:
            say("no such call was made")
        elif shown < result["total"]:
            say(f"the last {shown} of {counted(result['total'], 'call')}; --last 0 shows all")
    return 0


@ec2_verb.command("subnets", short_help="Show how full each subnet is.")
@click.option("--map", "draw", is_flag=True, help="Draw addresses and /28 blocks.")
@session_options(*FORMATS)
@pass_session
def subnets_verb(session: Session, draw: bool) -> int:
    """Show how full each subnet is: addresses used and free, whole /28 blocks free. Warns when the next prefix will fail.

    --map draws each subnet: a cell is a /28 block, or an address in a /26 and smaller.
    """
    output = session.format(*FORMATS)
    result = session.backend.call(session.run_dir, session.the_lab(), "ec2-subnets", {"blocks": draw})
    if draw and output in ("table", "wide"):
        data("\n".join(subnet_maps(result)))
    else:
        print_document(result, output, lambda wide: subnet_tables(result, wide), lambda: [item["id"] for item in result["subnets"]])
    if output in ("table", "wide"):
        for item in result["subnets"]:
            for text in item["warnings"]:
                say(f"warning: {item['name']}: {text}")
    return 0


@ec2_verb.command("throttle", short_help="Turn throttling on or off, or show its buckets.")
@click.argument("throttling", metavar="[aws|off]", type=click.Choice(["aws", "off"]), required=False)
@session_options(*WIDE)
@pass_session
def throttle_verb(session: Session, throttling: str | None) -> int:
    """Throttle the EC2 API as AWS does (aws) or not at all (off); without a word, show the buckets that are not full.

    All callers share them, as all of one account do on AWS; `up` itself is exempt. -o wide shows every bucket.
    """
    output = session.format(*WIDE)
    result = session.backend.call(session.run_dir, session.the_lab(), "ec2-throttle", {"set": throttling})
    if throttling is None or session.output is not None:
        print_document(result, output, lambda wide: bucket_tables(result, wide))
    if output in ("table", "wide"):
        full = sum(item["tokens"] >= item["burst"] for item in result["buckets"])
        rest = f"; {counted(full, 'bucket')} full" if full and throttling is None else ""
        say(f"throttling: {result['throttling']}{rest}")
    return 0


@ec2_verb.command("coverage", short_help="Show which actions of EC2 there are.")
@click.option("--missing", is_flag=True, help="Name every action of EC2 that is not there.")
@session_options(*DOCUMENT, "wide")
@pass_session
def coverage_verb(session: Session, missing: bool) -> int:
    """Show which actions of EC2 packets feel, which are only state, and which are missing. Needs no lab and no root."""
    output = session.format(*DOCUMENT, "wide")
    result = session.backend.coverage()
    print_document(result, output, lambda wide: coverage_tables(result, wide, missing))
    if output in ("table", "wide"):
        counts = ", ".join(f"{number} {kind}" for kind, number in result["counts"].items() if number)
        said = f"{len(result['actions'])} of EC2's {result['known']} actions: {counts}; {len(result['missing'])} missing"
        say(said + ("" if missing else f", of which {len(result['missingOften'])} are often called; --missing names them all"))
    return 0
