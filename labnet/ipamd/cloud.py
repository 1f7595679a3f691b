"""What the daemon asks of EC2 and of the metadata service, in the order and with the retries of the VPC CNI.

Source: docs/sources.md#ipamd-ec2
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any

from labnet.errors import Ec2Error, ImdsError, IpamError
from labnet.ipamd.settings import Settings
from labnet.model.values import frozen
from labnet.ports import Clock, Ec2Api, Imds

MACS = "meta-data/network/interfaces/macs"
NO_MANAGE = "node.k8s.amazonaws.com/no_manage"
INSTANCE_TAG, CREATED_TAG = "node.k8s.amazonaws.com/instance_id", "node.k8s.amazonaws.com/createdAt"
CLUSTER_TAG, OWNER_TAG = "cluster.k8s.amazonaws.com/name", "eks:eni:owner"
NOT_FOUND = "InvalidNetworkInterfaceID.NotFound"
DEVICE_INDEXES = 100
TRIES = 12
MAX_DELAY_S = 60.0
IMDS_DELAY_S, DETACH_DELAY_S, DELETE_DELAY_S, TAG_DELAY_S = 0.1, 0.2, 0.5, 0.5
TAG_TRIES = 5
AFTER_DETACH_S = 2.0


@frozen
class NodeFacts:
    """What the metadata service says of the instance when the daemon starts."""

    instance_id: str
    instance_type: str
    primary_ip: str
    primary_mac: str
    primary_eni: str
    subnet_id: str
    vpc_id: str


@frozen
class AttachedEni:
    """An ENI as the metadata service lists it; `addresses` are the secondary ones."""

    id: str
    mac: str
    device_index: int
    network_card: int
    primary_ip: str
    subnet_cidr: str
    addresses: frozenset[str]
    prefixes: frozenset[str]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def managed(self) -> bool:
        """May the daemon use it? Not what is marked, not what sits on another network card; the first one always."""
        first = self.network_card == 0 and self.device_index == 0
        return first or (self.network_card == 0 and self.tags.get(NO_MANAGE) != "true")


class NodeCloud:
    """EC2 and IMDS for the daemon of one node."""

    def __init__(self, ec2: Ec2Api, imds: Imds, clock: Clock, settings: Settings) -> None:
        self._ec2, self._imds, self._clock, self._settings = ec2, imds, clock, settings

    # ---- metadata ---------------------------------------------------------------------------------------------------------

    async def facts(self) -> NodeFacts:
        """Who this instance is. Errors: ImdsError."""
        mac = await self._imds.get("meta-data/mac")
        return NodeFacts(
            instance_id=await self._imds.get("meta-data/instance-id"), instance_type=await self._imds.get("meta-data/instance-type"),
            primary_ip=await self._imds.get("meta-data/local-ipv4"), primary_mac=mac, primary_eni=await self._of(mac, "interface-id"),
            subnet_id=await self._of(mac, "subnet-id"), vpc_id=await self._of(mac, "vpc-id"),
        )

    async def vpc_cidrs(self, mac: str) -> tuple[str, ...]:
        """The VPC's blocks in the metadata's order. Errors: ImdsError."""
        return tuple((await self._of(mac, "vpc-ipv4-cidr-blocks")).split())

    async def security_groups(self, mac: str) -> tuple[str, ...]:
        """The groups of an ENI, sorted. Errors: ImdsError."""
        return tuple(sorted((await self._of(mac, "security-group-ids")).split()))

    async def attached(self) -> tuple[AttachedEni, ...]:
        """Every ENI of the instance by network card and device index, without tags. Errors: ImdsError."""
        macs = [mac.strip("/") for mac in (await self._imds.get(MACS)).split()]
        found = [await self._eni(mac) for mac in macs]
        return tuple(sorted(found, key=lambda one: (one.network_card, one.device_index)))

    async def _eni(self, mac: str) -> AttachedEni:
        fields = {word.strip("/") for word in (await self._imds.get(f"{MACS}/{mac}")).split()}
        addresses = (await self._of(mac, "local-ipv4s")).split()
        prefixes = (await self._of(mac, "ipv4-prefix")).split() if "ipv4-prefix" in fields else []
        card = await self._of(mac, "network-card") if "network-card" in fields else "0"
        return AttachedEni(
            id=await self._of(mac, "interface-id"), mac=mac, device_index=int(await self._of(mac, "device-number")), network_card=int(card),
            primary_ip=addresses[0], subnet_cidr=await self._of(mac, "subnet-ipv4-cidr-block"), addresses=frozenset(addresses[1:]),
            prefixes=frozenset(prefixes),
        )

    async def _of(self, mac: str, name: str) -> str:
        return await self._imds.get(f"{MACS}/{mac}/{name}")

    # ---- what there is ----------------------------------------------------------------------------------------------------

    async def described(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """ENIs in the API's shape by id; those that EC2 does not know are left out. Errors: Ec2Error."""
        wanted = list(ids)
        for _ in range(TRIES):
            if not wanted:
                break
            try:
                answer = await self._ec2.call("DescribeNetworkInterfaces", {"NetworkInterfaceIds": wanted})
            except Ec2Error as error:
                named = [one for one in wanted if f"'{one}'" in error.message]
                if error.code != NOT_FOUND or not named:
                    raise
                wanted = [one for one in wanted if one not in named]
            else:
                return {str(item["NetworkInterfaceId"]): item for item in answer["NetworkInterfaces"]}
        return {}

    async def tagged(self, listed: Iterable[AttachedEni]) -> list[AttachedEni]:
        """The same ENIs with their tags. Errors: Ec2Error."""
        enis = list(listed)
        described = await self.described(eni.id for eni in enis)
        return [
            replace(eni, tags={item["Key"]: item["Value"] for item in described.get(eni.id, {}).get("TagSet", ())}) for eni in enis
        ]

    async def addresses_of(self, eni_id: str) -> tuple[frozenset[str], frozenset[str]] | None:
        """Secondary addresses and prefixes of an ENI as EC2 has them, None when it is gone. Errors: Ec2Error."""
        item = (await self.described([eni_id])).get(eni_id)
        if item is None:
            return None
        addresses = frozenset(one["PrivateIpAddress"] for one in item["PrivateIpAddresses"] if not one["Primary"])
        return addresses, frozenset(one["Ipv4Prefix"] for one in item.get("Ipv4Prefixes", ()))

    # ---- changes ----------------------------------------------------------------------------------------------------------

    async def tag(self, eni_id: str, present: Mapping[str, str]) -> None:
        """Add the tags that an ENI of this node lacks. Errors: Ec2Error after 5 tries."""
        instance_id = await self._imds.get("meta-data/instance-id")
        missing = {key: value for key, value in sorted(self._tags(instance_id).items()) if present.get(key) != value}
        if missing:
            tags = [{"Key": key, "Value": value} for key, value in missing.items()]
            call = {"Resources": [eni_id], "Tags": tags}
            await self._retried(lambda: self._ec2.call("CreateTags", call), TAG_TRIES, TAG_DELAY_S)

    def _tags(self, instance_id: str) -> dict[str, str]:
        settings = self._settings
        cluster = {CLUSTER_TAG: settings.cluster_name, OWNER_TAG: "amazon-vpc-cni"} if settings.cluster_name else {}
        return {INSTANCE_TAG: instance_id, **cluster, **settings.additional_tags}

    async def set_security_groups(self, eni_id: str, groups: Iterable[str]) -> None:
        """Give an ENI the groups of the first one. Errors: Ec2Error."""
        await self._ec2.call("ModifyNetworkInterfaceAttribute", {"NetworkInterfaceId": eni_id, "Groups": list(groups)})

    async def assign(self, eni_id: str, count: int, *, prefixes: bool) -> tuple[str, ...]:
        """More addresses or prefixes for an ENI; those that came. Errors: Ec2Error."""
        key = "Ipv4PrefixCount" if prefixes else "SecondaryPrivateIpAddressCount"
        answer = await self._ec2.call("AssignPrivateIpAddresses", {"NetworkInterfaceId": eni_id, key: count})
        if prefixes:
            return tuple(item["Ipv4Prefix"] for item in answer["AssignedIpv4Prefixes"])
        return tuple(item["PrivateIpAddress"] for item in answer["AssignedPrivateIpAddresses"])

    async def unassign(self, eni_id: str, blocks: Iterable[str]) -> None:
        """Give addresses and prefixes back. Errors: Ec2Error."""
        listed = list(blocks)
        by_kind = {"PrivateIpAddresses": [one for one in listed if "/" not in one], "Ipv4Prefixes": [one for one in listed if "/" in one]}
        for key, members in by_kind.items():
            if members:
                await self._ec2.call("UnassignPrivateIpAddresses", {"NetworkInterfaceId": eni_id, key: members})

    async def create_eni(self, facts: NodeFacts, count: int, groups: Iterable[str], *, prefixes: bool) -> str:
        """A new ENI in the node's subnet, attached at the first free device index; its id.

        Errors: Ec2Error; what was made before the error is deleted again.
        """
        key = "Ipv4PrefixCount" if prefixes else "SecondaryPrivateIpAddressCount"
        created_at = datetime.fromtimestamp(int(self._clock.now_s()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        tags = {**self._tags(facts.instance_id), CREATED_TAG: created_at}
        made = await self._ec2.call("CreateNetworkInterface", {
            "Description": f"aws-K8S-{facts.instance_id}", "Groups": list(groups), "SubnetId": facts.subnet_id, key: count,
            "TagSpecifications": [{
                "ResourceType": "network-interface", "Tags": [{"Key": name, "Value": tags[name]} for name in sorted(tags)],
            }],
        })
        eni_id = str(made["NetworkInterface"]["NetworkInterfaceId"])
        try:
            attachment = await self._attach(facts, eni_id)
        except Ec2Error:
            await self._delete(eni_id)
            raise
        change = {"NetworkInterfaceId": eni_id, "Attachment": {"AttachmentId": attachment, "DeleteOnTermination": True}}
        try:
            await self._ec2.call("ModifyNetworkInterfaceAttribute", change)
        except Ec2Error:
            await self.free_eni(eni_id)
            raise
        return eni_id

    async def _attach(self, facts: NodeFacts, eni_id: str) -> str:
        answer = await self._ec2.call("DescribeInstances", {"InstanceIds": [facts.instance_id]})
        interfaces = answer["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
        used = {
            item["Attachment"]["DeviceIndex"] for item in interfaces if item["Attachment"].get("NetworkCardIndex", 0) == 0
        }
        free = next((index for index in range(DEVICE_INDEXES) if index not in used), None)
        if free is None:
            raise Ec2Error("AttachmentLimitExceeded", "no free device index")
        attached = await self._ec2.call("AttachNetworkInterface", {
            "DeviceIndex": free, "InstanceId": facts.instance_id, "NetworkInterfaceId": eni_id, "NetworkCardIndex": 0,
        })
        return str(attached["AttachmentId"])

    async def appeared(self, eni_id: str, count: int) -> AttachedEni:
        """A new ENI once the metadata service lists it with that many addresses or prefixes, after 12 looks with fewer.

        Errors: IpamError when it does not come, or comes without any.
        """
        found: AttachedEni | None = None
        delay_s = IMDS_DELAY_S
        for _ in range(TRIES):
            try:
                found = next((one for one in await self.attached() if one.id == eni_id), None)
            except ImdsError:
                found = None
            if found is not None and len(found.addresses) + len(found.prefixes) >= count:
                return found
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, MAX_DELAY_S)
        if found is None or not (found.addresses or found.prefixes):
            raise IpamError(f"{eni_id} was attached, but the metadata service does not list it with its addresses")
        return found

    async def free_eni(self, eni_id: str) -> None:
        """Detach and delete an ENI; gone already is fine. Errors: Ec2Error."""
        item = (await self.described([eni_id])).get(eni_id)
        if item is None:
            return
        attachment = item.get("Attachment")
        if attachment is not None:
            call = {"AttachmentId": attachment["AttachmentId"]}
            await self._retried(lambda: self._ec2.call("DetachNetworkInterface", call), TRIES, DETACH_DELAY_S)
            await self._clock.sleep(AFTER_DETACH_S)
        await self._delete(eni_id)

    async def _delete(self, eni_id: str) -> None:
        try:
            await self._retried(lambda: self._ec2.call("DeleteNetworkInterface", {"NetworkInterfaceId": eni_id}), TRIES, DELETE_DELAY_S)
        except Ec2Error as error:
            if error.code != NOT_FOUND:
                raise

    async def _retried(self, call: Callable[[], Awaitable[Any]], tries: int, delay_s: float) -> Any:
        """Make a call again until it works; what is not there will not come by waiting."""
        for turn in range(tries):
            try:
                return await call()
            except Ec2Error as error:
                if error.code == NOT_FOUND or turn == tries - 1:
                    raise
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, MAX_DELAY_S)
        return None
