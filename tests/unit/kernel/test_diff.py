"""The pure difference: order, what is no change, what counts as equal."""

from __future__ import annotations

from labnet.kernel.diff import canonical, diff, matches, missing, surplus
from labnet.model.netstate import (
    Addr,
    Change,
    IptChain,
    IptRule,
    KernelObject,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    NftElement,
    NftPortChain,
    NftTable,
    Route,
    Rule,
    Sysctl,
    VethPeer,
)

PORT = Link("port", peer=VethPeer("other", "eth0"))
GRANT: tuple[KernelObject, ...] = (
    NftElement("t", "s", ("10.0.0.1",), ("ipv4_addr",)),
    IptRule("nat", "POSTROUTING", "-j MINE"),
    IptChain("nat", "MINE"),
    NftPortChain("t", "in-port", "port", "ingress", "checks"),
    NftTable("inet", "t", ""),
    Rule(512, dst="10.0.0.1/32"),
    Route("default", "port", "10.0.0.254"),
    Route("10.0.0.254/32", "port", scope="link"),
    Neigh("port", "10.0.0.254", "02:00:00:00:00:01"),
    Addr("port", "10.0.0.1", 32),
    LinkUp("port"),
    LinkMtu("port", 9001),
    Sysctl("net/ipv4/conf/port/rp_filter", "0"),
    PORT,
)


def kinds(changes: tuple[Change, ...]) -> list[tuple[str, str]]:
    return [(change.op, change.object.kind) for change in changes]


def test_additions_go_from_foundations_to_dependents() -> None:
    changes = diff((), GRANT)
    assert [change.object for change in changes] == [
        PORT,
        GRANT[12],
        GRANT[11],
        GRANT[10],
        GRANT[9],
        GRANT[8],
        GRANT[7],
        GRANT[6],
        GRANT[5],
        GRANT[4],
        GRANT[3],
        GRANT[0],
        GRANT[2],
        GRANT[1],
    ]
    assert {change.op for change in changes} == {"add"}


def test_removals_go_the_other_way_round_and_before_additions() -> None:
    new = Rule(9)
    changes = diff(GRANT, (new,))
    kept_by_the_kernel = {"sysctl", "link-mtu"}
    order = [change.object.kind for change in diff((), GRANT) if change.object.kind not in kept_by_the_kernel]
    assert kinds(changes) == [*[("remove", kind) for kind in reversed(order)], ("add", "rule")]


def test_a_revoke_takes_sets_before_route_and_neighbour() -> None:
    places = [change.object.kind for change in diff(GRANT, ())]
    assert places.index("nft-element") < places.index("route") < places.index("neigh")


def test_derived_objects_are_neither_added_nor_removed() -> None:
    made = (
        Route("10.0.0.0/24", "eth0", scope="link", src="10.0.0.1", protocol="kernel"),
        Rule(0, 255),
        Rule(32766),
        Link("lo", type="loopback"),
        Addr("lo", "127.0.0.1", 8, scope="host", derived=True),
        Neigh("eth0", "10.0.0.9", "02:00:00:00:00:09", state="reachable"),
        LinkUp("lo"),
    )
    assert diff(made, ()) == ()
    assert diff((), [item for item in made if item.derived]) == ()


def test_the_far_end_of_a_veth_is_no_change() -> None:
    far = Link("eth0", "02:00:00:00:00:02", made_by="peer")
    assert diff((), (far,)) == ()
    assert diff((far,), ()) == ()


def test_what_a_plan_leaves_open_is_not_compared() -> None:
    seen = Link("port", "02:00:00:00:00:02", "veth", 1000, 1500)
    assert matches(seen, PORT)
    assert matches(Addr("e", "10.0.0.1", 24, broadcast="10.0.0.255"), Addr("e", "10.0.0.1", 24))
    assert matches(Route("default", "e", "10.0.0.254"), Route("default", via="10.0.0.254"))
    assert not matches(Route("default", "e", "10.0.0.254", src="10.0.0.1"), Route("default", "e", "10.0.0.254"))
    assert not matches(seen, Link("port", "02:00:00:00:00:03", peer=PORT.peer))


def test_an_mtu_of_its_own_hides_the_one_at_creation() -> None:
    seen = (Link("port", mtu_bytes=9001), LinkMtu("port", 9001))
    assert diff(seen, (Link("port", mtu_bytes=1500, peer=PORT.peer), LinkMtu("port", 9001))) == ()
    assert diff(seen, (Link("port", mtu_bytes=1500, peer=PORT.peer),))[0].op == "replace"


def test_spellings_of_one_thing_are_one_thing() -> None:
    assert diff((Rule(1, fwmark=5),), (Rule(1, fwmark=5, fwmask=0xFFFFFFFF),)) == ()
    assert diff((Sysctl("net/ipv4/ip_forward", "1"),), (Sysctl("net.ipv4.ip_forward", "1"),)) == ()
    seen = Route("fd00::/64", "e", family="inet6")
    assert diff((seen,), (Route("fd00::/64", "e", family="inet6", scope="link", metric=1024),)) == ()
    assert canonical(seen) is seen


def test_another_peer_remakes_the_link_and_what_was_on_it() -> None:
    up, route = LinkUp("port"), Route("10.0.0.1/32", "port", scope="link")
    other = Link("port", peer=VethPeer("other", "eth1"))
    changes = diff((PORT, up, route), (other, up, route))
    assert kinds(changes) == [
        ("remove", "route"),
        ("remove", "link-up"),
        ("remove", "link"),
        ("add", "link"),
        ("add", "link-up"),
        ("add", "route"),
    ]


def test_the_last_address_takes_routes_along_which_are_written_again() -> None:
    old, new, route = Addr("e", "10.0.0.1", 24), Addr("e", "10.0.1.1", 24), Route("10.9.0.0/16", "e", scope="link")
    assert kinds(diff((old, route), (new, route))) == [("remove", "route"), ("remove", "addr"), ("add", "addr"), ("add", "route")]
    kept = Addr("e", "10.0.2.1", 24)
    assert kinds(diff((old, kept, route), (kept, route))) == [("remove", "addr")]


def test_repair_adds_and_mends_but_removes_nothing() -> None:
    have = (Rule(1), Route("10.0.0.0/8", "a", scope="link"))
    want = (Rule(2), Route("10.0.0.0/8", "b", scope="link"))
    assert kinds(missing(have, want)) == [("replace", "route"), ("add", "rule")]
    assert surplus(have, want) == (Rule(1),)


def test_what_is_lost_takes_more_along() -> None:
    """The primary address goes, its secondary with it, so the link is bare, its routes are gone and with them the gateway's."""
    link, up = Link("eth0", peer=VethPeer("other", "far")), LinkUp("eth0")
    primary, secondary = Addr("eth0", "10.0.0.1", 16), Addr("eth0", "10.0.0.2", 16)
    near, far = Route("10.8.0.0/16", "eth0", scope="link"), Route("default", via="10.8.0.1")
    changes = diff((link, up, primary, secondary, near, far), (link, up, secondary, near, far))
    assert [(change.op, change.object) for change in changes] == [
        ("remove", far), ("remove", near), ("remove", primary), ("remove", secondary), ("add", secondary), ("add", near), ("add", far),
    ]
