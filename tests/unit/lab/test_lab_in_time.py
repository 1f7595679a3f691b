"""A whole lab on the in-memory kernel under virtual time, with an EC2 API that is slow, throttled, faulty or denied; and its verbs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from labnet.errors import NotFoundError, UsageError
from labnet.kernel.fake import FakeKernel
from labnet.lab import scenario_file
from labnet.lab.planning import plan
from labnet.lab.store import MemoryStore
from labnet.lab.verbs import Verbs
from labnet.lab.world import World
from labnet.model.scenario import Scenario
from labnet.sim.clock import LabClock, new_event_loop


class Lab:
    """eks-2node with some values set, brought up, and how to go on."""

    def __init__(self, *sets: str, source: str = "eks-2node") -> None:
        self.scenario: Scenario = scenario_file.load(source, overrides=sets)
        self.clock = LabClock(1000.0)
        self.loop = new_event_loop(self.clock)
        self.store = MemoryStore()
        self.world = World(self.scenario, "t", FakeKernel(), self.clock, self.store, log=lambda text: None)
        self.waiting = self.do(self.world.bring_up(600.0, lambda *words: None))

    def do(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(main)

    def verb(self, name: str, **args: Any) -> dict[str, Any]:
        return dict(self.do(Verbs(self.world).table()[name](args, lambda event: None)))  # type: ignore[arg-type]  # verbs are coroutines here

    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.world.events.all()]

    def close(self) -> None:
        self.do(self.world.stop())
        self.loop.close()


@pytest.fixture
def lab() -> Any:
    made: list[Lab] = []

    def make(*sets: str, **more: str) -> Lab:
        made.append(Lab(*sets, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[..., Lab]


def test_a_throttled_lab_comes_up_and_its_own_calls_take_no_tokens(lab: Make) -> None:
    one = lab("ec2.throttling=aws")
    assert one.waiting == []
    calls = one.verb("ec2-calls")["calls"]
    assert {"tokens" in call for call in calls if call["callerKind"] == "lab"} == {False}
    assert {"tokens" in call for call in calls if call["callerKind"] == "node"} == {True}


def test_sixty_nodes_at_once_are_throttled_back_off_and_come_up(lab: Make) -> None:
    one = lab("ec2.throttling=aws", "nodes.node1.count=60", "cni.env.WARM_ENI_TARGET=2", "pods=[]", "checks=[]")
    results = [call["result"] for call in one.verb("ec2-calls")["calls"]]
    assert "RequestLimitExceeded" in results
    assert one.waiting == []
    one.do(one.clock.sleep(120))
    assert all(len(one.world.ec2.state.enis_of(instance)) == 2 for instance in one.world.ec2.state.instances)


def test_slow_calls_and_late_metadata_change_when_but_not_what(lab: Make) -> None:
    fast, slow = lab(), lab("ec2.latency=aws", "ec2.imdsDelay=3")
    assert slow.waiting == []
    assert slow.clock.now_s() > fast.clock.now_s()
    for one in (fast, slow):
        pods = {pod["name"]: (pod["device"], pod["table"]) for pod in one.world.status()["pods"]}
        assert pods == {"pod1": ("eth0", 254), "pod2": ("eth1", 2), "pod3": ("eth0", 254)}
    taken = [sorted(item.address for eni in one.world.ec2.state.enis.values() for item in eni.addresses) for one in (fast, slow)]
    assert taken[0] == taken[1], "only who has which of them depends on whose call comes first"


def test_the_same_seed_gives_the_same_calls_at_the_same_times(lab: Make) -> None:
    ledgers = [lab("ec2.latency=aws", "ec2.throttling=aws").store.read("ec2-calls") for _ in range(2)]
    assert ledgers[0] == ledgers[1]
    assert len({call["latency"] for call in ledgers[0]}) > 5


def test_an_ipamd_that_may_not_start_is_started_again_until_it_may(lab: Make) -> None:
    one = lab("ec2.faults=[{action: AssignPrivateIpAddresses, code: Own.Code, for: 25s, node: node1}]")
    assert one.waiting == []
    assert one.reasons().count("BackOff") == 2
    assert one.clock.now_s() >= 1030.0
    told = [event["message"] for event in one.world.events.all() if event["reason"] == "BackOff"]
    why = "error while trying to increase datastore pool: Own.Code: labnet was told to refuse this with Own.Code"
    assert told[0] == f"ipamd ended: {why}; it starts again in 10 s"
    assert told[1].endswith("in 20 s")


def test_a_denied_node_has_no_network_and_the_other_one_has(lab: Make) -> None:
    one = lab("ec2.deny=[{action: AssignPrivateIpAddresses, node: node1}]", "pending=allowed")
    phases = {pod["name"]: pod["phase"] for pod in one.world.status()["pods"]}
    assert (phases["pod1"], phases["pod3"]) == ("Pending", "Running")
    assert any("UnauthorizedOperation" in event["message"] for event in one.world.events.all())


def test_an_exhausted_subnet_on_demand_is_what_ipamd_sees(lab: Make) -> None:
    one = lab("ec2.faults=[{action: '*NetworkInterface', code: InsufficientFreeAddressesInSubnet, node: node1}]", "pending=allowed")
    assert "EniNotAdded" in one.reasons()
    assert {pod["name"]: pod["phase"] for pod in one.world.status()["pods"]}["pod2"] == "Pending"


def test_a_plan_with_all_of_it_is_a_plan() -> None:
    sets = ("ec2.throttling=aws", "ec2.latency=aws", "ec2.imdsDelay=2")
    plain, slow = (plan(scenario_file.load("eks-2node", overrides=words), "t") for words in ((), sets))
    assert slow["waitingFor"] == []
    for document in (plain, slow):
        document["kinds"] = Counter((change["netns"], change["op"], change["object"]) for change in document["changes"])
    assert slow["kinds"] == plain["kinds"]


def test_up_on_a_running_lab_makes_the_api_what_the_scenario_says(lab: Make) -> None:
    one = lab("ec2.throttling=aws")
    one.verb("fault-api", action="CreateTags", code="X")
    new = scenario_file.load("eks-2node", overrides=("ec2.deny=[CreateVpc]",))
    one.do(one.world.reconcile(new, 10.0, lambda *words: None))
    assert one.verb("ec2-throttle")["throttling"] == "off"
    assert [item["origin"] for item in one.verb("fault-list")["faults"]] == ["added", "scenario"]


# ---- the verbs ------------------------------------------------------------------------------------------------------------


def test_calls_are_chosen_cut_and_summed(lab: Make) -> None:
    one = lab()
    total = len(one.store.read("ec2-calls"))
    found = one.verb("ec2-calls", last=3)
    assert (len(found["calls"]), found["total"]) == (3, total)
    assert {call["action"] for call in one.verb("ec2-calls", action="Attach*", caller="node1")["calls"]} == {"AttachNetworkInterface"}
    sums = one.verb("ec2-calls", by="node")["sums"]
    assert {row["caller"] for row in sums} == {"labnet", "node1", "node2"}
    assert sum(row["calls"] for row in sums) == total
    with pytest.raises(UsageError, match="has no action 'Atach'"):
        one.verb("ec2-calls", action="Atach")


def test_faults_are_set_listed_and_taken_back(lab: Make) -> None:
    one = lab()
    made = one.verb("fault-api", action="Describe*", code="Unavailable", times=1, node="node2")
    denied = one.verb("fault-deny", action="CreateVpc")
    assert [item["id"] for item in one.verb("fault-list")["faults"]] == [made["id"], denied["id"]]
    assert (made["status"], made["state"], denied["code"]) == (503, "active", "UnauthorizedOperation")
    assert one.verb("fault-clear", ids=[made["id"]])["cleared"] == [made["id"]]
    assert one.verb("fault-clear", all=True)["cleared"] == [denied["id"]]
    for verb, args in (("fault-api", {"code": "X"}), ("fault-deny", {})):
        with pytest.raises(NotFoundError, match="there is no node 'node3'"):
            one.verb(verb, action="CreateTags", node="node3", **args)
    with pytest.raises(UsageError, match="which fault"):
        one.verb("fault-clear")


def test_throttling_is_turned_on_and_off_and_shows_its_buckets(lab: Make) -> None:
    one = lab()
    assert one.verb("ec2-throttle")["buckets"] == []
    buckets = {item["bucket"]: item for item in one.verb("ec2-throttle", set="aws")["buckets"]}
    assert buckets["DescribeInstances (unfiltered)"] == {
        "bucket": "DescribeInstances (unfiltered)", "tokens": 50, "burst": 50, "refillPerSecond": 10,
    }
    one.do(one.world.ec2.client("node1").call("DescribeInstances", {}))
    found = {item["bucket"]: item["tokens"] for item in one.verb("ec2-throttle")["buckets"]}
    assert found["DescribeInstances (unfiltered)"] == 49
    assert one.verb("ec2-throttle", set="off")["buckets"] == []


def test_subnets_of_the_lab(lab: Make) -> None:
    one = lab()
    first = one.verb("ec2-subnets")["subnets"][0]
    assert (first["name"], first["primary"], first["secondary"], first["used"]) == ("public-a", 4, 4, 8)
    assert "blocks" not in first
    assert len(one.verb("ec2-subnets", blocks=True)["subnets"][0]["blocks"]) == 512
