"""The environment that a scenario gives the VPC CNI: a misspelt name is no silent default, and what cannot be taken is said here (pure).

Source: docs/sources.md#vpc-cni-variables
"""

from __future__ import annotations

from collections.abc import Mapping

from labnet.ipamd.variables import VARIABLES, Dialect, refusals
from labnet.lab.scenario_problems import Findings, nearest

EXAMPLES = "for example WARM_ENI_TARGET, WARM_IP_TARGET, MAX_ENI"


def check_env(env: Mapping[str, str], dialect: Dialect, findings: Findings) -> None:
    """Note every variable that the VPC CNI of that release does not read, labnet does not do, or with which the daemon would not start."""
    for refused in refusals(env, dialect):
        findings.add(("cni", "env", refused.name), refused.message, refused.hint or nearest(refused.name, VARIABLES, EXAMPLES))
