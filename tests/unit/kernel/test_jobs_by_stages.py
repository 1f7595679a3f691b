"""Many batches of additions in stages: links first, then each namespace at once, in transactions that any socket takes."""

from __future__ import annotations

from labnet.kernel.jobs import AT_ONCE, by_stages
from labnet.model.netstate import Batch, Change, KernelObject, Link, LinkUp, NftElement, NftTable, Route, VethPeer


def added(netns: str, *items: KernelObject) -> Batch:
    return netns, tuple(Change("add", item) for item in items)


def element(number: int) -> NftElement:
    return NftElement("t", "s", (f"p{number}",), ("ifname",), family="ip")


def test_links_come_first_and_then_each_namespace_once_foundations_first() -> None:
    one, two = (Link(f"p{number}", peer=VethPeer(f"n{number}", "eth0")) for number in (1, 2))
    table, route = NftTable("ip", "t", ""), Route("10.0.0.1/32", dev="p2")
    found = by_stages([added("vpc", element(1), one, LinkUp("p1")), added("n1", LinkUp("eth0")), added("vpc", two, route, LinkUp("p2"), table)])
    assert [(netns, [change.object for change in changes]) for netns, changes in found] == [
        ("vpc", [one, two]),
        ("vpc", [LinkUp("p1"), LinkUp("p2"), route, table, element(1)]),
        ("n1", [LinkUp("eth0")]),
    ]


def test_what_takes_away_or_overwrites_keeps_its_order() -> None:
    batches = [added("a", LinkUp("x")), ("a", (Change("remove", LinkUp("y")),)), added("b", Link("l", peer=VethPeer("a", "x")))]
    assert by_stages(batches) == batches


def test_many_elements_go_in_several_transactions_behind_their_table() -> None:
    many = [added("vpc", element(number)) for number in range(2 * AT_ONCE + 1)]
    found = by_stages([added("vpc", NftTable("ip", "t", "")), *many])
    assert [len(changes) for _netns, changes in found if changes] == [1, AT_ONCE, AT_ONCE, 1]
    assert {netns for netns, _changes in found} == {"vpc"}
    assert [change.object for _netns, changes in found for change in changes][1:] == [element(number) for number in range(2 * AT_ONCE + 1)]
