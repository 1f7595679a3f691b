"""Policy rules and chain policies that no plan of labnet has: read as `ip rule` and iptables-save print them, and taken away as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Change, IptPolicy, Rule, RuleExtras

pytestmark = pytest.mark.kernel

WRITTEN = {
    "from 10.0.0.7 blackhole prio 100": "100: from 10.0.0.7 blackhole",
    "to 10.0.0.7 iif lo unreachable prio 101": "101: from all to 10.0.0.7 iif lo unreachable",
    "fwmark 0x80/0x80 prohibit prio 102": "102: from all fwmark 0x80/0x80 prohibit",
    "from 10.0.0.7 goto 32766 prio 103": "103: from 10.0.0.7 goto 32766",
    "nop prio 104": "104: from all nop",
    "not from 10.0.0.0/8 lookup 7 prio 105": "105: not from 10.0.0.0/8 lookup 7",
    "lookup main suppress_prefixlength 0 prio 106": "106: from all lookup main suppress_prefixlength 0",
    "ipproto tcp sport 80 dport 400-500 lookup 10101 prio 107": "107: from all ipproto tcp sport 80 dport 400-500 lookup 10101",
    "uidrange 1000-2000 lookup 7 prio 108": "108: from all uidrange 1000-2000 lookup 7",
    "tos 0x10 lookup 7 prio 109": "109: from all tos 0x10 lookup 7",
    "lookup main suppress_ifgroup 5 prio 110": "110: from all lookup main suppress_ifgroup 5",
}


@pytest.mark.parametrize(("words", "text"), WRITTEN.items(), ids=[str(text.split(":")[0]) for text in WRITTEN.values()])
def test_a_rule_of_somebody_else_is_read_and_can_be_taken_away(
    kernel: LinuxKernel, name: Callable[[str], str], words: str, text: str
) -> None:
    here = name("a")
    kernel.create_netns([here])
    done = kernel.run(here, ["ip", "rule", "add", *words.split()])
    assert done.exit_code == 0, done.stderr
    found = [rule for rule in kernel.observe(here).all(Rule) if rule.family == "inet" and 100 <= rule.priority < 120]
    assert [rule.text for rule in found] == [text] and not found[0].derived
    shown = next(line for line in kernel.run(here, ["ip", "rule"]).stdout.splitlines() if line.startswith(text[:4]))
    assert " ".join(shown.split()).replace("tos lowdelay", "tos 0x10") == text
    kernel.apply([(here, (Change("remove", found[0]),))])
    assert [rule for rule in kernel.observe(here).all(Rule) if rule.family == "inet" and 100 <= rule.priority < 120] == []


def test_rules_that_differ_in_what_is_rare_are_different_rules() -> None:
    plain, special = Rule(100), Rule(100, extras=RuleExtras(ip_protocol=6))
    assert plain.key != special.key and plain.key == Rule(100).key


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_a_chains_policy_is_read_where_it_is_not_accept(kernel: LinuxKernel, name: Callable[[str], str], backend: str) -> None:
    here = name("a")
    kernel.create_netns([here])
    assert kernel.run(here, [f"iptables-{backend}", "-A", "INPUT", "-j", "ACCEPT"]).exit_code == 0
    assert list(kernel.observe(here).all(IptPolicy)) == []
    assert kernel.run(here, [f"iptables-{backend}", "-P", "FORWARD", "DROP"]).exit_code == 0
    [policy] = kernel.observe(here).all(IptPolicy)
    assert (policy.table, policy.chain, policy.policy, policy.backend) == ("filter", "FORWARD", "DROP", backend)
    assert policy.text == "*filter :FORWARD DROP" and not policy.derived
