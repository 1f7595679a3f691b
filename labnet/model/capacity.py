"""How many pods a node has addresses for, what a node holds of its subnet, and how many nodes a subnet takes (pure).

Everything is counted with the VPC CNI's default targets: WARM_ENI_TARGET=1, with prefixes WARM_PREFIX_TARGET=1. With custom
networking the first ENI serves no pods and is in another subnet: what is said of a subnet is then said of the ENIConfig's.
Source: docs/sources.md#max-pods, docs/sources.md#capacity
"""

from __future__ import annotations

import re
from bisect import bisect_left

from labnet.model.addressing import PREFIX_ADDRESSES, PREFIX_BITS, bounds, canonical, free_prefixes, prefix_length, usable_count
from labnet.model.cloud import InstanceType
from labnet.model.cluster import HOST_NETWORK_PODS
from labnet.model.values import frozen

UPGRADE_ADDRESSES = 3
"""Free addresses that an upgrade of an EKS cluster may want of a subnet."""
LARGEST_SUBNET_BITS = 16
FEW_VCPUS_BELOW, PODS_WITH_FEW_VCPUS, PODS_WITH_MANY_VCPUS = 30, 110, 250
"""EKS's ceilings of max-pods where prefixes would give room for more."""
VCPUS_PER_XLARGE = 4
_SIZE_RE = re.compile(r"(?:metal-)?(\d+)x(?:large|l)")
_ODD_SIZES = {"hpc7a.12xlarge": 24, "hs1.8xlarge": 16, "cc1.4xlarge": 16, "a1.metal": 16}
"""Types whose vCPUs do not follow from their size's name, as far as it matters here."""


@frozen
class PodNetworking:
    """The VPC CNI's settings that decide how many addresses a node has for pods; `max_enis` None = the type's limit."""

    prefix_delegation: bool = False
    custom_networking: bool = False
    max_enis: int | None = None


@frozen
class Holding:
    """What a node holds of a subnet: `addresses` one by one (each ENI's own, and secondary ones), and /28 `prefixes`."""

    enis: int
    addresses: int
    prefixes: int

    @property
    def total(self) -> int:
        """Addresses of the subnet that nobody else can have."""
        return self.addresses + self.prefixes * PREFIX_ADDRESSES


# ---- a node ---------------------------------------------------------------------------------------------------------------


def takes_prefixes(limits: InstanceType) -> bool:
    """Can ENIs of this type have prefixes? Only Nitro and bare metal."""
    return limits.hypervisor == "nitro" or limits.bare_metal


def pod_enis(limits: InstanceType, networking: PodNetworking) -> int:
    """ENIs that serve pods."""
    enis = min(limits.enis, networking.max_enis or limits.enis)
    return max(enis - (1 if networking.custom_networking else 0), 0)


def pod_addresses(limits: InstanceType, networking: PodNetworking) -> int:
    """ENIs for pods × (IPv4 per ENI − 1), each of these a /28 with prefix delegation."""
    return pod_enis(limits, networking) * (limits.ipv4_per_eni - 1) * _block(limits, networking)


def max_pods(limits: InstanceType, networking: PodNetworking) -> int:
    """What the node's kubelet is told: pod addresses and two host-network pods; with prefixes under EKS's ceiling.

    MAX_ENI does not count: it is a setting of the daemon, which whoever starts the kubelet does not read.
    """
    if not networking.custom_networking and not _prefixes(limits, networking):
        return limits.max_pods
    offered = pod_addresses(limits, PodNetworking(networking.prefix_delegation, networking.custom_networking)) + HOST_NETWORK_PODS
    return min(offered, pods_ceiling(limits.name)) if _prefixes(limits, networking) else offered


def pods_ceiling(instance_type: str) -> int:
    """EKS's ceiling of max-pods with prefixes, by the vCPUs that the type's name tells."""
    return PODS_WITH_FEW_VCPUS if vcpus_said(instance_type) < FEW_VCPUS_BELOW else PODS_WITH_MANY_VCPUS


def vcpus_said(instance_type: str) -> int:
    """vCPUs as the size's name has them: four for each xlarge, fewer below. Bare metal without a size has many, but for Macs.

    The figure is right to the side of 30 that it lies on, no more is promised of it.
    """
    family, _dot, size = instance_type.partition(".")
    if instance_type in _ODD_SIZES:
        return _ODD_SIZES[instance_type]
    sized = _SIZE_RE.fullmatch(size)
    if sized is not None:
        return int(sized[1]) * VCPUS_PER_XLARGE
    if size == "metal" and not family.startswith("mac"):
        return FEW_VCPUS_BELOW
    return VCPUS_PER_XLARGE


def ordinary_pods(limits: InstanceType, networking: PodNetworking) -> int:
    """Pods with an address of their own that a node takes: as many as it has addresses for, and max-pods less two at most."""
    return max(min(pod_addresses(limits, networking), max_pods(limits, networking) - HOST_NETWORK_PODS), 0)


def holding(limits: InstanceType, networking: PodNetworking, pods: int) -> Holding:
    """What a node with so many pods holds of the subnet of its pods, once its warm pool is full."""
    most, slots = pod_enis(limits, networking), limits.ipv4_per_eni - 1
    if not most or not slots:
        return Holding(most and 1, most and 1, 0)
    wanted = min(max_pods(limits, networking), pods + (PREFIX_ADDRESSES if _prefixes(limits, networking) else slots))
    if _prefixes(limits, networking):
        prefixes = min(-(-wanted // PREFIX_ADDRESSES), most * slots)
        enis = max(-(-prefixes // slots), 1)
        return Holding(enis, enis, prefixes)
    enis = min(-(-wanted // slots), most)
    return Holding(enis, enis * limits.ipv4_per_eni, 0)


def _prefixes(limits: InstanceType, networking: PodNetworking) -> bool:
    return networking.prefix_delegation and takes_prefixes(limits)


def _block(limits: InstanceType, networking: PodNetworking) -> int:
    return PREFIX_ADDRESSES if _prefixes(limits, networking) else 1


# ---- a subnet -------------------------------------------------------------------------------------------------------------


@frozen
class SubnetRoom:
    """An empty subnet: `usable` without AWS's five, `blocks` whole /28s among them, `outside` usable addresses in none of these."""

    cidr: str
    size: int
    usable: int
    blocks: int

    @property
    def outside(self) -> int:
        """Single addresses that cost no block."""
        return self.usable - self.blocks * PREFIX_ADDRESSES


def subnet_room(cidr: str) -> SubnetRoom:
    """What a new subnet offers. Errors: ValueError when it is no CIDR block."""
    first, last = bounds(cidr)
    return SubnetRoom(cidr, last - first + 1, usable_count(cidr), sum(1 for _ in free_prefixes(cidr, ())))


def nodes_that_fit(room: SubnetRoom, each: Holding, *, scattered: bool = False) -> int:
    """How many nodes a subnet takes, with what an upgrade needs left free.

    With prefixes it depends on where single addresses lie. At best they fill up broken blocks first, as they do beside a CIDR
    reservation for prefixes; `scattered`, each breaks a block of its own, and no order of requests can do worse.
    """
    if not each.total:
        return 0
    counts = range(room.usable // each.total + 2)
    return bisect_left(counts, True, key=lambda nodes: not fits(room, each, nodes, scattered=scattered)) - 1


def fits(room: SubnetRoom, each: Holding, nodes: int, *, scattered: bool = False) -> bool:
    """Does the subnet take that many nodes?"""
    if nodes * each.total + (UPGRADE_ADDRESSES if nodes else 0) > room.usable:
        return False
    singles = nodes * each.addresses
    broken = singles if scattered else -(-max(singles - room.outside, 0) // PREFIX_ADDRESSES)
    return not each.prefixes or nodes * each.prefixes + broken <= room.blocks


def smallest_subnet(each: Holding, nodes: int) -> int | None:
    """The prefix length of the smallest subnet that takes so many nodes at best; None when not even a /16 does."""
    for bits in range(PREFIX_BITS, LARGEST_SUBNET_BITS - 1, -1):
        if fits(subnet_room(f"10.0.0.0/{bits}"), each, nodes):
            return bits
    return None


# ---- the document ---------------------------------------------------------------------------------------------------------


@frozen
class Question:
    """What is asked: a type under some settings; a subnet, so many nodes, or both."""

    limits: InstanceType
    networking: PodNetworking
    subnet: str | None = None
    nodes: int | None = None


def capacity(asked: Question) -> dict[str, object]:
    """The Capacity document. Errors: ValueError when the subnet is no CIDR block."""
    limits, networking = asked.limits, asked.networking
    full = ordinary_pods(limits, networking)
    states = {"idle": (0, holding(limits, networking, 0)), "full": (full, holding(limits, networking, full))}
    room = None if asked.subnet is None else subnet_room(asked.subnet)
    document: dict[str, object] = {
        "apiVersion": "labnet/v1", "kind": "Capacity", "instanceType": limits.name,
        "prefixDelegation": _prefixes(limits, networking), "customNetworking": networking.custom_networking,
        "enis": limits.enis, "ipv4PerEni": limits.ipv4_per_eni, "podEnis": pod_enis(limits, networking),
        "podAddresses": pod_addresses(limits, networking), "maxPods": max_pods(limits, networking),
        "node": {name: {"pods": pods, **_held(each)} for name, (pods, each) in states.items()},
    }
    if room is not None:
        document["subnet"] = {
            "cidr": room.cidr, "addresses": room.size, "usable": room.usable, "kept": UPGRADE_ADDRESSES, "blocks": room.blocks,
            **{name: _taken(room, each, pods) for name, (pods, each) in states.items()},
        }
    if asked.nodes is not None:
        document["nodes"] = {"count": asked.nodes, **{name: _asked(room, each, asked.nodes) for name, (_, each) in states.items()}}
    return document


def _held(each: Holding) -> dict[str, int]:
    return {"enis": each.enis, "addresses": each.addresses, "prefixes": each.prefixes, "total": each.total}


def _taken(room: SubnetRoom, each: Holding, pods: int) -> dict[str, int]:
    packed, scattered = nodes_that_fit(room, each), nodes_that_fit(room, each, scattered=True)
    return {"nodes": packed, "pods": packed * pods, "nodesScattered": scattered, "podsScattered": scattered * pods}


def _asked(room: SubnetRoom | None, each: Holding, nodes: int) -> dict[str, object]:
    bits = smallest_subnet(each, nodes)
    answer: dict[str, object] = {"addresses": nodes * each.total, "smallestSubnet": None if bits is None else f"/{bits}"}
    if room is not None:
        answer |= {"fits": fits(room, each, nodes), "fitsScattered": fits(room, each, nodes, scattered=True)}
    return answer


def is_subnet(cidr: str) -> bool:
    """Could AWS make this subnet: an IPv4 block without host bits, /16 to /28?"""
    try:
        return canonical(cidr) == cidr and LARGEST_SUBNET_BITS <= prefix_length(cidr) <= PREFIX_BITS
    except ValueError:
        return False
