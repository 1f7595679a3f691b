"""nftables and iptables objects through the port, in memory and for real."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from labnet.errors import KernelError
from labnet.kernel.door import LinuxKernel
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.model.netstate import (
    Change,
    IptChain,
    IptRule,
    KernelObject,
    Link,
    LinkUp,
    NftElement,
    NftPortChain,
    NftTable,
    Rule,
    Slice,
    VethPeer,
)

Kernel = FakeKernel | LinuxKernel
Name = Callable[[str], str]
TABLE = NftTable("inet", "vpc", "set known { type ipv4_addr; }\nset pairs { type ifname . ipv4_addr; }\nchain c { ip saddr @known counter; }")
ELEMENTS = (
    NftElement("vpc", "known", ("10.0.0.1",), ("ipv4_addr",)),
    NftElement("vpc", "pairs", ("p1", "10.0.0.1"), ("ifname", "ipv4_addr")),
)
PORTS = NftTable("netdev", "ports", "chain checks { counter; }")
PORT = NftPortChain("ports", "in-one", "one", "ingress", "checks")
MARKED = NftPortChain("ports", "out-one", "one", "egress", "checks", mark=0x0A0A000A)
CHAINS = (
    IptChain("nat", "AWS-SNAT-CHAIN-0", ("-d 10.10.0.0/16 -j RETURN", "-j AWS-SNAT-CHAIN-1")),
    IptChain("nat", "AWS-SNAT-CHAIN-1", ("-j RETURN",)),
    IptRule("nat", "POSTROUTING", "-j AWS-SNAT-CHAIN-0"),
)


def add(kernel: Kernel, netns: str, *items: KernelObject) -> None:
    kernel.apply([(netns, tuple(Change("add", item) for item in items))])


@pytest.fixture
def here(kernel: Kernel, name: Name) -> str:
    kernel.create_netns([name("a")])
    add(kernel, name("a"), Link("one", peer=VethPeer(name("a"), "two")), LinkUp("one"))
    return name("a")


def test_tables_elements_and_port_chains_come_and_go(kernel: Kernel, here: str) -> None:
    book = SliceBook(kernel)
    wanted = (TABLE, PORTS, PORT, MARKED, *ELEMENTS)
    book.set([(here, Slice("fabric", (*ELEMENTS, MARKED, PORT, PORTS, TABLE)))])
    state = kernel.observe(here)
    assert [item.text for item in wanted if item not in state] == []
    assert book.drift(here) == ()
    kernel.apply([(here, (Change("remove", ELEMENTS[0]),))])
    assert book.drift(here) == (("fabric", Change("add", ELEMENTS[0])),)
    book.repair(here)
    assert book.drift(here) == ()
    book.set([(here, Slice("fabric"))])
    assert not any(item in kernel.observe(here) for item in wanted)


def test_tables_of_an_earlier_process_are_known_again(kernel: Kernel, here: str) -> None:
    SliceBook(kernel).set([(here, Slice("fabric", (TABLE, *ELEMENTS)))])
    if isinstance(kernel, LinuxKernel):
        later = LinuxKernel()
        later.learn(kernel.known)
    book = SliceBook(later if isinstance(kernel, LinuxKernel) else kernel)
    try:
        book.assume(here, Slice("fabric", (TABLE, *ELEMENTS)))
        assert book.drift(here) == ()
        assert not any(isinstance(item, NftTable | NftElement) for item in book.foreign(here))
    finally:
        if isinstance(kernel, LinuxKernel):
            later.close()


def test_an_element_needs_its_table(kernel: Kernel, here: str) -> None:
    with pytest.raises(KernelError) as caught:
        add(kernel, here, Rule(9), ELEMENTS[0])
    assert caught.value.errno == errno.ENOENT
    assert Rule(9) not in kernel.observe(here)


def test_a_later_failure_takes_the_filter_back(kernel: Kernel, here: str) -> None:
    add(kernel, here, TABLE)
    with pytest.raises(KernelError):
        add(kernel, here, *ELEMENTS, *CHAINS, LinkUp("none"))
    state = kernel.observe(here)
    assert TABLE in state
    assert not any(item in state for item in (*ELEMENTS, *CHAINS))


def test_iptables_chains_and_rules_come_and_go(kernel: Kernel, here: str) -> None:
    book = SliceBook(kernel)
    book.set([(here, Slice("ipamd", (CHAINS[2], *CHAINS[:2])))])
    state = kernel.observe(here)
    assert [item.text for item in CHAINS if item not in state] == []
    assert book.drift(here) == ()
    assert not any(isinstance(item, IptChain | IptRule) for item in book.foreign(here))
    book.set([(here, Slice("ipamd"))])
    assert not any(item in kernel.observe(here) for item in CHAINS)


def test_a_jump_to_a_chain_that_is_not_there_is_refused(kernel: Kernel, here: str) -> None:
    with pytest.raises(KernelError):
        add(kernel, here, CHAINS[2])
    assert CHAINS[2] not in kernel.observe(here)


def test_counters_and_flows(kernel: Kernel, here: str) -> None:
    assert kernel.counters(here) == {}
    assert kernel.forget_flows(here, ["10.0.0.1"]) == 0
    assert kernel.forget_flows_where(here, lambda flow: True) == 0
