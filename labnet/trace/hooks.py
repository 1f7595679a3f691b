"""One netfilter hook of a namespace: iptables tables and nftables chains in the order of their priorities (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from labnet.trace.flight import BROADCAST_MAC, InFlight, Outcome
from labnet.trace.iptables_walk import Tables, run_table, translated
from labnet.trace.nft_fields import Fields, Value
from labnet.trace.nft_text import NftChain
from labnet.trace.nft_walk import Table, run_chain, tables_of
from labnet.trace.world import Host

# Priorities at which the kernel calls the tables of iptables.  Source: linux/netfilter_ipv4.h, enum nf_ip_hook_priorities
IPTABLES_AT: dict[str, tuple[tuple[int, str], ...]] = {
    "prerouting": ((-300, "raw"), (-150, "mangle"), (-100, "nat")),
    "input": ((-150, "mangle"), (0, "filter"), (50, "security"), (100, "nat")),
    "forward": ((-150, "mangle"), (0, "filter"), (50, "security")),
    "output": ((-300, "raw"), (-150, "mangle"), (-100, "nat"), (0, "filter"), (50, "security")),
    "postrouting": ((-150, "mangle"), (100, "nat")),
}
IP_FAMILIES = frozenset({"ip", "inet"})

ECHO_TYPE_AND_CODE = 8 << 8
"""What stands in an echo request where TCP and UDP have their source port: rules of the VPC read ICMP's type and code there."""

Step = tuple[int, bool, Callable[[InFlight], Outcome]]


class Netfilter:
    """The netfilter rules of one namespace, ready to be asked hook by hook."""

    def __init__(self, host: Host, established: bool = False) -> None:
        """`established`: packets belong to flows that are known, for which the kernel asks no nat chain."""
        self._host = host
        self._established = established
        self._iptables = Tables.of(host)
        self._nft = tables_of(host)

    def hook(self, name: str, packet: InFlight) -> Outcome:
        """Take a packet through a hook: prerouting, input, forward, output, postrouting."""
        outcome = Outcome(packet)
        translated_here = False
        for _, is_nat, run in sorted(self._steps(name), key=lambda step: step[0]):
            if is_nat and (translated_here or self._established):
                continue  # the kernel asks no further nat chain once a mapping is set up
            later = run(outcome.packet)
            translated_here = translated_here or (is_nat and bool(later.nat))
            outcome = outcome.then(later)
            if outcome.verdict == "drop":
                break
        return outcome

    def device(self, hook: str, link: str, packet: InFlight) -> tuple[Outcome, str]:
        """Take a frame through the netdev chains of one link (ingress, egress); also the packet type that rules set ("" = none)."""
        outcome, kind = Outcome(packet), ""
        for table, chain in self._base_chains("netdev", hook):
            if chain.device != link:
                continue
            done, fields = self._run(table, chain, outcome.packet)
            kind = str(fields.get("meta pkttype", kind))
            outcome = outcome.then(done)
            if outcome.verdict == "drop":
                break
        return outcome, kind

    def arp(self, hook: Literal["input", "output"], link: str, fields: Fields) -> Fields | None:
        """Take an ARP message through the netdev chains of a link and the chains of the arp family; None when a rule drops it.

        A question comes in (ingress, then input); an answer goes out (output, then egress).
        """
        chains = self._base_chains("arp", hook)
        device = [pair for pair in self._base_chains("netdev", "ingress" if hook == "input" else "egress") if pair[1].device == link]
        for table, chain in [*device, *chains] if hook == "input" else [*chains, *device]:
            done = run_chain(table, chain, fields)
            if done.verdict == "drop":
                return None
            fields = done.fields
        return fields

    def _base_chains(self, family: str, hook: str) -> list[tuple[Table, NftChain]]:
        found = [(table, chain) for table in self._nft if table.family == family for chain in table.chains.values() if chain.hook == hook]
        return sorted(found, key=lambda pair: pair[1].priority)

    def _steps(self, name: str) -> Iterator[Step]:
        for tables in self._iptables:
            for priority, table in IPTABLES_AT[name]:
                yield priority, table == "nat", partial(run_table, tables, self._host, table, name.upper())
        for nft in self._nft:
            for chain in nft.chains.values():
                if nft.family in IP_FAMILIES and chain.hook == name:
                    yield chain.priority, chain.type == "nat", lambda packet, nft=nft, chain=chain: self._run(nft, chain, packet)[0]  # type: ignore[misc]

    def _run(self, table: Table, chain: NftChain, packet: InFlight) -> tuple[Outcome, Fields]:
        done = run_chain(table, chain, fields_of(self._host, packet))
        after = _with_fields(packet, done.fields)
        nat = ""
        if done.nat is not None:
            kind, address, port = done.nat
            if kind == "snat" and not address:
                address = next((item.address for item in self._host.addresses if item.link == packet.oif), "")
            after, nat = translated(after, kind.upper(), address, int(port or 0))
        return Outcome(after, done.verdict, done.matched, done.rule, done.counter, nat, done.unknown, done.rules), done.fields


def packet_type(dst_mac: str, mac: str) -> str:
    """For whom the kernel takes a frame that comes in on a link: by its destination and the link's MAC."""
    if dst_mac == BROADCAST_MAC:
        return "broadcast"
    if dst_mac and int(dst_mac[:2], 16) & 1:
        return "multicast"
    return "host" if not dst_mac or dst_mac == mac else "other"


def fields_of(host: Host, packet: InFlight) -> dict[str, Value]:
    """The fields that nftables rules read, for the first packet of a flow, or one that answers it."""
    fields: dict[str, Value] = {
        "iifname": packet.iif, "oifname": packet.oif, "ip saddr": packet.src, "ip daddr": packet.dst, "ip protocol": packet.protocol,
        "ip ttl": packet.ttl, "ip length": packet.length, "ether saddr": packet.src_mac, "ether daddr": packet.dst_mac, "ether type": "ip",
        "ct state": "established" if packet.answers else "new",
        "ct mark": packet.ct_mark, "meta mark": packet.mark, "meta l4proto": packet.protocol, "meta protocol": "ip",
        "meta nfproto": "ipv4", "meta priority": packet.priority, "meta pkttype": packet_type(packet.dst_mac, host.mac(packet.iif)),
        "fib daddr type": "local" if host.is_local(packet.dst) else "unicast",
        "fib saddr type": "local" if host.is_local(packet.src) else "unicast",
    }
    if packet.protocol == "icmp":
        fields |= {"icmp type": "echo-reply" if packet.answers else "echo-request", "th sport": 0 if packet.answers else ECHO_TYPE_AND_CODE}
    else:
        fields |= {"th dport": packet.dst_port, "th sport": packet.src_port}
        fields |= {f"{packet.protocol} dport": packet.dst_port, f"{packet.protocol} sport": packet.src_port}
    return {name: value for name, value in fields.items() if value != ""}


def _with_fields(packet: InFlight, fields: Fields) -> InFlight:
    """The packet with what statements may have set."""
    return replace(
        packet, mark=int(fields["meta mark"]), priority=int(fields["meta priority"]), ct_mark=int(fields["ct mark"]),
        ttl=int(fields["ip ttl"]), src=str(fields["ip saddr"]), dst=str(fields["ip daddr"]),
        src_mac=str(fields.get("ether saddr", "")), dst_mac=str(fields.get("ether daddr", "")),
    )

