"""The kernel state of one pod with an address of the VPC: what is in the pod, what on its node (pure).

For pod-b 10.10.2.6 of an ENI whose table is 2, as `ip` prints it::

    in the pod      default via 169.254.1.1 dev eth0          on the node   10.10.2.6 dev eni2f5353dd8c5 scope link
                    169.254.1.1 dev eth0 scope link                         512: from all to 10.10.2.6 lookup main
                    169.254.1.1 dev eth0 lladdr … PERMANENT                 1536: from 10.10.2.6 lookup 2

Nobody has the address 169.254.1.1: the permanent neighbour alone makes it work, with the MAC of the node's end. The node's
end has no address either; the pod is found by ARP on the veth. A pod of the primary ENI has no rule 1536.

Dialect 1.6, with SNAT on the node: instead of the one rule 1536 one ``from POD to CIDR`` for every block of the VPC and
every block that is excluded from SNAT; all else falls through to main and leaves by eth0, masked.
Source: docs/sources.md#vpc-cni-pod
"""

from __future__ import annotations

from typing import Literal

from labnet.ipamd.routes import rule_destinations
from labnet.model import names
from labnet.model.netstate import TABLE_MAIN, Addr, Link, LinkUp, Neigh, Route, Rule, Slice, Sysctl, VethPeer
from labnet.model.values import frozen

Dialect = Literal["1.6", "1.23"]

GATEWAY = "169.254.1.1"
TO_POD_PRIORITY = 512
FROM_POD_PRIORITY = 1536
TXQLEN = 0
HOST_SYSCTLS = (("accept_ra", "0"), ("accept_redirects", "1"), ("forwarding", "0"))
"""Of net.ipv6.conf.<node's end>, written before it comes up where the kernel has IPv6; the 1 is what the VPC CNI writes."""


@frozen
class Wiring:
    """All that decides the kernel state of one pod. `to_cidrs` None = one rule for every destination."""

    pod_netns: str
    node_netns: str
    ifname: str
    host_link: str
    pod_mac: str
    host_mac: str
    mtu_bytes: int
    address: str
    table: int = TABLE_MAIN
    to_cidrs: tuple[str, ...] | None = None


def plan_pod(attachment: str, wiring: Wiring) -> tuple[Slice, Slice]:
    """The pod's slice and its node's, both named ``cni:<attachment>``."""
    name = slice_name(attachment)
    return Slice(name, _in_pod(wiring)), Slice(name, _on_node(wiring))


def slice_name(attachment: str) -> str:
    """The name of an attachment's slices."""
    return f"cni:{attachment}"


def macs(seed: int, lab: str, namespace: str, pod: str) -> tuple[str, str]:
    """The MACs of a pod's veth: (pod's end, node's end)."""
    return names.mac(seed, lab, f"pod/{namespace}/{pod}/eth0"), names.mac(seed, lab, f"pod/{namespace}/{pod}/host")


def to_cidrs(dialect: Dialect, external_snat: bool, cidrs: tuple[str, ...]) -> tuple[str, ...] | None:
    """The blocks for which a pod of a secondary ENI needs a rule of its own: `cidrs` are the VPC's, then those excluded from SNAT."""
    return cidrs if dialect == "1.6" and not external_snat else None


def _in_pod(wiring: Wiring) -> tuple[Link | LinkUp | Addr | Route | Neigh, ...]:
    dev = wiring.ifname
    peer = VethPeer(wiring.node_netns, wiring.host_link, wiring.host_mac)
    return (
        Link(dev, wiring.pod_mac, txqlen=TXQLEN, mtu_bytes=wiring.mtu_bytes, peer=peer),
        LinkUp(dev),
        Route(f"{GATEWAY}/32", dev, scope="link"),
        Route("default", dev, via=GATEWAY),
        Addr(dev, wiring.address, 32),
        Neigh(dev, GATEWAY, wiring.host_mac),
    )


def _on_node(wiring: Wiring) -> tuple[Link | LinkUp | Sysctl | Route | Rule, ...]:
    dev, pod = wiring.host_link, f"{wiring.address}/32"
    return (
        Link(dev, wiring.host_mac, txqlen=TXQLEN, mtu_bytes=wiring.mtu_bytes, made_by="peer"),
        *(Sysctl(f"net/ipv6/conf/{dev}/{key}", value, optional=True) for key, value in HOST_SYSCTLS),
        LinkUp(dev),
        Route(pod, dev, scope="link"),
        Rule(TO_POD_PRIORITY, TABLE_MAIN, dst=pod),
        *_from_pod(pod, wiring),
    )


def _from_pod(pod: str, wiring: Wiring) -> tuple[Rule, ...]:
    if wiring.table == TABLE_MAIN:
        return ()
    if wiring.to_cidrs is None:
        return (Rule(FROM_POD_PRIORITY, wiring.table, src=pod),)
    return tuple(Rule(FROM_POD_PRIORITY, wiring.table, src=pod, dst=dst) for dst in rule_destinations(wiring.to_cidrs))
