"""The key `objects`, and what else came with it: each mistake named with the way out, before anything happens."""

from __future__ import annotations

import pytest

from labnet.lab import scenario_file

VPC = """
vpc:
  cidrs: [10.10.0.0/16, 100.64.0.0/16]
  subnets:
    - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}
    - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2b}
    - {name: pods-a, cidr: 100.64.0.0/24, availabilityZone: us-west-2a}
  securityGroups: [{name: pods}]
"""
ON = "cni: {env: {AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: 'true'}}\n"
NODE = "nodes: [{name: n1, instanceType: t3.medium, subnet: a}]\n"


def eni_config(name: str = "default", spec: str = "{subnet: pods-a}", more: str = "") -> str:
    return f"{{apiVersion: crd.k8s.amazonaws.com/v1alpha1, kind: ENIConfig, metadata: {{name: {name}{more}}}, spec: {spec}}}"


def objects(*items: str) -> str:
    return "objects: [" + ", ".join(items) + "]\n"


def test_an_eni_config_becomes_a_document_of_kubernetes(read) -> None:
    one = eni_config(spec="{subnet: pods-a, securityGroups: [pods, sg-0123abcd]}", more=", labels: {x: y}")
    scenario = read(VPC + ON + NODE + objects(one))
    assert scenario.objects == ({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": "default", "labels": {"x": "y"}},
        "spec": {"subnet": "pods-a", "securityGroups": ["pods", "sg-0123abcd"]},
    },)


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        (
            objects("{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: 3}}"), "objects[0].kind", "controllers come",
            "ENIConfig",
        ),
        (objects("{apiVersion: v1, kind: Service, metadata: {name: x}}"), "objects[0].kind", "services come with a later", "ENIConfig"),
        (objects("{kind: NetworkPolicy}"), "objects[0].kind", "network policies come with a later", "ENIConfig"),
        (objects("{kind: Pod}"), "objects[0].kind", "no object of its own", "below 'pods'"),
        (objects("{kind: EniConfig}"), "objects[0].kind", "no objects of kind 'EniConfig'", "did you mean ENIConfig"),
        (objects("{kind: ENIConfig, metadata: {name: x}, spec: {subnet: a}}"), "objects[0]", "apiVersion is missing", ""),
        (
            objects("{apiVersion: v1, kind: ENIConfig, metadata: {name: x}, spec: {subnet: a}}"), "objects[0].apiVersion", "'v1' is not taken",
            "crd.k8s.amazonaws.com/v1alpha1",
        ),
        (objects(eni_config(more=", namespace: default")), "objects[0].metadata.namespace", "has no namespace", "remove"),
        (objects(eni_config(spec="{subnets: pods-a}")), "objects[0].spec.subnets", "unknown key 'subnets'", "did you mean subnet"),
        (objects(eni_config(spec="{}")), "objects[0].spec", "subnet is missing", "pods-a"),
        (objects(eni_config(name="Up_per")), "objects[0].metadata.name", "no name for an ENIConfig", "lower-case"),
        (objects(eni_config(), eni_config()), "objects[1].metadata.name", "a second ENIConfig named 'default'; the first is in", "another"),
        (objects(eni_config(spec="{subnet: pod-a}")), "objects[0].spec.subnet", "no subnet 'pod-a'", "did you mean pods-a"),
        (objects(eni_config(spec="{subnet: subnet-xyz}")), "objects[0].spec.subnet", "no subnet 'subnet-xyz'", ""),
        (
            objects(eni_config(spec="{subnet: pods-a, securityGroups: [pod]}")), "objects[0].spec.securityGroups[0]",
            "has no security group 'pod'", "did you mean pods",
        ),
        (ON + NODE, "nodes[0]", "n1 uses ENIConfig default, and there is none", "pending: allowed"),
        (ON + NODE + objects(eni_config("us-west-2a")), "nodes[0]", "uses ENIConfig default", "k8s.amazonaws.com/eniConfig"),
        (
            ON + NODE + objects(eni_config(spec="{subnet: b}")), "objects[0].spec.subnet",
            "b is in us-west-2b, but n1 uses it and is in us-west-2a", "for each zone",
        ),
        (
            ON + "nodes: [{name: n1, count: 3, instanceType: t3.medium, subnet: a, labels: {k8s.amazonaws.com/eniConfig: other}}]\n"
            + objects(eni_config(), eni_config("other", "{subnet: b}")), "objects[1].spec.subnet", "n1-1 uses it", "",
        ),
    ],
)
def test_a_mistake_is_named(problems, text: str, field: str, message: str, hint: str) -> None:
    found = problems(VPC + text)
    assert len(found) == 1, [problem.text for problem in found]
    assert found[0].field == field
    assert message in found[0].message
    assert found[0].hint
    assert hint in found[0].hint
    assert found[0].place.line


def test_an_eni_config_of_another_vpc(problems) -> None:
    vpcs = """
    vpcs:
      - {name: one, cidr: 10.10.0.0/16, subnets: [{name: a, cidr: 10.10.0.0/24}], securityGroups: [{name: web}]}
      - {name: two, cidr: 10.20.0.0/16, subnets: [{name: far, cidr: 10.20.0.0/24}]}
    """
    far = f"[{eni_config(spec='{subnet: far}')}]"
    found = problems(vpcs, f"cni={ON.partition(': ')[2]}", f"nodes={NODE.partition(': ')[2]}", f"objects={far}")
    assert [problem.message for problem in found] == ["far is in VPC two, but n1 uses it and is in VPC one"]
    some = "[" + eni_config(spec="{subnet: subnet-0123abcd, securityGroups: [web]}") + "]"
    assert "of which VPC" in problems(vpcs, f"objects={some}")[0].message


def test_what_is_not_used_may_be_anywhere(read) -> None:
    assert len(read(VPC + NODE + objects(eni_config(spec="{subnet: b}"))).objects) == 1


def test_ids_and_pending_pods_are_taken(read) -> None:
    some = objects(eni_config(spec="{subnet: subnet-0123456789abcdef0, securityGroups: [sg-0123456789abcdef0]}"))
    assert read(VPC + ON + NODE + some).objects[0]["spec"]["subnet"] == "subnet-0123456789abcdef0"
    assert read(VPC + ON + NODE + "pending: allowed\n").objects == ()


@pytest.mark.parametrize(
    ("where", "env"),
    [
        ("labels: {vpc.amazonaws.com/externalEniConfig: x}", ""),
        ("labels: {own: x}", ", ENI_CONFIG_LABEL_DEF: own"),
        ("annotations: {k8s.amazonaws.com/eniConfig: x}", ""),
        ("annotations: {own: x}", ", ENI_CONFIG_ANNOTATION_DEF: own"),
    ],
)
def test_the_ways_to_name_an_eni_config(read, where: str, env: str) -> None:
    cni = f"cni: {{env: {{AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: 'true'{env}}}}}\n"
    node = f"nodes: [{{name: n1, instanceType: t3.medium, subnet: a, {where}}}]\n"
    assert read(VPC + cni + node + objects(eni_config("x"))).objects


# ---- room -----------------------------------------------------------------------------------------------------------------


def pods(count: int) -> str:
    return "pods: [" + ", ".join(f"{{name: p{n}, node: n1}}" for n in range(count)) + "]\n"


@pytest.mark.parametrize(
    ("env", "room", "said"),
    [
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: 'true'", 10, "10 pod addresses here: 2 ENIs beside the first × (6 − 1)"),
        ("MAX_ENI: 2", 10, "10 pod addresses here: 2 ENIs × (6 − 1)"),
        ("MAX_ENI: 2, AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: 'true'", 5, "5 pod addresses here: 1 ENI beside the first × (6 − 1)"),
        ("ENABLE_PREFIX_DELEGATION: 'true', MAX_ENI: 1", 80, "80 pod addresses here: 1 ENI × (6 − 1) prefixes of 16"),
        ("ENABLE_PREFIX_DELEGATION: 'true'", 108, "108 places here: max-pods is 110, and 2 are host-network pods"),
    ],
)
def test_pods_that_are_pinned_must_have_room(read, problems, env: str, room: int, said: str) -> None:
    text = VPC + NODE + f"cni: {{env: {{{env}}}}}\n" + objects(eni_config())
    assert len(read(text + pods(room)).pods) == room
    found = problems(text + pods(room + 1))
    assert [problem.field for problem in found] == [f"pods[{room}].node"]
    assert found[0].message == f"{room + 1} pods on n1, but a t3.medium has {said}"


# ---- what a subnet holds, and checks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "field", "message"),
    [
        ("cidrReservations: [{cidr: 10.10.1.0/28, reservationType: prefix}]", "cidrReservations[0].cidr", "outside of the subnet"),
        ("cidrReservations: [{cidr: 10.10.0.1/28, reservationType: prefix}]", "cidrReservations[0].cidr", "host bits"),
        ("cidrReservations: [{cidr: x, reservationType: prefix}]", "cidrReservations[0].cidr", "not an IPv4 block"),
        ("cidrReservations: [{cidr: 10.10.0.32/29, reservationType: prefix}]", "cidrReservations[0].cidr", "no room for a prefix"),
        ("cidrReservations: [{cidr: 10.10.0.0/28, reservationType: any}]", "cidrReservations[0].reservationType", "'any' is not taken"),
        (
            "cidrReservations: [{cidr: 10.10.0.0/28, reservationType: explicit}, {cidr: 10.10.0.0/27, reservationType: prefix}]",
            "cidrReservations[1].cidr", "overlaps 10.10.0.0/28",
        ),
        ("networkInterfaces: [{privateIpAddresses: []}]", "networkInterfaces[0].privateIpAddresses", "is empty"),
        ("networkInterfaces: [{privateIpAddresses: [x]}]", "networkInterfaces[0].privateIpAddresses[0]", "no IPv4 address"),
        ("networkInterfaces: [{privateIpAddresses: [10.10.0.3]}]", "networkInterfaces[0].privateIpAddresses[0]", "that AWS keeps"),
        ("networkInterfaces: [{privateIpAddresses: [10.10.9.9]}]", "networkInterfaces[0].privateIpAddresses[0]", "outside of the subnet"),
        (
            "networkInterfaces: [{privateIpAddresses: [10.10.0.9]}, {privateIpAddresses: [10.10.0.8, 10.10.0.9]}]",
            "networkInterfaces[1].privateIpAddresses[1]", "stands here twice",
        ),
    ],
)
def test_what_a_subnet_holds(problems, inside: str, field: str, message: str) -> None:
    found = problems(f"vpc: {{cidr: 10.10.0.0/16, subnets: [{{name: a, cidr: 10.10.0.0/26, {inside}}}]}}")
    assert [problem.field for problem in found] == [f"vpc.subnets[0].{field}"]
    assert message in found[0].message


def test_enis_of_others_take_room_from_nodes(problems) -> None:
    taken = ", ".join(f"10.10.0.{n}" for n in range(4, 14))
    subnet = f"{{name: a, cidr: 10.10.0.0/28, networkInterfaces: [{{privateIpAddresses: [{taken}]}}]}}"
    text = f"vpc: {{cidr: 10.10.0.0/16, subnets: [{subnet}]}}\n" + NODE.replace("{name: n1", "{name: n1, count: 2")
    assert "2 nodes and 10 addresses of other ENIs in a" in problems(text)[0].message


@pytest.mark.parametrize(
    ("check", "field", "message"),
    [
        ("{pod: {phase: Running}}", "checks[0].pod", "no pod and no count"),
        ("{pod: {name: p0, phase: Running, count: 1}}", "checks[0].pod", "a pod and a count"),
        ("{pod: {name: p0, node: n1, phase: Running}}", "checks[0].pod.node", "beside 'name'"),
        ("{pod: {name: p9, phase: Running}}", "checks[0].pod.name", "no pod 'p9'"),
        ("{pod: {name: n1, phase: Running}}", "checks[0].pod.name", "no pod 'n1'"),
        ("{pod: {node: n9, phase: Running, count: 1}}", "checks[0].pod.node", "no node 'n9'"),
        ("{pod: {name: p0}}", "checks[0].pod", "compares nothing"),
        ("{pod: {name: p0, phase: Waiting}}", "checks[0].pod.phase", "'Waiting' is not taken"),
        ("{event: {object: node/n1}}", "checks[0].event", "compares nothing"),
        ("{event: {contains: '${p9}'}}", "checks[0].event.contains", "no node or pod 'p9'"),
        ("{pod: {name: p0, phase: Running}, event: {reason: X}}", "checks[0]", "mixes pod and event"),
    ],
)
def test_checks_of_pods_and_events(problems, check: str, field: str, message: str) -> None:
    found = problems(VPC + NODE + pods(1) + f"checks: [{check}]\n")
    assert [problem.field for problem in found] == [field]
    assert message in found[0].message


def test_taints_and_annotations_of_a_node(read, problems) -> None:
    node = "nodes: [{name: n1, instanceType: t3.medium, subnet: a, annotations: {x: y}, taints: [{key: k, value: 1}]}]\n"
    made = read(VPC + node).nodes[0]
    assert (made.annotations, [(one.key, one.value, one.effect) for one in made.taints]) == ({"x": "y"}, [("k", "1", "NoSchedule")])
    assert problems(VPC + node.replace("value: 1", "effect: NoExecute"))[0].field == "nodes[0].taints[0].effect"


def test_the_scenarios_of_this_kind_say_what_they_show() -> None:
    words = ("warm-targets", "prefix-delegation", "custom-networking", "exclude-snat", "exhausted-subnet", "fragmented-subnet")
    names = {f"eks-{word}" for word in words}
    found = {item.name: item for item in scenario_file.built_ins()}
    assert names <= set(found)
    for name in names:
        assert scenario_file.load(name).checks
        assert len(found[name].description) > 20
