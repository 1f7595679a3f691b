"""The verb that judges without a packet: explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from labnet.cli.output import Table, print_document, say
from labnet.cli.session import DOCUMENT, Session, pass_session, session_options, size_option
from labnet.errors import EXIT_VERDICT

MAX_PORT = 65_535


@click.command("explain", short_help="Say whether A reaches B, and what stops it, without a packet.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--protocol", type=click.Choice(["icmp", "tcp", "udp"]), help="What is sent; icmp, or tcp where a port is given.")
@click.option("--port", type=click.IntRange(1, MAX_PORT), help="The port of tcp and udp.")
@size_option
@click.option("--desired", is_flag=True, help="Judge by the desired state alone; the kernel is not looked at.")
@session_options(*DOCUMENT)
@pass_session
def explain_verb(session: Session, source: str, target: str, protocol: str | None, port: int | None, size: int | None, desired: bool) -> int:
    """Say whether FROM, a pod, a node or internet, reaches TO, a pod, a node, an address or internet, and its answer comes back.

    Networks outside of AWS (`onPremises`) and their hosts can be either end too, by their names.
    No packet is sent: routes, security groups, network ACLs, gateways and the rules of nodes are judged as they shall be, then as
    they are now: what somebody changed by hand counts, and is listed. Each component on the way is told, the first that stops
    it with the code of AWS's Reachability Analyzer where that has one. Exit code 0 when it is reachable, 3 when not.
    """
    output = session.format(*DOCUMENT)
    if protocol == "icmp" and port is not None:
        raise click.UsageError("icmp has no ports", click.get_current_context())
    args = {"from": source, "to": target, "protocol": protocol, "port": port, "size": size, "desired": desired}
    found = session.backend.call(session.run_dir, session.the_lab(), "explain", args)
    print_document(found, output, lambda _wide: explain_tables(found))
    if output == "table":
        for line in (*explain_differences(found), explain_summary(found)):
            say(line)
    return 0 if found["reachable"] else EXIT_VERDICT


def explain_summary(found: Mapping[str, Any]) -> str:
    """The verdict in one line."""
    port = f" {found['port']}" if found["port"] else ""
    what = f"{found['from']} → {found['to']}, {found['protocol']}{port}"
    stopped = found["explanation"]
    if stopped is None:
        return f"{what}: reachable"
    code = f" [{stopped['code']}]" if stopped["code"] else ""
    way = "on the way back " if stopped["way"] == "back" else ""
    return f"{what}: not reachable: {way}{stopped['kind']} {stopped['id']} {stopped['reason']}{code}"


def explain_differences(found: Mapping[str, Any]) -> list[str]:
    """What is not as the lab's actors claim, on the way; and the claims' own verdict where it is another one."""
    lines = [f"{one['owner']}: {one['what']}: {one['text']}" for one in found.get("differences", ())]
    if lines:
        lines.insert(0, "not as it shall be ('labnet repair' puts back what is missing or other):")
    if not found["reachable"] and found.get("desired", {}).get("reachable"):
        lines.append("by the desired state alone it is reachable")
    return lines


def explain_tables(found: Mapping[str, Any]) -> list[Table]:
    """Every component in order."""
    columns = ("WAY", "COMPONENT", "ID", "PACKET", "VERDICT", "WHY")
    rows = [
        (one["way"], one["kind"], one["id"], one["packet"], one["code"] or "stops" if one["verdict"] == "stops" else "passes", one["reason"])
        for one in found["components"]
    ]
    return [Table(columns, tuple(rows))]
