"""What must hold for the networks outside of AWS of a scenario: blocks, hosts, who they are connected with (pure).

Source: docs/sources.md#virtual-private-gateways
"""

from __future__ import annotations

from collections.abc import Mapping

from labnet.lab import scenario_schema as schema
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.scenario_build import blocks_of, site_blocks, site_hosts, vpc_name, vpcs_of
from labnet.lab.scenario_problems import Findings, Path, nearest
from labnet.lab.scenario_rules_vpc import FOREIGN_BLOCKS, check_block
from labnet.model import addressing, names

MAX_NETWORKS = 10
"""Connections of one virtual private gateway. Source: docs/sources.md#virtual-private-gateways"""
VPN_MTUS = (576, 1446)
LINE_MTUS = (1500, 8500)
Vpcs = Mapping[str, tuple[Path, vpcwords.Vpc]]


def check_sites(document: schema.Document, findings: Findings) -> None:
    """Note everything that is wrong with the networks outside. Clashes of names are noted with those of nodes and pods."""
    vpcs = {vpc_name(vpc): (path, vpc) for path, vpc in vpcs_of(document)}
    taken: dict[str, list[tuple[str, str]]] = {}
    for n, site in enumerate(document.on_premises):
        path: Path = ("onPremises", n)
        if not names.is_name(site.name):
            findings.add((*path, "name"), f"{site.name!r} is no name for a network", "lower-case letters, digits and dashes, 32 at most")
        good = _blocks(path, site, findings)
        _hosts(path, site, good, findings)
        _mtu(path, site, findings)
        home = _home(path, site, vpcs, findings)
        if home is None:
            continue
        for at, cidr in good:
            for _there, block in blocks_of(*vpcs[home]):
                if addressing.overlap(cidr, block):
                    findings.add(at, f"{cidr} overlaps {block} of VPC {home}, whose local route comes first", "take another block")
            for other, block in taken.get(home, []):
                if addressing.overlap(cidr, block):
                    findings.add(at, f"{cidr} overlaps {block} of {other}, behind the same VPN gateway", "take another block")
        taken.setdefault(home, []).extend((site.name, cidr) for _at, cidr in good)
    if len(document.on_premises) > MAX_NETWORKS:
        findings.add(("onPremises",), f"{len(document.on_premises)} networks", f"{MAX_NETWORKS} at most")


def _blocks(path: Path, site: vpcwords.OnPremises, findings: Findings) -> list[tuple[Path, str]]:
    """The blocks that are good, with where they stand."""
    if site.cidr is not None and site.cidrs is not None:
        findings.add((*path, "cidrs"), "stands beside 'cidr'", "write all blocks below 'cidrs'")
    if not site_blocks(site):
        findings.add(path, "has no block", "add 'cidr: 192.168.0.0/16'")
    placed: list[tuple[Path, str]] = [((*path, "cidr"), site.cidr)] if site.cidr is not None else []
    placed += [((*path, "cidrs", n), cidr) for n, cidr in enumerate(site.cidrs or ())]
    good: list[tuple[Path, str]] = []
    for at, cidr in placed:
        if not check_block(cidr, at, findings, sized=False):
            continue
        foreign = [one for one in FOREIGN_BLOCKS if addressing.overlap(cidr, one)]
        for one in foreign:
            findings.add(at, f"{cidr} overlaps {one}, which is {FOREIGN_BLOCKS[one]}", "take a private block, as 192.168.0.0/16")
        for _other, block in good:
            if addressing.overlap(cidr, block):
                findings.add(at, f"{cidr} overlaps {block}, another block of this network", "blocks of a network must not overlap")
        if not foreign:
            good.append((at, cidr))
    return good


def _hosts(path: Path, site: vpcwords.OnPremises, good: list[tuple[Path, str]], findings: Findings) -> None:
    seen: set[str] = set()
    for n, (name, address) in enumerate(site_hosts(site) if site.hosts else ()):
        at: Path = (*path, "hosts", n)
        if not names.is_name(name):
            findings.add((*at, "name"), f"{name!r} is no name for a host", "lower-case letters, digits and dashes, 32 at most")
        if not addressing.is_address(address):
            findings.add((*at, "address"), f"{address!r} is no IPv4 address", "for example 192.168.10.20")
        elif good and not any(addressing.contains(cidr, address) for _at, cidr in good):
            findings.add((*at, "address"), f"{address} is outside the network", f"the network is {', '.join(cidr for _at, cidr in good)}")
        elif address in seen:
            findings.add((*at, "address"), f"{address} is another host's", "every host has an address of its own")
        seen.add(address)


def _mtu(path: Path, site: vpcwords.OnPremises, findings: Findings) -> None:
    if site.mtu is None:
        return
    low, high = VPN_MTUS
    if site.connection == "vpn" and not low <= site.mtu <= high:
        findings.add((*path, "mtu"), f"{site.mtu} does not go through a VPN tunnel", f"{low} to {high}")
    if site.connection == "direct-connect" and site.mtu not in LINE_MTUS:
        findings.add((*path, "mtu"), f"a private virtual interface does not take {site.mtu}", " or ".join(map(str, LINE_MTUS)))


def _home(path: Path, site: vpcwords.OnPremises, vpcs: Vpcs, findings: Findings) -> str | None:
    """The name of its VPC, if that can be connected with anything."""
    home = site.vpc if site.vpc is not None else next(iter(vpcs), "")
    if home not in vpcs:
        findings.add((*path, "vpc"), f"there is no VPC {home!r}", nearest(home, vpcs))
        return None
    if not vpcs[home][1].vpn_gateway:
        findings.add(path, f"VPC {home} has no VPN gateway to connect it with", "add 'vpnGateway: true' to the VPC")
    return home
