"""A probe and its answers are known by what connection tracking goes by, the kernel's own words are joined to the path, and the
way back is compared."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial

import builders_trace as labs

from labnet.model.netstate import IptRule
from labnet.model.packet import Drop, FlowChange, Frame, KernelLookup, Path, Probe, TrackedFlow
from labnet.model.packet import FlowTuple as Tuple
from labnet.ports import RuleEvent
from labnet.trace.account import KernelAccount, with_account
from labnet.trace.correlate import Evidence, correlate
from labnet.trace.dissect import Captured, tag
from labnet.trace.identity import belonging, could_answer, flow_of, identified
from labnet.trace.inside import sign_of
from labnet.trace.predict import Walked, walk
from labnet.trace.probe import craft
from labnet.trace.render.json import render_json
from labnet.trace.render.text import render_text
from labnet.trace.rule_text import rule_text
from labnet.trace.symmetry import answer_places, symmetry

UDP = Probe("udp", "10.0.0.1", "10.0.0.2", 40_000, 53, ident=0x01020304)
TCP = replace(UDP, protocol="tcp", dst_port=80)
ETHERNET = bytes(12) + b"\x08\x00"
NODE_1_AT = ("node1", "eth0")


def captured(packet: bytes, link: str = "eth0", at: int = 1, direction: str = "out", netns: str = "n") -> Captured:
    return Captured(netns, link, direction, at, ETHERNET + packet)  # type: ignore[arg-type]


def datagram(src: str, dst: str, sport: int, dport: int, payload: bytes = b"anything") -> bytes:
    from scapy.layers import inet

    return bytes(inet.IP(src=src, dst=dst) / inet.UDP(sport=sport, dport=dport) / payload)


def segment(src: str, dst: str, sport: int, dport: int, flags: str, ack: int = 0) -> bytes:
    from scapy.layers import inet

    return bytes(inet.IP(src=src, dst=dst) / inet.TCP(sport=sport, dport=dport, flags=flags, ack=ack))


def words(probe: Probe, *frames: Captured) -> list[str | None]:
    return [part for part, _ in identified(frames, probe)]


def test_an_answer_without_the_ident_is_known_by_the_reversed_tuple() -> None:
    question = captured(craft(UDP), at=1)
    masked = captured(datagram("192.0.2.9", "10.0.0.2", 61_000, 53, tag(UDP.ident)), "eth1", at=2)
    answers = [captured(datagram("10.0.0.2", "192.0.2.9", 53, 61_000), "eth1", 3, "in")]
    answers += [captured(datagram("10.0.0.2", "10.0.0.1", 53, 40_000), at=4)]
    other = captured(datagram("10.0.0.2", "10.0.0.1", 53, 40_001), at=5)
    assert words(UDP, question, masked, *answers, other) == ["probe", "probe", "answer", "answer", None]
    assert belonging(identified([other, question], UDP)) == [question]


def test_an_answer_that_is_drained_before_its_question_is_an_answer_too() -> None:
    answer, question = captured(datagram("10.0.0.2", "10.0.0.1", 53, 40_000), at=2), captured(craft(UDP), at=1)
    assert words(UDP, answer, question) == ["probe", "answer"]


def test_resets_belong_to_the_flow_and_other_syns_do_not() -> None:
    question = captured(craft(TCP))
    reset = captured(segment("10.0.0.2", "10.0.0.1", 80, 40_000, "R"), at=2)
    ours = captured(segment("10.0.0.2", "10.0.0.1", 80, 40_000, "SA", TCP.ident + 1), at=3)
    foreign = captured(segment("10.0.0.2", "10.0.0.1", 80, 40_000, "SA", 5), at=4)
    assert words(TCP, question, reset, ours, foreign) == ["probe", "refusal", "answer", None]


def test_only_what_could_answer_is_kept() -> None:
    assert could_answer(ETHERNET + datagram("10.9.9.9", "10.8.8.8", 1, 2), UDP)
    assert not could_answer(ETHERNET + datagram("10.9.9.9", "10.8.8.8", 1, 2), TCP)
    assert not could_answer(ETHERNET + craft(replace(UDP, protocol="icmp")), replace(UDP, protocol="icmp"))
    assert flow_of(ETHERNET + craft(replace(UDP, protocol="icmp"))) == ("icmp", Tuple("10.0.0.1", "10.0.0.2", 0x0304))


def test_the_sign_is_where_the_packet_carries_it() -> None:
    for probe in (UDP, TCP, replace(UDP, protocol="icmp", src_port=0, dst_port=0)):
        packet, sign = craft(probe), sign_of(probe)
        assert packet[9] == sign.protocol and struct.unpack_from("!H", packet, 4)[0] == sign.ip_id
        assert struct.unpack_from("!I", packet, 20 + sign.offset_bytes)[0] == sign.word


# ---- the kernel's own words ----


def predicted() -> Walked:
    return walk(labs.a_walk_lab("1.6").world(), labs.POD_B, Probe("icmp", "10.10.2.6", "10.10.5.5", ident=7))


def told(walked: Walked, leave_out: int = 0) -> tuple[RuleEvent, ...]:
    """Every rule that should match on node1, as the kernel would tell them."""
    said = walked.path.hops[1].decision
    assert said is not None and len(said.matched) > 1
    return tuple(RuleEvent("ip", one.table, one.chain, one.number, 40 + n, "continue") for n, one in enumerate(said.matched))[leave_out:]


def node_1_of(path: Path) -> list[bool | None]:
    said = path.hops[1].decision
    assert said is not None
    return [rule.traced for rule in said.matched]


def as_nft(path: Path) -> Path:
    """The iptables rules of the walk as those of iptables-nft."""
    hops = [
        hop if hop.decision is None else replace(
            hop, decision=replace(hop.decision, matched=tuple(replace(rule, backend="iptables-nft") for rule in hop.decision.matched))
        ) for hop in path.hops
    ]
    return replace(path, hops=tuple(hops))


def test_rules_are_marked_by_the_kernels_trace_and_what_is_missing_is_found() -> None:
    walked = predicted()
    path = as_nft(walked.path)
    whole = with_account(path, KernelAccount(rules={labs.NODE_1: told(walked)}))
    assert set(node_1_of(whole)) == {True} and whole.findings == ()
    assert whole.hops[1].decision is not None and whole.hops[1].decision.matched[0].handle == 40
    short = with_account(path, KernelAccount(rules={labs.NODE_1: told(walked, leave_out=1)}))
    assert node_1_of(short)[0] is False
    assert [(one.kind, one.hop) for one in short.findings] == [("netfilter", 2)] and "does not name it" in short.findings[0].text
    assert set(node_1_of(with_account(path, KernelAccount()))) == {None}, "where nothing could be told nothing is claimed"


def test_a_rule_that_was_not_foreseen_is_found_and_policies_are_none() -> None:
    walked = predicted()
    surplus = (*told(walked), RuleEvent("inet", "user", "fwd", 3, 9, "accept"), RuleEvent("ip", "filter", "FORWARD", 0, 0, "accept"))
    path = with_account(as_nft(walked.path), KernelAccount(rules={labs.NODE_1: surplus}))
    assert [(one.kind, one.hop) for one in path.findings] == [("netfilter", 2)]
    assert "not foreseen: inet user fwd, rule 3 (accept)" in path.findings[0].text
    assert "finding: node1: the kernel's trace names a rule" in render_text(path)
    assert render_json(path)["findings"][0]["kind"] == "netfilter"


def test_an_unknown_drop_is_named_by_the_kernels_trace_and_only_where_the_packet_was_last() -> None:
    walked = predicted()
    stuck = replace(walked.path, delivered=False, hops=walked.path.hops[:2], drop=Drop(2, "unknown", "nobody knows"))
    event = RuleEvent("ip", "filter", "FORWARD", 0, 0, "drop")
    named = with_account(stuck, KernelAccount(rules={labs.NODE_1: (event,)}), partial(rule_text, labs.a_walk_lab().world()))
    assert named.drop is not None and (named.drop.check, named.drop.hop) == ("netfilter", 2)
    assert named.drop.text.endswith("node1: the policy of filter FORWARD")
    elsewhere = with_account(stuck, KernelAccount(rules={labs.NODE_2: (event,)}))
    assert elsewhere.drop == stuck.drop
    known = replace(stuck, drop=Drop(2, "acl", "counted"))
    assert with_account(known, KernelAccount(rules={labs.NODE_1: (event,)})).drop == known.drop


def test_a_rule_is_told_in_words_by_its_place() -> None:
    lab = labs.a_walk_lab("1.23")
    lab.add(labs.NODE_1, IptRule("filter", "FORWARD", "-p udp -j DROP"), IptRule("filter", "FORWARD", "-p tcp -j DROP"))
    said = partial(rule_text, lab.world(), labs.NODE_1)
    assert said(RuleEvent("ip", "filter", "FORWARD", 2, 9, "drop")) == "filter FORWARD, rule 2: -p tcp -j DROP"
    assert said(RuleEvent("legacy", "filter", "FORWARD", 2, 9, "drop")) == "filter FORWARD, rule 2"
    assert said(RuleEvent("ip", "aws-cni", "nat-prerouting", 1, 9, "return")) == "aws-cni nat-prerouting, rule 1: fib daddr type local return"


def test_a_lookup_that_disagrees_is_a_finding() -> None:
    walked = predicted()
    frames = [
        Captured(hop.netns, hop.link, hop.direction, n, ETHERNET + craft(walked.path.probe))
        for n, hop in enumerate(walked.path.hops)
    ]
    lookups = {2: KernelLookup(False, 254, "default via 10.10.0.1 dev eth0")}
    path = with_account(correlate(walked, frames, Evidence(lookups=lookups)), KernelAccount())
    assert [one.kind for one in path.findings if one.kind == "lookup"] == ["lookup"]
    said = next(one.text for one in path.findings if one.kind == "lookup")
    assert "of table 2" in said and "default via 10.10.0.1 dev eth0 of table main" in said
    decision = path.hops[1].decision
    assert decision is not None and decision.confirmed is False and decision.kernel == lookups[2]


def test_a_tracked_flow_stands_at_the_hop_where_the_packet_came_in() -> None:
    flow = TrackedFlow("icmp", Tuple("a", "b", 7), Tuple("b", "a", 7), text="icmp …")
    place = (labs.NODE_1, labs.VETH_B, "in")
    path = with_account(predicted().path, KernelAccount(flows={place: FlowChange(None, flow)}))
    said = render_json(path)["hops"][1]["decision"]["conntrack"]
    assert said["before"] is None and said["after"]["original"] == {"src": "a", "dst": "b", "srcPort": 7, "dstPort": 0}
    assert "none → icmp …" in render_text(path, verbose=True)


# ---- symmetry ----


def back_along(path: Path) -> list[tuple[str, str, str]]:
    return [(hop.netns, hop.link, "in" if hop.direction == "out" else "out") for hop in reversed(path.hops)]


def test_the_same_way_back_is_symmetric() -> None:
    path = predicted().path
    said = symmetry(path, back_along(path))
    assert said is not None and said.symmetric
    assert "symmetric" not in render_text(replace(path, symmetry=said))
    assert render_json(replace(path, symmetry=said))["symmetric"]["verdict"] is True


def test_another_eni_on_the_way_back_is_named() -> None:
    path = predicted().path
    other = [(netns, "eth0" if (netns, link) == (labs.NODE_1, "eth1") else link, direction) for netns, link, direction in back_along(path)]
    said = symmetry(path, other)
    assert said is not None and not said.symmetric
    assert said.text == "node1: the way there was by eth1, the way back is by eth0"
    assert render_text(replace(path, symmetry=said)).splitlines()[-1] == f"not symmetric: {said.text}"


def test_an_answer_that_did_not_come_back_is_no_verdict() -> None:
    path = predicted().path
    assert symmetry(path, ()) is None and symmetry(path, back_along(path)[:3]) is None


def test_places_of_answers_are_read_from_their_frames() -> None:
    frame = Frame("", "", "10.0.0.2", "10.0.0.1", "udp", 53, 40_000, 64, 36)
    answer = captured(datagram(frame.src, frame.dst, 53, 40_000), at=2, direction="in", netns="client")
    assert answer_places(identified([captured(craft(UDP), netns="client"), answer], UDP)) == (("client", "eth0", "in"),)
