"""The current VPC CNI's kernel state on two m5.large nodes, containers that share a pod, and both carriers of the plugin."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    user = Labs(tmp_path_factory.mktemp("c"))
    user.up("eks-current")
    yield user
    user.close()


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def rules_of(listing: str) -> list[str]:
    return [line for line in lines(listing) if line.startswith(("-A", ":AWS"))]


def test_its_own_checks_hold(current: Labs) -> None:
    document = json.loads(current.run("--lab", current.name, "check", "-o", "json").stdout)
    assert [one["title"] for one in document["checks"] if not one["ok"]] == []


def test_ip_rule_of_a_pod_on_the_second_eni(current: Labs) -> None:
    pod, eni = current.pod("web-12"), current.node("node1")["enis"][1]
    assert (pod["device"], pod["table"]) == ("eth1", 2)
    rules = lines(current.inside("node1", "ip", "rule"))
    assert f"1536:\tfrom {pod['ip']} lookup 2" in rules
    assert f"32765:\tfrom {eni['ip']} lookup 2" in rules
    assert "1024:\tfrom all fwmark 0x80/0x80 lookup main" in rules
    assert sum(rule.startswith("512:") for rule in rules) == 12
    assert sum(rule.startswith("1536:") for rule in rules) == 3


def test_snat_and_connmark_of_the_node(current: Labs) -> None:
    node = current.node("node1")["ip"]
    returns = '-A AWS-SNAT-CHAIN-0 -d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN'
    masks = (
        '-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL '
        f"-j SNAT --to-source {node} --random-fully"
    )
    nat = rules_of(current.inside("node1", "iptables-save", "-t", "nat"))
    assert [rule for rule in nat if "AWS-SNAT-CHAIN-0 " in rule] == [":AWS-SNAT-CHAIN-0 - [0:0]", returns, masks]
    mangle = rules_of(current.inside("node1", "iptables-save", "-t", "mangle"))
    assert [rule.split()[3] for rule in mangle] == ["eth0", "eni+", "vlan+"]
    table = current.inside("node1", "nft", "list", "table", "ip", "aws-cni")
    assert "type nat hook prerouting priority dstnat + 10; policy accept;" in table
    assert "ct mark set ct mark | 0x00000080" in table


def test_off_vpc_traffic_of_a_pod_on_eth1_leaves_by_eth0(current: Labs) -> None:
    """The mark of nat PREROUTING, rule 1024, table main, SNAT: the flow that the truth table of the VPC CNI has."""
    done = current.run("--lab", current.name, "trace", "web-12", "8.8.8.8", "-o", "json")
    path = json.loads(done.stdout)
    out = [hop for hop in path["hops"] if hop["netns"] == f"{current.name}-node1" and hop["direction"] == "out"]
    assert [hop["link"] for hop in out] == ["eth0"]
    assert path["delivered"] is True


CONTAINERS = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: both}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}}]
nodes: [{{name: node1, instanceType: t3.small, subnet: a}}]
cni: {{kind: vpc, dialect: "{dialect}", env: {{MAX_ENI: 2}}}}
kubelet: {{exec: {carrier}}}
pods: [{pods}]
"""


LISTINGS = ("ip rule", "ip -4 route show table all", "ip -4 -br addr", "ip neigh show nud permanent", "iptables-save -t nat")
FILES = ("/var/run/aws-node/ipam.json", "/etc/cni/net.d/10-aws.conflist")
ONE = '{name: one, containers: [{name: web, serve: {tcp: 8080}}, {name: side, command: [sleep, "300"]}]}'
PODS = (ONE, "{name: two}", "{name: three}", "{name: four}")


def test_containers_of_a_pod_reach_each_other_on_loopback(labs: Labs) -> None:
    labs.up("-", stdin=CONTAINERS.format(dialect="1.23", carrier="auto", pods=ONE))
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/', timeout=10).read().decode())"
    answer = json.loads(labs.run("--lab", labs.name, "exec", "one", "--", "python3", "-c", fetch).stdout)
    assert answer["you"] == "127.0.0.1"
    assert "sleep" in labs.run("--lab", labs.name, "exec", "one", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout


def test_the_executable_works_where_labs_usually_live(labs: Labs) -> None:
    """Below /run, which a node's view may have to overlay, the plugin still reaches its daemon."""
    labs.run_dir = Path(tempfile.mkdtemp(prefix="lnt", dir="/run"))
    labs.environ["LABNET_RUN_DIR"] = str(labs.run_dir)
    try:
        labs.up("-", stdin=CONTAINERS.format(dialect="1.6", carrier="always", pods=ONE))
        assert labs.pod("one")["phase"] == "Running"
        sees = labs.run("--lab", labs.name, "exec", "node1", "--", "cat", *FILES).stdout
        assert labs.pod("one")["ip"] in sees and '"aws-cni"' in sees
        labs.run("down", labs.name)
    finally:
        labs.close()
        shutil.rmtree(labs.run_dir, ignore_errors=True)


@pytest.mark.parametrize("dialect", ["1.6", "1.23"])
def test_the_executable_and_the_call_in_process_leave_the_same(labs: Labs, dialect: str) -> None:
    seen = []
    for carrier in ("auto", "always"):
        for count in range(len(PODS)):  # one after the other, so that both times each gets the same address
            labs.up("-", stdin=CONTAINERS.format(dialect=dialect, carrier=carrier, pods=", ".join(PODS[: count + 1])))
        status = labs.status()
        results = labs.run_dir / labs.name / "nodes/node1/var/lib/cni/results"
        documents = [json.loads(path.read_text()) for path in sorted(results.iterdir())]
        listings = {
            (target, command): [line for line in lines(labs.inside(target, *command.split())) if not line.startswith("#")]
            for target in ("node1", "one", "four") for command in LISTINGS
        }
        seen.append((status["pods"], [document["result"] for document in documents], listings))
        labs.run("down", labs.name)
    for first, second in zip(*seen, strict=True):
        assert first == second
