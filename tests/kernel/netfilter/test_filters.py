"""nftables and iptables through the door: whole or not at all, in order, and what is not ours stays."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable

import pytest

from labnet.errors import KernelError
from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Backend, Change, IptChain, IptRule, KernelObject, NftElement, NftTable

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]

BODY = """
\tset blocked {
\t\ttype ipv4_addr
\t}
\tchain in {
\t\ttype filter hook input priority filter; policy accept;
\t\tip saddr @blocked counter drop comment "blocked"
\t}
"""


@pytest.fixture
def here(kernel: LinuxKernel, name: Name) -> str:
    kernel.create_netns([name("f")])
    return name("f")


def change(kernel: LinuxKernel, netns: str, op: str, *items: KernelObject) -> None:
    kernel.apply([(netns, tuple(Change(op, item) for item in items))])  # type: ignore[arg-type]


def run(netns: str, *command: str, stdin: str = "") -> str:
    done = subprocess.run(["ip", "netns", "exec", netns, *command], input=stdin, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def chains(netns: str, backend: Backend, table: str = "nat") -> list[str]:
    return [line for line in run(netns, f"iptables-{backend}-save", "-t", table).splitlines() if line.startswith("-A")]


# ---- nftables -------------------------------------------------------------------------------------------------------------


def test_a_table_is_what_its_text_says(kernel: LinuxKernel, here: str) -> None:
    change(kernel, here, "add", NftTable("inet", "ours", BODY), NftElement("ours", "blocked", ("192.0.2.1",), ("ipv4_addr",)))
    shown = run(here, "nft", "list", "table", "inet", "ours")
    assert "elements = { 192.0.2.1 }" in shown and 'comment "blocked"' in shown
    assert NftTable("inet", "ours", BODY) in kernel.observe(here)


def test_a_new_table_does_not_swallow_one_of_its_name(kernel: LinuxKernel, here: str) -> None:
    run(here, "nft", "-f", "-", stdin="table inet ours {\n chain theirs {\n }\n}\n")
    with pytest.raises(KernelError) as caught:
        change(kernel, here, "add", NftTable("inet", "ours", BODY))
    assert caught.value.errno == errno.EEXIST
    assert "theirs" in run(here, "nft", "list", "table", "inet", "ours") and "blocked" not in run(here, "nft", "list", "ruleset")


def test_a_batch_that_fails_leaves_no_table_behind(kernel: LinuxKernel, here: str) -> None:
    good, bad = NftTable("inet", "good", BODY), NftTable("inet", "bad", "\tchain c { no such words }")
    with pytest.raises(KernelError, match="no such"):
        change(kernel, here, "add", good, bad)
    assert run(here, "nft", "list", "ruleset") == ""
    with pytest.raises(KernelError):
        change(kernel, here, "add", good, NftElement("good", "nowhere", ("192.0.2.1",), ("ipv4_addr",)))
    assert run(here, "nft", "list", "ruleset") == ""


def test_a_replaced_table_comes_back_when_what_follows_fails(kernel: LinuxKernel, here: str) -> None:
    first, second = NftTable("inet", "ours", BODY), NftTable("inet", "ours", BODY.replace("blocked", "barred"))
    change(kernel, here, "add", first)
    changes = (Change("replace", second, first), Change("add", NftElement("ours", "nowhere", ("192.0.2.1",), ("ipv4_addr",))))
    with pytest.raises(KernelError):
        kernel.apply([(here, changes)])
    shown = run(here, "nft", "list", "table", "inet", "ours")
    assert "set blocked" in shown and "barred" not in shown


def test_an_element_gone_already_is_no_failure(kernel: LinuxKernel, here: str) -> None:
    element = NftElement("ours", "blocked", ("192.0.2.1",), ("ipv4_addr",))
    change(kernel, here, "add", NftTable("inet", "ours", BODY), element)
    run(here, "nft", "delete", "element", "inet", "ours", "blocked", "{ 192.0.2.1 }")
    change(kernel, here, "remove", element)
    assert element not in kernel.observe(here)


# ---- iptables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_rules_keep_their_order_and_their_neighbours(kernel: LinuxKernel, here: str, backend: Backend) -> None:
    run(here, f"iptables-{backend}", "-t", "nat", "-A", "POSTROUTING", "-s", "198.51.100.0/24", "-j", "ACCEPT")
    chain = IptChain("nat", "OURS", ("-d 10.0.0.0/8 -j RETURN", "-d 192.0.2.0/24 -j ACCEPT"), backend)
    jump = IptRule("nat", "POSTROUTING", '-m comment --comment "our chain" -j OURS', backend)
    change(kernel, here, "add", chain, jump)
    theirs = "-A POSTROUTING -s 198.51.100.0/24 -j ACCEPT"
    assert chains(here, backend) == [
        theirs, '-A POSTROUTING -m comment --comment "our chain" -j OURS',
        "-A OURS -d 10.0.0.0/8 -j RETURN", "-A OURS -d 192.0.2.0/24 -j ACCEPT",
    ]
    assert {chain, jump} <= set(kernel.observe(here))
    longer = IptChain("nat", "OURS", ("-d 172.16.0.0/12 -j RETURN", *chain.rules), backend)
    kernel.apply([(here, (Change("replace", longer, chain),))])
    assert [line for line in chains(here, backend) if line.startswith("-A OURS")] == [f"-A OURS {rule}" for rule in longer.rules]
    change(kernel, here, "remove", jump, longer)
    assert chains(here, backend) == [theirs]


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_a_rule_that_iptables_refuses_changes_nothing(kernel: LinuxKernel, here: str, backend: Backend) -> None:
    good = IptChain("nat", "OURS", ("-j RETURN",), backend)
    bad = IptRule("nat", "POSTROUTING", "-j NOSUCHCHAIN", backend)
    with pytest.raises(KernelError, match=f"iptables-{backend}-restore"):
        change(kernel, here, "add", good, bad)
    assert chains(here, backend) == [] and "OURS" not in run(here, f"iptables-{backend}-save")


def test_looking_makes_no_tables(kernel: LinuxKernel, here: str) -> None:
    kernel.observe(here)
    assert run(here, "nft", "list", "ruleset") == "" and run(here, "cat", "/proc/net/ip_tables_names") == ""
