"""Capture files: what Wireshark says of them."""

from __future__ import annotations

from pathlib import Path

import builders_trace as labs
import shark
from test_trace_frames import PROBE, as_seen, on_wire, pod_to_pod

from labnet.trace.correlate import Evidence, correlate
from labnet.trace.pcapng import PcapFrame, PcapngStream, write_pcapng
from labnet.trace.remarks import described, remark
from labnet.trace.run import TraceResult

PACKET = on_wire(next(hop.frame for hop in pod_to_pod().path.hops if hop.frame is not None), PROBE)
T = 1_700_000_000_123_456_789


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file.pcapng"
    path.write_bytes(data)
    return path


def test_interfaces_times_directions_and_comments_are_read_by_tshark(tmp_path: Path) -> None:
    frames = [
        PcapFrame("lab-pod/eth0", "out", T, PACKET, "hop 1 → über"), PcapFrame("lab-node1/eth1", "in", T + 200, PACKET + b"xyz"),
        PcapFrame("lab-pod/eth0", "in", T - 1, PACKET),
    ]
    names = {"lab-pod/eth0": "pod2 eth0", "lab-vpc/igw": "vpc port"}
    path = written(tmp_path, write_pcapng(frames, ("lab-vpc/igw",), names, "all of it", {"lab-pod": 7}))
    found = shark.packets(path)
    assert [one["frame.interface_name"] for one in found] == ["lab-pod/eth0", "lab-pod/eth0", "lab-node1/eth1"]
    assert [one["frame.interface_description"] for one in found] == ["pod2 eth0", "pod2 eth0", ""]
    assert [one["frame.time_epoch"] for one in found] == ["1700000000.123456788", "1700000000.123456789", "1700000000.123456989"]
    assert [int(one["frame.packet_flags_direction"], 16) for one in found] == [1, 2, 1]
    assert [one["frame.comment"] for one in found] == ["", "hop 1 → über", ""]
    assert [int(one["frame.len"]) for one in found] == [len(PACKET), len(PACKET), len(PACKET) + 3]
    said = shark.capinfos(path)
    assert "Name = lab-vpc/igw" in said and "Description = vpc port" in said and "nanosecond" in said
    assert "Number of interfaces in file: 3" in said and "all of it" in said and said.count("Number of stat entries = 1") == 3
    assert "labnet" in said


def test_the_statistics_say_what_was_lost_once_a_namespace(tmp_path: Path) -> None:
    stream = PcapngStream(start_ns=T)
    head = stream.head() + stream.interface("a/lo") + stream.interface("a/eth0") + stream.interface("b/eth0")
    tail = stream.tail({"a": 5, "b": 0}, T + 9)
    assert stream.interface("a/lo") == b""
    assert tail.count((5).to_bytes(8, "little")) == 1 and b"5 frames were lost in a, by all its interfaces" in tail
    assert "Number of packets:   0" in shark.capinfos(written(tmp_path, head + tail))


def test_an_interface_may_come_in_the_middle_and_a_comment_is_cut_where_it_does_not_fit(tmp_path: Path) -> None:
    stream = PcapngStream()
    data = stream.head() + stream.interface("a/eth0") + stream.packet(PcapFrame("a/eth0", "in", T, PACKET))
    data += stream.interface("b/eth0", "late") + stream.packet(PcapFrame("b/eth0", "out", T + 1, PACKET, "ü" * 50_000))
    found = shark.packets(written(tmp_path, data + stream.tail({}, T + 2)))
    assert [one["frame.interface_name"] for one in found] == ["a/eth0", "b/eth0"]
    assert found[1]["frame.comment"].startswith("üüü")


def test_a_trace_says_at_each_frame_which_hop_it_is_and_what_decided(tmp_path: Path) -> None:
    lab = labs.a_walk_lab("1.6")
    lab.remove(labs.NODE_1, labs.Rule(1536, 2, src="10.10.2.6/32", dst="10.10.0.0/16"))
    walked = pod_to_pod(lab)
    frames = as_seen(walked)
    path = correlate(walked, frames, Evidence(counted={(labs.VPC, "source/dest check"): 1}))
    world = lab.world()
    interfaces = {f"{one.netns}/{one.link}": described((one.netns, one.link), world.owners, world.roles, world.wires) for one in frames}
    found = shark.packets(written(tmp_path, TraceResult(path, tuple(frames), (), {}, interfaces).pcapng()))
    assert [one["frame.comment"] for one in found] == [remark(hop, path) for hop in path.hops]
    assert found[1]["frame.comment"].startswith(f"hop 2 of 4, node1 {labs.VETH_B} in: rule 32766 (from all lookup main) → table 254 → ")
    assert "dropped: source-dest-check: " in found[3]["frame.comment"]
    assert [one["frame.interface_description"] for one in found] == [
        "pod-b eth0", f"node1 {labs.VETH_B}, to pod-b eth0", "node1 eth0", "vpc port of node1's eth0",
    ]


def test_a_delivered_trace_ends_so() -> None:
    walked = pod_to_pod()
    path = correlate(walked, as_seen(walked), Evidence())
    assert remark(path.hops[-1], path).endswith("delivered") and "rule 1536 (" in remark(path.hops[1], path)
