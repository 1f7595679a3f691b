from __future__ import annotations

import pytest

from labnet.model.cluster import ContainerSpec
from labnet.model.scenario import Ec2Check, KernelCheck, PacketCheck

NODE = "nodes: [{name: n1, instanceType: m5.large, subnet: a}]\n"


def test_a_count_numbers_always_even_one(read) -> None:
    nodes = read("nodes: [{name: n, count: 1, instanceType: t3.nano, subnet: a}, {name: m, count: 2, instanceType: t3.nano, subnet: a}]").nodes
    assert [node.name for node in nodes] == ["n-1", "m-1", "m-2"]


def test_vpc_is_short_for_a_list(read) -> None:
    one = read("vpc: {cidr: 10.0.0.0/16}").vpcs
    several = read("vpcs: [{name: vpc, cidrs: [10.0.0.0/16]}]").vpcs
    assert one == several
    assert one[0].name == "vpc"


def test_vpcs_may_overlap_one_another_as_on_aws(read) -> None:
    assert len(read("vpcs: [{name: x, cidr: 10.0.0.0/16}, {name: y, cidr: 10.0.0.0/16}]").vpcs) == 2


def test_security_groups_in_their_long_form(read) -> None:
    groups = "[{name: w, ingress: [{protocol: tcp, fromPort: 80, cidr: 0.0.0.0/0}, {protocol: -1, group: w}]}, {name: x, egress: []}]"
    web, shut = read(f"vpc: {{cidr: 10.0.0.0/16, securityGroups: {groups}}}").vpcs[0].security_groups
    assert web.ingress == ({"protocol": "tcp", "fromPort": 80, "toPort": 80, "cidr": "0.0.0.0/0"}, {"protocol": "-1", "group": "w"})
    assert web.egress == ({"protocol": "-1", "cidr": "0.0.0.0/0"},), "nothing said: everything may leave"
    assert shut.egress == (), "an empty list: nothing may leave"


def test_pods_and_containers(read) -> None:
    text = NODE + """
pods:
  - name: p
    namespace: shop
    labels: {app: web}
    containers: [{name: c, command: sleep 'a b'}, {name: d, serve: {tcp: 8080, udp: 7}}, {name: e, command: [x, y z]}]
"""
    pod = read(text).pods[0]
    assert (pod.name, pod.namespace, pod.node, pod.labels) == ("p", "shop", "", {"app": "web"})
    assert pod.containers == (
        ContainerSpec("c", ("sleep", "a b")), ContainerSpec("d", (), (("tcp", 8080), ("udp", 7))), ContainerSpec("e", ("x", "y z")),
    )


def test_sysctls_get_slashes_and_keep_those_they_have(read) -> None:
    node = read("nodes: [{name: n, instanceType: t3.nano, subnet: a, sysctls: {net.ipv4.ip_forward: 0, net/ipv4/conf/a.b/x: 1}}]").nodes[0]
    assert node.sysctls == {"net/ipv4/ip_forward": "0", "net/ipv4/conf/a.b/x": "1"}


def test_checks(read) -> None:
    text = NODE + """
pods: [{name: p1}]
checks:
  - {from: p1, to: internet, protocol: tcp, port: 80, source: "${n1.publicIp}"}
  - {from: p1, to: n1, expect: dropped, dropAt: source-dest-check}
  - {ec2: {node: n1, enis: 2}}
  - {kernel: {target: n1, command: ip rule, contains: one}}
  - {kernel: {target: n1, command: [ip, rule], contains: [one, two], equals: "x"}}
"""
    assert read(text).checks == (
        PacketCheck("p1", "internet", "tcp", 80, source="${n1.publicIp}"),
        PacketCheck("p1", "n1", expect="dropped", drop_at="source-dest-check"),
        Ec2Check("n1", 2),
        KernelCheck("n1", ("ip", "rule"), ("one",)),
        KernelCheck("n1", ("ip", "rule"), ("one", "two"), "x"),
    )


def test_settings(read) -> None:
    scenario = read("kubelet: {exec: always}\ntime: {factor: 60}\nseed: 3\npending: allowed\n")
    assert (scenario.kubelet_exec, scenario.time_factor, scenario.seed, scenario.pending_allowed) == ("always", 60.0, 3, True)


@pytest.mark.parametrize("key", ["publicIp: false", "iptables: legacy"])
def test_what_nodes_may_say(read, key: str) -> None:
    node = read(f"nodes: [{{name: n, instanceType: t3.nano, subnet: a, {key}}}]").nodes[0]
    assert (node.public_ip, node.iptables) in ((False, "auto"), (None, "legacy"))
