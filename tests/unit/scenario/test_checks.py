from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labnet.errors import NotFoundError
from labnet.lab import checks
from labnet.model.packet import Drop, Frame, Hop, Path, Probe
from labnet.model.scenario import Ec2Check, KernelCheck, PacketCheck

STATUS: dict[str, Any] = {
    "nodes": [{"name": "node1", "ip": "10.10.0.4", "publicIp": "54.0.0.1", "maxPods": 4}],
    "pods": [
        {"namespace": "default", "name": "pod1", "ip": "10.10.0.6", "hostLink": "eniabc", "table": 2},
        {"namespace": "shop", "name": "web", "ip": "10.10.0.7", "hostLink": ""},
    ],
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("to ${pod1} lookup", "to 10.10.0.6 lookup"), ("${node1}", "10.10.0.4"), ("${node1.publicIp}", "54.0.0.1"), ("${pod1.table}", "2"),
        (
            "${shop/web}${pod/web}", "10.10.0.710.10.0.7"), ("${node/node1}", "10.10.0.4"), ("$${pod1}", "${pod1}"), ("no $pod1 {x}",
            "no $pod1 {x}",
        ),
    ],
)
def test_placeholders_are_filled_in(text: str, filled: str) -> None:
    assert checks.fill(text, STATUS) == filled


@pytest.mark.parametrize("text", ["${pod9}", "${web.hostLink}", "${node1.nothing}", "${other/web}"])
def test_a_placeholder_for_what_is_not_there(text: str) -> None:
    with pytest.raises(NotFoundError):
        checks.fill(text, STATUS)


def test_resolve_fills_in_every_text() -> None:
    kernel = KernelCheck("node1", ("ip", "route", "get", "${pod1}"), ("${pod1}",), "${node1}\n")
    assert checks.resolve(kernel, STATUS) == KernelCheck("node1", ("ip", "route", "get", "10.10.0.6"), ("10.10.0.6",), "10.10.0.4\n")
    packet = PacketCheck("pod1", "8.8.8.8", source="${node1.publicIp}")
    assert checks.resolve(packet, STATUS) == PacketCheck("pod1", "8.8.8.8", source="54.0.0.1")
    assert checks.resolve(Ec2Check("node1", 2), STATUS) == Ec2Check("node1", 2)


def test_texts_of_finds_every_placeholder() -> None:
    kernel = KernelCheck("node1", ("ip", "${a}"), ("${b.mac}",), "$${c} ${d}")
    found = [pair for text in checks.texts_of(kernel) for pair in checks.placeholders(text)]
    assert found == [("a", "ip"), ("b", "mac"), ("d", "ip")]


ACL = Drop(3, "acl", "the network ACL refuses it")


def frame(src: str) -> Frame:
    return Frame("02:0", "02:1", src, "8.8.8.8", "icmp", 0, 0, 64, 84)


def a_path(delivered: bool, *, drop: Drop | None = None, src: str = "54.0.0.1") -> Path:
    hops = (
        Hop(1, "lab-pod1", "pod", "eth0", "out", frame("10.10.0.6")), Hop(2, "lab-vpc", "fabric", "p1", "in", frame("10.10.0.4")),
        Hop(3, "lab-internet", "internet", "eth0", "in", frame(src) if delivered else None),
    )
    return Path("pod1", "8.8.8.8", Probe("icmp", "10.10.0.6", "8.8.8.8"), delivered, hops, drop)


@pytest.mark.parametrize(
    ("check", "path", "ok"),
    [
        (PacketCheck("pod1", "8.8.8.8"), a_path(True), True),
        (PacketCheck("pod1", "8.8.8.8"), a_path(False), False),
        (PacketCheck("pod1", "8.8.8.8", source="54.0.0.1"), a_path(True), True),
        (PacketCheck("pod1", "8.8.8.8", source="54.0.0.2"), a_path(True), False),
        (PacketCheck("pod1", "8.8.8.8", answer="delivered"), replace(a_path(True), answer="arrived"), True),
        (PacketCheck("pod1", "8.8.8.8", answer="delivered"), a_path(True), False),
        (PacketCheck("pod1", "8.8.8.8", answer="delivered"), replace(a_path(True), answer="lost"), False),
        (PacketCheck("pod1", "8.8.8.8", answer="dropped"), replace(a_path(True), answer="lost"), True),
        (PacketCheck("pod1", "8.8.8.8", answer="dropped"), replace(a_path(True), answer="arrived"), False),
        (PacketCheck("pod1", "8.8.8.8", answer="dropped"), a_path(False), False),
        (PacketCheck("pod1", "8.8.8.8", answer="dropped", drop_at="acl"), replace(a_path(True), answer="lost", answer_drop=ACL), True),
        (PacketCheck("pod1", "8.8.8.8", answer="dropped", drop_at="acl"), replace(a_path(True), answer="lost"), False),
        (PacketCheck("pod1", "8.8.8.8", expect="dropped"), a_path(False), True),
        (PacketCheck("pod1", "8.8.8.8", expect="dropped"), a_path(True), False),
        (
            PacketCheck("pod1", "8.8.8.8", expect="dropped", drop_at="source-dest-check"), a_path(False, drop=Drop(2, "source-dest-check",
            "")), True,
        ),
        (PacketCheck("pod1", "8.8.8.8", expect="dropped", drop_at="vpc"), a_path(False, drop=Drop(2, "source-dest-check", "")), True),
        (PacketCheck("pod1", "8.8.8.8", expect="dropped", drop_at="node1"), a_path(False, drop=Drop(2, "source-dest-check", "")), False),
        (PacketCheck("pod1", "8.8.8.8", expect="dropped", drop_at="vpc"), a_path(False), False),
    ],
)
def test_packets_are_judged(check: PacketCheck, path: Path, ok: bool) -> None:
    assert checks.judge_packet(check, path, "lab").ok is ok


def test_a_packet_result_says_what_was_seen() -> None:
    dropped = checks.judge_packet(PacketCheck("pod1", "8.8.8.8"), a_path(False, drop=Drop(2, "source-dest-check", "not its address")), "lab")
    assert (dropped.expected, dropped.seen, dropped.detail) == ("delivered", "dropped at vpc: source-dest-check", "not its address")
    delivered = checks.judge_packet(PacketCheck("pod1", "8.8.8.8", source="54.0.0.1"), a_path(True), "lab")
    assert (delivered.expected, delivered.seen) == ("delivered from 54.0.0.1", "delivered from 54.0.0.1")


def test_ec2_counts_are_judged_where_they_were_asked_for() -> None:
    enis = [{"addresses": 2, "prefixes": 0}, {"addresses": 2, "prefixes": 1}]
    assert checks.judge_ec2(Ec2Check("node1", enis=2, addresses=4), enis).ok
    bad = checks.judge_ec2(Ec2Check("node1", enis=3), enis)
    assert (bad.ok, bad.expected, bad.seen) == (False, "3 ENIs", "2 ENIs")
    assert not checks.judge_ec2(Ec2Check("node1", prefixes=0), enis).ok


PRINTED = "0:\tfrom all lookup local \n512:\tfrom all to 10.10.0.6 lookup main\n\n"


@pytest.mark.parametrize(
    ("check", "ok"),
    [
        (KernelCheck("n", ("ip",), ("512: from all to 10.10.0.6 lookup main",)), True),
        (KernelCheck("n", ("ip",), ("512: from all",)), False),
        (KernelCheck("n", ("ip",), equals="0: from all lookup local\n512: from all to 10.10.0.6 lookup main\n"), True),
        (KernelCheck("n", ("ip",), equals="512: from all to 10.10.0.6 lookup main\n0: from all lookup local"), False),
        (KernelCheck("n", ("ip",), equals="0: from all lookup local"), False),
        (KernelCheck("n", ("ip",), equals=""), False),
    ],
)
def test_listings_are_compared_line_by_line_with_blanks_as_one(check: KernelCheck, ok: bool) -> None:
    assert checks.judge_kernel(check, PRINTED).ok is ok


def test_a_listing_that_differs_says_where() -> None:
    found = checks.judge_kernel(KernelCheck("n", ("ip",), equals="0: from all lookup local\nx"), PRINTED)
    assert found.seen == "missing: x"
    assert "unexpected: 512: from all to 10.10.0.6 lookup main" in found.detail


def test_a_command_that_fails_does_not_hold() -> None:
    found = checks.judge_kernel(KernelCheck("n", ("ip",), equals=""), "", exit_code=1)
    assert (found.ok, found.seen) == (False, "exit status 1")


def test_the_title_is_the_check_as_it_was_written() -> None:
    asked = KernelCheck("n", ("ip", "${pod1}"), equals="")
    assert checks.judge_kernel(KernelCheck("n", ("ip", "10.0.0.1"), equals=""), "", asked=asked).title == "n: ip ${pod1}"


def test_the_report_counts() -> None:
    good = checks.judge_ec2(Ec2Check("n", enis=0), [])
    bad = checks.failed(KernelCheck("n", ("ip",), equals=""), "no such target")
    document = checks.report("lab", "eks", [good, bad])
    assert (document["kind"], document["passed"], document["failed"]) == ("CheckReport", 1, 1)
    failed = {"title": "n: ip", "kind": "kernel", "ok": False, "expected": "an answer", "seen": "no such target", "detail": ""}
    assert document["checks"][1] == failed


def test_what_becomes_of_the_answer_is_told() -> None:
    check = PacketCheck("pod1", "8.8.8.8", "tcp", 80, answer="dropped", drop_at="acl")
    seen = checks.judge_packet(check, replace(a_path(True), answer="lost", answer_drop=ACL), "lab")
    assert seen.title == "pod1 → 8.8.8.8 tcp port 80: delivered, its answer dropped at acl"
    assert seen.seen == "delivered from 54.0.0.1, its answer dropped at acl"
    assert checks.judge_packet(check, a_path(True), "lab").seen == "delivered from 54.0.0.1, no answer seen"
