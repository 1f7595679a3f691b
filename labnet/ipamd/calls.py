"""The plugin's two calls: an address for a container, and back again. Neither ever sleeps: it is answered before time moves on.

What a call changes stands in the checkpoint before it is answered; calls of one turn of the loop share one file.
Source: docs/sources.md#ipamd-rpc
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from labnet.errors import ImdsError, IpamError, LabnetError, NotFoundError, PoolExhausted, UnknownAttachment
from labnet.ipamd.checkpoint import Checkpoint
from labnet.ipamd.cloud import NodeCloud
from labnet.ipamd.datastore import Assignment, AttachmentKey, Datastore
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocation
from labnet.ipamd.settings import Settings
from labnet.ports import Clock, NodeLog, PodAnnotations

POD_IPS = "vpc.amazonaws.com/pod-ips"
"""The annotation of ANNOTATE_POD_IP."""


class PluginCalls:
    """Serves the plugin from one node's datastore; `primary_mac` is the first ENI's."""

    def __init__(
        self, settings: Settings, primary_mac: str, *, datastore: Datastore, checkpoint: Checkpoint, cloud: NodeCloud, clock: Clock,
        annotations: PodAnnotations | None, log: NodeLog,
    ) -> None:
        self._settings, self._primary_mac = settings, primary_mac
        self._datastore, self._checkpoint, self._cloud, self._clock = datastore, checkpoint, cloud, clock
        self._annotations = annotations if settings.annotate_pod_ip else None
        self._log = log
        self._saving: asyncio.Future[None] | None = None

    async def add(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container, the same one when asked again; `success` False when there is none, or it cannot be annotated.

        Errors: IpamError, when the checkpoint cannot be written (the address is free again) or the metadata cannot be read.
        """
        pod = f"{request.pod_namespace}/{request.pod_name}"
        self._log.debug(f"AddNetwork: pod {pod}, container {request.container_id}, interface {request.if_name}, netns {request.netns}")
        if not (request.container_id and request.if_name and request.network_name):
            self._log.error(f"AddNetwork: pod {pod}: container id, interface or network name is missing")
            return AddNetworkReply(success=False)
        key = _key(request)
        held = self._datastore.find(key)
        try:
            assignment = self._datastore.assign(
                key, self._clock.now_s(), pod_namespace=request.pod_namespace, pod_name=request.pod_name,
            )
        except PoolExhausted as error:
            self._log.error(f"AddNetwork: pod {pod}: {error.message}; {self._figures()}")
            return AddNetworkReply(success=False)
        if held is None:
            await self._saved_or(lambda: self._datastore.forget(key))
        try:
            cidrs = await self._cloud.vpc_cidrs(self._primary_mac)
        except ImdsError as error:
            raise IpamError(f"the VPC's blocks cannot be read: {error.message}") from error
        allocation = self._allocation(assignment)
        excluded = () if self._settings.external_snat else self._settings.exclude_snat_cidrs
        done = self._annotate(request.pod_namespace, request.pod_name, assignment.address)
        self._log.info(f"AddNetwork: pod {pod} has {assignment.address} of {assignment.eni_id}, table {allocation.route_table_id}")
        return AddNetworkReply(
            success=done, allocations=(allocation,) if done else (), use_external_snat=self._settings.external_snat,
            vpc_v4_cidrs=(*cidrs, *excluded),
        )

    async def delete(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Take an address back; it cools down. `success` False when the pod's annotation names another address.

        Errors: UnknownAttachment; IpamError when the checkpoint cannot be written.
        """
        pod = f"{request.pod_namespace}/{request.pod_name}"
        self._log.debug(f"DelNetwork: pod {pod}, container {request.container_id}, reason {request.reason}")
        try:
            assignment = self._datastore.release(_key(request), self._clock.now_s())
        except UnknownAttachment as error:
            self._log.warn(f"DelNetwork: pod {pod}: {error.message}")
            raise
        await self._saved_or(lambda: self._datastore.put_back(assignment))
        done = self._take_annotation_back(request.pod_namespace, request.pod_name, assignment.address)
        self._log.info(f"DelNetwork: {assignment.address} of {assignment.eni_id} is free again and cools down, {self._settings.cooldown_s} s")
        return DelNetworkReply(success=done, allocations=(self._allocation(assignment),) if done else ())

    def _allocation(self, assignment: Assignment) -> IpAllocation:
        entry = self._datastore.eni(assignment.eni_id)
        if entry is None:
            raise IpamError(f"the datastore has no {assignment.eni_id}")
        return IpAllocation(assignment.address, entry.device_index, entry.table)

    def _figures(self) -> str:
        total, assigned = self._datastore.counts()
        return f"total {total}, assigned {assigned}"

    # ---- annotation -------------------------------------------------------------------------------------------------------

    def _annotate(self, namespace: str, pod: str, address: str) -> bool:
        if self._annotations is None:
            return True
        try:
            if self._annotations.read(namespace, pod, POD_IPS) != address:
                self._annotations.write(namespace, pod, POD_IPS, address)
        except LabnetError as error:
            self._log.error(f"failed to add the annotation of pod {namespace}/{pod}: {error.message}")
            return False
        return True

    def _take_annotation_back(self, namespace: str, pod: str, address: str) -> bool:
        if self._annotations is None:
            return True
        try:
            there = self._annotations.read(namespace, pod, POD_IPS)
            if there is None:
                return True
            if there != address:
                self._log.error(f"released address {address} is not the one that pod {namespace}/{pod} is annotated with, {there!r}")
                return False
            self._annotations.write(namespace, pod, POD_IPS, "")
        except NotFoundError:
            return True  # the pod is gone: so is what it was annotated with
        except LabnetError as error:
            self._log.error(f"failed to take the annotation of pod {namespace}/{pod} back: {error.message}")
            return False
        return True

    # ---- checkpoint -------------------------------------------------------------------------------------------------------

    async def _saved_or(self, undo: Callable[[], None]) -> None:
        """Until the checkpoint holds what the datastore holds now; else undo. Errors: IpamError."""
        if self._saving is None:
            loop = asyncio.get_running_loop()
            self._saving = loop.create_future()
            loop.call_soon(self._save)
        try:
            await asyncio.shield(self._saving)  # who is cancelled leaves the file to the others
        except IpamError as error:
            undo()
            self._log.error(error.message)
            raise

    def _save(self) -> None:
        saving, self._saving = self._saving, None
        assert saving is not None, "somebody waits"
        try:
            self._checkpoint.write(self._datastore.assignments())
        except IpamError as error:
            saving.set_exception(error)
            saving.exception()  # told here already, should everybody who waits be cancelled
        else:
            saving.set_result(None)


def _key(request: AddNetworkRequest | DelNetworkRequest) -> AttachmentKey:
    return AttachmentKey(request.network_name, request.container_id, request.if_name)
