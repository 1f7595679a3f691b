"""`labnet ec2` and `labnet fault`: what they ask of a lab and how they print what it says."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
import yaml

from labnet.cli.main import main
from labnet.cli.session import Session
from labnet.errors import NotFoundError

CALLS: dict[str, Any] = {
    "apiVersion": "labnet/v1", "kind": "Ec2CallList", "lab": "eks", "total": 9,
    "calls": [
        {"time": 1.0, "caller": "labnet", "action": "CreateVpc", "result": "OK", "digest": "aa", "latency": 0.0, "callerKind": "lab"},
        {
            "time": 2.0, "caller": "node1", "action": "AttachNetworkInterface", "result": "RequestLimitExceeded", "digest": "bb",
            "latency": 2.25, "tokens": 0.4, "callerKind": "node",
        },
    ],
}
SUMS: dict[str, Any] = {
    "kind": "Ec2CallSums", "by": "action", "total": 9,
    "sums": [{"action": "CreateTags", "calls": 9, "errors": 3, "codes": {"X": 2, "Y": 1}, "meanLatency": 0.5, "maxLatency": 1.25}],
}
FAULT: dict[str, Any] = {
    "kind": "Fault", "id": "f1", "type": "api", "action": "Create*", "node": "node1", "code": "InternalError", "message": "m", "status": 500,
    "times": 2, "rate": 0.3, "for": 60.0, "origin": "added", "met": 4, "fired": 1, "state": "active",
}
DENIAL: dict[str, Any] = {
    "kind": "Fault", "id": "d2", "type": "deny", "action": "CreateVpc", "node": "", "code": "UnauthorizedOperation", "status": 403,
    "origin": "added", "fired": 0, "state": "active",
}
THROTTLING: dict[str, Any] = {
    "kind": "Ec2Throttling", "throttling": "aws",
    "buckets": [
        {"bucket": "CreateTags", "tokens": 12.7, "burst": 100, "refillPerSecond": 10},
        {"bucket": "DescribeInstances (unfiltered)", "tokens": 50, "burst": 50, "refillPerSecond": 10},
    ],
}
BLOCKS = [
    {"cidr": "10.10.0.0/28", "reserved": 4, "free": 12}, {"cidr": "10.10.0.16/28", "prefix": 16, "free": 0},
    {"cidr": "10.10.0.32/28", "primary": 1, "secondary": 2, "free": 13}, {"cidr": "10.10.0.48/28", "free": 16},
]
SUBNETS: dict[str, Any] = {
    "kind": "SubnetList", "lab": "eks",
    "subnets": [
        {
            "id": "subnet-1", "name": "public-a", "vpc": "vpc", "cidr": "10.10.0.0/25", "availabilityZone": "us-west-2a", "addresses": 128,
            "reserved": 5, "primary": 1, "secondary": 2, "prefix": 16, "other": 0, "used": 19, "free": 104, "freePrefixes": 1,
            "nextPrefix": "10.10.0.48/28", "warnings": ["the next prefix will fail"], "blocks": BLOCKS,
        },
    ],
}


def asked(backend: Any) -> tuple[Any, ...]:
    return next(words for words in backend.asked if words[0] == "call")[2:]


# ---- ec2 calls ------------------------------------------------------------------------------------------------------------


def test_calls_are_a_table_of_the_last_fifty(run, backend) -> None:
    backend.answers["ec2-calls"] = CALLS
    ran = run("ec2", "calls")
    assert asked(backend) == ("ec2-calls", {"by": None, "last": 50, "action": None, "caller": None, "errors": False})
    lines = ran.out.splitlines()
    assert lines[0].split() == ["TIME", "CALLER", "ACTION", "RESULT", "TOOK", "TOKENS"]
    assert lines[2].split()[1:] == ["node1", "AttachNetworkInterface", "RequestLimitExceeded", "2.250", "s", "0"]
    assert ran.err == "the last 2 of 9 calls; --last 0 shows all\n"


def test_calls_pass_their_words_on_and_json_has_all(run, backend) -> None:
    backend.answers["ec2-calls"] = CALLS
    ran = run("ec2", "calls", "-o", "json", "--action", "Attach*", "--node", "node1", "--errors")
    assert asked(backend) == ("ec2-calls", {"by": None, "last": 0, "action": "Attach*", "caller": "node1", "errors": True})
    assert json.loads(ran.out) == CALLS
    assert yaml.safe_load(run("ec2", "calls", "-o", "yaml").out) == CALLS


def test_calls_without_throttling_have_no_tokens_and_wide_ones_have_digests(run, backend) -> None:
    backend.answers["ec2-calls"] = {**CALLS, "calls": CALLS["calls"][:1]}
    assert "TOKENS" not in run("ec2", "calls").out
    assert run("ec2", "calls", "-o", "wide").out.splitlines()[1].split()[-2:] == ["lab", "aa"]


def test_no_call_is_said_on_stderr(run, backend) -> None:
    backend.answers["ec2-calls"] = {**CALLS, "calls": [], "total": 0}
    assert run("ec2", "calls") == (0, "", "no such call was made\n")


def test_sums(run, backend) -> None:
    backend.answers["ec2-calls"] = SUMS
    lines = run("ec2", "calls", "--by", "action").out.splitlines()
    assert asked(backend)[1]["last"] == 0
    assert lines[0].split() == ["ACTION", "CALLS", "ERRORS", "MEAN", "MAX", "CODES"]
    assert lines[1] == "CreateTags  9      3       0.500 s  1.250 s  X 2, Y 1"


# ---- ec2 subnets ----------------------------------------------------------------------------------------------------------


def test_subnets_count_and_warn(run, backend) -> None:
    backend.answers["ec2-subnets"] = SUBNETS
    ran = run("ec2", "subnets")
    assert asked(backend) == ("ec2-subnets", {"blocks": False})
    assert ran.out.splitlines()[1].split() == ["public-a", "vpc", "10.10.0.0/25", "us-west-2a", "19", "104", "1"]
    assert ran.err == "warning: public-a: the next prefix will fail\n"
    assert run("ec2", "subnets", "-o", "name").out == "subnet-1\n"
    assert json.loads(run("ec2", "subnets", "-o", "json").out) == SUBNETS


def test_subnets_drawn(run, backend) -> None:
    backend.answers["ec2-subnets"] = SUBNETS
    lines = run("ec2", "subnets", "--map").out.splitlines()
    assert asked(backend) == ("ec2-subnets", {"blocks": True})
    assert lines[:2] == ["public-a  10.10.0.0/25  us-west-2a   19 used, 104 free, 1 whole /28 free", "  10.10.0.0  RP3."]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_map_has_colours_on_a_terminal_only_and_never_with_no_color(backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.answers["ec2-subnets"] = SUBNETS
    monkeypatch.setenv("TERM", "xterm")
    for no_color, colored in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_color)
        terminal = _Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(["ec2", "subnets", "--map"], Session(backend=backend)) == 0
        assert ("\x1b[35mP\x1b[0m" in terminal.getvalue()) is colored


# ---- ec2 throttle, coverage -----------------------------------------------------------------------------------------------


def test_throttle_shows_the_buckets_that_are_not_full(run, backend) -> None:
    backend.answers["ec2-throttle"] = THROTTLING
    ran = run("ec2", "throttle")
    assert asked(backend) == ("ec2-throttle", {"set": None})
    assert ran.out == "BUCKET      TOKENS  BURST  REFILL/S\nCreateTags  13      100    10\n"
    assert ran.err == "throttling: aws; 1 bucket full\n"
    assert "unfiltered" in run("ec2", "throttle", "-o", "wide").out


@pytest.mark.parametrize("word", ["aws", "off"])
def test_throttle_sets(run, backend, word: str) -> None:
    backend.answers["ec2-throttle"] = {"throttling": word, "buckets": []}
    assert run("ec2", "throttle", word) == (0, "", f"throttling: {word}\n")
    assert asked(backend) == ("ec2-throttle", {"set": word})
    assert run("ec2", "throttle", "slow").code == 2


def test_coverage_asks_no_lab(run, backend) -> None:
    backend.running = []
    ran = run("ec2", "coverage")
    assert ran.code == 0
    assert "RunInstances" in ran.out
    assert "missing, and often called" in ran.out
    assert "CancelSpotFleetRequests" not in ran.out
    assert "of EC2's" in ran.err
    assert "CancelSpotFleetRequests" in run("ec2", "coverage", "--missing").out
    assert json.loads(run("ec2", "coverage", "-o", "json").out)["kind"] == "Ec2Coverage"


# ---- fault ----------------------------------------------------------------------------------------------------------------


def test_fault_api_passes_its_words_on(run, backend) -> None:
    backend.answers["fault-api"] = FAULT
    words = ("--code", "InternalError", "--message", "m", "--status", "500", "--times", "2", "--rate", "0.3", "--for", "1m", "--node", "node1")
    ran = run("fault", "api", "Create*", *words)
    assert asked(backend) == ("fault-api", {
        "action": "Create*", "code": "InternalError", "message": "m", "status": 500, "times": 2, "rate": 0.3, "for": 60.0, "node": "node1",
    })
    assert ran == (0, "", "f1: Create* of node1 fails with InternalError (500), 2 times, 30% of calls, for 60 s; "
                          "'labnet fault clear f1' takes it back\n")
    assert run("fault", "api", "Create*", "--code", "X", "-o", "name").out == "f1\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("api", "CreateTags"), "missing option '--code'"),
        (("api", "CreateTags", "--code", "X", "--times", "0"), "invalid value for '--times'"),
        (("api", "CreateTags", "--code", "X", "--for", "long"), "is no duration"),
        (("api", "CreateTags", "--code", "X", "--status", "200"), "'--status'"),
        (("clear",), "which fault?"), (("clear", "f1", "--all"), "--all stands beside ids"), (("apy",), "did you mean api?"),
        (("calls",), "there is no verb 'calls'"),
    ],
)
def test_usage_errors(run, words: tuple[str, ...], part: str) -> None:
    ran = run("fault", *words)
    assert (ran.code, ran.out) == (2, "")
    assert part in ran.err


def test_fault_deny(run, backend) -> None:
    backend.answers["fault-deny"] = DENIAL
    assert run("fault", "deny", "CreateVpc").err == "d2: CreateVpc is denied; 'labnet fault clear d2' takes it back\n"
    assert asked(backend) == ("fault-deny", {"action": "CreateVpc", "node": None})


def test_fault_list(run, backend) -> None:
    backend.answers["fault-list"] = {"kind": "FaultList", "faults": [FAULT, DENIAL]}
    lines = run("fault", "list").out.splitlines()
    assert lines[1] == "f1  Create*    node1      InternalError          500     2 times, 30% of calls, for 60 s  1      active"
    assert lines[2].split() == ["d2", "CreateVpc", "everybody", "UnauthorizedOperation", "403", "always", "0", "active"]
    assert run("fault", "list", "-o", "name").out == "f1\nd2\n"
    backend.answers["fault-list"] = {"kind": "FaultList", "faults": []}
    assert run("fault", "list") == (0, "", "no fault is set\n")


def test_fault_clear(run, backend) -> None:
    backend.answers["fault-clear"] = {"cleared": ["f1", "d2"]}
    assert run("fault", "clear", "f1", "d2").err == "2 faults taken back: f1, d2\n"
    assert asked(backend) == ("fault-clear", {"ids": ["f1", "d2"], "all": False})
    assert run("fault", "clear", "--all", "-o", "name").out == "f1\nd2\n"


def test_what_the_lab_refuses_keeps_its_exit_code(run, backend) -> None:
    backend.raises["call"] = NotFoundError("there is no node 'x'", "did you mean node1?")
    assert run("fault", "deny", "CreateVpc", "--node", "x") == (5, "", "error: there is no node 'x'\nhint: did you mean node1?\n")


def test_the_lab_can_stand_before_and_behind(run, backend) -> None:
    backend.answers["fault-list"] = {"kind": "FaultList", "faults": []}
    for words in (("--lab", "mine", "fault", "list"), ("fault", "--lab", "mine", "list"), ("fault", "list", "--lab", "mine")):
        backend.asked.clear()
        run(*words)
        assert ("call", "mine", "fault-list", {}) in backend.asked


def test_faults_of_zones(run, backend) -> None:
    failed = {"id": "us-west-2b", "type": "zone", "zones": ["us-west-2b"], "since": 1.0, "origin": "added"}
    link = {"id": "all-zones", "type": "link", "zones": [], "roundTripMs": 20, "lossPercent": 0.5, "origin": "scenario"}
    backend.answers["fault-zone"] = failed
    said = "zone us-west-2b has failed: no packet enters or leaves it; 'labnet fault clear us-west-2b' takes it back\n"
    assert run("fault", "zone", "us-west-2b").err == said
    backend.answers["fault-link"] = link
    backend.asked.clear()
    assert "between any two zones: 20 ms more a round trip, 0.5 % loss" in run("fault", "link", "--loss", "0.5%", "--rtt", "1.5ms").err
    assert asked(backend) == ("fault-link", {"between": [], "roundTripMs": 1.5, "lossPercent": 0.5})
    backend.answers["fault-list"] = {"kind": "FaultList", "faults": [FAULT], "zones": [failed, link]}
    lines = run("fault", "list").out.splitlines()
    assert [line.split()[0] for line in lines if line] == ["ID", "f1", "ID", "us-west-2b", "all-zones"]
    assert run("fault", "list", "-o", "name").out == "f1\nus-west-2b\nall-zones\n"
    for words in (("--loss", "much"), ("--rtt", "soon"), ("--between", "us-west-2a")):
        assert run("fault", "link", *words).code == 2
