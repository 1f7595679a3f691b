"""Namespaces come and go, and nothing else changes."""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from labnet.errors import KernelError, OwnershipError, TeardownError
from labnet.kernel import netns, teardown
from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Change, Link, LinkUp, Route, VethPeer

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]


def here() -> int:
    return os.stat(netns.THREAD_NETNS).st_ino


def machine() -> list[str]:
    """The machine's own state, as tools print it; what moves by itself left out."""
    commands = (
        "ip -o link",
        "ip -o addr",
        "ip route show table all",
        "ip rule",
        "ip -6 route show table all",
        "sysctl -a --pattern ^net.ipv4.conf",
    )
    return [subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout for command in commands]


def listed() -> set[str]:
    return {entry for entry in os.listdir("/run/netns") if entry.startswith(f"lnt-{os.getpid():x}")} if os.path.isdir("/run/netns") else set()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def mounts() -> int:
    return pathlib.Path("/proc/self/mountinfo").read_text().count(f"lnt-{os.getpid():x}")


def test_the_machine_is_as_before(name: Name) -> None:
    before, open_before, mounted = machine(), descriptors(), mounts()
    kernel = LinuxKernel()
    names = [name(f"p{number}") for number in range(12)]
    kernel.create_netns(names)
    for number, pod in enumerate(names[1:]):
        link = Link(f"h{number}", peer=VethPeer(pod, "eth0"))
        kernel.apply(
            [
                (
                    names[0],
                    (
                        Change("add", link),
                        Change("add", LinkUp(link.name)),
                        Change("add", Route(f"10.0.0.{number}/32", link.name, scope="link")),
                    ),
                ),
                (pod, (Change("add", LinkUp("eth0")),)),
            ]
        )
    kernel.remove_netns(names)
    kernel.close()
    assert machine() == before
    assert listed() == set()
    assert descriptors() == open_before
    assert mounts() == mounted


def test_the_calling_thread_comes_home(name: Name) -> None:
    home = here()
    made = netns.create([name("a")])
    assert here() == home
    fd = netns.open_ns(name("a"))
    try:
        with pytest.raises(RuntimeError, match="inside"), netns.enter(fd):
            assert here() == made[name("a")] != home
            raise RuntimeError("inside")
    finally:
        os.close(fd)
    assert here() == home


def test_only_the_calling_thread_moves(name: Name) -> None:
    netns.create([name("a")])
    fd = netns.open_ns(name("a"))
    seen: list[int] = []
    inside = threading.Event()

    def work() -> None:
        inside.wait()
        seen.append(here())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with netns.enter(fd):
            inside.set()
            thread.join()
    finally:
        os.close(fd)
    assert seen == [here()]


def test_a_failure_half_way_leaves_no_name(name: Name) -> None:
    netns.create([name("b")])
    with pytest.raises(KernelError) as caught:
        netns.create([name("a"), name("b"), name("c")])
    assert (caught.value.errno, caught.value.netns) == (errno.EEXIST, name("b"))
    assert listed() == {name("b")}


def test_a_failed_mount_leaves_no_file(name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "MS_BIND", 1 << 30)
    with pytest.raises(KernelError):
        netns.create([name("a")])
    assert listed() == set()


@pytest.mark.parametrize("word", ["", "..", "a/b"])
def test_names_are_file_names(word: str) -> None:
    with pytest.raises(KernelError) as caught:
        netns.create([word])
    assert caught.value.errno == errno.EINVAL


def test_a_socket_stays_in_its_namespace(kernel: LinuxKernel, name: Name) -> None:
    kernel.create_netns([name("a"), name("b")])
    with (
        kernel.open_socket(name("a"), socket.AF_INET, socket.SOCK_STREAM) as server,
        kernel.open_socket(name("b"), socket.AF_INET, socket.SOCK_STREAM) as other,
    ):
        server.bind(("127.0.0.1", 80))
        server.listen()
        with pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.1", 80))
        with kernel.open_socket(name("a"), socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect(("127.0.0.1", 80))


def test_remove_waits_until_far_ends_are_gone(name: Name) -> None:
    made = netns.create([name("node"), *(name(f"p{number}") for number in range(20))])
    for number in range(20):
        far = f"link add h{number} type veth peer name eth0 netns {name(f'p{number}')}"
        subprocess.run(["ip", "-n", name("node"), *far.split()], check=True)
    teardown.remove({word: inode for word, inode in made.items() if word != name("node")})
    links = subprocess.run(["ip", "-n", name("node"), "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert len(links.splitlines()) == 1
    assert listed() == {name("node")}


def test_a_name_with_another_inode_stays(name: Name) -> None:
    made = netns.create([name("a"), name("b")])
    with pytest.raises(TeardownError) as caught:
        teardown.remove({name("a"): made[name("a")] + 1, name("b"): made[name("b")], name("c"): None})
    assert [type(error) for error in caught.value.errors] == [OwnershipError]
    assert listed() == {name("a")}


def test_a_file_without_a_namespace_goes(name: Name) -> None:
    os.makedirs("/run/netns", exist_ok=True)
    open(netns.path_of(name("a")), "w").close()
    assert netns.inode_of(name("a")) is None
    teardown.remove({name("a"): 4026531999})
    assert listed() == set()


def test_who_still_holds_it_is_named(name: Name) -> None:
    made = netns.create([name("a"), name("b")])
    fd = netns.open_ns(name("a"))
    try:
        with pytest.raises(TeardownError) as caught:
            teardown.remove(made, timeout_s=0.3)
    finally:
        os.close(fd)
    (error,) = caught.value.errors
    assert isinstance(error, KernelError)
    assert (error.errno, error.netns) == (errno.EBUSY, name("a"))
    assert str(os.getpid()) in str(error)
    assert listed() == set()


def test_an_up_right_behind_a_down(kernel: LinuxKernel, name: Name) -> None:
    for _round in range(3):
        kernel.create_netns([name("n"), name("p")])
        link = Link("eni1", "02:00:00:00:00:01", peer=VethPeer(name("p"), "eth0"))
        kernel.apply([(name("n"), (Change("add", link), Change("add", LinkUp("eni1"))))])
        kernel.remove_netns([name("n"), name("p")])


def test_what_is_not_ours_is_not_touched(kernel: LinuxKernel, name: Name) -> None:
    made = netns.create([name("theirs")])
    assert not kernel.exists(name("theirs"))
    with pytest.raises(OwnershipError):
        kernel.apply([(name("theirs"), (Change("add", Route("10.0.0.0/8", type="blackhole")),))])
    with pytest.raises(OwnershipError):
        kernel.observe(name("theirs"))
    kernel.remove_netns([name("theirs")])
    assert listed() == {name("theirs")}
    kernel.learn(made)
    assert kernel.exists(name("theirs"))
    kernel.apply([(name("theirs"), (Change("add", Route("10.0.0.0/8", type="blackhole")),))])


def test_a_replaced_namespace_is_no_longer_ours(kernel: LinuxKernel, name: Name) -> None:
    kernel.create_netns([name("a"), name("keep")])
    held = kernel.open_netns(name("a"))  # so that the new one gets another inode
    try:
        subprocess.run(["ip", "netns", "del", name("a")], check=True)
        subprocess.run(["ip", "netns", "add", name("a")], check=True)
        assert not kernel.exists(name("a"))
        with pytest.raises(OwnershipError):
            kernel.observe(name("a"))
    finally:
        os.close(held)
    with pytest.raises(TeardownError):
        kernel.remove_netns([name("a")])
    assert name("a") in listed()


def test_an_adopted_namespace_is_used_and_given_back(kernel: LinuxKernel, name: Name) -> None:
    netns.create([name("runtime")])
    fd = netns.open_ns(name("runtime"))
    adopted = kernel.adopt(fd)
    assert kernel.adopt(fd) == adopted
    os.close(fd)
    kernel.create_netns([name("node")])
    kernel.apply([(name("node"), (Change("add", Link("eni1", peer=VethPeer(adopted, "eth0"))),))])
    kernel.apply([(adopted, (Change("add", LinkUp("eth0")),))])
    links = subprocess.run(["ip", "-n", name("runtime"), "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "eth0" in links
    kernel.remove_netns([adopted])
    assert not kernel.exists(adopted)
    assert name("runtime") in listed()


def test_names_that_iproute2_mounted_over_still_go(name: Name) -> None:
    """The first `ip netns add` of a machine mounts /run/netns over itself, with older names below."""
    program = f"""
import os, subprocess
from labnet.kernel import netns, teardown
made = netns.create(["{name("a")}", "{name("b")}"])
subprocess.run(["ip", "netns", "add", "{name("theirs")}"], check=True)
teardown.remove(made)
assert os.listdir("/run/netns") == ["{name("theirs")}"], os.listdir("/run/netns")
assert "{name("a")}" not in open("/proc/self/mountinfo").read()
"""
    script = 'mount -t tmpfs none /run && exec "$0" -W ignore -c "$1"'
    subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, sys.executable, program], check=True)
