"""A scenario's `zoneLinks`: what they become, and what is refused with its line."""

from __future__ import annotations

import pytest

from labnet.lab import scenario_schema
from labnet.lab.world import refuse_other_changes
from labnet.model import codec
from labnet.model.scenario import Scenario
from labnet.model.zones import ZoneLinkSpec

VPC = """
vpc:
  cidr: 10.10.0.0/16
  subnets:
    - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}
    - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2b}
"""
LINKS = VPC + """
zoneLinks:
  - {between: [us-west-2b, us-west-2a], roundTripMs: 1.5, lossPercent: 0.1}
  - {lossPercent: 2}
"""


def test_what_they_become(read) -> None:
    scenario = read(LINKS)
    assert scenario.zone_links == (ZoneLinkSpec(("us-west-2b", "us-west-2a"), 1.5, 0.1), ZoneLinkSpec((), 0.0, 2.0))
    assert [link.id for link in scenario.zone_links] == ["us-west-2a:us-west-2b", "all-zones"]
    assert codec.from_document(codec.to_document(scenario), Scenario).zone_links == scenario.zone_links
    refuse_other_changes(scenario, read(VPC), {})


@pytest.mark.parametrize(
    ("entry", "field", "part"),
    [
        ("{between: [us-west-2a], lossPercent: 1}", "zoneLinks[0].between", "no two zones"),
        ("{between: [us-west-2a, us-west-2a]}", "zoneLinks[0].between", "no two zones"),
        ("{between: [us-west-2a, us-west-2c]}", "zoneLinks[0].between[1]", "us-west-2c"),
        ("{lossPercent: 101}", "zoneLinks[0].lossPercent", "101"),
        ("{roundTripMs: -1}", "zoneLinks[0].roundTripMs", "-1"),
        ("{roundTripMs: 20000}", "zoneLinks[0].roundTripMs", "20000"),
    ],
)
def test_what_is_refused(problems, entry: str, field: str, part: str) -> None:
    found = problems(f"{VPC}\nzoneLinks:\n  - {entry}\n")
    assert any(one.field == field and part in one.message and one.place.line for one in found), [(one.field, one.message) for one in found]


def test_a_pair_stands_once_whatever_its_order(problems) -> None:
    found = problems(f"{VPC}\nzoneLinks:\n  - {{between: [us-west-2a, us-west-2b]}}\n  - {{between: [us-west-2b, us-west-2a]}}\n")
    assert "second entry" in found[0].message and "lab.yaml:" in found[0].message


def test_the_schema_says_the_same() -> None:
    links = scenario_schema.schema()["$defs"]["ZoneLink"]["properties"]
    assert links["lossPercent"]["maximum"] == 100 and links["roundTripMs"]["minimum"] == 0
