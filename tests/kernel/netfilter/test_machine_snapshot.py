"""The text of a machine's state: equal when nothing happened, different when anything did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from labnet.kernel.door import LinuxKernel

pytestmark = pytest.mark.kernel
SNAPSHOT = "from labnet.kernel import machine; print(machine.snapshot())"


def snapshot(netns: str) -> str:
    """The snapshot of a namespace, taken by a process that lives there."""
    command = ["ip", "netns", "exec", netns, sys.executable, "-c", SNAPSHOT]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return text.split("== mounts\n")[0]  # what follows is of the whole machine, where other tests may run


@pytest.mark.parametrize("heading, command", [
    ("links", "ip link set lo mtu 1400"), ("addresses", "ip addr add 192.0.2.1/32 dev lo"),
    ("routes", "ip route add 192.0.2.0/24 dev lo table 7"), ("rules", "ip rule add from 192.0.2.1 lookup 7"),
    ("nftables", "nft add table inet x"), ("nftables", "iptables-nft -A INPUT -s 192.0.2.1 -j DROP"),
    ("iptables (legacy)", "iptables-legacy -A INPUT -s 192.0.2.1 -j DROP"), ("sysctls", "sysctl -q -w net.ipv4.ip_forward=1"),
])
def test_every_kind_of_change_is_seen(kernel: LinuxKernel, name: Callable[[str], str], heading: str, command: str) -> None:
    netns = name("m")
    kernel.create_netns([netns])
    before = snapshot(netns)
    assert snapshot(netns) == before, "looking changes nothing, and nothing in it ages"
    subprocess.run(["ip", "netns", "exec", netns, *command.split()], check=True, timeout=30)
    after = snapshot(netns)

    def section(text: str) -> str:
        return text.split(f"== {heading}\n")[1].split("\n== ")[0]

    assert section(after) != section(before)
