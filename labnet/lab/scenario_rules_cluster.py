"""What must hold for the nodes and pods of a scenario: names, places, containers (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from labnet.lab import scenario_schema as schema
from labnet.lab.scenario_build import node_names, vpc_name, vpcs_of, words_of
from labnet.lab.scenario_env import check_env
from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.scenario_rules_vpc import unique
from labnet.model import names
from labnet.model.cloud import InstanceType

MAX_COUNT = 5_000
POD_NAME_RE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DEFAULT_SERVE = (("tcp", 80), ("tcp", 8080), ("udp", 7))
"""What the built-in server listens on when nothing is said."""
MAX_PORT = 65_535
MAX_FACTOR = 3_600.0
SYSCTL_RE = re.compile(r"net[./][-./_a-zA-Z0-9]+")
_NAME_HINT = "lower-case letters, digits and dashes, 32 at most, no dash at the ends"
_POD_HINT = "lower-case letters, digits and dashes, 63 at most, no dash at the ends"


def check_cluster(document: schema.Document, types: Mapping[str, InstanceType], findings: Findings) -> None:
    """Note everything that is wrong with names, nodes, pods and the settings around them; capacity is checked elsewhere."""
    if not names.is_name(document.metadata.name):
        findings.add(("metadata", "name"), f"{document.metadata.name!r} is no name for a lab", _NAME_HINT)
    for n, node in enumerate(document.nodes):
        _node(node, ("nodes", n), document, types, findings)
    known = {name for node in document.nodes if _count_fits(node) for name in node_names(node)}
    for n, pod in enumerate(document.pods):
        _pod(pod, ("pods", n), known, findings)
    _clashes(document, findings)
    _settings(document, findings)


def _count_fits(node: schema.Node) -> bool:
    return node.count is None or 1 <= node.count <= MAX_COUNT


# ---- nodes ----------------------------------------------------------------------------------------------------------------


def _node(node: schema.Node, path: Path, document: schema.Document, types: Mapping[str, InstanceType], findings: Findings) -> None:
    if not _count_fits(node):
        findings.add((*path, "count"), f"{node.count} is no count", f"1 to {MAX_COUNT}")
    elif not all(names.is_name(name) for name in node_names(node)):
        hint = _NAME_HINT + (f"; '-{node.count}' is added behind it" if node.count else "")
        findings.add((*path, "name"), f"{node.name!r} is no name for a node", hint)
    if node.instance_type not in types:
        findings.add((*path, "instanceType"), f"there is no instance type {node.instance_type!r}", suggest_type(node.instance_type, types))
    homes = {subnet.name: vpc for _path, vpc in vpcs_of(document) for subnet in vpc.subnets}
    home = homes.get(node.subnet)
    if home is None:
        otherwise = f"subnets: {', '.join(homes)}" if homes else "add it below the VPC's 'subnets'"
        findings.add((*path, "subnet"), f"there is no subnet {node.subnet!r}", nearest(node.subnet, homes, otherwise))
    else:
        groups = {group.name for group in home.security_groups} | {"default"}
        for n, group in enumerate(node.security_groups):
            if group not in groups:
                message = f"VPC {vpc_name(home)} has no security group {group!r}"
                findings.add((*path, "securityGroups", n), message, nearest(group, groups))
    for key in node.sysctls:
        if not SYSCTL_RE.fullmatch(key) or ".." in key:
            findings.add((*path, "sysctls", key), f"{key!r} does not belong to a network namespace", "only net.* can be set per node")


def suggest_type(word: str, types: Mapping[str, InstanceType]) -> str:
    """A hint for an unknown instance type: the nearest names, else the sizes of its family."""
    family, dot, _size = word.lower().partition(".")
    sizes = [name for name in types if name.startswith(f"{family}.")] if dot else []
    otherwise = f"{family} comes as {', '.join(sizes)}" if sizes else "for example t3.nano, t3.medium, m5.large"
    return nearest(word, types, otherwise)


# ---- pods -----------------------------------------------------------------------------------------------------------------


def _pod(pod: schema.Pod, path: Path, nodes: set[str], findings: Findings) -> None:
    for key, name in (("name", pod.name), ("namespace", pod.namespace)):
        if not POD_NAME_RE.fullmatch(name):
            what = "a pod" if key == "name" else "a namespace"
            findings.add((*path, key), f"{name!r} is no name for {what}", _POD_HINT)
    if pod.node is not None and pod.node not in nodes:
        otherwise = f"nodes: {', '.join(sorted(nodes))}" if 0 < len(nodes) < 10 else "leave 'node' away and the scheduler chooses"
        findings.add((*path, "node"), f"there is no node {pod.node!r}", nearest(pod.node, nodes, otherwise))
    seen: dict[str, Path] = {}
    ports: dict[tuple[str, int], str] = {}
    for n, container in enumerate(pod.containers):
        at = (*path, "containers", n)
        unique(seen, container.name, (*at, "name"), "container of this pod", findings)
        _container(container, at, ports, findings)


def _container(container: schema.Container, path: Path, ports: dict[tuple[str, int], str], findings: Findings) -> None:
    if container.command is not None and container.serve is not None:
        findings.add((*path, "serve"), "stands beside 'command'", "a container runs a program or the built-in server; use two containers")
    try:
        if container.command is not None and not words_of(container.command):
            findings.add((*path, "command"), "is empty", "give it a program, or remove the key for the built-in server")
    except ValueError as error:
        findings.add((*path, "command"), str(error), "close the quotes, or write a list of words")
    for key, port in (container.serve or {}).items():
        if not 0 < port <= MAX_PORT:
            findings.add((*path, "serve", key), f"{port} is no port", f"1 to {MAX_PORT}")
    taken = [wanted for wanted in _served(container) if wanted in ports]
    if taken:
        (protocol, port), owner = taken[0], ports[taken[0]]
        hint = "containers of a pod share its ports: say 'serve: {tcp: 8081}'"
        findings.add((*path, "serve"), f"{protocol} port {port} is served by container {owner} already", hint)
    ports.update(dict.fromkeys(_served(container), container.name))


def _served(container: schema.Container) -> tuple[tuple[str, int], ...]:
    if container.command is not None:
        return ()
    return tuple((str(key), port) for key, port in container.serve.items()) if container.serve else DEFAULT_SERVE


# ---- clashes --------------------------------------------------------------------------------------------------------------


def _clashes(document: schema.Document, findings: Findings) -> None:
    """Every node, pod and part of the fabric is one namespace on the machine: no two may have one name."""
    seen: dict[str, tuple[str, Path]] = {}
    for name, what, path in _namespaces(document):
        if name not in seen:
            seen[name] = (what, path)
            continue
        other, at = seen[name]
        if not at:
            findings.add(path, f"{what} has the name of the lab's own {other}", f"taken: {', '.join(sorted(names.RESERVED_NAMES))}")
            continue
        where = f"the first is in {findings.place(at).text}"
        if other == what:
            findings.add(path, f"a second {what}; {where}", "give one of them another name")
        else:
            hint = "nodes, pods of the namespace default and hosts share one space of names"
            findings.add(path, f"{what} has the name of {other}; {where}", hint)


def _namespaces(document: schema.Document) -> Iterator[tuple[str, str, Path]]:
    for word in sorted(names.RESERVED_NAMES):
        yield f"-{word}", word, ()
    for path, vpc in vpcs_of(document)[1:]:
        if vpc.name:
            yield names.vpc_netns("", vpc.name), f"VPC {vpc.name}", (*path, "name")
            yield names.igw_netns("", vpc.name), f"VPC {vpc.name}", (*path, "name")
    yield from _sites(document)
    for n, node in enumerate(document.nodes):
        for name in node_names(node) if _count_fits(node) else ():
            yield names.node_netns("", name), f"node {name}", ("nodes", n, "name")
    for n, pod in enumerate(document.pods):
        label = pod.name if pod.namespace == "default" else f"{pod.namespace}/{pod.name}"
        yield names.pod_netns("", pod.namespace, pod.name), f"pod {label}", ("pods", n, "name")


def _sites(document: schema.Document) -> Iterator[tuple[str, str, Path]]:
    """Networks outside and their hosts are targets as nodes and pods are; the first network may be called as its namespace is."""
    for path, vpc in vpcs_of(document)[1:]:
        if vpc.name and vpc.vpn_gateway:
            yield names.vgw_netns("", vpc.name), f"VPC {vpc.name}", (*path, "name")
    for n, site in enumerate(document.on_premises):
        if n or site.name != "onprem":
            yield names.node_netns("", site.name), f"network {site.name}", ("onPremises", n, "name")
        for m, host in enumerate(site.hosts):
            yield names.node_netns("", host.name), f"host {host.name}", ("onPremises", n, "hosts", m, "name")


def _settings(document: schema.Document, findings: Findings) -> None:
    if not 0 < document.time.factor <= MAX_FACTOR:
        findings.add(("time", "factor"), f"{document.time.factor:g} is no factor", f"above 0, at most {MAX_FACTOR:g}")
    if document.seed < 0:
        findings.add(("seed",), f"{document.seed} is negative", "any whole number from 0")
    if document.cni.kind == "vpc":
        check_env(document.cni.env, document.cni.dialect, findings)
    elif document.cni.env:
        findings.add(("cni", "env"), "nothing reads it: kind none runs no CNI", "remove it, or set kind: vpc")
