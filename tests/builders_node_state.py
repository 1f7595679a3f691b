"""The node of the specification's worked example on the real kernel, without a lab: eth0, eth1, pod-a and pod-b, and what it prints.

VPC 10.10.0.0/16, subnet 10.10.0.0/19; eth0 10.10.0.10, eth1 10.10.0.20; pod-a 10.10.1.5 of eth0, pod-b 10.10.2.6 of eth1. The far
ends of both ENIs are in a namespace of their own. No packet ever flows, so counters stay at nought.
"""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from labnet.cni.vpc.plan import Wiring, macs, plan_pod, to_cidrs
from labnet.fabric.nodeos import os_sysctls
from labnet.ipamd.enis import EniSetup
from labnet.ipamd.metadata import AttachedEni
from labnet.ipamd.nodesetup import NodeSetup
from labnet.ipamd.routes import table_of
from labnet.ipamd.settings import Settings
from labnet.kernel.door import LinuxKernel
from labnet.kernel.slices import SliceBook
from labnet.model import names
from labnet.model.netstate import Addr, Backend, Link, LinkUp, Route, Slice, Sysctl, VethPeer
from labnet.sim.clock import LabClock, new_event_loop

PRIMARY, SUBNET, VPC = "10.10.0.10", "10.10.0.0/19", ("10.10.0.0/16",)
ETH1 = AttachedEni("eni-1", "02:00:00:00:01:01", 1, 0, "10.10.0.20", "subnet-1", SUBNET, frozenset({"10.10.2.6"}), frozenset())


class WorkedNode:
    """One node's namespace and its slices; `set_up` is a start of the daemon with other settings."""

    def __init__(self, kernel: LinuxKernel, name: Callable[[str], str], backend: Backend = "nft") -> None:
        self.kernel, self.backend, self._name = kernel, backend, name
        self.netns, self._aws = name("n"), name("aws")
        kernel.create_netns([self.netns, self._aws])
        self.book = SliceBook(kernel)
        self.settings = Settings()
        self.clock = LabClock(start_s=0.0)
        self._loop = new_event_loop(self.clock)
        wires = [Link(f"eth{n}", f"02:00:00:00:01:0{n}", mtu_bytes=9001, peer=VethPeer(self._aws, f"port{n}")) for n in (0, 1)]
        self.book.set([
            (self.netns, Slice("wires", tuple(wires))),
            (self._aws, Slice("wires", tuple(LinkUp(f"port{n}") for n in (0, 1)))),
            (self.netns, Slice("os", (
                *(Sysctl(path, value) for path, value in os_sysctls("eth0").items()), LinkUp("eth0"),
                Addr("eth0", PRIMARY, 19, broadcast="10.10.31.255"),
                Route("default", "eth0", via="10.10.0.1"), Route("169.254.169.254/32", "eth0", scope="link"),
            ))),
        ])

    def close(self) -> None:
        self._loop.close()

    # ---- what the daemon and the plugin do ----------------------------------------------------------------------------------

    def start(self, settings: Settings | None = None, cidrs: Sequence[str] = VPC, *, backend: Backend | None = None) -> WorkedNode:
        """As ipamd's start sets the node up, with the settings that a restart gave it."""
        return self._set_up(settings, cidrs, backend, starting=True)

    def look_again(self, cidrs: Sequence[str]) -> WorkedNode:
        """As the running daemon does when it has read the VPC's blocks again."""
        return self._set_up(None, cidrs, None, starting=False)

    def _set_up(self, settings: Settings | None, cidrs: Sequence[str], backend: Backend | None, *, starting: bool) -> WorkedNode:
        self.settings, self.backend = settings or self.settings, backend or self.backend
        node = NodeSetup(self.netns, self.settings, self.backend, self.book)

        async def work() -> None:
            under_way = node.set_up(PRIMARY, cidrs, starting=starting)
            if under_way is not None:
                await under_way

        self._loop.run_until_complete(work())
        return self

    def attach(self, eni: AttachedEni = ETH1, links: Callable[[], frozenset[str]] | None = None) -> WorkedNode:
        """As ipamd sets up an ENI; `links` says which links there are, if not the kernel."""
        setup = EniSetup(self.netns, self.settings, self.book, self.clock, links or (lambda: self.kernel.links(self.netns)))
        self._loop.run_until_complete(asyncio.ensure_future(setup.attached(eni), loop=self._loop))
        return self

    def pod(self, pod: str, address: str, device: int, cidrs: Sequence[str] = VPC) -> WorkedNode:
        """What the plugin leaves for a pod."""
        settings = self.settings
        pod_mac, host_mac = macs(0, "lab", "default", pod)
        netns = self._name(pod)
        self.kernel.create_netns([netns])
        veth = names.host_link("default", pod, settings.veth_prefix)
        wiring = Wiring(
            netns, self.netns, "eth0", veth, pod_mac, host_mac, settings.pod_mtu_bytes, address, table_of(device),
            to_cidrs(settings.dialect, settings.external_snat, (*cidrs, *settings.exclude_snat_cidrs)),
        )
        in_pod, on_node = plan_pod(f"aws-cni/{pod}/eth0", wiring)
        self.book.set([(netns, in_pod), (self.netns, on_node)])
        return self

    def whole(self, settings: Settings | None = None, cidrs: Sequence[str] = VPC) -> WorkedNode:
        """The worked example from nothing."""
        self.start(settings, cidrs).attach()
        return self.pod("pod-a", "10.10.1.5", 0, cidrs).pod("pod-b", "10.10.2.6", 1, cidrs)

    def new_process(self) -> WorkedNode:
        """From here on nobody knows what the daemon made: as after a change of the daemon's release on a node that stayed."""
        os = self.book.claimed(self.netns, "os")
        self.book = SliceBook(self.kernel)
        assert os is not None
        self.book.assume(self.netns, os)
        return self

    # ---- what is there ------------------------------------------------------------------------------------------------------

    def say(self, *words: str, target: str = "", stdin: str = "") -> str:
        """What a program in the node's namespace (or a pod's) prints; it must succeed."""
        netns = self._name(target) if target else self.netns
        command = ["ip", "netns", "exec", netns, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def save(self, table: str, backend: Backend | None = None) -> str:
        """`iptables-save -t TABLE` without the two lines that bear version and date."""
        text = self.say(f"iptables-{backend or self.backend}-save", "-t", table)
        return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))

    def rules(self, table: str, backend: Backend | None = None) -> list[str]:
        """Its lines that are chains of ours, or rules."""
        return [line for line in self.save(table, backend).splitlines() if line.startswith((":AWS", "-A"))]

    def ip(self, *words: str, target: str = "") -> list[str]:
        """`ip …`, line by line, without blanks at their ends."""
        return [line.rstrip() for line in self.say("ip", *words, target=target).splitlines()]

    def nft_tables(self) -> list[str]:
        return self.say("nft", "list", "tables").splitlines()

    def drift(self) -> list[str]:
        return [f"{name}: {change.op} {change.object.text}" for name, change in self.book.drift(self.netns)]


@contextmanager
def worked_nodes() -> Iterator[Callable[..., WorkedNode]]:
    """Makes nodes for one test, each on a kernel door of its own; all of it is gone at the end."""
    made: list[tuple[LinuxKernel, WorkedNode]] = []

    def make(backend: Backend = "nft") -> WorkedNode:
        kernel = LinuxKernel()
        prefix = f"lnt-ns{uuid.uuid4().hex[:6]}"
        node = WorkedNode(kernel, lambda word: f"{prefix}-{word}", backend)
        made.append((kernel, node))
        return node

    try:
        yield make
    finally:
        for kernel, node in made:
            kernel.remove_netns(list(kernel.known))
            kernel.close()
            node.close()
