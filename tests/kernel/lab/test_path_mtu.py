"""Path MTU with real packets: 9001 in the VPC, 1500 at the gateway, and who sends too much learns it, through every NAT between."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator

import pytest

from labnet.kernel import netns
from tests.lab_runner import LIMIT_S, Labs

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
HEADERS = 28
FAR = "8.8.8.8"
TRANSFER_BYTES = 100_000
WAIT_S = 20.0
PODS = ("pod1", "pod2")
"""pod1 sits on eth0, pod2 on eth1; both leave the VPC by eth0 with the node's address."""


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    """Of each test's own: what was learned once is no news."""
    user = Labs(tmp_path_factory.mktemp("m"))
    try:
        user.up()
        yield user
    finally:
        user.close()


def ping(lab: Labs, source: str, target: str, size_bytes: int) -> str:
    """One packet of that size with DF; what ping said."""
    return lab.inside(source, "ping", "-n", "-c1", "-W5", "-M", "do", "-s", str(size_bytes - HEADERS), target)


def learned(lab: Labs, source: str, target: str = FAR) -> int | None:
    """The MTU in the route cache of a namespace."""
    (route,) = json.loads(lab.inside(source, "ip", "-j", "route", "get", target))
    metrics = route.get("metrics", [{}])
    return int(metrics[0]["mtu"]) if "mtu" in metrics[0] else None


def opened(lab: Labs, target: str, kind: int, proto: int = 0) -> socket.socket:
    descriptor = os.open(f"/run/netns/{lab.name}-{target}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sock = netns.open_sockets(descriptor, [(socket.AF_INET, kind, proto)])[0]
    finally:
        os.close(descriptor)
    sock.settimeout(WAIT_S)
    return sock


def address(lab: Labs, pod: str) -> str:
    return str(lab.pod(pod)["ip"])


def test_inside_the_vpc_9001_bytes_pass(lab: Labs) -> None:
    for source in (*PODS, "node1"):
        for target in (address(lab, "pod3"), str(lab.node("node2")["ip"])):
            assert "1 received" in ping(lab, source, target, 9001), (source, target)
            assert "1 received" in ping(lab, source, target, 8028)
            assert learned(lab, source, target) is None


@pytest.mark.parametrize("source", [*PODS, "node1"])
def test_what_is_too_large_for_the_gateway_is_told_and_learned(lab: Labs, source: str) -> None:
    assert "1 received" in ping(lab, source, FAR, 1500)
    assert learned(lab, source) is None
    said = ping(lab, source, FAR, 1501)
    assert "0 received" in said and "From 10.10.0.1 " in said and "(mtu = 1500)" in said, said
    assert learned(lab, source) == 1500
    assert "message too long, mtu=1500" in lab_stderr(lab, source, 1501), "the kernel itself refuses the next one"
    assert "1 received" in lab.inside(source, "ping", "-n", "-c1", "-W5", "-s", "4000", FAR), "without DF it is fragmented"


def lab_stderr(lab: Labs, source: str, size_bytes: int) -> str:
    words = ["ip", "netns", "exec", f"{lab.name}-{source}", "ping", "-n", "-c1", "-W1", "-M", "do", "-s", str(size_bytes - HEADERS), FAR]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("source", PODS)
def test_tcp_gets_through_when_it_has_to_find_the_path_mtu(lab: Labs, source: str) -> None:
    """The far end says that it takes 8,961 bytes a segment, as one behind a larger link would: only the ICMP error tells the sender."""
    public = lab.node("node1")["publicIp"]
    (back,) = json.loads(lab.inside("internet", "ip", "-j", "route", "show", f"{public}/32"))
    words = ("via", back["gateway"], "dev", back["dev"], "onlink", "advmss", "8961")
    assert lab.inside("internet", "ip", "route", "replace", f"{public}/32", *words) == ""
    assert "advmss 8961" in lab.inside("internet", "ip", "route", "show", f"{public}/32")
    with opened(lab, "internet", socket.SOCK_STREAM) as server, opened(lab, source, socket.SOCK_STREAM) as client:
        server.bind((FAR, 7001))
        server.listen()
        client.connect((FAR, 7001))
        far, _ = server.accept()
        with far:
            far.settimeout(WAIT_S)
            mss = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            assert mss > 8_000, "it begins with large segments"
            for sender, receiver in ((client, far), (far, client)):
                assert transferred(sender, receiver) == TRANSFER_BYTES
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1448
    assert learned(lab, source) == 1500


def transferred(sender: socket.socket, receiver: socket.socket) -> int:
    thread = threading.Thread(target=sender.sendall, args=(b"x" * TRANSFER_BYTES,), daemon=True)
    thread.start()
    got = 0
    while got < TRANSFER_BYTES:
        data = receiver.recv(65_536)
        if not data:
            break
        got += len(data)
    thread.join(WAIT_S)
    return got


@pytest.mark.parametrize("source", [*PODS, "node1"])
def test_an_error_from_the_internet_comes_back_through_the_gateway_and_the_nodes_nat(lab: Labs, source: str) -> None:
    """A router out there has 1,400 bytes only: it quotes what it saw, the public address and the node's port."""
    with opened(lab, "internet", socket.SOCK_DGRAM) as far, opened(lab, source, socket.SOCK_DGRAM) as client:
        far.bind((FAR, 7002))
        client.sendto(b"hello", (FAR, 7002))
        _, (seen, port) = far.recvfrom(100)  # the client stays open: the kernel learns for who has a socket there
        assert seen == lab.node("node1")["publicIp"]
        quoted = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1472, 1, 0x4000, 60, 17, 0, socket.inet_aton(seen), socket.inet_aton(FAR))
        quoted += struct.pack("!HHHH", port, 7002, 1452, 0)
        message = struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + quoted
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        with opened(lab, "internet", socket.SOCK_RAW, socket.IPPROTO_ICMP) as router:
            router.bind(("192.0.2.10", 0))
            for _ in range(50):  # it is delivered by the kernel at once, or not at all; the link of a fresh lab may still be settling
                router.sendto(message, (seen, 0))
                if learned(lab, source) == 1400:
                    break
    assert learned(lab, source) == 1400
    assert "1 received" in ping(lab, source, FAR, 1400)
    assert "mtu=1400" in lab_stderr(lab, source, 1401)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
