"""What the image, DHCP and kubelet leave on a node before any pod or CNI: the slice ``os`` (pure).

::

    net.ipv4.ip_forward = 1 …
    ip link set eth0 mtu 9001 up
    ip addr add ADDRESS/LEN brd BROADCAST dev eth0
    ip route add default via ROUTER dev eth0
    ip route add 169.254.169.254 dev eth0 scope link

A new namespace inherits `all` and `default` from the machine, therefore every value that a node's state depends on is
written out. Source: docs/sources.md#node-sysctls
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labnet.fabric.port import MTU_BYTES
from labnet.fabric.tables import IMDS_ADDRESS
from labnet.model.addressing import bounds, prefix_length, router_of, to_text
from labnet.model.cloud import CloudState, Eni, Instance
from labnet.model.names import eni_link
from labnet.model.netstate import Addr, KernelObject, LinkMtu, LinkUp, Route, Slice, Sysctl

SLICE = "os"

_PER_LINK = (
    ("rp_filter", "1"), ("accept_source_route", "0"), ("promote_secondaries", "1"),
    ("accept_redirects", "1"), ("secure_redirects", "1"), ("send_redirects", "1"), ("accept_local", "0"), ("route_localnet", "0"),
    ("arp_ignore", "0"), ("arp_announce", "0"), ("arp_filter", "0"), ("arp_accept", "0"), ("arp_notify", "0"), ("proxy_arp", "0"),
    ("src_valid_mark", "0"), ("log_martians", "0"),
)  # fmt: skip
_GLOBAL = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/ip_default_ttl", "64"),
    ("net/ipv4/ip_local_port_range", "32768 60999"),
    ("net/ipv4/ip_forward_use_pmtu", "0"),
    ("net/ipv4/fwmark_reflect", "0"),
    ("net/ipv4/icmp_echo_ignore_all", "0"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
)


def os_sysctls(link: str | None) -> dict[str, str]:
    """Path → value of an image's sysctls: `all` and `default`, which later links copy, and the primary link where it is there."""
    values = dict(_GLOBAL)
    for scope in ("all", "default", *([link] if link else [])):
        values |= {f"net/ipv4/conf/{scope}/{name}": value for name, value in _PER_LINK}
    return values


def plan_os(cloud: CloudState, instance: Instance, primary: Eni | None, sysctls: Mapping[str, str] | None = None) -> Slice:
    """A node's own state: `sysctls` (dotted or slashed, from the scenario) win over the image's. Shape: slice ``os``."""
    link = eni_link(0) if primary is not None else None
    chosen = {_slashed(path): value for path, value in (sysctls or {}).items()}
    objects: list[KernelObject] = [Sysctl(path, value) for path, value in (os_sysctls(link) | chosen).items()]
    if primary is not None:
        objects += _primary(cloud, primary, eni_link(0))
    return Slice(SLICE, tuple(objects))


def primaries(cloud: CloudState) -> dict[str, Eni]:
    """Instance's id → its primary ENI, for all of them at once: who asked for each apart would look at every ENI for each."""
    return {
        eni.attachment.instance_id: eni
        for eni in cloud.enis.values()
        if eni.attachment is not None and (eni.attachment.network_card_index, eni.attachment.device_index) == (0, 0)
    }


def _primary(cloud: CloudState, eni: Eni, link: str) -> Iterator[KernelObject]:
    """The primary link as DHCP leaves it."""
    cidr = cloud.subnets[eni.subnet_id].cidr
    yield LinkMtu(link, MTU_BYTES)
    yield LinkUp(link)
    yield Addr(link, eni.primary, prefix_length(cidr), broadcast=to_text(bounds(cidr)[1]))
    yield Route("default", dev=link, via=router_of(cidr))
    yield Route(f"{IMDS_ADDRESS}/32", dev=link, scope="link")


def _slashed(path: str) -> str:
    return path if "/" in path else path.replace(".", "/")
