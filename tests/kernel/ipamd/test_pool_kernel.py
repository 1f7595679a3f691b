"""The warm pool of real nodes: addresses, ENIs, and the packets of pods on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.world_runner import RunningWorld

pytestmark = pytest.mark.kernel
Make = Callable[..., RunningWorld]


@pytest.fixture
def world() -> Iterator[Make]:
    made: list[RunningWorld] = []

    def make(text: str, *sets: str) -> RunningWorld:
        made.append(RunningWorld(text, *sets))
        return made[-1]

    yield make
    for one in made:
        one.close()


IDLE = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: idle}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/20, availabilityZone: us-west-2a}}, {{name: b, cidr: 10.10.64.0/19, availabilityZone: us-west-2a}}]
nodes: [{{name: node1, instanceType: {kind}, subnet: a}}, {{name: node2, instanceType: {kind}, subnet: a}}]
cni: {{kind: vpc, dialect: "1.23", env: {env}}}
pods: []
"""


def idle(kind: str = "t3.small", env: str = "{}") -> str:
    return IDLE.format(kind=kind, env=env)


@pytest.mark.parametrize("env, pool", [
    ("{WARM_IP_TARGET: 2}", [2]),
    ("{WARM_IP_TARGET: 16}", [14, 2]),
    ("{WARM_IP_TARGET: 6, MINIMUM_IP_TARGET: 10}", [10]),
    ("{WARM_ENI_TARGET: 3, MAX_ENI: 2}", [14, 14]),
    ("{WARM_ENI_TARGET: 3}", [14, 14, 14]),
    ("{ENABLE_PREFIX_DELEGATION: true, WARM_IP_TARGET: 16}", [16]),
    ("{ENABLE_PREFIX_DELEGATION: true, WARM_PREFIX_TARGET: 2}", [32]),
])
def test_an_idle_node(world: Make, env: str, pool: list[int]) -> None:
    one = world(idle("m5.xlarge", env))
    one.wait(60)
    assert one.pool("node1") == one.pool("node2") == pool


def test_the_calls_of_a_fresh_node_and_its_first_pod(world: Make) -> None:
    one = world(idle(env="{DISABLE_LEAKED_ENI_CLEANUP: true}"))
    first = ["DescribeNetworkInterfaces", "CreateTags", "DescribeSubnets", "ModifyNetworkInterfaceAttribute", "AssignPrivateIpAddresses"]
    assert one.calls("node1") == first
    one.add_pods("web", node="node1")
    one.wait(6)
    assert one.calls("node1") == [
        *first, "DescribeSubnets", "CreateNetworkInterface", "DescribeInstances", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute",
        "DescribeSubnets",
    ]


def test_pods_of_an_eni_in_another_subnet(world: Make) -> None:
    """Its gateway is that of its own subnet, and packets of its pods go both ways: to the node's subnet, and to a neighbour's pod."""
    one = world(idle())
    other = next(subnet.id for subnet in one.world.ec2.state.subnets.values() if subnet.cidr == "10.10.64.0/19")
    one.aws("CreateTags", Resources=[other], Tags=[{"Key": "kubernetes.io/role/cni", "Value": "1"}])
    one.add_pods("a1", "a2", "a3", "a4", node="node1")
    one.add_pods("b1", "b2", "b3", "b4", node="node2")
    assert one.pod("a1").ip.startswith("10.10.0.") and one.pod("a4").ip.startswith("10.10.64.") and one.pod("b4").ip.startswith("10.10.64.")
    table = one.inside("node1", "ip", "route", "show", "table", "2").split("\n")
    assert "default via 10.10.64.1 dev eth1 " in table and "10.10.64.1 dev eth1 scope link " in table
    assert "10.10.64.0/19" not in one.inside("node1", "ip", "route")
    assert one.pings("a4", one.pod("b1").ip) and one.pings("b1", one.pod("a4").ip), "other subnet, first ENI"
    assert one.pings("a4", one.pod("b4").ip) and one.pings("a1", one.pod("a4").ip)
    assert one.pings("a4", one.node("node2")["ip"])


def test_an_excluded_subnet_is_left_by_pods_as_they_come_anew(world: Make) -> None:
    one = world(idle("t3.medium"))
    subnets = {subnet.cidr: subnet.id for subnet in one.world.ec2.state.subnets.values()}
    for cidr, value in (("10.10.0.0/20", "0"), ("10.10.64.0/19", "1")):
        one.aws("CreateTags", Resources=[subnets[cidr]], Tags=[{"Key": "kubernetes.io/role/cni", "Value": value}])
    one.aws(
        "RunInstances", ImageId="ami-0123456789abcdef0", InstanceType="t3.medium", MinCount=1, MaxCount=1, SubnetId=subnets["10.10.0.0/20"],
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "node3"}]}],
    )
    one.until(lambda: any(node["name"] == "node3" for node in one.world.status()["nodes"]))
    one.add_pods("c1", "c2", node="node3")
    one.add_pods("a1", node="node1")
    assert {one.pod(name).ip[:9] for name in ("c1", "c2")} == {"10.10.64."}
    assert one.pings("c1", one.pod("a1").ip) and one.pings("a1", one.pod("c2").ip)


def test_an_eni_taken_by_force_leaves_rules_to_an_empty_table_and_comes_back(world: Make) -> None:
    one = world(idle())
    one.add_pods("p1", "p2", "p3", "p4", node="node1")
    one.wait(20)
    second = one.world.ec2.state.enis[one.node("node1")["enis"][1]["id"]]
    assert second.attachment is not None
    one.add_pods("q1", node="node2")
    address = one.pod("p4").ip
    assert address in [item.address for item in second.addresses] and one.pings("q1", address)
    one.aws("DetachNetworkInterface", AttachmentId=second.attachment.id, Force=True)
    one.until(lambda: "EniLost" in one.reasons())
    rules = one.inside("node1", "ip", "rule").split("\n")
    for rule in (f"512:\tfrom all to {address} lookup main", f"1536:\tfrom {address} lookup 2", f"32765:\tfrom {second.primary} lookup 2"):
        assert rule in rules
    assert one.inside("node1", "ip", "route", "show", "table", "2") == ""
    assert not one.pings("q1", address)
    one.aws("AttachNetworkInterface", NetworkInterfaceId=second.id, InstanceId=second.attachment.instance_id, DeviceIndex=1)
    one.until(lambda: "EniFound" in one.reasons())
    assert one.inside("node1", "ip", "rule").split("\n").count(f"32765:\tfrom {second.primary} lookup 2") == 1
    assert "default via 10.10.0.1 dev eth1 " in one.inside("node1", "ip", "route", "show", "table", "2")
    one.delete_pods("p4")
    assert f"512:\tfrom all to {address} lookup main" in one.inside("node1", "ip", "rule").split("\n"), "a DEL of an unknown pod cleans nothing"


def test_an_eni_that_is_not_needed_goes_with_its_rules(world: Make) -> None:
    one = world(idle())
    one.add_pods("p1", "p2", "p3", "p4", node="node1")
    one.wait(20)
    assert len(one.pool("node1")) == 3 and "lookup 2" in one.inside("node1", "ip", "rule")
    one.delete_pods("p1", "p2", "p3", "p4")
    one.until(lambda: one.pool("node1") == [3], 200)
    one.wait(5)
    assert [line for line in one.inside("node1", "ip", "rule").split("\n") if line[:5] in ("512:\t", "1536:", "32765")] == []
    links = [line.split(":")[1].strip() for line in one.inside("node1", "ip", "-o", "link").split("\n") if line]
    assert [link.split("@")[0] for link in links if link.startswith("eth")] == ["eth0"]


def test_a_cordoned_node_serves_the_pods_that_it_has_and_gets_no_eni(world: Make) -> None:
    one = world(idle("t3.small", "{DISABLE_LEAKED_ENI_CLEANUP: true}"))
    one.add_pods("p1", "p2", "p3", node="node1")
    one.wait(20)
    assert one.pool("node1") == [3, 3]
    document = one.world.kube.get("Node", "", "node1")
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}

    async def cordon(taints: list[dict[str, str]]) -> None:
        node = one.world.kube.get("Node", "", "node1")
        one.world.kube.update({**node, "spec": {**node["spec"], "taints": taints}})

    one.do(cordon([*document["spec"].get("taints", ()), taint]))
    one.delete_pods("p1", "p2", "p3")
    one.wait(150)
    assert one.pool("node1") == [3, 3], "nothing is detached either"
    one.do(cordon([]))
    one.until(lambda: one.pool("node1") == [3], 120)
