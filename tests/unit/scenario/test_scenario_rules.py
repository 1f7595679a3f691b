from __future__ import annotations

import pytest
import yaml

from labnet.lab import scenario_file
from labnet.lab.scenario_problems import ScenarioProblems
from labnet.lab.scenario_schema import LATER

NODE = "nodes: [{name: n1, instanceType: t3.nano, subnet: a}]\n"
TWO_PODS = NODE + "pods: [{name: p1, node: n1}, {name: p2, node: n1}]\n"


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        ("vpc: {}", "vpc", "has no block", "cidr: 10.10.0.0/16"),
        ("vpc: {cidr: 10.10.0.0}", "vpc.cidr", "has no mask", "10.10.0.0/16"),
        ("vpc: {cidr: nonsense}", "vpc.cidr", "is not an IPv4 block", "10.10.0.0/16"),
        ("vpc: {cidr: 10.10.0.0/99}", "vpc.cidr", "is not an IPv4 block", ""),
        ("vpc: {cidr: 'fd00::/48'}", "vpc.cidr", "is not an IPv4 block", ""),
        ("vpc: {cidr: 10.10.1.0/16}", "vpc.cidr", "host bits", "10.10.0.0/16"),
        ("vpc: {cidr: 10.0.0.0/8}", "vpc.cidr", "size", "/16 and /28"),
        ("vpc: {cidr: 10.0.0.0/29}", "vpc.cidr", "size", "/16 and /28"),
        ("vpc: {cidr: 169.254.0.0/16}", "vpc.cidr", "link-local", ""),
        ("vpc: {cidr: 127.0.0.0/16}", "vpc.cidr", "loopback", ""),
        ("vpc: {cidrs: [10.0.0.0/16, 10.0.128.0/17]}", "vpc.cidrs[1]", "overlaps 10.0.0.0/16", ""),
        ("vpc: {cidr: 10.0.0.0/16, cidrs: [10.1.0.0/16]}", "vpc.cidrs", "beside 'cidr'", ""),
        ("vpc: {cidr: 10.0.0.0/16, name: A_b}", "vpc.name", "no name for a VPC", ""),
        ("vpcs: []", "", "there is no VPC", "vpc:"),
        ("vpcs: [" + ", ".join(f"{{name: v{n}, cidr: 10.{n}.0.0/16}}" for n in range(6)) + "]", "vpcs", "6 VPCs", "several labs"),
        ("vpc: {cidrs: [10.1.0.0/16, 192.168.0.0/16]}", "vpc.cidrs[1]", "cannot stand beside 10.1.0.0/16", "100.64.0.0/10"),
        ("vpc: {cidrs: [" + ", ".join(f"10.{n}.0.0/16" for n in range(6, 12)) + "]}", "vpc", "has 6 blocks", ""),
        ("vpcs: [{cidr: 10.0.0.0/16, name: x}, {cidr: 10.1.0.0/16}]", "vpcs[1]", "has no name", ""),
        ("vpcs: [{cidr: 10.0.0.0/16, name: x}, {cidr: 10.1.0.0/16, name: x}]", "vpcs[1].name", "a second VPC named 'x'", "another name"),
        ("vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/15}]}", "vpc.subnets[0].cidr", "size", ""),
        ("vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/29}]}", "vpc.subnets[0].cidr", "size", ""),
        ("vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.5/24}]}", "vpc.subnets[0].cidr", "host bits", "10.0.0.0/24"),
        ("vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.1.0.0/24}]}", "vpc.subnets[0].cidr", "outside the VPC", "10.0.0.0/16"),
        (
            "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/24}, {name: b, cidr: 10.0.0.128/25}]}",
            "vpc.subnets[1].cidr", "overlaps 10.0.0.0/24 of subnet a", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/24}, {name: a, cidr: 10.0.1.0/24}]}",
            "vpc.subnets[1].name", "a second subnet named 'a'; the first is in lab.yaml:4", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/24, availabilityZone: us-west-2}]}",
            "vpc.subnets[0].availabilityZone", "no availability zone", "us-west-2a",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/24, availabilityZone: us-west-2e}]}",
            "vpc.subnets[0].availabilityZone", "no zone us-west-2e", "us-west-2d",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/24}, {name: b, cidr: 10.0.1.0/24, availabilityZone: eu-west-1a}]}",
            "vpc.subnets[1].availabilityZone", "another region", "",
        ),
        ("vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: default}]}", "vpc.securityGroups[0].name", "default already", ""),
        (
            "vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: w, ingress: [{protocol: tpc, cidr: 0.0.0.0/0}]}]}",
            "vpc.securityGroups[0].ingress[0].protocol", "no protocol", "tcp",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: w, ingress: [{protocol: tcp}]}]}", "vpc.securityGroups[0].ingress[0]",
            "no other side", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: w, ingress: [{protocol: tcp, group: x}]}]}",
            "vpc.securityGroups[0].ingress[0].group", "no security group 'x'", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: w, egress: [{protocol: tcp, cidr: 10.0.0.1/8, fromPort: 1}]}]}",
            "vpc.securityGroups[0].egress[0].cidr", "host bits", "10.0.0.0/8",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: w, ingress: [{protocol: tcp, cidr: 0.0.0.0/0, fromPort: 9, toPort: 8}]}]}",
            "vpc.securityGroups[0].ingress[0].toPort", "below", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, securityGroups: [{name: w, ingress: [{protocol: -1, cidr: 0.0.0.0/0, fromPort: 9}]}]}",
            "vpc.securityGroups[0].ingress[0].fromPort", "has no ports", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: [{ruleNumber: 0, ruleAction: allow}]}]}",
            "vpc.networkAcls[0].ingress[0].ruleNumber", "no rule number", "32766",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, egress: ["
            "{ruleNumber: 5, ruleAction: allow}, {ruleNumber: 5, ruleAction: deny}]}]}",
            "vpc.networkAcls[0].egress[1].ruleNumber", "second entry", "another",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: [{ruleNumber: 5, ruleAction: allow, protocol: tpc}]}]}",
            "vpc.networkAcls[0].ingress[0].protocol", "no protocol", "tcp",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: [{ruleNumber: 5, ruleAction: allow, cidr: 10.0.0.1/8}]}]}",
            "vpc.networkAcls[0].ingress[0].cidr", "host bits", "10.0.0.0/8",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: ["
            "{ruleNumber: 5, ruleAction: allow, protocol: tcp, fromPort: 9, toPort: 8}]}]}",
            "vpc.networkAcls[0].ingress[0].toPort", "below", "",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: [{ruleNumber: 5, ruleAction: allow, protocol: icmp, fromPort: 300}]}]}",
            "vpc.networkAcls[0].ingress[0].fromPort", "no ICMP type", "255",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: [{ruleNumber: 5, ruleAction: allow, fromPort: 9}]}]}",
            "vpc.networkAcls[0].ingress[0].fromPort", "has no ports", "",
        ),
        ("vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: default}]}", "vpc.networkAcls[0].name", "default already", ""),
        ("vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w}, {name: w}]}", "vpc.networkAcls[1].name", "a second network ACL", ""),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: w, ingress: ["
            + ", ".join(f"{{ruleNumber: {n}, ruleAction: allow}}" for n in range(1, 22)) + "]}]}",
            "vpc.networkAcls[0].ingress", "has 21 entries", "remove",
        ),
        (
            "vpc: {cidr: 10.0.0.0/16, networkAcls: [{name: web}], subnets: [{name: a, cidr: 10.0.0.0/24, networkAcl: wbe}]}",
            "vpc.subnets[0].networkAcl", "no network ACL 'wbe'", "web",
        ),
    ],
)
def test_vpc(problems, text: str, field: str, message: str, hint: str) -> None:
    found = problems(text)
    assert len(found) == 1, [problem.text for problem in found]
    assert found[0].field == field
    assert message in found[0].message
    assert found[0].hint
    assert hint in found[0].hint
    assert found[0].place.line or not field


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        ("metadata: {name: Lab}", "metadata.name", "no name for a lab", "lower-case"),
        ("nodes: [{name: N, instanceType: t3.nano, subnet: a}]", "nodes[0].name", "no name for a node", "lower-case"),
        ("nodes: [{name: " + "n" * 33 + ", instanceType: t3.nano, subnet: a}]", "nodes[0].name", "no name for a node", "32"),
        (
            "nodes: [{name: " + "n" * 31 + ", count: 2, instanceType: t3.nano, subnet: a}]", "nodes[0].name", "no name for a node",
            "added behind",
        ),
        ("nodes: [{name: n, count: 0, instanceType: t3.nano, subnet: a}]", "nodes[0].count", "0 is no count", "1 to"),
        ("nodes: [{name: n, count: 1000000000, instanceType: t3.nano, subnet: a}]", "nodes[0].count", "is no count", ""),
        (
            "nodes: [{name: n, instanceType: t3.nanoo, subnet: a}]", "nodes[0].instanceType", "no instance type 't3.nanoo'",
            "did you mean t3.nano",
        ),
        ("nodes: [{name: n, instanceType: m5.9999xl, subnet: a}]", "nodes[0].instanceType", "no instance type", "m5.large"),
        ("nodes: [{name: n, instanceType: zzz, subnet: a}]", "nodes[0].instanceType", "no instance type", "for example"),
        ("nodes: [{name: n, instanceType: t3.nano, subnet: b}]", "nodes[0].subnet", "no subnet 'b'", "subnets: a"),
        (
            "nodes: [{name: n, instanceType: t3.nano, subnet: a, securityGroups: [web]}]", "nodes[0].securityGroups[0]",
            "no security group 'web'", "default",
        ),
        (
            "nodes: [{name: n, instanceType: t3.nano, subnet: a, sysctls: {kernel.pid_max: 1}}]", "nodes[0].sysctls.kernel.pid_max",
            "namespace", "net.",
        ),
        (NODE + "pods: [{name: p, node: n2}]", "pods[0].node", "no node 'n2'", "n1"),
        ("pods: [{name: p, node: n2}]", "pods[0].node", "no node 'n2'", "scheduler"),
        (NODE + "pods: [{name: P}]", "pods[0].name", "no name for a pod", "lower-case"),
        (NODE + "pods: [{name: a.b}]", "pods[0].name", "no name for a pod", ""),
        (NODE + "pods: [{name: p, namespace: '-x'}]", "pods[0].namespace", "no name for a namespace", ""),
        (NODE + "pods: [{name: p}, {name: p}]", "pods[1].name", "a second pod p; the first is in lab.yaml:6", "another name"),
        (NODE + "pods: [{name: n1}]", "pods[0].name", "has the name of node n1", "one space"),
        (NODE + "pods: [{name: internet}]", "pods[0].name", "the lab's own internet", "taken"),
        ("nodes: [{name: vpc, instanceType: t3.nano, subnet: a}]", "nodes[0].name", "the lab's own vpc", "taken"),
        (
            "nodes: [{name: n, count: 2, instanceType: t3.nano, subnet: a}, {name: n-2, instanceType: t3.nano, subnet: a}]",
            "nodes[1].name", "a second node n-2", "another name",
        ),
        (NODE + "pods: [{name: p, containers: [{name: c}, {name: c, command: x}]}]", "pods[0].containers[1].name", "a second container", ""),
        (
            NODE + "pods: [{name: p, containers: [{name: c}, {name: d}]}]", "pods[0].containers[1].serve",
            "tcp port 80 is served by container c", "serve:",
        ),
        (
            NODE + "pods: [{name: p, containers: [{name: c, command: x, serve: {tcp: 1}}]}]", "pods[0].containers[0].serve",
            "beside 'command'", "",
        ),
        (NODE + "pods: [{name: p, containers: [{name: c, command: 'a \"b'}]}]", "pods[0].containers[0].command", "quot", "close the quotes"),
        (NODE + "pods: [{name: p, containers: [{name: c, command: []}]}]", "pods[0].containers[0].command", "is empty", ""),
        (NODE + "pods: [{name: p, containers: [{name: c, serve: {tcp: 70000}}]}]", "pods[0].containers[0].serve.tcp", "is no port", ""),
        ("time: {factor: 0}", "time.factor", "is no factor", ""),
        ("seed: -1", "seed", "negative", ""),
        ("cni: {env: {WARM_ENI_TARGTE: 1}}", "cni.env.WARM_ENI_TARGTE", "no variable WARM_ENI_TARGTE", "did you mean WARM_ENI_TARGET"),
        ("cni: {kind: none, env: {A: 1}}", "cni.env", "nothing reads it", ""),
    ],
)
def test_cluster(problems, text: str, field: str, message: str, hint: str) -> None:
    if text.startswith("metadata"):
        found = problems("", "metadata.name=Lab")
    else:
        found = problems(text)
    assert len(found) == 1, [problem.text for problem in found]
    assert found[0].field == field
    assert message in found[0].message
    assert found[0].hint
    assert hint in found[0].hint


# ---- room -----------------------------------------------------------------------------------------------------------------


def test_more_pods_than_a_node_has_addresses_for(problems) -> None:
    found = problems(NODE + "pods: [{name: p1, node: n1}, {name: p2, node: n1}, {name: p3, node: n1}]")
    assert [problem.field for problem in found] == ["pods[2].node"]
    assert found[0].message == "3 pods on n1, but a t3.nano has 2 pod addresses here: 2 ENIs × (2 − 1)"
    assert "pending: allowed" in found[0].hint
    assert "max-pods is 4" in found[0].hint


def test_as_many_pods_as_addresses_fit(read) -> None:
    assert len(read(TWO_PODS).pods) == 2


def test_pods_of_the_host_network_need_no_address(read) -> None:
    host = "  - {name: h1, node: n1, hostNetwork: true}\n"
    assert len(read(NODE + "pods:\n  - {name: p1, node: n1}\n  - {name: p2, node: n1}\n" + host).pods) == 3


def test_pending_allowed_takes_more_pods(read) -> None:
    scenario = read(TWO_PODS + "pending: allowed\n", "pods=[{name: a, node: n1}, {name: b, node: n1}, {name: c, node: n1}]")
    assert scenario.pending_allowed
    assert len(scenario.pods) == 3


def test_all_pods_together_must_fit_too(problems) -> None:
    found = problems(NODE + "pods: [{name: p1, node: n1}, {name: p2}, {name: p3}]")
    assert [problem.field for problem in found] == ["pods[2]"]
    assert found[0].message == "3 pods, but 1 node with 2 pod addresses together"


def test_pods_without_nodes(problems) -> None:
    assert problems("pods: [{name: p1}]")[0].message == "1 pod, but no node"


def test_max_eni_lowers_the_room(problems) -> None:
    found = problems(TWO_PODS + "cni: {env: {MAX_ENI: 1}}")
    assert "1 pod address here: 1 ENI × (2 − 1)" in found[0].message


def test_a_count_gives_room_for_each_node(read) -> None:
    text = "nodes: [{name: n, count: 2, instanceType: t3.nano, subnet: a}]\npods: [{name: a}, {name: b}, {name: c}, {name: d, node: n-2}]"
    assert len(read(text).pods) == 4


def test_without_a_cni_no_pod_gets_an_address(problems) -> None:
    found = problems(NODE + "pods: [{name: p1, node: n1}]\ncni: {kind: none}")
    assert "cni.kind is none" in found[0].message


def test_more_nodes_than_the_subnet_has_addresses(problems) -> None:
    text = "vpc: {cidr: 10.0.0.0/16, subnets: [{name: a, cidr: 10.0.0.0/28}]}\nnodes: [{name: n, count: 12, instanceType: t3.nano, subnet: a}]"
    found = problems(text)
    assert [problem.field for problem in found] == ["vpc.subnets[0].cidr"]
    assert "12 nodes in a, but 10.0.0.0/28 has 11 addresses" in found[0].message


def test_two_pods_of_the_host_network_cannot_serve_one_port(problems) -> None:
    found = problems(NODE + "pods: [{name: h1, node: n1, hostNetwork: true}, {name: h2, node: n1, hostNetwork: true}]")
    assert "tcp port 80 of n1 is served by pod h1 already" in found[0].message


# ---- checks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "field", "message"),
    [
        ("{}", "checks[0]", "checks nothing"),
        ("{from: p1}", "checks[0]", "to is missing"),
        ("{to: p1}", "checks[0]", "from is missing"),
        ("{from: p1, to: p2, ec2: {node: n1, enis: 1}}", "checks[0]", "mixes from/to and ec2"),
        ("{from: p9, to: p2}", "checks[0].from", "no node or pod 'p9'"),
        ("{from: internet, to: p2}", "checks[0].from", "no node or pod 'internet'"),
        ("{from: p1, to: p22}", "checks[0].to", "no node or pod 'p22'"),
        ("{from: p1, to: p2, port: 80}", "checks[0].port", "icmp has no ports"),
        ("{from: p1, to: p2, protocol: tcp, port: 0}", "checks[0].port", "0 is no port"),
        ("{from: p1, to: p2, expect: dropped, source: 1.2.3.4}", "checks[0].source", "nobody sees"),
        ("{from: p1, to: p2, dropAt: vpc}", "checks[0].dropAt", "dropped nowhere"),
        ("{from: p1, to: p2, expect: dropped, dropAt: moon}", "checks[0].dropAt", "no place and no check"),
        ("{from: p1, to: p2, source: there}", "checks[0].source", "no address and no placeholder"),
        ("{from: p1, to: p2, source: '${n9}'}", "checks[0].source", "no node or pod 'n9'"),
        ("{from: p1, to: p2, source: '${n1.publicIP}'}", "checks[0].source", "a node has no 'publicIP'"),
        ("{ec2: {node: p1, enis: 1}}", "checks[0].ec2.node", "no node 'p1'"),
        ("{ec2: {node: n1}}", "checks[0].ec2", "compares nothing"),
        ("{kernel: {target: n1, command: ip rule}}", "checks[0].kernel", "compares nothing"),
        ("{kernel: {target: n2, command: ip rule, contains: x}}", "checks[0].kernel.target", "no node or pod 'n2'"),
        ("{kernel: {target: n1, command: '', contains: x}}", "checks[0].kernel.command", "is empty"),
        ("{kernel: {target: n1, command: ip rule, equals: '${p1.mac}'}}", "checks[0].kernel", "a pod has no 'mac'"),
    ],
)
def test_checks(problems, check: str, field: str, message: str) -> None:
    found = problems(TWO_PODS + f"checks: [{check}]")
    assert len(found) == 1, [problem.text for problem in found]
    assert found[0].field == field
    assert message in found[0].message
    assert found[0].hint


@pytest.mark.parametrize("to", ["internet", "8.8.8.8", "'8.8.8.8:80'", "default/p2", "pod/p2", "pod/default/p2", "node/n1", "n1"])
def test_targets_that_checks_take(read, to: str) -> None:
    assert read(TWO_PODS + f"checks: [{{from: p1, to: {to}}}]").checks


def test_a_pod_name_in_two_namespaces_is_ambiguous(problems) -> None:
    text = NODE + "pods: [{name: p1}, {name: p1, namespace: other}]\nchecks: [{from: p1, to: n1}, {from: other/p1, to: n1}]"
    found = problems(text)
    assert [problem.field for problem in found] == ["checks[0].from"]
    assert "means 2 things" in found[0].message


# ---- what comes later -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", LATER)
def test_keys_that_come_later_are_refused_by_name(pattern: str) -> None:
    *above, key = pattern.split(".")
    inner: dict[str, object] = {key: []}
    for step in reversed(above):
        inner = {step[:-2]: [inner]} if step.endswith("[]") else {step: inner}
    document = {"apiVersion": "labnet/v1", "kind": "Lab", "metadata": {"name": "lab"}, **inner}
    with pytest.raises(ScenarioProblems) as caught:
        scenario_file.parse(yaml.safe_dump(document), "x.yaml", types={})
    mine = [problem for problem in caught.value.problems if problem.field.endswith(key)]
    assert len(mine) == 1
    assert f"{key} is not there yet" in mine[0].message
    assert mine[0].hint == "remove the key"


@pytest.mark.parametrize("kind", ["kubenet", "calico", "multus"])
def test_cni_kinds_that_come_later(problems, kind: str) -> None:
    assert "is not there yet" in problems(f"cni: {{kind: {kind}}}")[0].message
