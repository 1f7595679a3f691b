"""The table of zones as text: nothing where nothing is set, one element a subnet, whatever the number of network interfaces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders_cloud import a_cloud, with_node, with_subnet, with_vpc

from labnet.ec2 import zone_faults
from labnet.errors import NotFoundError, UsageError
from labnet.fabric.zones import plan_zones, queues_of
from labnet.model.cloud import CloudState
from labnet.model.netstate import IptRule, NftTable
from labnet.model.zones import ZoneFailure, ZoneLink, ZoneLinkSpec, link_between

A, B, C = "us-west-2a", "us-west-2b", "us-west-2c"


def body(cloud: CloudState, vpc_id: str = "vpc-1") -> str:
    tables = [item for item in plan_zones(cloud, vpc_id).objects if isinstance(item, NftTable)]
    assert len(tables) <= 1
    return tables[0].body if tables else ""


def nodes(count: int) -> CloudState:
    cloud = a_cloud()
    for n in range(count):
        cloud = with_node(cloud, f"n{n}", f"10.10.{n // 200 + 32 * (n % 2)}.{n % 200 + 4}", subnet="subnet-b" if n % 2 else "subnet-a")
    return cloud


def linked(cloud: CloudState, *between: str, loss: float = 10.0) -> CloudState:
    return zone_faults.set_link(cloud, ZoneLink(ZoneLinkSpec(between, loss_percent=loss)))


def test_nothing_is_set() -> None:
    assert body(nodes(4)) == body(linked(nodes(4), A, B, loss=0)) == body(linked(nodes(4), B, C)) == ""


def test_the_number_of_network_interfaces_does_not_count() -> None:
    assert body(linked(nodes(2), A, B)) == body(linked(nodes(400), A, B))


def test_only_ports_of_a_failed_zone_are_named_and_only_its_vpc_has_them() -> None:
    cloud = with_subnet(with_vpc(nodes(4), "vpc-2", "10.20.0.0/16"), "subnet-m", "vpc-2", "10.20.0.0/24", A)
    cloud = zone_faults.fail_zone(cloud, B, 1.0)
    assert [word for word in ("peni-n0-0", "peni-n1-0", "peni-n2-0", "peni-n3-0") if word in body(cloud)] == ["peni-n1-0", "peni-n3-0"]
    assert body(cloud, "vpc-2") == ""
    assert zone_faults.fail_zone(cloud, B, 9.0) is cloud, "it failed at 1 s"


def test_many_zones_take_a_chain_a_pair_and_an_element_a_subnet() -> None:
    cloud = a_cloud()
    for n, zone in enumerate("cdef"):
        cloud = with_subnet(cloud, f"subnet-{zone}", "vpc-1", f"10.10.{128 + n}.0/24", f"us-west-2{zone}")
    text = body(linked(cloud))
    assert text.count("numgen") == 15 and text.count("vmap") == 1 + 6
    assert text.count(" : jump z") == 6 * 5


def test_a_pair_goes_before_all_pairs_and_inside_a_zone_nothing_is_met() -> None:
    links = linked(linked(a_cloud(), loss=1), B, A, loss=2).zone_links
    found = [link_between(links, *pair) for pair in ((A, B), (B, A), (A, C))]
    assert [link.loss_percent for link in found if link is not None] == [2, 2, 1]
    assert link_between(links, A, A) is None and link_between({}, A, B) is None


def test_a_scenario_sets_its_own_and_leaves_what_was_added() -> None:
    cloud = linked(a_cloud(), A, B)
    both = zone_faults.configure(cloud, (ZoneLinkSpec((), loss_percent=1), ZoneLinkSpec((B, A), loss_percent=3)))
    assert {key: (one.origin, one.spec.loss_percent) for key, one in both.zone_links.items()} == {
        "all-zones": ("scenario", 1), f"{A}:{B}": ("added", 10),
    }
    assert zone_faults.configure(both, (ZoneLinkSpec((), loss_percent=1),)) is both
    assert list(zone_faults.configure(both, ()).zone_links) == [f"{A}:{B}"]


IMPOSSIBLE = (
    ZoneLinkSpec((A,)), ZoneLinkSpec((A, A)), ZoneLinkSpec((), -1), ZoneLinkSpec((), 0, 101), ZoneLinkSpec((), 1e6), ZoneLinkSpec((), 0.05),
)


@pytest.mark.parametrize("spec", IMPOSSIBLE)
def test_a_link_that_cannot_be(spec: ZoneLinkSpec) -> None:
    with pytest.raises(UsageError):
        zone_faults.check_link(spec, "us-west-2")


def test_a_zone_that_is_none() -> None:
    with pytest.raises(NotFoundError, match="us-west-9a"):
        zone_faults.fail_zone(a_cloud(), "us-west-9a", 0.0)


def test_clearing_what_is_not_there_changes_nothing() -> None:
    cloud = replace(a_cloud(), zone_failures={A: ZoneFailure(A)})
    assert zone_faults.clear(cloud, ["f1", B]) is cloud
    assert not zone_faults.clear(cloud, [A]).zone_failures


def test_each_length_of_time_has_a_queue_and_none_is_shorter_than_asked_for() -> None:
    cloud = with_subnet(a_cloud(), "subnet-c", "vpc-1", "10.10.64.0/19", C)
    for between, ms in (((A, B), 1.5), ((A, C), 1.5), ((B, C), 20.01)):
        cloud = zone_faults.set_link(cloud, ZoneLink(ZoneLinkSpec(between, ms)))
    assert queues_of(cloud, "vpc-1") == (15, 201)
    rules = [item.text for item in plan_zones(cloud, "vpc-1").objects if isinstance(item, IptRule)]
    assert len(rules) == 2 and "--queue-num 15 --queue-bypass" in rules[0]
    assert body(cloud).count("ct mark set 15\n") == 2 and body(cloud).count("ct mark set 0\n") == 1
    assert "ct mark" not in body(linked(a_cloud(), A, B)), "loss alone touches no mark"
