"""The checks, one module for each part of EC2's networking; each is a sentence of AWS's documentation made into calls."""

from __future__ import annotations

from labnet.ec2.probe.check import Check
from labnet.ec2.probe.checks import acls, addresses, dhcp, enis, gateways, groups, instances, lists, prefixes, requests, routes, subnets

_MODULES = (subnets, addresses, prefixes, enis, groups, lists, routes, acls, gateways, dhcp, instances, requests)


def all_checks() -> tuple[Check, ...]:
    """Every check, those of one group together."""
    found = [one for module in _MODULES for one in vars(module).values() if isinstance(one, Check)]
    groups = list(dict.fromkeys(one.group for one in found))
    return tuple(sorted(found, key=lambda one: groups.index(one.group)))
