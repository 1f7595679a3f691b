"""The configuration list of the VPC CNI, and what its plugin reads from its own entry (pure).

Of the lists that the VPC CNI ships only the plugins are named that exist here: `egress-cni` (which does nothing on an IPv4
cluster) and `portmap` are left out. Dialect 1.6 had a list of version 0.3.1, without `disableCheck`, because CHECK came later.
Source: docs/sources.md#vpc-cni-conflist
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from labnet.cni import spec
from labnet.cni.conflist import Conflist, parse_conflist
from labnet.cni.spec import NetConf
from labnet.cni.vpc.plan import Dialect
from labnet.errors import CniError
from labnet.model.values import frozen

FILE_NAME = "10-aws.conflist"
NETWORK = "aws-cni"
TYPE = "aws-cni"
DEFAULT_PREFIX = "eni"
DEFAULT_MTU_BYTES = 9001
MIN_MTU_BYTES = 576
PREFIX_CHARS = 4
OLD_LOG = "/var/log/aws-routed-eni/plugin.log"
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
LOG_KEYS = ("pluginLogFile", "pluginLogLevel")
_OWN_KEYS = ("vethPrefix", "mtu", *LOG_KEYS)
VALID = "cni.dev/valid-attachments"
_DECIMAL = re.compile(r"[+-]?[0-9]+")


def vpc_conflist(dialect: Dialect, env: Mapping[str, str]) -> Conflist:
    """The list that a node gets; `env` is the daemon's environment: prefix of veths, MTU, the plugin's log."""
    entry: dict[str, Any] = {
        "name": TYPE, "type": TYPE, "vethPrefix": env.get("AWS_VPC_K8S_CNI_VETHPREFIX", DEFAULT_PREFIX), "mtu": _pod_mtu(env),
    }
    if dialect == "1.6":
        return parse_conflist({"cniVersion": "0.3.1", "name": NETWORK, "plugins": [entry]})
    entry |= {
        "podSGEnforcingMode": env.get("POD_SECURITY_GROUP_ENFORCING_MODE", "strict"),
        "pluginLogFile": env.get("AWS_VPC_K8S_PLUGIN_LOG_FILE", OLD_LOG),
        "pluginLogLevel": env.get("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "DEBUG"),
        "capabilities": {ANNOTATIONS: True},
    }
    return parse_conflist({"cniVersion": "0.4.0", "name": NETWORK, "disableCheck": True, "plugins": [entry]})


def _pod_mtu(env: Mapping[str, str]) -> str:
    return env.get("POD_MTU") or env.get("AWS_VPC_ENI_MTU") or str(DEFAULT_MTU_BYTES)


@frozen
class VpcNetConf:
    """What the plugin takes from its entry: the prefix of the node's end and the MTU of both ends."""

    veth_prefix: str = DEFAULT_PREFIX
    mtu_bytes: int = DEFAULT_MTU_BYTES


def parse_netconf(config: NetConf) -> VpcNetConf:
    """Read the plugin's own keys. An MTU that is no number from 576 to 9001 counts as 9001, as there. Errors: CniError 999."""
    said = [config.document.get(key) or "" for key in _OWN_KEYS]
    for key, value in zip(_OWN_KEYS, said, strict=True):
        if not isinstance(value, str):
            raise CniError(spec.INTERNAL, f"{key} is not a string")
    return _netconf(said[0] or DEFAULT_PREFIX, said[1] or str(DEFAULT_MTU_BYTES))


@lru_cache(maxsize=64)
def _netconf(prefix: str, mtu: str) -> VpcNetConf:
    if len(prefix) > PREFIX_CHARS:
        raise CniError(spec.INTERNAL, "conf.VethPrefix can be at most 4 characters long")
    number = int(mtu) if _DECIMAL.fullmatch(mtu) else DEFAULT_MTU_BYTES
    return VpcNetConf(prefix, number if MIN_MTU_BYTES <= number <= DEFAULT_MTU_BYTES else DEFAULT_MTU_BYTES)


def plugin_log(config: NetConf, dialect: Dialect) -> tuple[str, str]:
    """Where the plugin's log is, a path of the node's view or `stderr` (nothing means it too), and its level; fixed in release 1.6."""
    if dialect == "1.6":
        return OLD_LOG, "debug"
    path, level = (config.document.get(key) for key in LOG_KEYS)
    return path if isinstance(path, str) else "", level if isinstance(level, str) else ""


def valid_attachments(config: NetConf) -> frozenset[tuple[str, str]] | None:
    """(container id, interface name) of what GC must leave alone; None without a list, which says nothing. Errors: CniError 7."""
    if VALID not in config.document:
        return None
    try:
        return frozenset((str(item["containerID"]), str(item["ifname"])) for item in config.document[VALID] or ())
    except (TypeError, KeyError) as error:
        raise CniError(spec.BAD_CONFIG, f"gc cmd: {VALID} is no list of containerID and ifname") from error
