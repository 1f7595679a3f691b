"""Checks of pods and events, judged."""

from __future__ import annotations

from typing import Any

import pytest

from labnet.errors import NotFoundError
from labnet.lab import checks
from labnet.model import codec
from labnet.model.scenario import EventCheck, PodCheck, Scenario


def pod(name: str, phase: str, reason: str = "", node: str = "n1", namespace: str = "default") -> dict[str, Any]:
    return {"name": name, "phase": phase, "reason": reason, "node": node, "namespace": namespace}


STATUS = {
    "nodes": [{"name": "a", "ip": "10.0.0.1"}],
    "pods": [pod("a", "Running"), pod("b", "Pending", "Failed"), pod("c", "Pending", "Failed"), pod("d", "Pending", "Unschedulable", "")],
}
EVENTS = [
    {"object": "node/n1", "reason": "EniNotAdded", "message": "InsufficientFreeAddressesInSubnet: none"},
    {"object": "pod/default/b", "reason": "Failed", "message": "no address"},
]


@pytest.mark.parametrize(
    ("check", "ok", "seen"),
    [
        (PodCheck("a", phase="Running"), True, "Running"),
        (PodCheck("pod/a", phase="Running"), True, "Running"),
        (PodCheck("default/a", phase="Running"), True, "Running"),
        (PodCheck("a", phase="Pending"), False, "Running"),
        (PodCheck("b", phase="Pending", reason="Failed"), True, "Pending: Failed"),
        (PodCheck("d", reason="Failed"), False, "Pending: Unschedulable"),
        (PodCheck(node="n1", phase="Pending", count=2), True, "2 of 3; Pending: Failed, Running"),
        (PodCheck(node="n1", phase="Running", count=2), False, "1 of 3; Pending: Failed, Running"),
        (PodCheck(phase="Pending", count=3), True, "3 of 4; Pending: Failed, Pending: Unschedulable, Running"),
        (PodCheck(phase="Failed", count=0), True, "0 of 4; Pending: Failed, Pending: Unschedulable, Running"),
    ],
)
def test_pods(check: PodCheck, ok: bool, seen: str) -> None:
    result = checks.judge_pods(check, STATUS)
    assert (result.ok, result.seen, result.kind) == (ok, seen, "pod")


def test_a_pod_that_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="no pod 'x'"):
        checks.judge_pods(PodCheck("x", phase="Running"), STATUS)


@pytest.mark.parametrize(
    ("check", "ok", "seen"),
    [
        (EventCheck("node/n1", contains="InsufficientFree"), True, "told 1 time"),
        (EventCheck(reason="Failed"), True, "told 1 time"),
        (EventCheck("node/n1", "EniNotAdded", "InsufficientCidr"), False, "not told; 1 such events say something else"),
        (EventCheck("node/n2", contains="Insufficient"), False, "no such event"),
    ],
)
def test_events(check: EventCheck, ok: bool, seen: str) -> None:
    result = checks.judge_event(check, EVENTS)
    assert (result.ok, result.seen, result.kind) == (ok, seen, "event")
    assert bool(result.detail) is (not ok and "such events" in seen)


def test_titles_and_placeholders() -> None:
    assert checks.title(PodCheck(node="n1", phase="Pending", reason="Failed", count=2)) == "pods of n1: 2 Pending: Failed"
    assert checks.title(PodCheck("a", phase="Running")) == "a: Running"
    assert checks.title(PodCheck(phase="Running", count=7)) == "all pods: 7 Running"
    assert checks.title(EventCheck("node/n1", "Failed", "x")) == "event: node/n1 Failed with 'x'"
    assert checks.resolve(EventCheck(contains="of ${a}"), STATUS) == EventCheck(contains="of 10.0.0.1")


def test_they_travel_to_the_lab() -> None:
    objects = ({"kind": "ENIConfig", "spec": {"a": ["b"]}},)
    scenario = Scenario("s", checks=(PodCheck("a", phase="Running"), EventCheck(contains="x")), objects=objects)
    assert codec.from_document(codec.to_document(scenario), Scenario) == scenario
