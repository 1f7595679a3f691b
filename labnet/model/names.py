"""Names and ids: deterministic, within the kernel's limits, one rule for each (pure).

Source: spec of the project's interfaces; veth names: docs/sources.md#veth-names
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

IFNAME_BYTES = 15
NAME_RE = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
VETH_HASH_DIGITS = 11
ID_DIGITS = 17


def is_name(text: str) -> bool:
    """Is it a name that labs and nodes may have: [a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?"""
    return NAME_RE.fullmatch(text) is not None


def digest(*parts: object) -> bytes:
    """SHA-256 over the parts, each with its length, so that no two lists of parts run together."""
    joined = "\0".join([str(part) for part in parts])
    return hashlib.sha256(joined.encode()).digest()


def aws_id(kind: str, seed: int, lab: str, name: str) -> str:
    """An AWS id: ``<kind>-`` and 17 hex digits that follow from seed, lab, kind and the logical name."""
    return f"{kind}-{digest(seed, lab, kind, name).hex()[:ID_DIGITS]}"


def mac(seed: int, lab: str, name: str) -> str:
    """A locally administered unicast MAC that follows from seed, lab and the logical name: ``02:`` and five bytes."""
    return "02:" + digest(seed, lab, "mac", name)[:5].hex(":")


@lru_cache(maxsize=1024)
def pod_hash(namespace: str, pod: str, nic: int = 0) -> str:
    """The 11 hex digits in a pod's host link name: SHA-1 over ``namespace.pod``, ``.<nic>`` behind it for further ones."""
    text = f"{namespace}.{pod}" + (f".{nic}" if nic else "")
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:VETH_HASH_DIGITS]


def host_link(namespace: str, pod: str, prefix: str = "eni", nic: int = 0) -> str:
    """The host end of a pod's veth, as the VPC CNI names it."""
    return f"{prefix}{pod_hash(namespace, pod, nic)}"


def eni_port(eni_id: str) -> str:
    """The fabric's end of an ENI's veth: ``p`` and the last 13 digits of the ENI's id."""
    return f"p{eni_id[-13:]}"


def nat_port(nat_id: str) -> str:
    """The fabric's end of a NAT gateway's veth: ``n`` and the last 13 digits of its id."""
    return f"n{nat_id[-13:]}"


def peering_port(peering_id: str) -> str:
    """Both ends of a peering connection's veth, each in its VPC: ``x`` and the last 13 digits of its id."""
    return f"x{peering_id[-13:]}"


def eni_link(device_index: int, network_card: int = 0) -> str:
    """The name of an ENI on its node: ``eth<device index>``, as Amazon Linux 2 has it.

    Device indexes are counted on each network card; the card stands behind those of further ones (``eth1c2``), our own choice.
    """
    return f"eth{device_index}" + (f"c{network_card}" if network_card else "")


def node_netns(lab: str, node: str) -> str:
    """The network namespace of a node."""
    return f"{lab}-{node}"


def pod_netns(lab: str, namespace: str, pod: str) -> str:
    """The network namespace of a pod: the namespace `default` is not named."""
    return f"{lab}-{pod}" if namespace == "default" else f"{lab}-{namespace}.{pod}"


def vpc_netns(lab: str, vpc: str | None = None) -> str:
    """The fabric of the first VPC, or of a further one by its name."""
    return f"{lab}-vpc" if vpc is None else f"{lab}-vpc.{vpc}"


def igw_netns(lab: str, vpc: str | None = None) -> str:
    """The internet gateway of the first VPC, or of a further one."""
    return f"{lab}-igw" if vpc is None else f"{lab}-igw.{vpc}"


def nat_netns(lab: str, nat_id: str) -> str:
    """A NAT gateway: by its id, since its tags may change."""
    return f"{lab}-nat.{nat_id.removeprefix('nat-')}"


def vgw_netns(lab: str, vpc: str | None = None) -> str:
    """The virtual private gateway of the first VPC, or of a further one."""
    return f"{lab}-vgw" if vpc is None else f"{lab}-vgw.{vpc}"


def site_netns(lab: str, site: str | None = None) -> str:
    """The first network outside of AWS, or a further one by its name."""
    return f"{lab}-onprem" if site is None else f"{lab}-onprem.{site}"


def tunnel_link(connection_id: str) -> str:
    """Both ends of the veth of a VPN connection or a virtual interface: ``v`` and the last 13 digits of its id."""
    return f"v{connection_id[-13:]}"


def internet_netns(lab: str) -> str:
    """The Internet of a lab."""
    return f"{lab}-internet"


RESERVED_NAMES = frozenset({"vpc", "igw", "nat", "internet", "vgw", "onprem"})
"""Words that nodes and pods of the namespace `default` cannot take: their namespaces are the lab's own."""
