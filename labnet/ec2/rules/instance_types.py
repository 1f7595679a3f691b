"""Instance types: describe them from the table of limits (pure). Source: docs/sources.md#instance-limits"""

from __future__ import annotations

import fnmatch

from labnet.ec2.rules import describe
from labnet.ec2.rules.request import Context, Params, Result, action
from labnet.ec2.rules.shapes import type_shape
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState, InstanceType

PAGE = 100
_FIELDS: dict[str, describe.Field[InstanceType]] = {
    "instance-type": lambda one: (one.name,),
    "bare-metal": lambda one: (str(one.bare_metal).lower(),),
    "hypervisor": lambda one: (one.hypervisor,) if one.hypervisor in ("nitro", "xen") else (),
    "network-info.maximum-network-interfaces": lambda one: (str(one.enis),),
    "network-info.maximum-network-cards": lambda one: (str(len(one.network_cards)),),
    "network-info.ipv4-addresses-per-interface": lambda one: (str(one.ipv4_per_eni),),
    "network-info.ipv6-addresses-per-interface": lambda one: (str(one.ipv4_per_eni),),
    "network-info.ipv6-supported": lambda one: ("true",),
}


def describe_types(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeInstanceTypes: named (with `*` as a wildcard), or all, in pages of 5 to 100."""
    describe.page_or_ids(params, "InstanceTypes", "instanceTypes")
    named = [str(one) for one in params.get("InstanceTypes") or ()]
    if len(named) > PAGE:
        raise Ec2Error("InvalidParameterValue", f"At most {PAGE} instance types can be named in one request")
    types: dict[str, InstanceType] = {}
    unknown: list[str] = []
    for one in named:
        found = [one] if one in context.limits else fnmatch.filter(context.limits, one) if "*" in one else []
        types |= {name: context.limits[name] for name in found}
        unknown += [] if found else [one]
    if unknown:
        raise Ec2Error("InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(unknown)}]")
    offered = types.values() if named else context.limits.values()
    shown, more = describe.page(describe.matching(offered, params, _FIELDS, lambda one: {}), params, PAGE)
    return state, {"InstanceTypes": [type_shape(one) for one in shown], **more}


ACTIONS = {
    "DescribeInstanceTypes": action(describe_types, "InstanceTypes Filters MaxResults NextToken", mutates=False),
}
