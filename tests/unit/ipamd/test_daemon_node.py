"""The daemon and the node's own state: taken over at every start, made anew when the VPC gets a block, refused when it cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from builders_ipamd import NODE, Node

from labnet.errors import IpamError
from labnet.ipamd.settings import Settings
from labnet.model.netstate import Change, IptChain, IptRule, NftTable, Rule

A_NODE = Callable[..., Node]


@pytest.fixture
def made(request: pytest.FixtureRequest) -> A_NODE:
    def make(**env: str) -> Node:
        node = Node("t3.small", env)
        request.addfinalizer(node.close)
        return node

    return make


def chain(node: Node, name: str = "AWS-SNAT-CHAIN-0") -> tuple[str, ...]:
    return next(item.rules for item in node.kernel.observe(NODE).all(IptChain) if item.name == name)


def test_the_start_takes_away_what_an_earlier_daemon_left(made: A_NODE) -> None:
    node = made()
    jumps = IptChain("nat", "AWS-SNAT-CHAIN-0", ("-j AWS-SNAT-CHAIN-1",))
    left = (IptChain("nat", "AWS-SNAT-CHAIN-1"), jumps, NftTable("ip", "aws-cni", "old"), Rule(1535, dst="10.99.0.0/16"))
    node.kernel.apply([(NODE, tuple(Change("add", item) for item in left))])
    node.start()
    state = node.kernel.observe(NODE)
    assert [item.name for item in state.all(IptChain)] == ["AWS-SNAT-CHAIN-0"]
    assert not any("AWS-SNAT-CHAIN-1" in rule for rule in chain(node))
    assert [item.body != "old" for item in state.all(NftTable)] == [True]
    assert not any(rule.priority == 1535 for rule in state.all(Rule))


def test_the_start_mends_what_was_changed_by_hand(made: A_NODE) -> None:
    node = made().start()
    before = set(node.kernel.observe(NODE))
    rule = next(item for item in node.kernel.observe(NODE).all(IptRule) if item.table == "mangle")
    node.kernel.apply([(NODE, (Change("remove", rule), Change("remove", Rule(1024, fwmark=0x80, fwmask=0x80))))])
    node.do(node.daemon().start())
    assert set(node.kernel.observe(NODE)) == before


def test_a_restart_with_external_snat_and_back(made: A_NODE) -> None:
    node = made().start()
    before = set(node.kernel.observe(NODE))
    node.settings = Settings(external_snat=True)
    node.do(node.daemon().start())
    assert chain(node) == ()
    assert node.kernel.observe(NODE).all(NftTable) == ()
    node.settings = Settings()
    node.do(node.daemon().start())
    assert set(node.kernel.observe(NODE)) == before


def test_a_block_that_the_vpc_gets_while_the_daemon_runs(made: A_NODE) -> None:
    node = made().start()
    assert not any("100.64.0.0/16" in rule for rule in chain(node))
    node.aws("AssociateVpcCidrBlock", VpcId=node.vpc, CidrBlock="100.64.0.0/16")
    node.wait(60)
    assert [rule.split()[1] for rule in chain(node) if rule.startswith("-d")] == ["100.64.0.0/16", "10.10.0.0/16"]


def test_the_running_daemon_does_not_look_while_nothing_changes(made: A_NODE) -> None:
    node = made().start()
    node.kernel.apply([(NODE, (Change("add", Rule(1535, dst="10.99.0.0/16")),))])
    node.wait(120)
    assert any(rule.priority == 1535 for rule in node.rules())


def test_a_start_that_iptables_would_refuse_ends_the_daemon() -> None:
    node = Node("t3.small", {"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "0.0.0.0/0"}, dialect="1.6")
    try:
        with pytest.raises(IpamError, match="refuses"):
            node.do(node.ipamd.start())
    finally:
        node.close()
