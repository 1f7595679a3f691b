"""In which subnet a new ENI goes, by the subnets' tags (pure). Source: docs/sources.md#ipamd-subnets

`kubernetes.io/role/cni` with value 0 keeps the daemon out of a subnet; absent, only the node's own subnet is taken; with any
other value the subnet is taken, unless `cni.networking.k8s.aws/cluster/NAME` tags give it to other clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ROLE_TAG = "kubernetes.io/role/cni"
CLUSTER_TAG_PREFIX = "cni.networking.k8s.aws/cluster/"
EXCLUDED = "0"

Described = Mapping[str, Any]
"""A subnet in the API's shape."""


def tags_of(item: Mapping[str, Any]) -> dict[str, str]:
    """The tags of something in the API's shape."""
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or item.get("TagSet") or ()}


def is_excluded(subnet: Described) -> bool:
    """Does its tag keep pods' addresses out of it?"""
    return tags_of(subnet).get(ROLE_TAG) == EXCLUDED


def is_valid(subnet: Described, own_subnet_id: str, cluster_name: str) -> bool:
    """May a new ENI of this node go there? `cluster_name` empty = whose it is does not matter."""
    tags = tags_of(subnet)
    role = tags.get(ROLE_TAG)
    if role is None:
        return bool(subnet["SubnetId"] == own_subnet_id)
    clusters = [key.removeprefix(CLUSTER_TAG_PREFIX) for key in tags if key.startswith(CLUSTER_TAG_PREFIX)]
    return role != EXCLUDED and (not cluster_name or not clusters or cluster_name in clusters)


def choose(subnets: Iterable[Described], own_subnet_id: str, cluster_name: str) -> tuple[str, ...]:
    """The ids of the subnets to try, the one with most free addresses first; equal ones in order of their ids."""
    valid = [one for one in subnets if is_valid(one, own_subnet_id, cluster_name)]
    return tuple(one["SubnetId"] for one in sorted(valid, key=lambda one: (-one["AvailableIpAddressCount"], one["SubnetId"])))
