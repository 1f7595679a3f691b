"""Many requests of one turn, which the kernel makes true part by part while the next are decided: nobody hears of half of it."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from labnet.ec2 import limits
from labnet.ec2.ahead import PART
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error, KernelError
from labnet.lab.store import MemoryStore
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

MANY = 2 * PART + 3


class Background:
    """A kernel that works on what was begun until it is told to be done; `bad` and `more` are descriptions of ENIs that it does not take."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.made: list[tuple[int, int]] = []
        """How many ENIs there were before and after each change that was made at once."""
        self.begun: list[tuple[int, int]] = []
        self.stored: list[int] = []
        self.under_way: list[tuple[asyncio.Future[None], CloudState, CloudState]] = []

    def __call__(self, old: CloudState, new: CloudState) -> None:
        if any(eni.description == "bad" and key not in old.enis for key, eni in new.enis.items()):
            raise KernelError("set", "t-vpc", "link vpbad", errno.ENOMEM)
        self.made.append((len(old.enis), len(new.enis)))

    def ahead(self, old: CloudState, new: CloudState) -> asyncio.Future[None] | None:
        fresh = [eni.description for key, eni in new.enis.items() if key not in old.enis]
        if "more" in fresh:
            return None
        if "never" in fresh:
            raise KernelError("create", "t-vpc", "namespace", errno.ENOSPC)
        self.begun.append((len(old.enis), len(new.enis)))
        self.stored.append(len(self.store.load("ec2/enis")))
        done = asyncio.get_running_loop().create_future()
        self.under_way.append((done, old, new))
        return done

    def settle(self) -> None:
        under_way, self.under_way = self.under_way, []
        for done, old, new in under_way:
            if any(eni.description == "bad" and key not in old.enis for key, eni in new.enis.items()):
                done.set_exception(KernelError("set", "t-vpc", "link vpbad", errno.ENOMEM))
            else:
                done.set_result(None)


def place() -> tuple[Ec2Service, Background, str]:
    kernel = Background()
    clock = LabClock(1_700_000_000.0)
    service = Ec2Service(CloudState(lab="t", seed=7), limits.load(), clock, kernel.store, kernel, background=kernel)
    vpc = service.call("up", "CreateVpc", {"CidrBlock": "10.10.0.0/16"})["Vpc"]["VpcId"]
    subnet = service.call("up", "CreateSubnet", {"VpcId": vpc, "CidrBlock": "10.10.0.0/24"})["Subnet"]["SubnetId"]
    kernel.made.clear()
    return service, kernel, subnet


def created(service: Ec2Service, kernel: Background, subnet: str, words: list[str]) -> tuple[list[Any], list[int]]:
    """Answers and errors of as many CreateNetworkInterface in one turn, and how many ENIs a reader saw meanwhile."""
    seen: list[int] = []

    async def main() -> list[Any]:
        calls = [
            asyncio.ensure_future(service.acall(f"node{n}", "CreateNetworkInterface", {"SubnetId": subnet, "Description": word}))
            for n, word in enumerate(words)
        ]
        while not all(call.done() for call in calls):
            await asyncio.sleep(0)
            if not kernel.under_way:
                continue
            seen.append(len(service.call("x", "DescribeNetworkInterfaces", {})["NetworkInterfaces"]))
            assert not any(call.done() for call in calls), "nobody is answered before the kernel has done all"
            kernel.settle()
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(main()), seen


def ids(answers: list[Any]) -> list[str]:
    return [one["NetworkInterface"]["NetworkInterfaceId"] for one in answers if not isinstance(one, Exception)]


def test_each_part_is_begun_when_it_is_decided_and_all_are_seen_and_answered_together() -> None:
    service, kernel, subnet = place()
    heard: list[tuple[int, int]] = []
    service.observers.append(lambda old, new: heard.append((len(old.enis), len(new.enis))))
    answers, seen = created(service, kernel, subnet, ["good"] * MANY)
    assert kernel.begun == [(0, PART), (PART, 2 * PART), (2 * PART, MANY)]
    assert kernel.stored == [PART, 2 * PART, MANY], "the journal stands before the kernel changes"
    assert kernel.made == [], "nothing was made a second time"
    assert heard == [(0, MANY)] and set(seen) == {0}, "who reads meanwhile sees none of it"
    assert list(service.state.enis) == ids(answers) == list(kernel.store.load("ec2/enis"))
    assert [row["result"] for row in kernel.store.read("ec2-calls")][-1] == "OK"


def test_the_answers_are_those_of_one_call_after_the_other() -> None:
    together, apart = place(), place()
    answers, _seen = created(*together, ["good"] * MANY)
    assert answers == [
        apart[0].call(f"node{n}", "CreateNetworkInterface", {"SubnetId": apart[2], "Description": "good"}) for n in range(MANY)
    ]


def test_if_the_kernel_refuses_a_part_all_is_taken_back_and_each_is_carried_out_alone() -> None:
    service, kernel, subnet = place()
    words = ["good"] * MANY
    words[PART + 1] = "bad"
    answers, _seen = created(service, kernel, subnet, words)
    assert [isinstance(one, Ec2Error) for one in answers] == [word == "bad" for word in words]
    assert "vpbad" in answers[PART + 1].message
    assert kernel.made[0] == (MANY, 0), "what else was made goes first"
    assert kernel.made[1:] == [(n, n + 1) for n in range(MANY - 1)]
    assert list(service.state.enis) == ids(answers) == list(kernel.store.load("ec2/enis"))


def test_what_does_more_than_add_waits_for_what_was_begun_and_goes_the_ordinary_way() -> None:
    for word in ("more", "never"):
        service, kernel, subnet = place()
        words = ["good"] * MANY
        words[PART + 1] = word
        answers, _seen = created(service, kernel, subnet, words)
        assert kernel.begun == [(0, PART)] and kernel.made == [(PART, MANY)]
        assert list(service.state.enis) == ids(answers) == list(kernel.store.load("ec2/enis")) and len(answers) == MANY


def test_what_is_asked_meanwhile_comes_in_the_next_round_and_a_call_at_once_waits_for_it() -> None:
    service, kernel, subnet = place()

    async def main() -> list[int]:
        many = [asyncio.ensure_future(service.acall("a", "CreateNetworkInterface", {"SubnetId": subnet})) for _ in range(MANY)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(kernel.under_way) == 3
        later = asyncio.ensure_future(service.acall("b", "CreateNetworkInterface", {"SubnetId": subnet}))
        await asyncio.sleep(0)
        assert len(kernel.under_way) == 3, "the next round has not begun"
        counts = [len(service.state.enis)]
        service.call("c", "CreateSubnet", {"VpcId": next(iter(service.state.vpcs)), "CidrBlock": "10.10.1.0/24"})
        counts.append(len(service.state.enis))
        await asyncio.gather(*many, later)
        return counts

    assert asyncio.run(main()) == [0, MANY + 1]
    assert len(service.state.subnets) == 2


def test_few_requests_are_made_true_at_once() -> None:
    service, kernel, subnet = place()
    answers, _seen = created(service, kernel, subnet, ["good"] * PART)
    assert len(ids(answers)) == PART and kernel.begun == [] and kernel.made == [(0, PART)]


def test_a_fault_of_ours_is_told_to_all_who_wait_and_the_next_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    service, kernel, subnet = place()
    words = ["good"] * MANY
    words[0] = "bad"

    def broken(self: Background, old: CloudState, new: CloudState) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(Background, "__call__", broken)
        answers, _seen = created(service, kernel, subnet, words)
    assert [str(one) for one in answers] == ["a fault"] * MANY
    answers, _seen = created(service, kernel, subnet, ["good"] * MANY)
    assert len(ids(answers)) == MANY


def test_a_journal_that_cannot_be_written_is_told_to_all_who_wait_and_the_next_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    service, kernel, subnet = place()

    def full(old: CloudState, new: CloudState) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(service, "_record", full)
        answers, seen = created(service, kernel, subnet, ["good"] * MANY)
    assert all(isinstance(one, OSError) for one in answers) and len(answers) == MANY and seen == []
    answers, _seen = created(service, kernel, subnet, ["good"] * MANY)
    assert len(ids(answers)) == MANY
