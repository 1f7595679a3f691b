"""The VPC plugin on the real kernel: literal output of `ip`, repeats, the executable with a foreign namespace, a real ping."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import uuid

import pytest
from cni_builders import POD_B, FixedIpamd, Node, call_of

from labnet.cni.vpc import executable
from labnet.cni.vpc.plan import macs
from labnet.cni.vpc.server import CniServer
from labnet.ipamd.rpc import IpAllocation
from labnet.kernel.door import LinuxKernel

pytestmark = pytest.mark.kernel

POD_MAC, HOST_MAC = macs(0, "lab", "default", "pod-b")


@pytest.fixture
def lab():
    """(prefix, kernel); every namespace of that prefix goes at the end."""
    prefix = f"lnt-cni{uuid.uuid4().hex[:6]}"
    kernel = LinuxKernel()
    try:
        yield prefix, kernel
    finally:
        kernel.remove_netns([name for name in kernel.known if name.startswith(prefix)])
        kernel.close()


def make(lab, dialect="1.23", ipamd=None):
    prefix, kernel = lab
    node = Node(ipamd or FixedIpamd(POD_B), dialect, kernel, f"{prefix}-n")
    kernel.create_netns([f"{prefix}-b"])
    return node, f"{prefix}-b"


def ip(netns, *words):
    done = subprocess.run(["ip", "-n", netns, *words], capture_output=True, text=True, check=True)
    return [line.rstrip() for line in done.stdout.splitlines()]


def sysctl(netns, path):
    return subprocess.run(["ip", "netns", "exec", netns, "cat", f"/proc/sys/{path}"], capture_output=True, text=True, check=True).stdout.strip()


def test_the_current_dialect_as_ip_prints_it(lab):
    node, pod = make(lab)
    node.add(netns=pod)
    assert ip(node.netns, "rule") == [
        "0:\tfrom all lookup local", "512:\tfrom all to 10.10.2.6 lookup main", "1536:\tfrom 10.10.2.6 lookup 2",
        "32766:\tfrom all lookup main", "32767:\tfrom all lookup default",
    ]
    assert ip(node.netns, "route") == ["10.10.2.6 dev eni2f5353dd8c5 scope link"]
    assert ip(pod, "route") == ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    assert ip(pod, "neigh") == [f"169.254.1.1 dev eth0 lladdr {HOST_MAC} PERMANENT"]
    assert [line for line in ip(pod, "-4", "addr", "show", "eth0") if "inet" in line] == ["    inet 10.10.2.6/32 scope global eth0"]
    for netns, link, mac in ((node.netns, "eni2f5353dd8c5", HOST_MAC), (pod, "eth0", POD_MAC)):
        shown = ip(netns, "link", "show", link)
        assert "mtu 9001 qdisc noqueue state UP" in shown[0]
        assert "qlen" not in shown[0]
        assert f"link/ether {mac} " in shown[1]
    keys = ("accept_ra", "accept_redirects", "forwarding")
    assert [sysctl(node.netns, f"net/ipv6/conf/eni2f5353dd8c5/{key}") for key in keys] == ["0", "1", "0"]
    assert node.slices.drift(node.netns) == node.slices.drift(pod) == ()


def test_dialect_1_6_as_ip_prints_it(lab):
    node, pod = make(lab, "1.6")
    node.add(netns=pod)
    assert ip(node.netns, "rule")[1:3] == ["512:\tfrom all to 10.10.2.6 lookup main", "1536:\tfrom 10.10.2.6 to 10.10.0.0/16 lookup 2"]


def test_repeat_check_and_del(lab):
    node, pod = make(lab)
    previous = node.add(netns=pod)
    assert node.add(netns=pod) == previous
    assert node.call("CHECK", netns=pod, previous=previous).exit_code == 0
    subprocess.run(["ip", "-n", node.netns, "rule", "del", "priority", "1536"], check=True)
    assert json.loads(node.call("CHECK", netns=pod, previous=previous).stdout)["msg"].endswith("missing: 1536: from 10.10.2.6 lookup 2")
    assert node.call("DEL", netns=pod, previous=previous).exit_code == 0
    assert len(ip(node.netns, "rule")) == 3
    assert ip(node.netns, "route") == []
    assert "state UP" in ip(node.netns, "link", "show", "eni2f5353dd8c5")[0]
    node.ipamd.free.append(POD_B)
    node.add(netns=pod)
    assert node.slices.drift(node.netns) == node.slices.drift(pod) == ()


def test_the_veth_of_an_earlier_sandbox_goes_first(lab):
    prefix, kernel = lab
    node, pod = make(lab)
    node.ipamd.free.append(IpAllocation(ipv4_addr="10.10.2.7", device_number=1, route_table_id=2))
    node.add(netns=pod)
    kernel.create_netns([f"{prefix}-c"])
    node.add(container="beef", netns=f"{prefix}-c")
    assert node.call("DEL", container="cafe").exit_code == 0
    assert ip(node.netns, "route") == ["10.10.2.7 dev eni2f5353dd8c5 scope link"]
    assert node.slices.drift(node.netns) == ()


def test_a_packet_goes_from_pod_to_node(lab):
    node, pod = make(lab)
    node.add(netns=pod)
    ip(node.netns, "addr", "add", "10.10.0.10/32", "dev", "lo")
    ping = ["ip", "netns", "exec", pod, "ping", "-c", "1", "-W", "5", "10.10.0.10"]
    assert subprocess.run(ping, capture_output=True, check=False).returncode == 0


def test_program_and_in_process_give_the_same_bytes_and_kernel_state(lab, tmp_path):
    """By the program, with a namespace that the door never heard of; then in process, in a twin of both namespaces."""
    prefix, kernel = lab
    other = LinuxKernel()
    node, _pod = make(lab)
    path = f"/run/netns/{prefix}-f"
    other.create_netns([f"{prefix}-f"])
    executable.install(tmp_path / "aws-cni", str(tmp_path / "cni.sock"), sys.executable, executable.language())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = CniServer(tmp_path / "cni.sock", node.plugin, kernel, node.netns)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        environ, stdin = call_of("ADD", path=path)
        done = subprocess.run([tmp_path / "aws-cni"], env=environ, input=stdin, capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        by_program = state_of(node.netns, f"{prefix}-f")
        environ, stdin = call_of("DEL", path="")
        assert subprocess.run([tmp_path / "aws-cni"], env=environ, input=stdin, timeout=30, check=False).returncode == 0
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        other.remove_netns([f"{prefix}-f"])
        other.close()
    assert not os.path.exists(path)
    twin = Node(FixedIpamd(POD_B), "1.23", kernel, f"{prefix}-n2")
    kernel.create_netns([f"{prefix}-b2"])
    ours = twin.call("ADD", netns=f"{prefix}-b2", path=path)
    assert ours.stdout == done.stdout
    assert state_of(twin.netns, f"{prefix}-b2") == by_program


def state_of(node, pod):
    """What `ip` says of both, without interface numbers."""
    commands = (["rule"], ["route"], ["-4", "neigh"], ["-4", "-br", "addr"], ["-br", "link"])
    return [[line.replace("@if", "@").split("@")[0] for line in ip(netns, *words)] for netns in (node, pod) for words in commands]
