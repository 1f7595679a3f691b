"""A lab from Python: every example of docs/python.md on a real lab, and what the examples do not show."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from labnet import Lab
from labnet.errors import KernelError, NotFoundError, UsageError
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel
PAGE = Path(__file__).parents[3] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
GIVES = "# → "


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    user = Labs(tmp_path_factory.mktemp("p"))
    user.up()
    yield user
    user.close()


@pytest.fixture
def lab(labs: Labs) -> Lab:
    return Lab(labs.name, labs.run_dir)


def run(block: str, names: dict[str, Any]) -> int:
    """Execute an example; how many of its promises were kept."""
    lines, kept = block.splitlines(), 0
    for statement in ast.parse(block).body:
        last = lines[(statement.end_lineno or 0) - 1]
        if isinstance(statement, ast.Expr) and GIVES in last:
            value = eval(compile(ast.Expression(statement.value), str(PAGE), "eval"), names)
            assert str(value) == last.partition(GIVES)[2].strip(), ast.unparse(statement)
            kept += 1
        else:
            exec(compile(ast.Module([statement], []), str(PAGE), "exec"), names)
    return kept


def test_every_example_does_what_the_page_says(labs: Labs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LABNET_RUN_DIR", str(labs.run_dir))
    names: dict[str, Any] = {}
    kept = sum(run(block.replace('"eks-2node"', repr(labs.name)), names) for block in BLOCKS)
    assert len(BLOCKS) >= 8 and kept == PAGE.read_text().count(f" {GIVES}"), "each promise of the page is one that was looked at"
    assert "pod1" in capsys.readouterr().out


def addresses(lab: Lab) -> dict[str, str]:
    return {pod["name"]: str(pod["ip"]) for pod in lab.status()["pods"]}


def test_the_lab_that_is_meant(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Lab(run_dir=labs.run_dir).name == Lab.find(labs.name, str(labs.run_dir)).name == labs.name, "the only one"
    monkeypatch.setenv("LABNET_LAB", "other")
    with pytest.raises(NotFoundError, match="no lab is named other"):
        Lab(run_dir=labs.run_dir)


def test_a_path_is_what_the_command_prints(labs: Labs, lab: Lab) -> None:
    import json

    path = lab.trace("pod1", "pod3", "udp", 7)
    said = json.loads(labs.run("--lab", labs.name, "trace", "pod1", "pod3:7", "--protocol", "udp", "-o", "json").stdout)
    printed = [(hop["netns"], hop["link"], hop["direction"]) for hop in said["hops"]]
    assert [(hop.netns, hop.link, hop.direction) for hop in path.hops] == printed
    assert (path.source, path.target, path.probe.dst_port) == (said["from"], said["to"], 7)
    assert any(hop.decision is not None and hop.decision.rule is not None for hop in path.hops)


def test_a_source_of_ones_own_is_not_touched(lab: Lab) -> None:
    """A spoofed packet leaves the pod, whatever becomes of it; one without a source has the pod's."""
    where = addresses(lab)
    spoofed = IP(src="10.10.77.77", dst=where["pod3"]) / UDP(sport=4001, dport=7) / b"x"
    heard = lab.sniff("udp src port 4001", count=1, timeout_s=5, where="pod1", started=lambda: lab.send("pod1", spoofed))
    assert [packet[IP].src for packet in heard] == ["10.10.77.77"]
    packet = IP(dst=where["pod3"]) / ICMP()
    heard = lab.sniff("icmp", count=1, timeout_s=5, where="pod1", started=lambda: lab.send("pod1", packet))
    assert heard[0][IP].src == where["pod1"] and "src" not in packet.fields, "the caller's packet stays as it was"


def test_a_frame_leaves_as_it_is(lab: Lab) -> None:
    where = addresses(lab)
    frame = Ether(dst="02:00:00:00:00:99") / IP(dst=where["pod3"]) / UDP(sport=4002, dport=7) / b"x"
    heard = lab.sniff("udp src port 4002", count=1, timeout_s=5, where="pod1", started=lambda: lab.send("pod1", frame))
    mac = lab.exec("pod1", "cat", "/sys/class/net/eth0/address").stdout.strip()
    assert (heard[0][Ether].src, heard[0][Ether].dst, heard[0][IP].src) == (mac, "02:00:00:00:00:99", where["pod1"])
    request = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="169.254.1.1", psrc=where["pod1"], hwsrc=mac)
    assert lab.sniff("arp", count=1, timeout_s=5, where="pod1", started=lambda: lab.send("pod1", request))[0][ARP].pdst == "169.254.1.1"


def test_what_cannot_be_sent_says_why(lab: Lab) -> None:
    for packet in (ARP(), b"bytes", ICMP()):
        with pytest.raises(UsageError, match="cannot be sent"):
            lab.send("pod1", packet)
    with pytest.raises(UsageError, match="to which MAC"):
        lab.send("pod1", Ether() / IP(dst="10.10.0.1"))
    with pytest.raises(KernelError, match="eth7"):
        lab.send("pod1", Ether(dst="02:00:00:00:00:99") / IP(dst="10.10.0.1"), link="eth7")
    with pytest.raises(KernelError, match="EMSGSIZE"):
        lab.send("pod1", IP(dst="10.10.0.1", flags="DF") / UDP() / bytes(20_000))
    with pytest.raises(UsageError, match="nothing of this lab"):
        lab.send("9.9.9.9", IP(dst="10.10.0.1"))


def test_a_bad_filter_and_a_wrong_place(lab: Lab) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        lab.sniff("nonsense here")
    with pytest.raises(NotFoundError, match="pod9"):
        lab.sniff(where=["pod1", "pod9"])
    with pytest.raises(NotFoundError, match="pod9"):
        lab.send("pod9", IP(dst="10.10.0.1"))


def test_sniffing_ends_by_time_and_leaves_nothing_open(lab: Lab) -> None:
    before = len(os.listdir("/proc/self/fd"))
    heard = lab.sniff("udp port 4999", timeout_s=0.2)
    assert list(heard) == [] and heard.lost == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_command_does_not_load_it(labs: Labs) -> None:
    import subprocess
    import sys

    said = "import sys, labnet, labnet.cli.main; print([name for name in ('labnet.api', 'scapy', 'labnet.kernel.door') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "[]\n"
