"""The Kernel port in memory: for plans, simulations and tests. It runs no programs and moves no packets.

It refuses what the real kernel refuses where labnet depends on it; tests/contract/kernel holds both to one list.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

from labnet.errors import KernelError
from labnet.kernel.diff import matches, sysctl_path
from labnet.kernel.fake_netns import ETHERNET_MTU, FakeNetns, Refused
from labnet.model.flow import Flow
from labnet.model.names import mac as deterministic_mac
from labnet.model.netstate import (
    Addr,
    Batch,
    Change,
    IptChain,
    IptRule,
    KernelObject,
    KernelState,
    Link,
    Neigh,
    NftElement,
    NftPortChain,
    NftTable,
    Route,
    Sysctl,
    VethPeer,
)
from labnet.model.packet import FlowTuple, TrackedFlow
from labnet.ports import PacketSign, ProgramResult, RouteAnswer, RuleFollower

NO_PROGRAMS = "the in-memory kernel runs no programs and opens no sockets"
FIRST_INODE = 4026540000
PACKET_FILTER = (IptChain, IptRule, NftTable, NftPortChain, NftElement)
ROUTING = (Addr, Route, Neigh)


class FakeKernel:
    """Namespaces, links and all the rest as values. `inode` answers numbers that look like the kernel's."""

    def __init__(self) -> None:
        self._netns: dict[str, FakeNetns] = {}
        self._inodes: dict[str, int] = {}
        self._peers: dict[tuple[str, str], tuple[str, str]] = {}
        self._descriptors: dict[int, str] = {}
        self._made = 0
        self.forgotten: list[tuple[str, str]] = []
        """(namespace, address) of every `forget_flows`, in order."""

    @property
    def known(self) -> dict[str, int]:
        """Every namespace by name, with its inode."""
        return dict(self._inodes)

    def learn(self, names: Mapping[str, int]) -> None:
        """As LinuxKernel.learn; in memory nothing outlives the process, so names that are not here stay unknown."""

    def inode(self, name: str) -> int:
        """The number by which a namespace is told from a later one of its name. Errors: ENOENT."""
        self._get("inode", name)
        return self._inodes[name]

    def create_netns(self, names: Sequence[str]) -> None:
        """Make namespaces, `lo` up. Errors: EEXIST, then none is left."""
        for place, name in enumerate(names):
            if name in self._netns or name in names[:place]:
                raise KernelError("create namespace", name, name, errno.EEXIST)
        for name in names:
            self._made += 1
            self._netns[name] = FakeNetns.born(name)
            self._inodes[name] = FIRST_INODE + self._made

    def remove_netns(self, names: Iterable[str]) -> None:
        """Drop namespaces; the far ends of their veths go too. Unknown names are fine."""
        for name in names:
            for link in [item.name for item in self._netns[name].all(Link)] if name in self._netns else ():
                self._unplug(self._netns, self._peers, name, link)
            self._netns.pop(name, None)
            self._inodes.pop(name, None)

    def exists(self, netns: str) -> bool:
        """Is there a namespace of that name?"""
        return netns in self._netns

    def open_netns(self, netns: str) -> int:
        """A number that stands for an opened namespace, for `adopt`; it is no real descriptor."""
        self._get("open", netns)
        number = -1000 - len(self._descriptors)
        self._descriptors[number] = netns
        return number

    def adopt(self, descriptor: int) -> str:
        """The name behind a number of `open_netns`. Errors: EBADF."""
        name = self._descriptors.get(descriptor)
        if name is None or name not in self._netns:
            raise KernelError("adopt", "", f"descriptor {descriptor}", errno.EBADF)
        return name

    def expect(self, netns: str, objects: Iterable[KernelObject]) -> None:
        """Nothing to do: what is in memory is in the plan's words."""

    def apply(self, batches: Sequence[Batch]) -> None:
        """Make changes, all or nothing. Errors: KernelError with the errno of the real one."""
        before = self._snapshot(batches)
        peers = dict(self._peers)
        try:
            for netns, changes in batches:
                self._apply_to(netns, changes)
        except KernelError:
            self._netns.update(before)
            self._peers = peers
            raise

    def _snapshot(self, batches: Sequence[Batch]) -> dict[str, FakeNetns]:
        touched = {netns for netns, _changes in batches}
        links = [change.object for _netns, changes in batches for change in changes if isinstance(change.object, Link)]
        touched |= {link.peer.netns for link in links if link.peer is not None}
        touched |= {other for (netns, _link), (other, _name) in self._peers.items() if netns in touched}
        return {name: self._netns[name].copy() for name in touched if name in self._netns}

    def _apply_to(self, netns: str, changes: Sequence[Change]) -> None:
        held = self._get("apply", netns)
        for place, change in enumerate(changes):
            try:
                self._change(held, change)
                following = changes[place + 1].object if place + 1 < len(changes) else None
                if isinstance(change.object, IptChain | IptRule) and not isinstance(following, IptChain | IptRule):
                    held.check_chains()
            except Refused as error:
                raise KernelError(change.op, netns, change.object.text, error.number, error.reason) from error

    def _change(self, held: FakeNetns, change: Change) -> None:
        item = change.object
        if isinstance(item, Sysctl):
            if change.op != "remove":
                self._write_sysctl(held, item)
        elif isinstance(item, Link):
            self._change_link(held, change.op, item)
        elif change.op == "remove":
            held.take(item)
        else:
            there = held.find(item)
            if there is None or not matches(there, item):
                held.change(there, item)

    def _write_sysctl(self, held: FakeNetns, item: Sysctl) -> None:
        path = sysctl_path(item.path)
        parts = path.split("/")
        of_link = len(parts) > 4 and parts[0] == "net" and parts[2] in ("conf", "neigh") and parts[3] not in ("all", "default")
        if of_link and held.link(parts[3]) is None:
            if item.optional:
                return
            raise Refused(errno.ENOENT, f"no link {parts[3]}")
        held.sysctls[path] = item.value

    def _change_link(self, held: FakeNetns, op: str, item: Link) -> None:
        if op == "remove":
            self._unplug(self._netns, self._peers, held.name, item.name)
        elif op == "replace":
            there = held.link(item.name)
            if there is None:
                raise Refused(errno.ENODEV, f"no link {item.name}")
            held.objects[there.key] = replace(
                there, mac=item.mac or there.mac, txqlen=there.txqlen if item.txqlen is None else item.txqlen,
                mtu_bytes=item.mtu_bytes or there.mtu_bytes,
            )
        elif item.made_by == "here":
            self._plug(held, item)

    def _plug(self, held: FakeNetns, item: Link) -> None:
        """A veth with both ends; a leftover of the same name goes first."""
        if item.peer is None:
            raise Refused(errno.EINVAL, "a link that is made here needs its peer")
        other = self._netns.get(item.peer.netns)
        if other is None:
            raise Refused(errno.ENOENT, f"no namespace {item.peer.netns}")
        if held.link(item.name) is not None:
            self._unplug(self._netns, self._peers, held.name, item.name)
        if other.link(item.peer.name) is not None or (other is held and item.name == item.peer.name):
            raise Refused(errno.EEXIST, f"link {item.peer.name} exists in {item.peer.netns}")
        mtu, queue = item.mtu_bytes or ETHERNET_MTU, 1000 if item.txqlen is None else item.txqlen
        for netns, end in ((held, VethPeer(held.name, item.name, item.mac)), (other, item.peer)):
            address = end.mac or deterministic_mac(0, netns.name, end.name)
            netns.hold_link(Link(end.name, address, "veth", queue, mtu))
        self._peers[held.name, item.name] = (other.name, item.peer.name)
        self._peers[other.name, item.peer.name] = (held.name, item.name)

    @staticmethod
    def _unplug(spaces: Mapping[str, FakeNetns], peers: dict[tuple[str, str], tuple[str, str]], netns: str, link: str) -> None:
        far = peers.pop((netns, link), None)
        spaces[netns].take(Link(link))
        if far is not None:
            peers.pop(far, None)
            spaces[far[0]].take(Link(far[1]))

    def links(self, netns: str) -> frozenset[str]:
        """The names of a namespace's links."""
        return frozenset(item.name for item in self._get("links", netns).listed() if isinstance(item, Link))

    def addresses(self, netns: str, link: str) -> frozenset[str]:
        """The IPv4 addresses on a link. Errors: ENODEV."""
        held = self._get("addresses", netns)
        if held.link(link) is None:
            raise KernelError("read", netns, f"addresses of {link}", errno.ENODEV, f"no link {link}")
        return frozenset(item.address for item in held.all(Addr) if (item.link, item.family) == (link, "inet"))

    def observe(
        self, netns: str, sysctls: Iterable[str] = (), *, packet_filter: bool = True, routing: bool = True
    ) -> KernelState:
        """Everything of a namespace; of the sysctls asked for those that were ever written."""
        held = self._get("observe", netns)
        found = [Sysctl(path, held.sysctls[sysctl_path(path)]) for path in dict.fromkeys(sysctls) if sysctl_path(path) in held.sysctls]
        left_out = (*(() if packet_filter else PACKET_FILTER), *(() if routing else ROUTING))
        shown = [item for item in held.listed() if not isinstance(item, left_out)]
        return KernelState((*shown, *found))

    def tracked(self, netns: str, protocol: str, flows: Sequence[FlowTuple]) -> list[TrackedFlow | None]:
        """Nothing flows."""
        self._get("tracked", netns)
        return [None for _ in flows]

    def follow_rules(self, places: Mapping[str, Sequence[str]], sign: PacketSign) -> RuleFollower:
        """No packet passes here. Errors: KernelError."""
        raise KernelError("rule trace", ", ".join(places), "nf_tables", errno.EOPNOTSUPP, "there are no packets in memory")

    def route_get(
        self, netns: str, dst: str, src: str = "", iif: str = "", mark: int = 0, *, matched: bool = False,
        transport: tuple[str, int, int] | None = None,
    ) -> RouteAnswer:
        """Where policy rules and routes send a packet; nothing but them is asked."""
        route = self._get("route get", netns).lookup(dst, src, iif, mark)
        if route is None:
            return RouteAnswer(error=errno.ENETUNREACH)
        errors = {"blackhole": errno.EINVAL, "unreachable": errno.EHOSTUNREACH, "prohibit": errno.EACCES}
        return RouteAnswer(
            route.table, route.dev or "", route.via or "", route.src or src, route.type, errors.get(route.type, 0), route if matched else None
        )

    def counters(self, netns: str) -> dict[str, int]:
        """Nothing flows, nothing is counted."""
        self._get("counters", netns)
        return {}

    def forget_flows(self, netns: str, addresses: Iterable[str]) -> int:
        """No flow is ever there; who was named is kept in `forgotten`."""
        self._get("forget flows", netns)
        self.forgotten += [(netns, address) for address in addresses]
        return 0

    def forget_flows_where(self, netns: str, ended: Callable[[Flow], bool]) -> int:
        """No flow is ever there."""
        self._get("forget flows", netns)
        return 0

    def finish_preparing(self) -> None:
        """Nobody helps here."""

    def submit(self, jobs: Sequence[Sequence[Batch]]) -> Future[list[Exception | None]]:
        """Applied at once."""
        done: Future[list[Exception | None]] = Future()
        done.set_result([self._outcome(job) for job in jobs])
        return done

    def _outcome(self, job: Sequence[Batch]) -> Exception | None:
        try:
            self.apply(job)
        except KernelError as error:
            return error
        return None

    def open_socket(self, netns: str, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002
        """Refused. Errors: EOPNOTSUPP."""
        raise KernelError("open socket", netns, f"family {family}", errno.EOPNOTSUPP, NO_PROGRAMS)

    def open_sockets(self, netns: str, kinds: Sequence[tuple[int, int, int]]) -> list[socket.socket]:
        """Refused. Errors: EOPNOTSUPP."""
        return [self.open_socket(netns, *kind) for kind in kinds]

    def listen(self, netns: str, ports: Sequence[tuple[str, int]]) -> list[socket.socket]:
        """Refused. Errors: EOPNOTSUPP."""
        return [self.open_socket(netns, socket.AF_INET, 0) for _port in ports]

    def run(
        self, netns: str, command: Sequence[str], stdin: str = "", timeout_s: float = 30.0, env: Mapping[str, str] | None = None
    ) -> ProgramResult:
        """Refused. Errors: EOPNOTSUPP."""
        raise KernelError("run", netns, " ".join(command), errno.EOPNOTSUPP, NO_PROGRAMS)

    def _get(self, op: str, netns: str) -> FakeNetns:
        held = self._netns.get(netns)
        if held is None:
            raise KernelError(op, netns, "namespace", errno.ENOENT, "no such namespace")
        return held
