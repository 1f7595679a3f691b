"""`labnet watch`: flows of a pod through real NAT, without a probe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_runner import Labs
from test_capture_lab import capturing, ended, pinged

pytestmark = pytest.mark.kernel

TALK = """
import socket
first = socket.socket()
first.settimeout(5)
first.connect(("8.8.8.8", 80))
first.close()
second = socket.socket()
second.settimeout(5)
try:
    second.connect(("{pod3}", 81))
except OSError:
    pass
third = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
third.sendto(b"hello", ("10.10.3.77", 99))
"""


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    labs = Labs(tmp_path_factory.mktemp("w"))
    try:
        labs.up()
        yield labs
    finally:
        labs.close()


def spoken(deck: Labs) -> None:
    pinged(deck, "pod2", "8.8.8.8")
    text = TALK.format(pod3=deck.pod("pod3")["ip"])
    deck.run("--lab", deck.name, "exec", "pod2", "--", sys.executable, "-c", text)


def interfaces(document: dict[str, Any], way: str = "path") -> list[str]:
    return list(dict.fromkeys(f"{one['owner']} {one['link']}" for one in document[way]))


def test_flows_are_told_with_way_nat_and_end(deck: Labs) -> None:
    with capturing(deck, "pod2", "-o", "json", verb="watch") as process:
        spoken(deck)
        pinged(deck, "pod3", deck.pod("pod2")["ip"])
        out, said = ended(process)
    assert "watching pod2 (" in said and ", 0 packets lost" in said
    documents = [json.loads(line) for line in out.splitlines()]
    assert {one["kind"] for one in documents} == {"Flow"} and documents[0]["event"] == "new"
    over = {(one["protocol"], one["dst"], one["dstPort"]): one for one in documents if one["event"] == "ended"}
    pod2, pod3, node1, node2 = deck.pod("pod2"), deck.pod("pod3"), deck.node("node1"), deck.node("node2")
    far = over["tcp", "8.8.8.8", 80]
    eni0, eni1 = (eni["id"] for eni in node1["enis"][:2])
    way = ["pod2 eth0", f"node1 {pod2['hostLink']}", "node1 eth0", f"vpc p{eni0[-13:]}", "vpc igw", "igw vpc", "igw wan"]
    assert interfaces(far)[:7] == way and interfaces(far)[7].startswith("internet ")
    assert interfaces(far, "back") == list(reversed(interfaces(far)))
    assert (far["result"], far["began"], far["packets"]["forth"] >= 3, far["packets"]["back"] >= 2) == ("answered", "pod", True, True)
    assert [one["owner"] for one in far["nat"]] == ["node1", "igw"]
    assert far["nat"][0]["text"].startswith(f"SNAT {pod2['ip']}") and far["nat"][1]["text"] == f"SNAT {node1['ip']} → {node1['publicIp']}"
    ping = next(one for key, one in over.items() if key[:2] == ("icmp", "8.8.8.8"))
    assert ping["result"] == "answered" and interfaces(ping) == interfaces(far)
    refused = over["tcp", pod3["ip"], 81]
    assert refused["result"] == "refused" and interfaces(refused)[-2:] == [f"node2 {pod3['hostLink']}", "pod3 eth0"]
    assert f"vpc p{node2['enis'][0]['id'][-13:]}" in interfaces(refused) and refused["nat"] == []
    silent = over["udp", "10.10.3.77", 99]
    assert (silent["result"], silent["packets"]) == ("no answer", {"forth": 1, "back": 0})
    assert interfaces(silent)[-1] == f"vpc p{eni1[-13:]}"
    asked = next(one for key, one in over.items() if key[:2] == ("icmp", pod2["ip"]))
    assert (asked["began"], asked["result"], interfaces(asked)[0]) == ("other", "answered", "pod3 eth0")


def test_a_reader_gets_a_line_for_a_new_flow_and_a_few_at_its_end(deck: Labs) -> None:
    with capturing(deck, "pod2", verb="watch") as process:
        spoken(deck)
        out, _said = ended(process)
    ip, lines = deck.pod("pod2")["ip"], out.splitlines()
    assert f"new: icmp {ip} → 8.8.8.8" in lines
    at = next(number for number, line in enumerate(lines) if line.startswith("answered: tcp "))
    assert " → 8.8.8.8:80, " in lines[at] and lines[at + 1].startswith("  way   pod2 eth0 → node1 eni")
    assert lines[at + 4] == "  back  the same way"
    assert lines[at + 2].startswith(f"  nat   node1: SNAT {ip}:") and lines[at + 3].startswith("  nat   igw: SNAT ")
    at = next(number for number, line in enumerate(lines) if line.startswith("no answer: udp "))
    assert lines[at + 2].startswith("  last seen in at vpc port of node1's eth1 (eni-")


def test_a_pod_that_keeps_its_address_until_a_nat_gateway_and_goes_while_it_is_watched(tmp_path: Path) -> None:
    labs = Labs(tmp_path)
    try:
        labs.up("eks-external-snat")
        with capturing(labs, "pod2", "-o", "json", verb="watch") as process:
            pinged(labs, "pod2", "8.8.8.8")
            labs.run("down", labs.name)
            out, said = process.communicate(timeout=60)
        flow = next(one for one in map(json.loads, out.splitlines()) if one["event"] == "ended")
    finally:
        labs.close()
    assert flow["result"] == "answered" and [one["owner"] for one in flow["nat"]] == ["nat-a", "igw"]
    assert flow["nat"][0]["text"].startswith(f"SNAT {flow['src']}") and process.returncode == 0 and "pod2 has gone" in said


@pytest.mark.parametrize(("word", "code", "said"), [("node1", 2, "is no pod"), ("pod77", 5, "pod77"), ("8.8.8.8", 2, "is no pod")])
def test_what_cannot_be_watched(deck: Labs, word: str, code: int, said: str) -> None:
    assert said in deck.run("--lab", deck.name, "watch", word, "--for", "5s", ok=code).stderr


def test_time_ends_it(deck: Labs) -> None:
    done = deck.run("--lab", deck.name, "watch", "pod1", "--for", "200ms")
    assert done.stdout == "" and done.stderr.startswith("watching pod1 (") and done.stderr.endswith("0 flows, 0 packets lost\n")
