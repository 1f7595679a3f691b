"""Custom networking with real packets: addresses of the ENIConfig's subnet, its security groups or the first ENI's, and nothing without it."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

TEXT = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: custom}}
vpc:
  cidrs: [10.10.0.0/16, 100.64.0.0/16]
  internetGateway: true
  subnets:
    - {{name: nodes-a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}}
    - {{name: pods-a, cidr: 100.64.0.0/24, availabilityZone: us-west-2a}}
  securityGroups:
    - {{name: nodes, ingress: [{{protocol: tcp, fromPort: 80, cidr: 0.0.0.0/0}}]}}
    - {{name: pods, ingress: [{{protocol: tcp, fromPort: 8080, cidr: 0.0.0.0/0}}]}}
nodes:
  - {{name: node1, instanceType: t3.small, subnet: nodes-a, securityGroups: [nodes]}}
  - {{name: node2, instanceType: t3.small, subnet: nodes-a, securityGroups: [nodes]}}
cni: {{dialect: "{dialect}", env: {{AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: "true"}}}}
time: {{factor: 60}}
pending: allowed
pods: [{{name: one, node: node1}}, {{name: two, node: node2}}]
objects: [{objects}]
"""
ENI_CONFIG = (
    "{{apiVersion: crd.k8s.amazonaws.com/v1alpha1, kind: ENIConfig, metadata: {{name: default}}, "
    "spec: {{subnet: pods-a, securityGroups: [{groups}]}}}}"
)
CONNECT = "import socket,sys; s = socket.socket(); s.settimeout(2); sys.exit(s.connect_ex((sys.argv[1], int(sys.argv[2]))) != 0)"


def text(groups: str | None, dialect: str = "1.23") -> str:
    """The scenario; `groups` None = without an ENIConfig."""
    return TEXT.format(dialect=dialect, objects="" if groups is None else ENI_CONFIG.format(groups=groups))


def connects(labs: Labs, source: str, address: str, port: int) -> bool:
    done = labs.run("--lab", labs.name, "exec", source, "--", "python3", "-c", CONNECT, address, str(port), ok=(0, 1))
    return done.returncode == 0


def drop_of(labs: Labs, source: str, target: str, port: int) -> Any:
    done = labs.run("--lab", labs.name, "trace", source, target, "--port", str(port), "-o", "json", ok=(0, 3))
    path = json.loads(done.stdout)
    return None if path["delivered"] else path["drop"]["check"]


@pytest.mark.parametrize("dialect", ["1.6", "1.23"])
def test_pods_live_in_the_eni_configs_subnet_and_groups(labs: Labs, dialect: str) -> None:
    labs.up("-", stdin=text("pods", dialect))
    for name in ("one", "two"):
        pod = labs.pod(name)
        assert (pod["phase"], pod["device"], pod["table"]) == ("Running", "eth1", 2)
        assert ip_address(pod["ip"]) in ip_network("100.64.0.0/24")
    for node in ("node1", "node2"):
        enis = labs.node(node)["enis"]
        assert [eni["subnet"] for eni in enis] == ["nodes-a", *["pods-a"] * (len(enis) - 1)]
        assert enis[0]["addresses"] == {"used": 0, "warm": 0, "cooling": 0, "max": 0}, "the first one never serves pods"
        assert enis[1]["addresses"]["max"] == 4 - 1
        assert labs.node(node)["maxPods"] == (3 - 1) * (4 - 1) + 2
    other = labs.pod("two")["ip"]
    assert connects(labs, "one", other, 8080)
    assert not connects(labs, "one", other, 80)
    assert drop_of(labs, "one", "two", 80) == "security-group-ingress"
    assert connects(labs, "one", "1.1.1.1", 80)  # out by eth0: the ENIConfig's subnet has no way to the internet
    assert connects(labs, "node1", other, 8080)


def test_an_eni_config_without_groups_takes_the_first_enis(labs: Labs) -> None:
    labs.up("-", stdin=text(""))
    other = labs.pod("two")["ip"]
    assert ip_address(other) in ip_network("100.64.0.0/24")
    assert connects(labs, "one", other, 80)
    assert not connects(labs, "one", other, 8080)
    assert drop_of(labs, "one", "two", 8080) == "security-group-ingress"


def test_without_an_eni_config_pods_are_never_ready_until_there_is_one(labs: Labs) -> None:
    labs.up("-", stdin=text(None))
    assert {labs.pod(name)["phase"] for name in ("one", "two")} == {"Pending"}
    assert {labs.node(name)["ready"] for name in ("node1", "node2")} == {False}
    assert [len(labs.node(name)["enis"]) for name in ("node1", "node2")] == [1, 1]
    told = [json.loads(line) for line in labs.run("--lab", labs.name, "events", "-o", "json").stdout.splitlines()]
    assert any("ENIConfig default" in event["message"] for event in told if event["object"] == "node/node1")
    assert labs.inside("one", "ip", "-br", "-4", "addr").split() == []
    labs.up("-", "--timeout", "900s", stdin=text("pods").replace("pending: allowed", ""))  # ipamd's next start is a few minutes away
    assert {labs.pod(name)["phase"] for name in ("one", "two")} == {"Running"}
    assert connects(labs, "one", labs.pod("two")["ip"], 8080)
