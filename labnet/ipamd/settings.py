"""The daemon's environment variables, read as the VPC CNI reads them (pure).

A value that cannot be read counts as the default, as there. What labnet does not do yet is refused by name, never ignored;
a value that says what labnet does anyway is taken. Defaults are those of the shipped manifest where it differs from the code.
Source: docs/sources.md#vpc-cni-variables
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from labnet.errors import UsageError
from labnet.model.addressing import canonical
from labnet.model.values import frozen

Dialect = Literal["1.6", "1.23"]
RandomizeSnat = Literal["hashrandom", "prng", "none"]

DEFAULT_CONNMARK = 0x80
DEFAULT_COOLDOWN_S = 30
MIN_MTU_BYTES, MAX_MTU_BYTES = 576, 9001
PREFIX_CHARS = 4
RESERVED_PREFIXES = ("eth", "lo", "vlan")
RESERVED_TAG = "k8s.amazonaws.com"
HINT = "see KNOWN_ISSUES.md"

ACTING = frozenset({
    "WARM_ENI_TARGET", "WARM_IP_TARGET", "MINIMUM_IP_TARGET", "MAX_ENI", "IP_COOLDOWN_PERIOD", "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "AWS_VPC_K8S_CNI_RANDOMIZESNAT", "AWS_VPC_CNI_NODE_PORT_SUPPORT", "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_K8S_CNI_VETHPREFIX", "AWS_VPC_ENI_MTU", "POD_MTU", "CLUSTER_NAME", "ADDITIONAL_ENI_TAGS", "ENABLE_PREFIX_DELEGATION",
    "WARM_PREFIX_TARGET", "ENABLE_SUBNET_DISCOVERY",
})
"""What changes what labnet does."""

PREFIX_ONLY = frozenset({"ENABLE_PREFIX_DELEGATION", "WARM_PREFIX_TARGET"})
"""What release 1.6 did not know: prefixes came with 1.9."""

WITHOUT_EFFECT = frozenset({
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "ENABLE_NFTABLES", "USE_CLOUDWATCH", "USE_PROMETHEUS", "METRIC_UPDATE_INTERVAL",
    "AWS_CLUSTER_ID", "VPC_CNI_VERSION", "MY_NODE_NAME", "MY_POD_NAME", "AWS_EC2_ENDPOINT", "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "ENI_CONFIG_ANNOTATION_DEF", "ENI_CONFIG_LABEL_DEF",
})
"""Any value is right: the real daemon does not act on them either, not without another variable that is refused here, or
they only travel in the plugin's configuration."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_EMPTY = frozenset({""})

ACCEPTED: Mapping[str, frozenset[str]] = {
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": _FALSE,
    "AWS_EXTERNAL_SERVICE_CIDRS": _EMPTY,
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE": _TRUE,
    "DISABLE_NETWORK_RESOURCE_PROVISIONING": _FALSE,
    "ENABLE_IMDS_ONLY_MODE": _FALSE,
    "DISABLE_LEAKED_ENI_CLEANUP": _TRUE,
    "MANAGE_UNTAGGED_ENI": _TRUE,
    "ENABLE_POD_ENI": _FALSE,
    "POD_SECURITY_GROUP_ENFORCING_MODE": frozenset({"strict", "standard"}),  # only matters with ENABLE_POD_ENI
    "DISABLE_TCP_EARLY_DEMUX": _FALSE,
    "ENABLE_MULTI_NIC": _FALSE,
    "ENABLE_IPv4": _TRUE,
    "ENABLE_IPv6": _FALSE,
    "ENABLE_V4_EGRESS": _TRUE,  # acts in IPv6 clusters alone
    "ENABLE_V6_EGRESS": _FALSE,
    "DISABLE_POD_V6": _FALSE,
    "ENABLE_BANDWIDTH_PLUGIN": _FALSE,
    "NETWORK_POLICY_ENFORCING_MODE": frozenset({"", "none", "standard"}),  # without network policies all three allow everything
    "ANNOTATE_POD_IP": _FALSE,
    "CLUSTER_ENDPOINT": _EMPTY,
    "HTTP_TIMEOUT": frozenset({"", "10"}),
    "INTROSPECTION_BIND_ADDRESS": _EMPTY,
    "DISABLE_INTROSPECTION": _TRUE,
    "DISABLE_METRICS": _TRUE,
    "AWS_VPC_K8S_CNI_LOGLEVEL": frozenset({"", "DEBUG"}),
    "AWS_VPC_K8S_CNI_LOG_FILE": frozenset({"", "/host/var/log/aws-routed-eni/ipamd.log"}),
    "AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE": frozenset({"", "/var/log/aws-routed-eni/egress-v4-plugin.log"}),
    "AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE": frozenset({"", "/var/log/aws-routed-eni/egress-v6-plugin.log"}),
    "AWS_VPC_K8S_CNI_BACKING_STORE": frozenset({"", "/var/run/aws-node/ipam.json"}),
    "HOST_CNI_BIN_PATH": frozenset({"", "/host/opt/cni/bin"}),
    "HOST_CNI_CONFDIR_PATH": frozenset({"", "/host/etc/cni/net.d"}),
}
"""What is taken only with a value that says what labnet does anyway, or that is harmless here."""


@frozen
class Settings:
    """What the daemon of a node does. Counts are of addresses, ENIs or /28 prefixes; `max_enis` None = the type's limit."""

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

    @classmethod
    def from_env(cls, env: Mapping[str, str], dialect: Dialect) -> Settings:
        """Read the variables. Errors: UsageError naming a variable that labnet does not support, or a prefix that no veth may have."""
        check_supported(env, dialect)
        external = _flag(env, "AWS_VPC_K8S_CNI_EXTERNALSNAT", False)
        eni_mtu = _mtu(env.get("AWS_VPC_ENI_MTU", ""), MAX_MTU_BYTES)
        return cls(
            dialect=dialect,
            warm_enis=_count(env, "WARM_ENI_TARGET", 1), warm_ips=_count(env, "WARM_IP_TARGET", 0),
            minimum_ips=_count(env, "MINIMUM_IP_TARGET", 0), warm_prefixes=_count(env, "WARM_PREFIX_TARGET", 1),
            max_enis=_count(env, "MAX_ENI", 0) or None, cooldown_s=_count(env, "IP_COOLDOWN_PERIOD", DEFAULT_COOLDOWN_S),
            prefix_delegation=_flag(env, "ENABLE_PREFIX_DELEGATION", False), external_snat=external,
            exclude_snat_cidrs=() if external else _cidrs(env.get("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "")),
            randomize_snat=_randomize(env.get("AWS_VPC_K8S_CNI_RANDOMIZESNAT", ""), dialect),
            node_port_support=_flag(env, "AWS_VPC_CNI_NODE_PORT_SUPPORT", True), connmark=_mark(env.get("AWS_VPC_K8S_CNI_CONNMARK", "")),
            veth_prefix=_veth_prefix(env.get("AWS_VPC_K8S_CNI_VETHPREFIX", "")), eni_mtu_bytes=eni_mtu,
            pod_mtu_bytes=_mtu(env.get("POD_MTU", ""), eni_mtu), cluster_name=env.get("CLUSTER_NAME", ""),
            additional_tags=_tags(env.get("ADDITIONAL_ENI_TAGS", "")),
            subnet_discovery=dialect != "1.6" and _flag(env, "ENABLE_SUBNET_DISCOVERY", True),
        )


def check_supported(env: Mapping[str, str], dialect: Dialect) -> None:
    """Refuse what would otherwise be ignored. Errors: UsageError."""
    for name, value in env.items():
        if name in PREFIX_ONLY and dialect == "1.6":
            raise UsageError(f"{name} is not known to release 1.6 of the VPC CNI", "leave it out, or take dialect 1.23")
        if name in ACTING or name in WITHOUT_EFFECT or value in ACCEPTED.get(name, frozenset()):
            continue
        said = f"{name}={value}" if name in ACCEPTED else name
        raise UsageError(f"{said} is not supported by labnet yet", HINT)


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    value = env.get(name, "")
    return True if value in _TRUE else False if value in _FALSE else default


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() else default


def _mtu(text: str, default: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
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


def _veth_prefix(text: str) -> str:
    if not text:
        return "eni"
    if len(text) > PREFIX_CHARS or text in RESERVED_PREFIXES:
        allowed = f"at most {PREFIX_CHARS} characters, and not {', '.join(RESERVED_PREFIXES)}"
        raise UsageError(f"AWS_VPC_K8S_CNI_VETHPREFIX={text} cannot be taken", allowed)
    return text


def _tags(text: str) -> dict[str, str]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}  # bad JSON is ignored, as there
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return {}
    return {key: value for key, value in found.items() if RESERVED_TAG not in key}
