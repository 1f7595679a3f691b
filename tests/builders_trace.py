"""A lab in the in-memory kernel for walks: two nodes as a real VPC CNI leaves them (the worked example), the VPC, the Internet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import builders_cloud as clouds

from labnet.fabric.places import namespaces
from labnet.fabric.plan import plan_parts
from labnet.kernel.fake import FakeKernel
from labnet.model.cloud import CloudState
from labnet.model.netstate import Addr, Change, IptChain, IptRule, KernelObject, Link, LinkUp, Neigh, NftTable, Route, Rule, Sysctl, VethPeer
from labnet.ports import Kernel
from labnet.trace.load import observed_world
from labnet.trace.world import End, Role, World, wires_of

LAB = "lnt-walk"
NODE_1, NODE_2, VPC, IGW, INTERNET = f"{LAB}-node1", f"{LAB}-node2", f"{LAB}-vpc", f"{LAB}-igw", f"{LAB}-internet"
POD_A, POD_B, POD_C = f"{LAB}-pod-a", f"{LAB}-pod-b", f"{LAB}-pod-c"
VETH_A, VETH_B, VETH_C = "eni5e1c4d6c68c", "eni2f5353dd8c5", "eni00000000c0c"
MAC_A, MAC_B, MAC_C = "2e:00:00:00:00:0a", "2e:00:00:00:00:0b", "2e:00:00:00:00:0c"
PUBLIC_1 = "203.0.113.10"
SNAT = '! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source {} --random-fully'
ADDRESS = {POD_A: "10.10.1.5", POD_B: "10.10.2.6", POD_C: "10.10.5.5"}


def a_lab_cloud(lab: str = LAB) -> CloudState:
    """node1: eth0 10.10.0.10 with pod-a's 10.10.1.5, eth1 10.10.0.20 with pod-b's 10.10.2.6; node2: eth0 10.10.0.30 with 10.10.5.5."""
    cloud = clouds.a_cloud(lab)
    cloud = clouds.with_node(cloud, "node1", "10.10.0.10", public={"10.10.0.10": PUBLIC_1})
    cloud = clouds.with_eni(cloud, "node1", 1, "10.10.0.20", "10.10.2.6")
    cloud = clouds.with_node(cloud, "node2", "10.10.0.30")
    cloud = clouds.assigned(cloud, "eni-node1-0", "10.10.1.5")
    return clouds.assigned(cloud, "eni-node2-0", "10.10.5.5")


Parts = tuple[tuple[str, tuple[KernelObject, ...]], ...]


def a_pod(pod: str, node: str, veth: str, mac: str, address: str, rules: Iterable[Rule] = ()) -> Parts:
    """What the VPC CNI leaves for a pod: inside, then on the node."""
    inside: tuple[KernelObject, ...] = (
        Link("eth0", "aa" + mac[2:], peer=VethPeer(node, veth, mac), mtu_bytes=9001), LinkUp("eth0"),
        Route("169.254.1.1/32", "eth0", scope="link"), Route("default", "eth0", via="169.254.1.1"),
        Addr("eth0", address, 32), Neigh("eth0", "169.254.1.1", mac),
    )
    outside: tuple[KernelObject, ...] = (
        LinkUp(veth), Route(f"{address}/32", veth, scope="link"), Rule(512, dst=f"{address}/32"), *rules,
    )
    return (pod, inside), (node, outside)


def secondary_eni(primary: str = "10.10.0.20") -> tuple[KernelObject, ...]:
    return (
        LinkUp("eth1"), Addr("eth1", primary, 19, broadcast="10.10.31.255", connected_route=False),
        Route("10.10.0.1/32", "eth1", table=2, scope="link"), Route("default", "eth1", via="10.10.0.1", table=2),
    )


def mangle() -> tuple[KernelObject, ...]:
    restore = '-m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80'
    arrived = '-m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80'
    return (IptRule("mangle", "PREROUTING", f"-i eth0 {arrived}"), IptRule("mangle", "PREROUTING", f"-i eni+ {restore}"))


def nat_1_6(primary: str, excluded: tuple[str, ...] = ()) -> tuple[KernelObject, ...]:
    cidrs = ("10.10.0.0/16", *excluded)
    comments = ("AWS SNAT CHAIN", *("AWS SNAT CHAIN EXCLUSION" for _ in excluded))
    chains = [
        IptChain("nat", f"AWS-SNAT-CHAIN-{n}", (f'! -d {cidr} -m comment --comment "{comment}" -j AWS-SNAT-CHAIN-{n + 1}',))
        for n, (cidr, comment) in enumerate(zip(cidrs, comments, strict=True))
    ]
    last = f'-m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source {primary} --random'
    return (
        *chains, IptChain("nat", f"AWS-SNAT-CHAIN-{len(cidrs)}", (last,)),
        IptRule("nat", "POSTROUTING", '-m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0'),
    )


def nat_1_23(primary: str, excluded: tuple[str, ...] = ()) -> tuple[KernelObject, ...]:
    rules = [f'-d {cidr} -m comment --comment "AWS SNAT CHAIN EXCLUSION" -j RETURN' for cidr in reversed(excluded)]
    rules += ['-d 10.10.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN', SNAT.format(primary)]
    exempt = "\n".join(f"    counter packets 0 bytes 0 ip daddr {cidr} return" for cidr in (*excluded, "10.10.0.0/16"))
    body = f"""
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat + 10; policy accept;
    fib daddr type local return
    iifname "eni*" counter packets 0 bytes 0 jump snat-mark
    counter packets 0 bytes 0 meta mark set ct mark & 0x00000080
  }}
  chain snat-mark {{
{exempt}
    counter packets 0 bytes 0 ct mark set ct mark | 0x00000080
  }}
"""
    return (
        IptChain("nat", "AWS-SNAT-CHAIN-0", tuple(rules)),
        IptRule("nat", "POSTROUTING", '-m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0'),
        NftTable("ip", "aws-cni", body),
    )


def connmark_legacy(excluded: tuple[str, ...] = ()) -> tuple[KernelObject, ...]:
    """What stands in iptables instead of the nft table `aws-cni`."""
    returns = [f'-d {cidr} -m comment --comment "AWS CONNMARK CHAIN" -j RETURN' for cidr in (*reversed(excluded), "10.10.0.0/16")]
    mark = '-m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80'
    restore = '-m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80'
    return (
        IptChain("nat", "AWS-CONNMARK-CHAIN-0", (*returns, mark)),
        IptRule("nat", "PREROUTING", '-i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0'),
        IptRule("nat", "PREROUTING", restore),
    )


def node_objects(
    primary: str, dialect: str, *, excluded: tuple[str, ...] = (), external_snat: bool = False, legacy: bool = False
) -> list[KernelObject]:
    found: list[KernelObject] = [Rule(1024, fwmark=0x80, fwmask=0x80), Sysctl("net/ipv4/conf/eth0/rp_filter", "2"), *mangle()]
    if external_snat:
        return [*found, IptChain("nat", "AWS-SNAT-CHAIN-0", ())]
    if dialect == "1.6":
        return [*found, *nat_1_6(primary, excluded)]
    state = nat_1_23(primary, excluded)
    if legacy:
        state = (*(item for item in state if not isinstance(item, NftTable)), *connmark_legacy(excluded))
    return [*found, *state]


@dataclass(slots=True)
class WalkLab:
    """A lab, in memory unless a kernel is given: change it, then ask for its world."""

    kernel: Kernel = field(default_factory=FakeKernel)
    name: str = LAB
    wires: dict[End, End] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    def at(self, netns: str) -> str:
        """A namespace of this lab for one of the names above."""
        return netns.replace(LAB, self.name, 1)

    def add(self, netns: str, *objects: KernelObject) -> None:
        netns = self.at(netns)
        objects = tuple(self.placed(item) for item in objects if not isinstance(item, Link) or item.peer is not None)
        self.kernel.apply([(netns, tuple(Change("add", item) for item in objects))])
        self.wires |= wires_of([(netns, objects)])

    def placed(self, item: KernelObject) -> KernelObject:
        if isinstance(item, Link) and item.peer is not None:
            return replace(item, peer=replace(item.peer, netns=self.at(item.peer.netns)))
        return item

    def remove(self, netns: str, *objects: KernelObject) -> None:
        self.kernel.apply([(self.at(netns), tuple(Change("remove", item) for item in objects))])

    def set_sysctl(self, netns: str, path: str, value: str) -> None:
        self.add(netns, Sysctl(path, value))

    def make(self, netns: str, role: Role) -> None:
        self.kernel.create_netns([self.at(netns)])
        self.roles[self.at(netns)] = role

    def world(self) -> World:
        owners = {netns: netns.removeprefix(f"{self.name}-") for netns in self.roles}
        return observed_world(self.kernel, self.roles, self.wires, owners)


def role_of(last: str) -> Role:
    return {"vpc": "vpc", "igw": "igw", "internet": "internet"}.get(last, "pod" if last.startswith("pod") else "node")  # type: ignore[return-value]


def a_walk_lab(
    dialect: str = "1.23", *, excluded: tuple[str, ...] = (), external_snat: bool = False, legacy: bool = False,
    cloud: CloudState | None = None, lab: WalkLab | None = None,
) -> WalkLab:
    """The worked example: pod-a on eth0 and pod-b on eth1 of node1, pod-c on node2, the VPC and the Internet."""
    cloud = cloud or a_lab_cloud()
    lab = lab or WalkLab()
    for netns in (*namespaces(cloud), POD_A, POD_B, POD_C):
        lab.make(netns, role_of(netns.removeprefix(f"{lab.name}-").removeprefix(f"{LAB}-")))
    for netns, part in plan_parts(cloud):
        lab.add(netns, *part.objects)
    settings = {"excluded": excluded, "external_snat": external_snat, "legacy": legacy}
    lab.add(NODE_1, *secondary_eni(), *node_objects("10.10.0.10", dialect, **settings))  # type: ignore[arg-type]
    lab.add(NODE_2, *node_objects("10.10.0.30", dialect, **settings))  # type: ignore[arg-type]
    if dialect != "1.6":
        lab.add(NODE_1, Rule(32765, 2, src="10.10.0.20/32"))
    source = Rule(1536, 2, src="10.10.2.6/32")
    split = dialect == "1.6" and not external_snat
    from_b = [replace(source, dst=cidr) for cidr in ("10.10.0.0/16", *excluded)] if split else [source]
    for pod in (
        a_pod(POD_A, NODE_1, VETH_A, MAC_A, ADDRESS[POD_A]), a_pod(POD_B, NODE_1, VETH_B, MAC_B, ADDRESS[POD_B], from_b),
        a_pod(POD_C, NODE_2, VETH_C, MAC_C, ADDRESS[POD_C]),
    ):
        for netns, objects in pod:
            lab.add(netns, *objects)
    return lab
