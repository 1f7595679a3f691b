"""Live traffic joined to flows: by what connection tracking says, and by what NAT leaves alone."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import pytest

from labnet.model.flow import Flow, TrackedFlow
from labnet.model.packet import Direction
from labnet.trace.dissect import Captured
from labnet.trace.flows import Flows, Watched, nat_words, read, turned

S = 1_000_000_000
POD, NODE, PUBLIC, FAR = "10.0.0.9", "10.0.0.4", "203.0.113.1", "8.8.8.8"
SYN, ACK, RST, FIN = 2, 16, 4, 1


class Wire:
    """Frames, a microsecond apart."""

    def __init__(self, flows: Flows) -> None:
        self.flows = flows
        self.now_ns = 1_700_000_000 * S
        self.new: list[Watched] = []

    def pass_by(self, packet: bytes, *places: str) -> None:
        for place in places:
            netns, link, direction = place.split()
            self.now_ns += 1_000
            way: Direction = "out" if direction == "out" else "in"
            found = self.flows.see(Captured(netns, link, way, self.now_ns, bytes(12) + b"\x08\x00" + packet))
            self.new += [found] if found is not None else []

    def over(self) -> list[Watched]:
        return self.flows.ended(self.now_ns + 60 * S, 5 * S)


def ip(src: str, dst: str, protocol: int, body: bytes, ident: int) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ident, 0x4000, 64, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + body


def udp(src: str, sport: int, dst: str, dport: int, payload: bytes = b"hello", ident: int = 7) -> bytes:
    return ip(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + len(payload), sport ^ dport) + payload, ident)


def tcp(src: str, sport: int, dst: str, dport: int, flags: int, seq: int = 1, ident: int = 7) -> bytes:
    return ip(src, dst, 6, struct.pack("!HHIIBBHHH", sport, dport, seq, 9, 0x50, flags, 64, sport ^ dport, 0), ident)


def icmp(src: str, dst: str, kind: int, number: int, seq: int = 1, ident: int = 7) -> bytes:
    return ip(src, dst, 1, struct.pack("!BBHHH", kind, 0, number, number, seq) + b"x" * 8, ident)


def unreachable(src: str, dst: str, code: int, quoted: bytes, ident: int = 8) -> bytes:
    return ip(src, dst, 1, struct.pack("!BBHI", 3, code, 0, 0) + quoted, ident)


@pytest.fixture()
def wire() -> Wire:
    return Wire(Flows("pod", [POD]))


def netns_of(places: Sequence[tuple[str, str, str]]) -> list[str]:
    return [f"{netns} {link} {direction}" for netns, link, direction in places]


def test_a_flow_without_nat_is_answered(wire: Wire) -> None:
    wire.pass_by(udp(POD, 500, FAR, 53), "pod eth0 out", "node veth in", "node eth0 out")
    wire.pass_by(udp(FAR, 53, POD, 500), "node eth0 in", "node veth out", "pod eth0 in")
    (flow,) = wire.over()
    assert (flow.flow, flow.began, flow.ended) == (Flow(17, POD, FAR, 500, 53), "pod", "answered")
    assert netns_of(flow.path("forth")) == ["pod eth0 out", "node veth in", "node eth0 out"]
    assert netns_of(flow.path("back")) == ["node eth0 in", "node veth out", "pod eth0 in"]
    assert flow.packets == {"forth": 1, "back": 1} and flow.length == {"forth": 33, "back": 33}
    assert [found.flow for found in wire.new] == [flow.flow] and wire.flows.open == []


@pytest.mark.parametrize("protocol", ["udp", "tcp", "icmp"])
def test_two_translations_are_followed_by_what_nat_leaves_alone(wire: Wire, protocol: str) -> None:
    def packet(src: str, sport: int, dst: str, dport: int, back: bool) -> bytes:
        if protocol == "icmp":
            return icmp(src, dst, 0 if back else 8, dport if back else sport, ident=4 + back)
        make = udp if protocol == "udp" else lambda *ends, ident: tcp(*ends, SYN | (ACK if back else 0), ident=ident)
        return make(src, sport, dst, dport, ident=4 + back)

    wire.pass_by(packet(POD, 500, FAR, 53, False), "pod eth0 out", "node veth in")
    wire.pass_by(packet(NODE, 9_000, FAR, 53, False), "node eth0 out", "igw vpc in")
    wire.pass_by(packet(PUBLIC, 9_000, FAR, 53, False), "igw wan out", "internet gw in")
    wire.pass_by(packet(FAR, 53, PUBLIC, 9_000, True), "internet gw out", "igw wan in")
    wire.pass_by(packet(FAR, 53, NODE, 9_000, True), "igw vpc out", "node eth0 in")
    wire.pass_by(packet(FAR, 53, POD, 500, True), "node veth out", "pod eth0 in")
    (flow,) = wire.over()
    assert [place.split()[0] for place in netns_of(flow.path("forth"))] == ["pod", "node", "node", "igw", "igw", "internet"]
    assert [place.split()[0] for place in netns_of(flow.path("back"))] == ["internet", "igw", "igw", "node", "node", "pod"]
    assert flow.ended == "answered"
    assert flow.translations() == (("node", f"SNAT {POD}:500 → {NODE}:9000"), ("igw", f"SNAT {NODE} → {PUBLIC}"))


def test_a_nat_gateway_on_one_link(wire: Wire) -> None:
    wire.pass_by(udp(POD, 500, FAR, 53), "pod eth0 out", "vpc port in", "vpc nat out", "nat vpc in")
    wire.pass_by(udp(NODE, 500, FAR, 53), "nat vpc out", "vpc nat in", "vpc igw out")
    wire.pass_by(udp(FAR, 53, NODE, 500, ident=9), "vpc igw in", "vpc nat out", "nat vpc in")
    wire.pass_by(udp(FAR, 53, POD, 500, ident=9), "nat vpc out", "vpc nat in", "vpc port out", "pod eth0 in")
    (flow,) = wire.over()
    assert flow.translations() == (("nat", f"SNAT {POD} → {NODE}"),)
    assert [place[0] for place in flow.path("back")] == ["vpc", "vpc", "nat", "nat", "vpc", "vpc", "pod"]


def test_connection_tracking_tells_what_looks_like_nothing_known(wire: Wire) -> None:
    """Both ends changed at once, as a hairpin does: only the entry says that it is the same packet."""
    wire.pass_by(udp(POD, 500, "172.20.0.1", 80), "pod eth0 out", "node veth in")
    wire.pass_by(udp(NODE, 9_000, POD, 8080), "node veth out")
    assert wire.flows.asks and len(wire.flows.open[0].path("forth")) == 2
    entry = TrackedFlow(Flow(17, POD, "172.20.0.1", 500, 80), Flow(17, POD, NODE, 8080, 9_000))
    wire.flows.learn([TrackedFlow(Flow(17, "1.1.1.1", FAR, 1, 2), Flow(17, FAR, "2.2.2.2", 2, 1))])
    assert wire.flows.asks
    wire.flows.learn([entry])
    assert not wire.flows.asks
    (flow,) = wire.over()
    assert netns_of(flow.path("forth")) == ["pod eth0 out", "node veth in", "node veth out"]
    assert flow.translations() == (("node", f"DNAT 172.20.0.1:80 → {POD}:8080; SNAT {POD}:500 → {NODE}:9000"),)


def test_packets_of_two_flows_that_look_the_same_wait_for_connection_tracking(wire: Wire) -> None:
    """UDP with IP id 0 and one payload to one server: nothing but the entries says which is which."""
    wire.pass_by(udp(POD, 500, FAR, 53, ident=0), "pod eth0 out", "node veth in")
    wire.pass_by(udp(POD, 600, FAR, 53, ident=0), "pod eth0 out", "node veth in")
    wire.pass_by(udp(NODE, 9_600, FAR, 53, ident=0), "node eth0 out")
    wire.pass_by(udp(NODE, 9_500, FAR, 53, ident=0), "node eth0 out")
    assert len(wire.new) == 2 and wire.flows.asks
    wire.flows.learn([
        TrackedFlow(Flow(17, POD, FAR, port, 53), Flow(17, FAR, NODE, 53, port + 9_000)) for port in (500, 600)
    ])
    assert [flow.translations() for flow in wire.over()] == [
        (("node", f"SNAT {POD}:{port} → {NODE}:{port + 9_000}"),) for port in (500, 600)
    ]


def test_who_is_asked_from_outside_was_seen_before_it_was_known(wire: Wire) -> None:
    wire.pass_by(tcp(FAR, 700, PUBLIC, 80, SYN), "internet gw out", "igw wan in")
    wire.pass_by(tcp(FAR, 700, POD, 80, SYN), "igw vpc out", "node veth out", "pod eth0 in")
    wire.pass_by(tcp(POD, 80, FAR, 700, SYN | ACK, ident=9), "pod eth0 out", "igw vpc in")
    wire.pass_by(tcp(PUBLIC, 80, FAR, 700, SYN | ACK, ident=9), "igw wan out", "internet gw in")
    (flow,) = wire.over()
    assert (flow.began, flow.flow.source, flow.ended) == ("other", FAR, "answered")
    assert netns_of(flow.path("forth"))[:2] == ["internet gw out", "igw wan in"]
    assert flow.translations() == (("igw", f"DNAT {PUBLIC} → {POD}"),)


def test_how_flows_end(wire: Wire) -> None:
    wire.pass_by(tcp(POD, 1, FAR, 81, SYN), "pod eth0 out")
    wire.pass_by(tcp(FAR, 81, POD, 1, RST | ACK), "pod eth0 in")
    wire.pass_by(udp(POD, 2, FAR, 9), "pod eth0 out")
    wire.pass_by(unreachable(FAR, POD, 3, udp(POD, 2, FAR, 9)), "pod eth0 in")
    wire.pass_by(udp(POD, 3, "10.0.0.77", 9), "pod eth0 out", "node veth in")
    wire.pass_by(unreachable(NODE, POD, 1, udp(POD, 3, "10.0.0.77", 9)), "pod eth0 in")
    wire.pass_by(udp(POD, 4, "10.0.0.78", 9), "pod eth0 out", "node veth in")
    wire.pass_by(udp(POD, 5, "10.0.0.79", 9), "pod eth0 out", "node veth in")
    wire.pass_by(udp("10.0.0.79", 9, POD, 5), "node eth0 in")
    assert [flow.ended for flow in wire.over()] == ["refused", "refused", "unreachable", "no answer", "answer lost"]


def test_a_closed_flow_is_over_soon_and_an_open_one_when_it_is_idle(wire: Wire) -> None:
    wire.pass_by(tcp(POD, 1, FAR, 80, SYN), "pod eth0 out")
    wire.pass_by(tcp(FAR, 80, POD, 1, SYN | ACK), "pod eth0 in")
    wire.pass_by(tcp(POD, 2, FAR, 80, SYN), "pod eth0 out")
    wire.pass_by(tcp(FAR, 80, POD, 1, FIN | ACK, seq=2), "pod eth0 in")
    assert [flow.flow.source_port for flow in wire.flows.ended(wire.now_ns + 2 * S, 5 * S)] == [1]
    assert wire.flows.ended(wire.now_ns + 4 * S, 5 * S) == []
    assert [flow.flow.source_port for flow in wire.flows.ended(wire.now_ns + 6 * S, 5 * S)] == [2]
    wire.pass_by(tcp(POD, 1, FAR, 80, SYN, seq=77), "pod eth0 out")  # the same ports again: another flow
    assert len(wire.new) == 3


def test_traffic_of_others_is_nobodys_and_is_forgotten(wire: Wire) -> None:
    wire.pass_by(udp(NODE, 9_000, FAR, 53), "node eth0 out")
    wire.pass_by(udp(POD, 500, FAR, 53), "node veth in")  # seen at the node only: it never left the pod's own namespace
    assert wire.new == [] and wire.flows.open == []
    wire.now_ns += 10 * S
    wire.pass_by(udp(POD, 600, FAR, 53, b"other"), "pod eth0 out")
    assert not wire.flows.asks and len(wire.flows.open[0].path("forth")) == 1


def test_the_middle_of_a_connection_is_told_from_its_client(wire: Wire) -> None:
    wire.pass_by(tcp(POD, 80, FAR, 40_000, ACK), "pod eth0 out")
    assert wire.new[0].flow == Flow(6, FAR, POD, 40_000, 80) and wire.new[0].began == "other"


def test_what_cannot_be_read_is_no_flow(wire: Wire) -> None:
    head = bytes(12) + b"\x08\x00"
    for data in (b"", bytes(14), head + ip(POD, FAR, 1, bytes([3, 1]) + bytes(6), 1), head + icmp(POD, FAR, 13, 1)):
        assert read(Captured("pod", "eth0", "out", 1, data)) is None
    assert turned(turned(Flow(6, "a", "b", 1, 2))) == Flow(6, "a", "b", 1, 2) and nat_words(Flow(6, "a", "b"), Flow(6, "a", "b")) == ""
