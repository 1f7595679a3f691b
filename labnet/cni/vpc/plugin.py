"""The VPC CNI's plugin: an address from ipamd, a veth, three routes, a neighbour and one to n rules.

ADD may be repeated: the same address, a new veth. DEL never deletes the veth, the runtime ends the namespace; it succeeds
for a pod that ipamd does not know, touching nothing, and when ipamd is down, by what ADD left in `prevResult`. That is why
the result carries numbers where MACs and paths belong (`contents`).

Calls for one attachment take turns, so that a DEL which overtakes its ADD leaves nothing behind.

CHECK, GC and STATUS are our addition: the real plugin answers all three with success and does nothing. CHECK compares
`prevResult` with what the lab attached, then the pod's and the node's kernel state with the plan, and names the first
difference (number 999), or answers number 3 for a container that is not attached. GC detaches what ``cni.dev/valid-attachments``
does not list, if there is such a list. STATUS answers number 50 while ipamd is down. The list of a node has version 0.4.0, so
that only a runtime with a list of its own asks for GC and STATUS.
Source: docs/sources.md#vpc-cni-plugin
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from labnet.cni import spec
from labnet.cni.result import Result
from labnet.cni.spec import Call
from labnet.cni.vpc import compare
from labnet.cni.vpc.conflist import VpcNetConf, parse_netconf, valid_attachments
from labnet.cni.vpc.contents import expected_result, left_by_add, result_of, rules_and_route
from labnet.cni.vpc.plan import Dialect, Wiring, macs, plan_pod, slice_name, to_cidrs
from labnet.errors import CniError, IpamError, KernelError, LabnetError, OwnershipError, UnknownAttachment
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocation
from labnet.model import names
from labnet.model.netstate import TABLE_MAIN, Change, Link, LinkUp, Rule, Slice, Sysctl
from labnet.model.values import frozen
from labnet.ports import Kernel, Slices

ARGS = ("K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID")
POD_DELETED = "PodDeleted"
SETUP_FAILED = "SetupNSFailed"
COLLECTED = "GarbageCollected"
DAEMON_SOCKET = "/var/run/aws-node/ipamd.sock"
"""Where the real plugin would have looked; its error says so."""
NO_ADDRESS = "add cmd: failed to assign an IP address to container"
UNAVAILABLE = (
    "Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: "
    'desc = "transport: Error while dialing: '
)


class Ipamd(Protocol):
    """The daemon as the plugin sees it. Errors: UnknownAttachment; OSError when it is down; IpamError for the rest."""

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container; `success` False when there is none."""

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Give it back."""

    async def attachments(self, network: str) -> tuple[tuple[str, str], ...]:
        """(container id, interface name) of everybody in a network who has an address."""


@frozen
class VpcPluginSettings:
    """Where and how the plugin of one node works."""

    lab: str
    seed: int
    node_netns: str
    dialect: Dialect = "1.23"


@frozen
class _Pod:
    name: str
    namespace: str
    infra_container_id: str
    uid: str


class _Turn:
    """Who may act for an attachment; `forget` is called with the end of the last call for it."""

    def __init__(self, forget: Callable[[], object]) -> None:
        self._forget = forget
        self._lock, self._calls = asyncio.Lock(), 0

    async def __aenter__(self) -> None:
        self._calls += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._forget()


class VpcPlugin:
    """One node's plugin. It changes the kernel through its slices; a leftover veth, which no slice claims, it removes itself."""

    about = "AWS CNI of labnet"

    def __init__(self, ipamd: Ipamd, slices: Slices, kernel: Kernel, settings: VpcPluginSettings) -> None:
        self._ipamd, self._slices, self._kernel, self._settings = ipamd, slices, kernel, settings
        self._pod_netns: dict[str, str] = {}
        self._on_link: dict[str, str] = {}
        """Node's end → the attachment that made it last."""
        self._turns: dict[str, _Turn] = {}

    def occupied(self) -> Collection[str]:
        """The namespaces in which pods are attached."""
        return self._pod_netns.values()

    def links(self) -> tuple[str, ...]:
        """The node's ends of the pods that are attached."""
        return tuple(self._on_link)

    def remember(self, attachment: str, pod_netns: str) -> None:
        """For a new process of the lab: this attachment's slices are claimed, its pod is in that namespace."""
        self._pod_netns[attachment] = pod_netns
        on_node = self._slices.claimed(self._settings.node_netns, slice_name(attachment))
        for item in on_node.objects if on_node is not None else ():
            if isinstance(item, Link):
                self._on_link[item.name] = attachment

    async def add(self, call: Call) -> Result:
        """Attach a pod. Errors: CniError 999."""
        pod, netconf = _read(call, "add cmd")
        async with self._turn(call.attachment):
            reply = await self._ask_address(call, pod)
            allocation = reply.allocations[0]
            try:
                wiring = self._wiring(call, pod, netconf, reply, allocation)
                await self._wire(call.attachment, wiring)
            except (KernelError, OwnershipError, CniError) as error:
                await self._give_back(call, pod)
                raise CniError(spec.INTERNAL, f"add command: failed to setup network: {error.message}") from error
        return result_of(
            host_link=wiring.host_link, ifname=call.ifname, sandbox=call.netns_path, table=wiring.table,
            device_number=allocation.device_number, address=wiring.address, pod_hash=names.pod_hash(pod.namespace, pod.name),
        )

    async def delete(self, call: Call) -> None:
        """Detach a pod. Errors: CniError 999."""
        pod, _netconf = _read(call, "del cmd")
        request = _del_request(call, pod, POD_DELETED)
        async with self._turn(call.attachment):
            try:
                reply = await self._ipamd.del_network(request)
            except UnknownAttachment:
                return
            except (IpamError, OSError):
                self._tear_down_alone(call.attachment, left_by_add(call.config.prev_result))
                return
            if not reply.success:
                raise CniError(spec.INTERNAL, "del cmd: failed to process delete request")
            try:
                self._tear_down_given(call.attachment, reply)
            except LabnetError as error:
                raise CniError(spec.INTERNAL, f"del cmd: failed to teardown network: {error.message}") from error

    async def check(self, call: Call) -> None:
        """Is all as ADD left it? Errors: CniError 999 naming the first difference, 3 for what is not attached."""
        pod, _netconf = _read(call, "check cmd")
        if call.config.prev_result is None:
            raise CniError(spec.BAD_CONFIG, "check cmd: prevResult is missing")
        name = slice_name(call.attachment)
        in_pod = self._slices.claimed(call.netns.netns, name) if call.netns is not None else None
        on_node = self._slices.claimed(self._settings.node_netns, name)
        if call.netns is None or in_pod is None or on_node is None:
            raise CniError(spec.UNKNOWN_CONTAINER, f"check cmd: {call.attachment} is not attached here")
        expected = expected_result(in_pod, on_node, call.netns_path, names.pod_hash(pod.namespace, pod.name))
        difference = compare.result_difference(expected, call.config.prev_result)
        for netns, part in ((call.netns.netns, in_pod), (self._settings.node_netns, on_node)):
            if difference is None:
                state = self._kernel.observe(netns, [item.path for item in part.objects if isinstance(item, Sysctl)])
                difference = compare.kernel_difference(netns, part, state)
        if difference is not None:
            raise CniError(spec.INTERNAL, f"check cmd: {difference}")

    async def gc(self, call: Call) -> None:
        """Detach every attachment of the network that the configuration does not list as valid; without a list nothing.

        Errors: CniError 7 (no list at all), 999 naming what stayed; the others are detached all the same.
        """
        network, valid = call.config.name, valid_attachments(call.config)
        if valid is None:
            return
        failed: list[str] = []
        try:
            held = await self._ipamd.attachments(network)
        except OSError as error:
            held = ()
            failed.append(_dialled(error))
        wired = (attachment.split("/") for attachment in self._pod_netns)
        known = {*held, *((container_id, ifname) for name, container_id, ifname in wired if name == network)}
        for container_id, ifname in sorted(known - valid):
            try:
                await self._collect(network, container_id, ifname)
            except (LabnetError, OSError) as error:
                failed.append(f"{container_id}/{ifname}: {error}")
        if failed:
            raise CniError(spec.INTERNAL, f"gc cmd: {'; '.join(failed)}")

    async def status(self, call: Call) -> None:
        """Could an ADD be served now? Errors: CniError 50 while ipamd is down."""
        try:
            await self._ipamd.attachments(call.config.name)
        except OSError as error:
            raise CniError(spec.NOT_AVAILABLE, f"plugin not available: {_dialled(error)}") from error

    # ---- ipamd ------------------------------------------------------------------------------------------------------------

    async def _ask_address(self, call: Call, pod: _Pod) -> AddNetworkReply:
        request = AddNetworkRequest(
            pod_name=pod.name, pod_namespace=pod.namespace, infra_container_id=pod.infra_container_id, netns=call.netns_path,
            if_name=call.ifname, network_name=call.config.name, container_id=call.container_id,
        )
        try:
            reply = await self._ipamd.add_network(request)
        except OSError as error:
            raise CniError(spec.INTERNAL, f'add cmd: {UNAVAILABLE}{_dialled(error)}"') from error
        except IpamError as error:  # the real daemon gives no reason; labnet does, where a runtime shows it beside the message
            raise CniError(spec.INTERNAL, NO_ADDRESS, str(error)) from error
        if not reply.success or not reply.allocations:
            raise CniError(spec.INTERNAL, NO_ADDRESS)
        return reply

    async def _give_back(self, call: Call, pod: _Pod) -> None:
        try:
            await self._ipamd.del_network(_del_request(call, pod, SETUP_FAILED))
        except (IpamError, OSError):
            return  # the failure that led here is the one to tell

    async def _collect(self, network: str, container_id: str, ifname: str) -> None:
        """DEL for a container that nobody will send one for."""
        attachment = f"{network}/{container_id}/{ifname}"
        request = DelNetworkRequest(
            pod_name="", pod_namespace="", infra_container_id=container_id, pod_uid="", reason=COLLECTED, if_name=ifname,
            network_name=network, container_id=container_id,
        )
        async with self._turn(attachment):
            try:
                reply = await self._ipamd.del_network(request)
            except UnknownAttachment:
                reply = DelNetworkReply(success=True)
            self._tear_down_given(attachment, reply)

    # ---- kernel -----------------------------------------------------------------------------------------------------------

    def _wiring(self, call: Call, pod: _Pod, netconf: VpcNetConf, reply: AddNetworkReply, allocation: IpAllocation) -> Wiring:
        if call.netns is None:
            raise CniError(spec.INTERNAL, f'failed to open netns "{call.netns_path}"')
        settings = self._settings
        pod_mac, host_mac = macs(settings.seed, settings.lab, pod.namespace, pod.name)
        return Wiring(
            pod_netns=call.netns.netns, node_netns=settings.node_netns, ifname=call.ifname,
            host_link=names.host_link(pod.namespace, pod.name, netconf.veth_prefix), pod_mac=pod_mac, host_mac=host_mac,
            mtu_bytes=netconf.mtu_bytes, address=allocation.ipv4_addr, table=allocation.route_table_id,
            to_cidrs=to_cidrs(settings.dialect, reply.use_external_snat, tuple(reply.vpc_v4_cidrs)),
        )

    async def _wire(self, attachment: str, wiring: Wiring) -> None:
        in_pod, on_node = plan_pod(attachment, wiring)
        earlier = self._on_link.pop(wiring.host_link, None)
        if earlier is not None:
            self._unwire(earlier, repeated=earlier == attachment)
        parts = ((wiring.pod_netns, in_pod), (wiring.node_netns, on_node))
        wired = self._slices.set_soon(parts)
        self.remember(attachment, wiring.pod_netns)  # before it is there: the next ADD for this pod must find it
        try:
            await wired
        except LabnetError as error:
            self._forget(attachment)
            if not isinstance(error, KernelError) or error.errno != errno.EEXIST:
                raise
            # a veth that nobody claims any more, of an earlier sandbox of this pod whose namespace nobody removed
            self._kernel.apply([(wiring.node_netns, (Change("remove", Link(wiring.host_link)),))])
            self._slices.set(parts)
            self.remember(attachment, wiring.pod_netns)

    def _unwire(self, attachment: str, repeated: bool) -> None:
        """Take the veth of an earlier ADD away; the rules of another sandbox stay until its DEL, as those of the VPC CNI do."""
        node, name = self._settings.node_netns, slice_name(attachment)
        pod_netns = self._pod_netns.get(attachment, "")
        if self._kernel.exists(pod_netns):
            self._slices.set([(pod_netns, Slice(name))])
        else:
            self._slices.drop(pod_netns)
        standing = self._slices.claimed(node, name) or Slice(name)
        rules = () if repeated else tuple(item for item in standing.objects if isinstance(item, Rule))
        self._slices.set([(node, Slice(name, rules))])

    def _tear_down_given(self, attachment: str, reply: DelNetworkReply) -> None:
        """What the daemon says that the attachment had, and what the lab still claims for it. Errors: LabnetError."""
        for allocation in reply.allocations:
            self._tear_down(attachment, allocation.ipv4_addr, allocation.route_table_id)
        if attachment in self._pod_netns:
            self._tear_down(attachment, "", TABLE_MAIN)

    def _tear_down_alone(self, attachment: str, left: tuple[tuple[str, int], ...]) -> None:
        """Without the daemon: what the lab claims, else what the result of ADD says; a failure is nobody's to hear."""
        claimed = self._slices.claimed(self._settings.node_netns, slice_name(attachment)) is not None
        for address, table in (("", TABLE_MAIN),) if claimed else left:
            with suppress(LabnetError):
                self._tear_down(attachment, address, table)

    def _tear_down(self, attachment: str, address: str, table: int) -> None:
        """Rules and route go, the veth stays as it is, claimed by nobody."""
        node, name = self._settings.node_netns, slice_name(attachment)
        standing = self._slices.claimed(node, name)
        if standing is None:
            standing = Slice(name, rules_and_route(self._kernel.observe(node), address, table))
            self._slices.assume(node, standing)
        kept = tuple(item for item in standing.objects if isinstance(item, Link | LinkUp | Sysctl))
        self._slices.set([(node, Slice(name, kept))])
        self._slices.assume(node, Slice(name))
        pod_netns = self._forget(attachment)
        if pod_netns is not None:
            self._slices.assume(pod_netns, Slice(name))

    def _forget(self, attachment: str) -> str | None:
        """No pod is attached by that name any more; the namespace that it had."""
        self._on_link = {link: other for link, other in self._on_link.items() if other != attachment}
        return self._pod_netns.pop(attachment, None)

    def _turn(self, attachment: str) -> _Turn:
        """One call at a time for an attachment, in the order in which they came."""
        turn = self._turns.get(attachment)
        if turn is None:
            turn = self._turns[attachment] = _Turn(lambda: self._turns.pop(attachment))
        return turn


def _read(call: Call, command: str) -> tuple[_Pod, VpcNetConf]:
    try:
        netconf = parse_netconf(call.config)
    except CniError as error:
        raise CniError(spec.INTERNAL, f"{command}: error loading config from args: {error.message}") from error
    try:
        args = spec.parse_args(call.args, ARGS)
    except CniError as error:
        raise CniError(spec.INTERNAL, f"{command}: failed to load k8s config from args: {error.message}") from error
    return _Pod(*[args.get(key, "") for key in ARGS]), netconf


def _del_request(call: Call, pod: _Pod, reason: str) -> DelNetworkRequest:
    return DelNetworkRequest(
        pod_name=pod.name, pod_namespace=pod.namespace, infra_container_id=pod.infra_container_id, pod_uid=pod.uid, reason=reason,
        if_name=call.ifname, network_name=call.config.name, container_id=call.container_id,
    )


def _dialled(error: OSError) -> str:
    """Why nobody could be reached, as Go's dialler tells it."""
    reason = error.strerror or str(error)
    return f"dial unix {DAEMON_SOCKET}: connect: {reason[:1].lower()}{reason[1:]}"
