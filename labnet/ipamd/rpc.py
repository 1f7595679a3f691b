"""What the CNI plugin and the daemon say to each other: the fields of the VPC CNI's own protocol, in snake case (pure).

Source: docs/sources.md#ipamd-rpc
"""

from __future__ import annotations

from labnet.model.values import frozen


@frozen
class IpAllocation:
    """One address: without mask, the device index of its ENI, and the route table of that ENI (254 = main)."""

    ipv4_addr: str
    device_number: int
    route_table_id: int


@frozen
class AddNetworkRequest:
    """Asks for an address; network, container and interface name are the key under which it is kept."""

    pod_name: str
    pod_namespace: str
    infra_container_id: str
    netns: str
    if_name: str
    network_name: str
    container_id: str


@frozen
class AddNetworkReply:
    """`vpc_v4_cidrs` are the VPC's blocks and, with SNAT on the node, the excluded ones behind them."""

    success: bool
    allocations: tuple[IpAllocation, ...] = ()
    use_external_snat: bool = False
    vpc_v4_cidrs: tuple[str, ...] = ()


@frozen
class DelNetworkRequest:
    """Gives an address back; `reason` is free text (``PodDeleted``, ``SetupNSFailed``)."""

    pod_name: str
    pod_namespace: str
    infra_container_id: str
    pod_uid: str
    reason: str
    if_name: str
    network_name: str
    container_id: str


@frozen
class DelNetworkReply:
    """What the container had."""

    success: bool
    allocations: tuple[IpAllocation, ...] = ()
