"""`labnet capacity`: the words of a user made a question for `model.capacity`."""

from __future__ import annotations

from typing import Any

from labnet.ec2 import limits
from labnet.errors import UsageError
from labnet.model import capacity
from labnet.model.addressing import canonical
from labnet.model.capacity import PodNetworking, Question


def capacity_of(instance_type: str, prefix: bool, custom_networking: bool, subnet: str | None, nodes: int | None) -> dict[str, Any]:
    """The Capacity document. Errors: UsageError for an unknown type, and for what AWS makes no subnet of."""
    types = limits.load()
    if instance_type not in types:
        from labnet.lab.scenario_rules_cluster import suggest_type  # late: only a wrong name needs it

        raise UsageError(f"there is no instance type {instance_type!r}", suggest_type(instance_type, types))
    if subnet is not None and not capacity.is_subnet(subnet):
        raise UsageError(f"{subnet!r} is no subnet that AWS makes", _hint(subnet))
    return capacity.capacity(Question(types[instance_type], PodNetworking(prefix, custom_networking), subnet, nodes))


def _hint(subnet: str) -> str:
    try:
        block = canonical(subnet)
    except ValueError:
        return "an IPv4 block of /16 to /28, as 10.10.0.0/24"
    return f"the block is {block}" if block != subnet else "subnets are /16 to /28"
