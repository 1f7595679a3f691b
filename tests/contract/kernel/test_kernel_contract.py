"""What every Kernel must do, in memory and for real."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from kernel_steps import Kernel, add, refused, remove, settled

from labnet.errors import KernelError
from labnet.kernel.diff import diff, missing, surplus
from labnet.model.netstate import (
    Addr,
    Change,
    IptChain,
    KernelObject,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    NftTable,
    Route,
    Rule,
    Sysctl,
    VethPeer,
)

Name = Callable[[str], str]
MAC, FAR_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
FORWARD = "net/ipv4/ip_forward"


@pytest.fixture
def pair(kernel: Kernel, name: Name) -> tuple[str, str]:
    """Two namespaces, a veth `one` – `two` between them, `one` up with 10.0.0.1/24."""
    here, there = name("a"), name("b")
    kernel.create_netns([here, there])
    add(
        kernel,
        here,
        Link("one", MAC, txqlen=0, mtu_bytes=9001, peer=VethPeer(there, "two", FAR_MAC)),
        LinkUp("one"),
        Addr("one", "10.0.0.1", 24),
    )
    return here, there


def test_both_ends_of_a_veth_appear_as_they_were_asked(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    assert Link("one", MAC, "veth", 0, 9001) in kernel.observe(here)
    far = kernel.observe(there)
    assert Link("two", FAR_MAC, "veth", 0, 9001) in far
    assert LinkMtu("two", 9001) in far
    assert far.find(("link-up", "two")) is None


def test_defaults_of_a_veth(kernel: Kernel, name: Name) -> None:
    kernel.create_netns([name("a")])
    add(kernel, name("a"), Link("one", peer=VethPeer(name("a"), "two")))
    found = [link for link in kernel.observe(name("a")).all(Link) if link.name != "lo"]
    assert sorted((link.name, link.txqlen, link.mtu_bytes) for link in found) == [("one", 1000, 1500), ("two", 1000, 1500)]
    assert len({link.mac for link in found}) == 2


def test_a_veth_into_a_namespace_that_is_not_there(kernel: Kernel, name: Name) -> None:
    kernel.create_netns([name("a")])
    assert refused(kernel, name("a"), Rule(9), Link("one", peer=VethPeer(name("b"), "two"))) == errno.ENOENT
    assert surplus(kernel.observe(name("a")), ()) == ()


def test_a_taken_far_name_is_refused(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    assert refused(kernel, here, Link("other", peer=VethPeer(there, "two"))) == errno.EEXIST
    assert kernel.observe(here).find(("link", "other")) is None
    add(kernel, here, Link("other", peer=VethPeer(there, "three")), LinkUp("other"))


def test_a_leftover_link_in_the_way_goes_first(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    add(kernel, here, Rule(5), Link("one", peer=VethPeer(there, "fresh")), LinkUp("one"), Route("10.5.0.0/16", "one", scope="link"))
    state = kernel.observe(here)
    assert Route("10.5.0.0/16", "one", scope="link") in state
    assert state.find(("addr", "inet", "one", "10.0.0.1", 24)) is None
    assert kernel.observe(there).find(("link", "two")) is None
    assert kernel.observe(there).find(("link", "fresh")) is not None


def test_removing_one_end_takes_the_other_and_all_that_is_on_it(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    add(kernel, here, Route("10.5.0.0/16", "one", "10.0.0.9"), Neigh("one", "10.0.0.9", FAR_MAC))
    add(kernel, there, LinkUp("two"), Addr("two", "10.0.0.2", 24))
    remove(kernel, here, Link("one"))
    assert surplus(kernel.observe(here), ()) == surplus(kernel.observe(there), ()) == ()
    remove(kernel, here, Link("one"))


def test_several_links_go_in_one_batch(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    more = [Link(f"x{number}", peer=VethPeer(there, f"y{number}")) for number in range(5)]
    add(kernel, here, *more)
    remove(kernel, here, *more[:2], Link("never"), *more[2:4])
    assert sorted(link.name for link in kernel.observe(here).all(Link)) == ["lo", "one", "x4"]
    assert sorted(link.name for link in kernel.observe(there).all(Link)) == ["lo", "two", "y4"]


def test_removing_a_namespace_takes_the_far_ends_at_once(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    kernel.remove_netns([there])
    assert not kernel.exists(there)
    assert [link.name for link in kernel.observe(here).all(Link)] == ["lo"]
    kernel.create_netns([there])
    add(kernel, here, Link("one", peer=VethPeer(there, "two")))


def test_what_needs_a_link_is_refused_without_it(kernel: Kernel, pair: tuple[str, str]) -> None:
    for item in (
        Addr("none", "10.1.0.1", 24),
        LinkUp("none"),
        LinkMtu("none", 1400),
        Neigh("none", "10.1.0.2", MAC),
        Route("10.1.0.0/16", "none", scope="link"),
    ):
        assert refused(kernel, pair[0], item) == errno.ENODEV
    assert refused(kernel, pair[0], Sysctl("net/ipv4/conf/none/rp_filter", "1")) == errno.ENOENT


def test_a_route_needs_its_link_up_and_its_gateway_near(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    assert refused(kernel, there, Route("10.1.0.0/16", "two", scope="link")) == errno.ENETDOWN
    assert refused(kernel, here, Route("10.1.0.0/16", "one", "10.9.9.9")) == errno.ENETUNREACH
    add(kernel, here, Route("10.1.0.0/16", "one", "10.9.9.9", onlink=True), Route("10.2.0.0/16", via="10.0.0.9"))
    state = kernel.observe(here)
    assert Route("10.1.0.0/16", "one", "10.9.9.9", onlink=True) in state
    assert missing(state, [Route("10.2.0.0/16", via="10.0.0.9")]) == ()


def test_an_address_brings_the_kernels_routes(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    made = [
        Route("10.0.0.0/24", "one", scope="link", src="10.0.0.1", protocol="kernel"),
        Route("10.0.0.1/32", "one", table=255, type="local", scope="host", src="10.0.0.1", protocol="kernel"),
        Route("10.0.0.255/32", "one", table=255, type="broadcast", scope="link", src="10.0.0.1", protocol="kernel"),
    ]
    state = kernel.observe(here)
    assert all(route in state for route in made)
    assert not any(isinstance(item, Route) for item in surplus(state, ()))
    remove(kernel, here, Addr("one", "10.0.0.1", 24))
    assert not any(route in kernel.observe(here) for route in made)


def test_the_addresses_of_one_link(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    add(kernel, here, Addr("one", "10.3.0.1", 32), Addr("one", "fd00::1", 64, "inet6"), Addr("lo", "10.4.0.1", 32))
    assert kernel.addresses(here, "one") == {"10.0.0.1", "10.3.0.1"}
    with pytest.raises(KernelError) as caught:
        kernel.addresses(here, "none")
    assert caught.value.errno == errno.ENODEV


def test_an_observation_may_leave_the_packet_filter_out(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    chain, table = IptChain("nat", "OURS", ("-j RETURN",)), NftTable("ip", "ours", "\tchain c {\n\t}")
    add(kernel, here, chain, table, Rule(9))
    assert {chain, table} <= set(kernel.observe(here))
    quick = set(kernel.observe(here, packet_filter=False))
    assert not quick & {chain, table}
    assert Rule(9) in quick


def test_an_observation_may_leave_addresses_routes_and_neighbours_out(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    ours = (Addr("one", "10.3.0.1", 24), Route("10.1.0.0/16", "one", scope="link"), Neigh("one", "10.0.0.9", FAR_MAC))
    add(kernel, here, *ours, Rule(9), IptChain("nat", "OURS", ("-j RETURN",)))
    whole, brief = set(kernel.observe(here)), set(kernel.observe(here, routing=False))
    assert set(ours) <= whole
    assert brief == {item for item in whole if not isinstance(item, Addr | Route | Neigh)} and Rule(9) in brief


def test_an_address_without_its_connected_route(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    wanted = Addr("one", "10.3.0.1", 24, connected_route=False)
    add(kernel, here, wanted)
    state = kernel.observe(here)
    assert wanted in state
    assert state.find(("route", "inet", 254, "10.3.0.0/24", 0)) is None
    other = Addr("one", "10.3.0.1", 24)
    kernel.apply([(here, (Change("replace", other, wanted),))])
    assert other in kernel.observe(here)
    kernel.apply([(here, (Change("replace", wanted, other),))])
    assert wanted in kernel.observe(here)


def test_link_down_takes_routes_and_neighbours(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    add(kernel, here, Route("10.1.0.0/16", "one", scope="link"), Neigh("one", "10.0.0.9", FAR_MAC))
    remove(kernel, here, LinkUp("one"))
    state = kernel.observe(here)
    assert [route for route in state.all(Route) if route.table == 254 and route.family == "inet"] == []
    assert [neigh for neigh in state.all(Neigh) if neigh.family == "inet"] == []
    assert Addr("one", "10.0.0.1", 24) in state


def test_the_last_address_takes_routes_and_the_difference_knows(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    route = Route("10.1.0.0/16", "one", scope="link")
    add(kernel, here, route)
    have = (Addr("one", "10.0.0.1", 24), route)
    remove(kernel, here, have[0])
    assert route not in kernel.observe(here)
    add(kernel, here, *have)
    want = (Addr("one", "10.0.0.2", 24), route)
    kernel.apply([(here, diff(have, want))])
    assert all(item in kernel.observe(here) for item in want)


ROUTES: tuple[Route, ...] = (
    Route("default", "one", "10.0.0.254"),
    Route("default", "one", "10.0.0.254", table=2),
    Route("10.0.0.254/32", "one", table=10101, scope="link"),
    Route("10.2.0.0/16", "one", "10.0.0.3", src="10.0.0.1", metric=77, mtu_bytes=1400),
    Route("10.2.0.0/16", type="blackhole"),
    Route("default", type="blackhole", metric=4294967295),
    Route("10.3.0.0/16", type="throw", table=101),
    Route("10.4.0.0/16", type="unreachable"),
    Route("10.4.4.0/24", type="prohibit"),
)
RULES = (
    Rule(512, dst="10.0.0.7/32"),
    Rule(1024, fwmark=0x80, fwmask=0x80),
    Rule(1536, 2, src="10.0.0.7/32", dst="10.0.0.0/16"),
    Rule(1537, 10101, iif="one", oif="two"),
    Rule(1538, 101, fwmark=101, fwmask=0xFFFF),
    Rule(1539, fwmark=7),
)


def test_routes_and_rules_come_back_as_they_were_planned_and_go(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    before = settled(kernel, here)
    add(kernel, here, *ROUTES, *RULES)
    state = kernel.observe(here)
    assert [item.text for item in (*ROUTES, *RULES) if item not in state] == []
    assert [rule.priority for rule in state.all(Rule) if rule.family == "inet"] == [0, 512, 1024, 1536, 1537, 1538, 1539, 32766, 32767]
    add(kernel, here, *ROUTES, *RULES)
    assert settled(kernel, here) != before
    remove(kernel, here, *reversed((*ROUTES, *RULES)))
    assert settled(kernel, here) == before
    remove(kernel, here, *reversed((*ROUTES, *RULES)))


def test_ipv6_comes_back_as_it_was_planned(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    wanted: tuple[KernelObject, ...] = (
        Addr("one", "fd00::1", 64, "inet6"),
        Route("fd01::/64", "one", "fd00::9", family="inet6"),
        Route("default", "one", "fd00::9", family="inet6", table=2),
        Rule(512, 2, "inet6", src="fd00::1/128"),
        Neigh("one", "fd00::9", FAR_MAC, "inet6"),
    )
    add(kernel, here, *wanted)
    state = kernel.observe(here)
    assert [item.text for item in wanted if item not in state] == []
    remove(kernel, here, *reversed(wanted))
    assert [item for item in surplus(kernel.observe(here), ()) if getattr(item, "family", "inet") == "inet6"] == []


def test_a_route_of_the_same_key_is_overwritten_and_undone(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    old, new = Route("10.1.0.0/16", "one", "10.0.0.3"), Route("10.1.0.0/16", "one", "10.0.0.4")
    add(kernel, here, old)
    assert refused(kernel, here, new, Addr("none", "10.9.0.1", 32)) == errno.ENODEV
    assert old in kernel.observe(here)
    add(kernel, here, new)
    assert new in kernel.observe(here)
    assert old not in kernel.observe(here)


def test_a_neighbour_is_overwritten(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    add(kernel, here, Neigh("one", "10.0.0.9", MAC))
    add(kernel, here, Neigh("one", "10.0.0.9", FAR_MAC))
    assert Neigh("one", "10.0.0.9", FAR_MAC) in kernel.observe(here)
    remove(kernel, here, Neigh("one", "10.0.0.9", FAR_MAC))
    remove(kernel, here, Neigh("one", "10.0.0.9", FAR_MAC))
    assert [neigh for neigh in kernel.observe(here).all(Neigh) if neigh.family == "inet"] == []


def test_link_values_change_and_come_back(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    assert refused(kernel, here, LinkMtu("one", 1400), Addr("none", "10.9.0.1", 32)) == errno.ENODEV
    assert LinkMtu("one", 9001) in kernel.observe(here)
    add(kernel, here, LinkMtu("one", 1400))
    kernel.apply([(here, (Change("replace", Link("one", "02:00:00:00:00:0c", txqlen=5), Link("one", MAC, txqlen=0)),))])
    assert Link("one", "02:00:00:00:00:0c", "veth", 5, 1400) in kernel.observe(here)


def test_sysctls_are_written_and_read(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    add(kernel, here, Sysctl(FORWARD, "0"))
    add(kernel, here, Sysctl("net.ipv4.ip_forward", "1"), Sysctl("net/ipv4/conf/one/rp_filter", "2"))
    add(kernel, there, Sysctl(FORWARD, "0"))
    state = kernel.observe(here, [FORWARD, "net/ipv4/conf/one/rp_filter"])
    assert state.all(Sysctl) == (Sysctl(FORWARD, "1"), Sysctl("net/ipv4/conf/one/rp_filter", "2"))
    assert Sysctl(FORWARD, "0") in kernel.observe(there, [FORWARD])
    assert refused(kernel, here, Sysctl(FORWARD, "0"), Addr("none", "10.9.0.1", 32)) == errno.ENODEV
    assert Sysctl(FORWARD, "1") in kernel.observe(here, [FORWARD])


def test_a_failure_undoes_everything_in_every_namespace(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, there = pair
    before = settled(kernel, here), settled(kernel, there)
    good = (
        Change("add", Link("new", peer=VethPeer(there, "far"))),
        Change("add", LinkUp("new")),
        Change("add", Rule(7)),
        Change("add", Route("10.7.0.0/16", "new", scope="link")),
        Change("remove", Addr("one", "10.0.0.1", 24)),
    )
    bad = (Change("add", LinkUp("far")), Change("add", Route("10.8.0.0/16", "far", "10.9.9.9")))
    with pytest.raises(KernelError) as caught:
        kernel.apply([(here, good), (there, bad)])
    assert (caught.value.op, caught.value.netns, caught.value.errno) == ("add", there, errno.ENETUNREACH)
    assert "10.8.0.0/16" in caught.value.target
    assert (settled(kernel, here), settled(kernel, there)) == before


def test_route_get_follows_rules_tables_and_marks(kernel: Kernel, pair: tuple[str, str]) -> None:
    here, _there = pair
    add(kernel, here, Route("default", "one", "10.0.0.254", table=2), Rule(100, 2, fwmark=5), Route("10.9.0.0/16", type="blackhole"))
    assert kernel.route_get(here, "8.8.8.8").error == errno.ENETUNREACH
    answer = kernel.route_get(here, "8.8.8.8", mark=5)
    assert (answer.table, answer.dev, answer.via, answer.error) == (2, "one", "10.0.0.254", 0)
    assert (kernel.route_get(here, "10.0.0.7").table, kernel.route_get(here, "10.0.0.7").dev) == (254, "one")
    assert kernel.route_get(here, "10.9.1.1").error == errno.EINVAL
    assert kernel.route_get(here, "10.9.1.1").type == "blackhole"
