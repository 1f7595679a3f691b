"""The verb about sizes: capacity. It needs neither root nor a lab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from labnet.cli.output import Table, print_document, say
from labnet.cli.session import DOCUMENT, Session, complete_types, pass_session, session_options
from labnet.errors import EXIT_VERDICT

Document = Mapping[str, Any]
MAX_NODES = 100_000
STATES = ("idle", "full")


@click.command("capacity", short_help="Count the pods of an instance type, and the nodes of a subnet.")
@click.argument("instance_type", metavar="TYPE", shell_complete=complete_types)
@click.option("--prefix", is_flag=True, help="With prefix delegation (ENABLE_PREFIX_DELEGATION).")
@click.option("--custom-networking", is_flag=True, help="The first ENI serves no pods, and takes one address of another subnet.")
@click.option("--subnet", metavar="CIDR", help="How many nodes this subnet takes: the nodes' own, with custom networking the ENIConfig's.")
@click.option("--nodes", metavar="N", type=click.IntRange(1, MAX_NODES), help="What so many nodes need; with --subnet whether they fit.")
@session_options(*DOCUMENT)
@pass_session
def capacity_verb(session: Session, instance_type: str, prefix: bool, custom_networking: bool, subnet: str | None, nodes: int | None) -> int:
    """Count what a node of an instance TYPE has for pods, and how many such nodes a subnet takes.

    "idle" is what a node holds of its subnet before its first pod, with the VPC CNI's default targets; "full" what it holds with
    as many pods as it takes. Three addresses of a subnet are kept for an upgrade of the cluster. Exit code 3 when --nodes that
    are full do not fit into --subnet.
    """
    output = session.format(*DOCUMENT)
    document = session.backend.capacity(instance_type, prefix, custom_networking, subnet, nodes)
    if prefix and not document["prefixDelegation"]:
        say(f"{instance_type} is no Nitro type: prefix delegation stays off")
    print_document(document, output, lambda _wide: capacity_tables(document))
    return EXIT_VERDICT if "nodes" in document and document["nodes"]["full"].get("fits") is False else 0


def capacity_tables(document: Document) -> list[Table]:
    """The type, a node idle and full, the subnet, and what was asked of so many nodes."""
    return [_type(document), _node(document), *_subnet(document), *_nodes(document)]


def _type(document: Document) -> Table:
    columns = ("TYPE", "ENIS", "IPV4/ENI", "ENIS FOR PODS", "POD ADDRESSES", "MAX-PODS")
    values = (document[key] for key in ("instanceType", "enis", "ipv4PerEni", "podEnis", "podAddresses", "maxPods"))
    return Table(columns, (tuple(str(value) for value in values),))


def _node(document: Document) -> Table:
    prefixes = ("PREFIXES",) if document["prefixDelegation"] else ()
    rows = []
    for state in STATES:
        held = document["node"][state]
        counts = (held["pods"], held["enis"], held["addresses"], *((held["prefixes"],) if prefixes else ()), held["total"])
        rows.append((state, *(str(count) for count in counts)))
    return Table(("A NODE", "PODS", "ENIS", "ADDRESSES", *prefixes, "OF THE SUBNET"), tuple(rows))


def _subnet(document: Document) -> list[Table]:
    """With prefixes two rows a state: it depends on where single addresses lie."""
    if "subnet" not in document:
        return []
    subnet, rows = document["subnet"], []
    for state in STATES:
        fits = subnet[state]
        if document["prefixDelegation"]:
            rows.append((f"{state}, single addresses packed", str(fits["nodes"]), str(fits["pods"])))
            rows.append((f"{state}, single addresses scattered", str(fits["nodesScattered"]), str(fits["podsScattered"])))
        else:
            rows.append((state, str(fits["nodes"]), str(fits["pods"])))
    blocks = f", {subnet['blocks']} whole /28 blocks" if document["prefixDelegation"] else ""
    title = f"{subnet['cidr']}: {subnet['usable']} addresses without AWS's five{blocks}; {subnet['kept']} are kept for an upgrade"
    return [Table(("NODES THAT FIT", "NODES", "PODS"), tuple(rows), title)]


def _nodes(document: Document) -> list[Table]:
    if "nodes" not in document:
        return []
    asked, there = document["nodes"], "subnet" in document
    rows = []
    for state in STATES:
        item = asked[state]
        row = (f"{asked['count']} {state}", str(item["addresses"]), item["smallestSubnet"] or "larger than /16")
        rows.append((*row, _verdict(document, item)) if there else row)
    columns = ("NODES", "ADDRESSES", "SMALLEST SUBNET", *((f"FIT INTO {document['subnet']['cidr']}",) if there else ()))
    return [Table(columns, tuple(rows))]


def _verdict(document: Document, item: Document) -> str:
    if not item["fits"]:
        return "no"
    return "only packed" if document["prefixDelegation"] and not item["fitsScattered"] else "yes"
