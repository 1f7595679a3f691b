"""The daemon set rolls: in memory under virtual time. Who is without a daemon when, what counts for whom, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from labnet.errors import EXIT_TIMEOUT, LabnetError, NotFoundError, UsageError
from labnet.kernel.fake import FakeKernel
from labnet.lab import planning
from labnet.lab.host import NoHost
from labnet.lab.store import MemoryStore
from labnet.lab.verbs import Verbs
from labnet.lab.world import World
from labnet.model.behaviour import Ec2Spec, FaultSpec, Latency
from labnet.model.names import host_link, node_netns
from labnet.model.netstate import IptChain, Link, Sysctl
from labnet.model.scenario import CniSpec, NodeSpec, PodSpec, Scenario, SubnetSpec, VpcSpec
from labnet.sim.clock import LabClock, new_event_loop

SUBNET = SubnetSpec("a", "10.10.0.0/22", "us-west-2a")
ENV = {"WARM_IP_TARGET": "1"}


def scenario(nodes: int = 2, pods: int = 2, **cni: Any) -> Scenario:
    return Scenario(
        "roll", vpcs=(VpcSpec("main", ("10.10.0.0/16",), (SUBNET,)),), cni=CniSpec(**{"env": ENV, **cni}),
        nodes=tuple(NodeSpec(f"node{n}", "t3.small", "a") for n in range(1, nodes + 1)),
        pods=tuple(PodSpec(f"pod{n}", node=f"node{n}") for n in range(1, pods + 1)),
    )


class Files(NoHost):
    """A host with files of nodes and nothing else: checkpoints outlive daemons."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def node_file(self, node: str, path: str) -> Path:
        found = self.root / node / path[1:]
        found.parent.mkdir(parents=True, exist_ok=True)
        return found


class Lab:
    """One world, its verbs, and what they told."""

    def __init__(self, world: World) -> None:
        self.world, self.told = world, []  # type: World, list[str]

    async def verb(self, name: str, **args: Any) -> Mapping[str, Any]:
        return await Verbs(self.world).table()[name](args, lambda event: self.told.append(str(event["text"])))

    async def set(self, *removals: str, timeout: float = 120.0, **sets: str) -> Mapping[str, Any]:
        return await self.verb("set-env", set=sets, remove=list(removals), timeout=timeout)

    def events(self, *reasons: str) -> list[tuple[float, str, str]]:
        return [(item["time"], item["reason"], item["message"]) for item in self.world.events.all() if item["reason"] in reasons]

    def pools(self) -> dict[str, int]:
        return {name: sum(pool.used + pool.warm for pool in agent.pools().values()) for name, agent in self.world.fleet.agents.items()}

    def settings(self) -> dict[str, Mapping[str, str]]:
        return {name: agent._daemon.env for name, agent in self.world.fleet.agents.items() if agent._daemon}

    def asked(self, node: str) -> list[str]:
        """The lines in which a daemon says that it asks for addresses."""
        lines = self.world.log_of_node(node, plugin=False).read_text().splitlines()
        return [line for line in lines if "ec2:AssignPrivateIpAddresses" in line]

    def state(self, node: str = "node1") -> Any:
        netns = node_netns(self.world.lab, node)
        return self.world.kernel.observe(netns, ["net/ipv4/tcp_early_demux"])


def live(test: Callable[[Lab], Awaitable[None]], what: Scenario | None = None) -> None:
    """Bring a lab up, run a test in it, stop it."""
    clock = LabClock(start_s=0.0)
    loop = new_event_loop(clock)
    with TemporaryDirectory() as folder:
        world = World(what or scenario(), "t", FakeKernel(), clock, MemoryStore(), log=lambda text: None, host=Files(Path(folder)))

        async def whole() -> None:
            try:
                await world.bring_up(600.0, lambda *words: None)
                await test(Lab(world))
            finally:
                await world.stop()

        try:
            loop.run_until_complete(whole())
        finally:
            loop.close()


def test_one_node_after_the_other_gets_the_new_settings_and_pods_stay() -> None:
    async def test(lab: Lab) -> None:
        before = {pod["name"]: (pod["ip"], pod["hostLink"], pod["phase"]) for pod in lab.world.status()["pods"]}
        began_s = lab.world.clock.now_s()
        done = await lab.set(WARM_IP_TARGET="3")
        assert (done["nodes"], done["changed"], done["env"]) == (2, {"WARM_IP_TARGET": "3"}, {"WARM_IP_TARGET": "3"})
        told = lab.events("SuccessfulDelete", "SuccessfulCreate")
        assert [(reason, message.rpartition(" ")[2]) for _time, reason, message in told] == [
            ("SuccessfulDelete", "node1"), ("SuccessfulCreate", "node1"), ("SuccessfulDelete", "node2"), ("SuccessfulCreate", "node2"),
        ]
        assert told[0][0] >= began_s
        assert told[1][0] - told[0][0] == 2.0, "a moment without a daemon"
        assert {pod["name"]: (pod["ip"], pod["hostLink"], pod["phase"]) for pod in lab.world.status()["pods"]} == before
        assert lab.told[-1] == "aws-node: node2 runs the new settings,"
        await lab.world.clock.sleep(10)
        assert lab.pools() == {"node1": 4, "node2": 4}

    live(test)


def test_a_tenth_of_the_nodes_rolls_at_the_same_time() -> None:
    async def test(lab: Lab) -> None:
        await lab.set(WARM_IP_TARGET="2")
        down: set[str] = set()
        most = 0
        for _time, reason, message in lab.events("SuccessfulDelete", "SuccessfulCreate"):
            node = message.rpartition(" ")[2]
            down = down | {node} if reason == "SuccessfulDelete" else down - {node}
            most = max(most, len(down))
        assert most == 2, "of twelve"
        assert all(env == {"WARM_IP_TARGET": "2"} for env in lab.settings().values())

    live(test, scenario(nodes=12))


def test_while_a_node_rolls_a_new_pod_waits_and_comes_then() -> None:
    async def test(lab: Lab) -> None:
        roll = asyncio.ensure_future(lab.set(AWS_VPC_K8S_CNI_VETHPREFIX="veth", POD_MTU="1280"))
        await lab.world.clock.sleep(1)
        assert list(lab.world.rollout.waiting(lab.world.env)) == [
            "node1: its daemon has ended", "node2: it has not had its turn",
        ]
        lab.world.add_pod(PodSpec("late", node="node1"))
        await roll
        await lab.world.clock.sleep(30)
        failed = [message for _time, _reason, message in lab.events("FailedCreatePodSandBox")]
        assert any("code = Unavailable" in message for message in failed)
        late, first = (next(pod for pod in lab.world.status()["pods"] if pod["name"] == name) for name in ("late", "pod1"))
        assert (late["phase"], late["hostLink"], first["hostLink"]) == (
            "Running", host_link("default", "late", "veth"), host_link("default", "pod1"),
        )
        mtu_bytes = {item.name: item.mtu_bytes for item in lab.state().all(Link)}
        assert (mtu_bytes[late["hostLink"]], mtu_bytes[first["hostLink"]]) == (1280, 9001)
        assert lab.world.drift() == []

    live(test)


def test_a_pod_that_goes_while_its_node_has_no_daemon_is_forgotten_by_the_next() -> None:
    async def test(lab: Lab) -> None:
        roll = asyncio.ensure_future(lab.set(WARM_IP_TARGET="2"))
        await lab.world.clock.sleep(1)
        lab.world.kube.delete("Pod", "default", "pod1")
        await roll
        assert [pod["name"] for pod in lab.world.status()["pods"]] == ["pod2"]
        assert sum(pool.used for pool in lab.world.fleet.agents["node1"].pools().values()) == 0

    live(test)


def test_pods_that_came_before_prefixes_and_with_them_are_used_in_the_status() -> None:
    def used(lab: Lab) -> int:
        node = next(one for one in lab.world.status()["nodes"] if one["name"] == "node1")
        return sum(eni["addresses"]["used"] for eni in node["enis"])

    async def test(lab: Lab) -> None:
        assert used(lab) == 1
        await lab.set(ENABLE_PREFIX_DELEGATION="true")
        assert used(lab) == 1, "on a single address still"
        lab.world.add_pod(PodSpec("new", node="node1"))
        await lab.world.clock.sleep(30)
        assert used(lab) == 2
        await lab.set("ENABLE_PREFIX_DELEGATION")
        assert used(lab) == 2, "the new one on an address of a prefix"

    live(test)


def test_the_nodes_kernel_follows_and_what_is_stale_vanishes() -> None:
    def chains(lab: Lab) -> set[str]:
        return {item.name for item in lab.state().all(IptChain) if item.name.startswith("AWS-")}

    async def test(lab: Lab) -> None:
        first = chains(lab)
        before = lab.world.slices.desired(node_netns("t", "node1"))
        await lab.set(AWS_VPC_K8S_CNI_EXTERNALSNAT="true", DISABLE_TCP_EARLY_DEMUX="true")
        assert "AWS-CONNMARK-CHAIN-0" in first and "AWS-CONNMARK-CHAIN-0" not in chains(lab)
        assert lab.state().find(Sysctl("net/ipv4/tcp_early_demux", "").key) == Sysctl("net/ipv4/tcp_early_demux", "0")
        await lab.set("AWS_VPC_K8S_CNI_EXTERNALSNAT", "DISABLE_TCP_EARLY_DEMUX")
        assert set(lab.world.slices.desired(node_netns("t", "node1"))) == set(before), "and back again"
        assert lab.world.drift() == []

    legacy = replace(scenario(), nodes=tuple(replace(node, iptables="legacy") for node in scenario().nodes))
    live(test, legacy)


def test_a_daemon_may_finish_its_step_but_not_for_longer_than_ten_seconds() -> None:
    async def ended_after_s(lab: Lab, latency_s: float) -> float:
        """A roll that begins while the daemon of node1 waits for EC2: when was it ended?"""
        lab.world.ec2.behaviour.configure(Ec2Spec(latency={"AssignPrivateIpAddresses": Latency(latency_s, latency_s)}))
        asked = len(lab.asked("node1"))
        lab.world.add_pod(PodSpec("next", node="node1"))
        for _ in range(100):
            await lab.world.clock.sleep(0.25)
            if len(lab.asked("node1")) > asked:
                break
        began_s = lab.world.clock.now_s()
        known = len(lab.events("SuccessfulDelete"))
        roll = asyncio.ensure_future(lab.set(WARM_IP_TARGET="2", timeout=900))
        await lab.world.clock.sleep(30)
        ended_s = lab.events("SuccessfulDelete")[known][0]
        lab.world.ec2.behaviour.configure(Ec2Spec())
        await roll
        return ended_s - began_s

    async def test(lab: Lab) -> None:
        assert 0 < await ended_after_s(lab, 4.0) <= 4.5

    async def slow(lab: Lab) -> None:
        assert await ended_after_s(lab, 60.0) == pytest.approx(10.0, abs=0.5)

    live(test)
    live(slow)


def test_pods_are_annotated_once_the_setting_says_so() -> None:
    def annotations(lab: Lab, pod: str) -> Mapping[str, str]:
        return dict(lab.world.kube.get("Pod", "default", pod)["metadata"].get("annotations", {}))

    async def test(lab: Lab) -> None:
        await lab.set(ANNOTATE_POD_IP="true")
        lab.world.add_pod(PodSpec("late", node="node1", annotations={"mine": "1"}))
        await lab.world.clock.sleep(30)
        late = next(pod for pod in lab.world.status()["pods"] if pod["name"] == "late")
        assert late["phase"] == "Running"
        assert annotations(lab, "late") == {"mine": "1", "vpc.amazonaws.com/pod-ips": late["ip"]}
        assert annotations(lab, "pod1") == {}, "only what is attached from now on"
        lab.world.kube.delete("Pod", "default", "late")
        await lab.world.clock.sleep(5)
        assert lab.world.kube.find("Pod", "default", "late") is None, "and DEL does not stumble over it"

    live(test)


# ---- what does not roll ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "removals", "said"),
    [
        ({"POD_MTU": "1"}, [], "POD_MTU=1 cannot be taken"), ({"ENABLE_IPv6": "true"}, [], "ENABLE_IPv6=true is not supported by labnet yet"),
        ({"WARM_IP_TARGTE": "1"}, [], "no variable WARM_IP_TARGTE"), ({"MAX_ENI": "1"}, ["MAX_ENI"], "set and removed at once"),
        ({"POD_MTU": "1", "AWS_VPC_K8S_CNI_VETHPREFIX": "lo"}, [], "VETHPREFIX=lo cannot be taken; POD_MTU=1"),
    ],
)
def test_what_the_daemon_would_not_start_with_is_refused_and_nothing_changes(sets: dict[str, str], removals: list[str], said: str) -> None:
    async def test(lab: Lab) -> None:
        with pytest.raises(UsageError) as caught:
            await lab.set(*removals, **sets)
        assert said in caught.value.message
        assert caught.value.hint
        assert lab.world.env == ENV
        assert lab.events("SuccessfulDelete") == []

    live(test)


def test_what_is_so_already_rolls_nothing_and_list_tells() -> None:
    async def test(lab: Lab) -> None:
        assert (await lab.set("MAX_ENI", WARM_IP_TARGET="1"))["nodes"] == 0
        assert lab.events("SuccessfulDelete") == []
        assert (await lab.verb("set-env", list=True))["env"] == ENV

    live(test)


def test_without_the_vpc_cni_there_is_nothing_to_set() -> None:
    async def test(lab: Lab) -> None:
        with pytest.raises(UsageError, match="no aws-node"):
            await lab.set(MAX_ENI="1")
        with pytest.raises(NotFoundError, match="runs no CNI"):
            await lab.verb("logs", target="node1")

    live(test, scenario(kind="none", env={}, pods=0))


# ---- a daemon that does not start -----------------------------------------------------------------------------------------


def test_a_daemon_that_does_not_start_holds_the_roll_and_says_why() -> None:
    async def test(lab: Lab) -> None:
        lab.world.ec2.behaviour.add_fault(FaultSpec(action="DescribeNetworkInterfaces", code="Own.Code", node="node1"))
        with pytest.raises(LabnetError) as caught:
            await lab.set(WARM_IP_TARGET="2", timeout=60)
        assert caught.value.exit_code == EXIT_TIMEOUT
        assert "node1: ipamd ended" in caught.value.message and "node2: it has not had its turn" in caught.value.message
        assert any("node1: ipamd ended" in text for text in lab.told)
        assert lab.settings() == {"node1": {"WARM_IP_TARGET": "2"}, "node2": ENV}
        clear(lab)
        await lab.world.clock.sleep(200)
        assert lab.settings() == {"node1": {"WARM_IP_TARGET": "2"}, "node2": {"WARM_IP_TARGET": "2"}}, "it goes on when it can"

    live(test)


def test_another_change_takes_the_place_of_a_roll_that_hangs() -> None:
    async def test(lab: Lab) -> None:
        lab.world.ec2.behaviour.add_fault(FaultSpec(action="DescribeNetworkInterfaces", code="Own.Code", node="node1"))
        hanging = asyncio.ensure_future(lab.set(WARM_IP_TARGET="2", timeout=600))
        await lab.world.clock.sleep(20)
        clear(lab)
        await lab.set(WARM_IP_TARGET="3")
        with pytest.raises(LabnetError, match="took the place of this one"):
            await hanging
        assert set(map(str, lab.settings().values())) == {str({"WARM_IP_TARGET": "3"})}

    live(test)


def test_a_node_that_goes_in_the_middle_does_not_hold_the_roll() -> None:
    async def test(lab: Lab) -> None:
        roll = asyncio.ensure_future(lab.set(WARM_IP_TARGET="2"))
        await lab.world.clock.sleep(1)
        instance = next(one.id for one in lab.world.ec2.state.instances.values() if one.name == "node1")
        await lab.world.ec2.client("test").call("TerminateInstances", {"InstanceIds": [instance]})
        assert (await roll)["nodes"] == 2
        assert lab.settings() == {"node2": {"WARM_IP_TARGET": "2"}}

    live(test)


# ---- afterwards -----------------------------------------------------------------------------------------------------------


def test_a_new_node_gets_what_was_set() -> None:
    async def test(lab: Lab) -> None:
        await lab.set(WARM_IP_TARGET="3")
        subnet = next(iter(lab.world.ec2.state.subnets))
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "extra"}]}]
        params = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
        await lab.world.ec2.client("test").call("RunInstances", {**params, "TagSpecifications": tags})
        await lab.world.fleet.started("extra")
        assert lab.settings()["extra"] == {"WARM_IP_TARGET": "3"}
        assert lab.pools()["extra"] == 3

    live(test)


def test_up_keeps_what_was_set_and_says_so() -> None:
    async def test(lab: Lab) -> None:
        assert lab.world.status()["changedEnv"] == {}
        await lab.set("WARM_IP_TARGET", MAX_ENI="2")
        same = scenario()
        await lab.world.reconcile(same, 60, lambda *words: None)
        assert lab.world.status()["changedEnv"] == {"MAX_ENI": "2", "WARM_IP_TARGET": None}
        assert lab.settings()["node1"] == {"MAX_ENI": "2"}
        taken_over = scenario(env={"MAX_ENI": "2"})
        await lab.world.reconcile(taken_over, 60, lambda *words: None)
        assert lab.world.status()["changedEnv"] == {}, "the scenario says now what was set"
        with pytest.raises(UsageError) as caught:
            await lab.world.reconcile(scenario(env={"MAX_ENI": "3"}), 60, lambda *words: None)
        assert "labnet set env" in caught.value.hint

    live(test)


def test_a_plan_needs_no_logs_and_no_files() -> None:
    assert planning.plan(scenario(), "t")["kind"] == "Plan"


def clear(lab: Lab) -> None:
    lab.world.ec2.behaviour.clear()
