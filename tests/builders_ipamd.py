"""One node with its daemon: the real EC2 rules and metadata, the in-memory kernel, and the clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labnet.ec2 import limits
from labnet.ec2.imds import InProcessImds
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error, NotFoundError
from labnet.ipamd.daemon import Ipamd, NodeIdentity
from labnet.ipamd.rpc import AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest
from labnet.ipamd.settings import Dialect, Settings
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.lab.store import MemoryStore
from labnet.model.cloud import CloudState
from labnet.model.cluster import EniConfig
from labnet.model.names import eni_link, host_link
from labnet.model.netstate import Change, Link, Rule, VethPeer
from labnet.ports import Ec2Api, Imds, NodeLog, NoLog, PodAnnotations
from labnet.sim.clock import LabClock, new_event_loop

NODE, VPC = "t-node1", "t-vpc"
START_S = 1_700_000_000.0
TAGS = {"role": "kubernetes.io/role/cni", "mine": "cni.networking.k8s.aws/cluster/mine", "theirs": "cni.networking.k8s.aws/cluster/theirs"}


class Refusing:
    """An Ec2Api that keeps what was asked, and refuses some actions: action → the error, raised that many times (None = always)."""

    def __init__(self, real: Ec2Api) -> None:
        self._real = real
        self.refusals: dict[str, tuple[Ec2Error, int | None]] = {}
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((action, params))
        error, left = self.refusals.get(action, (None, 0))
        if error is not None and left != 0:
            self.refusals[action] = (error, None if left is None else left - 1)
            raise error
        return await self._real.call(action, params)


class Objects:
    """What Kubernetes says of the node."""

    def __init__(self) -> None:
        self.cordoned = False
        self.gone = False
        self.config: EniConfig | None = None
        self.keys: list[tuple[str, str]] = []

    def max_pods(self) -> int:
        return 110

    def unschedulable(self) -> bool:
        if self.gone:
            raise NotFoundError("node t-node1 not found")
        return self.cordoned

    def eni_config(self, annotation_key: str, label_key: str) -> EniConfig:
        self.keys.append((annotation_key, label_key))
        if self.config is None:
            raise NotFoundError("eniconfig default not found")
        return self.config


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def record(self, object: str, reason: str, message: str) -> None:  # noqa: A002
        self.told.append((reason, message))

    def reasons(self) -> list[str]:
        return [reason for reason, _message in self.told]


class Node:
    """A node of one type in one subnet, and how to drive its daemon; `sweeps` = it looks for leaked ENIs."""

    def __init__(
        self, kind: str = "t3.small", env: Mapping[str, str] | None = None, *, dialect: Dialect = "1.23", subnet: str = "10.10.0.0/24",
        checkpoint: Path | None = None, max_pods: int | None = None, sweeps: bool = False,
    ) -> None:
        self.clock = LabClock(start_s=START_S)
        self.loop = new_event_loop(self.clock)
        self.kernel, self.events, self.ledger = FakeKernel(), Events(), MemoryStore()
        self.book = SliceBook(self.kernel)
        self.kernel.create_netns([NODE, VPC])
        self.links = True
        self.ec2 = Ec2Service(CloudState(lab="t", seed=7), limits.load(), self.clock, self.ledger, self._plug)
        self.vpc = self.aws("CreateVpc", CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
        zone = "us-west-2a"
        self.subnet = self.aws("CreateSubnet", VpcId=self.vpc, CidrBlock=subnet, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        made = self.aws("RunInstances", ImageId="ami-0123456789abcdef0", InstanceType=kind, MinCount=1, MaxCount=1, SubnetId=self.subnet)
        self.instance = made["Instances"][0]["InstanceId"]
        self.settings = Settings.from_env(env or {}, dialect)
        if not sweeps:
            self.settings = replace(self.settings, leaked_eni_cleanup=False)
        self.api = Refusing(self.ec2.client("node1"))
        self.checkpoint, self.max_pods = checkpoint, max_pods or limits.load()[kind].max_pods
        self.imds: Imds = InProcessImds(self.ec2, self.instance)
        self.objects = Objects()
        self.annotations: PodAnnotations | None = None
        self.log: NodeLog = NoLog()
        self.ipamd = self.daemon()
        self.running: asyncio.Task[None] | None = None

    def daemon(self) -> Ipamd:
        return Ipamd(
            NodeIdentity("t", "node1", NODE, self.instance), ec2=self.api, imds=self.imds, slices=self.book,
            clock=self.clock, events=self.events, settings=self.settings, backend="nft", checkpoint_path=self.checkpoint,
            max_pods=self.max_pods, host_links=lambda: self.kernel.links(NODE), objects=self.objects, annotations=self.annotations,
            log=self.log,
        )

    def _plug(self, old: CloudState, new: CloudState) -> None:
        """Attached ENIs are links of the node, as the fabric makes them."""
        wanted = {eni_link(eni.attachment.device_index): eni.mac for eni in new.enis.values() if eni.attachment is not None}
        present = {name for name in self.kernel.links(NODE) if name.startswith("eth")}
        changes = [Change("add", Link(name, mac, peer=VethPeer(VPC, f"p-{name}"))) for name,
        mac in wanted.items() if name not in present and self.links]
        changes += [Change("remove", Link(name)) for name in present - set(wanted)]
        if changes:
            self.kernel.apply([(NODE, tuple(changes))])

    # ---- driving ----------------------------------------------------------------------------------------------------------

    def do(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(main)

    def start(self) -> Node:
        self.do(self.ipamd.start())
        self.running = self.loop.create_task(self.ipamd.run())
        return self

    def wait(self, seconds: float) -> Node:
        self.do(self.clock.sleep(seconds))
        if self.running is not None and self.running.done() and not self.running.cancelled():
            self.running.result()  # a loop that ended ended with an error
        return self

    def until(self, true: Callable[[], bool], limit_s: float = 1200) -> Node:
        """Wait for something, looking every second."""
        waited = 0.0
        while not true():
            assert waited < limit_s, f"it did not come; told: {self.events.told}"
            self.wait(1)
            waited += 1
        return self

    def close(self) -> None:
        if self.running is not None:
            self.running.cancel()
            self.do(asyncio.wait({self.running}))
        self.loop.close()

    def add(self, pod: str = "pod1", **more: str) -> AddNetworkReply:
        words = {"container_id": f"c-{pod}", "if_name": "eth0", "network_name": "aws-cni", **more}
        request = AddNetworkRequest(pod_name=pod, pod_namespace="default", infra_container_id=f"c-{pod}", netns="/run/netns/x", **words)
        reply: AddNetworkReply = self.do(self.ipamd.add_network(request))
        return reply

    def pods(self, count: int) -> list[str]:
        """That many pods, each as soon as there is an address; their addresses."""
        out = []
        for number in range(count):
            for _ in range(12):
                reply = self.add(f"pod{number}")
                if reply.success:
                    self.veth(f"pod{number}")
                    out.append(reply.allocations[0].ipv4_addr)
                    break
                self.wait(5)
            else:
                raise AssertionError(f"no address for pod{number}")
        return out

    def veth(self, pod: str, prefix: str = "eni") -> None:
        """The node's end of a pod's veth, as the plugin makes it."""
        name = host_link("default", pod, prefix)
        self.kernel.apply([(NODE, (Change("add", Link(name, peer=VethPeer(VPC, f"v-{pod}"))),))])

    def delete(self, pod: str = "pod1") -> DelNetworkReply:
        request = DelNetworkRequest(
            pod_name=pod, pod_namespace="default", infra_container_id=f"c-{pod}", pod_uid="u", reason="PodDeleted", if_name="eth0",
            network_name="aws-cni", container_id=f"c-{pod}",
        )
        reply: DelNetworkReply = self.do(self.ipamd.del_network(request))
        return reply

    # ---- looking ----------------------------------------------------------------------------------------------------------

    def aws(self, action: str, **params: Any) -> dict[str, Any]:
        return self.ec2.call("test", action, params)

    def calls(self) -> list[str]:
        """What the daemon asked of EC2, in order."""
        return [record["action"] for record in self.ledger.read("ec2-calls") if record["caller"] == "node1"]

    def more_subnets(self, *cidrs: str, zone: str = "us-west-2a", **tags: str) -> list[str]:
        """More subnets of the VPC; a tag's name is one of `TAGS`, or itself."""
        listed = [{"Key": TAGS.get(name, name), "Value": value} for name, value in tags.items()]
        spec = [{"ResourceType": "subnet", "Tags": listed}] if listed else []
        made = [
            self.aws("CreateSubnet", VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=zone, **({"TagSpecifications": spec} if spec else {}))
            for cidr in cidrs
        ]
        return [item["Subnet"]["SubnetId"] for item in made]

    def subnets_of_enis(self) -> list[str]:
        return [self.ec2.state.enis[eni].subnet_id for eni in self.enis()]

    @property
    def pool(self) -> tuple[int, int]:
        """(ENIs, addresses for pods)."""
        state = self.ipamd.state()
        return len(state["enis"]), state["total"]

    def enis(self) -> list[str]:
        return [eni["id"] for eni in self.ipamd.state()["enis"]]

    def holds(self, eni: str) -> bool:
        """Is an ENI wired, its addresses taken over?"""
        return any(one["id"] == eni and one["addresses"] for one in self.ipamd.state()["enis"])

    def rules(self) -> list[Rule]:
        return self.kernel.observe(NODE).all(Rule)
