"""`labnet set env aws-node` on a real lab: daemons roll, packets go on, the node's kernel, new pods, logs and ENIs follow."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labnet.model.names import host_link
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

BASE = """\
apiVersion: labnet/v1
kind: Lab
metadata: {{name: roll}}
vpc:
  cidr: 10.10.0.0/16
  internetGateway: true
  subnets: [{{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}}]
nodes:
  - {{name: node1, instanceType: t3.medium, subnet: a, iptables: {iptables}}}
  - {{name: node2, instanceType: t3.medium, subnet: a, iptables: {iptables}}}
cni: {{env: {{WARM_IP_TARGET: 1}}}}
time: {{factor: 10}}
pods:
{pods}
"""


def scenario(*more: str, iptables: str = "nft") -> str:
    """Seven pods on node1, of which the sixth is the first on eth1, and one on node2."""
    pods = [f"  - {{name: p{n}, node: node1}}" for n in range(1, 8)] + ["  - {name: far, node: node2}"] + list(more)
    return BASE.format(pods="\n".join(pods), iptables=iptables)


@pytest.fixture
def lab(labs: Labs) -> Iterator[Labs]:
    labs.up("-", stdin=scenario())
    yield labs


def set_env(lab: Labs, *words: str, ok: int = 0) -> str:
    return lab.run("--lab", lab.name, "set", "env", "aws-node", *words, ok=ok).stderr


def node_file(lab: Labs, path: str, node: str = "node1") -> Path:
    return lab.run_dir / lab.name / "nodes" / node / path


def mtu(lab: Labs, target: str, link: str) -> int:
    return int(json.loads(lab.inside(target, "ip", "-j", "link", "show", link))[0]["mtu"])


def eventually(seen: Any, wanted: Any, limit_s: float = 60.0) -> None:
    """Wait on a condition, with a deadline."""
    end_s = time.monotonic() + limit_s
    while (last := seen()) != wanted and time.monotonic() < end_s:
        time.sleep(0.2)
    assert last == wanted


class Pinging:
    """An unbroken stream of echo requests from a pod."""

    def __init__(self, lab: Labs, source: str, address: str) -> None:
        command = ["ip", "netns", "exec", f"{lab.name}-{source}", "ping", "-q", "-n", "-i", "0.02", "-W", "2", address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Pinging:
        return self

    def __exit__(self, *what: object) -> None:
        self._process.send_signal(signal.SIGINT)
        said, _error = self._process.communicate(timeout=20)
        self.sent, self.received = (int(word) for word in re.findall(r"(\d+) packets transmitted, (\d+) received", said)[0])


def test_packets_of_pods_go_on_and_new_pods_follow_the_new_settings(lab: Labs) -> None:
    far = lab.pod("far")["ip"]
    second = next(pod for pod in lab.status()["pods"] if pod["device"] == "eth1")
    before = {pod["name"]: (pod["ip"], pod["hostLink"]) for pod in lab.status()["pods"]}
    with Pinging(lab, "p1", far) as first_eni, Pinging(lab, second["name"], far) as second_eni:
        said = set_env(lab, "AWS_VPC_K8S_CNI_VETHPREFIX=veth", "AWS_VPC_ENI_MTU=1300", "WARM_IP_TARGET=2")
    assert "2 nodes rolled" in said
    for stream in (first_eni, second_eni):
        assert stream.sent > 15
        assert stream.received >= stream.sent - 1, "the last one may be under way when it is stopped"
    assert {pod["name"]: (pod["ip"], pod["hostLink"]) for pod in lab.status()["pods"]} == before
    assert (mtu(lab, "node1", "eth0"), mtu(lab, "node1", "eth1"), mtu(lab, "p1", "eth0")) == (1300, 1300, 9001)

    again = lab.up("-", stdin=scenario("  - {name: new, node: node1}"))
    assert "aws-node keeps what 'labnet set env' made it: AWS_VPC_ENI_MTU=1300" in again.stderr
    new = lab.pod("new")
    assert new["hostLink"] == host_link("default", "new", "veth")
    assert (mtu(lab, "node1", new["hostLink"]), mtu(lab, "new", "eth0")) == (1300, 1300)

    set_env(lab, "POD_MTU=1280")
    lab.up("-", stdin=scenario("  - {name: new, node: node1}", "  - {name: newer, node: node1}"))
    newer = lab.pod("newer")
    assert (mtu(lab, "node1", newer["hostLink"]), mtu(lab, "newer", "eth0"), mtu(lab, "node1", "eth0")) == (1280, 1280, 1300)
    assert {one["name"] for one in lab.status()["pods"] if one["phase"] == "Running"} == {*before, "new", "newer"}
    assert "nothing to do" in lab.run("--lab", lab.name, "plan").stderr


@pytest.mark.parametrize("iptables", ["nft", "legacy"])
def test_the_nodes_filter_follows_and_comes_back(labs: Labs, iptables: str) -> None:
    labs.up("-", stdin=scenario(iptables=iptables))

    def aws() -> list[str]:
        program = "iptables-nft-save" if iptables == "nft" else "iptables-legacy-save"
        lines = [line for table in ("nat", "mangle") for line in labs.inside("node1", program, "-t", table).splitlines()]
        return [line for line in lines if "AWS" in line] + sorted(labs.inside("node1", "nft", "list", "tables", "ip").splitlines())

    before, rules = aws(), labs.inside("node1", "ip", "rule")
    assert any("SNAT --to-source" in line for line in before)
    set_env(labs, "AWS_VPC_K8S_CNI_EXTERNALSNAT=true")
    outside = aws()
    assert not any("SNAT --to-source" in line or "AWS-CONNMARK" in line or "aws-cni" in line for line in outside)
    set_env(labs, "AWS_VPC_K8S_CNI_EXTERNALSNAT-", "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=192.168.0.0/16")
    assert any("-d 192.168.0.0/16" in line and "EXCLUSION" in line for line in aws())
    set_env(labs, "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS-")
    assert (aws(), labs.inside("node1", "ip", "rule")) == (before, rules)
    assert "nothing to do" in labs.run("--lab", labs.name, "plan").stderr


def test_logs_go_where_the_settings_say(lab: Labs) -> None:
    ipamd, plugin = node_file(lab, "var/log/aws-routed-eni/ipamd.log"), node_file(lab, "var/log/aws-routed-eni/plugin.log")
    lines = [json.loads(line) for line in ipamd.read_text().splitlines()]
    assert {"level", "ts", "msg"} == set(lines[0])
    assert "Starting L-IPAMD" in lines[0]["msg"]
    assert any(lab.pod("p1")["ip"] in line["msg"] for line in lines)
    assert lab.pod("p1")["hostLink"] in plugin.read_text()
    assert lab.run("--lab", lab.name, "logs", "node1").stdout == ipamd.read_text()
    assert lab.run("--lab", lab.name, "logs", "node1", "--plugin", "--tail", "1").stdout == plugin.read_text().splitlines(True)[-1]
    assert "Starting L-IPAMD" in lab.run("--lab", lab.name, "exec", "node1", "--", "head", "-1", "/var/log/aws-routed-eni/ipamd.log").stdout

    set_env(lab, "AWS_VPC_K8S_CNI_LOG_FILE=/host/var/log/aws-routed-eni/new.log", "AWS_VPC_K8S_CNI_LOGLEVEL=INFO",
            "AWS_VPC_K8S_PLUGIN_LOG_FILE=/var/log/other.log")
    new = node_file(lab, "var/log/aws-routed-eni/new.log")
    before = ipamd.read_text()
    lab.up("-", stdin=scenario("  - {name: new, node: node1}"))
    address = lab.pod("new")["ip"]
    eventually(lambda: address in new.read_text() and address in node_file(lab, "var/log/other.log").read_text(), True)
    assert {json.loads(line)["level"] for line in new.read_text().splitlines()} <= {"info", "warn", "error"}
    assert ipamd.read_text() == before, "and the old one is left as it was"
    assert lab.run("--lab", lab.name, "logs", "node1").stdout == new.read_text()

    set_env(lab, "AWS_VPC_K8S_CNI_LOG_FILE=stdout")
    assert "ipamd on node1" in (lab.run_dir / lab.name / "lab.log").read_text()
    assert "ipamd on node1" in lab.run("--lab", lab.name, "logs", "node1").stdout


def test_tags_of_new_enis_follow(lab: Labs) -> None:
    tags = '{"team": "net", "node.k8s.amazonaws.com/mine": "no"}'
    set_env(lab, f"ADDITIONAL_ENI_TAGS={tags}", "CLUSTER_NAME=prod", "WARM_IP_TARGET-", "WARM_ENI_TARGET=2")
    eventually(lambda: [len(node["enis"]) for node in lab.status()["nodes"]], [3, 3])
    client = ec2_client(lab)
    found = client.describe_network_interfaces()["NetworkInterfaces"]
    assert len(found) == 6
    for eni in found:
        have = {item["Key"]: item["Value"] for item in eni["TagSet"]}
        assert (have["team"], have["cluster.k8s.amazonaws.com/name"]) == ("net", "prod")
        assert "node.k8s.amazonaws.com/mine" not in have


def test_what_the_checkpoint_holds_of_a_pod_without_veth_goes_with_its_rules(lab: Labs) -> None:
    gone = next(pod for pod in lab.status()["pods"] if pod["device"] == "eth1")
    kept = next(pod for pod in lab.status()["pods"] if pod["device"] == "eth1" and pod["name"] != gone["name"])
    rules = lab.inside("node1", "ip", "rule")
    assert f"from {gone['ip']} lookup 2" in rules and f"to {gone['ip']} lookup main" in rules
    path = node_file(lab, "var/run/aws-node/ipam.json")
    assert gone["ip"] in path.read_text()
    lab.inside("node1", "ip", "link", "del", gone["hostLink"])
    lab.inside("node1", "ip", "rule", "del", "from", kept["ip"], "priority", "1536")
    lab.inside("node1", "ip", "rule", "add", "from", kept["ip"], "lookup", "2", "priority", "1400")
    set_env(lab, "WARM_IP_TARGET=2")
    rules = lab.inside("node1", "ip", "rule")
    assert gone["ip"] not in rules
    assert f"1536:\tfrom {kept['ip']} lookup 2" in rules and "1400:" not in rules
    held = [entry["ipv4"] for entry in json.loads(path.read_text())["allocations"]]
    assert gone["ip"] not in held and kept["ip"] in held
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_backing_store_begins_empty_and_stands_where_it_was_put(lab: Labs) -> None:
    set_env(lab, "AWS_VPC_K8S_CNI_BACKING_STORE=/var/run/aws-node/mine.json")
    lab.up("-", stdin=scenario("  - {name: new, node: node2}"))
    held = json.loads(node_file(lab, "var/run/aws-node/mine.json", "node2").read_text())["allocations"]
    assert [entry["metadata"]["k8sPodName"] for entry in held] == ["new"]


def test_what_cannot_be_taken_changes_nothing(lab: Labs) -> None:
    events = lab.run("--lab", lab.name, "events", "-o", "json").stdout
    refused = lab.run("--lab", lab.name, "set", "env", "aws-node", "POD_MTU=100", "ENABLE_POD_ENI=true", ok=2).stderr
    assert "ENABLE_POD_ENI=true is not supported by labnet yet; POD_MTU=100 cannot be taken" in refused
    assert lab.run("--lab", lab.name, "events", "-o", "json").stdout == events
    assert lab.run("--lab", lab.name, "set", "env", "aws-node", "--list").stdout == "WARM_IP_TARGET=1\n"
    bad = lab.run("validate", "-", stdin=scenario().replace("WARM_IP_TARGET: 1", "IP_COOLDOWN_PERIOD: -3"), ok=2).stderr
    assert ":11: cni.env.IP_COOLDOWN_PERIOD: IP_COOLDOWN_PERIOD=-3 cannot be taken" in bad and "0 or more" in bad


def test_after_the_labs_process_died_up_says_that_the_settings_are_gone(lab: Labs) -> None:
    set_env(lab, "WARM_IP_TARGET=3", "MAX_ENI=2")
    lab.kill_process()
    again = lab.up("-", stdin=scenario())
    assert "settings of 'labnet set env' go with it: MAX_ENI=2 WARM_IP_TARGET=3" in again.stderr
    assert lab.status()["changedEnv"] == {}


def ec2_client(lab: Labs) -> Any:
    """boto3, pointed at the lab."""
    import boto3

    env = json.loads(lab.run("--lab", lab.name, "env", "-o", "json").stdout)["env"]
    return boto3.client(
        "ec2", endpoint_url=env["AWS_ENDPOINT_URL_EC2"], region_name=env["AWS_REGION"], aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
