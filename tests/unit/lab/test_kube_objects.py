"""Objects of a scenario in a lab, in memory under virtual time: names become ids, changes reach the running lab, max-pods follow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from labnet.ec2 import limits
from labnet.kernel.fake import FakeKernel
from labnet.lab import scenario_file
from labnet.lab.store import MemoryStore
from labnet.lab.world import World
from labnet.model.capacity import Holding, PodNetworking, holding, ordinary_pods
from labnet.model.scenario import Scenario
from labnet.sim.clock import LabClock, new_event_loop

TEXT = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: t}}
vpc:
  cidrs: [10.10.0.0/16, 100.64.0.0/16]
  subnets:
    - {{name: a, cidr: 10.10.0.0/20, availabilityZone: us-west-2a}}
    - {{name: pods, cidr: 100.64.0.0/20, availabilityZone: us-west-2a}}
    - {{name: more, cidr: 100.64.16.0/20, availabilityZone: us-west-2a}}
  securityGroups: [{{name: web}}]
nodes: [{{name: node1, instanceType: {kind}, subnet: a, taints: [{taint}]}}]
cni: {{env: {{{env}}}}}
pods: [{pods}]
objects: [{objects}]
pending: allowed
"""
CUSTOM, PREFIX = "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: 'true'", "ENABLE_PREFIX_DELEGATION: 'true'"


def eni_config(name: str, subnet: str = "pods", groups: str = "") -> str:
    spec = f"{{subnet: {subnet}, securityGroups: [{groups}]}}"
    return f"{{apiVersion: crd.k8s.amazonaws.com/v1alpha1, kind: ENIConfig, metadata: {{name: {name}}}, spec: {spec}}}"


def scenario(*objects: str, kind: str = "t3.medium", env: str = "", pods: int = 0, pinned: bool = True, taint: str = "") -> Scenario:
    where = ", node: node1" if pinned else ""
    listed = ", ".join(f"{{name: p{n}{where}}}" for n in range(pods))
    return scenario_file.parse(TEXT.format(kind=kind, env=env, pods=listed, objects=", ".join(objects), taint=taint), "t.yaml")


class Lab:
    """A lab on the kernel of values, brought up, and how to go on."""

    def __init__(self, made: Scenario) -> None:
        self.clock = LabClock(1000.0)
        self.loop = new_event_loop(self.clock)
        self.world = World(made, "t", FakeKernel(), self.clock, MemoryStore(), log=lambda text: None)
        self.do(self.world.bring_up(600.0, lambda *words: None))

    def do(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(main)

    def change(self, made: Scenario) -> None:
        self.do(self.world.reconcile(made, 100.0, lambda *words: None))

    def eni_configs(self) -> dict[str, Any]:
        return {item["metadata"]["name"]: item for item in self.world.kube.list("ENIConfig")}

    def subnet(self, name: str) -> str:
        return next(key for key, one in self.world.ec2.state.subnets.items() if one.tags["Name"] == name)

    def enis(self) -> list[Any]:
        return list(self.world.ec2.state.enis_of(next(iter(self.world.ec2.state.instances))))

    def close(self) -> None:
        self.do(self.world.stop())
        self.loop.close()


@pytest.fixture
def lab() -> Iterator[Callable[[Scenario], Lab]]:
    made: list[Lab] = []

    def make(one: Scenario) -> Lab:
        made.append(Lab(one))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_names_become_ids_and_ids_stay(lab: Callable[[Scenario], Lab]) -> None:
    one = lab(scenario(eni_config("x", groups="web, default, sg-0123abcd"), eni_config("y", subnet="subnet-0123abcd")))
    groups = {group.name: key for key, group in one.world.ec2.state.security_groups.items()}
    spec = one.eni_configs()["x"]["spec"]
    assert spec == {"subnet": one.subnet("pods"), "securityGroups": [groups["web"], groups["default"], "sg-0123abcd"]}
    assert one.eni_configs()["y"]["spec"]["subnet"] == "subnet-0123abcd"
    assert one.eni_configs()["x"]["metadata"]["uid"]


def test_up_again_changes_adds_and_removes_them(lab: Callable[[Scenario], Lab]) -> None:
    one = lab(scenario(eni_config("same"), eni_config("changed"), eni_config("gone")))
    before = one.eni_configs()
    one.change(scenario(eni_config("same"), eni_config("changed", subnet="more"), eni_config("new")))
    after = one.eni_configs()
    assert list(after) == ["same", "changed", "new"]
    assert after["same"] is before["same"]  # nothing was written
    assert after["changed"]["spec"]["subnet"] == one.subnet("more")
    assert after["changed"]["metadata"]["uid"] == before["changed"]["metadata"]["uid"]
    assert int(after["changed"]["metadata"]["resourceVersion"]) > int(before["changed"]["metadata"]["resourceVersion"])


def test_new_enis_go_where_the_eni_config_says_now(lab: Callable[[Scenario], Lab]) -> None:
    one = lab(scenario(eni_config("default"), env=CUSTOM, pods=1))
    assert [eni.subnet_id for eni in one.enis()] == [one.subnet("a"), one.subnet("pods"), one.subnet("pods")]
    assert [len(eni.addresses) for eni in one.enis()] == [1, 6, 6]
    two = lab(scenario(eni_config("default"), env=CUSTOM))
    assert [eni.subnet_id for eni in two.enis()] == [two.subnet("a"), two.subnet("pods")]
    two.change(scenario(eni_config("default", subnet="more", groups="web"), env=CUSTOM, pods=1))
    assert [eni.subnet_id for eni in two.enis()] == [two.subnet("a"), two.subnet("pods"), two.subnet("more")]


def test_a_missing_eni_config_keeps_the_node_from_being_ready_until_it_comes(lab: Callable[[Scenario], Lab]) -> None:
    one = lab(scenario(env=CUSTOM, pods=1))
    told = [event["message"] for event in one.world.events.all() if event["object"] == "node/node1"]
    assert any("ENIConfig default" in text for text in told)
    assert one.world.pods()[0].phase == "Pending"
    one.change(scenario(eni_config("default"), env=CUSTOM, pods=1))
    one.do(one.clock.sleep(700.0))
    assert one.world.pods()[0].phase == "Running"
    assert one.world.pods()[0].ip.startswith("100.64.")


@pytest.mark.parametrize(
    ("kind", "env", "most"),
    [
        ("t3.medium", "", 17), ("t3.medium", CUSTOM, 12), ("t3.medium", PREFIX, 110), ("t3.nano", f"{PREFIX}, {CUSTOM}", 18),
        ("t3.medium", "MAX_ENI: 2", 17),
    ],
)
def test_max_pods_of_a_node_follow_the_settings(lab: Callable[[Scenario], Lab], kind: str, env: str, most: int) -> None:
    one = lab(scenario(eni_config("default"), kind=kind, env=env))
    assert one.world.status()["nodes"][0]["maxPods"] == most


@pytest.mark.parametrize("kind", ["t3.nano", "t3.small", "m5.large", "m4.large"])
@pytest.mark.parametrize("networking", [PodNetworking(), PodNetworking(True), PodNetworking(False, True), PodNetworking(True, True)], ids=str)
@pytest.mark.parametrize("full", [False, True], ids=["idle", "full"])
def test_capacity_counts_what_the_daemon_comes_to_hold(
    lab: Callable[[Scenario], Lab], kind: str, networking: PodNetworking, full: bool
) -> None:
    """`labnet capacity` against ipamd and EC2 themselves."""
    env = ", ".join(word for word, on in ((PREFIX, networking.prefix_delegation), (CUSTOM, networking.custom_networking)) if on)
    limit = limits.load()[kind]
    pods = ordinary_pods(limit, networking) if full else 0
    one = lab(scenario(eni_config("default"), kind=kind, env=env, pods=pods))
    assert sum(pod.phase == "Running" for pod in one.world.pods()) == pods
    one.do(one.clock.sleep(300.0))
    enis = [eni for eni in one.enis() if eni.subnet_id == one.subnet("pods" if networking.custom_networking else "a")]
    found = Holding(len(enis), sum(len(eni.addresses) for eni in enis), sum(len(eni.prefixes) for eni in enis))
    assert found == holding(limit, networking, pods)


def test_one_pod_more_than_capacity_counts_does_not_fit(lab: Callable[[Scenario], Lab]) -> None:
    one = lab(scenario(eni_config("default"), kind="t3.nano", env=f"{PREFIX}, {CUSTOM}", pods=17, pinned=False))
    phases = [pod.phase for pod in one.world.pods()]
    assert (phases.count("Running"), phases.count("Pending")) == (16, 1)


def test_a_taint_keeps_pods_off_the_node(lab: Callable[[Scenario], Lab]) -> None:
    one = lab(scenario(pods=1, pinned=False, taint="{key: node.kubernetes.io/unschedulable}"))
    assert one.world.pods()[0].reason == "Unschedulable"
    assert one.world.kube.get("Node", "", "node1")["spec"]["taints"][0]["effect"] == "NoSchedule"


def test_a_subnet_comes_with_reservations_and_enis_of_others(lab: Callable[[Scenario], Lab]) -> None:
    inside = "cidrReservations: [{cidr: 10.10.0.32/28, reservationType: prefix}]"
    inside += ", networkInterfaces: [{privateIpAddresses: [10.10.0.4, 10.10.0.20]}]"
    text = TEXT.format(kind="t3.nano", env=PREFIX, pods="", objects="", taint="").replace("10.10.0.0/20,", f"10.10.0.0/20, {inside},")
    one = lab(scenario_file.parse(text, "t.yaml"))
    assert [one.cidr for one in one.world.ec2.state.cidr_reservations.values()] == ["10.10.0.32/28"]
    other = next(eni for eni in one.world.ec2.state.enis.values() if eni.attachment is None)
    assert [item.address for item in other.addresses] == ["10.10.0.4", "10.10.0.20"]
    node = one.enis()[0]
    assert (node.primary, node.prefixes) == ("10.10.0.5", ("10.10.0.32/28",))
