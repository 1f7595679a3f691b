"""What the CNI's variables make of a node's room for pods (pure).

Read leniently: a scenario is judged by this before the variables themselves are, and those that cannot be taken are refused by
name when the lab comes up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labnet.model.capacity import PodNetworking

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""What Go's strconv.ParseBool takes for true."""


def pod_networking(env: Mapping[str, Any]) -> PodNetworking:
    """The settings that count for addresses and max-pods."""
    most = str(env.get("MAX_ENI", ""))
    return PodNetworking(
        prefix_delegation=env.get("ENABLE_PREFIX_DELEGATION", "") in TRUE,
        custom_networking=env.get("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "") in TRUE,
        max_enis=int(most) if most.isascii() and most.isdigit() and int(most) > 0 else None,
    )
