"""The words of `labnet capture`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labnet.lab.capturing import CaptureOptions
from labnet.lab.watching import WatchOptions, flow_text


def flow(**changes: Any) -> dict[str, Any]:
    there = [{"netns": "eks-pod1", "owner": "pod1", "link": "eth0", "direction": "out", "name": "pod1 eth0"}]
    found = {
        "kind": "Flow", "event": "ended", "protocol": "tcp", "src": "10.0.0.1", "srcPort": 5, "dst": "8.8.8.8", "dstPort": 80,
        "result": "answered", "packets": {"forth": 1, "back": 2}, "bytes": {"forth": 1, "back": 80}, "path": there, "back": there,
        "nat": [{"netns": "eks-node1", "owner": "node1", "text": "SNAT a → b"}],
    }
    return {**found, **changes}


def test_words_become_options(run, backend, tmp_path: Path) -> None:
    assert run("capture") == (0, "", "listening\n")
    assert backend.asked[-1] == ("capture", "eks", CaptureOptions(("all",)), "Lines")
    file = tmp_path / "x.pcapng"
    ends = ("--for", "2m", "--count", "3", "--ready-fd", "9")
    ran = run("capture", "pod1", "eni-1", "-w", str(file), "--filter", "tcp", "--interface", "eth1", *ends)
    assert ran.err == f"listening\nwrote {file}\n"
    assert backend.asked[-1] == ("capture", "eks", CaptureOptions(("pod1", "eni-1"), "tcp", "eth1", 120.0, 3, 9), "Pcapng")
    assert not file.exists()  # nothing is opened before every socket listens
    run("capture", "-w", "-")
    assert backend.asked[-1][3] == "Pcapng"


@pytest.mark.parametrize("words", [("--for", "0s"), ("--for", "soon"), ("--count", "0"), ("--ready-fd", "-1"), ("-o", "json")])
def test_what_is_refused(run, words: tuple[str, ...]) -> None:
    assert run("capture", "pod1", *words).code == 2


def test_a_terminal_gets_no_pcapng(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labnet.cli.verb_capture.stdout_is_terminal", lambda: True)
    ran = run("capture", "-w", "-")
    assert ran.code == 2 and "nothing for a terminal" in ran.err


def test_watch_prints_lines_or_one_object_a_line(run, backend) -> None:
    backend.answers["watch"] = [flow(event="new", result=None), flow()]
    ran = run("watch", "pod1", "--for", "2s")
    assert backend.asked[-1] == ("watch", "eks", WatchOptions("pod1", 2.0))
    assert ran.out.splitlines() == [
        "new: tcp 10.0.0.1:5 → 8.8.8.8:80", "answered: tcp 10.0.0.1:5 → 8.8.8.8:80, 1 packet (1 byte) there, 2 packets (80 bytes) back",
        "  way   pod1 eth0", "  nat   node1: SNAT a → b", "  back  the same way",
    ]
    ran = run("watch", "pod1", "-o", "json")
    assert [json.loads(line)["event"] for line in ran.out.splitlines()] == ["new", "ended"]
    assert run("watch", "pod1", "--for", "0s").code == run("watch").code == run("watch", "pod1", "-o", "wide").code == 2


def test_what_was_not_answered_says_where_it_was_seen_last() -> None:
    assert flow_text(flow(result="no answer", back=[], nat=[])).splitlines()[-1] == "  last seen out at pod1 eth0"
    elsewhere = [{"netns": "eks-vpc", "owner": "vpc", "link": "p1", "direction": "in", "name": "vpc port of node1's eth0"}]
    lost = flow_text(flow(result="answer lost", back=elsewhere, nat=[], protocol="icmp")).splitlines()
    assert lost[0].startswith("answer lost: icmp 10.0.0.1 → 8.8.8.8, ")
    assert lost[-2:] == ["  back  vpc p1", "  last seen in at vpc port of node1's eth0"]
