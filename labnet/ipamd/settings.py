"""The daemon's environment variables, read as the VPC CNI reads them (pure).

A value that cannot be read counts as the default, as there, unless the entrypoint refuses it (`variables`). Defaults are
those of the shipped manifest where it differs from the code. Source: docs/sources.md#vpc-cni-variables
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from labnet.errors import UsageError
from labnet.ipamd.variables import MAX_MTU_BYTES, MIN_MTU_BYTES, NODE_LOGS, Dialect, flag, on_node, refusals, whole_number
from labnet.model.addressing import canonical
from labnet.model.values import frozen

RandomizeSnat = Literal["hashrandom", "prng", "none"]
LogLevel = Literal["debug", "info", "warn", "error", "fatal"]

DEFAULT_CONNMARK = 0x80
DEFAULT_COOLDOWN_S = 30
DEFAULT_ENI_CONFIG_KEY = "k8s.amazonaws.com/eniConfig"
DEFAULT_CHECKPOINT = "/var/run/aws-node/ipam.json"
DEFAULT_LOG, DEFAULT_PLUGIN_LOG = f"{NODE_LOGS}/ipamd.log", f"{NODE_LOGS}/plugin.log"
RESERVED_TAG = "k8s.amazonaws.com"


@frozen
class Settings:
    """What the daemon of a node does. Counts are of addresses, ENIs or /28 prefixes; `max_enis` None = the type's limit.

    Paths are the node's; the daemon's log may be `stdout` or `stderr`, the plugin's `stderr`: the log of the lab's process.
    """

    dialect: Dialect = "1.23"
    warm_enis: int = 1
    warm_ips: int = 0
    minimum_ips: int = 0
    warm_prefixes: int = 1
    max_enis: int | None = None
    cooldown_s: int = DEFAULT_COOLDOWN_S
    prefix_delegation: bool = False
    external_snat: bool = False
    exclude_snat_cidrs: tuple[str, ...] = ()
    randomize_snat: RandomizeSnat = "prng"
    node_port_support: bool = True
    connmark: int = DEFAULT_CONNMARK
    veth_prefix: str = "eni"
    eni_mtu_bytes: int = MAX_MTU_BYTES
    pod_mtu_bytes: int = MAX_MTU_BYTES
    cluster_name: str = ""
    additional_tags: Mapping[str, str] = field(default_factory=dict)
    subnet_discovery: bool = True
    """A subnet without free addresses: True = ask for a new ENI, False (and in release 1.6) = ask nothing for 120 s."""
    custom_networking: bool = False
    """Pods get addresses of secondary ENIs alone, made in the subnet and with the groups of the node's ENIConfig."""
    eni_config_annotation: str = DEFAULT_ENI_CONFIG_KEY
    eni_config_label: str = DEFAULT_ENI_CONFIG_KEY
    external_service_cidrs: tuple[str, ...] = ()
    """What pods of secondary ENIs reach through table main, by rules 1535."""
    manage_enis_non_schedulable: bool = False
    """Does the pool grow on a node that is cordoned, too?"""
    provisioning: bool = True
    """False = nothing is made, asked for, given back or tagged in EC2: what the metadata service lists is all there is."""
    imds_only: bool = False
    """True = ENIs are not described either."""
    leaked_eni_cleanup: bool = True
    manage_untagged_enis: bool = True
    """False = an ENI without the tag of this instance is left alone."""
    early_demux: bool = True
    """The node's sysctl net.ipv4.tcp_early_demux."""
    annotate_pod_ip: bool = False
    checkpoint_path: str = DEFAULT_CHECKPOINT
    log_file: str = DEFAULT_LOG
    log_level: LogLevel = "debug"
    plugin_log_file: str = DEFAULT_PLUGIN_LOG
    plugin_log_level: LogLevel = "debug"

    @classmethod
    def from_env(cls, env: Mapping[str, str], dialect: Dialect) -> Settings:
        """Read the variables. Errors: UsageError for the first thing with which the daemon would not start, or that is not here."""
        for refused in refusals(env, dialect):
            raise UsageError(refused.message, refused.hint)
        return cls(dialect=dialect, **_targets(env), **_kernel(env, dialect), **_cloud(env, dialect), **_files(env))


def _targets(env: Mapping[str, str]) -> dict[str, Any]:
    return {
        "warm_enis": _count(env, "WARM_ENI_TARGET", 1), "warm_ips": _count(env, "WARM_IP_TARGET", 0),
        "minimum_ips": _count(env, "MINIMUM_IP_TARGET", 0), "warm_prefixes": _count(env, "WARM_PREFIX_TARGET", 1),
        "max_enis": _count(env, "MAX_ENI", 0) or None, "cooldown_s": _count(env, "IP_COOLDOWN_PERIOD", DEFAULT_COOLDOWN_S),
        "prefix_delegation": flag(env, "ENABLE_PREFIX_DELEGATION", False),
        "manage_enis_non_schedulable": flag(env, "AWS_MANAGE_ENIS_NON_SCHEDULABLE", False),
    }


def _kernel(env: Mapping[str, str], dialect: Dialect) -> dict[str, Any]:
    external = flag(env, "AWS_VPC_K8S_CNI_EXTERNALSNAT", False)
    eni_mtu = _mtu(env.get("AWS_VPC_ENI_MTU", ""), MAX_MTU_BYTES)
    return {
        "external_snat": external, "exclude_snat_cidrs": () if external else _cidrs(env.get("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "")),
        "randomize_snat": _randomize(env.get("AWS_VPC_K8S_CNI_RANDOMIZESNAT", ""), dialect),
        "node_port_support": flag(env, "AWS_VPC_CNI_NODE_PORT_SUPPORT", True),
        "connmark": _mark(env.get("AWS_VPC_K8S_CNI_CONNMARK", "")), "veth_prefix": env.get("AWS_VPC_K8S_CNI_VETHPREFIX", "") or "eni",
        "eni_mtu_bytes": eni_mtu, "pod_mtu_bytes": _mtu(env.get("POD_MTU", ""), eni_mtu),
        "external_service_cidrs": _cidrs(env.get("AWS_EXTERNAL_SERVICE_CIDRS", "")),
        "early_demux": not flag(env, "DISABLE_TCP_EARLY_DEMUX", False),
    }


def _cloud(env: Mapping[str, str], dialect: Dialect) -> dict[str, Any]:
    imds_only = flag(env, "ENABLE_IMDS_ONLY_MODE", False)
    provisioning = not imds_only and not flag(env, "DISABLE_NETWORK_RESOURCE_PROVISIONING", False)
    return {
        "cluster_name": env.get("CLUSTER_NAME", ""), "additional_tags": _tags(env.get("ADDITIONAL_ENI_TAGS", "")),
        "subnet_discovery": dialect != "1.6" and flag(env, "ENABLE_SUBNET_DISCOVERY", True),
        "custom_networking": flag(env, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", False),
        "eni_config_annotation": env.get("ENI_CONFIG_ANNOTATION_DEF", "") or DEFAULT_ENI_CONFIG_KEY,
        "eni_config_label": env.get("ENI_CONFIG_LABEL_DEF", "") or DEFAULT_ENI_CONFIG_KEY,
        "provisioning": provisioning, "imds_only": imds_only,
        "leaked_eni_cleanup": provisioning and not flag(env, "DISABLE_LEAKED_ENI_CLEANUP", False),
        "manage_untagged_enis": flag(env, "MANAGE_UNTAGGED_ENI", True), "annotate_pod_ip": flag(env, "ANNOTATE_POD_IP", False),
    }


def _files(env: Mapping[str, str]) -> dict[str, Any]:
    log = env.get("AWS_VPC_K8S_CNI_LOG_FILE", "")
    plugin_log = env.get("AWS_VPC_K8S_PLUGIN_LOG_FILE", "")
    return {
        "checkpoint_path": on_node(env.get("AWS_VPC_K8S_CNI_BACKING_STORE", "") or DEFAULT_CHECKPOINT),
        "log_file": on_node(log or DEFAULT_LOG), "log_level": log_level(env.get("AWS_VPC_K8S_CNI_LOGLEVEL", "")),
        "plugin_log_file": plugin_log or DEFAULT_PLUGIN_LOG, "plugin_log_level": log_level(env.get("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "")),
    }


def log_level(text: str) -> LogLevel:
    """A level in capitals or not; a word that is none counts as debug."""
    found: dict[str, LogLevel] = {"info": "info", "warn": "warn", "error": "error", "fatal": "fatal"}
    return found.get(text.lower(), "debug")


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    number = whole_number(env.get(name, ""))
    return number if number is not None and number >= 0 else default


def _mtu(text: str, default: int) -> int:
    number = whole_number(text) or 0
    return number if MIN_MTU_BYTES <= number <= MAX_MTU_BYTES else default


def _cidrs(text: str) -> tuple[str, ...]:
    found = []
    for word in text.split(","):
        try:
            found.append(canonical(word.strip()))
        except ValueError:
            continue  # the VPC CNI too goes on without what is no IPv4 block
    return tuple(dict.fromkeys(found))


def _randomize(text: str, dialect: Dialect) -> RandomizeSnat:
    if text == "hashrandom":
        return "hashrandom"
    if text == "prng":
        return "prng"
    if text == "none":
        return "none"
    return "hashrandom" if dialect == "1.6" else "prng"


def _mark(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        return DEFAULT_CONNMARK
    return number if 1 <= number <= 0xFFFFFFFF else DEFAULT_CONNMARK


def _tags(text: str) -> dict[str, str]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}  # bad JSON is ignored, as there
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return {}
    return {key: value for key, value in found.items() if RESERVED_TAG not in key}


__all__ = ["Dialect", "LogLevel", "RandomizeSnat", "Settings", "log_level"]
