"""A lab with networks outside of AWS: whose address they see, what they say of packets that are too big, and what EC2 changes at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from world_runner import RunningWorld

from labnet.errors import UsageError
from labnet.lab.verbs import Verbs
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel
DB, DESK, PLC = "192.168.10.20", "192.168.10.30", "172.20.0.5"
WHO = 'import json, urllib.request; print(json.load(urllib.request.urlopen("http://192.168.10.20:8080/", timeout=5))["you"])'


def asked(lab: RunningWorld, verb: str, source: str, target: str, **more: Any) -> dict[str, Any]:
    return dict(asyncio.run(getattr(Verbs(lab.world), verb)({"from": source, "to": target, **more}, lambda event: None)))


@pytest.fixture(scope="module")
def hybrid() -> Iterator[RunningWorld]:
    with contextlib.closing(RunningWorld("vpc-hybrid")) as lab:
        yield lab


def test_whose_address_the_office_sees_follows_the_setting(labs: Labs) -> None:
    labs.up("vpc-hybrid", "--set", "time.factor=10")
    assert labs.inside("pod2", "python3", "-c", WHO).strip() == address(labs, "pod2")
    labs.run("--lab", labs.name, "set", "env", "aws-node", "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS-")
    assert labs.inside("pod2", "python3", "-c", WHO).strip() == address(labs, "node1"), "translated, as to the Internet"
    labs.run("--lab", labs.name, "set", "env", "aws-node", "AWS_VPC_K8S_CNI_EXTERNALSNAT=true")
    assert labs.inside("pod2", "python3", "-c", WHO).strip() == address(labs, "pod2")


def address(labs: Labs, name: str) -> str:
    status = labs.status()
    return next(str(one["ip"]) for one in (*status["pods"], *status["nodes"]) if one["name"] == name)


def test_targets_outside(labs: Labs) -> None:
    labs.up("vpc-hybrid")
    assert f"inet {DESK}/32" in labs.run("--lab", labs.name, "exec", "db", "--", "ip", "addr", "show", "lo").stdout
    assert labs.run("--lab", labs.name, "exec", "onprem", "--", "ping", "-c1", "-W2", address(labs, "node1")).returncode == 0
    document = json.loads(labs.run("--lab", labs.name, "trace", "desk", "pod1", "--protocol", "tcp", "--port", "8080", "-o", "json").stdout)
    assert document["delivered"] and document["hops"][0]["frame"]["src"] == DESK
    assert [hop["netns"].removeprefix(f"{labs.name}-") for hop in document["hops"]][:4] == ["onprem", "vgw", "vgw", "vpc"]
    assert "did you mean plant?" in labs.run("--lab", labs.name, "trace", "pod1", "plnt", ok=5).stderr
    labs.run("down", labs.name)
    assert labs.namespaces() == []


@pytest.mark.parametrize(("pod", "target", "mtu"), [("pod1", DB, 1446), ("pod2", DB, 1446), ("pod1", PLC, 1500), ("pod2", PLC, 1500)])
def test_pods_learn_the_size_of_the_path(hybrid: RunningWorld, pod: str, target: str, mtu: int) -> None:
    """pod1 sits on eth0, pod2 on eth1."""
    words = ("ping", "-n", "-c2", "-W2", "-M", "do", "-s", str(mtu - 27), target)
    said = hybrid.kernel.run(f"{hybrid.name}-{pod}", words)
    assert f"mtu = {mtu}" in said.stdout or f"mtu={mtu}" in said.stdout
    (route,) = json.loads(hybrid.inside(pod, "ip", "-j", "route", "get", target))
    assert route["metrics"][0]["mtu"] == mtu
    assert hybrid.inside(pod, "ping", "-n", "-c1", "-W5", "-M", "do", "-s", str(mtu - 28), target)
    assert hybrid.inside(pod, "ping", "-n", "-c1", "-W5", "-M", "dont", "-s", "4000", target), "what may be fragmented is"


def test_verdicts_are_what_pings_say(hybrid: RunningWorld) -> None:
    pods = {pod.name: pod.ip for pod in hybrid.world.pods()}
    nodes = {node["name"]: node["ip"] for node in hybrid.world.status()["nodes"]}
    outside = {"db": DB, "desk": DESK, "plc": PLC, "192.168.99.99": "192.168.99.99"}
    verdicts = set()
    pairs = [(inside, name) for inside in (*pods, *nodes) for name in outside]
    pairs += [(name, inside) for name in ("db", "plc") for inside in (*pods, *nodes)]
    for source, target in pairs:
        netns = {"db": "onprem", "plc": "onprem.plant"}.get(source, source)
        found = asked(hybrid, "explain", source, target)
        arrives = hybrid.pings(netns, {**pods, **nodes, **outside}[target], expected=found["reachable"])
        assert found["reachable"] == arrives, (source, target, found["components"])
        verdicts.add(found["reachable"])
    assert verdicts == {True, False}
    assert not asked(hybrid, "explain", "db", "8.8.8.8")["reachable"]
    with pytest.raises(UsageError, match="both ends are outside of AWS"):
        asked(hybrid, "explain", "db", "plc")


def test_a_whole_lab_by_the_api_alone(hybrid: RunningWorld) -> None:
    """Detached, attached, propagated, by static route: packets follow at once."""
    aws, pod, vpc = hybrid.aws, "pod1", next(iter(hybrid.world.ec2.state.vpcs))
    (gateway,) = (one["VpnGatewayId"] for one in aws("DescribeVpnGateways")["VpnGateways"])
    (shown,) = aws("DescribeVpnConnections")["VpnConnections"]
    assert {one["Status"] for one in shown["VgwTelemetry"]} == {"UP"}
    (table,) = aws("DescribeRouteTables", Filters=[{"Name": "route.origin", "Values": ["EnableVgwRoutePropagation"]}])["RouteTables"]
    assert hybrid.pings(pod, DB)
    aws("DetachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    assert not hybrid.pings(pod, DB, expected=False)
    assert not hybrid.kernel.exists(f"{hybrid.name}-vgw")
    assert hybrid.world.status()["onPremises"][0]["connections"] == []
    aws("AttachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    assert hybrid.pings(pod, DB)
    aws("DisableVgwRoutePropagation", GatewayId=gateway, RouteTableId=table["RouteTableId"])
    assert not hybrid.pings(pod, DB, expected=False)
    aws("CreateRoute", RouteTableId=table["RouteTableId"], DestinationCidrBlock="192.168.10.0/24", GatewayId=gateway)
    assert hybrid.pings(pod, DB)
    aws("DeleteRoute", RouteTableId=table["RouteTableId"], DestinationCidrBlock="192.168.10.0/24")
    aws("EnableVgwRoutePropagation", GatewayId=gateway, RouteTableId=table["RouteTableId"])
    aws("DeleteVpnConnectionRoute", VpnConnectionId=shown["VpnConnectionId"], DestinationCidrBlock="192.168.0.0/16")
    assert not hybrid.pings(pod, DB, expected=False)
    assert hybrid.pings(pod, PLC), "the other network is not concerned"
    aws("CreateVpnConnectionRoute", VpnConnectionId=shown["VpnConnectionId"], DestinationCidrBlock="192.168.0.0/16")
    assert hybrid.pings(pod, DB)
    assert list(hybrid.world.drift()) == []
