"""Real packets in real namespaces: what the walk predicts is what the taps see, and the kernel agrees with every decision."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import builders_cloud as clouds
import builders_trace as labs
import pytest
import shark

from labnet.errors import TraceError
from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Addr, Neigh, Rule
from labnet.trace.capture import Capture
from labnet.trace.remarks import remark
from labnet.trace.render.text import render_text
from labnet.trace.run import Patience, TraceRequest, TraceResult, trace

pytestmark = pytest.mark.kernel

NAMES = iter(range(1_000))
PATIENCE = Patience(arrival_s=3.0, answer_s=0.3)


@pytest.fixture(scope="module", params=["1.6", "1.23"])
def lab(request: pytest.FixtureRequest) -> Iterator[labs.WalkLab]:
    yield from built(request.param)


def built(dialect: str) -> Iterator[labs.WalkLab]:
    name = f"lnt-tr{os.getpid()}-{next(NAMES)}"
    kernel = LinuxKernel()
    lab = labs.WalkLab(kernel, name)
    try:
        yield labs.a_walk_lab(dialect, lab=lab, cloud=labs.a_lab_cloud(name))
    finally:
        kernel.remove_netns(list(lab.roles))
        kernel.close()


def go(lab: labs.WalkLab, source: str, target: str, target_netns: str = "", **fields: object) -> TraceResult:
    request = TraceRequest(
        lab.at(source), source.removeprefix(f"{labs.LAB}-"), target, target, target_netns=lab.at(target_netns) if target_netns else "",
    )
    return trace(lab.kernel, lab.world, replace(request, **fields), PATIENCE)  # type: ignore[arg-type]


def places(result: TraceResult) -> list[str]:
    return [f"{hop.owner} {hop.link} {hop.direction}" for hop in result.path.hops]


def all_confirmed(result: TraceResult) -> bool:
    asked = [hop.decision.confirmed for hop in result.path.hops if hop.decision is not None and hop.decision.rule is not None]
    return bool(asked) and all(asked)


def test_pod_to_pod_across_nodes(lab: labs.WalkLab) -> None:
    result = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C)
    path = result.path
    assert path.delivered, render_text(path)
    assert (path.notes, path.lost, all_confirmed(result)) == ((), 0, True)
    assert places(result) == [
        "pod-b eth0 out", f"node1 {labs.VETH_B} in", "node1 eth1 out", "vpc peni-node1-1 in", "vpc peni-node2-0 out", "node2 eth0 in",
        f"node2 {labs.VETH_C} out", "pod-c eth0 in",
    ]
    frames = [hop.frame for hop in path.hops if hop.frame is not None]
    assert [frame.ttl for frame in frames] == [64, 64, 63, 63, 63, 63, 62, 62]
    assert (frames[2].src_mac, frames[2].dst_mac) == (clouds.eni_mac("node1", 1), "0e:00:00:00:00:01")
    assert frames[0].dst_mac == labs.MAC_B and frames[7].src_mac == labs.MAC_C
    assert [frame.time_ns for frame in frames] == sorted(frame.time_ns for frame in frames)
    decision = path.hops[1].decision
    assert decision is not None and decision.rule is not None and (decision.rule.priority, decision.table) == (1536, 2)


def test_pod_to_pod_on_one_node(lab: labs.WalkLab) -> None:
    result = go(lab, labs.POD_A, "10.10.2.6", labs.POD_B)
    assert result.path.delivered and all_confirmed(result)
    assert places(result) == ["pod-a eth0 out", f"node1 {labs.VETH_A} in", f"node1 {labs.VETH_B} out", "pod-b eth0 in"]


@pytest.mark.parametrize("protocol", ["icmp", "udp"])
def test_pod_to_the_internet_arrives_from_the_public_address(lab: labs.WalkLab, protocol: str) -> None:
    with lab.kernel.open_socket(lab.at(labs.INTERNET), socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("8.8.8.8", 7))
        result = go(lab, labs.POD_B, "8.8.8.8", labs.INTERNET, protocol=protocol)
    assert result.path.delivered, render_text(result.path)
    last = result.path.hops[-1]
    assert last.frame is not None and (last.owner, last.frame.src) == ("internet", labs.PUBLIC_1)
    said = [hop.decision.nat for hop in result.path.hops if hop.decision is not None and hop.decision.nat]
    assert said[0].startswith("SNAT 10.10.2.6") and "10.10.0.10" in said[0] and labs.PUBLIC_1 in said[1]
    assert result.path.notes == () and all_confirmed(result)


def test_tcp_to_a_port_with_and_without_a_listener(lab: labs.WalkLab) -> None:
    refused = go(lab, labs.POD_A, "10.10.5.5", labs.POD_C, protocol="tcp", port=81).path
    assert refused.drop is not None and (refused.drop.check, refused.drop.hop) == ("not-listening", len(refused.hops))
    with lab.kernel.open_socket(lab.at(labs.POD_C), socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", 81))
        listener.listen()
        assert go(lab, labs.POD_A, "10.10.5.5", labs.POD_C, protocol="tcp", port=81).path.delivered


def test_udp_to_a_closed_port_is_refused(lab: labs.WalkLab) -> None:
    lab.set_sysctl(labs.POD_C, "net/ipv4/icmp_ratelimit", "0")
    refused = go(lab, labs.POD_A, "10.10.5.5", labs.POD_C, protocol="udp", port=9).path
    assert refused.drop is not None and refused.drop.check == "not-listening"


def test_without_its_rule_the_vpc_drops_the_packet_and_its_counter_says_so(lab: labs.WalkLab) -> None:
    observed = lab.kernel.observe(lab.at(labs.NODE_1))
    rules = [rule for rule in observed.all(Rule) if rule.priority == 1536]
    lab.remove(labs.NODE_1, *rules)
    try:
        path = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    finally:
        lab.add(labs.NODE_1, *rules)
    assert rules and not path.delivered and path.drop is not None
    assert (path.drop.check, path.drop.counter, path.drop.hop) == ("source-dest-check", "source/dest check", 4)
    assert path.hops[3].owner == "vpc" and any("+1" in note for note in path.notes)
    assert "source-dest-check" in render_text(path).splitlines()[-3]


def test_a_stale_neighbour_is_named(lab: labs.WalkLab) -> None:
    wrong = Neigh("eth0", "10.10.0.30", "02:de:ad:be:ef:00")
    lab.add(labs.NODE_1, wrong)
    try:
        path = go(lab, labs.NODE_1, "10.10.0.30", labs.NODE_2).path
    finally:
        lab.remove(labs.NODE_1, wrong)
    assert path.drop is not None and (path.drop.check, path.drop.counter) == ("neighbour", "layer 2: destination MAC")


def test_an_unassigned_address_and_a_ttl_that_ends(lab: labs.WalkLab) -> None:
    silent = go(lab, labs.POD_B, "10.10.9.9").path
    assert silent.drop is not None and (silent.drop.check, silent.hops[-1].owner) == ("no-route", "vpc")
    ended = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C, ttl=2).path
    assert ended.drop is not None and (ended.drop.check, ended.hops[-1].owner) == ("ttl", "node2")
    assert any("time exceeded" in note for note in ended.notes)


def test_forwarding_off_and_strict_reverse_path(lab: labs.WalkLab) -> None:
    lab.set_sysctl(labs.NODE_2, "net/ipv4/ip_forward", "0")
    try:
        off = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C).path
    finally:
        lab.set_sysctl(labs.NODE_2, "net/ipv4/ip_forward", "1")
    assert off.drop is not None and (off.drop.check, off.hops[-1].owner) == ("forwarding-off", "node2")
    lab.add(labs.NODE_1, Addr("lo", "10.10.0.30", 32))
    try:
        martian = go(lab, labs.NODE_2, "10.10.0.10", labs.NODE_1).path
    finally:
        lab.remove(labs.NODE_1, Addr("lo", "10.10.0.30", 32))
    assert martian.drop is not None and (martian.drop.check, martian.hops[-1].owner) == ("rp-filter", "node1")


def test_a_source_that_is_not_there_is_refused(lab: labs.WalkLab) -> None:
    with pytest.raises(TraceError):
        go(lab, labs.POD_B, "10.10.5.5", source_ip="10.99.0.1")


def test_the_pcapng_has_every_interface_of_the_path_and_every_hop_its_reason(lab: labs.WalkLab, tmp_path: Path) -> None:
    result = go(lab, labs.POD_B, "10.10.5.5", labs.POD_C)
    (tmp_path / "trace.pcapng").write_bytes(result.pcapng())
    found = shark.packets(tmp_path / "trace.pcapng")
    assert {one["frame.interface_name"] for one in found} == {f"{hop.netns}/{hop.link}" for hop in result.path.hops}
    stamps = [Decimal(one["frame.time_epoch"]) for one in found]
    assert stamps == sorted(stamps) and len(found) >= 8
    own = [one for one in found if one["frame.comment"].startswith("hop ")]
    assert [one["frame.comment"] for one in own] == [remark(hop, result.path) for hop in result.path.hops]
    assert [one["frame.interface_name"] for one in own] == [f"{hop.netns}/{hop.link}" for hop in result.path.hops]
    assert "rule 1536" in own[1]["frame.comment"] and own[-1]["frame.comment"].endswith("delivered")
    assert {one["frame.comment"] for one in found} - {one["frame.comment"] for one in own} == {"answer of the target"}
    assert own[3]["frame.interface_description"] == "vpc port of node1's eth1"


def test_a_door_that_never_saw_the_plan_walks_what_nft_prints(lab: labs.WalkLab) -> None:
    """A lab's trace opens a door of its own, which knows only names: tables come as `nft list` prints them."""
    own = lab.kernel
    assert isinstance(own, LinuxKernel)
    door = LinuxKernel()
    door.learn({name: inode for name, inode in own.known.items() if name in lab.roles})
    lab.kernel = door
    try:
        ends = (("10.10.5.5", labs.POD_C), ("8.8.8.8", labs.INTERNET), ("10.10.9.9", ""))
        results = [go(lab, labs.POD_B, *end) for end in ends]
    finally:
        lab.kernel = own
        door.close()
    assert [result.path.delivered for result in results] == [True, True, False]
    assert [result.path.notes for result in results] == [(), (), ()]
    assert all(all_confirmed(result) for result in results)
    assert results[2].path.drop is not None and results[2].path.drop.check == "no-route"


def test_lost_frames_are_counted() -> None:
    name = f"lnt-tr{os.getpid()}-{next(NAMES)}"
    kernel = LinuxKernel()
    kernel.create_netns([name])
    try:
        with Capture(kernel, [name]) as capture, kernel.open_socket(name, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(8_000):
                sender.sendto(bytes(1_400), ("127.0.0.1", 9))
        assert capture.lost > 0
    finally:
        kernel.remove_netns([name])
        kernel.close()
