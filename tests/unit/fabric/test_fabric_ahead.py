"""Changes of the cloud that are begun in the background, part by part: only what adds, no slice twice, and a way back."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future

import pytest
from builders_cloud import a_cloud, assigned, changed, terminated, unassigned, with_eni, with_node

from labnet.errors import KernelError
from labnet.fabric.plan import plan_all
from labnet.fabric.reconcile import Fabric
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.model.cloud import CloudState
from labnet.model.netstate import Batch


class Lab:
    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.book = SliceBook(self.kernel)
        self.heard: list[tuple[str, str]] = []
        self.fabric = Fabric("lnt-cloud", self.kernel, self.book, lambda name, what: self.heard.append((name, what)))

    def holds(self, cloud: CloudState) -> None:
        """What is claimed is the whole plan, in the kernel and in the book, and nothing else."""
        plan = plan_all(cloud)
        assert set(self.kernel.known) == set(plan)
        for netns, slices in plan.items():
            assert self.book.slices(netns) == {part.name: part for part in slices}
            assert self.book.drift(netns) == ()


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.fabric(CloudState("lnt-cloud"), a_cloud())
    return made


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_parts_that_add_end_where_the_whole_plan_ends(lab: Lab) -> None:
    one = with_node(a_cloud(), "node1", "10.10.0.10", public={"10.10.0.10": "203.0.113.2"})
    two = with_node(one, "node2", "10.10.0.20")
    three = with_eni(assigned(two, "eni-node1-0", "10.10.0.11"), "node2", 1, "10.10.0.21", prefixes=("10.10.8.0/28",))

    async def go() -> None:
        first, second = lab.fabric.ahead(a_cloud(), one), lab.fabric.ahead(one, two)
        assert first is not None and second is not None
        lab.fabric.settle()
        assert first.exception() is None and second.exception() is None
        third = lab.fabric.ahead(two, three)
        assert third is not None
        await third

    run(go)
    lab.holds(three)
    assert ("lnt-cloud-node1", "made") in lab.heard and ("lnt-cloud-node2", "made") in lab.heard


@pytest.mark.parametrize("less", [
    lambda cloud: unassigned(cloud, "eni-node1-0", "10.10.0.11"), lambda cloud: terminated(cloud, "node1"),
    lambda cloud: changed(cloud, "eni-node1-0", source_dest_check=True),
])  # fmt: skip
def test_what_takes_something_away_is_not_begun(lab: Lab, less: Callable[[CloudState], CloudState]) -> None:
    full = assigned(with_node(a_cloud(), "node1", "10.10.0.10", check=False), "eni-node1-0", "10.10.0.11")
    lab.fabric(a_cloud(), full)

    async def go() -> None:
        assert lab.fabric.ahead(full, less(full)) is None

    run(go)
    lab.holds(full)


def test_a_slice_that_is_under_way_is_left_for_later(lab: Lab) -> None:
    one = with_node(a_cloud(), "node1", "10.10.0.10")
    two, three = assigned(one, "eni-node1-0", "10.10.0.11"), assigned(one, "eni-node1-0", "10.10.0.11", "10.10.0.12")

    async def go() -> None:
        assert lab.fabric.ahead(a_cloud(), one) is not None
        assert lab.fabric.ahead(one, two) is None, "its failure would take back what the first one claims"
        lab.fabric.settle()
        assert lab.fabric.ahead(one, two) is not None
        lab.fabric.settle()
        assert lab.fabric.ahead(two, three) is not None
        lab.fabric.settle()

    run(go)
    lab.holds(three)


def test_after_a_refusal_the_way_back_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = lab.kernel.submit

    def choosy(jobs: Sequence[Sequence[Batch]]) -> Future[list[Exception | None]]:
        if all(netns != "lnt-cloud-node1" for job in jobs for netns, _changes in job):
            return submit(jobs)
        refused: Future[list[Exception | None]] = Future()
        refused.set_result([KernelError("add", "lnt-cloud-node1", "link eth0", errno.ENOMEM) for _job in jobs])
        return refused

    monkeypatch.setattr(lab.kernel, "submit", choosy)
    one = with_node(a_cloud(), "node1", "10.10.0.10")
    two = with_node(one, "node2", "10.10.0.20")

    async def go() -> None:
        first = lab.fabric.ahead(a_cloud(), one)
        second = lab.fabric.ahead(one, two)
        assert first is not None and second is not None
        lab.fabric.settle()
        assert isinstance(first.exception(), KernelError) and second.exception() is None
        lab.fabric(two, a_cloud())

    run(go)
    lab.holds(a_cloud())


def test_a_namespace_that_cannot_be_made_is_told_at_once_and_leaves_nothing(lab: Lab) -> None:
    two = with_node(with_node(a_cloud(), "node1", "10.10.0.10"), "node2", "10.10.0.20")
    lab.kernel.create_netns(["lnt-cloud-node2"])

    async def go() -> None:
        with pytest.raises(KernelError):
            lab.fabric.ahead(a_cloud(), two)

    run(go)
    lab.kernel.remove_netns(["lnt-cloud-node2"])
    lab.holds(a_cloud())
