"""The variables of the VPC CNI's environment: which there are, which act here, and which values its entrypoint refuses (pure).

Three things make an environment bad: a variable that the release does not have, a variable (or a value of it) that labnet
does not do yet, and a value with which the container's entrypoint ends before the daemon starts. Any other value that
cannot be read counts as the default, as there. Source: docs/sources.md#vpc-cni-variables
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from labnet.model.values import frozen

Dialect = Literal["1.6", "1.23"]

MIN_MTU_BYTES, MAX_MTU_BYTES = 576, 9001
PREFIX_CHARS = 4
RESERVED_PREFIXES = ("eth", "lo", "vlan")
WARM_TARGETS = {"WARM_IP_TARGET": "0", "WARM_PREFIX_TARGET": "1", "MINIMUM_IP_TARGET": "0"}
"""What prefix delegation needs one of, with the values of the shipped manifest."""
HINT = "see KNOWN_ISSUES.md"

HOST_LOGS, NODE_LOGS = "/host/var/log/aws-routed-eni", "/var/log/aws-routed-eni"
"""The node's folder of logs as the daemon's container sees it, and as the node does."""
CONTAINER_FOLDERS = (HOST_LOGS, "/var/run/aws-node")
"""Folders of the node in the daemon's container. What it writes elsewhere ends with the container, and no node has it."""
NODE_FOLDERS = ("/var/log", "/var/run/aws-node")
"""Where the plugin, which runs on the node itself, may write here: folders that every node has for itself."""

ACTING = frozenset({
    "WARM_ENI_TARGET", "WARM_IP_TARGET", "MINIMUM_IP_TARGET", "MAX_ENI", "IP_COOLDOWN_PERIOD", "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "AWS_VPC_K8S_CNI_RANDOMIZESNAT", "AWS_VPC_CNI_NODE_PORT_SUPPORT", "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_K8S_CNI_VETHPREFIX", "AWS_VPC_ENI_MTU", "POD_MTU", "CLUSTER_NAME", "ADDITIONAL_ENI_TAGS", "ENABLE_PREFIX_DELEGATION",
    "WARM_PREFIX_TARGET", "ENABLE_SUBNET_DISCOVERY", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "ENI_CONFIG_ANNOTATION_DEF",
    "ENI_CONFIG_LABEL_DEF", "AWS_EXTERNAL_SERVICE_CIDRS", "AWS_MANAGE_ENIS_NON_SCHEDULABLE", "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "ENABLE_IMDS_ONLY_MODE", "DISABLE_LEAKED_ENI_CLEANUP", "MANAGE_UNTAGGED_ENI", "DISABLE_TCP_EARLY_DEMUX", "ANNOTATE_POD_IP",
    "AWS_VPC_K8S_CNI_LOG_FILE", "AWS_VPC_K8S_CNI_LOGLEVEL", "AWS_VPC_K8S_PLUGIN_LOG_FILE", "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    "AWS_VPC_K8S_CNI_BACKING_STORE",
})
"""What changes what labnet does."""

WITHOUT_EFFECT = frozenset({
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "ENABLE_NFTABLES", "USE_CLOUDWATCH", "USE_PROMETHEUS", "METRIC_UPDATE_INTERVAL",
    "AWS_CLUSTER_ID", "VPC_CNI_VERSION", "MY_NODE_NAME", "MY_POD_NAME", "AWS_EC2_ENDPOINT",
})
"""Any value is right: the real daemon does not act on them either."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_EMPTY = frozenset({""})

ACCEPTED: Mapping[str, frozenset[str]] = {
    "ENABLE_POD_ENI": _FALSE,
    "POD_SECURITY_GROUP_ENFORCING_MODE": frozenset({"strict", "standard"}),  # only matters with ENABLE_POD_ENI
    "ENABLE_MULTI_NIC": _FALSE,
    "ENABLE_IPv4": _TRUE,
    "ENABLE_IPv6": _FALSE,
    "ENABLE_V4_EGRESS": _TRUE,  # acts in IPv6 clusters alone
    "ENABLE_V6_EGRESS": _FALSE,
    "DISABLE_POD_V6": _FALSE,
    "ENABLE_BANDWIDTH_PLUGIN": _FALSE,
    "NETWORK_POLICY_ENFORCING_MODE": frozenset({"", "none", "standard"}),  # without network policies all three allow everything
    "CLUSTER_ENDPOINT": _EMPTY,
    "HTTP_TIMEOUT": frozenset({"", "10"}),
    "INTROSPECTION_BIND_ADDRESS": _EMPTY,
    "DISABLE_INTROSPECTION": _TRUE,
    "DISABLE_METRICS": _TRUE,
    "AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE": frozenset({"", "/var/log/aws-routed-eni/egress-v4-plugin.log"}),
    "AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE": frozenset({"", "/var/log/aws-routed-eni/egress-v6-plugin.log"}),
    "HOST_CNI_BIN_PATH": frozenset({"", "/host/opt/cni/bin"}),
    "HOST_CNI_CONFDIR_PATH": frozenset({"", "/host/etc/cni/net.d"}),
}
"""What is taken only with a value that says what labnet does anyway, or that is harmless here."""

VARIABLES = ACTING | WITHOUT_EFFECT | ACCEPTED.keys()
"""Every variable that the VPC CNI reads, in any of the releases whose dialect labnet speaks."""

OF_RELEASE_1_6 = frozenset({
    "WARM_ENI_TARGET", "WARM_IP_TARGET", "MINIMUM_IP_TARGET", "MAX_ENI", "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "AWS_VPC_K8S_CNI_RANDOMIZESNAT", "AWS_VPC_CNI_NODE_PORT_SUPPORT", "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_K8S_CNI_VETHPREFIX", "AWS_VPC_ENI_MTU", "CLUSTER_NAME", "ADDITIONAL_ENI_TAGS", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "ENI_CONFIG_ANNOTATION_DEF", "ENI_CONFIG_LABEL_DEF", "AWS_VPC_K8S_CNI_LOG_FILE", "AWS_VPC_K8S_CNI_LOGLEVEL",
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "INTROSPECTION_BIND_ADDRESS", "DISABLE_INTROSPECTION", "DISABLE_METRICS", "HOST_CNI_BIN_PATH",
    "HOST_CNI_CONFDIR_PATH", "MY_NODE_NAME", "USE_CLOUDWATCH", "USE_PROMETHEUS", "METRIC_UPDATE_INTERVAL", "AWS_CLUSTER_ID",
})
"""What release 1.6 knew. Pods' own MTU, prefixes, cooldown, subnet discovery, the checkpoint and the rest came later."""


@frozen
class Refusal:
    """Why an environment cannot be taken: the variable, what is wrong with it, and the way out."""

    name: str
    message: str
    hint: str


def refusals(env: Mapping[str, str], dialect: Dialect) -> Iterator[Refusal]:
    """Everything that is wrong with an environment, in the order in which it stands there; the entrypoint's findings last."""
    for name, value in env.items():
        refused = _unsupported(name, value, dialect)
        if refused is not None:
            yield refused
    yield from _entrypoint(env)


def _unsupported(name: str, value: str, dialect: Dialect) -> Refusal | None:
    if name in VARIABLES and dialect == "1.6" and name not in OF_RELEASE_1_6:
        return Refusal(name, f"{name} is not known to release 1.6 of the VPC CNI", "leave it out, or take dialect 1.23")
    if name in ACTING or name in WITHOUT_EFFECT or value in ACCEPTED.get(name, frozenset()):
        return None
    if name not in VARIABLES:
        return Refusal(name, f"the VPC CNI has no variable {name}", "")
    return Refusal(name, f"{name}={value} is not supported by labnet yet", HINT)


# ---- the entrypoint -------------------------------------------------------------------------------------------------------


def _entrypoint(env: Mapping[str, str]) -> Iterator[Refusal]:
    """What ends the container before the daemon starts; and paths that no node of a lab would show."""
    plugin_log = env.get("AWS_VPC_K8S_PLUGIN_LOG_FILE", "")
    if plugin_log == "stdout":
        hint = "a path below /var/log, or stderr: stdout is the plugin's result"
        yield Refusal("AWS_VPC_K8S_PLUGIN_LOG_FILE", "AWS_VPC_K8S_PLUGIN_LOG_FILE=stdout cannot be taken", hint)
    elif plugin_log not in ("", "stderr") and not _below(plugin_log, NODE_FOLDERS):
        yield _elsewhere("AWS_VPC_K8S_PLUGIN_LOG_FILE", plugin_log, NODE_FOLDERS)
    prefix = env.get("AWS_VPC_K8S_CNI_VETHPREFIX", "")
    if len(prefix) > PREFIX_CHARS or prefix in RESERVED_PREFIXES:
        allowed = f"at most {PREFIX_CHARS} characters, and not {', '.join(RESERVED_PREFIXES)}"
        yield Refusal("AWS_VPC_K8S_CNI_VETHPREFIX", f"AWS_VPC_K8S_CNI_VETHPREFIX={prefix} cannot be taken", allowed)
    cooldown = env.get("IP_COOLDOWN_PERIOD", "")
    if cooldown and (whole_number(cooldown) is None or cooldown.startswith("-")):
        yield Refusal("IP_COOLDOWN_PERIOD", f"IP_COOLDOWN_PERIOD={cooldown} cannot be taken", "a whole number of seconds, 0 or more")
    for name in ("AWS_VPC_ENI_MTU", "POD_MTU"):
        mtu = env.get(name, "")
        if mtu and not MIN_MTU_BYTES <= (whole_number(mtu) or 0) <= MAX_MTU_BYTES:
            yield Refusal(name, f"{name}={mtu} cannot be taken", f"a number of bytes from {MIN_MTU_BYTES} to {MAX_MTU_BYTES}")
    if env.get("ENABLE_PREFIX_DELEGATION", "") in _TRUE and all(env.get(key, word) <= "0" for key, word in WARM_TARGETS.items()):
        said = f"ENABLE_PREFIX_DELEGATION cannot be taken without {', '.join(WARM_TARGETS)}"  # as texts, as there
        yield Refusal("ENABLE_PREFIX_DELEGATION", said, "set one of them to 1 or more")
    yield from _paths(env)


def _paths(env: Mapping[str, str]) -> Iterator[Refusal]:
    log, store = env.get("AWS_VPC_K8S_CNI_LOG_FILE", ""), env.get("AWS_VPC_K8S_CNI_BACKING_STORE", "")
    if log not in ("", "stdout", "stderr") and not _below(log, CONTAINER_FOLDERS):
        yield _elsewhere("AWS_VPC_K8S_CNI_LOG_FILE", log, CONTAINER_FOLDERS)
    if store and not _below(store, CONTAINER_FOLDERS):
        yield _elsewhere("AWS_VPC_K8S_CNI_BACKING_STORE", store, CONTAINER_FOLDERS)


def _elsewhere(name: str, path: str, folders: tuple[str, ...]) -> Refusal:
    return Refusal(name, f"{name}={path} is no file that a node of the lab shows", f"a path below {' or '.join(folders)}")


def _below(path: str, folders: tuple[str, ...]) -> bool:
    inside = any(path.startswith(f"{folder}/") and not path.endswith("/") for folder in folders)
    return inside and not {"", ".", ".."} & set(path.split("/")[1:])


# ---- reading values -------------------------------------------------------------------------------------------------------


def whole_number(text: str) -> int | None:
    """A decimal number with or without a sign, or None."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) else None


def flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    """A switch; what is none counts as the default."""
    value = env.get(name, "")
    return True if value in _TRUE else False if value in _FALSE else default


def on_node(path: str) -> str:
    """A path of the daemon's container as the node has it."""
    return NODE_LOGS + path.removeprefix(HOST_LOGS) if path.startswith(f"{HOST_LOGS}/") else path
