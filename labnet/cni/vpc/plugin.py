"""The VPC CNI's plugin: an address from ipamd, a veth, three routes, a neighbour and one to n rules.

ADD may be repeated: the same address, a new veth. DEL never deletes the veth, the runtime ends the namespace; it succeeds
for a pod that ipamd does not know, touching nothing, and when ipamd is down, by what ADD left in `prevResult`. That is why
the result carries numbers where MACs and paths belong (spelled out at `result_of`).

CHECK is our addition: the real plugin has none, and its list says `disableCheck`. It compares `prevResult` with what the lab
attached, then the pod's and the node's kernel state with the plan, and names the first difference (number 999), or answers
number 3 for a container that is not attached.
Source: docs/sources.md#vpc-cni-plugin
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from labnet.cni import spec
from labnet.cni.result import Result, ResultInterface, ResultIp
from labnet.cni.spec import Call
from labnet.cni.vpc import compare
from labnet.cni.vpc.conflist import VpcNetConf, parse_netconf
from labnet.cni.vpc.plan import FROM_POD_PRIORITY, TO_POD_PRIORITY, Dialect, Wiring, macs, plan_pod, slice_name, to_cidrs
from labnet.errors import CniError, IpamError, KernelError, UnknownAttachment
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, IpAllocation
from labnet.model import names
from labnet.model.netstate import TABLE_MAIN, Change, Link, LinkUp, Route, Rule, Slice, Sysctl
from labnet.ports import Kernel, Slices

ARGS = ("K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID")
DUMMY_PREFIX = "dummy"
POD_DELETED = "PodDeleted"
SETUP_FAILED = "SetupNSFailed"


class Ipamd(Protocol):
    """The daemon as the plugin sees it. Errors: UnknownAttachment; ConnectionError when it is down; IpamError for the rest."""

    async def add_network(self, request: AddNetworkRequest) -> AddNetworkReply:
        """An address for a container; `success` False when there is none."""

    async def del_network(self, request: DelNetworkRequest) -> DelNetworkReply:
        """Give it back."""


@dataclass(frozen=True, slots=True)
class VpcPluginSettings:
    """Where and how the plugin of one node works."""

    lab: str
    seed: int
    node_netns: str
    dialect: Dialect = "1.23"


@dataclass(frozen=True, slots=True)
class _Pod:
    name: str
    namespace: str
    infra_container_id: str
    uid: str


class VpcPlugin:
    """One node's plugin. It changes the kernel through its slices; a leftover veth, which no slice claims, it removes itself."""

    about = "AWS CNI of labnet"

    def __init__(self, ipamd: Ipamd, slices: Slices, kernel: Kernel, settings: VpcPluginSettings) -> None:
        self._ipamd, self._slices, self._kernel, self._settings = ipamd, slices, kernel, settings
        self._pod_netns: dict[str, str] = {}

    async def add(self, call: Call) -> Result:
        """Attach a pod. Errors: CniError 999."""
        pod, netconf = _read(call, "add cmd")
        reply = await self._ask_address(call, pod)
        allocation = reply.allocations[0]
        try:
            wiring = self._wiring(call, pod, netconf, reply, allocation)
            self._wire(call.attachment, wiring)
        except (KernelError, CniError) as error:
            await self._give_back(call, pod)
            raise CniError(spec.INTERNAL, f"add command: failed to setup network: {error.message}") from error
        self._pod_netns[call.attachment] = wiring.pod_netns
        return result_of(wiring, call.netns_path, names.pod_hash(pod.namespace, pod.name), allocation.device_number)

    async def delete(self, call: Call) -> None:
        """Detach a pod. Errors: CniError 999."""
        pod, _netconf = _read(call, "del cmd")
        request = _del_request(call, pod, POD_DELETED)
        try:
            reply = await self._ipamd.del_network(request)
        except UnknownAttachment:
            return
        except (IpamError, OSError):
            for address, table in _left_by_add(call):
                self._tear_down(call.attachment, address, table)
            return
        if not reply.success:
            raise CniError(spec.INTERNAL, "del cmd: failed to process delete request")
        for allocation in reply.allocations:
            try:
                self._tear_down(call.attachment, allocation.ipv4_addr, allocation.route_table_id)
            except KernelError as error:
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
        expected = compare.expected_result(in_pod, on_node, call.netns_path, names.pod_hash(pod.namespace, pod.name))
        difference = compare.result_difference(expected, call.config.prev_result)
        for netns, part in ((call.netns.netns, in_pod), (self._settings.node_netns, on_node)):
            if difference is None:
                state = self._kernel.observe(netns, [item.path for item in part.objects if isinstance(item, Sysctl)])
                difference = compare.kernel_difference(netns, part, state)
        if difference is not None:
            raise CniError(spec.INTERNAL, f"check cmd: {difference}")

    async def gc(self, call: Call) -> None:
        """Nothing: ipamd finds leaked addresses itself."""

    async def status(self, call: Call) -> None:
        """Always ready: the list that names this plugin is only there once ipamd answers."""

    # ---- ipamd ------------------------------------------------------------------------------------------------------------

    async def _ask_address(self, call: Call, pod: _Pod) -> AddNetworkReply:
        request = AddNetworkRequest(
            pod_name=pod.name, pod_namespace=pod.namespace, infra_container_id=pod.infra_container_id, netns=call.netns_path,
            if_name=call.ifname, network_name=call.config.name, container_id=call.container_id,
        )
        try:
            reply = await self._ipamd.add_network(request)
        except (IpamError, OSError) as error:
            raise CniError(spec.INTERNAL, f"add cmd: Error received from AddNetwork gRPC call: {_rpc_error(error)}") from error
        if not reply.success or not reply.allocations:
            raise CniError(spec.INTERNAL, "add cmd: failed to assign an IP address to container")
        return reply

    async def _give_back(self, call: Call, pod: _Pod) -> None:
        try:
            await self._ipamd.del_network(_del_request(call, pod, SETUP_FAILED))
        except (IpamError, OSError):
            return  # the failure that led here is the one to tell

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

    def _wire(self, attachment: str, wiring: Wiring) -> None:
        in_pod, on_node = plan_pod(attachment, wiring)
        if self._slices.claimed(wiring.node_netns, on_node.name) is not None:
            self._unwire(attachment, wiring)
        parts = ((wiring.pod_netns, in_pod), (wiring.node_netns, on_node))
        try:
            self._slices.set(parts)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            # a veth of an earlier sandbox of this pod, whose namespace nobody removed
            self._kernel.apply([(wiring.node_netns, (Change("remove", Link(wiring.host_link)),))])
            self._slices.set(parts)

    def _unwire(self, attachment: str, wiring: Wiring) -> None:
        """Take back an ADD that was repeated without DEL, veth and all."""
        empty = Slice(slice_name(attachment))
        before = self._pod_netns.get(attachment, wiring.pod_netns)
        if self._kernel.exists(before):
            self._slices.set([(before, empty)])
        else:
            self._slices.drop(before)
        self._slices.set([(wiring.node_netns, empty)])

    def _tear_down(self, attachment: str, address: str, table: int) -> None:
        """Rules and route go, the veth stays as it is, claimed by nobody."""
        node, name = self._settings.node_netns, slice_name(attachment)
        standing = self._slices.claimed(node, name)
        if standing is None:
            standing = Slice(name, tuple(_rules_and_route(self._kernel.observe(node), address, table)))
            self._slices.assume(node, standing)
        kept = tuple(item for item in standing.objects if isinstance(item, Link | LinkUp | Sysctl))
        self._slices.set([(node, Slice(name, kept))])
        self._slices.assume(node, Slice(name))
        pod_netns = self._pod_netns.pop(attachment, None)
        if pod_netns is not None:
            self._slices.assume(pod_netns, Slice(name))


def result_of(wiring: Wiring, sandbox: str, pod_hash: str, device_number: int) -> Result:
    """The result of ADD, with the VPC CNI's own use of its fields.

    Interfaces: the node's end; the pod's end, whose `mac` is the number of the route table; and ``dummy<hash>``, which does
    not exist, whose `mac` is the VLAN id (0) and whose `sandbox` is the device number. Numbers are decimal text. The
    address belongs to the pod's end and has no gateway.
    """
    interfaces = (
        ResultInterface(wiring.host_link),
        ResultInterface(wiring.ifname, str(wiring.table), sandbox),
        ResultInterface(f"{DUMMY_PREFIX}{pod_hash}", "0", str(device_number)),
    )
    return Result(interfaces, (ResultIp(f"{wiring.address}/32", interface=1),))
