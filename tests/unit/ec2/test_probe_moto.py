"""The probe's checks can fail: a server with known faults is found out, in the words in which the faults are known."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from labnet.ec2.probe.checks import all_checks
from tools.compare_moto import README, RESULT, between, compared, section, with_section
from tools.ec2_servers import client_environment

KNOWN_FAULTS = {
    "attach-many-beyond": "AttachNetworkInterface: expected AttachmentLimitExceeded, and the call was carried out",  # 8 extra ENIs
    "attach-beyond-the-type": "expected AttachmentLimitExceeded, and the call was carried out",
    "handed-out": "different ones among them: expected 24, got",  # the same address twice
    "reserved-named": "expected InvalidParameterValue, and the call was carried out",  # reserved addresses
    "free-count-never-negative": "AvailableIpAddressCount is -",
    "prefix-count": "prefixes of a new ENI: expected 2, got 0",  # prefix counts ignored
    "named-outside": "expected InvalidParameterValue, and the call was carried out",  # an address outside the subnet
    "delete-in-use": "expected InvalidParameterValue, and the call was carried out",  # an ENI in use deleted
    "over-the-limit": "expected PrivateIpAddressLimitExceeded, and the call was carried out",
    "wrong-secret": "expected AuthFailure, and the call was carried out",
    "throttled": "400 calls in a row were all answered",  # never throttled
}
SOUND = ("subnet-conflict", "unknown-vpc", "tags", "rule-twice", "route-exists")


@pytest.fixture(scope="module")
def found(moto_ec2: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the probe says of moto."""
    names = [word for name in (*KNOWN_FAULTS, *SOUND) for word in ("--only", name)]
    command = [sys.executable, "-m", "labnet.ec2.probe", "-o", "json", "--patience", "2", "--throttled", *names]
    environ = client_environment(moto_ec2, tmp_path_factory.mktemp("home"))
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize("name", KNOWN_FAULTS)
def test_a_known_fault_is_found(found: dict[str, Any], name: str) -> None:
    assert not found[name]["passed"]
    assert KNOWN_FAULTS[name] in found[name]["reason"]


@pytest.mark.parametrize("name", SOUND)
def test_what_it_does_right_passes(found: dict[str, Any], name: str) -> None:
    assert found[name]["passed"], found[name]["reason"]


# ---- the comparison in the README -----------------------------------------------------------------------------------------


def test_the_readme_says_what_the_result_says() -> None:
    assert between(README.read_text()) == section(json.loads(RESULT.read_text())), "make conformance"


def test_the_result_is_of_the_checks_that_there_are() -> None:
    result = json.loads(RESULT.read_text())
    counts: dict[str, int] = {}
    for check in all_checks():
        if not check.needs:
            counts[check.group] = counts.get(check.group, 0) + 1
    assert {one["group"]: one["total"] for one in result["groups"]} == counts, "make conformance"
    for server, passed in (("labnet", result["labnet"]), ("moto", result["motoPassed"])):
        assert sum(one[server] for one in result["groups"]) == passed == result["total"] - len(result["failed"][server])


def test_a_result_becomes_a_table_between_the_markers() -> None:
    def document(*passed: int) -> dict[str, Any]:
        groups = [{"group": f"g{n}", "passed": count, "total": 2} for n, count in enumerate(passed)]
        checks = [{"name": f"c{n}", "passed": n < sum(passed)} for n in range(4)]
        return {"groups": groups, "passed": sum(passed), "total": 4, "checks": checks}

    result = compared(document(2, 2), document(1, 0), "9.9")
    assert result["failed"] == {"labnet": [], "moto": ["c1", "c2", "c3"]}
    assert section(result).splitlines() == [
        "| rules of EC2 | checks | labnet | moto 9.9 |", "| --- | ---: | ---: | ---: |", "| g0 | 2 | 2 | 1 |", "| g1 | 2 | 2 | 0 |",
        "| **all** | **4** | **4** | **1** |",
    ]
    before = README.read_text()
    after = with_section(before, section(result))
    assert between(after) == section(result)
    assert with_section(after, between(before)) == before, "nothing else is touched"
