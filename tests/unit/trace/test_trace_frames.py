"""Frames and files: known again through NAT, joined with the prediction, written as pcapng and as JSON and text."""

from __future__ import annotations

import io
import json
import socket
import struct
from dataclasses import replace

import builders_trace as labs
import pytest

from labnet.model.packet import Frame, KernelLookup, Probe
from labnet.trace import words
from labnet.trace.correlate import Evidence, correlate, nat_between
from labnet.trace.dissect import Captured, datagram, frame_of, part_of, tag
from labnet.trace.labels import mac_labels
from labnet.trace.pcapng import PcapFrame, write_pcapng
from labnet.trace.predict import Walked, walk
from labnet.trace.probe import craft, measured
from labnet.trace.render.json import render_json
from labnet.trace.render.text import COLUMNS, render_text
from labnet.trace.taps import taps

PROBE = Probe("icmp", "10.10.2.6", "10.10.5.5", ident=0x01020304)


def ip_packet(src: str, dst: str, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, ttl, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + payload


def on_wire(frame: Frame, probe: Probe, kind: str = "probe") -> bytes:
    """An Ethernet frame as the kernel would carry it."""
    if probe.protocol == "icmp":
        body = struct.pack("!BBHHH", 8 if kind == "probe" else 0, 0, 0, 77, 1) + tag(probe.ident)
        number = 1
    elif probe.protocol == "udp":
        body = struct.pack("!HHHH", frame.src_port, frame.dst_port, 8, 0) + tag(probe.ident)
        number = 17
    else:
        flags, seq, ack = {"probe": (2, probe.ident, 0), "answer": (18, 9, probe.ident + 1), "refusal": (20, 0, probe.ident + 1)}[kind]
        body = struct.pack("!HHIIBBHHH", frame.src_port, frame.dst_port, seq, ack, 0x50, flags, 0, 0, 0)
        number = 6
    ether = bytes.fromhex(frame.dst_mac.replace(":", "")) + bytes.fromhex(frame.src_mac.replace(":", "")) + b"\x08\x00"
    return ether + ip_packet(frame.src, frame.dst, number, body, frame.ttl)


def as_seen(walked: Walked, count: int | None = None, start_ns: int = 1_000_000) -> list[Captured]:
    """The predicted hops as captured frames."""
    hops = [hop for hop in walked.path.hops if hop.frame is not None][:count]
    return [
        Captured(hop.netns, hop.link, hop.direction, start_ns + 1000 * n, on_wire(hop.frame, walked.path.probe))
        for n, hop in enumerate(hops) if hop.frame is not None
    ]  # fmt: skip


def pod_to_pod(lab: labs.WalkLab | None = None, probe: Probe = PROBE) -> Walked:
    return walk((lab or labs.a_walk_lab()).world(), labs.POD_B, probe)


def reply_of(walked: Walked, kind: str) -> Captured:
    first, last = walked.path.hops[0].frame, walked.path.hops[-1].frame
    assert first is not None and last is not None
    back = Frame(first.dst_mac, first.src_mac, last.dst, first.src, first.protocol, first.dst_port, first.src_port, 60, 40)
    return Captured(labs.POD_B, "eth0", "in", 9_000_000, on_wire(back, walked.path.probe, kind))


# ---- dissect and probe ----


@pytest.mark.parametrize("protocol", ["icmp", "tcp", "udp"])
def test_a_crafted_probe_is_known_again_whatever_nat_did(protocol: str) -> None:
    ports = {} if protocol == "icmp" else {"src_port": 31000, "dst_port": 80}
    probe = Probe(protocol, "10.0.0.1", "10.0.0.2", ident=0xDEADBEEF, **ports)  # type: ignore[arg-type]
    packet = craft(probe)
    found = datagram(packet)
    assert found is not None and (found.src, found.dst, found.ttl, found.length) == ("10.0.0.1", "10.0.0.2", 64, len(packet))
    translated = craft(replace(probe, src="203.0.113.9", src_port=probe.src_port and 61000))
    for data in (packet, translated):
        assert part_of(bytes(12) + b"\x08\x00" + data, probe) == "probe"
        assert part_of(bytes(12) + b"\x81\x00\x00\x05\x08\x00" + data, probe) == "probe"
    assert part_of(bytes(12) + b"\x08\x00" + craft(replace(probe, ident=5)), probe) is None


def test_a_probe_is_as_long_as_asked_and_not_to_be_fragmented() -> None:
    probe = measured(replace(PROBE, length=1400))
    assert probe.length == len(craft(probe)) == 1400
    assert craft(probe)[6] & 0x40
    assert measured(PROBE).length == 20 + 8 + len(tag(1))


def test_answers_refusals_and_errors_are_told_apart() -> None:
    tcp = Probe("tcp", "10.0.0.1", "10.0.0.2", 31000, 80, ident=70)
    back = Frame("02:00:00:00:00:01", "02:00:00:00:00:02", "10.0.0.2", "10.0.0.1", "tcp", 80, 31000, 64, 40)
    assert part_of(on_wire(back, tcp, "answer"), tcp) == "answer"
    assert part_of(on_wire(back, tcp, "refusal"), tcp) == "refusal"
    assert part_of(on_wire(replace(back, protocol="icmp"), PROBE, "answer"), PROBE) == "answer"
    error = struct.pack("!BBHI", 11, 0, 0, 0) + craft(PROBE)
    assert part_of(bytes(12) + b"\x08\x00" + ip_packet("10.9.9.9", PROBE.src, 1, error), PROBE) == "error"
    other = struct.pack("!BBHI", 11, 0, 0, 0) + craft(tcp)
    assert part_of(bytes(12) + b"\x08\x00" + ip_packet("10.9.9.9", PROBE.src, 1, other), PROBE) is None


def test_a_senders_closed_port_is_no_refusal() -> None:
    """What answers may come after the sender has closed its socket: its complaint quotes the answer, not the probe."""
    udp = Probe("udp", "10.0.0.1", "10.0.0.2", 31000, 7, ident=70)
    back = replace(udp, src="10.0.0.2", dst="10.0.0.1", src_port=7, dst_port=31000)
    for quoted, part in ((udp, "error"), (back, None)):
        error = struct.pack("!BBHI", 3, 3, 0, 0) + craft(quoted)
        assert part_of(bytes(12) + b"\x08\x00" + ip_packet("10.0.0.1", "10.0.0.2", 1, error), udp) == part


@pytest.mark.parametrize("data", [b"", bytes(20), bytes(12) + b"\x08\x06" + bytes(40), bytes(12) + b"\x08\x00" + b"\x60" + bytes(60)])
def test_other_frames_are_nothing(data: bytes) -> None:
    assert frame_of(data) is None and part_of(data, PROBE) is None


# ---- correlate ----


def test_frames_and_prediction_agree() -> None:
    walked = pod_to_pod()
    evidence = Evidence(lookups={ask.hop: KernelLookup(True) for ask in walked.asks}, clock_offset_ns=1_000_000)
    path = correlate(walked, [*reversed(as_seen(walked)), reply_of(walked, "answer")], evidence)
    assert path.delivered and path.notes == () and path.drop is None
    assert [hop.n for hop in path.hops] == list(range(1, 9))
    assert [hop.frame.time_ns for hop in path.hops if hop.frame] == [1000 * n for n in range(8)]
    assert path.hops[1].owner == "node1" and path.hops[1].decision is not None and path.hops[1].decision.confirmed is True


def test_nat_is_read_from_the_frames() -> None:
    probe = replace(PROBE, dst="8.8.8.8")
    walked = pod_to_pod(probe=probe)
    path = correlate(walked, as_seen(walked), Evidence())
    said = [hop.decision.nat for hop in path.hops if hop.decision is not None and hop.decision.nat]
    assert said == ["SNAT 10.10.2.6 → 10.10.0.10", f"SNAT 10.10.0.10 → {labs.PUBLIC_1}"]
    tcp = Frame("", "", "10.0.0.1", "10.100.0.1", "tcp", 31000, 80, 64, 40)
    assert nat_between(tcp, replace(tcp, dst="10.0.0.9", dst_port=8080)) == "DNAT 10.100.0.1:80 → 10.0.0.9:8080"


def test_a_drop_that_was_predicted_and_counted() -> None:
    lab = labs.a_walk_lab()
    lab.remove(labs.NODE_1, labs.Rule(1536, 2, src="10.10.2.6/32"))
    walked = pod_to_pod(lab)
    counted = {(labs.VPC, "source/dest check"): 1}
    path = correlate(walked, as_seen(walked), Evidence(counted=counted))
    assert not path.delivered and path.drop is not None
    assert (path.drop.hop, path.drop.check, path.drop.counter) == (4, "source-dest-check", "source/dest check")
    assert any("+1" in note for note in path.notes)


def test_a_predicted_drop_that_nothing_counted_stays_unknown() -> None:
    lab = labs.a_walk_lab()
    lab.remove(labs.NODE_1, labs.Rule(1536, 2, src="10.10.2.6/32"))
    walked = pod_to_pod(lab)
    silent = correlate(walked, as_seen(walked), Evidence())
    assert silent.drop is not None and silent.drop.check == "unknown" and "source-dest-check" in silent.drop.text
    other = correlate(walked, as_seen(walked), Evidence(counted={(labs.VPC, "security group: egress"): 1}))
    assert other.drop is not None and other.drop.check == "security-group-egress"


def test_a_drop_that_was_not_predicted_is_named_by_its_counter() -> None:
    walked = pod_to_pod()
    path = correlate(walked, as_seen(walked, 4), Evidence(counted={(labs.VPC, "security group: ingress"): 1}))
    assert not path.delivered and path.drop is not None
    assert (path.drop.hop, path.drop.check) == (4, "security-group-ingress")
    unknown = correlate(walked, as_seen(walked, 4), Evidence())
    assert unknown.drop is not None and (unknown.drop.hop, unknown.drop.check) == (4, "unknown")
    assert any("predicted, not seen" in note for note in unknown.notes)


def test_an_answer_proves_delivery_whatever_was_predicted() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_2, labs.IptRule("filter", "FORWARD", "-j DROP"))
    walked = pod_to_pod(lab)
    path = correlate(walked, [*as_seen(walked), reply_of(walked, "answer")], Evidence())
    assert path.delivered and any("although" in note for note in path.notes)


def test_a_reset_means_that_nothing_listens() -> None:
    walked = pod_to_pod(probe=Probe("tcp", "10.10.2.6", "10.10.5.5", 31000, 81, ident=70))
    path = correlate(walked, [*as_seen(walked), reply_of(walked, "refusal")], Evidence())
    assert not path.delivered and path.drop is not None
    assert (path.drop.check, path.drop.hop) == ("not-listening", 8)
    assert correlate(walked, [*as_seen(walked), reply_of(walked, "answer")], Evidence()).delivered


def test_a_frame_that_is_not_as_predicted_is_noted() -> None:
    walked = pod_to_pod()
    frames = as_seen(walked)
    hop = walked.path.hops[2]
    assert hop.frame is not None
    odd = replace(frames[2], data=on_wire(replace(hop.frame, dst_mac="02:00:00:00:00:99"), PROBE))
    path = correlate(walked, [*frames[:2], odd, *frames[3:]], Evidence())
    assert path.delivered and any("destination MAC 02:00:00:00:00:99" in note for note in path.notes)
    assert path.hops[2].frame is not None and path.hops[2].frame.dst_mac == "02:00:00:00:00:99"


def test_a_hop_that_was_not_predicted_is_shown_and_noted() -> None:
    walked = pod_to_pod()
    frames = as_seen(walked)
    astray = replace(frames[2], link="eth0", time_ns=frames[2].time_ns + 1)
    path = correlate(walked, [*frames[:3], astray, *frames[3:]], Evidence())
    assert len(path.hops) == 9 and path.hops[3].decision is None
    assert any("not predicted" in note and "eth0" in note for note in path.notes)


def test_a_refusal_of_the_kernel_to_send() -> None:
    lab = labs.a_walk_lab()
    lab.remove(labs.POD_B, labs.Route("default", "eth0", via="169.254.1.1"))
    path = correlate(pod_to_pod(lab), [], Evidence(refused="Network is unreachable", lost=2))
    assert path.drop is not None and (path.drop.hop, path.drop.check) == (1, "no-route")
    assert path.lost == 2 and len(path.hops) == 1
    assert [note for note in path.notes if "unreachable" in note] and [note for note in path.notes if "lost" in note]


# ---- taps, words, labels ----


def test_taps_are_the_path_and_what_it_could_stray_to() -> None:
    world = labs.a_walk_lab().world()
    walked = walk(world, labs.POD_B, PROBE)
    assert taps(world, walked.path, labs.POD_B, labs.POD_C) == (
        labs.POD_B, labs.NODE_1, labs.VPC, labs.NODE_2, labs.POD_C, labs.IGW, labs.INTERNET,
    )


def test_every_counter_of_the_fabric_has_a_word() -> None:
    from labnet.fabric import tables

    comments = [value for name, value in vars(tables).items() if name.startswith("DROP_")]
    without = [comment for comment in comments if words.check_of(comment) is None]
    assert without == ["layer 2: neither IPv4 nor ARP"]


def test_macs_are_labelled() -> None:
    world = labs.a_walk_lab().world()
    labels = mac_labels(world, [labs.POD_B, labs.NODE_1, labs.VPC])
    assert labels[labs.MAC_B] == f"node1 {labs.VETH_B}" and labels["0e:00:00:00:00:01"] == "VPC router"


# ---- files ----


def test_pcapng_reads_back_with_names_times_and_directions() -> None:
    from scapy.utils import RawPcapNgReader

    frames = [
        PcapFrame("lab-pod/eth0", "out", 1_700_000_000_123_456_789, b"\x01" * 60, "hop 1"),
        PcapFrame("lab-node1/eth1", "in", 1_700_000_000_123_456_999, b"\x02" * 61),
        PcapFrame("lab-pod/eth0", "in", 1_700_000_000_123_456_001, b"\x03" * 62),
    ]
    data = write_pcapng(frames, ("lab-vpc/igw",))
    reader = RawPcapNgReader(io.BytesIO(data))  # type: ignore[arg-type]
    packets = [(body, meta) for body, meta in reader]
    assert [body for body, _ in packets] == [b"\x03" * 62, b"\x01" * 60, b"\x02" * 61]
    assert [meta.ifname for _, meta in packets] == [b"lab-pod/eth0", b"lab-pod/eth0", b"lab-node1/eth1"]
    assert [meta.direction for _, meta in packets] == [1, 2, 1]
    stamps = [(meta.tshigh << 32) + meta.tslow for _, meta in packets]
    assert stamps == sorted(frame.time_ns for frame in frames) and packets[0][1].tsresol == 1_000_000_000
    assert b"lab-vpc/igw" in data and len(data) % 4 == 0


def test_json_has_exactly_the_agreed_keys() -> None:
    walked = pod_to_pod()
    document = json.loads(json.dumps(render_json(correlate(walked, as_seen(walked), Evidence()))))
    assert list(document) == [
        "apiVersion", "kind", "from", "to", "probe", "delivered", "hops", "drop", "lost", "notes", "answer", "answerDrop", "findings", "back",
        "symmetric",
    ]
    assert (document["apiVersion"], document["kind"], document["delivered"], document["drop"]) == ("labnet/v1", "Trace", True, None)
    hop = document["hops"][1]
    assert list(hop) == ["n", "netns", "owner", "link", "direction", "time_ns", "frame", "decision"]
    assert list(hop["frame"]) == ["srcMac", "dstMac", "src", "dst", "protocol", "srcPort", "dstPort", "ttl", "length", "mark"]
    assert hop["decision"]["rule"] == {"priority": 1536, "text": "from 10.10.2.6 lookup 2"} and hop["decision"]["table"] == 2
    assert {"rule", "table", "route", "neighbour", "netfilter", "nat", "check"} <= set(hop["decision"])


def test_text_shows_hops_reasons_and_the_verdict_within_the_columns() -> None:
    lab = labs.a_walk_lab("1.6")
    lab.remove(labs.NODE_1, labs.Rule(1536, 2, src="10.10.2.6/32", dst="10.10.0.0/16"))
    world = lab.world()
    walked = walk(world, labs.POD_B, PROBE)
    path = correlate(walked, as_seen(walked), Evidence(counted={(labs.VPC, "source/dest check"): 1}))
    text = render_text(path, mac_labels(world, [labs.POD_B, labs.NODE_1, labs.NODE_2]))
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert f"→ {labs.clouds.eni_mac('node2', 0)} (node2 eth0)" in text and "32766: from all lookup main" in text
    assert text.splitlines()[-2].startswith("dropped at hop 4: source-dest-check: ")
    assert '(counter "source/dest check")' in text


def test_text_of_a_delivered_trace_ends_with_the_word() -> None:
    walked = pod_to_pod(probe=replace(PROBE, dst="8.8.8.8"))
    text = render_text(correlate(walked, as_seen(walked), Evidence()), {"0e:00:00:00:00:01": "VPC router"})
    assert "→ 0e:00:00:00:00:01 (VPC router)" in text
    assert text.splitlines()[-1] == "delivered"
    assert "nat       SNAT 10.10.2.6 → 10.10.0.10" in text


def test_a_probe_that_was_never_seen_does_not_borrow_a_later_drop() -> None:
    lab = labs.a_walk_lab()
    lab.add(labs.NODE_2, labs.IptRule("filter", "FORWARD", "-j DROP"))
    path = correlate(pod_to_pod(lab), [], Evidence())
    assert path.drop is not None and (path.drop.check, path.drop.hop) == ("unknown", 1)
