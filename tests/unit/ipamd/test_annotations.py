"""ANNOTATE_POD_IP: the annotation of a pod follows its address; and what the daemon's log says of both calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from builders_ipamd import Node

from labnet.errors import Ec2Error, LabnetError, NotFoundError, UnknownAttachment
from labnet.ipamd.calls import POD_IPS

Make = Callable[..., Node]
ON = {"ANNOTATE_POD_IP": "true"}


class Pods:
    """Annotations by pod; a pod that is not here does not exist."""

    def __init__(self, *pods: str) -> None:
        self.by_pod: dict[str, dict[str, str]] = {pod: {} for pod in pods}
        self.writes = 0

    def _of(self, namespace: str, pod: str) -> dict[str, str]:
        if pod not in self.by_pod:
            raise NotFoundError(f"pod {namespace}/{pod} not found")
        return self.by_pod[pod]

    def read(self, namespace: str, pod: str, key: str) -> str | None:
        return self._of(namespace, pod).get(key)

    def write(self, namespace: str, pod: str, key: str, value: str) -> None:
        self._of(namespace, pod)[key] = value
        self.writes += 1


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda message: self.lines.append((level, message))

    def of(self, level: str) -> list[str]:
        return [message for other, message in self.lines if other == level]


def started(one: Node, pods: Pods) -> Node:
    one.annotations, one.log = pods, Log()
    one.ipamd = one.daemon()
    return one.start()


def test_add_annotates_and_del_empties(node: Make) -> None:
    pods = Pods("pod1")
    one = started(node(env=ON), pods)
    address = one.add().allocations[0].ipv4_addr
    assert pods.by_pod["pod1"] == {POD_IPS: address}
    assert POD_IPS == "vpc.amazonaws.com/pod-ips"
    one.add()
    assert pods.writes == 1, "what is so is not written again"
    assert one.delete().success
    assert pods.by_pod["pod1"] == {POD_IPS: ""}


def test_a_pod_that_cannot_be_annotated_gets_no_address(node: Make) -> None:
    one = started(node(env=ON), Pods())
    reply = one.add()
    assert (reply.success, reply.allocations) == (False, ())
    assert one.ipamd.state()["assigned"] == 1, "it has it until its DEL, as there"
    assert one.delete().success, "a pod that is gone is fine at the end"


def test_del_leaves_the_annotation_of_another_address(node: Make) -> None:
    pods = Pods("pod1")
    one = started(node(env=ON), pods)
    one.add()
    pods.by_pod["pod1"][POD_IPS] = "10.0.0.1"
    assert one.delete().success is False
    assert pods.by_pod["pod1"] == {POD_IPS: "10.0.0.1"}
    assert one.ipamd.state()["assigned"] == 0, "and the address is free"


def test_del_of_a_pod_without_annotation(node: Make) -> None:
    pods = Pods("pod1")
    one = started(node(env=ON), pods)
    one.add()
    pods.by_pod["pod1"].clear()
    assert one.delete().success


def test_without_the_setting_nothing_is_annotated(node: Make) -> None:
    pods = Pods("pod1")
    one = started(node(), pods)
    assert one.add().success
    assert one.delete().success
    assert pods.writes == 0


# ---- the log --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level, said", [
    ("info", "Starting L-IPAMD on node1, instance i-"), ("info", "AddNetwork: pod default/pod1 has 10.10.0."),
    ("info", "DelNetwork: 10.10.0."), ("warn", "DelNetwork: pod default/nobody: datastore: unknown pod"),
    ("error", "AddNetwork: pod default/pod9: AssignPodIPAddress: no available IP/Prefix addresses; total 3, assigned 3"),
    ("error", "failed to call ec2:DescribeNetworkInterfaces: Own.Code"), ("debug", "ec2:AssignPrivateIpAddresses NetworkInterfaceId=eni-"),
    ("debug", "IP pool: total 3, assigned 3, available 0, cooling 0, short 2, over 0, on 1 ENIs"), ("info", "PoolIncreased: "),
])
def test_the_log_says_what_happened_with_the_figures(node: Make, level: str, said: str) -> None:
    one = started(node(env={"WARM_IP_TARGET": "2", "MAX_ENI": "1"}), Pods())
    one.pods(3)
    one.wait(6)
    one.add("pod9")
    one.api.refusals["DescribeNetworkInterfaces"] = (Ec2Error("Own.Code", "no"), None)
    one.delete("pod1")
    with pytest.raises(UnknownAttachment):
        one.delete("nobody")
    one.ipamd = one.daemon()
    with suppress(LabnetError):
        one.do(one.ipamd.start())
    assert any(line.startswith(said) for line in one.log.of(level)), one.log.of(level)  # type: ignore[attr-defined]
