"""What stands between a caller and the rules: denials, faults and latency by chance, patterns, configuration."""

from __future__ import annotations

import base64
import json

import pytest

from labnet.ec2.behaviour import FREE, Behaviour
from labnet.ec2.faults import WELL_KNOWN
from labnet.ec2.latency import AWS_PRESET, draw_s, latency_for
from labnet.ec2.patterns import actions_of, matches
from labnet.errors import NotFoundError, UsageError
from labnet.model.behaviour import DenySpec, Ec2Spec, FaultSpec, Latency
from labnet.model.durations import seconds_of


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(seed: object = 7) -> tuple[Behaviour, Time]:
    time = Time()
    return Behaviour(time, seed), time


def codes(behaviour: Behaviour, action: str, count: int, caller: str = "node1") -> list[str]:
    out = []
    for _ in range(count):
        refusal = behaviour.judge(caller, action, {}).refusal
        out.append(refusal.code if refusal else "")
    return out


# ---- faults ---------------------------------------------------------------------------------------------------------------


def test_nothing_set_is_nothing_looked_at() -> None:
    assert made()[0].judge("node1", "CreateTags", {}) is FREE


def test_a_fault_strikes_so_many_times_and_is_spent() -> None:
    behaviour, time = made()
    behaviour.fail("CreateTags", "InternalError", times=2)
    assert codes(behaviour, "CreateTags", 4) == ["InternalError", "InternalError", "", ""]
    assert (behaviour.faults[0].fired, behaviour.faults[0].state(time.now)) == (2, "spent")


def test_a_fault_lasts_so_long() -> None:
    behaviour, time = made()
    behaviour.fail("CreateTags", "InternalError", for_s=60)
    time.now += 59.9
    assert codes(behaviour, "CreateTags", 1) == ["InternalError"]
    time.now += 0.1
    assert codes(behaviour, "CreateTags", 1) == [""]
    assert behaviour.faults[0].state(time.now) == "over"


def test_a_rate_is_a_share_and_follows_the_seed() -> None:
    runs = []
    for seed in (7, 7, 8):
        behaviour, _ = made(seed)
        behaviour.fail("CreateTags", "InternalError", rate=0.3)
        runs.append(codes(behaviour, "CreateTags", 400))
    assert runs[0] == runs[1] != runs[2]
    assert 90 < runs[0].count("InternalError") < 150


def test_rate_and_times_hold_together() -> None:
    behaviour, _ = made()
    behaviour.fail("CreateTags", "InternalError", rate=0.5, times=3)
    found = codes(behaviour, "CreateTags", 100)
    assert found.count("InternalError") == 3
    assert found[:3] != ["InternalError"] * 3


def test_a_fault_of_a_node_and_of_a_pattern_means_no_others() -> None:
    behaviour, _ = made()
    behaviour.fail("Describe*", "Unavailable", node="node1")
    assert codes(behaviour, "DescribeSubnets", 1) == ["Unavailable"]
    assert codes(behaviour, "CreateTags", 1) == codes(behaviour, "DescribeSubnets", 1, "node2") == [""]
    assert behaviour.faults[0].met == 1


def test_the_first_of_two_faults_strikes_and_the_second_waits() -> None:
    behaviour, _ = made()
    behaviour.fail("CreateTags", "Unavailable", times=1)
    behaviour.fail("*", "InternalError", times=1)
    assert codes(behaviour, "CreateTags", 3) == ["Unavailable", "InternalError", ""]


@pytest.mark.parametrize(("code", "status"), [("RequestLimitExceeded", 503), ("InternalError", 500), ("AuthFailure", 401), ("Own.Code", 400)])
def test_known_codes_come_with_ec2s_status_and_text(code: str, status: int) -> None:
    behaviour, _ = made()
    behaviour.fail("CreateTags", code)
    refusal = behaviour.judge("x", "CreateTags", {}).refusal
    assert refusal is not None
    assert (refusal.code, refusal.status) == (code, status)
    assert refusal.message == (WELL_KNOWN[code][1] if code in WELL_KNOWN else "labnet was told to refuse this with Own.Code")


def test_what_a_fault_says_itself_counts_more() -> None:
    behaviour, _ = made()
    behaviour.fail("CreateTags", "InternalError", message="boom", status=502)
    refusal = behaviour.judge("x", "CreateTags", {}).refusal
    assert refusal is not None
    assert (refusal.message, refusal.status) == ("boom", 502)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FaultSpec("CreateTag", "X"), "has no action 'CreateTag'"), (FaultSpec("Zz*", "X"), "is like 'Zz*'"),
        (FaultSpec("CreateTags", "a b"), "is no error code"), (FaultSpec("CreateTags", "X", status=200), "no HTTP status of an error"),
        (FaultSpec("CreateTags", "X", times=0), "never"), (FaultSpec("CreateTags", "X", rate=1.5), "is no rate"),
        (FaultSpec("CreateTags", "X", rate=0), "is no rate"), (FaultSpec("CreateTags", "X", for_s=0), "never"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(spec: FaultSpec, message: str) -> None:
    behaviour, _ = made()
    with pytest.raises(UsageError, match=message.replace("*", r"\*")):
        behaviour.add_fault(spec)
    assert behaviour.faults == ()


# ---- denials, the lab itself, clearing ------------------------------------------------------------------------------------


def test_a_denied_action_is_unauthorized_in_ec2s_words() -> None:
    behaviour, _ = made()
    behaviour.deny(DenySpec("CreateNetworkInterface", "node1"))
    refusal = behaviour.judge("node1", "CreateNetworkInterface", {}).refusal
    assert refusal is not None
    assert (refusal.code, refusal.status) == ("UnauthorizedOperation", 403)
    text, _, encoded = refusal.message.rpartition(" ")
    assert text == "You are not authorized to perform this operation. Encoded authorization failure message:"
    assert json.loads(base64.urlsafe_b64decode(encoded))["context"] == {"action": "ec2:CreateNetworkInterface", "principal": "node1"}
    assert codes(behaviour, "CreateNetworkInterface", 1, "node2") == [""]
    assert behaviour.denials[0].fired == 1


def test_a_denial_comes_before_a_fault_and_throttling_before_both() -> None:
    behaviour, _ = made()
    behaviour.fail("CreateVpc", "InternalError")
    behaviour.deny(DenySpec("CreateVpc"))
    behaviour.set_throttling("aws")
    assert codes(behaviour, "CreateVpc", 51) == ["UnauthorizedOperation"] * 50 + ["RequestLimitExceeded"]
    assert behaviour.faults[0].met == 0


def test_the_lab_itself_is_exempt_and_takes_no_tokens() -> None:
    behaviour, _ = made()
    behaviour.configure(Ec2Spec("aws", {"*": Latency(5, 5)}, 0, (FaultSpec("*", "InternalError"),), (DenySpec("*"),)))
    assert behaviour.judge("labnet", "CreateVpc", {}) is FREE
    assert behaviour.levels == {}


def test_all_callers_share_the_buckets() -> None:
    behaviour, _ = made()
    behaviour.set_throttling("aws")
    assert codes(behaviour, "CreateVpc", 25, "node1") + codes(behaviour, "CreateVpc", 25, "AKIA") == [""] * 50
    assert codes(behaviour, "CreateVpc", 1, "node2") == ["RequestLimitExceeded"]


def test_throttling_off_and_on_again_is_full_buckets_and_on_twice_is_not() -> None:
    behaviour, _ = made()
    behaviour.set_throttling("aws")
    codes(behaviour, "CreateVpc", 50)
    behaviour.set_throttling("aws")
    assert codes(behaviour, "CreateVpc", 1) == ["RequestLimitExceeded"]
    behaviour.set_throttling("off")
    assert behaviour.judge("x", "CreateVpc", {}) is FREE
    behaviour.set_throttling("aws")
    assert behaviour.judge("x", "CreateVpc", {}).tokens == 49


def test_faults_are_cleared_by_id_or_all_and_unknown_ids_clear_nothing() -> None:
    behaviour, _ = made()
    first, second = behaviour.fail("CreateTags", "X"), behaviour.deny(DenySpec("CreateVpc"))
    with pytest.raises(NotFoundError, match="no fault 'f9'"):
        behaviour.clear((first.id, "f9"))
    assert behaviour.clear((first.id,)) == (first.id,)
    assert behaviour.clear() == (second.id,)
    assert behaviour.judge("x", "CreateVpc", {}) is FREE


def test_configured_anew_only_what_differs_starts_anew() -> None:
    behaviour, _ = made()
    spec = Ec2Spec("off", {}, 0, (FaultSpec("CreateTags", "X", times=1),), (DenySpec("CreateVpc"),))
    behaviour.configure(spec)
    added = behaviour.fail("DeleteTags", "Y")
    codes(behaviour, "CreateTags", 1)
    behaviour.configure(spec)
    assert [(item.spec.code, item.fired) for item in behaviour.faults] == [("X", 1), ("Y", 0)]
    behaviour.configure(Ec2Spec())
    assert (behaviour.faults, behaviour.denials) == ((added,), ())


# ---- patterns and latency -------------------------------------------------------------------------------------------------


def test_patterns_and_the_nearest_names() -> None:
    assert set(actions_of("*NetworkInterface")) >= {"CreateNetworkInterface", "AttachNetworkInterface"}
    assert actions_of("CreateTags") == ("CreateTags",)
    assert not matches("Create", "CreateTags")
    assert not matches("C.eateTags", "CreateTags")
    with pytest.raises(UsageError) as caught:
        actions_of("createtags")
    assert caught.value.hint == "did you mean CreateTags?"
    with pytest.raises(UsageError) as caught:
        actions_of("AsignPrivateIpAddresses")
    assert "AssignPrivateIpAddresses" in caught.value.hint


def test_the_most_exact_name_counts() -> None:
    table = {"*": Latency(1, 1), "Describe*": Latency(2, 2), "DescribeSubnets": Latency(3, 3)}
    assert [latency_for(table, name) for name in ("CreateTags", "DescribeVpcs", "DescribeSubnets")] == list(table.values())
    assert latency_for({"CreateTags": Latency(1, 1)}, "CreateVpc") is None


def test_latency_is_around_its_median_with_its_tail_and_follows_the_seed() -> None:
    drawn = sorted(draw_s(Latency(2, 4), 7, n) for n in range(2000))
    assert 1.9 < drawn[1000] < 2.1
    assert 3.7 < drawn[1900] < 4.3
    assert draw_s(Latency(2, 4), 7, 5) == draw_s(Latency(2, 4), 7, 5) != draw_s(Latency(2, 4), 8, 5)
    assert draw_s(Latency(2, 2), 1) == 2


def test_the_preset_lets_attach_take_seconds() -> None:
    behaviour, _ = made()
    behaviour.configure(Ec2Spec(latency=AWS_PRESET))
    waits = [behaviour.judge("x", "AttachNetworkInterface", {}).latency_s for _ in range(50)]
    assert min(waits) > 0.5
    assert len(set(waits)) == 50
    assert behaviour.judge("x", "DescribeSubnets", {}).latency_s < 2


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("2m", 120), ("1h", 3600), ("500ms", 0.5), ("3", 3)])
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
