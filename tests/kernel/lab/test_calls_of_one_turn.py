"""ENIs that several nodes attach in the same turn of the loop: made in one go, delivered each; one that cannot be spoils no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from world_runner import RunningWorld

from labnet.ec2.ahead import PART
from labnet.errors import Ec2Error

pytestmark = pytest.mark.kernel
SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: turn}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}]
nodes: [{name: node, count: %d, instanceType: m5.large, subnet: a}]
cni: {kind: none}
"""
FEW, MANY = 3, PART + 2
"""As many as are made true at once, and so many that the kernel works on a part while the next is decided."""


@pytest.fixture(params=[FEW, MANY])
def nodes(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(f"node-{number}" for number in range(1, request.param + 1))


@pytest.fixture
def lab(nodes: tuple[str, ...]) -> Iterator[RunningWorld]:
    with contextlib.closing(RunningWorld(SCENARIO % len(nodes))) as world:
        yield world


def at_once(lab: RunningWorld, action: str, asked: list[dict[str, Any]]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*(lab.world.ec2.acall("test", action, params) for params in asked), return_exceptions=True)

    return list(lab.do(main()))


def attached(lab: RunningWorld, nodes: tuple[str, ...]) -> tuple[list[Any], list[str]]:
    """What came of attaching an ENI to each node as eth1, all in one turn; the ENIs' addresses."""
    made = at_once(lab, "CreateNetworkInterface", [{"SubnetId": next(iter(lab.world.ec2.state.subnets))}] * len(nodes))
    enis = [answer["NetworkInterface"] for answer in made]
    wanted = [
        {"NetworkInterfaceId": eni["NetworkInterfaceId"], "InstanceId": lab.node(node)["instanceId"], "DeviceIndex": 1}
        for eni, node in zip(enis, nodes, strict=True)
    ]
    return at_once(lab, "AttachNetworkInterface", wanted), [eni["PrivateIpAddress"] for eni in enis]


def answers(lab: RunningWorld, node: str, other: str, address: str) -> bool:
    """Give the node the address on its new link, with a way back out of that link; is a ping from another node answered?"""
    for words in (
        f"ip addr add {address}/32 dev eth1", "ip link set eth1 up", f"ip rule add from {address} lookup 99",
        "ip route add 10.10.0.1 dev eth1 table 99", "ip route add default via 10.10.0.1 dev eth1 table 99",
    ):
        done = lab.kernel.run(f"{lab.name}-{node}", words.split())
        assert done.exit_code == 0, done.stderr
    return any(lab.pings(other, address) for _attempt in range(3))


def test_all_are_delivered_and_reach_the_cloud_in_one_go(lab: RunningWorld, nodes: tuple[str, ...]) -> None:
    changes: list[int] = []
    lab.world.ec2.observers.append(lambda old, new: changes.append(sum(one.attachment is not None for one in new.enis.values())))
    outcome, addresses = attached(lab, nodes)
    assert all("AttachmentId" in one for one in outcome), outcome
    assert changes == [len(nodes), 2 * len(nodes)], "those that are made, then those that are attached: two changes of the cloud"
    for place, address in enumerate(addresses):
        assert answers(lab, nodes[place], nodes[place - 1], address)


def test_the_one_whose_link_cannot_be_made_fails_alone(lab: RunningWorld, nodes: tuple[str, ...]) -> None:
    spoilt = f"{lab.name}-node-2"
    assert lab.kernel.run(spoilt, ["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "other"]).exit_code == 0
    outcome, addresses = attached(lab, nodes)
    assert isinstance(outcome[1], Ec2Error) and outcome[1].code == "InternalError" and "eth1" in outcome[1].message
    assert all("AttachmentId" in answer for place, answer in enumerate(outcome) if place != 1)
    for place in (0, len(nodes) - 1):
        assert answers(lab, nodes[place], nodes[place - 1], addresses[place])
    assert len(lab.node("node-2")["enis"]) == 1, "the cloud says what the kernel says"
