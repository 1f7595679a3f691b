"""Every pair of pods on first and second ENIs of two nodes by TCP, UDP and ICMP; a port that no security group opens."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.builders_paths import SCENARIO, pings
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel
PODS = {"pod-a": "node1", "pod-b": "node1", "pod-c": "node2", "pod-d": "node2"}
CLOSED = 9999
GROUP = """
        - {protocol: icmp, cidr: 10.10.0.0/16}
        - {protocol: tcp, fromPort: 8080, cidr: 10.10.0.0/16}
        - {protocol: udp, fromPort: 7, cidr: 10.10.0.0/16}
"""
ASK = """
import json, socket, sys
out = {}
for name, address in json.loads(sys.argv[1]).items():
    for kind, port in (("tcp", 8080), ("udp", 7), ("closed", int(sys.argv[2]))):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        sock.settimeout(1.0 if kind == "closed" else 10.0)
        try:
            sock.connect((address, port))
            if kind == "udp":
                sock.send(b"hello")
                out[f"{name} {kind}"] = sock.recv(100).decode()
            elif kind == "tcp":
                sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                answer = b"".join(iter(lambda: sock.recv(4096), b""))
                out[f"{name} {kind}"] = json.loads(answer.split(b"\\r\\n\\r\\n")[1])["you"]
            else:
                out[f"{name} {kind}"] = "connected"
        except OSError as error:
            out[f"{name} {kind}"] = type(error).__name__
        sock.close()
print(json.dumps(out))
"""


@pytest.fixture(scope="module", params=[("1.23", "nft"), ("1.23", "legacy"), ("1.6", "nft")], ids="-".join)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    user = Labs(tmp_path_factory.mktemp("q"))
    dialect, backend = request.param
    text = SCENARIO.format(dialect=dialect, backend=backend, env="{}")
    everything = '\n        - {protocol: "-1", cidr: 10.10.0.0/16}\n'
    assert everything in text
    text = text.replace(everything, GROUP)
    for pod, node in PODS.items():
        containers = f"[{{name: one, serve: {{tcp: 8080, udp: 7}}}}, {{name: two, serve: {{tcp: {CLOSED}}}}}]"
        listening = f"{{name: {pod}, node: {node}, containers: {containers}}}"
        text = text.replace(f"{{name: {pod}, node: {node}}}", listening)
    try:
        user.up("-", stdin=text)
        yield user
    finally:
        user.close()


def test_all_pairs_of_enis_on_two_nodes(lab: Labs) -> None:
    address = {pod: lab.pod(pod)["ip"] for pod in PODS}
    assert {lab.pod(pod)["device"] for pod in PODS} == {"eth0", "eth1"}
    for client, node in PODS.items():
        others = {pod: address[pod] for pod in PODS if PODS[pod] != node}
        said = json.loads(lab.inside(client, "python3", "-c", ASK, json.dumps(others), str(CLOSED)))
        expected = {}
        for pod in others:
            expected |= {f"{pod} tcp": address[client], f"{pod} udp": "hello", f"{pod} closed": "TimeoutError"}
        assert said == expected
        assert all(pings(lab, client, other) for other in others.values())


def test_on_one_node_no_group_is_asked(lab: Labs) -> None:
    """Rule 512 keeps it on the node, where no ENI sees it."""
    for client, server in (("pod-a", "pod-b"), ("pod-b", "pod-a")):
        said = json.loads(lab.inside(client, "python3", "-c", ASK, json.dumps({"it": lab.pod(server)["ip"]}), str(CLOSED)))
        assert said == {"it tcp": lab.pod(client)["ip"], "it udp": "hello", "it closed": "connected"}
