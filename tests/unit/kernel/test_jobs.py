"""Several jobs as one: the order in which their additions can be made."""

from __future__ import annotations

from labnet.kernel.jobs import additions_only, together
from labnet.model.netstate import Change, Link, LinkUp, Route, Rule, VethPeer


def pod(name: str, address: str) -> list[tuple[str, tuple[Change, ...]]]:
    link = Link("eth0", peer=VethPeer("node", f"eni{name}"))
    route, rule = Route(f"{address}/32", f"eni{name}", scope="link"), Rule(512, dst=f"{address}/32")
    return [
        (name, (Change("add", link), Change("add", LinkUp("eth0")))),
        ("node", (Change("add", LinkUp(f"eni{name}")), Change("add", route), Change("add", rule))),
    ]


def test_links_come_first_and_a_shared_namespace_is_visited_once() -> None:
    a, b = pod("a", "10.0.0.1"), pod("b", "10.0.0.2")
    batches = together([a, b])
    assert [netns for netns, _changes in batches] == ["a", "b", "node"]
    assert [change.text for change in batches[2][1]] == [
        "link set enia up", "link set enib up", "10.0.0.1 dev enia scope link", "10.0.0.2 dev enib scope link",
        "512: from all to 10.0.0.1 lookup main", "512: from all to 10.0.0.2 lookup main",
    ]
    assert together([a]) == a, "one job stays as it is"


def test_only_additions_may_change_places() -> None:
    assert additions_only([pod("a", "10.0.0.1")])
    assert not additions_only([pod("a", "10.0.0.1"), [("node", (Change("remove", Rule(512)),))]])
