"""iptables' programs of several namespaces work side by side; in one namespace they follow each other, and each job is all or nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from labnet.errors import KernelError
from labnet.kernel import command, iptables
from labnet.kernel.door import LinuxKernel
from labnet.model.netstate import Change, IptChain, Rule, Sysctl
from labnet.ports import ProgramResult

pytestmark = pytest.mark.kernel
Name = Callable[[str], str]
FORWARD = "net/ipv4/ip_forward"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(began or ended, namespace) of each program, in order."""
    happened: list[tuple[str, str]] = []
    start, finish = command.start, command.Running.finish

    def started(fd: int, netns: str, *more: object) -> command.Running:
        happened.append(("began", netns))
        return start(fd, netns, *more)  # type: ignore[arg-type]

    def finished(self: command.Running, timeout_s: float) -> ProgramResult:
        done = finish(self, timeout_s)
        happened.append(("ended", self._netns))
        return done

    monkeypatch.setattr(command, "start", started)
    monkeypatch.setattr(command.Running, "finish", finished)
    return happened


def job(netns: str, rule: str = "-j RETURN") -> list[tuple[str, tuple[Change, ...]]]:
    """Something that overwrites, so that it goes by itself, a chain, and what comes before it."""
    changes = (
        Change("replace", Sysctl(FORWARD, "1"), Sysctl(FORWARD, "0")), Change("add", Rule(900)),
        Change("add", IptChain("nat", "OURS", (rule,))),
    )
    return [(netns, changes)]


def test_those_of_other_namespaces_need_not_wait(kernel: LinuxKernel, name: Name, heard: list[tuple[str, str]]) -> None:
    spaces = [name(word) for word in "abc"]
    kernel.create_netns(spaces)
    assert kernel.submit_here([job(netns) for netns in spaces]) == [None] * 3
    assert heard == [("began", netns) for netns in spaces] + [("ended", netns) for netns in spaces]
    for netns in spaces:
        assert {IptChain("nat", "OURS", ("-j RETURN",)), Rule(900)} <= set(kernel.observe(netns))


def test_in_one_namespace_the_next_job_waits(kernel: LinuxKernel, name: Name, heard: list[tuple[str, str]]) -> None:
    here, there = name("a"), name("b")
    kernel.create_netns([here, there])
    more = [(here, (Change("replace", IptChain("nat", "OURS", ("-j ACCEPT",)), IptChain("nat", "OURS", ("-j RETURN",))),))]
    assert kernel.submit_here([job(here), job(there), more]) == [None] * 3
    assert heard == [("began", here), ("began", there), ("ended", here), ("began", here), ("ended", there), ("ended", here)]
    assert IptChain("nat", "OURS", ("-j ACCEPT",)) in kernel.observe(here)


def test_in_one_job_too_a_namespace_has_one_program_at_a_time(kernel: LinuxKernel, name: Name, heard: list[tuple[str, str]]) -> None:
    here, there = name("a"), name("b")
    kernel.create_netns([here, there])
    first, second = IptChain("nat", "OURS", ("-j RETURN",)), IptChain("nat", "OURS", ("-j ACCEPT",))
    kernel.apply([(here, (Change("add", first),)), (there, (Change("add", first),)), (here, (Change("replace", second, first),))])
    assert heard == [("began", here), ("began", there), ("ended", here), ("began", here), ("ended", there), ("ended", here)]
    assert second in kernel.observe(here) and first in kernel.observe(there)


def test_a_job_whose_program_refuses_is_undone_alone(kernel: LinuxKernel, name: Name) -> None:
    spaces = [name(word) for word in "abc"]
    kernel.create_netns(spaces)
    before = set(kernel.observe(spaces[1], [FORWARD]))
    outcome = kernel.submit_here([job(spaces[0]), job(spaces[1], "-j NOWHERE"), job(spaces[2])])
    assert [error is None for error in outcome] == [True, False, True]
    assert isinstance(outcome[1], KernelError) and outcome[1].netns == spaces[1] and "NOWHERE" in outcome[1].reason
    assert set(kernel.observe(spaces[1], [FORWARD])) == before, "the rule and the sysctl that came before it are taken back"
    for netns in (spaces[0], spaces[2]):
        assert Rule(900) in kernel.observe(netns)


def test_of_two_families_the_one_that_worked_is_taken_back_with_the_other(kernel: LinuxKernel, name: Name) -> None:
    kernel.create_netns([name("a")])
    good, bad = IptChain("nat", "OURS", ("-j RETURN",)), IptChain("nat", "OURS", ("-j NOWHERE",), family="inet6")
    with pytest.raises(KernelError, match="NOWHERE"):
        kernel.apply([(name("a"), (Change("add", good), Change("add", bad)))])
    assert not any(isinstance(item, IptChain) and item.name == "OURS" for item in kernel.observe(name("a")))


def test_a_program_that_is_not_there_is_named(kernel: LinuxKernel, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.create_netns([name("a")])
    monkeypatch.setitem(iptables.PREFIX, "inet", "no-such-iptables")
    with pytest.raises(KernelError) as caught:
        kernel.apply(job(name("a")))
    assert caught.value.errno == errno.ENOENT and "no-such-iptables" in str(caught.value)
    assert Rule(900) not in kernel.observe(name("a"))


def test_a_program_that_is_killed_is_an_error_too_and_all_is_undone(kernel: LinuxKernel, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.create_netns([name("a")])
    finish = command.Running.finish

    def killed(self: command.Running, timeout_s: float) -> ProgramResult:
        finish(self, timeout_s)
        return ProgramResult(-9, "", "")

    with monkeypatch.context() as patched:
        patched.setattr(command.Running, "finish", killed)
        with pytest.raises(KernelError, match="ended with -9"):
            kernel.apply(job(name("a")))
    assert Rule(900) not in kernel.observe(name("a"))
