"""The VPC CNI's packet-path truth table with real ICMP: which link a pod's packet leaves by, and with which source."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.builders_paths import POD_A, POD_B, bring_up, leaves, pings, program, tap
from tests.lab_runner import Labs

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
INTERNET, ELSEWHERE = "8.8.8.8", "192.168.7.7"
CNI = "AWS_VPC_K8S_CNI_"
EXCLUDE = {f"{CNI}EXCLUDE_SNAT_CIDRS": "192.168.0.0/16"}
EXTERNAL = {f"{CNI}EXTERNALSNAT": "true"}

MASKED, AS_IT_IS = "node1", "pod"
Row = tuple[tuple[str, str], tuple[str, str]]
"""(link, source) for pod-a, then for pod-b."""
IN_VPC: Row = (("eth0", AS_IT_IS), ("eth1", AS_IT_IS))
MASKED_BY_ETH0: Row = (("eth0", MASKED), ("eth0", MASKED))
TABLE: dict[str, dict[str, Row]] = {
    "default": {INTERNET: MASKED_BY_ETH0, ELSEWHERE: MASKED_BY_ETH0},
    "exclude": {INTERNET: MASKED_BY_ETH0, ELSEWHERE: IN_VPC},
    "external": {INTERNET: IN_VPC, ELSEWHERE: IN_VPC},
}
LABS = {
    **{
        f"{dialect}-{backend}-{column}": (dialect, backend, env, column)
        for dialect in ("1.23", "1.6") for backend in ("nft", "legacy")
        for column, env in (("default", {}), ("exclude", EXCLUDE), ("external", EXTERNAL))
    },
    **{f"1.23-{backend}-connmark": ("1.23", backend, {f"{CNI}CONNMARK": "0x40000000"}, "default") for backend in ("nft", "legacy")},
    **{f"1.23-{backend}-veth-prefix": ("1.23", backend, {f"{CNI}VETHPREFIX": "veth"}, "default") for backend in ("nft", "legacy")},
    **{
        f"1.23-{backend}-node-port-off": ("1.23", backend, {"AWS_VPC_CNI_NODE_PORT_SUPPORT": "false", **EXCLUDE}, "exclude")
        for backend in ("nft", "legacy")
    },
    **{
        f"1.23-{backend}-everything-excluded": ("1.23", backend, {f"{CNI}EXCLUDE_SNAT_CIDRS": "0.0.0.0/0"}, "external")
        for backend in ("nft", "legacy")
    },
    "1.23-nft-own-subnet-excluded": ("1.23", "nft", {f"{CNI}EXCLUDE_SNAT_CIDRS": "10.10.0.0/19"}, "default"),
    "1.23-nft-hashrandom": ("1.23", "nft", {f"{CNI}RANDOMIZESNAT": "hashrandom"}, "default"),
    "1.23-nft-none": ("1.23", "nft", {f"{CNI}RANDOMIZESNAT": "none"}, "default"),
    "1.6-nft-node-port-off": ("1.6", "nft", {"AWS_VPC_CNI_NODE_PORT_SUPPORT": "false"}, "default"),
    "1.6-legacy-prng": ("1.6", "legacy", {f"{CNI}RANDOMIZESNAT": "prng"}, "default"),
}  # fmt: skip


@pytest.fixture(scope="module", params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Labs, str, dict[str, str]]]:
    dialect, backend, env, column = LABS[request.param]
    user = Labs(tmp_path_factory.mktemp("p"))
    try:
        bring_up(user, dialect, backend, env)
        yield user, column, env
    finally:
        user.close()


Lab = tuple[Labs, str, dict[str, str]]


def test_every_row_of_the_truth_table(lab: Lab) -> None:
    labs, column, _env = lab
    address = {name: labs.pod(name)["ip"] for name in (POD_A, POD_B)}
    node = labs.node("node1")["ip"]
    rows = {labs.pod("pod-c")["ip"]: IN_VPC, **TABLE[column]}
    expected = {
        (pod, target): {(link, node if source == MASKED else address[pod])}
        for target, row in rows.items() for pod, (link, source) in zip((POD_A, POD_B), row, strict=True)
    }
    assert {(pod, target): leaves(labs, pod, target) for pod, target in expected} == expected


def test_answers_come_back_where_the_node_masks(lab: Lab) -> None:
    """With EXTERNALSNAT the gateway knows no public address for a pod's own, and drops."""
    labs, column, _env = lab
    assert [pings(labs, pod, INTERNET) for pod in (POD_A, POD_B)] == [column != "external"] * 2
    assert [pings(labs, pod, labs.pod(other)["ip"]) for pod in (POD_A, POD_B) for other in ("pod-c", "pod-d")] == [True] * 4


def test_the_walk_agrees_with_what_left(lab: Lab) -> None:
    labs, column, _env = lab
    for pod in (POD_A, POD_B):
        path = json.loads(labs.run("--lab", labs.name, "trace", pod, INTERNET, "-o", "json", ok=(0, 3)).stdout)
        out = [hop["link"] for hop in path["hops"] if hop["owner"] == "node1" and hop["direction"] == "out"]
        assert out == [TABLE[column][INTERNET][0 if pod == POD_A else 1][0]]
        assert path["delivered"] is (column != "external")


CONNECT = """
import socket, sys
for _ in range(4):
    sock = socket.create_connection(("8.8.8.8", 80), 10)
    print(sock.getsockname()[1], flush=True)
    sock.close()
"""


def test_source_ports_of_masked_flows(lab: Lab) -> None:
    """Of the node itself, whose traffic passes the same rule: another port each time, or its own one with `none`."""
    labs, column, env = lab
    if column == "external":
        return
    with tap(labs, "node1") as seen, program(labs, "node1", "python3", "-c", CONNECT) as child:
        opening = seen.find(lambda one: one.outgoing and one.target == INTERNET and one.protocol == 6 and bool(one.payload[13] == 0x02), 4)
        own = [int(line) for line in child.communicate(timeout=60)[0].split()]
    assert {(one.link, one.source) for one in opening} == {("eth0", labs.node("node1")["ip"])}
    kept = [one.source_port for one in opening] == own
    assert kept is (env.get(f"{CNI}RANDOMIZESNAT") == "none")
