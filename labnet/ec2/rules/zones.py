"""Regions, availability zones and what an account may have (pure). Source: docs/sources.md#zones"""

from __future__ import annotations

from typing import Any

from labnet.ec2.rules import describe
from labnet.ec2.rules.request import Context, Params, Result, action, invalid
from labnet.ec2.rules.shapes import zone_id
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState
from labnet.model.values import frozen

ENABLED = {
    "us-east-1": "abcdef", "us-east-2": "abc", "us-west-1": "abc", "us-west-2": "abcd", "ca-central-1": "abcd", "sa-east-1": "abc",
    "eu-central-1": "abc", "eu-north-1": "abc", "eu-west-1": "abc", "eu-west-2": "abc", "eu-west-3": "abc", "ap-northeast-1": "abcd",
    "ap-northeast-2": "abcd", "ap-northeast-3": "abc", "ap-south-1": "abc", "ap-southeast-1": "abc", "ap-southeast-2": "abc",
}
"""Regions that every account has, and the letters of their zones."""
OPT_IN = (
    "af-south-1", "ap-east-1", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ca-west-1", "eu-central-2", "eu-south-1",
    "eu-south-2", "il-central-1", "me-central-1", "me-south-1", "mx-central-1",
)
OPT_IN_ZONES = "abc"


@frozen
class Zone:
    """An availability zone."""

    name: str
    id: str
    region: str


@frozen
class Region:
    """A region and whether the account can use it."""

    name: str
    opt_in_status: str

    @property
    def endpoint(self) -> str:
        """The host name of its EC2 API."""
        return f"ec2.{self.name}.amazonaws.com"


def zones_of(region: str) -> tuple[Zone, ...]:
    """The zones of a region; one that AWS does not have is given three."""
    names = (f"{region}{letter}" for letter in ENABLED.get(region, OPT_IN_ZONES))
    return tuple(Zone(name, zone_id(name), region) for name in names)


def describe_zones(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeAvailabilityZones: those of the lab's region."""
    every = zones_of(state.region)
    names, ids = params.get("ZoneNames"), params.get("ZoneIds")
    unknown = sorted((set(names or ()) - {one.name for one in every}) | (set(ids or ()) - {one.id for one in every}))
    if unknown:
        raise invalid(f"Invalid availability zone: [{unknown[0]}]")
    zones = [one for one in every if (not names or one.name in names) and (not ids or one.id in ids)]
    fields: dict[str, describe.Field[Zone]] = {
        "zone-name": lambda one: (one.name,), "zone-id": lambda one: (one.id,), "region-name": lambda one: (one.region,),
        "state": lambda one: ("available",), "zone-type": lambda one: ("availability-zone",), "message": lambda one: (),
        "group-name": lambda one: (_group(one),), "network-border-group": lambda one: (one.region,),
        "opt-in-status": lambda one: ("opt-in-not-required",), "parent-zone-id": lambda one: (), "parent-zone-name": lambda one: (),
    }
    found = describe.matching(zones, params, fields, lambda one: {})
    return state, {"AvailabilityZones": [_zone_shape(one) for one in found]}


def _group(zone: Zone) -> str:
    return f"{zone.region}-zg-1"


def _zone_shape(zone: Zone) -> dict[str, Any]:
    return {
        "ZoneName": zone.name, "ZoneId": zone.id, "RegionName": zone.region, "State": "available", "OptInStatus": "opt-in-not-required",
        "Messages": [], "GroupName": _group(zone), "NetworkBorderGroup": zone.region, "ZoneType": "availability-zone",
    }


def describe_regions(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeRegions: those that the account can use, or all."""
    usable = dict.fromkeys((*ENABLED, state.region))
    regions = [Region(name, "opted-in" if name in OPT_IN else "opt-in-not-required") for name in usable]
    if params.get("AllRegions"):
        regions += [Region(name, "not-opted-in") for name in OPT_IN if name not in usable]
    wanted = params.get("RegionNames")
    unknown = set(wanted or ()) - {one.name for one in regions}
    if unknown:
        raise invalid(f"Invalid region provided: [{sorted(unknown)[0]}]")
    fields: dict[str, describe.Field[Region]] = {
        "region-name": lambda one: (one.name,), "endpoint": lambda one: (one.endpoint,), "opt-in-status": lambda one: (one.opt_in_status,),
    }
    found = describe.matching([one for one in regions if not wanted or one.name in wanted], params, fields, lambda one: {})
    return state, {
        "Regions": [{"RegionName": one.name, "Endpoint": one.endpoint, "OptInStatus": one.opt_in_status} for one in found]
    }


ATTRIBUTES = {
    "supported-platforms": "VPC", "default-vpc": "none", "max-instances": "20", "vpc-max-security-groups-per-interface": "5",
    "max-elastic-ips": "5", "vpc-max-elastic-ips": "5",
}


def describe_account(state: CloudState, params: Params, context: Context) -> Result:
    """DescribeAccountAttributes."""
    wanted = params.get("AttributeNames") or list(ATTRIBUTES)
    unknown = [name for name in wanted if name not in ATTRIBUTES]
    if unknown:
        raise Ec2Error("InvalidParameterValue", f"Value ({unknown[0]}) for parameter attributeName is invalid. Unknown attribute.")
    shown = [{"AttributeName": name, "AttributeValues": [{"AttributeValue": ATTRIBUTES[name]}]} for name in wanted]
    return state, {"AccountAttributes": shown}


ACTIONS = {
    "DescribeAvailabilityZones": action(describe_zones, "ZoneNames ZoneIds AllAvailabilityZones Filters", mutates=False),
    "DescribeRegions": action(describe_regions, "RegionNames AllRegions Filters", mutates=False),
    "DescribeAccountAttributes": action(describe_account, "AttributeNames", mutates=False),
}
