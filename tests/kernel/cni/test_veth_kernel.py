"""A pod's veth on the real kernel: what is set at birth, in which order, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from builders_node_state import WorkedNode, worked_nodes

from labnet.cni.vpc.plan import Wiring, macs, plan_pod
from labnet.errors import KernelError
from labnet.model.netstate import Change, Link, LinkUp, Slice, Sysctl

pytestmark = pytest.mark.kernel
VETH = "eni2f5353dd8c5"


@pytest.fixture
def node() -> Iterator[WorkedNode]:
    with worked_nodes() as make:
        yield make("nft").start().attach()


def sysctl(node: WorkedNode, *keys: str) -> list[str]:
    return node.say("sysctl", "-n", *(f"net.{key.replace('VETH', VETH)}" for key in keys)).split()


def test_both_ends_at_birth(node: WorkedNode) -> None:
    node.pod("pod-b", "10.10.2.6", 1)
    for netns, link in (("", VETH), ("pod-b", "eth0")):
        shown = node.ip("-o", "link", "show", link, target=netns)[0]
        assert " mtu 9001 " in shown
        assert "qlen" not in shown
    assert sysctl(node, *(f"ipv6.conf.VETH.{key}" for key in ("accept_ra", "accept_redirects", "forwarding"))) == ["0", "1", "0"]
    assert sysctl(node, "ipv4.conf.VETH.proxy_arp", "ipv4.conf.VETH.rp_filter") == ["0", "1"], "as the system has them"
    assert node.ip("-4", "addr", "show", VETH) == []


def test_the_nodes_end_is_there_and_set_before_it_comes_up(node: WorkedNode) -> None:
    """Sysctls first: a link that comes up with accept_ra would ask for routers."""
    told: list[Change] = []
    node.book.on_change = lambda netns, _slice, change: told.append(change)
    node.pod("pod-b", "10.10.2.6", 1)
    place = {change.object.text: number for number, change in enumerate(told)}
    up = place[LinkUp(VETH).text]
    assert sum("net.ipv6.conf" in text and number < up for text, number in place.items()) == 3
    born = next(change.object for change in told if isinstance(change.object, Link))
    assert born.peer is not None
    assert (born.name, born.peer.netns, born.peer.name) == ("eth0", node.netns, VETH)


def test_a_sysctl_that_cannot_be_written_leaves_no_pod(node: WorkedNode) -> None:
    pod_mac, host_mac = macs(0, "lab", "default", "pod-b")
    netns = node.netns + "-b"
    node.kernel.create_netns([netns])
    wiring = Wiring(netns, node.netns, "eth0", VETH, pod_mac, host_mac, 9001, "10.10.2.6", 2)
    in_pod, on_node = plan_pod("aws-cni/pod-b/eth0", wiring)
    spoiled = Slice(on_node.name, tuple(replace(item, value="many") if isinstance(item, Sysctl) else item for item in on_node.objects))
    with pytest.raises(KernelError, match="accept_ra"):
        node.book.set([(netns, in_pod), (node.netns, spoiled)])
    assert VETH not in node.kernel.links(node.netns)
    assert node.kernel.links(netns) == {"lo"}
    assert not any("10.10.2.6" in line for line in node.ip("rule") + node.ip("route"))
    node.book.set([(netns, in_pod), (node.netns, on_node)])
    assert node.drift() == []


def test_a_kernel_without_ipv6_is_no_obstacle(node: WorkedNode) -> None:
    """A path below net/ipv6 that is not there is passed over: here that of a link with another name."""
    pod_mac, host_mac = macs(0, "lab", "default", "pod-b")
    netns = node.netns + "-b"
    node.kernel.create_netns([netns])
    in_pod, on_node = plan_pod("x", Wiring(netns, node.netns, "eth0", VETH, pod_mac, host_mac, 9001, "10.10.2.6", 2))
    without = tuple(
        replace(item, path=item.path.replace("ipv6", "ipv9")) if isinstance(item, Sysctl) else item for item in on_node.objects
    )
    node.book.set([(netns, in_pod), (node.netns, Slice(on_node.name, without))])
    assert VETH in node.kernel.links(node.netns)
    assert node.drift() == [], "what this kernel has not is no difference"


@pytest.mark.parametrize("mtu", [1280, 576])
def test_the_pods_mtu_is_on_both_ends(mtu: int) -> None:
    with worked_nodes() as make:
        made = make("nft")
        made.settings = replace(made.settings, pod_mtu_bytes=mtu, veth_prefix="veth")
        made.pod("pod-a", "10.10.1.5", 0)
        for netns, link in (("", "veth5e1c4d6c68c"), ("pod-a", "eth0")):
            assert f" mtu {mtu} " in made.ip("-o", "link", "show", link, target=netns)[0]


