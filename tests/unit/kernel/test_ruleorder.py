"""Rules of built-in chains stand in the order of their slice, whatever is added, lost or moved; and chains go with what jumps to them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from labnet.kernel.diff import diff, index, missing
from labnet.kernel.fake import FakeKernel
from labnet.kernel.ruleorder import out_of_place
from labnet.kernel.slices import SliceBook
from labnet.model.netstate import Change, IptChain, IptRule, NftTable, Rule, Slice

A, B, C, D = (IptRule("nat", "PREROUTING", f"-j {word}") for word in ("ACCEPT", "DROP", "RETURN", "LOG"))
FOREIGN = IptRule("nat", "PREROUTING", "-s 192.0.2.1/32 -j DROP")


def after(have: Sequence[IptRule], changes: Sequence[Change]) -> list[IptRule]:
    """The chain as iptables leaves it: what goes goes, what comes is appended."""
    chain = list(have)
    for change in changes:
        assert isinstance(change.object, IptRule)
        if change.op == "remove":
            chain.remove(change.object)
    for change in changes:
        if change.op != "remove":
            chain.append(change.object)  # type: ignore[arg-type]
    return chain


def test_what_stands_right_is_not_touched() -> None:
    assert diff((A, B), (A, B)) == ()
    assert diff((A, B), (A, B, C)) == (Change("add", C),)
    assert missing((FOREIGN, A, FOREIGN, B), (A, B), out_of_place(index((A, B)), index((A, B)))) == ()


def test_what_follows_a_new_rule_comes_again_behind_it() -> None:
    assert [(change.op, change.object) for change in diff((A, C), (A, B, C))] == [("remove", C), ("add", B), ("add", C)]
    changes = [(change.op, change.object) for change in diff((A, C), (B, C))]
    assert set(changes[:2]) == {("remove", A), ("remove", C)}
    assert changes[2:] == [("add", B), ("add", C)]


def test_chains_do_not_matter_to_one_another() -> None:
    other = IptRule("nat", "POSTROUTING", "-j ACCEPT")
    assert diff((other, A), (A, other)) == ()
    assert diff((B, other), (A, B, other)) == (Change("remove", B), Change("add", A), Change("add", B))


orders, some = st.permutations([A, B, C, D]), st.sets(st.sampled_from([A, B, C, D]))


@given(orders, some, orders, some)
def test_from_any_order_to_any_other(have: list[IptRule], lost: set[IptRule], want: list[IptRule], left: set[IptRule]) -> None:
    have, want = [rule for rule in have if rule not in lost], [rule for rule in want if rule not in left]
    assert after(have, diff(have, want)) == want


def test_a_slice_that_gets_a_first_rule_keeps_its_order() -> None:
    kernel = FakeKernel()
    kernel.create_netns(["n"])
    book = SliceBook(kernel)
    for rules in ((B, C), (A, B, C), (D, C), (A, B, C, D)):
        book.set([("n", Slice("mine", rules))])
        assert tuple(kernel.observe("n").all(IptRule)) == rules


def test_repair_puts_rules_behind_the_one_that_was_lost() -> None:
    for lost in itertools.chain(*(itertools.combinations((A, B, C), count) for count in (1, 2, 3))):
        kernel = FakeKernel()
        kernel.create_netns(["n"])
        book = SliceBook(kernel)
        book.set([("n", Slice("mine", (A, B, C)))])
        kernel.apply([("n", tuple(Change("remove", rule) for rule in lost))])
        book.repair("n")
        assert tuple(kernel.observe("n").all(IptRule)) == (A, B, C)


def test_order_between_slices_is_no_drift() -> None:
    kernel = FakeKernel()
    kernel.create_netns(["n"])
    book = SliceBook(kernel)
    book.set([("n", Slice("one", (A,)))])
    book.set([("n", Slice("two", (B,)))])
    book.set([("n", Slice("one", (C,)))])
    book.set([("n", Slice("one", (A, C)))])
    assert book.drift("n") == ()


def test_a_chain_goes_together_with_the_rules_that_jump_to_it() -> None:
    first, second = IptChain("nat", "ONE", ("-j TWO",)), IptChain("nat", "TWO")
    changes = diff((first, second, Rule(9)), (IptChain("nat", "ONE"), NftTable("ip", "t", ""), Rule(10)))
    kinds = [change.object.kind for change in changes]
    assert kinds[:2] == ["iptables-chain", "iptables-chain"], "one after the other, so that one program makes both"
    assert set(kinds[2:]) == {"rule", "nft-table"}
