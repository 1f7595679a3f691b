"""The book of links: indexes without look-ups."""

from __future__ import annotations

from labnet.kernel.linkbook import LinkBook


def a_book() -> LinkBook:
    book = LinkBook()
    book.learn("node", [(1, "lo", 65536)])
    book.learn("pod", [(1, "lo", 65536), (7, "sit0", 1480)])
    return book


def test_indexes_go_on_behind_the_highest() -> None:
    book = a_book()
    assert [book.reserve("pod", "eth0"), book.reserve("pod", "eth1"), book.reserve("node", "eth0")] == [8, 9, 2]
    assert book.index("pod", "eth1") == 9
    assert book.names("node") == {1: "lo", 2: "eth0"}


def test_an_index_is_never_given_twice() -> None:
    book = a_book()
    book.reserve("node", "a")
    book.unplug(("node", "a"))
    book.learn("node", [(1, "lo", 65536)])
    assert book.reserve("node", "b") == 3


def test_both_ends_go_together() -> None:
    book = a_book()
    book.reserve("node", "eni1")
    book.reserve("pod", "eth0")
    book.plug(("node", "eni1"), ("pod", "eth0"), 9001)
    assert (book.mtu("node", "eni1"), book.mtu("pod", "eth0")) == (9001, 9001)
    book.unplug(("pod", "eth0"))
    assert book.index("node", "eni1") is book.index("pod", "eth0") is None
    assert book.mtu("node", "eni1") is None


def test_a_namespace_that_goes_takes_the_far_ends() -> None:
    book = a_book()
    book.reserve("node", "eni1")
    book.reserve("pod", "eth0")
    book.plug(("node", "eni1"), ("pod", "eth0"), 1500)
    book.forget("pod")
    assert not book.knows("pod")
    assert book.index("node", "eni1") is None
    assert book.index("node", "lo") == 1


def test_links_that_are_there_too_join_those_that_are_known() -> None:
    book = a_book()
    book.reserve("node", "eni1")
    book.join("node", [(1, "lo", 65536), (9, "eth1", 9001)])
    assert book.names("node") == {1: "lo", 2: "eni1", 9: "eth1"} and book.mtu("node", "eth1") == 9001
    assert book.reserve("node", "eni2") == 10, "behind the highest of both"
    book.join("new", [(1, "lo", 65536)])
    assert book.knows("new") and book.reserve("new", "eth0") == 2
