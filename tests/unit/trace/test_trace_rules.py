"""Rules as text: iptables and nftables, taken apart and applied."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labnet.model.netstate import Addr, IptChain, IptPolicy, IptRule, KernelState, NftElement, NftPortChain, NftTable
from labnet.trace.flight import InFlight, Outcome
from labnet.trace.hooks import Netfilter
from labnet.trace.iptables_rule import Match, masked, parse_rule
from labnet.trace.nft_text import parse_body, priority_of
from labnet.trace.world import Host, World

PACKET = InFlight("10.0.0.1", "10.0.0.2", "tcp", 31000, 80, iif="eth0", oif="eth1")


def netfilter(*objects: object) -> Netfilter:
    return Netfilter(Host(World({"n": KernelState(tuple(objects))}, {}), "n"))  # type: ignore[arg-type]


def through(hook: str, *objects: object, packet: InFlight = PACKET) -> Outcome:
    return netfilter(*objects).hook(hook, packet)


def test_a_rule_is_taken_apart() -> None:
    rule = parse_rule(
        '! -d 10.10.0.0/16 -i eni+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.0.0.1 --random'
    )
    assert rule.matches == (Match("dst", "10.10.0.0/16", True), Match("iif", "eni+"), Match("dst-type", "LOCAL", True))
    assert (rule.target, rule.options, rule.unknown) == ("SNAT", {"--to-source": "10.0.0.1", "--random": ""}, ())


def test_what_is_not_understood_is_kept_as_unknown() -> None:
    assert parse_rule("-m recent --set -j DROP").unknown == ("-m recent", "--set")
    assert parse_rule("-m set --match-set ranges src -p tcp -j DROP").unknown[0] == "-m set"
    assert Match("protocol", "tcp") in parse_rule("-m set --match-set ranges src -p tcp -j DROP").matches


def test_masks() -> None:
    assert masked("0x80/0x80") == (0x80, 0x80)
    assert masked("7") == (7, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("spec", "dropped"),
    [
        ("-j DROP", True), ("-s 10.0.0.0/24 -j DROP", True), ("! -s 10.0.0.0/24 -j DROP", False), ("-i eth+ -j DROP", True),
        ("-o eth0 -j DROP", False),
        ("-p tcp -m tcp --dport 80 -j DROP", True), ("-p udp -m udp --dport 80 -j DROP", False), ("-p tcp -m tcp --dport 70:90 -j DROP", True),
        ("-p tcp -m multiport --dports 22,80 -j DROP", True), ("-p tcp -m multiport --dports 22,443 -j DROP", False),
        ("-m mark --mark 0x1/0x1 -j DROP", False), ("-m conntrack --ctstate RELATED,ESTABLISHED -j DROP", False),
        ("-m conntrack --ctstate NEW -j REJECT --reject-with icmp-port-unreachable", True), ("-m addrtype --dst-type LOCAL -j DROP", False),
        ("-d 10.0.0.2/32 -j ACCEPT", False), ("-j LOG --log-prefix x", False), ("-m ttl --ttl-lt 64 -j DROP", False),
    ],
)  # fmt: skip
def test_iptables_matches(spec: str, dropped: bool) -> None:
    outcome = through("forward", IptRule("filter", "FORWARD", spec))
    assert (outcome.verdict == "drop", outcome.unknown) == (dropped, ())


def test_user_chains_return_and_decide() -> None:
    chain = IptChain("filter", "MINE", ("-d 10.9.0.0/16 -j RETURN", "-p tcp -j RETURN", "-j DROP"))
    jump = IptRule("filter", "FORWARD", "-j MINE")
    assert through("forward", chain, jump).verdict == "accept"
    assert through("forward", chain, jump, packet=InFlight("10.0.0.1", "10.0.0.2", "udp")).verdict == "drop"


def test_connmark_is_saved_and_restored() -> None:
    outcome = through(
        "prerouting", IptRule("mangle", "PREROUTING", "-j CONNMARK --set-xmark 0x80/0x80"),
        IptRule("mangle", "PREROUTING", "-j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80"),
    )
    assert (outcome.packet.mark, outcome.packet.ct_mark) == (0x80, 0x80)


def test_masquerade_takes_the_address_of_the_link() -> None:
    outcome = through("postrouting", Addr("eth1", "10.1.1.1", 24), IptRule("nat", "POSTROUTING", "-j MASQUERADE"))
    assert outcome.nat == "SNAT 10.0.0.1 → 10.1.1.1"


def test_after_a_translation_no_further_nat_chain_is_asked() -> None:
    body = "chain late { type nat hook postrouting priority 110; snat to 10.7.7.7 }"
    outcome = through("postrouting", IptRule("nat", "POSTROUTING", "-j SNAT --to-source 10.6.6.6"), NftTable("ip", "mine", body))
    assert outcome.packet.src == "10.6.6.6"


@pytest.mark.parametrize(("text", "number"), [("-310", -310), ("mangle", -150), ("dstnat + 10", -90), ("filter - 5", -5), ("0", 0)])
def test_priorities(text: str, number: int) -> None:
    assert priority_of(text) == number


def test_hooks_run_in_order_of_priority() -> None:
    early = "chain c { type filter hook forward priority -10; meta mark set 5 }"
    late = 'chain c { type filter hook forward priority 10; meta mark 0x5 counter drop comment "late" }'
    outcome = through("forward", NftTable("inet", "late", late), NftTable("ip", "early", early))
    assert (outcome.verdict, outcome.counter) == ("drop", "late")


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ("ip saddr 10.0.0.0/24 drop", True), ("ip saddr != 10.0.0.0/24 drop", False), ("iifname { eth0, eth7 } drop", True),
        ('iifname "eth*" drop', True),
        ("tcp dport 70-90 drop", True), ("udp dport 80 drop", False), ("th dport 80 drop", True), ("ip protocol tcp drop", True),
        ("meta l4proto { icmp, udp } drop", False), ("iifname . ip saddr @pairs drop", True), ("oifname . ip saddr @pairs drop", False),
        ("ct state established,related drop", False), ("ct state new drop", True), ("ip daddr vmap { 10.0.0.2 : drop }", True),
        ("ip ttl > 64 drop", False), ("ip ttl >= 64 drop", True), ("meta mark & 0xff == 0 drop", True), ("jump other", True),
        ("meta mark 0x60000000/3 drop", False), ("meta mark 0x00000000/3 drop", True), ("meta mark != 0x60000000/3 drop", True),
        ("ip6 saddr ::1 drop", False),
        ("add @seen { ip saddr } drop", True), ("icmp type echo-request drop", False), ("reject with icmp port-unreachable", True),
    ],
)  # fmt: skip
def test_nft_rules(rule: str, dropped: bool) -> None:
    body = f"""
      set pairs {{ type ifname . ipv4_addr; }}
      set seen {{ type ipv4_addr; flags dynamic; }}
      chain other {{ counter packets 3 bytes 9 drop comment "there" }}
      chain forward {{ type filter hook forward priority filter; policy accept;
        {rule}
      }}
    """
    element = NftElement("mine", "pairs", ("eth0", "10.0.0.1"), ("ifname", "ipv4_addr"))
    outcome = through("forward", NftTable("inet", "mine", body), element)
    assert (outcome.verdict == "drop", outcome.unknown) == (dropped, ())


def test_nft_policy_drop() -> None:
    body = "chain f { type filter hook forward priority 0; policy drop; ip saddr 10.9.9.9 accept }"
    outcome = through("forward", NftTable("ip", "mine", body))
    assert outcome.verdict == "drop" and "policy drop" in outcome.rule


def test_nft_words_that_are_not_known_are_noted() -> None:
    outcome = through("forward", NftTable("ip", "mine", "chain f { type filter hook forward priority 0; numgen random mod 2 0 drop }"))
    assert outcome.verdict == "accept" and len(outcome.unknown) == 1
    fails_anyway = "chain f { type filter hook forward priority 0; udp dport 9 limit rate 5/second drop }"
    assert through("forward", NftTable("ip", "mine", fails_anyway)).unknown == ()


def test_a_map_without_the_element_ends_the_rule() -> None:
    body = "map to { type ipv4_addr : ipv4_addr; }\nchain p { type nat hook prerouting priority -100; dnat to ip daddr map @to }"
    assert through("prerouting", NftTable("ip", "g", body)).nat == ""
    element = NftElement("g", "to", ("10.0.0.2",), ("ipv4_addr", "ipv4_addr"), "10.5.5.5", family="ip")
    assert through("prerouting", NftTable("ip", "g", body), element).nat == "DNAT 10.0.0.2 → 10.5.5.5"


@pytest.mark.parametrize(
    ("statement", "nat"),
    [
        ("snat to 10.7.7.7 fully-random", "SNAT 10.0.0.1 → 10.7.7.7"), ("masquerade random,persistent", "SNAT 10.0.0.1 → 10.1.1.1"),
        ("snat ip to 10.7.7.7:5000", "SNAT 10.0.0.1 → 10.7.7.7"),
    ],
)  # fmt: skip
def test_nft_translations(statement: str, nat: str) -> None:
    body = f"chain p {{ type nat hook postrouting priority srcnat; {statement} }}"
    outcome = through("postrouting", Addr("eth1", "10.1.1.1", 24), NftTable("ip", "g", body))
    assert (outcome.nat, outcome.unknown) == (nat, ())


def test_tables_that_iptables_keeps_are_not_walked_twice() -> None:
    body = "chain FORWARD { type filter hook forward priority filter; policy accept; drop }"
    assert through("forward", NftTable("ip", "filter", body)).verdict == "accept"


def test_a_port_chain_leads_into_its_table() -> None:
    table = NftTable("netdev", "vpc", 'chain in { ether daddr 02:00:00:00:00:01 meta pkttype set host accept\n counter drop comment "mac" }')
    port = NftPortChain("vpc", "in_p", "p", "ingress", "in")
    rules = netfilter(table, port)
    outcome, kind = rules.device("ingress", "p", InFlight("10.0.0.1", "10.0.0.2", "icmp", dst_mac="02:00:00:00:00:01"))
    assert (outcome.verdict, kind) == ("accept", "host")
    outcome, kind = rules.device("ingress", "p", InFlight("10.0.0.1", "10.0.0.2", "icmp", dst_mac="02:00:00:00:00:02"))
    assert (outcome.verdict, outcome.counter, kind) == ("drop", "mac", "other")
    assert rules.device("ingress", "q", PACKET)[0].verdict == "accept"


def test_a_port_chain_tells_its_table_which_port_it_is() -> None:
    table = NftTable("netdev", "vpc", 'chain in { meta mark 0x00000007 accept\n counter drop comment "another port" }')
    ports = [NftPortChain("vpc", f"in_{name}", name, "ingress", "in", mark=mark) for name, mark in (("p", 7), ("q", 8))]
    rules = netfilter(table, *ports)
    assert [rules.device("ingress", name, PACKET)[0].verdict for name in ("p", "q")] == ["accept", "drop"]


def test_arp_chains_answer_with_the_mac_of_a_map() -> None:
    body = """
      set known { type ipv4_addr; elements = { 10.0.0.9 } }
      map macs { type ipv4_addr : ether_addr; elements = { 10.0.0.9 : 02:00:00:00:00:09 } }
      chain input { type filter hook input priority 0; policy accept; arp operation request arp daddr ip != @known counter drop }
      chain output { type filter hook output priority 0; arp operation reply arp saddr ether set arp saddr ip map @macs }
    """
    rules = netfilter(NftTable("arp", "vpc", body))
    assert rules.arp("input", "p", {"arp operation": "request", "arp daddr ip": "10.0.0.8"}) is None
    assert rules.arp("input", "p", {"arp operation": "request", "arp daddr ip": "10.0.0.9"}) is not None
    answer = rules.arp("output", "p", {"arp operation": "reply", "arp saddr ip": "10.0.0.9", "arp saddr ether": "0e:00:00:00:00:01"})
    assert answer is not None and answer["arp saddr ether"] == "02:00:00:00:00:09"


def test_elements_over_several_lines_are_read() -> None:
    body = "set s {\n type ipv4_addr\n elements = { 10.0.0.1,\n 10.0.0.2 }\n}\nchain c {\n # nothing\n ip saddr @s accept\n}"
    found = parse_body(body)
    assert found.elements["s"] == ((("10.0.0.1",), None), (("10.0.0.2",), None))
    assert [rule.text for rule in found.chains["c"].rules] == ["ip saddr @s accept"]


def test_the_policy_of_a_built_in_chain_decides_at_its_end() -> None:
    policy = IptPolicy("filter", "FORWARD", "DROP")
    outcome = through("forward", policy)
    assert (outcome.verdict, outcome.rule) == ("drop", "filter FORWARD: its policy is DROP")
    assert [(rule.chain, rule.number, rule.verdict) for rule in outcome.rules] == [("FORWARD", 0, "DROP")]
    assert through("forward", policy, IptRule("filter", "FORWARD", "-j ACCEPT")).verdict == "accept"
    assert through("forward", IptPolicy("filter", "FORWARD", "DROP", "legacy"), IptRule("filter", "FORWARD", "-j ACCEPT")).verdict == "drop"
    assert through("input", policy).verdict == "accept"


@pytest.mark.parametrize(("spec", "first", "answer"), [
    ("-m conntrack --ctstate RELATED,ESTABLISHED -j DROP", "accept", "drop"), ("-m conntrack --ctstate NEW -j DROP", "drop", "accept"),
    ("-p icmp -m icmp --icmp-type 8 -j DROP", "drop", "accept"), ("-p icmp -m icmp --icmp-type 0 -j DROP", "accept", "drop"),
])  # fmt: skip
def test_an_answer_is_of_a_known_flow(spec: str, first: str, answer: str) -> None:
    packet = replace(PACKET, protocol="icmp")
    rule = IptRule("filter", "FORWARD", spec)
    assert through("forward", rule, packet=packet).verdict == first
    assert through("forward", rule, packet=replace(packet, answers=True)).verdict == answer
    assert not replace(packet, answers=True).arrived("eth0").answers, "another namespace knows nothing of it"
