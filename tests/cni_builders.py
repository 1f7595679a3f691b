"""Small makers: an ipamd that hands out fixed addresses, a node on the in-memory kernel, calls."""

import asyncio
import errno
import json
import os

from labnet.cni import skel
from labnet.cni.spec import NetnsGrant
from labnet.cni.vpc.plugin import VpcPlugin, VpcPluginSettings
from labnet.errors import UnknownAttachment
from labnet.ipamd.rpc import AddNetworkReply, DelNetworkReply, IpAllocation
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook

NODE = "lab-node1"
POD_B = IpAllocation(ipv4_addr="10.10.2.6", device_number=1, route_table_id=2)


class FixedIpamd:
    """Gives the addresses of `free` in order; `down` = nobody listens; `refuse` = Success false on DEL."""

    def __init__(self, *free, external_snat=False, cidrs=("10.10.0.0/16",)):
        self.free, self.held, self.calls = list(free), {}, []
        self.external_snat, self.cidrs, self.down, self.refuse = external_snat, cidrs, False, False

    async def add_network(self, request):
        self.calls.append(request)
        if self.down:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        key = (request.network_name, request.container_id, request.if_name)
        if key not in self.held and not self.free:
            return AddNetworkReply(success=False)
        allocation = self.held.get(key) or self.held.setdefault(key, self.free.pop(0))
        return AddNetworkReply(success=True, allocations=(allocation,), use_external_snat=self.external_snat, vpc_v4_cidrs=self.cidrs)

    async def del_network(self, request):
        self.calls.append(request)
        if self.down:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        key = (request.network_name, request.container_id, request.if_name)
        if key not in self.held:
            raise UnknownAttachment("datastore: unknown pod")
        return DelNetworkReply(success=not self.refuse, allocations=(self.held.pop(key),))

    async def attachments(self, network):
        if self.down:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return tuple((container, ifname) for name, container, ifname in self.held if name == network)


class Node:
    """A node with a plugin; `call` runs a verb through the frame."""

    def __init__(self, ipamd=None, dialect="1.23", kernel=None, netns=NODE, lab="lab"):
        self.kernel = kernel or FakeKernel()
        self.netns = netns
        self.kernel.create_netns([netns])
        self.slices = SliceBook(self.kernel)
        self.ipamd = ipamd or FixedIpamd(POD_B)
        self.plugin = VpcPlugin(self.ipamd, self.slices, self.kernel, VpcPluginSettings(lab, 0, netns, dialect))

    def call(self, verb, netns="lab-pod-b", **more):
        environ, stdin = call_of(verb, **more)
        grant = NetnsGrant(netns) if netns else None
        return asyncio.run(skel.run(environ, stdin, self.plugin, netns=grant))

    def add(self, **more):
        outcome = self.call("ADD", **more)
        assert outcome.exit_code == 0, outcome.stdout
        return json.loads(outcome.stdout)

    def texts(self, netns=None):
        state = self.kernel.observe(netns or self.netns)
        return [item.text for item in state if not item.derived]


def call_of(verb, container="cafe", version="0.4.0", previous=None, pod="pod-b", path="/var/run/netns/cni-1234", **conf):
    """Environment and stdin as a container runtime gives them."""
    environ = {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": path, "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID=u-1",
    }
    document = {"cniVersion": version, "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", **conf}
    if previous is not None:
        document["prevResult"] = previous
    return environ, json.dumps(document).encode()
