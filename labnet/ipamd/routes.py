"""The kernel state that the daemon gives a node: rule 1024, SNAT, marks, and a secondary ENI's table (pure).

A pod of eth1 whose traffic leaves the VPC must leave by eth0, where it is masked with the node's first address. In dialect
1.23 its flow gets a mark in nat PREROUTING (an iptables chain with the legacy back end, table ``ip aws-cni`` with the other),
and rule 1024 sends what is marked to table main. In dialect 1.6 the plugin's rules 1536 name the VPC's blocks, so that
everything else falls through to main without a mark. The mangle rules bring answers to NodePort traffic back to eth0.
Texts are those of iptables-save. Source: docs/sources.md#ipamd-node
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labnet.errors import IpamError
from labnet.ipamd.settings import Settings
from labnet.model.addressing import bounds, prefix_length, router_of, to_text
from labnet.model.names import eni_link
from labnet.model.netstate import (
    TABLE_MAIN,
    Addr,
    Backend,
    IptChain,
    IptRule,
    KernelObject,
    LinkMtu,
    LinkUp,
    NftTable,
    Route,
    Rule,
    Slice,
    Sysctl,
)
from labnet.model.values import frozen

NODE_SLICE = "ipamd"
MARK_PRIORITY = 1024
SERVICE_PRIORITY = 1535
ENI_PRIORITY = 32765
PRIMARY_LINK = "eth0"
SNAT_CHAIN = "AWS-SNAT-CHAIN"
CONNMARK_CHAIN = "AWS-CONNMARK-CHAIN-0"
NFT_TABLE = "aws-cni"
ANYWHERE = "0.0.0.0/0"


@frozen
class EniWiring:
    """What a secondary ENI needs in the kernel: device index ≥ 1, primary address, its subnet's block, the MTU."""

    eni_id: str
    device_index: int
    primary: str
    subnet_cidr: str
    mtu_bytes: int


def table_of(device_index: int) -> int:
    """The route table of an ENI on the first network card: main for the primary, else device index + 1."""
    return TABLE_MAIN if device_index == 0 else device_index + 1


def rule_destinations(cidrs: Sequence[str]) -> tuple[str | None, ...]:
    """The destinations of policy rules that are alike but for them, None for all.

    0.0.0.0/0 names no destination. Behind another one the kernel takes such a rule for the one that is there, since it compares only
    what the new one names (rule_exists in net/core/fib_rules.c), and the VPC CNI passes over what exists.
    """
    kept = [cidr for place, cidr in enumerate(dict.fromkeys(cidrs)) if cidr != ANYWHERE or place == 0]
    return tuple(None if cidr == ANYWHERE else cidr for cidr in kept)


def eni_slice(eni_id: str) -> str:
    """The name of an ENI's slice."""
    return f"{NODE_SLICE}:{eni_id}"


def plan_node(settings: Settings, backend: Backend, primary: str, vpc_cidrs: Sequence[str]) -> Slice:
    """What every node has, whatever its ENIs: `primary` is eth0's own address, `vpc_cidrs` in the metadata's order.

    Errors: IpamError where the daemon would end, because iptables takes no such rule.
    """
    plan = _Plan(settings, backend, primary, tuple(dict.fromkeys(vpc_cidrs)))
    if plan.snat and plan.old and backend == "nft" and ANYWHERE in settings.exclude_snat_cidrs:
        raise IpamError(
            f"iptables with the nf_tables back end refuses a rule with ! -d {ANYWHERE}",
            "exclude smaller blocks, set AWS_VPC_K8S_CNI_EXTERNALSNAT, or take the legacy back end",
        )
    return Slice(NODE_SLICE, (*plan.host(), *plan.nat(), *plan.mangle(), *plan.connmark_table()))


def plan_eni(settings: Settings, wiring: EniWiring) -> Slice:
    """What a secondary ENI has: up, with its primary address; its own table; the connected route in main is gone."""
    link, table = eni_link(wiring.device_index), table_of(wiring.device_index)
    gateway = router_of(wiring.subnet_cidr)
    objects: list[KernelObject] = [
        LinkMtu(link, wiring.mtu_bytes),
        LinkUp(link),
        Addr(
            link, wiring.primary, prefix_length(wiring.subnet_cidr), broadcast=to_text(bounds(wiring.subnet_cidr)[1]), connected_route=False,
        ),
        Route(f"{gateway}/32", dev=link, table=table, scope="link"),
        Route("default", dev=link, via=gateway, table=table),
    ]
    if settings.dialect == "1.23":
        objects.append(Rule(ENI_PRIORITY, table, src=f"{wiring.primary}/32"))
    return Slice(eni_slice(wiring.eni_id), tuple(objects))


@frozen
class _Plan:
    settings: Settings
    backend: Backend
    primary: str
    vpc_cidrs: tuple[str, ...]

    @property
    def snat(self) -> bool:
        return not self.settings.external_snat

    @property
    def node_port(self) -> bool:
        return self.settings.node_port_support

    @property
    def old(self) -> bool:
        return self.settings.dialect == "1.6"

    @property
    def veths(self) -> str:
        """The nodes' ends of pods; release 1.6 does not ask for the prefix here."""
        return "eni+" if self.old else f"{self.settings.veth_prefix}+"

    @property
    def mark(self) -> str:
        return f"{self.settings.connmark:#x}"

    @property
    def restore(self) -> str:
        return f"-j CONNMARK --restore-mark --nfmask {self.mark} --ctmask {self.mark}"

    @property
    def set_mark(self) -> str:
        return f"-j CONNMARK --set-xmark {self.mark}/{self.mark}"

    def chain(self, name: str, rules: Sequence[str] = ()) -> IptChain:
        return IptChain("nat", name, tuple(rules), self.backend)

    def rule(self, table: str, chain: str, spec: str) -> IptRule:
        return IptRule(table, chain, spec, self.backend)

    # ---- addresses of links, policy rules ---------------------------------------------------------------------------------

    def host(self) -> Iterator[KernelObject]:
        """MTU of eth0, its rp_filter (NodePort traffic for a pod of eth1 comes in by eth0), rules for marked packets and services."""
        yield LinkMtu(PRIMARY_LINK, self.settings.eni_mtu_bytes)
        if self.node_port or not self.old:
            yield Sysctl(f"net/ipv4/conf/{PRIMARY_LINK}/rp_filter", "2")
        if self.node_port or (self.snat and not self.old):
            yield Rule(MARK_PRIORITY, fwmark=self.settings.connmark, fwmask=self.settings.connmark)
        if not self.old:
            yield Sysctl("net/ipv4/tcp_early_demux", "1" if self.settings.early_demux else "0", optional=True)
            yield from (Rule(SERVICE_PRIORITY, dst=dst) for dst in rule_destinations(self.settings.external_service_cidrs))

    # ---- nat --------------------------------------------------------------------------------------------------------------

    def nat(self) -> Iterator[KernelObject]:
        if self.old:
            yield from self.snat_chains_of_1_6()
        else:
            yield from self.connmark_chain()
            yield self.chain(f"{SNAT_CHAIN}-0", (*self.returns("AWS SNAT CHAIN", " EXCLUSION"), self.masked()) if self.snat else ())
        if self.snat:
            yield self.rule("nat", "POSTROUTING", f'-m comment --comment "AWS SNAT CHAIN" -j {SNAT_CHAIN}-0')

    def masked(self) -> str:
        flag = {"prng": " --random-fully", "hashrandom": " --random", "none": ""}[self.settings.randomize_snat]
        out = "" if self.old else "! -o vlan+ "
        target = f"-j SNAT --to-source {self.primary}{flag}"
        return f'{out}-m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL {target}'

    def returns(self, comment: str, of_excluded: str = "") -> Iterator[str]:
        """One RETURN a block, each inserted above the one before: the excluded ones come out on top. None is written twice."""
        listed = [(cidr, comment) for cidr in self.vpc_cidrs]
        listed += [(cidr, f"{comment}{of_excluded}") for cidr in self.settings.exclude_snat_cidrs]
        for cidr, said in reversed(dict.fromkeys(listed)):
            destination = "" if cidr == ANYWHERE else f"-d {cidr} "
            yield f'{destination}-m comment --comment "{said}" -j RETURN'

    def snat_chains_of_1_6(self) -> Iterator[IptChain]:
        """One chain a block, each jumping on for what is outside its block; the last one masks. Empty with EXTERNALSNAT."""
        listed = [(cidr, "AWS SNAT CHAIN") for cidr in self.vpc_cidrs]
        listed += [(cidr, "AWS SNAT CHAIN EXCLUSION") for cidr in self.settings.exclude_snat_cidrs]
        for place, (cidr, said) in enumerate(listed):
            jump = f'! -d {cidr} -m comment --comment "{said}" -j {SNAT_CHAIN}-{place + 1}'
            yield self.chain(f"{SNAT_CHAIN}-{place}", (jump,) if self.snat else ())
        yield self.chain(f"{SNAT_CHAIN}-{len(listed)}", (self.masked(),) if self.snat else ())

    def connmark_chain(self) -> Iterator[KernelObject]:
        """The mark for what leaves the VPC, as iptables chain: with the legacy back end alone."""
        if not self.snat or self.backend != "legacy":
            return
        set_mark = f'-m comment --comment "AWS, CONNMARK" {self.set_mark}'
        yield self.chain(CONNMARK_CHAIN, (*self.returns("AWS CONNMARK CHAIN"), set_mark))
        veth = f'-i {self.veths} -m comment --comment "AWS, outbound connections" -j {CONNMARK_CHAIN}'
        yield self.rule("nat", "PREROUTING", veth)
        yield self.rule("nat", "PREROUTING", f'-m comment --comment "AWS, CONNMARK" {self.restore}')

    # ---- mangle -----------------------------------------------------------------------------------------------------------

    def mangle(self) -> Iterator[IptRule]:
        """Mark what NodePort clients open by eth0; give the mark back to what pods answer, or send on a marked flow."""
        said = '-m comment --comment "AWS, primary ENI"'
        if self.node_port:
            local = f"-i {PRIMARY_LINK} {said} -m addrtype --dst-type LOCAL --limit-iface-in {self.set_mark}"
            yield self.rule("mangle", "PREROUTING", local)
        if self.node_port or (self.snat and not self.old):
            yield self.rule("mangle", "PREROUTING", f"-i {self.veths} {said} {self.restore}")
        if self.node_port and not self.old:
            yield self.rule("mangle", "PREROUTING", f"-i vlan+ {said} {self.restore}")

    # ---- nftables ---------------------------------------------------------------------------------------------------------

    def connmark_table(self) -> Iterator[NftTable]:
        """The mark for what leaves the VPC, as nftables table: behind DNAT, so that it sees pods behind service addresses."""
        if self.old or not self.snat or self.backend != "nft":
            return
        mark = f"0x{self.settings.connmark:08x}"
        blocks = reversed(dict.fromkeys((*self.vpc_cidrs, *self.settings.exclude_snat_cidrs)))
        lines = [
            "\tchain nat-prerouting {",
            "\t\ttype nat hook prerouting priority dstnat + 10; policy accept;",
            "\t\tfib daddr type local return",
            f'\t\tiifname "{self.settings.veth_prefix}*" counter jump snat-mark',
            f"\t\tcounter meta mark set ct mark & {mark}",
            "\t}",
            "\tchain snat-mark {",
            *(f"\t\tcounter ip daddr {cidr} return" for cidr in blocks),
            f"\t\tcounter ct mark set ct mark | {mark}",
            "\t}",
        ]
        yield NftTable("ip", NFT_TABLE, "\n".join(lines))
