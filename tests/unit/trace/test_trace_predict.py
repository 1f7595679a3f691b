"""The walk over the worked example: dialects, settings, and every way in which a packet can end."""

from __future__ import annotations

from dataclasses import replace

import builders_cloud as clouds
import builders_trace as labs
import pytest

from labnet.model.netstate import Addr, IptRule, LinkUp, Neigh, NftElement, Route, Rule
from labnet.model.packet import Path, Probe
from labnet.trace.predict import predict, walk

VPC_PEER, INTERNET, ONPREM = "10.10.5.5", "8.8.8.8", "192.168.7.7"
FROM_B = Rule(1536, 2, src="10.10.2.6/32")


def icmp(source: str, dst: str, **fields: object) -> Probe:
    return Probe("icmp", labs.ADDRESS[source], dst, ident=7, **fields)  # type: ignore[arg-type]


def go(lab: labs.WalkLab, source: str, dst: str, **fields: object) -> Path:
    return predict(lab.world(), source, icmp(source, dst, **fields))


def left_by(path: Path) -> tuple[str, str]:
    """The ENI by which the packet left node1, and its source there."""
    hop = next(hop for hop in path.hops if hop.netns == labs.NODE_1 and hop.direction == "out")
    assert hop.frame is not None
    return hop.link, hop.frame.src


def places(path: Path) -> list[str]:
    return [f"{hop.owner} {hop.link} {hop.direction}" for hop in path.hops]


@pytest.mark.parametrize("dialect", ["1.6", "1.23"])
def test_pod_to_pod_across_nodes_shows_the_decks_walk(dialect: str) -> None:
    path = go(labs.a_walk_lab(dialect), labs.POD_B, VPC_PEER)
    assert path.delivered and path.drop is None and path.notes == ()
    assert places(path) == [
        "pod-b eth0 out", f"node1 {labs.VETH_B} in", "node1 eth1 out", "vpc peni-node1-1 in", "vpc peni-node2-0 out", "node2 eth0 in",
        f"node2 {labs.VETH_C} out", "pod-c eth0 in",
    ]
    frames = [hop.frame for hop in path.hops if hop.frame is not None]
    assert [frame.ttl for frame in frames] == [64, 64, 63, 63, 63, 63, 62, 62]
    assert (frames[0].src_mac, frames[0].dst_mac) == ("aa:00:00:00:00:0b", labs.MAC_B)
    assert (frames[2].src_mac, frames[2].dst_mac) == (clouds.eni_mac("node1", 1), "0e:00:00:00:00:01")
    assert frames[4].dst_mac == clouds.eni_mac("node2", 0)
    assert (frames[6].src_mac, frames[6].dst_mac) == (labs.MAC_C, "aa:00:00:00:00:0c")
    chosen = path.hops[1].decision
    assert chosen is not None and chosen.rule is not None
    assert (chosen.rule.priority, chosen.table, chosen.route) == (1536, 2, "default via 10.10.0.1 dev eth1")
    assert chosen.rule.text == ("from 10.10.2.6 to 10.10.0.0/16 lookup 2" if dialect == "1.6" else "from 10.10.2.6 lookup 2")
    at_node_2 = path.hops[5].decision
    assert at_node_2 is not None and at_node_2.rule is not None and at_node_2.rule.priority == 512


@pytest.mark.parametrize("dialect", ["1.6", "1.23"])
def test_pod_to_pod_on_one_node_stays_there(dialect: str) -> None:
    path = go(labs.a_walk_lab(dialect), labs.POD_A, "10.10.2.6")
    assert path.delivered
    assert places(path) == ["pod-a eth0 out", f"node1 {labs.VETH_A} in", f"node1 {labs.VETH_B} out", "pod-b eth0 in"]


@pytest.mark.parametrize("dialect", ["1.6", "1.23"])
def test_pod_to_the_internet_is_translated_twice(dialect: str) -> None:
    path = go(labs.a_walk_lab(dialect), labs.POD_B, INTERNET)
    assert path.delivered
    said = [hop.decision.nat for hop in path.hops if hop.decision is not None and hop.decision.nat]
    assert said == ["SNAT 10.10.2.6 → 10.10.0.10", f"SNAT 10.10.0.10 → {labs.PUBLIC_1}"]
    last = path.hops[-1]
    assert last.netns == labs.INTERNET and last.frame is not None and last.frame.src == labs.PUBLIC_1


def test_the_mark_sends_an_off_vpc_packet_of_a_secondary_eni_by_rule_1024() -> None:
    decision = go(labs.a_walk_lab("1.23"), labs.POD_B, INTERNET).hops[1].decision
    assert decision is not None and decision.rule is not None and decision.rule.priority == 1024
    assert any("snat-mark: ct mark set" in rule for rule in decision.netfilter)


EXCLUDED = ("192.168.0.0/16",)
TRUTH = [  # spec: packet-path truth table of the worked example
    (labs.POD_A, VPC_PEER, "default", ("eth0", "10.10.1.5")),
    (labs.POD_A, VPC_PEER, "exclude", ("eth0", "10.10.1.5")),
    (labs.POD_A, VPC_PEER, "external", ("eth0", "10.10.1.5")),
    (labs.POD_A, INTERNET, "default", ("eth0", "10.10.0.10")),
    (labs.POD_A, INTERNET, "exclude", ("eth0", "10.10.0.10")),
    (labs.POD_A, INTERNET, "external", ("eth0", "10.10.1.5")),
    (labs.POD_A, ONPREM, "default", ("eth0", "10.10.0.10")),
    (labs.POD_A, ONPREM, "exclude", ("eth0", "10.10.1.5")),
    (labs.POD_A, ONPREM, "external", ("eth0", "10.10.1.5")),
    (labs.POD_B, VPC_PEER, "default", ("eth1", "10.10.2.6")),
    (labs.POD_B, VPC_PEER, "exclude", ("eth1", "10.10.2.6")),
    (labs.POD_B, VPC_PEER, "external", ("eth1", "10.10.2.6")),
    (labs.POD_B, INTERNET, "default", ("eth0", "10.10.0.10")),
    (labs.POD_B, INTERNET, "exclude", ("eth0", "10.10.0.10")),
    (labs.POD_B, INTERNET, "external", ("eth1", "10.10.2.6")),
    (labs.POD_B, ONPREM, "default", ("eth0", "10.10.0.10")),
    (labs.POD_B, ONPREM, "exclude", ("eth1", "10.10.2.6")),
    (labs.POD_B, ONPREM, "external", ("eth1", "10.10.2.6")),
]


@pytest.mark.parametrize("variant", ["1.6", "1.23", "1.23 legacy"])
@pytest.mark.parametrize(("source", "dst", "settings", "expected"), TRUTH)
def test_truth_table(source: str, dst: str, settings: str, expected: tuple[str, str], variant: str) -> None:
    lab = labs.a_walk_lab(
        variant.split()[0], legacy="legacy" in variant, excluded=EXCLUDED if settings == "exclude" else (), external_snat=settings == "external"
    )
    assert left_by(go(lab, source, dst)) == expected


def test_without_rule_1536_the_vpc_drops_the_packet_by_its_source_check() -> None:
    lab = labs.a_walk_lab("1.23")
    lab.remove(labs.NODE_1, FROM_B)
    path = go(lab, labs.POD_B, VPC_PEER)
    assert not path.delivered and path.drop is not None
    assert (path.drop.check, path.drop.counter, path.drop.hop) == ("source-dest-check", "source/dest check", 4)
    assert places(path)[-1] == "vpc peni-node1-0 in"
    assert path.hops[3].decision is not None and path.hops[3].decision.check == "source-dest-check"


def test_a_port_without_check_takes_what_is_not_its_own() -> None:
    cloud = clouds.changed(labs.a_lab_cloud(), "eni-node1-0", source_dest_check=False)
    lab = labs.a_walk_lab("1.23", cloud=cloud)
    lab.remove(labs.NODE_1, FROM_B)
    assert go(lab, labs.POD_B, VPC_PEER).delivered


def test_an_address_without_public_one_ends_at_the_internet_gateway() -> None:
    path = go(labs.a_walk_lab("1.23", external_snat=True), labs.POD_B, INTERNET)
    assert path.drop is not None and (path.drop.check, path.drop.counter) == ("no-route", "internet gateway: no public address")
    assert path.hops[path.drop.hop - 1].netns == labs.IGW


def closed(direction: str) -> clouds.CloudState:
    cloud = labs.a_lab_cloud()
    rules = {"ingress": (), "egress": ()} if direction == "both" else {direction: ()}
    cloud = clouds.with_group(cloud, "sg-closed", ingress=(clouds.ALL_IN,), egress=(clouds.ALL_OUT,))
    group = replace(cloud.security_groups["sg-closed"], **rules)
    cloud = replace(cloud, security_groups={**cloud.security_groups, "sg-closed": group})
    eni = "eni-node1-1" if direction == "egress" else "eni-node2-0"
    return clouds.changed(cloud, eni, security_groups=("sg-closed",))


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_security_groups_drop_at_the_vpc(direction: str) -> None:
    path = go(labs.a_walk_lab(cloud=closed(direction)), labs.POD_B, VPC_PEER)
    assert path.drop is not None
    assert (path.drop.check, path.drop.counter) == (f"security-group-{direction}", f"security group: {direction}")


def test_security_groups_let_in_the_port_that_they_name_only() -> None:
    cloud = clouds.with_group(labs.a_lab_cloud(), "sg-web", ingress=(clouds.tcp(80, cidr="10.10.2.0/24"),))
    lab = labs.a_walk_lab(cloud=clouds.changed(cloud, "eni-node2-0", security_groups=("sg-web",)))
    probe = Probe("tcp", "10.10.2.6", VPC_PEER, 31000, 80, ident=9)
    assert predict(lab.world(), labs.POD_B, probe).delivered
    refused = predict(lab.world(), labs.POD_B, replace(probe, dst_port=81))
    assert refused.drop is not None and refused.drop.check == "security-group-ingress"
    other_source = predict(lab.world(), labs.POD_A, replace(probe, src="10.10.1.5"))
    assert other_source.drop is not None and other_source.drop.check == "security-group-ingress"


def test_an_address_that_no_eni_has_is_met_with_silence() -> None:
    path = go(labs.a_walk_lab(), labs.POD_B, "10.10.9.9")
    assert path.drop is not None and path.drop.check == "no-route"
    assert path.hops[path.drop.hop - 1].netns == labs.VPC


def test_nobody_answers_arp_for_an_unassigned_neighbour() -> None:
    path = go(labs.a_walk_lab(), labs.POD_A, "10.10.9.9")
    assert path.drop is not None and path.drop.check == "neighbour"
    assert path.hops[-1].netns == labs.NODE_1


def test_no_route_in_the_source_has_one_hop_without_a_frame() -> None:
    lab = labs.a_walk_lab()
    lab.remove(labs.POD_B, Route("default", "eth0", via="169.254.1.1"))
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and (path.drop.check, path.drop.hop) == ("no-route", 1)
    assert [hop.frame for hop in path.hops] == [None]


@pytest.mark.parametrize(("kind", "check"), [("blackhole", "blackhole"), ("unreachable", "no-route"), ("prohibit", "no-route")])
def test_routes_that_end_a_packet(kind: str, check: str) -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_1, Route("10.10.5.0/24", type=kind, table=2))  # type: ignore[arg-type]
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and (path.drop.check, path.hops[-1].netns) == (check, labs.NODE_1)


def test_throw_goes_on_with_the_next_rule() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_1, Route("10.10.0.0/16", type="throw", table=2))
    assert left_by(go(lab, labs.POD_B, VPC_PEER))[0] == "eth0"


def test_the_ttl_ends_on_a_node_and_never_in_the_vpc() -> None:
    lab = labs.a_walk_lab()
    first = go(lab, labs.POD_B, VPC_PEER, ttl=1)
    assert first.drop is not None and (first.drop.check, first.hops[-1].netns) == ("ttl", labs.NODE_1)
    second = go(lab, labs.POD_B, VPC_PEER, ttl=2)
    assert second.drop is not None and (second.drop.check, second.hops[-1].netns) == ("ttl", labs.NODE_2)
    assert go(lab, labs.POD_B, VPC_PEER, ttl=3).delivered


def test_a_ttl_of_255_passes_the_vpc_unchanged() -> None:
    path = predict(labs.a_walk_lab().world(), labs.NODE_1, Probe("icmp", "10.10.0.10", "10.10.0.30", ttl=255))
    assert path.delivered and {hop.frame.ttl for hop in path.hops if hop.frame} == {255}


def test_a_node_that_does_not_forward() -> None:
    lab = labs.a_walk_lab()
    lab.set_sysctl(labs.NODE_2, "net/ipv4/ip_forward", "0")
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and (path.drop.check, path.hops[-1].owner) == ("forwarding-off", "node2")


def test_strict_reverse_path_drops_what_would_go_back_another_way() -> None:
    lab = labs.a_walk_lab()
    lab.remove(labs.POD_C, Route("default", "eth0", via="169.254.1.1"))
    lab.set_sysctl(labs.POD_C, "net/ipv4/conf/eth0/rp_filter", "1")
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and (path.drop.check, path.hops[-1].netns) == ("rp-filter", labs.POD_C)


def test_a_node_port_packet_needs_the_loose_mode_of_eth0() -> None:
    """The reverse path of a packet to pod-b's address by eth0: its own source lies behind eth0, so strict takes it too; a source
    of the secondary ENI's table does not."""
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_1, Route("10.10.0.30/32", "eth1", scope="link"))
    probe = Probe("icmp", "10.10.0.30", "10.10.1.5")
    assert predict(lab.world(), labs.NODE_2, probe).delivered
    lab.set_sysctl(labs.NODE_1, "net/ipv4/conf/eth0/rp_filter", "1")
    strict = predict(lab.world(), labs.NODE_2, probe)
    assert strict.drop is not None and strict.drop.check == "rp-filter" and "eth1" in strict.drop.text


def test_a_packet_with_one_of_the_namespaces_own_sources_is_a_martian() -> None:
    cloud = clouds.changed(labs.a_lab_cloud(), "eni-node2-0", source_dest_check=False)
    lab = labs.a_walk_lab(cloud=cloud)
    path = predict(lab.world(), labs.NODE_2, Probe("icmp", "10.10.0.10", "10.10.1.5"))
    assert path.drop is not None and path.drop.check == "rp-filter" and "martian" in path.drop.text


def test_a_stale_neighbour_loses_the_packet_at_the_vpc() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_1, Neigh("eth0", "10.10.0.30", "02:de:ad:be:ef:00"))
    path = predict(lab.world(), labs.NODE_1, Probe("icmp", "10.10.0.10", "10.10.0.30"))
    assert path.drop is not None and (path.drop.check, path.hops[-1].netns) == ("neighbour", labs.VPC)
    assert path.drop.counter == "layer 2: destination MAC"


def test_on_link_neighbours_are_sent_to_with_their_own_mac() -> None:
    path = predict(labs.a_walk_lab().world(), labs.NODE_1, Probe("icmp", "10.10.0.10", "10.10.0.30"))
    assert path.delivered and path.hops[0].frame is not None
    assert path.hops[0].frame.dst_mac == clouds.eni_mac("node2", 0)


def test_too_long_for_the_gateway() -> None:
    path = go(labs.a_walk_lab(), labs.POD_A, INTERNET, length=2000)
    assert path.drop is not None and (path.drop.check, path.hops[-1].netns) == ("mtu", labs.VPC)


def test_a_link_that_is_down_takes_nothing() -> None:
    lab = labs.a_walk_lab()
    lab.remove(labs.POD_C, LinkUp("eth0"))
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and path.drop.check == "neighbour"


def test_iptables_drops_are_told_with_their_rule() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_2, IptRule("filter", "FORWARD", "-d 10.10.5.5/32 -p icmp -j DROP"))
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and path.drop.check == "netfilter" and "-p icmp -j DROP" in path.drop.text


def test_a_match_that_is_not_known_is_noted_and_not_guessed() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_2, IptRule("filter", "FORWARD", "-m statistic --mode random --probability 0.5 -j DROP"))
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.delivered
    assert any("statistic" in note and "node2" in note for note in path.notes)
    assert path.hops[5].decision is not None and path.hops[5].decision.check == "unknown"


def test_a_match_that_is_not_known_does_not_matter_where_another_fails() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_2, IptRule("filter", "FORWARD", "-p tcp -m statistic --mode random --probability 0.5 -j DROP"))
    assert go(lab, labs.POD_B, VPC_PEER).notes == ()


def test_dnat_in_the_source_is_routed_again() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_1, IptRule("nat", "OUTPUT", "-d 10.100.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.10.1.5:8080"))
    path = predict(lab.world(), labs.NODE_1, Probe("tcp", "10.10.0.10", "10.100.0.1", 31000, 80))
    assert path.delivered and path.hops[-1].netns == labs.POD_A
    assert path.hops[-1].frame is not None and (path.hops[-1].frame.dst, path.hops[-1].frame.dst_port) == ("10.10.1.5", 8080)


def test_a_namespace_reaches_itself_over_lo() -> None:
    path = predict(labs.a_walk_lab().world(), labs.POD_A, icmp(labs.POD_A, "127.0.0.1"))
    assert path.delivered and places(path) == ["pod-a lo out", "pod-a lo in"]


def test_routes_that_make_a_loop_end_the_walk() -> None:
    """Two fabric hops for ever: the VPC takes the TTL that the node lowers, so the TTL ends on a node; without it the walk does."""
    lab = labs.a_walk_lab()
    lab.remove(labs.NODE_2, Route("10.10.5.5/32", labs.VETH_C, scope="link"))
    lab.remove(labs.NODE_2, Rule(512, dst="10.10.5.5/32"))
    lab.add(labs.NODE_2, Route("10.10.5.5/32", "eth0", via="10.10.0.1"))
    lab.add(labs.VPC, NftElement("vpc", "nocheck", ("peni-node2-0",), ("ifname",), family="ip"))
    path = go(lab, labs.POD_B, VPC_PEER)
    assert path.drop is not None and path.drop.check == "unknown" and "loop" in path.drop.text
    short = go(lab, labs.POD_B, VPC_PEER, ttl=5)
    assert short.drop is not None and (short.drop.check, short.hops[-1].netns) == ("ttl", labs.NODE_2)


def test_every_routing_step_can_be_asked_of_the_kernel() -> None:
    walked = walk(labs.a_walk_lab().world(), labs.POD_B, icmp(labs.POD_B, VPC_PEER))
    assert [(ask.hop, ask.netns, ask.question.iif) for ask in walked.asks] == [
        (1, labs.POD_B, "lo"), (2, labs.NODE_1, labs.VETH_B), (4, labs.VPC, "peni-node1-1"), (6, labs.NODE_2, "eth0"), (8, labs.POD_C, "eth0"),
    ]


def test_a_router_does_not_answer() -> None:
    path = predict(labs.a_walk_lab().world(), labs.NODE_1, Probe("icmp", "10.10.0.10", "10.10.0.1"))
    assert path.drop is not None and (path.drop.check, path.drop.counter) == ("not-listening", "the VPC router answers nothing")


def test_from_the_internet_to_a_public_address() -> None:
    lab = labs.a_walk_lab()
    path = predict(lab.world(), labs.INTERNET, Probe("icmp", "8.8.8.8", labs.PUBLIC_1))
    assert path.delivered and path.hops[-1].netns == labs.NODE_1
    assert path.hops[-1].frame is not None and path.hops[-1].frame.dst == "10.10.0.10"


def test_an_address_in_a_namespace_nobody_wired_is_not_found() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.POD_A, Addr("lo", "10.9.9.9", 32))
    lab.wires.clear()
    path = go(lab, labs.POD_A, VPC_PEER)
    assert path.drop is not None and path.drop.check == "unknown"


def test_only_the_namespaces_on_the_way_are_observed() -> None:
    lab = labs.a_walk_lab()
    asked: list[str] = []
    observe = lab.kernel.observe
    lab.kernel.observe = lambda netns, sysctls=(): (asked.append(netns), observe(netns, sysctls))[1]  # type: ignore[method-assign]
    go(lab, labs.POD_A, "10.10.2.6")
    assert sorted(asked) == [labs.NODE_1, labs.POD_A, labs.POD_B]
