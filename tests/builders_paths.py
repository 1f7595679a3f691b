"""Two t3.nano nodes, a pod on each ENI, and what is seen of their packets on a node's links."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from labnet.kernel import netns
from tests.lab_runner import Labs

ETH_P_ALL = 0x0003
OUTGOING = 4
LIMIT_S = 20.0
VPC_CIDR = "10.10.0.0/16"
POD_A, POD_B = "pod-a", "pod-b"
"""On node1: pod-a has an address of eth0, pod-b one of eth1. On node2 pod-c and pod-d likewise."""

SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: paths}}
vpc:
  cidr: 10.10.0.0/16
  internetGateway: true
  securityGroups:
    - name: nodes
      ingress:
        - {{protocol: "-1", cidr: 10.10.0.0/16}}
        - {{protocol: tcp, fromPort: 30080, cidr: 0.0.0.0/0}}
  subnets: [{{name: a, cidr: 10.10.0.0/19, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}}]
nodes:
  - {{name: node1, instanceType: t3.nano, subnet: a, iptables: {backend}, securityGroups: [nodes]}}
  - {{name: node2, instanceType: t3.nano, subnet: a, iptables: {backend}, securityGroups: [nodes]}}
cni: {{kind: vpc, dialect: "{dialect}", env: {env}}}
pods:
  - {{name: pod-a, node: node1}}
  - {{name: pod-b, node: node1}}
  - {{name: pod-c, node: node2}}
  - {{name: pod-d, node: node2}}
"""


def bring_up(labs: Labs, dialect: str = "1.23", backend: str = "nft", env: Mapping[str, str] | None = None) -> None:
    labs.up("-", stdin=SCENARIO.format(dialect=dialect, backend=backend, env=json.dumps(dict(env or {}))))
    status = {pod["name"]: (pod["node"], pod["device"]) for pod in labs.status()["pods"]}
    assert status == {POD_A: ("node1", "eth0"), POD_B: ("node1", "eth1"), "pod-c": ("node2", "eth0"), "pod-d": ("node2", "eth1")}


class Packet:
    """An IPv4 packet on a link: `source`, `target`, `protocol`, and for TCP and UDP the ports."""

    def __init__(self, link: str, outgoing: bool, frame: bytes) -> None:
        self.link, self.outgoing = link, outgoing
        head = frame[14:]
        self.size = 4 * (head[0] & 15)
        self.protocol = head[9]
        self.source, self.target = socket.inet_ntoa(head[12:16]), socket.inet_ntoa(head[16:20])
        self.payload = head[self.size :]
        self.source_port, self.target_port = int.from_bytes(self.payload[:2], "big"), int.from_bytes(self.payload[2:4], "big")

    @property
    def is_echo_request(self) -> bool:
        return self.protocol == socket.IPPROTO_ICMP and self.payload[0] == 8

    def __repr__(self) -> str:
        return f"{self.link} {'out' if self.outgoing else 'in'} {self.source} > {self.target} protocol {self.protocol}"


class Tap:
    """All links of one namespace at once."""

    def __init__(self, namespace: str) -> None:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            self._socket = netns.open_sockets(descriptor, [(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))])[0]
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._socket.close()

    def packets(self, limit_s: float = LIMIT_S) -> Iterator[Packet]:
        """IPv4 packets as they come; ends when the limit is over."""
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            frame, (link, protocol, kind, *_rest) = self._socket.recvfrom(65535)
            if protocol == 0x0800:
                yield Packet(link, kind == OUTGOING, frame)

    def find(self, wanted: Callable[[Packet], bool], count: int = 1, limit_s: float = LIMIT_S) -> list[Packet]:
        """The first so many that are wanted, fewer when the limit is over."""
        found: list[Packet] = []
        for packet in self.packets(limit_s):
            if wanted(packet):
                found.append(packet)
                if len(found) == count:
                    break
        return found


@contextmanager
def tap(labs: Labs, target: str) -> Iterator[Tap]:
    made = Tap(f"{labs.name}-{target}")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def program(labs: Labs, target: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a namespace of the lab, ended in the end."""
    command = ["ip", "netns", "exec", f"{labs.name}-{target}", *words]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def leaves(labs: Labs, origin: str, target: str, *, node: str = "node1", options: Sequence[str] = ()) -> set[tuple[str, str]]:
    """(link of the node, source) of two echo requests of one flow: the second sees no nat table any more."""
    with tap(labs, node) as seen, program(labs, origin, "ping", "-c", "2", "-i", "0.2", "-W", "1", *options, target):
        found = seen.find(lambda one: one.outgoing and one.link.startswith("eth") and one.is_echo_request and one.target == target, 2)
    assert len(found) == 2, f"{origin} → {target}: {found}"
    return {(one.link, one.source) for one in found}


def pings(labs: Labs, origin: str, target: str) -> bool:
    command = ["ip", "netns", "exec", f"{labs.name}-{origin}", "ping", "-c", "1", "-W", "2", target]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
