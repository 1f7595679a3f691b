"""The verbs that look: status, trace, plan, events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from labnet.cli.output import Table, data, json_text, print_document, print_tables, say
from labnet.cli.render_plan import print_plan
from labnet.cli.render_status import status_names, status_tables
from labnet.cli.render_trace import face_options, one_stdout, write_faces
from labnet.cli.session import DOCUMENT, FORMATS, Session, complete_scenarios, pass_session, session_options, size_option
from labnet.errors import EXIT_VERDICT

MAX_PORT = 65_535


@click.command("status", short_help="Show nodes with their ENIs, and pods with their addresses.")
@session_options(*FORMATS)
@pass_session
def status_verb(session: Session) -> int:
    """Show nodes with their ENIs, and pods with their addresses, the ENI that serves each, its table and its host link."""
    output = session.format(*FORMATS)
    status = session.backend.call(session.run_dir, session.the_lab(), "status", {})
    print_document(status, output, lambda wide: status_tables(status, wide), lambda: status_names(status))
    return 0


@click.command("trace", short_help="Send one packet and show every hop that it takes.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--protocol", type=click.Choice(["icmp", "tcp", "udp"]), help="What is sent; icmp, or tcp where a port is given.")
@click.option("--port", type=click.IntRange(1, MAX_PORT), help="The port of tcp and udp.")
@size_option
@click.option("--both-ways", is_flag=True, help="Show the way back too, and whether it is the same.")
@click.option("--rules", "-v", is_flag=True, help="Show every rule and route that was passed over too, flows, TTL and MTU.")
@click.option(
    "--pcap", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write what was seen, an interface block for each interface.",
)
@face_options
@session_options(*DOCUMENT)
@pass_session
def trace_verb(
    session: Session, source: str, target: str, protocol: str | None, port: int | None, size: int | None, both_ways: bool, rules: bool,
    pcap: Path | None, html: str | None, svg: str | None, mermaid: str | None,
) -> int:
    """Send one packet FROM a node or pod TO a pod, node, address or internet, and show every hop that it takes.

    Networks outside of AWS (`onPremises`) and their hosts can be either end too, by their names.

    At each: namespace, interface, MACs, addresses and what NAT changed, TTL, and the rule and table that chose the way on.
    Exit code 0 when it was delivered, 3 when not.
    """
    output = session.format(*DOCUMENT)
    if protocol == "icmp" and port is not None:
        raise click.UsageError("icmp has no ports", click.get_current_context())
    faces = {"html": html, "svg": svg, "mermaid": mermaid}
    to_stdout = one_stdout(faces)
    if to_stdout and output != "table":
        raise click.UsageError(f"-o {output} and a picture cannot both go to stdout", click.get_current_context())
    args = {
        "from": source, "to": target, "protocol": protocol, "port": port, "size": size, "bothWays": both_ways, "rules": rules,
        "pcap": str(pcap.absolute()) if pcap else None, **({"scene": True} if html else {}),
    }
    result = session.backend.call(session.run_dir, session.the_lab(), "trace", args)
    if output != "table":
        print_document(result["json"], output)
    elif not to_stdout:
        data(str(result["text"]).rstrip("\n"))
    write_faces(faces, result["json"], result.get("scene"))
    if pcap is not None:
        say(f"wrote {pcap}")
    return 0 if result["json"]["delivered"] else EXIT_VERDICT


@click.command("plan", short_help="Show what would be changed, as ip and iptables would print it.")
@click.argument("scenario", required=False, shell_complete=complete_scenarios)
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Replace a value of the scenario.")
@session_options(*DOCUMENT)
@pass_session
def plan_verb(session: Session, scenario: str | None, sets: tuple[str, ...]) -> int:
    """Show what `up SCENARIO` would make; without SCENARIO what `repair` would change in the running lab. Changes nothing."""
    output = session.format(*DOCUMENT)
    if scenario is not None:
        print_plan(session.backend.plan(session.backend.load(scenario, sets), session.run_dir, session.lab), output)
        return 0
    if sets:
        raise click.UsageError("--set needs a scenario", click.get_current_context())
    print_plan(session.backend.call(session.run_dir, session.the_lab(), "plan", {}), output)
    return 0


@click.command("events", short_help="Show what happened in the lab.")
@session_options(*DOCUMENT)
@pass_session
def events_verb(session: Session) -> int:
    """Show what happened in the lab, oldest first: reasons as Kubernetes and the VPC CNI name them. -o json: one object a line."""
    output = session.format(*DOCUMENT)
    events: list[Mapping[str, Any]] = session.backend.call(session.run_dir, session.the_lab(), "events", {})["events"]
    if output == "json":
        for event in events:
            data(json_text(event, indent=None))
    elif output == "yaml":
        print_document({"apiVersion": "labnet/v1", "kind": "EventList", "events": events}, output)
    elif events:
        rows = [(_clock(event["time"]), event["object"], event["reason"], event["message"]) for event in events]
        print_tables([Table(("TIME", "OBJECT", "REASON", "MESSAGE"), tuple(rows))])
    else:
        say("nothing happened yet")
    return 0


def _clock(value: Any) -> str:
    """A time of day; what is no number is shown as it is."""
    if isinstance(value, int | float):
        return time.strftime("%H:%M:%S", time.localtime(value)) + f".{int(value * 1000) % 1000:03d}"
    return str(value)
