"""What the CNI's variables make of a node's room for pods (pure).

Read before the variables themselves are judged: what cannot be read counts as the default, and what cannot be taken is refused
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from labnet.ipamd.variables import flag, whole_number
from labnet.model.capacity import PodNetworking


def pod_networking(env: Mapping[str, str]) -> PodNetworking:
    """The settings that count for addresses and max-pods."""
    most = whole_number(env.get("MAX_ENI", ""))
    return PodNetworking(
        prefix_delegation=flag(env, "ENABLE_PREFIX_DELEGATION", False),
        custom_networking=flag(env, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", False), max_enis=most if most and most > 0 else None,
    )
