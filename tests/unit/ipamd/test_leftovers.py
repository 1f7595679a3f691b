"""Which objects a starting daemon takes for an earlier one's."""

from __future__ import annotations

import pytest

from labnet.ipamd.leftovers import standing_eni, standing_node
from labnet.ipamd.routes import EniWiring, plan_eni, plan_node
from labnet.ipamd.settings import Settings
from labnet.model.netstate import Addr, IptChain, IptRule, KernelObject, NftTable, Route, Rule, Slice

EMPTY = Slice("ipamd")
CURRENT, OLD = Settings(), Settings(dialect="1.6")
SNAT = '-m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0'
MARK = '-i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0'
RESTORE = '-i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80'
CASES: list[tuple[KernelObject, bool, bool]] = [
    (IptChain("nat", "AWS-SNAT-CHAIN-7"), True, True),
    (IptChain("nat", "AWS-SNAT-CHAIN-7", backend="legacy"), False, False),
    (IptChain("nat", "AWS-SNAT-CHAIN-MINE"), False, False),
    (IptChain("filter", "AWS-SNAT-CHAIN-0"), False, False),
    (IptChain("nat", "AWS-SNAT-CHAIN-0", family="inet6"), False, False),
    (IptChain("nat", "AWS-CONNMARK-CHAIN-0"), True, False),
    (IptChain("nat", "AWS-CONNMARK-CHAIN-2", backend="legacy"), True, False),
    (IptRule("nat", "POSTROUTING", SNAT), True, True),
    (IptRule("nat", "POSTROUTING", SNAT.replace("CHAIN\"", "CHAN\"")), True, True),
    (IptRule("nat", "POSTROUTING", "-s 10.9.9.9/32 -j AWS-SNAT-CHAIN-1"), True, True),
    (IptRule("nat", "POSTROUTING", "-j MASQUERADE"), False, False),
    (IptRule("nat", "PREROUTING", MARK, backend="legacy"), True, False),
    (IptRule("nat", "PREROUTING", '-m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80'), True, False),
    (IptRule("mangle", "PREROUTING", RESTORE), True, True),
    (IptRule("mangle", "PREROUTING", RESTORE, backend="legacy"), False, False),
    (IptRule("mangle", "OUTPUT", RESTORE), False, False),
    (NftTable("ip", "aws-cni", ""), True, False),
    (NftTable("inet", "aws-cni", ""), False, False),
    (Rule(1024, fwmark=0x80, fwmask=0x80), True, True),
    (Rule(1024, fwmark=0x4000, fwmask=0xC000), False, False),
    (Rule(1535, dst="10.0.0.0/8"), True, False),
    (Rule(1535, dst="fd00::/8", family="inet6"), False, False),
    (Rule(1536, 2, src="10.10.2.6/32"), False, False),
    (Rule(512, dst="10.10.2.6/32"), False, False),
]


@pytest.mark.parametrize(("item", "current", "old"), CASES, ids=lambda value: value.text if hasattr(value, "text") else "")
def test_what_is_a_leftover(item: KernelObject, current: bool, old: bool) -> None:
    assert standing_node([item], None, EMPTY, CURRENT, "nft") == ((item,) if current else ())
    assert standing_node([item], None, EMPTY, OLD, "nft") == ((item,) if old else ())


def test_what_was_claimed_and_what_is_planned_counts_as_it_is() -> None:
    plan = plan_node(CURRENT, "nft", "10.10.0.10", ("10.10.0.0/16",))
    other = Rule(77, 7)
    assert standing_node([*plan.objects, other], None, plan, CURRENT, "nft") == plan.objects
    assert standing_node([other], Slice("ipamd", (other,)), EMPTY, CURRENT, "nft") == (other,)


def test_a_mark_of_all_bits_is_known_in_either_spelling() -> None:
    settings = Settings(connmark=0xFFFFFFFF)
    plan = plan_node(settings, "nft", "10.10.0.10", ("10.10.0.0/16",))
    seen = Rule(1024, fwmark=0xFFFFFFFF)
    assert standing_node([seen], None, plan, settings, "nft") == (seen,)


def test_addresses_of_an_enis_link() -> None:
    wiring = EniWiring("eni-1", 1, "10.10.0.20", "10.10.0.0/19", 9001)
    mine = Addr("eth1", "192.168.5.5", 24)
    others = (Addr("eth0", "10.10.0.10", 19), Addr("eth1", "169.254.9.9", 16, scope="link"), Addr("eth1", "fd00::1", 64, "inet6"))
    wrong = Route("default", "eth0", via="10.10.0.1", table=2)
    elsewhere = Route("10.50.0.0/16", "eth1", scope="link", table=2)
    assert standing_eni([mine, *others, wrong, elsewhere], plan_eni(CURRENT, wiring), wiring) == (mine, wrong)
