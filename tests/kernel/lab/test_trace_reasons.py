"""`labnet trace` on a running lab, as people use it: reasons, the kernel's account, `explain` beside it, what would have helped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lab_runner import Labs

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    made = Labs(tmp_path_factory.mktemp("run"))
    try:
        made.up()
        yield made
    finally:
        made.close()


def traced(labs: Labs, *words: str, ok: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(labs.run("--lab", labs.name, "trace", *words, "-o", "json", ok=ok).stdout)
    return found


def test_a_trace_agrees_with_kernel_and_explanation(labs: Labs) -> None:
    said = traced(labs, "pod2", "pod3", "--protocol", "tcp", "--port", "80")
    assert said["delivered"] and said["answer"] == "arrived" and said["findings"] == []
    decisions = [hop["decision"] for hop in said["hops"] if hop["decision"]]
    rules = [rule for decision in decisions for rule in decision["matched"]]
    assert rules and all(rule["traced"] for rule in rules)
    assert {one["kernel"]["agrees"] for one in decisions if one["kernel"]} == {True}
    checks = [check for decision in decisions for check in decision["fabric"]]
    assert [check["kind"] for check in checks] == ["source-dest-check", "security-group", "security-group", "source-dest-check"]
    assert all(check["rule"].startswith("sgr-") for check in checks if check["kind"] == "security-group")


def test_a_gateways_mapping_and_the_route_of_a_table_are_told(labs: Labs) -> None:
    said = traced(labs, "pod2", "internet")
    checks = {check["kind"]: check for hop in said["hops"] if hop["decision"] for check in hop["decision"]["fabric"]}
    assert checks["route-table"]["id"].startswith("rtb-") and checks["route-table"]["rule"] == "0.0.0.0/0"
    assert checks["acl"]["rule"] == "100" and " → 203.0.113." in checks["gateway"]["target"]
    assert said["answer"] == "arrived" and said["symmetric"]["verdict"] is True and said["findings"] == []


def test_a_missing_rule_is_a_finding_and_what_helps_is_told(labs: Labs) -> None:
    pod = labs.pod("pod2")["ip"]
    rule = next(line.split(":", 1)[1].split() for line in labs.inside("node1", "ip", "rule").splitlines() if f"from {pod} " in line)
    labs.inside("node1", "ip", "rule", "del", *rule)
    try:
        said = traced(labs, "pod2", "pod3", ok=3)
        text = labs.run("--lab", labs.name, "trace", "pod2", "pod3", ok=3).stdout
    finally:
        labs.inside("node1", "ip", "rule", "add", "prio", "1536", *rule)
    assert said["drop"]["check"] == "source-dest-check"
    assert said["drop"]["counterfactual"]["change"] == f"a rule on node1: from {pod} lookup 2"
    assert [one["kind"] for one in said["findings"]] == ["explain"] and "reachable" in said["findings"][0]["text"]
    assert text.rstrip().endswith(f"would pass with a rule on node1: from {pod} lookup 2")
    assert traced(labs, "pod2", "pod3")["delivered"]


def test_both_ways_and_rules_that_were_passed_over(labs: Labs) -> None:
    said = traced(labs, "pod2", "pod3", "--both-ways")
    assert said["back"]["kind"] == "Trace" and said["back"]["from"] == said["to"] and said["symmetric"]["verdict"] is True
    short = labs.run("--lab", labs.name, "trace", "pod2", "pod3").stdout
    both = labs.run("--lab", labs.name, "trace", "pod2", "pod3", "--both-ways", "--rules").stdout
    assert both.rstrip().endswith("symmetric: the way back is the way there, reversed")
    assert "* 1536: from" in both and "- 512: from all to" in both and "(seen by the kernel's trace)" in both
    assert "- 512: from all to" not in short and "rule      1536: from" in short


def test_the_way_back_through_nat_is_the_answers_own(labs: Labs) -> None:
    """A packet from the Internet to the pod's private address would say nothing of it."""
    said = traced(labs, "pod2", "internet", "--both-ways")
    back = said["back"]
    assert back["delivered"] and back["from"] == said["to"] and said["symmetric"]["verdict"] is True
    assert (back["probe"]["src"], back["probe"]["dst"]) == ("8.8.8.8", labs.node("node1")["publicIp"])
    first, last = back["hops"][0], back["hops"][-1]
    assert (first["owner"], first["direction"]) == ("internet", "out") and first["time_ns"] > said["hops"][-1]["time_ns"]
    assert (last["owner"], last["link"], last["direction"]) == ("pod2", "eth0", "in")
    assert last["frame"]["dst"] == labs.pod("pod2")["ip"] and last["frame"]["src"] == "8.8.8.8"
    labs.inside("node1", "ip", "route", "add", "blackhole", "8.8.8.8/32")
    try:
        lost = traced(labs, "pod2", "internet", "--both-ways", ok=3)
        assert lost["drop"]["check"] == "blackhole" and lost["back"] is None, "nothing came back"
    finally:
        labs.inside("node1", "ip", "route", "del", "blackhole", "8.8.8.8/32")


def test_nothing_of_a_trace_stays_on_the_nodes(labs: Labs) -> None:
    before = [labs.inside(node, "nft", "-s", "list", "ruleset") for node in ("node1", "node2", "vpc")]
    traced(labs, "pod2", "pod3")
    assert [labs.inside(node, "nft", "-s", "list", "ruleset") for node in ("node1", "node2", "vpc")] == before
    assert "labnet_trace" not in "".join(before)
