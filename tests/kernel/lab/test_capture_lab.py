"""`labnet capture` in a running lab, as people and programs use it; what it writes is read by tshark."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import shark
from lab_runner import Labs

pytestmark = pytest.mark.kernel
LIMIT_S = 60


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    labs = Labs(tmp_path_factory.mktemp("c"))
    try:
        labs.up()
        yield labs
    finally:
        labs.close()


@contextmanager
def capturing(deck: Labs, *words: str, name: str = "", verb: str = "capture") -> Iterator[subprocess.Popen[str]]:
    """A capture that listens already; it is ended at exit if it runs still."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "labnet", "--lab", name or deck.name, verb, *words, "--ready-fd", str(writer)], env=deck.environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[writer],
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            assert ready.readline() == "ready\n", process.communicate()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pinged(deck: Labs, source: str, address: str) -> None:
    assert any(
        deck.run("--lab", deck.name, "exec", source, "--", "ping", "-c1", "-W1", address, ok=(0, 1)).returncode == 0 for _ in range(3)
    )


def ended(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(number)
    out, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and "Traceback" not in said, said
    return out, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_file_of_all_is_whole_when_a_signal_ends_it(deck: Labs, tmp_path: Path, number: int) -> None:
    path = tmp_path / "all.pcapng"
    with capturing(deck, "all", "-w", str(path), "--filter", "icmp") as process:
        pinged(deck, "pod2", "8.8.8.8")
        out, said = ended(process, number)
    found = shark.packets(path)
    names = [one["frame.interface_name"].removeprefix(f"{deck.name}-") for one in found]
    pod2, node1 = deck.pod("pod2"), deck.node("node1")
    assert names[:4] == ["pod2/eth0", f"node1/{pod2['hostLink']}", "node1/eth0", f"vpc/p{node1['enis'][0]['id'][-13:]}"]
    assert names[-1] == "pod2/eth0" and {"igw/vpc", "igw/wan"} < set(names)
    words = {one["frame.interface_name"].removeprefix(f"{deck.name}-"): one["frame.interface_description"] for one in found}
    eni = node1["enis"][0]["id"]
    assert words["pod2/eth0"] == "pod2 eth0" and words[names[1]] == f"node1 {pod2['hostLink']}, to pod2 eth0"
    assert words["node1/eth0"] == f"node1 eth0 ({eni})" and words[names[3]] == f"vpc port of node1's eth0 ({eni})"
    assert [one["ip.src"] for one in found[:3]] == [pod2["ip"], pod2["ip"], node1["ip"]]  # SNAT between them
    stamps = [one["frame.time_epoch"] for one in found]
    assert stamps == sorted(stamps) and {one["frame.protocols"] for one in found} == {"eth:ethertype:ip:icmp:data"}
    assert out == "" and f"{len(found)} packets captured, 0 lost" in said and f"wrote {path}" in said
    assert re.search(r"listening in 8 namespaces, filter 'icmp'\n", said) and "  pod2: 2\n" in said
    assert shark.capinfos(path).count("Number of stat entries = 1") == len(set(names))


def test_a_pod_in_lines_with_namespace_and_interface(deck: Labs) -> None:
    with capturing(deck, "pod2", "--filter", "icmp", "--count", "2") as process:
        pinged(deck, "pod2", "8.8.8.8")
        out, said = process.communicate(timeout=LIMIT_S)
    ip = deck.pod("pod2")["ip"]
    lines = out.splitlines()
    assert len(lines) == 2 and process.returncode == 0
    what = r"8\.8\.8\.8: icmp echo request id \d+ seq 1, ttl 64, length 84"
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{6}} pod2/eth0 out {ip} > {what}", lines[0])
    assert f" pod2/eth0 in  8.8.8.8 > {ip}: icmp echo reply" in lines[1]
    assert "2 packets captured, 0 lost" in said and "listening in 1 namespace, filter 'icmp'" in said


def test_an_eni_is_heard_at_both_ends_and_nowhere_else(deck: Labs, tmp_path: Path) -> None:
    eni = deck.node("node1")["enis"][0]["id"]
    with capturing(deck, eni, "-w", str(tmp_path / "eni.pcapng")) as process:
        pinged(deck, "pod2", "8.8.8.8")
        ended(process)
    assert {one["frame.interface_name"] for one in shark.packets(tmp_path / "eni.pcapng")} == {
        f"{deck.name}-node1/eth0", f"{deck.name}-vpc/p{eni[-13:]}",
    }


def test_an_interface_by_its_name_in_all_namespaces(deck: Labs, tmp_path: Path) -> None:
    with capturing(deck, "--interface", "eth0", "-w", str(tmp_path / "eth0.pcapng")) as process:
        pinged(deck, "pod2", "8.8.8.8")
        _out, said = ended(process)
    names = {one["frame.interface_name"].removeprefix(f"{deck.name}-") for one in shark.packets(tmp_path / "eth0.pcapng")}
    assert {"pod2/eth0", "node1/eth0"} <= names and {name.rpartition("/")[2] for name in names} == {"eth0"}
    assert "listening in 5 namespaces, interface eth0" in said


def test_a_stream_into_tshark_that_leaves_ends_it_quietly(deck: Labs) -> None:
    program = shutil.which("tshark")
    assert program, "tshark is missing: make dev installs it"
    with capturing(deck, "all", "-w", "-", "--filter", "icmp") as process:
        words = [program, "-n", "-l", "-i", "-", "-c", "4", "-T", "fields", "-e", "frame.interface_name", "-e", "ip.dst"]
        reader = subprocess.Popen(words, stdin=process.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = None
            pinged(deck, "pod2", "8.8.8.8")
            out, _ = reader.communicate(timeout=LIMIT_S)
        finally:
            reader.kill()  # it would wait for packets for ever
            reader.communicate()
        _, said = process.communicate(timeout=LIMIT_S)
    assert [line.split("\t") for line in out.splitlines()[:1]] == [[f"{deck.name}-pod2/eth0", "8.8.8.8"]]
    assert said == "listening in 8 namespaces, filter 'icmp'\n"


def test_time_ends_it(deck: Labs) -> None:
    done = deck.run("--lab", deck.name, "capture", "node1", "--for", "300ms", "--filter", "tcp port 9")
    assert (done.stdout, done.stderr) == ("", "listening in 1 namespace, filter 'tcp port 9'\n0 packets captured, 0 lost\n")


SMALL = """
apiVersion: labnet/v1
kind: Lab
metadata: {{name: {name}}}
vpc:
  cidr: 10.10.0.0/16
  subnets: [{{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}}]
nodes: [{{name: node1, instanceType: t3.small, subnet: a}}]
pods: [{{name: {pod}}}]
"""


def test_namespaces_that_go_are_let_go_and_those_that_come_are_taken_in(tmp_path: Path) -> None:
    """`up` takes a pod away and waits until its namespace is really gone: a socket that stayed would keep it."""
    labs = Labs(tmp_path / "run")
    file, path = tmp_path / "small.yaml", tmp_path / "all.pcapng"
    try:
        file.write_text(SMALL.format(name=labs.name, pod="one"))
        labs.run("up", str(file))
        with capturing(labs, "all", "-w", str(path), "--filter", "icmp", name=labs.name) as process:
            file.write_text(SMALL.format(name=labs.name, pod="two"))
            labs.run("up", str(file))
            assert [pod["name"] for pod in labs.status()["pods"]] == ["two"] and f"{labs.name}-one" not in labs.namespaces()
            heard = until_heard(labs, "two", path)
            _out, said = ended(process)
        assert {"two eth0", f"node1 {labs.pod('two')['hostLink']}, to two eth0"} <= heard and "  two: " in said
        with capturing(labs, "two", name=labs.name) as process:
            labs.run("down", labs.name)
            _, said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0 and " captured, 0 lost" in said
    finally:
        labs.close()


def until_heard(labs: Labs, pod: str, path: Path, tries: int = 20) -> set[str]:
    """Ping until the capture has the pod: it takes it in a moment after it has come."""
    for _ in range(tries):
        labs.run("--lab", labs.name, "exec", pod, "--", "ping", "-c1", "-W1", "10.10.0.4", ok=(0, 1))
        heard = {one["frame.interface_description"] for one in shark.packets(path)}
        if f"{pod} eth0" in heard:
            return heard
    return set()


@pytest.mark.parametrize(("words", "code", "said"), [
    (("all", "--filter", "tcp prt 80"), 2, "syntax error"), (("pod77",), 5, "pod77"), (("eni-77",), 5, "eni-77"),
    (("all", "--interface", "eth77"), 5, "eth77"), (("pod2:80",), 2, "--filter 'port 80'"), (("9.9.9.9",), 2, "--filter 'host 9.9.9.9'"),
    (("-w", "/no/such/folder/x"), 2, "No such file"), (("--ready-fd", "77"), 2, "--ready-fd 77"),
])
def test_what_cannot_be_captured_is_refused(deck: Labs, words: tuple[str, ...], code: int, said: str) -> None:
    done = deck.run("--lab", deck.name, "capture", *words, "--for", "5s", ok=code)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_nothing_lost_means_exactly_what_was_sent(deck: Labs, tmp_path: Path) -> None:
    sender: Callable[[int], str] = lambda count: (  # noqa: E731 - a text with a number in it
        f"import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor n in range({count}): s.sendto(b'x', ('127.0.0.1', 9))"
    )
    path = tmp_path / "lo.pcapng"
    with capturing(deck, "pod2", "pod3", "-w", str(path), "--filter", "udp dst port 9") as process:
        for pod in ("pod2", "pod3"):
            deck.run("--lab", deck.name, "exec", pod, "--", sys.executable, "-c", sender(500))
        _out, said = ended(process)
    assert "2000 packets captured, 0 lost\n  pod2: 1000\n  pod3: 1000\n" in said  # out and in on the loopback
    assert len(shark.packets(path)) == 2000
