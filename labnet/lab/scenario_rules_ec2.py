"""What must hold for a scenario's `ec2:`: known actions and nodes, possible times, codes and shares (pure)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from labnet.ec2.faults import check_fault
from labnet.ec2.latency import MAX_S
from labnet.ec2.patterns import actions_of
from labnet.errors import UsageError
from labnet.lab import scenario_schema as schema
from labnet.lab.scenario_build import MAX_NODES_LISTED, fault_of, node_names
from labnet.lab.scenario_problems import Findings, Path, nearest


def check_ec2(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with the behaviour of the EC2 API."""
    ec2: schema.Ec2 = document.ec2
    path: Path = ("ec2",)
    nodes = {name for node in document.nodes if (node.count or 1) <= MAX_NODES_LISTED for name in node_names(node)}
    if not 0 <= ec2.imds_delay <= MAX_S:
        findings.add((*path, "imdsDelay"), f"{ec2.imds_delay:g} is no delay", f"seconds, 0 to {MAX_S:g}")
    if not isinstance(ec2.latency, str):
        for action, item in ec2.latency.items():
            _latency(action, item, (*path, "latency", action), findings)
    for n, fault in enumerate(ec2.faults):
        _fault(fault, (*path, "faults", n), nodes, findings)
    for n, denial in enumerate(ec2.deny):
        _deny(denial, (*path, "deny", n), nodes, findings)


def _latency(action: str, item: float | schema.Latency, path: Path, findings: Findings) -> None:
    _refused(lambda: actions_of(action), path, findings)
    p50, p95 = (item.p50, item.p95) if isinstance(item, schema.Latency) else (item, None)
    if not 0 <= p50 <= MAX_S:
        findings.add(path, f"a call cannot take {p50:g} seconds", f"0 to {MAX_S:g}")
    elif p95 is not None and not p50 <= p95 <= MAX_S:
        findings.add((*path, "p95"), f"{p95:g} is less than p50 or too long", f"p50 is {p50:g}; at most {MAX_S:g}")


def _fault(fault: schema.Fault, path: Path, nodes: Collection[str], findings: Findings) -> None:
    _node(fault.node, path, nodes, findings)
    try:
        spec = fault_of(fault)
    except ValueError as error:
        findings.add((*path, "for"), str(error))
        return
    _refused(lambda: check_fault(spec), path, findings)


def _deny(denial: str | schema.Deny, path: Path, nodes: Collection[str], findings: Findings) -> None:
    if isinstance(denial, str):
        _refused(lambda: actions_of(denial), path, findings)
    else:
        _refused(lambda: actions_of(denial.action), (*path, "action"), findings)
        _node(denial.node, path, nodes, findings)


def _node(node: str | None, path: Path, nodes: Collection[str], findings: Findings) -> None:
    if node is not None and node not in nodes:
        findings.add((*path, "node"), f"there is no node {node!r}", nearest(node, nodes))


def _refused(check: Callable[[], object], path: Path, findings: Findings) -> None:
    """Note what a check of the EC2 API itself refuses."""
    try:
        check()
    except UsageError as error:
        findings.add(path, error.message, error.hint)
