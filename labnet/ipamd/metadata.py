"""What the daemon reads of the instance metadata: who the node is, and which ENIs are attached to it.

It lags behind EC2 by seconds: whoever finds something amiss here asks EC2 before acting on it. Source: docs/sources.md#imds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from labnet.model.values import frozen
from labnet.ports import Imds

MACS = "meta-data/network/interfaces/macs"


@frozen
class NodeFacts:
    """What the metadata service says of the instance when the daemon starts."""

    instance_id: str
    instance_type: str
    availability_zone: str
    primary_ip: str
    primary_mac: str
    primary_eni: str
    subnet_id: str
    vpc_id: str


@frozen
class AttachedEni:
    """An ENI as the metadata service lists it; `addresses` are the secondary ones. Of EC2 are its tags and the timeouts of its flows
    that were set (`ConnectionTrackingConfiguration`, seconds by the API's names).
    """

    id: str
    mac: str
    device_index: int
    network_card: int
    primary_ip: str
    subnet_id: str
    subnet_cidr: str
    addresses: frozenset[str]
    prefixes: frozenset[str]
    tags: Mapping[str, str] = field(default_factory=dict)
    connection_tracking: Mapping[str, int] = field(default_factory=dict)

    @property
    def primary(self) -> bool:
        """Is it the one that the instance was launched with?"""
        return self.network_card == 0 and self.device_index == 0


class NodeMetadata:
    """The metadata service for the daemon of one node. With `skip_first_prefixes` the first ENI's prefixes are not read."""

    def __init__(self, imds: Imds, *, skip_first_prefixes: bool = False) -> None:
        self._imds, self._skip_first_prefixes = imds, skip_first_prefixes

    async def facts(self) -> NodeFacts:
        """Who this instance is. Errors: ImdsError."""
        zone = await self._imds.get("meta-data/placement/availability-zone")
        mac = await self._imds.get("meta-data/mac")
        return NodeFacts(
            instance_id=await self.instance_id(), instance_type=await self._imds.get("meta-data/instance-type"), availability_zone=zone,
            primary_ip=await self._imds.get("meta-data/local-ipv4"), primary_mac=mac, primary_eni=await self._of(mac, "interface-id"),
            subnet_id=await self._of(mac, "subnet-id"), vpc_id=await self._of(mac, "vpc-id"),
        )

    async def instance_id(self) -> str:
        """The instance's id. Errors: ImdsError."""
        return await self._imds.get("meta-data/instance-id")

    async def vpc_cidrs(self, mac: str) -> tuple[str, ...]:
        """The VPC's blocks in the metadata's order. Errors: ImdsError."""
        return tuple((await self._of(mac, "vpc-ipv4-cidr-blocks")).split())

    async def security_groups(self, mac: str) -> tuple[str, ...]:
        """The groups of an ENI, sorted. Errors: ImdsError."""
        return tuple(sorted((await self._of(mac, "security-group-ids")).split()))

    async def attached(self) -> tuple[AttachedEni, ...]:
        """Every ENI of the instance by network card and device index, without what EC2 alone knows. Errors: ImdsError."""
        macs = [mac.strip("/") for mac in (await self._imds.get(MACS)).split()]
        found = [await self._eni(mac) for mac in macs]
        return tuple(sorted(found, key=lambda one: (one.network_card, one.device_index)))

    async def _eni(self, mac: str) -> AttachedEni:
        fields = {word.strip("/") for word in (await self._imds.get(f"{MACS}/{mac}")).split()}
        addresses = (await self._of(mac, "local-ipv4s")).split()
        device_index = int(await self._of(mac, "device-number"))
        card = int(await self._of(mac, "network-card")) if "network-card" in fields else 0
        unread = self._skip_first_prefixes and device_index == 0 and card == 0
        prefixes = (await self._of(mac, "ipv4-prefix")).split() if "ipv4-prefix" in fields and not unread else []
        return AttachedEni(
            id=await self._of(mac, "interface-id"), mac=mac, device_index=device_index, network_card=card, primary_ip=addresses[0],
            subnet_id=await self._of(mac, "subnet-id"), subnet_cidr=await self._of(mac, "subnet-ipv4-cidr-block"),
            addresses=frozenset(addresses[1:]), prefixes=frozenset(prefixes),
        )

    async def _of(self, mac: str, name: str) -> str:
        return await self._imds.get(f"{MACS}/{mac}/{name}")
