"""ENIs that several nodes attach in the same turn of the loop: made in one go, delivered each; one that cannot be spoils no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from world_runner import RunningWorld

from labnet.errors import Ec2Error

pytestmark = pytest.mark.kernel
SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: turn}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}]
nodes: [{name: node, count: 3, instanceType: m5.large, subnet: a}]
cni: {kind: none}
"""
NODES = ("node-1", "node-2", "node-3")


@pytest.fixture
def lab() -> Iterator[RunningWorld]:
    with contextlib.closing(RunningWorld(SCENARIO)) as world:
        yield world


def at_once(lab: RunningWorld, action: str, asked: list[dict[str, Any]]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*(lab.world.ec2.acall("test", action, params) for params in asked), return_exceptions=True)

    return list(lab.do(main()))


def attached(lab: RunningWorld) -> tuple[list[Any], list[str]]:
    """What came of attaching an ENI to each node as eth1, all in one turn; the ENIs' addresses."""
    made = at_once(lab, "CreateNetworkInterface", [{"SubnetId": next(iter(lab.world.ec2.state.subnets))}] * len(NODES))
    enis = [answer["NetworkInterface"] for answer in made]
    wanted = [
        {"NetworkInterfaceId": eni["NetworkInterfaceId"], "InstanceId": lab.node(node)["instanceId"], "DeviceIndex": 1}
        for eni, node in zip(enis, NODES, strict=True)
    ]
    return at_once(lab, "AttachNetworkInterface", wanted), [eni["PrivateIpAddress"] for eni in enis]


def answers(lab: RunningWorld, node: str, address: str) -> bool:
    """Give the node the address on its new link, with a way back out of that link; is a ping from another node answered?"""
    for words in (
        f"ip addr add {address}/32 dev eth1", "ip link set eth1 up", f"ip rule add from {address} lookup 99",
        "ip route add 10.10.0.1 dev eth1 table 99", "ip route add default via 10.10.0.1 dev eth1 table 99",
    ):
        done = lab.kernel.run(f"{lab.name}-{node}", words.split())
        assert done.exit_code == 0, done.stderr
    return any(lab.pings(next(other for other in NODES if other != node), address) for _attempt in range(3))


def test_all_are_delivered_and_reach_the_kernel_in_one_go(lab: RunningWorld) -> None:
    changes: list[int] = []
    lab.world.ec2.observers.append(lambda old, new: changes.append(sum(one.attachment is not None for one in new.enis.values())))
    outcome, addresses = attached(lab)
    assert all("AttachmentId" in one for one in outcome), outcome
    assert changes == [3, 6], "three that are made, then three that are attached: two changes of the cloud"
    for node, address in zip(NODES, addresses, strict=True):
        assert answers(lab, node, address)


def test_the_one_whose_link_cannot_be_made_fails_alone(lab: RunningWorld) -> None:
    spoilt = f"{lab.name}-node-2"
    assert lab.kernel.run(spoilt, ["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "other"]).exit_code == 0
    outcome, addresses = attached(lab)
    assert isinstance(outcome[1], Ec2Error) and outcome[1].code == "InternalError" and "eth1" in outcome[1].message
    assert "AttachmentId" in outcome[0] and "AttachmentId" in outcome[2]
    for place in (0, 2):
        assert answers(lab, NODES[place], addresses[place])
    assert len(lab.node("node-2")["enis"]) == 1, "the cloud says what the kernel says"
