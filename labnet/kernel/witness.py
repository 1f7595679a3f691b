"""What the door asks the kernel about packets: routing decisions, counters, tracked flows, and the rules that one packet matched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from labnet.errors import KernelError
from labnet.kernel import observe
from labnet.kernel.rtnl_apply import RtnlWriter
from labnet.kernel.rtnl_socket import Failure
from labnet.kernel.spaces import Spaces, Visit
from labnet.model.flow import Flow
from labnet.model.netstate import Family
from labnet.model.packet import FlowTuple, TrackedFlow
from labnet.ports import PacketSign, RouteAnswer, RuleEvent

if TYPE_CHECKING:
    from labnet.kernel.nft_trace import RuleTrace

_TYPES_BY_ERRNO = {errno.EINVAL: "blackhole", errno.EHOSTUNREACH: "unreachable", errno.EACCES: "prohibit"}


class Witness:
    """The part of LinuxKernel that changes nothing which anybody else could see."""

    _spaces: Spaces
    _writer: RtnlWriter

    def _work(self) -> AbstractContextManager[Visit]:
        raise NotImplementedError

    def route_get(
        self, netns: str, dst: str, src: str = "", iif: str = "", mark: int = 0, *, matched: bool = False,
        transport: tuple[str, int, int] | None = None,
    ) -> RouteAnswer:
        """The kernel's own decision; its refusals are answers too (`error`). Errors: KernelError for a link or address that is none."""
        family: Family = "inet6" if ":" in dst else "inet"
        with self._work() as visit:
            self._writer.read_links(visit, netns)
            index = self._writer.book.index(netns, iif) if iif else None
            if iif and index is None:
                raise KernelError("route get", netns, f"{dst} iif {iif}", errno.ENODEV)
            try:
                answer = visit.socket(netns).ask(observe.route_question(family, dst, src, index, mark, matched, transport))
            except (OSError, ValueError) as error:
                raise KernelError("route get", netns, dst, getattr(error, "errno", None) or errno.EINVAL, str(error)) from error
            if isinstance(answer, Failure):
                return RouteAnswer(error=answer.number, type=_TYPES_BY_ERRNO.get(answer.number, "unicast"))
            found = observe.route_of(answer, family, self._writer.book.names(netns))
        return RouteAnswer(
            found.table, found.dev or "", found.via or "", found.src or src, found.type, route=found if matched else None
        )

    def counters(self, netns: str) -> dict[str, int]:
        """Packets by counter comment. Errors: KernelError."""
        from labnet.kernel import nft

        with self._work() as visit:
            return nft.counters(visit.fd(netns), netns)

    def forget_flows(self, netns: str, addresses: Iterable[str]) -> int:
        """Delete conntrack entries that name one of the addresses. Errors: KernelError."""
        from labnet.kernel import conntrack

        with self._work() as visit:
            return conntrack.forget(visit.fd(netns), netns, addresses)

    def forget_flows_where(self, netns: str, ended: Callable[[Flow], bool]) -> int:
        """Delete conntrack entries of which `ended` says so. Errors: KernelError."""
        from labnet.kernel import conntrack

        with self._work() as visit:
            return conntrack.forget_where(visit.fd(netns), netns, ended)

    def tracked(self, netns: str, protocol: str, flows: Sequence[FlowTuple]) -> list[TrackedFlow | None]:
        """The conntrack entry of each flow. Errors: KernelError."""
        from labnet.kernel import conntrack_get

        with self._work() as visit:
            return conntrack_get.tracked(visit.fd(netns), netns, protocol, flows)

    def follow_rules(self, places: Mapping[str, Sequence[str]], sign: PacketSign) -> Follower:
        """Follow a packet through the rules of namespaces, each with the links at whose ingress it may be met first."""
        return Follower(self._spaces, places, sign)


class Follower:
    """Rule traces in several namespaces at once, from entering to leaving. Where one cannot be had, `missing` says why."""

    def __init__(self, spaces: Spaces, places: Mapping[str, Sequence[str]], sign: PacketSign) -> None:
        self._spaces, self._places, self._sign = spaces, places, sign
        self._traces: dict[str, RuleTrace] = {}
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Follower:
        from labnet.kernel.nft_trace import RuleTrace

        try:
            for netns, devices in self._places.items():
                fd = self._spaces.open(netns)
                try:
                    self._traces[netns] = RuleTrace(fd, netns, self._sign, devices)
                except KernelError as error:
                    self.missing[netns] = error.message
                finally:
                    os.close(fd)
        except BaseException:
            self.__exit__()
            raise
        return self

    def events(self) -> dict[str, tuple[RuleEvent, ...]]:
        """By namespace, in order. Errors: OSError."""
        return {netns: trace.events() for netns, trace in self._traces.items()}

    def __exit__(self, *_: object) -> None:
        """Every table is taken away first, then the sockets are closed: a close waits for what the kernel still clears up."""
        traces, self._traces = self._traces, {}
        for step in ("remove", "close"):
            for netns, trace in traces.items():
                try:
                    getattr(trace, step)()
                except (KernelError, OSError) as error:
                    self.missing[netns] = str(error)
