"""The verb that reads Kubernetes objects of a lab: get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from labnet.cli.output import Table, print_document, say
from labnet.cli.session import Session, pass_session, session_options

Document = Mapping[str, Any]
FORMATS = ("table", "json", "yaml", "name")


@click.command("get", short_help="Print Kubernetes objects of a lab: pods, nodes, ENIConfigs.")
@click.argument("kind", type=click.Choice(["pods", "nodes", "eniconfigs", "pod", "node", "eniconfig", "po", "no"], case_sensitive=False))
@click.argument("name", required=False)
@session_options(*FORMATS)
@pass_session
def get_verb(session: Session, kind: str, name: str | None) -> int:
    """Print the Kubernetes objects of a KIND, or the one of a NAME, as the lab's programs read them: with ids in the place of names.

    They are changed by `labnet up` with a changed scenario.
    """
    output = session.format(*FORMATS)
    document = session.backend.call(session.run_dir, session.the_lab(), "get", {"kind": kind, "name": name})
    items = document["items"]
    if not items and output in ("table", "name"):
        say(f"the lab has no {kind}")
        return 0
    alone = name is not None and len(items) == 1 and output in ("json", "yaml")  # kubectl prints one object, not a list of one
    print_document(items[0] if alone else document, output, lambda _wide: [_table(items)], lambda: [_word(item) for item in items])
    return 0


def _word(item: Document) -> str:
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


def _table(items: Sequence[Document]) -> Table:
    columns, row = {"Pod": (_POD, _pod), "Node": (_NODE, _node), "ENIConfig": (_ENI_CONFIG, _eni_config)}[items[0]["kind"]]
    return Table(columns, tuple(row(item) for item in items))


_POD = ("NAMESPACE", "NAME", "STATUS", "REASON", "IP", "NODE")
_NODE = ("NAME", "STATUS", "MAX-PODS", "INTERNAL-IP", "TAINTS")
_ENI_CONFIG = ("NAME", "SUBNET", "SECURITY GROUPS")


def _pod(item: Document) -> tuple[str, ...]:
    metadata, status = item["metadata"], item["status"]
    where = item["spec"].get("nodeName") or "-"
    return metadata["namespace"], metadata["name"], status["phase"], status.get("reason") or "-", status.get("podIP") or "-", where


def _node(item: Document) -> tuple[str, ...]:
    status = item["status"]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status["conditions"])
    address = next(one["address"] for one in status["addresses"] if one["type"] == "InternalIP")
    taints = ", ".join(f"{one['key']}={one['value']}:{one['effect']}" for one in item["spec"].get("taints", ()))
    return item["metadata"]["name"], "Ready" if ready else "NotReady", status["capacity"]["pods"], address, taints or "-"


def _eni_config(item: Document) -> tuple[str, ...]:
    spec = item["spec"]
    return item["metadata"]["name"], spec["subnet"], ", ".join(spec["securityGroups"]) or "(those of the first ENI)"
