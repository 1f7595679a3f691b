"""The book of claims, on the in-memory kernel."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from labnet.errors import KernelError
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.model.netstate import Addr, Batch, Change, Link, LinkUp, Neigh, Route, Rule, Slice, Sysctl, VethPeer

HOST = Slice(
    "cni:a",
    (Link("eni1", peer=VethPeer("pod", "eth0")), LinkUp("eni1"), Route("10.0.0.1/32", "eni1", scope="link"), Rule(512, dst="10.0.0.1/32")),
)
POD = Slice(
    "cni:a",
    (
        Link("eth0", made_by="peer"),
        LinkUp("eth0"),
        Addr("eth0", "10.0.0.1", 32),
        Route("169.254.1.1/32", "eth0", scope="link"),
        Route("default", "eth0", "169.254.1.1"),
        Neigh("eth0", "169.254.1.1", "02:00:00:00:00:01"),
    ),
)


@pytest.fixture
def kernel() -> FakeKernel:
    made = FakeKernel()
    made.create_netns(["node", "pod"])
    return made


def test_a_pod_comes_and_goes(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)
    before = kernel.observe("node"), kernel.observe("pod")
    book.set([("node", HOST), ("pod", POD)])
    assert all(item in book.observe("node") for item in HOST.objects)
    assert all(item in book.observe("pod") for item in POD.objects)
    assert book.drift("node") == book.drift("pod") == ()
    assert book.foreign("node") == book.foreign("pod") == ()
    book.set([("pod", Slice("cni:a")), ("node", Slice("cni:a"))])
    assert (kernel.observe("node"), kernel.observe("pod")) == before
    assert book.claimed("node", "cni:a") is None
    assert book.namespaces() == ()


def test_set_does_not_observe(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "observe", lambda *_args: pytest.fail("observed"))
    SliceBook(kernel).set([("node", HOST), ("pod", POD)])


def test_what_another_slice_claims_stays(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)
    book.set([("node", Slice("os", (Rule(512, dst="10.0.0.1/32"),))), ("node", HOST)])
    book.set([("node", Slice("cni:a"))])
    assert Rule(512, dst="10.0.0.1/32") in kernel.observe("node")
    assert book.desired("node").objects == (Rule(512, dst="10.0.0.1/32"),)


def test_the_last_claim_of_a_key_counts_and_the_earlier_comes_back(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)
    path = "net/ipv4/conf/all/rp_filter"
    book.set([("node", Slice("os", (Sysctl(path, "0"),)))])
    book.set([("node", Slice("ipamd", (Sysctl(path, "2"),)))])
    book.set([("node", Slice("os", (Sysctl(path, "0"), Rule(9))))])
    assert Sysctl(path, "2") in kernel.observe("node", [path])
    assert book.drift("node") == ()
    book.set([("node", Slice("ipamd"))])
    assert Sysctl(path, "0") in kernel.observe("node", [path])


def test_a_failure_leaves_book_and_kernel_as_they_were(kernel: FakeKernel) -> None:
    told: list[Change] = []
    book = SliceBook(kernel, lambda _netns, _name, change: told.append(change))
    before = kernel.observe("node"), kernel.observe("pod")
    wrong = Slice("cni:a", (Addr("nope", "10.0.0.1", 32),))
    with pytest.raises(KernelError) as caught:
        book.set([("node", HOST), ("pod", wrong)])
    assert caught.value.errno == errno.ENODEV
    assert (kernel.observe("node"), kernel.observe("pod")) == before
    assert book.claimed("node", "cni:a") is None
    assert told == []


def test_every_change_is_told_with_its_slice(kernel: FakeKernel) -> None:
    told: list[tuple[str, str, str]] = []
    book = SliceBook(kernel, lambda netns, name, change: told.append((netns, name, change.text)))
    book.set([("node", Slice("os", (Rule(7),)))])
    assert told == [("node", "os", "7: from all lookup main")]


def test_drift_names_the_slice_and_repair_mends_it(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)
    book.set([("node", HOST), ("pod", POD)])
    rule = HOST.objects[3]
    kernel.apply([("node", (Change("remove", rule), Change("add", Rule(77))))])
    assert book.drift("node") == (("cni:a", Change("add", rule)),)
    assert book.foreign("node") == (Rule(77),)
    assert book.repair("node") == (Change("add", rule),)
    assert book.drift("node") == ()
    assert book.foreign("node") == (Rule(77),)


def test_assumed_slices_are_claims_without_changes(kernel: FakeKernel) -> None:
    SliceBook(kernel).set([("node", HOST), ("pod", POD)])
    later = SliceBook(kernel)
    for netns, part in (("node", HOST), ("pod", POD)):
        later.assume(netns, part)
    assert later.drift("node") == later.drift("pod") == ()
    later.set([("pod", Slice("cni:a")), ("node", Slice("cni:a"))])
    assert later.foreign("node") == ()
    assert Rule(512, dst="10.0.0.1/32") not in kernel.observe("node")


def test_a_dropped_namespace_is_forgotten(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)
    book.set([("node", HOST), ("pod", POD)])
    kernel.remove_netns(["pod"])
    book.drop("pod")
    assert book.slices("pod") == {}
    assert book.namespaces() == ("node",)
    assert [change.object.kind for _name, change in book.drift("node")] == ["link", "link-up", "route"]


def counted(kernel: FakeKernel) -> list[int]:
    """How many jobs each call of `submit` hands over, from now on."""
    submitted: list[int] = []
    whole = kernel.submit

    def count(jobs: Sequence[Sequence[Batch]]) -> Future[list[Exception | None]]:
        submitted.append(len(jobs))
        return whole(jobs)

    kernel.submit = count  # type: ignore[method-assign]
    return submitted


def test_set_soon_does_in_one_go_what_a_turn_asks_for(kernel: FakeKernel) -> None:
    submitted = counted(kernel)
    book = SliceBook(kernel)

    async def both() -> None:
        first, second = book.set_soon([("node", HOST), ("pod", POD)]), book.set_soon([("node", Slice("os", (Rule(600),)))])
        assert book.claimed("node", "cni:a") == HOST and book.claimed("node", "os") is not None, "claims stand at once"
        assert not kernel.links("pod") - {"lo"}
        await asyncio.gather(first, second)

    asyncio.run(both())
    assert submitted == [2]
    assert book.drift("node") == book.drift("pod") == ()


def test_a_failure_in_the_background_takes_its_own_claims_back_and_no_others(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)

    async def both() -> list[object]:
        broken = Slice("cni:b", (Route("10.0.0.2/32", "nowhere", scope="link"),))
        return await asyncio.gather(
            book.set_soon([("node", HOST), ("pod", POD)]), book.set_soon([("node", broken)]), return_exceptions=True
        )

    done, failed = asyncio.run(both())
    assert done is None and isinstance(failed, KernelError)
    assert book.claimed("node", "cni:b") is None and book.claimed("node", "cni:a") == HOST
    assert book.drift("node") == ()


def test_set_waits_for_what_is_under_way_in_its_namespace(kernel: FakeKernel) -> None:
    book = SliceBook(kernel)

    async def one_after_the_other() -> None:
        soon = book.set_soon([("node", HOST), ("pod", POD)])
        book.set([("pod", Slice("cni:a")), ("node", Slice("cni:a"))])
        await soon

    asyncio.run(one_after_the_other())
    assert kernel.links("node") == {"lo"} and book.namespaces() == ()


def test_set_ahead_begins_at_once_and_settle_waits_for_all_that_is_under_way(kernel: FakeKernel) -> None:
    submitted = counted(kernel)
    book = SliceBook(kernel)

    async def go() -> None:
        ahead = book.set_ahead([("node", HOST), ("pod", POD)])
        assert submitted == [1], "what comes next is planned meanwhile"
        soon = book.set_soon([("node", Slice("os", (Rule(600),)))])
        broken = book.set_ahead([("node", Slice("cni:b", (Route("10.0.0.2/32", "nowhere", scope="link"),)))])
        assert submitted == [1, 2], "and nothing overtakes what was asked before"
        book.settle()
        assert ahead.done() and ahead.exception() is None
        assert isinstance(broken.exception(), KernelError)
        await soon

    asyncio.run(go())
    assert book.drift("node") == book.drift("pod") == () and book.claimed("node", "cni:b") is None


def test_settle_with_nothing_under_way_needs_no_loop(kernel: FakeKernel) -> None:
    SliceBook(kernel).settle()
