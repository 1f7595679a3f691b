"""What a decision tells: rules and routes that were passed over, netfilter's rules by number, marks, TTL, MTU, reverse path."""

from __future__ import annotations

from dataclasses import replace

import builders_trace as labs
import pytest

from labnet.model.netstate import IptChain, IptRule, KernelState, Neigh, NftTable, Route, Rule, RuleAction, RuleExtras, Sysctl
from labnet.model.packet import Decision, Path, Probe
from labnet.trace.flight import InFlight, Outcome
from labnet.trace.hooks import Netfilter
from labnet.trace.predict import predict
from labnet.trace.render.json import render_json
from labnet.trace.render.text import COLUMNS, render_text
from labnet.trace.routing import Question, lookup, routes_tried
from labnet.trace.world import Host, World

PACKET = InFlight("10.0.0.1", "10.0.0.2", "tcp", 31000, 80, iif="eth0", oif="eth1")


def host(*objects: object) -> Host:
    return Host(World({"n": KernelState(tuple(objects))}, {}), "n")  # type: ignore[arg-type]


def through(hook: str, *objects: object, packet: InFlight = PACKET) -> Outcome:
    return Netfilter(host(*objects)).hook(hook, packet)


def pod_b_to_pod_c(lab: labs.WalkLab) -> Path:
    return predict(lab.world(), labs.POD_B, Probe("icmp", "10.10.2.6", "10.10.5.5", ident=7))


def at_node_1(path: Path) -> Decision:
    found = next(hop.decision for hop in path.hops if hop.netns == labs.NODE_1 and hop.direction == "in")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule(100, 7, src="10.0.0.9/32"), "from 10.0.0.9: the packet is from 10.0.0.1"),
        (Rule(100, 7, dst="10.0.0.9/32"), "to 10.0.0.9: the packet is for 8.8.8.8"),
        (Rule(100, 7, fwmark=0x80, fwmask=0x80), "fwmark 0x80: the packet's mark is 0x1"),
        (Rule(100, 7, iif="eth9"), "iif eth9: it came by eth0"),
        (Rule(100, 7, oif="eth9"), "oif eth9: no link is asked for"),
        (Rule(100, extras=RuleExtras(suppress_bits=0)), "suppressed: default via 10.0.0.254 dev eth1 has a prefix of 0 bits"),
        (Rule(100, 7, extras=RuleExtras(ip_protocol=6)), "it is for another protocol: the packet is udp"),
        (Rule(100, 7, extras=RuleExtras(dport=(80, 90))), "dport 80-90: the packet's is 53"),
        (Rule(100, 7, extras=RuleExtras(sport=(80, 80))), "sport 80-80: the packet's is 40000"),
        (Rule(100, 7, extras=RuleExtras(tos=0x10)), "tos 0x10: the packet's is 0x00"),
        (Rule(100, 7, extras=RuleExtras(uids=(1000, 2000))), "uidrange 1000-2000: the packet is root's"),
        (Rule(100, 7, src="10.0.0.1/32", extras=RuleExtras(inverted=True)), "not: the packet is as it says"),
        (Rule(100, 7, extras=RuleExtras("nop")), "does nothing"),
        (Rule(100, 7, extras=RuleExtras("goto", goto=150)), "there is no rule 150 to go to"),
        (Rule(100, 9), "table 9 has no route to 8.8.8.8"),
        (Rule(100, 8), "throw 8.0.0.0/8 table 8: on to the next rule"),
    ],
)
def test_a_rule_that_was_passed_over_has_its_reason(rule: Rule, reason: str) -> None:
    routes = Route("default", "eth1", via="10.0.0.254"), Route("default", "eth2", table=7), Route("8.0.0.0/8", table=8, type="throw")
    here = host(rule, Rule(200), *routes)
    answer = lookup(here, Question("8.8.8.8", "10.0.0.1", iif="eth0", mark=1, protocol="udp", sport=40_000, dport=53))
    assert [(one.priority, one.won, one.reason) for one in answer.rules] == [(100, False, reason), (200, True, "")]
    assert answer.route is not None and answer.route.dev == "eth1"


@pytest.mark.parametrize(("action", "check"), [("blackhole", "blackhole"), ("unreachable", "no-route"), ("prohibit", "no-route")])
def test_a_rule_that_looks_nothing_up_ends_the_packet(action: RuleAction, check: str) -> None:
    lab = labs.a_walk_lab()
    world = lab.world()
    state = world.states[labs.NODE_1]
    states = {**world.states, labs.NODE_1: KernelState((*state.objects, Rule(100, dst="10.10.5.5/32", extras=RuleExtras(action))))}
    path = predict(replace(world, states=states), labs.POD_B, Probe("icmp", "10.10.2.6", "10.10.5.5", ident=7))
    assert path.drop is not None and (path.drop.check, path.drop.hop) == (check, 2)
    assert path.drop.text == f"a policy rule of node1 ends it: 100: from all to 10.10.5.5 {action}"
    assert predict(world, labs.POD_B, Probe("icmp", "10.10.2.6", "10.10.5.5", ident=7)).delivered


def test_a_suppressed_default_still_leaves_longer_routes() -> None:
    routes = Route("10.9.0.0/16", "eth1"), Route("default", "eth1"), Route("default", "eth2", table=7)
    here = host(Rule(100, extras=RuleExtras(suppress_bits=0)), Rule(200, 7), *routes)
    assert [lookup(here, Question(dst, "10.0.0.1")).route for dst in ("10.9.1.1", "8.8.8.8")] == [
        Route("10.9.0.0/16", "eth1"), Route("default", "eth2", table=7),
    ]


def test_without_a_route_every_rule_says_why() -> None:
    answer = lookup(host(Rule(100, 9), Rule(200)), Question("8.8.8.8", "10.0.0.1"))
    assert answer.refused == "no-route" and [one.won for one in answer.rules] == [False, False]


def test_the_routes_of_the_table_are_told_with_the_winner_first() -> None:
    routes = [
        Route("default", "eth1", via="10.0.0.254"), Route("10.9.0.0/16", "eth1"), Route("10.9.1.0/24", "eth2"),
        Route("10.9.1.0/24", "eth3", metric=50), Route("10.9.2.0/24", "eth4"), Route("192.168.0.0/16", "eth5"),
    ]
    here = host(Rule(200), *routes)
    tried = routes_tried(here, "10.9.1.7", lookup(here, Question("10.9.1.7", "10.0.0.1")))
    assert [(one.text.split()[0], one.won, one.reason) for one in tried] == [
        ("10.9.1.0/24", True, ""), ("10.9.1.0/24", False, "higher metric"), ("10.9.0.0/16", False, "less specific"),
        ("default", False, "less specific"), ("10.9.2.0/24", False, "does not hold 10.9.1.7"),
        ("192.168.0.0/16", False, "does not hold 10.9.1.7"),
    ]


def test_near_misses_are_few() -> None:
    here = host(Rule(200), Route("default", "eth1"), *(Route(f"10.9.{n}.0/24", "eth1") for n in range(100)))
    assert len(routes_tried(here, "10.99.1.7", lookup(here, Question("10.99.1.7", "10.0.0.1")))) == 4


def test_a_walk_tells_mark_ttl_mtu_and_reverse_path() -> None:
    lab = labs.a_walk_lab()
    lab.set_sysctl(labs.NODE_1, f"net/ipv4/conf/{labs.VETH_B}/rp_filter", "1")
    said = at_node_1(pod_b_to_pod_c(lab))
    assert (said.ttl_in, said.ttl_out, said.mtu_bytes, said.mark_in, said.mark_out) == (64, 63, 9001, 0, 0)
    assert said.rp_filter is not None and (said.rp_filter.value, said.rp_filter.verdict, said.rp_filter.link) == (1, "passes", labs.VETH_B)
    won = [one for one in said.rules if one.won]
    assert [(one.priority, one.text) for one in won] == [(1536, "from 10.10.2.6 lookup 2")] and said.rules[-1] == won[0]
    assert [one.text for one in said.routes if one.won] == [said.route]


def test_a_mark_that_is_set_on_the_way_shows() -> None:
    path = predict(labs.a_walk_lab().world(), labs.POD_B, Probe("icmp", "10.10.2.6", "8.8.8.8", ident=7))
    said = at_node_1(path)
    assert (said.mark_in, said.mark_out) == (0, 0x80)


def test_rules_of_iptables_are_told_by_their_place_and_jumps_too() -> None:
    outcome = through(
        "postrouting", IptRule("nat", "POSTROUTING", "-d 9.9.9.9/32 -j ACCEPT"), IptRule("nat", "POSTROUTING", "-j MINE"),
        IptChain("nat", "MINE", ("-p udp -j RETURN", "-p tcp -j SNAT --to-source 10.0.0.7")),
    )
    assert [(one.table, one.chain, one.number, one.verdict) for one in outcome.rules] == [
        ("nat", "POSTROUTING", 2, "jump MINE"), ("nat", "MINE", 2, "SNAT"),
    ]


def test_each_back_end_has_its_own_numbers() -> None:
    outcome = through(
        "forward", IptRule("filter", "FORWARD", "-p udp -j DROP", backend="nft"),
        IptRule("filter", "FORWARD", "-p tcp -j ACCEPT", backend="nft"),
        IptRule("filter", "FORWARD", "-p tcp -j DROP", backend="legacy"),
    )
    assert {(one.backend, one.number, one.verdict) for one in outcome.rules} == {("iptables-nft", 2, "ACCEPT"), ("legacy", 1, "DROP")}
    assert outcome.verdict == "drop", "what one back end accepts the other one still sees"


def test_rules_of_nftables_that_only_count_or_mark_are_told() -> None:
    body = """
  chain fwd {
    type filter hook forward priority filter; policy accept;
    udp dport 53 drop
    counter packets 0 bytes 0
    meta priority set none
    tcp dport 80 jump web
    ip saddr map { 10.9.9.9 : 1 } accept
  }
  chain web { meta mark set 0x7 accept }
"""
    outcome = through("forward", NftTable("inet", "user", body))
    assert [(one.chain, one.number, one.verdict) for one in outcome.rules[:4]] == [
        ("fwd", 2, "continue"), ("fwd", 3, "continue"), ("fwd", 4, "jump web"), ("web", 1, "accept"),
    ]
    assert outcome.packet.mark == 7


def test_a_map_without_the_element_is_no_match() -> None:
    body = """
  map zone { type ifname : mark; elements = { "eth7" : 0x1 } }
  chain fwd { type filter hook forward priority filter; policy accept; meta mark set iifname map @zone }
"""
    assert through("forward", NftTable("inet", "user", body)).rules == ()


def test_json_and_text_tell_them() -> None:
    lab = labs.a_walk_lab("1.6")
    lab.add(labs.NODE_1, Sysctl(f"net/ipv4/conf/{labs.VETH_B}/rp_filter", "1"), Neigh("eth1", "10.10.0.1", "0e:00:00:00:00:01"))
    path = pod_b_to_pod_c(lab)
    said = render_json(path)["hops"][1]["decision"]
    assert [one["won"] for one in said["rules"]][-1] is True and said["rules"][0]["reason"].startswith("table local has no route")
    assert said["ttl"] == {"in": 64, "out": 63} and said["mtu"] == 9001 and said["rpFilter"]["verdict"] == "passes"
    assert {"backend", "family", "table", "chain", "number", "handle", "text", "verdict", "traced"} == set(said["matched"][0])
    short, long = render_text(path), render_text(path, verbose=True)
    assert "- 512: from all to" not in short and "(seen by" not in short
    assert "- 512: from all to 10.10.1.5 lookup main   (to 10.10.1.5: the packet" in long
    assert "* 1536: from 10.10.2.6 to 10.10.0.0/16 lookup 2" in long and "ttl       64 → 63" in long
    assert all(len(line) <= COLUMNS for line in (short + long).splitlines())
