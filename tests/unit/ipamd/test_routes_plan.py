"""The daemon's plan as texts: what depends on which setting, and what never stands in it."""

from __future__ import annotations

import pytest

from labnet.errors import IpamError
from labnet.ipamd.routes import EniWiring, plan_eni, plan_node, rule_destinations, table_of
from labnet.ipamd.settings import Settings
from labnet.model.netstate import Backend, IptChain, NftTable, Slice, Sysctl

VPC = ("10.10.0.0/16",)
ETH2 = EniWiring("eni-2", 2, "10.10.32.20", "10.10.32.0/19", 1500)


def texts(part: Slice, kind: type = object) -> list[str]:
    return [item.text for item in part.objects if isinstance(item, kind)]


def test_a_second_enis_objects() -> None:
    part = plan_eni(Settings(), ETH2)
    assert part.name == "ipamd:eni-2"
    assert texts(part) == [
        "link set eth2 mtu 1500", "link set eth2 up", "inet 10.10.32.20/19 brd 10.10.63.255 scope global eth2",
        "10.10.32.1 dev eth2 table 3 scope link", "default via 10.10.32.1 dev eth2 table 3", "32765: from 10.10.32.20 lookup 3",
    ]
    assert texts(plan_eni(Settings(dialect="1.6"), ETH2)) == texts(part)[:-1]


def test_tables_by_device_index() -> None:
    assert [table_of(number) for number in range(4)] == [254, 2, 3, 4]


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("dialect", ["1.23", "1.6"])
def test_forwarding_and_proxy_arp_are_the_systems_own(backend: Backend, dialect: str) -> None:
    written = texts(plan_node(Settings(dialect=dialect), backend, "10.10.0.10", VPC), Sysctl)  # type: ignore[arg-type]
    assert written == ["net.ipv4.conf.eth0.rp_filter = 2", *(["net.ipv4.tcp_early_demux = 1"] if dialect == "1.23" else [])]


def test_a_block_of_the_vpc_that_is_excluded_too() -> None:
    """Twice in the SNAT chain, whose comments differ; once among the marks, where the rule would be the same."""
    settings = Settings(exclude_snat_cidrs=VPC)
    chains = {chain.name: chain.rules for chain in plan_node(settings, "legacy", "10.10.0.10", VPC).objects if isinstance(chain, IptChain)}
    assert sum("10.10.0.0/16" in rule for rule in chains["AWS-SNAT-CHAIN-0"]) == 2
    assert sum("10.10.0.0/16" in rule for rule in chains["AWS-CONNMARK-CHAIN-0"]) == 1
    (table,) = texts(plan_node(settings, "nft", "10.10.0.10", VPC), NftTable)
    assert table.count("10.10.0.0/16") == 1


def test_release_1_6_and_everything_excluded() -> None:
    settings = Settings(dialect="1.6", exclude_snat_cidrs=("0.0.0.0/0",))
    with pytest.raises(IpamError, match=r"nf_tables back end refuses a rule with ! -d 0\.0\.0\.0/0"):
        plan_node(settings, "nft", "10.10.0.10", VPC)
    plan_node(settings, "legacy", "10.10.0.10", VPC)
    plan_node(Settings(dialect="1.6", exclude_snat_cidrs=("0.0.0.0/0",), external_snat=True), "nft", "10.10.0.10", VPC)


def test_destinations_of_rules() -> None:
    assert rule_destinations(("10.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0")) == ("10.0.0.0/8",)
    assert rule_destinations(("0.0.0.0/0", "10.0.0.0/8")) == (None, "10.0.0.0/8")
    assert rule_destinations(()) == ()
