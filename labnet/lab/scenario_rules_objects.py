"""What must hold for the Kubernetes objects of a scenario: ENIConfigs whose subnets and groups are there, and fit the nodes (pure).

Source: docs/sources.md#eniconfig
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.pod_networking import pod_networking
from labnet.lab.scenario_build import node_names, vpc_name, vpcs_of
from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.scenario_rules_vpc import unique
from labnet.model.cluster import DEFAULT_ENI_CONFIG_KEY, EXTERNAL_ENI_CONFIG_LABEL, eni_config_name, node_labels
from labnet.model.values import frozen

OBJECT_NAME_RE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
SUBNET_ID_RE = re.compile(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})")
GROUP_ID_RE = re.compile(r"sg-([0-9a-f]{8}|[0-9a-f]{17})")


@frozen
class _Home:
    """A subnet of the scenario, and the VPC that it is in."""

    vpc: vpcwords.Vpc
    subnet: vpcwords.Subnet


def uses_eni_configs(cni: schema.Cni) -> bool:
    """Is custom networking on?"""
    return cni.kind == "vpc" and pod_networking(cni.env).custom_networking


def check_objects(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with the objects. VPCs and nodes are known to be good."""
    homes = {subnet.name: _Home(vpc, subnet) for _path, vpc in vpcs_of(document) for subnet in vpc.subnets}
    seen: dict[str, Path] = {}
    for n, item in enumerate(document.objects):
        path: Path = ("objects", n)
        if not OBJECT_NAME_RE.fullmatch(item.metadata.name):
            hint = "lower-case letters, digits, dashes and dots, none of the last two at the ends"
            findings.add((*path, "metadata", "name"), f"{item.metadata.name!r} is no name for an {item.kind}", hint)
        unique(seen, item.metadata.name, (*path, "metadata", "name"), item.kind, findings)
        _spec(item.spec, (*path, "spec"), document, homes, findings)
    if uses_eni_configs(document.cni):
        _nodes(document, homes, findings)


def _spec(spec: schema.EniConfigSpec, path: Path, document: schema.Document, homes: Mapping[str, _Home], findings: Findings) -> None:
    home = homes.get(spec.subnet)
    if home is None and not SUBNET_ID_RE.fullmatch(spec.subnet):
        findings.add((*path, "subnet"), f"there is no subnet {spec.subnet!r}", nearest(spec.subnet, homes, f"subnets: {', '.join(homes)}"))
        return
    vpcs = [home.vpc] if home is not None else [vpc for _path, vpc in vpcs_of(document)]
    groups = {group.name for vpc in vpcs for group in vpc.security_groups} | {"default"}
    for n, group in enumerate(spec.security_groups):
        if GROUP_ID_RE.fullmatch(group):
            continue
        if group not in groups:
            where = f"VPC {vpc_name(vpcs[0])} has" if home is not None else "no VPC has a"
            message = f"{where} {'no ' if home is not None else ''}security group {group!r}"
            findings.add((*path, "securityGroups", n), message, nearest(group, groups))
        elif home is None and len(vpcs) > 1:
            hint = "give the subnet by its name, or the group by its id"
            findings.add((*path, "securityGroups", n), f"of which VPC is the group {group!r}?", hint)


# ---- the nodes that use them ------------------------------------------------------------------------------------------------


def _nodes(document: schema.Document, homes: Mapping[str, _Home], findings: Findings) -> None:
    """With custom networking each node's ENIConfig must be there, in its own VPC and zone."""
    known = {item.metadata.name: (("objects", n), item) for n, item in enumerate(document.objects)}
    told: set[tuple[str, str]] = set()
    for path, node, name, home in _users(document, homes):
        if name not in known:
            if document.pending != "allowed" and (str(path), name) not in told:
                told.add((str(path), name))
                key = document.cni.env.get("ENI_CONFIG_LABEL_DEF") or DEFAULT_ENI_CONFIG_KEY
                otherwise = f"add it below 'objects', name another one by the node's label {key}, or say 'pending: allowed'"
                message = f"{node} uses ENIConfig {name}, and there is none of that name: its pods would never get an address"
                findings.add(path, message, nearest(name, known, otherwise))
            continue
        at, item = known[name]
        there = homes.get(item.spec.subnet)
        if there is None or (name, home.subnet.name) in told:
            continue
        told.add((name, home.subnet.name))
        _fits((*at, "spec", "subnet"), node, home, there, findings)


def _fits(path: Path, node: str, home: _Home, there: _Home, findings: Findings) -> None:
    zone, other = home.subnet.availability_zone, there.subnet.availability_zone
    if there.vpc is not home.vpc:
        message = f"{there.subnet.name} is in VPC {vpc_name(there.vpc)}, but {node} uses it and is in VPC {vpc_name(home.vpc)}"
        findings.add(path, message, f"an ENI is attached in its own VPC: take a subnet of {vpc_name(home.vpc)}")
    elif zone != other:
        message = f"{there.subnet.name} is in {other}, but {node} uses it and is in {zone}"
        hint = f"an ENI is attached in its own zone: take a subnet in {zone}, or an ENIConfig for each zone"
        findings.add(path, message, f"{hint}, chosen by a label ({EXTERNAL_ENI_CONFIG_LABEL}, or ENI_CONFIG_LABEL_DEF)")


def _users(document: schema.Document, homes: Mapping[str, _Home]) -> Iterator[tuple[Path, str, str, _Home]]:
    """Every node with where it stands, the ENIConfig that it uses, and its subnet."""
    env = document.cni.env
    annotation_key = env.get("ENI_CONFIG_ANNOTATION_DEF") or DEFAULT_ENI_CONFIG_KEY
    label_key = env.get("ENI_CONFIG_LABEL_DEF") or DEFAULT_ENI_CONFIG_KEY
    for n, node in enumerate(document.nodes):
        home = homes[node.subnet]
        for name in node_names(node):
            labels = node_labels(name, node.instance_type, home.subnet.availability_zone, node.labels)
            yield ("nodes", n), name, eni_config_name(labels, node.annotations, annotation_key, label_key), home
