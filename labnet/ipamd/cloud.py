"""What the daemon asks of EC2, in the order and with the retries of the VPC CNI; what it reads of the metadata is `metadata`.

Source: docs/sources.md#ipamd-ec2
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from labnet.errors import Ec2Error, ImdsError, IpamError
from labnet.ipamd import subnets
from labnet.ipamd.metadata import AttachedEni, NodeFacts, NodeMetadata
from labnet.ipamd.settings import Settings
from labnet.ports import Clock, Ec2Api, Imds

NO_MANAGE = "node.k8s.amazonaws.com/no_manage"
INSTANCE_TAG, CREATED_TAG = "node.k8s.amazonaws.com/instance_id", "node.k8s.amazonaws.com/createdAt"
CLUSTER_TAG, OWNER_TAG = "cluster.k8s.amazonaws.com/name", "eks:eni:owner"
DESCRIPTION = "aws-K8S-"
NOT_FOUND, DENIED = "InvalidNetworkInterfaceID.NotFound", "UnauthorizedOperation"
QUOTED_ENI = re.compile(r"'(eni-[0-9a-z]+)'")
DEVICE_INDEXES = 100
TRIES = 12
MAX_DELAY_S = 60.0
IMDS_DELAY_S, DETACH_DELAY_S, DELETE_DELAY_S, TAG_DELAY_S = 0.1, 0.2, 0.5, 0.5
TAG_TRIES = 5
AFTER_DETACH_S = 2.0
CREATE = "CreateNetworkInterface"
PAGE = 1000
NAMESPACE = uuid.UUID("5f0e3d4c-7a0b-5c6e-9a55-0c1a6d8b2e11")
"""Of the client tokens, which follow from who creates what when."""


def timestamp(now_s: float) -> str:
    """A moment as the tag of creation has it, RFC 3339."""
    return datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class NodeCloud(NodeMetadata):
    """EC2 and the metadata for the daemon of one node. `denied` hears of every action that the node's role may not call."""

    def __init__(
        self, ec2: Ec2Api, imds: Imds, clock: Clock, settings: Settings, denied: Callable[[str], None] = lambda action: None
    ) -> None:
        super().__init__(imds, skip_first_prefixes=settings.custom_networking)
        self._ec2, self._clock, self._settings, self._denied = ec2, clock, settings, denied
        self._made = 0
        self._connection_tracking: Mapping[str, int] = {}

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One action. Errors: Ec2Error."""
        try:
            return await self._ec2.call(action, params)
        except Ec2Error as error:
            if error.code == DENIED:
                self._denied(action)
            raise

    # ---- what there is ----------------------------------------------------------------------------------------------------

    async def described(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """ENIs in the API's shape by id; those that EC2 does not know are left out. Errors: Ec2Error, also after 12 of those."""
        wanted = list(ids)
        for turn in range(TRIES):
            if not wanted:
                break
            try:
                answer = await self.call("DescribeNetworkInterfaces", {"NetworkInterfaceIds": wanted})
            except Ec2Error as error:
                unknown = set(QUOTED_ENI.findall(error.message))
                if error.code != NOT_FOUND or not unknown.intersection(wanted) or turn == TRIES - 1:
                    raise
                wanted = [one for one in wanted if one not in unknown]
            else:
                return {str(item["NetworkInterfaceId"]): item for item in answer["NetworkInterfaces"]}
        return {}

    async def tagged(self, listed: Iterable[AttachedEni]) -> list[AttachedEni]:
        """The same ENIs with their tags and timeouts, without those that EC2 does not know: the metadata lags. Errors: Ec2Error.

        Where only the metadata may be asked, all of them, without either.
        """
        enis = list(listed)
        if self._settings.imds_only:
            return enis
        described = await self.described(eni.id for eni in enis)
        return [
            replace(
                eni, tags=subnets.tags_of(described[eni.id]), connection_tracking=described[eni.id].get("ConnectionTrackingConfiguration", {})
            )
            for eni in enis if eni.id in described
        ]

    def copy_timeouts(self, enis: Iterable[AttachedEni]) -> None:
        """From now on new ENIs get the connection tracking timeouts that the first one has now. Release 1.6 does not copy them."""
        if self._settings.dialect != "1.6":
            self._connection_tracking = next((dict(eni.connection_tracking) for eni in enis if eni.primary), {})

    def manages(self, eni: AttachedEni, instance_id: str) -> bool:
        """May the daemon use it? The first one always; none on another network card, none that is marked, and without
        MANAGE_UNTAGGED_ENI none but its own.
        """
        if eni.primary:
            return True
        own = self._settings.manage_untagged_enis or eni.tags.get(INSTANCE_TAG) == instance_id
        return eni.network_card == 0 and eni.tags.get(NO_MANAGE) != "true" and own

    async def addresses_of(self, eni_id: str) -> tuple[frozenset[str], frozenset[str]] | None:
        """Secondary addresses and prefixes of an ENI as EC2 has them, None when it is gone. Errors: Ec2Error, ImdsError."""
        if self._settings.imds_only:
            found = next((one for one in await self.attached() if one.id == eni_id), None)
            return None if found is None else (found.addresses, found.prefixes)
        item = (await self.described([eni_id])).get(eni_id)
        if item is None:
            return None
        addresses = frozenset(one["PrivateIpAddress"] for one in item["PrivateIpAddresses"] if not one["Primary"])
        return addresses, frozenset(one["Ipv4Prefix"] for one in item.get("Ipv4Prefixes", ()))

    async def subnets(self, facts: NodeFacts) -> list[dict[str, Any]]:
        """The subnets of the node's VPC and zone, in the API's shape. Errors: Ec2Error."""
        filters = [
            {"Name": "vpc-id", "Values": [facts.vpc_id]}, {"Name": "availability-zone", "Values": [facts.availability_zone]},
        ]
        return list((await self.call("DescribeSubnets", {"Filters": filters}))["Subnets"])

    async def excluded(self, facts: NodeFacts, subnet_id: str) -> bool:
        """Does its tag keep pods' addresses out of a subnet? One that is not found does not say so. Errors: Ec2Error."""
        return any(one["SubnetId"] == subnet_id and subnets.is_excluded(one) for one in await self.subnets(facts))

    # ---- changes ----------------------------------------------------------------------------------------------------------

    async def tag(self, eni_id: str, present: Mapping[str, str]) -> None:
        """Add the tags that an ENI of this node lacks. Errors: Ec2Error after 5 tries."""
        instance_id = await self.instance_id()
        missing = {key: value for key, value in sorted(self._tags(instance_id).items()) if present.get(key) != value}
        if missing:
            await self.create_tags(eni_id, missing)

    async def create_tags(self, eni_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an ENI. Errors: Ec2Error after 5 tries."""
        call = {"Resources": [eni_id], "Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}
        await self._retried(lambda: self.call("CreateTags", call), TAG_TRIES, TAG_DELAY_S)

    def _tags(self, instance_id: str) -> dict[str, str]:
        settings = self._settings
        cluster = {CLUSTER_TAG: settings.cluster_name, OWNER_TAG: "amazon-vpc-cni"} if settings.cluster_name else {}
        return {INSTANCE_TAG: instance_id, **cluster, **settings.additional_tags}

    async def set_security_groups(self, eni_id: str, groups: Iterable[str]) -> None:
        """Give an ENI the groups of the first one. Errors: Ec2Error."""
        await self.call("ModifyNetworkInterfaceAttribute", {"NetworkInterfaceId": eni_id, "Groups": list(groups)})

    async def assign(self, eni_id: str, count: int, *, prefixes: bool) -> tuple[str, ...]:
        """More addresses or prefixes for an ENI; those that came. Errors: Ec2Error."""
        answer = await self.call("AssignPrivateIpAddresses", {"NetworkInterfaceId": eni_id, _count_key(prefixes): count})
        if prefixes:
            return tuple(item["Ipv4Prefix"] for item in answer["AssignedIpv4Prefixes"])
        return tuple(item["PrivateIpAddress"] for item in answer["AssignedPrivateIpAddresses"])

    async def unassign(self, eni_id: str, blocks: Iterable[str]) -> None:
        """Give addresses and prefixes back. Errors: Ec2Error."""
        listed = list(blocks)
        by_kind = {"PrivateIpAddresses": [one for one in listed if "/" not in one], "Ipv4Prefixes": [one for one in listed if "/" in one]}
        for key, members in by_kind.items():
            if members:
                await self.call("UnassignPrivateIpAddresses", {"NetworkInterfaceId": eni_id, key: members})

    # ---- a new ENI --------------------------------------------------------------------------------------------------------

    async def create_eni(self, facts: NodeFacts, count: int, groups: Iterable[str], *, prefixes: bool, subnet_id: str | None = None) -> str:
        """A new ENI, attached at the first free device index; its id, empty when it was made and had to go again.

        In the given subnet, else in the first one that takes it: of those that discovery finds, or the node's own.
        Errors: Ec2Error of the last subnet tried; IpamError without a subnet or a device index; then no ENI is left.
        """
        places = (subnet_id,) if subnet_id is not None else await self._places(facts)
        listed = list(groups)
        for place in places:
            try:
                eni_id = await self._create(facts, place, listed, {_count_key(prefixes): count})
                break
            except Ec2Error:
                if place == places[-1]:
                    raise
        attachment = await self._attach_or_delete(facts, eni_id)
        change = {"NetworkInterfaceId": eni_id, "Attachment": {"AttachmentId": attachment, "DeleteOnTermination": True}}
        try:
            await self.call("ModifyNetworkInterfaceAttribute", change)
        except Ec2Error:
            with suppress(Ec2Error):
                await self.free_eni(eni_id)
            return ""  # the VPC CNI tells no error here either: its caller waits for an ENI that never comes
        return eni_id

    async def _places(self, facts: NodeFacts) -> tuple[str, ...]:
        """The subnets to try. The node's own when they cannot be listed, unless a second look, which must work, says it is excluded."""
        if not self._settings.subnet_discovery:
            return (facts.subnet_id,)
        try:
            listed = await self.subnets(facts)
        except Ec2Error:
            places: tuple[str, ...] = () if await self.excluded(facts, facts.subnet_id) else (facts.subnet_id,)
        else:
            places = subnets.choose(listed, facts.subnet_id, self._settings.cluster_name)
        if not places:
            raise IpamError("no subnet may take a new ENI: the node's own is excluded, and no other is tagged for this cluster")
        return places

    async def _create(self, facts: NodeFacts, subnet_id: str, groups: list[str], count: Mapping[str, int]) -> str:
        now_s = self._clock.now_s()
        self._made += 1
        tags = {**self._tags(facts.instance_id), CREATED_TAG: timestamp(now_s)}
        timeouts = {"ConnectionTrackingSpecification": self._connection_tracking} if self._connection_tracking else {}
        made = await self.call(CREATE, {
            "Description": f"{DESCRIPTION}{facts.instance_id}", "Groups": groups, "SubnetId": subnet_id, **count, **timeouts,
            "TagSpecifications": [{
                "ResourceType": "network-interface", "Tags": [{"Key": name, "Value": tags[name]} for name in sorted(tags)],
            }],
            "ClientToken": str(uuid.uuid5(NAMESPACE, f"{facts.instance_id} {now_s} {self._made}")),
        })
        return str(made["NetworkInterface"]["NetworkInterfaceId"])

    async def _attach_or_delete(self, facts: NodeFacts, eni_id: str) -> str:
        """The id of the attachment. Errors: Ec2Error, IpamError; then the ENI is deleted, or left to the sweep of leaked ones."""
        try:
            return await self._attach(facts, eni_id)
        except (Ec2Error, IpamError):
            with suppress(Ec2Error):
                await self.delete(eni_id)
            raise

    async def _attach(self, facts: NodeFacts, eni_id: str) -> str:
        answer = await self.call("DescribeInstances", {"InstanceIds": [facts.instance_id]})
        interfaces = answer["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
        used = {
            item["Attachment"]["DeviceIndex"] for item in interfaces if item["Attachment"].get("NetworkCardIndex", 0) == 0
        }
        free = next((index for index in range(DEVICE_INDEXES) if index not in used), None)
        if free is None:
            raise IpamError(f"{facts.instance_id} has no free device index on network card 0")
        attached = await self.call("AttachNetworkInterface", {
            "DeviceIndex": free, "InstanceId": facts.instance_id, "NetworkInterfaceId": eni_id, "NetworkCardIndex": 0,
        })
        return str(attached["AttachmentId"])

    async def appeared(self, eni_id: str, count: int) -> AttachedEni:
        """A new ENI once the metadata service lists it with that many addresses or prefixes, after 12 looks with fewer.

        Errors: IpamError when it does not come, or comes without any.
        """
        found: AttachedEni | None = None
        delay_s = IMDS_DELAY_S
        for turn in range(TRIES):
            try:
                found = next((one for one in await self.attached() if one.id == eni_id), None)
            except ImdsError:
                found = None
            if found is not None and len(found.addresses) + len(found.prefixes) >= count:
                return found
            if turn < TRIES - 1:
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, MAX_DELAY_S)
        if found is None or not (found.addresses or found.prefixes):
            if not eni_id:
                raise IpamError("the new ENI could not be changed and was freed again")
            raise IpamError(f"{eni_id} was attached, but the metadata service does not list it with its addresses")
        return found

    # ---- an end -----------------------------------------------------------------------------------------------------------

    async def free_eni(self, eni_id: str) -> None:
        """Detach and delete an ENI; gone already is fine. Errors: Ec2Error."""
        item = (await self.described([eni_id])).get(eni_id)
        if item is None:
            return
        attachment = item.get("Attachment")
        if attachment is not None:
            call = {"AttachmentId": attachment["AttachmentId"]}
            await self._retried(lambda: self.call("DetachNetworkInterface", call), TRIES, DETACH_DELAY_S)
            await self._clock.sleep(AFTER_DETACH_S)
        await self.delete(eni_id)

    async def delete(self, eni_id: str) -> None:
        """Delete a detached ENI; gone already is fine. Errors: Ec2Error after 12 tries."""
        try:
            await self._retried(lambda: self.call("DeleteNetworkInterface", {"NetworkInterfaceId": eni_id}), TRIES, DELETE_DELAY_S)
        except Ec2Error as error:
            if error.code != NOT_FOUND:
                raise

    async def leaked(self, facts: NodeFacts) -> list[dict[str, Any]]:
        """Detached ENIs of any node's daemon in the VPC, in the API's shape; with a cluster's name, of that cluster. Errors: Ec2Error."""
        filters = [
            {"Name": "tag-key", "Values": [INSTANCE_TAG]}, {"Name": "status", "Values": ["available"]},
            {"Name": "vpc-id", "Values": [facts.vpc_id]},
        ]
        if self._settings.cluster_name:
            filters.append({"Name": f"tag:{CLUSTER_TAG}", "Values": [self._settings.cluster_name]})
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"Filters": filters, "MaxResults": PAGE}
        while True:
            answer = await self.call("DescribeNetworkInterfaces", params)
            found += answer["NetworkInterfaces"]
            if not answer.get("NextToken"):
                return [item for item in found if str(item.get("Description", "")).startswith(DESCRIPTION)]
            params = {**params, "NextToken": answer["NextToken"]}

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


def _count_key(prefixes: bool) -> str:
    return "Ipv4PrefixCount" if prefixes else "SecondaryPrivateIpAddressCount"
