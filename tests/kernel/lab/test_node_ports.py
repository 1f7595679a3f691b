"""NodePort traffic by a hand-written DNAT rule, as kube-proxy would write it: in by eth0 to a pod of eth1, and back the same way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.builders_paths import POD_A, POD_B, Packet, bring_up, pings, program, tap
from tests.lab_runner import Labs

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
PORT, POD_PORT = 30080, 8080
OFF = {"AWS_VPC_CNI_NODE_PORT_SUPPORT": "false"}
EXTERNAL = {"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"}
FETCH = """
import socket, sys
try:
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))
    sock.settimeout(10)
    sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print("answered" if sock.recv(100).startswith(b"HTTP/1") else "closed")
except TimeoutError:
    print("silence")
"""


@pytest.fixture
def labs(tmp_path) -> Iterator[Labs]:  # type: ignore[no-untyped-def]
    user = Labs(tmp_path / "r")
    try:
        yield user
    finally:
        user.close()


def expose(labs: Labs, pod: str, backend: str) -> None:
    """A port of node1 for a pod. The pod speaks first: the VPC answers no ARP on eth1 that bears an address of eth0, so that a wrong
    answer would leave no more than a question for the router.
    """
    assert pings(labs, pod, labs.pod("pod-c")["ip"])
    node = labs.node("node1")["ip"]
    rule = f"-d {node} -p tcp --dport {PORT} -j DNAT --to-destination {labs.pod(pod)['ip']}:{POD_PORT}"
    command = f"ip netns exec {labs.name}-node1 iptables-{backend} -w -t nat -A PREROUTING {rule}"
    subprocess.run(command.split(), check=True, timeout=30)


def fetch(labs: Labs, client: str, address: str, patience_s: float = 10.0) -> str:
    return labs.inside(client, "python3", "-c", FETCH, address, str(PORT), str(patience_s)).strip()


def answered_by(labs: Labs, pod: str) -> Packet:
    """The pod's first answer as it leaves the node, when a client in the VPC asks."""
    with tap(labs, "node1") as seen, program(labs, "node2", "python3", "-c", FETCH, labs.node("node1")["ip"], str(PORT), "3"):
        found = seen.find(lambda one: one.outgoing and one.link.startswith("eth") and one.protocol == 6 and one.payload[13] == 0x12)
    assert found, f"no SYN-ACK of {pod} left the node"
    return found[0]


@pytest.mark.parametrize("env", [{}, EXTERNAL], ids=["default", "external"])
@pytest.mark.parametrize(("dialect", "backend"), [("1.23", "nft"), ("1.23", "legacy"), ("1.6", "nft"), ("1.6", "legacy")])
def test_a_pod_of_eth1_answers_by_eth0(labs: Labs, dialect: str, backend: str, env: dict[str, str]) -> None:
    """The mark of mangle's first rule, given back by its second to the answer, and rule 1024; loose reverse path on eth0."""
    bring_up(labs, dialect, backend, env)
    expose(labs, POD_B, backend)
    node = labs.node("node1")
    assert fetch(labs, "node2", node["ip"]) == "answered"
    assert fetch(labs, "internet", node["publicIp"]) == "answered"
    answer = answered_by(labs, POD_B)
    assert (answer.link, answer.source, answer.source_port) == ("eth0", node["ip"], PORT)


def test_strict_reverse_path_filtering_drops_what_comes_in(labs: Labs) -> None:
    """After DNAT the way back to the client is table 2 and eth1: strict mode takes that for a forged source."""
    bring_up(labs)
    expose(labs, POD_B, "nft")
    node = labs.node("node1")["ip"]
    labs.inside("node1", "sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=1")
    with tap(labs, "node1") as seen:
        assert fetch(labs, "node2", node, 2.0) == "silence"
        entered = [one.link for one in seen.packets(0.5) if one.target_port in (PORT, POD_PORT) and one.protocol == 6]
    assert set(entered) == {"eth0"}, "it came in, and no pod saw it"
    labs.inside("node1", "sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=2")
    assert fetch(labs, "node2", node) == "answered"


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_without_node_port_support_the_answer_takes_the_wrong_link(labs: Labs, backend: str) -> None:
    """No mark comes back, so the answer leaves by eth1 with the source of eth0, and the VPC drops it. A pod of eth0 is fine."""
    bring_up(labs, "1.23", backend, OFF)
    expose(labs, POD_B, backend)
    node = labs.node("node1")["ip"]
    assert fetch(labs, "node2", node, 2.0) == "silence"
    answer = answered_by(labs, POD_B)
    assert (answer.link, answer.source) == ("eth1", node)
    labs.inside("node1", f"iptables-{backend}", "-w", "-t", "nat", "-F", "PREROUTING")
    expose(labs, POD_A, backend)
    assert fetch(labs, "node2", node) == "answered"


def test_release_1_6_without_node_port_support_stays_strict(labs: Labs) -> None:
    bring_up(labs, "1.6", "nft", OFF)
    expose(labs, POD_B, "nft")
    assert labs.inside("node1", "sysctl", "-n", "net.ipv4.conf.eth0.rp_filter").strip() == "1"
    with tap(labs, "node1") as seen:
        assert fetch(labs, "node2", labs.node("node1")["ip"], 2.0) == "silence"
        entered = {one.link for one in seen.packets(0.5) if one.target_port in (PORT, POD_PORT) and one.protocol == 6}
    assert entered == {"eth0"}


def test_a_veth_prefix_that_release_1_6_does_not_ask_for(labs: Labs) -> None:
    """Its mangle rule is for eni+ whatever the prefix: the answers of pods on eth1 lose their mark."""
    bring_up(labs, "1.6", "nft", {"AWS_VPC_K8S_CNI_VETHPREFIX": "veth"})
    expose(labs, POD_B, "nft")
    assert fetch(labs, "node2", labs.node("node1")["ip"], 2.0) == "silence"
    assert answered_by(labs, POD_B).link == "eth1"
