"""The arithmetic of security groups: boxes that do not overlap, profiles, pairs of profiles."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest
from builders_cloud import ALL_OUT, a_cloud, tcp, with_eni, with_group, with_node
from hypothesis import given, settings
from hypothesis import strategies as st

from labnet.errors import LabnetError
from labnet.fabric import security, tables
from labnet.fabric.security import address_text, class_text, disjoint, mark_text, plan_groups, profile_number, profile_of, service_box
from labnet.model.cloud import SecurityGroupRule
from labnet.model.netstate import NftElement


def ranges(top: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, top), st.integers(0, top)).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(st.tuples(ranges(3), ranges(5), ranges(5)), max_size=6))
@settings(max_examples=150, deadline=None)
def test_disjoint_boxes_cover_the_same_points_once(boxes: list[tuple[tuple[int, int], ...]]) -> None:
    cut = disjoint(boxes)
    for point in product(range(4), range(6), range(6)):
        inside = sum(all(low <= at <= high for at, (low, high) in zip(point, box, strict=True)) for box in cut)
        wanted = any(all(low <= at <= high for at, (low, high) in zip(point, box, strict=True)) for box in boxes)
        assert inside == wanted


def test_a_wide_rule_swallows_narrow_ones_and_stays_whole() -> None:
    wide, narrow = ((0, 255), (0, 65535), (0, 2**32 - 1)), ((6, 6), (80, 80), (10, 20))
    assert disjoint([narrow, wide, narrow]) == (wide,)


@pytest.mark.parametrize(
    ("rule", "box"),
    [
        (SecurityGroupRule("-1"), ((0, 255), (0, 65535))),
        (SecurityGroupRule("tcp", 80, 443), ((6, 6), (80, 443))),
        (SecurityGroupRule("udp"), ((17, 17), (0, 65535))),
        (SecurityGroupRule("icmp", -1, -1), ((1, 1), (0, 65535))),
        (SecurityGroupRule("icmp", 3, 4), ((1, 1), (0x0304, 0x0304))),
        (SecurityGroupRule("icmp", 8, -1), ((1, 1), (0x0800, 0x08FF))),
        (SecurityGroupRule("50"), ((50, 50), (0, 65535))),
        (SecurityGroupRule("6", 22, 22), ((6, 6), (22, 22))),
    ],
)
def test_a_rule_is_a_box_of_protocols_and_ports(rule: SecurityGroupRule, box: object) -> None:
    assert service_box(rule) == box


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((0, 2**32 - 1), "0.0.0.0/0"), ((9, 9), "0.0.0.9"), ((10 << 24, (10 << 24) + 255), "10.0.0.0/24"), ((1, 4), "0.0.0.1-0.0.0.4")],
)
def test_addresses_print_as_nft_does(numbers: tuple[int, int], text: str) -> None:
    assert address_text(numbers) == text


def test_marks_and_class_ids_print_as_nft_does() -> None:
    assert (mark_text(7), class_text(0x12340009)) == ("0x00000007", "1234:9")


def test_a_profile_is_a_set_of_groups_with_a_number_of_its_own_below_bit_31() -> None:
    assert profile_of(["b", "a", "b"]) == ("a", "b")
    assert 0 < profile_number(("a",)) < tables.TTL_255_BIT
    assert profile_number(("a", "b")) != profile_number(("ab",))


def test_two_profiles_of_one_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = with_group(with_node(a_cloud(), "one", "10.10.0.10"), "sg-x")
    cloud = with_node(cloud, "two", "10.10.0.11", groups=("sg-x",))
    monkeypatch.setattr(security, "profile_number", lambda profile: 1)
    with pytest.raises(LabnetError):
        plan_groups(cloud, "vpc-1")


def test_elements_follow_profiles_in_use_not_ports() -> None:
    cloud = a_cloud()
    for number in range(50):
        cloud = with_node(cloud, f"n{number}", f"10.10.1.{number}")
    assert len(plan_groups(cloud, "vpc-1").objects) == 2
    alone = with_eni(cloud, "n1", 0, "10.10.1.1", attached=False)
    alone = replace(alone, enis={"eni-n1-0": alone.enis["eni-n1-0"]})
    assert plan_groups(alone, "vpc-1").objects == ()


def test_a_rule_that_names_a_group_makes_one_element_per_pair_of_profiles() -> None:
    cloud = with_group(a_cloud(), "sg-web", egress=())
    cloud = with_group(cloud, "sg-db", ingress=(tcp(5432, group="sg-web"), tcp(5432, group="sg-absent")), egress=())
    for name, groups in (("w1", ("sg-web",)), ("w2", ("sg-web",)), ("w3", ("sg-web", "sg-db")), ("db", ("sg-db",))):
        cloud = with_node(cloud, name, f"10.10.0.{len(cloud.enis) + 10}", groups=groups)
    found = [item for item in plan_groups(cloud, "vpc-1").objects if isinstance(item, NftElement)]
    assert {item.set for item in found} == {tables.SG_INGRESS_GROUPS}
    web, both, db = (profile_number(groups) for groups in (("sg-web",), ("sg-db", "sg-web"), ("sg-db",)))
    pairs = {(sender, receiver) for sender in (web, both) for receiver in (db, both)}
    assert {item.fields[:2] for item in found} == {(mark_text(sender), class_text(receiver)) for sender, receiver in pairs}
    assert {item.fields[2:] for item in found} == {("6", "5432")}


def test_no_two_elements_of_a_set_overlap() -> None:
    rules = (tcp(1, 100, "10.0.0.0/8"), tcp(80, cidr="0.0.0.0/0"), SecurityGroupRule("-1", cidr="10.10.0.0/16"), tcp(50, 200, "10.10.0.0/8"))
    cloud = with_node(with_group(a_cloud(), "sg-x", ingress=rules, egress=(ALL_OUT, *rules)), "n", "10.10.0.9", groups=("sg-x",))
    for name in (tables.SG_INGRESS, tables.SG_EGRESS):
        boxes = [_box(item) for item in plan_groups(cloud, "vpc-1").objects if isinstance(item, NftElement) and item.set == name]
        for one, other in combinations(boxes, 2):
            assert any(high < low2 or high2 < low for (low, high), (low2, high2) in zip(one, other, strict=True))


def _box(element: NftElement) -> tuple[tuple[int, int], ...]:
    from labnet.model.addressing import bounds, to_int

    def numbers(text: str) -> tuple[int, int]:
        low, _dash, high = text.partition("-")
        return int(low), int(high or low)

    address = element.fields[3]
    if "-" in address:
        low, high = address.split("-")
        return numbers(element.fields[1]), numbers(element.fields[2]), (to_int(low), to_int(high))
    return numbers(element.fields[1]), numbers(element.fields[2]), bounds(address if "/" in address else f"{address}/32")
