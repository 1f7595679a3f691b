"""Nodes follow EC2's instances, in memory under virtual time: what comes with a launch, what goes with a termination."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from labnet.errors import UsageError
from labnet.kernel.fake import FakeKernel
from labnet.lab.store import MemoryStore
from labnet.lab.world import World
from labnet.model.scenario import NodeSpec, PodSpec, Scenario, SubnetSpec, VpcSpec
from labnet.sim.clock import LabClock, new_event_loop

SUBNET = SubnetSpec("a", "10.10.0.0/24", "us-west-2a")
PODS = (PodSpec("one", node="node1"), PodSpec("two", node="node2"))
NODES = tuple(NodeSpec(f"node{n}", "t3.small", "a") for n in (1, 2))
SCENARIO = Scenario("fleet", vpcs=(VpcSpec("main", ("10.10.0.0/16",), (SUBNET,)),), nodes=NODES, pods=PODS)


def quiet(*words: object) -> None:
    """Progress that nobody looks at."""


def live(test: Callable[[World], Awaitable[None]]) -> World:
    """Bring the lab up, run a test in it, stop it."""
    clock = LabClock(start_s=0.0)
    loop = new_event_loop(clock)
    world = World(SCENARIO, "t", FakeKernel(), clock, MemoryStore(), log=lambda text: None)

    async def whole() -> None:
        try:
            await world.bring_up(100.0, quiet)
            await test(world)
        finally:
            await world.stop()

    try:
        loop.run_until_complete(whole())
    finally:
        loop.close()
    return world


async def launch(world: World, name: str, **more: Any) -> str:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    subnet = next(iter(world.ec2.state.subnets))
    params = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    answer = await world.ec2.client("test").call("RunInstances", {**params, "TagSpecifications": tags, **more})
    return str(answer["Instances"][0]["InstanceId"])


def nodes(world: World) -> list[str]:
    return [item["name"] for item in world.status()["nodes"]]


def test_each_node_of_the_scenario_is_started_once_and_takes_its_spec() -> None:
    async def test(world: World) -> None:
        assert list(world.fleet.agents) == nodes(world) == ["node1", "node2"]
        assert len(world.ec2.state.instances) == 2

    live(test)


def test_a_launch_through_the_api_makes_a_node_at_once_and_its_daemons_soon() -> None:
    async def test(world: World) -> None:
        counts: list[int] = []
        world.fleet.on_count = counts.append
        await launch(world, "extra")
        assert world.kube.find("Node", "", "extra") is not None and nodes(world)[-1] == "extra"
        await world.fleet.started("extra")
        await asyncio.sleep(0)
        assert world.status()["nodes"][-1]["ready"] and world.kernel.exists("t-extra")
        assert counts == [3]

    live(test)


def test_a_termination_takes_the_node_its_pods_and_their_namespaces_and_leaves_the_others() -> None:
    async def test(world: World) -> None:
        instance = next(key for key, one in world.ec2.state.instances.items() if one.name == "node1")
        before = [node for node in world.status()["nodes"] if node["name"] == "node2"]
        await world.ec2.client("test").call("TerminateInstances", {"InstanceIds": [instance]})
        assert world.kube.find("Node", "", "node1") is None and nodes(world) == ["node2"]
        await world.fleet.gone("node1")
        assert [pod.name for pod in world.pods()] == ["two"]
        assert isinstance(world.kernel, FakeKernel) and sorted(world.kernel.known) == ["t-node2", "t-two", "t-vpc"]
        assert world.status()["nodes"] == before and world.drift() == []
        assert "DeletingNode" in [event["reason"] for event in world.events.all()]

    live(test)


def test_up_again_launches_a_terminated_node_of_the_scenario_and_its_pods() -> None:
    async def test(world: World) -> None:
        instance = next(key for key, one in world.ec2.state.instances.items() if one.name == "node1")
        await world.ec2.client("test").call("TerminateInstances", {"InstanceIds": [instance]})
        assert await world.reconcile(SCENARIO, 100.0, quiet) == []
        assert nodes(world) == ["node2", "node1"]
        assert {pod.name: pod.phase for pod in world.pods()} == {"one": "Running", "two": "Running"}
        assert len([one for one in world.ec2.state.instances.values() if one.name == "node1"]) == 2, "the old one is remembered"

    live(test)


def test_names_of_pods_and_nodes_keep_out_of_each_others_way() -> None:
    async def test(world: World) -> None:
        for name in ("one", "node2"):
            instance = await launch(world, name)
            assert nodes(world)[-1] == instance
        await launch(world, "extra")
        wanted = Scenario(SCENARIO.name, vpcs=SCENARIO.vpcs, nodes=SCENARIO.nodes, pods=(*PODS, PodSpec("extra")))
        with pytest.raises(UsageError, match="extra"):
            await world.reconcile(wanted, 100.0, quiet)

    live(test)


def test_a_node_whose_daemons_cannot_start_says_so_and_can_be_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: World) -> None:
        async def refuse(*words: object) -> None:
            raise OSError("no socket")

        monkeypatch.setattr(world.host, "serve_cni", refuse)
        instance = await launch(world, "extra")
        with pytest.raises(OSError, match="no socket"):
            await world.fleet.started("extra")
        assert "NodeNotStarted" in [event["reason"] for event in world.events.all()]
        await world.ec2.client("test").call("TerminateInstances", {"InstanceIds": [instance]})
        await world.fleet.gone("extra")
        assert not world.kernel.exists("t-extra")

    live(test)


def test_nodes_are_launched_side_by_side_and_each_has_its_place_by_the_scenario() -> None:
    async def test(world: World) -> None:
        runs = [row for row in world.store.read("ec2-calls") if row["action"] == "RunInstances"]
        asked = [row for row in world.store.read("ec2-calls") if row["action"] == "AssignPrivateIpAddresses"]
        assert len({row["time"] for row in runs}) == 1 and [row["caller"] for row in asked] == ["node1", "node2"]
        primaries = [world.ec2.state.enis_of(one)[0].primary for one in world.ec2.state.instances]
        assert primaries == ["10.10.0.4", "10.10.0.5"], "first those of all nodes, in the scenario's order"

    live(test)


def test_what_is_cancelled_before_it_began_is_closed() -> None:
    async def test(world: World) -> None:
        never = asyncio.sleep(1)
        task = world._guard(never, "never")
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED

    live(test)
