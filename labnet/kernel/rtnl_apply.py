"""Changes of links, addresses, routes, rules and neighbours, made in one namespace by batches of netlink messages.

A refusal is judged by its errno, per change: what is gone already need not be removed; what is there already is fine if it is
equal, and overwritten if it is not; a leftover link in the way of a new veth is deleted first, as the VPC CNI does; an index
that others have made wrong is read again. Only then is it an error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface
from itertools import groupby

from labnet.errors import KernelError
from labnet.kernel import observe, rtnl_encode
from labnet.kernel.diff import canonical, link_of, matches
from labnet.kernel.linkbook import LinkBook
from labnet.kernel.rtnl_encode import Encoder, Shaped
from labnet.kernel.rtnl_socket import Failure
from labnet.kernel.spaces import Visit
from labnet.model.netstate import Addr, Change, KernelObject, Link, LinkMtu, LinkUp, Neigh, Route, Rule

RTNL_OBJECTS = (Link, LinkUp, LinkMtu, Addr, Route, Rule, Neigh)
LEAVING_GROUP = 0x6C6E7464
"""The link group through which several links are removed by one message; links get into it just before."""
DEFAULT_MTU = 1500
ROUNDS = 4
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})
_TAKEN = frozenset({errno.EEXIST, errno.EBUSY})
Done = list[tuple[str, Change]]
"""What was made, in order, by namespace: the way back."""


@dataclass(slots=True)
class _Step:
    """A change with its messages: the first decides, of the others ESRCH is fine. Without messages it is done as it stands."""

    change: Change
    messages: list[bytes]
    index: int | None = None


@dataclass(slots=True)
class RtnlWriter:
    """Makes changes; knows links by its book."""

    book: LinkBook
    encoder: Encoder = field(default_factory=Encoder)
    _newborn: list[tuple[int, str, int]] | None = None

    def apply(self, visit: Visit, netns: str, changes: Sequence[Change], done: Done) -> None:
        """Make changes in order; whatever was made is added to `done`, also when others fail. Errors: KernelError.

        New links are a batch of their own: were an index taken, what follows would hit somebody else's link.
        """
        for _are_new, run in groupby(changes, key=_makes_link):
            self._apply_run(visit, netns, list(run), done)

    def _apply_run(self, visit: Visit, netns: str, changes: Sequence[Change], done: Done) -> None:
        pending = list(changes)
        refreshed: set[str] = set()
        for _round in range(ROUNDS):
            steps = self._steps(visit, netns, pending)
            try:
                failures = self._send(visit, netns, steps)
            except BaseException:  # interrupted, or answers lost: any of it may have been made, so all of it is taken back
                visit.discard(netns)
                done += [(netns, step.change) for step in steps]
                raise
            pending = self._judge(visit, netns, steps, failures, refreshed, done)
            if not pending:
                return
        raise KernelError(pending[0].op, netns, pending[0].object.text, errno.EAGAIN, "the kernel's state changes faster than it can be read")

    def read_links(self, visit: Visit, netns: str) -> None:
        """Read the links of a namespace into the book. Errors: KernelError."""
        try:
            found = observe.links(visit.socket(netns))
        except OSError as error:
            raise KernelError("read", netns, "links", error.errno or 0, str(error)) from error
        self.book.learn(netns, [(index, link.name, link.mtu_bytes or 0) for index, _flags, link in found])

    def born(self, visit: Visit, names: Sequence[str]) -> None:
        """Namespaces that were made just now: they hold what the first of them holds."""
        if self._newborn is None and names:
            self.read_links(visit, names[0])
            self._newborn = [(index, name, self.book.mtu(names[0], name) or 0) for index, name in self.book.names(names[0]).items()]
        for name in names:
            self.book.learn(name, self._newborn or [])

    def _known(self, visit: Visit, netns: str) -> None:
        if not self.book.knows(netns):
            self.read_links(visit, netns)

    def _steps(self, visit: Visit, netns: str, changes: Sequence[Change]) -> list[_Step]:
        leaving = {change.object.name for change in changes if change.op == "remove" and type(change.object) is Link}
        left = len(leaving)
        steps: list[_Step] = []
        for change in changes:
            if change.op == "remove" and len(leaving) > 1 and type(change.object) is Link:
                left -= 1
                steps.append(self._group_step(visit, netns, change, left == 0))
            elif change.op == "remove" and link_of(change.object) in leaving:
                steps.append(_Step(change, []))  # goes with its link
            else:
                try:
                    steps.append(self._step(visit, netns, change))
                except (ValueError, OverflowError) as error:
                    raise KernelError(change.op, netns, change.object.text, errno.EINVAL, str(error)) from error
        return steps

    def _group_step(self, visit: Visit, netns: str, change: Change, last: bool) -> _Step:
        """One of several links that go: one deletion costs 20 ms, a group's deletion not much more."""
        assert isinstance(change.object, Link)
        self._known(visit, netns)
        index = self.book.index(netns, change.object.name)
        messages = [] if index is None else [self.encoder.fast(*rtnl_encode.link_group(index, LEAVING_GROUP))]
        if last:
            messages.append(self.encoder.fast(*rtnl_encode.group_gone(LEAVING_GROUP)))
        return _Step(change, messages, index)

    def _step(self, visit: Visit, netns: str, change: Change) -> _Step:
        item = change.object
        if type(item) is Rule:
            return _Step(change, [self.encoder.fast(*rtnl_encode.rule(item, change.op))])
        self._known(visit, netns)
        if change.op == "add" and type(item) is Link:
            return self._veth_step(visit, netns, change, item)
        if change.op == "remove" and type(item) is LinkMtu:
            return _Step(change, [])
        name = item.name if type(item) is Link else link_of(item)
        index = self.index(visit, netns, name) if name is not None else None
        if name is not None and index is None:
            if change.op == "remove":
                return _Step(change, [])
            raise KernelError(change.op, netns, item.text, errno.ENODEV, f"no link {name}")
        return _Step(change, [self.encoder.fast(*shaped) for shaped in self._shapes(change, index)], index)

    def index(self, visit: Visit, netns: str, name: str) -> int | None:
        """A link's index, None when there is none of that name. Errors: KernelError."""
        index = self.book.index(netns, name)
        if index is None:
            self.read_links(visit, netns)
            index = self.book.index(netns, name)
        return index

    def _veth_step(self, visit: Visit, netns: str, change: Change, item: Link) -> _Step:
        if item.peer is None:
            raise ValueError("a link that is made here names its peer")
        self._known(visit, item.peer.netns)
        peer_fd = visit.fd(item.peer.netns)
        index, peer_index = self.book.reserve(netns, item.name), self.book.reserve(item.peer.netns, item.peer.name)
        return _Step(change, [self.encoder.fast(*rtnl_encode.veth(item, index, peer_index, peer_fd))], index)

    def _shapes(self, change: Change, index: int | None) -> list[Shaped]:
        item, op = change.object, change.op
        if type(item) is Route:
            return [rtnl_encode.route(item, op, index)]
        assert index is not None, "all but rules and routes belong to a link"
        if type(item) is Neigh:
            return [rtnl_encode.neigh(item, op, index)]
        if type(item) is LinkUp:
            return [rtnl_encode.link_change(item, index, up=op != "remove")]
        if isinstance(item, Link) and op == "remove":
            return [rtnl_encode.link_gone(index)]
        if isinstance(item, Link | LinkMtu):
            return [rtnl_encode.link_change(item, index)]
        assert isinstance(item, Addr)
        return _addr_shapes(change, item, index)

    def _send(self, visit: Visit, netns: str, steps: Sequence[_Step]) -> dict[int, Failure]:
        """Failures by step."""
        messages = [message for step in steps for message in step.messages]
        if not messages:
            return {}
        try:
            failed = visit.socket(netns).send(messages)
        except OSError as error:
            reason = error.strerror or os.strerror(error.errno or 0)
            raise KernelError("apply", netns, steps[0].change.object.text, error.errno or 0, reason) from error
        found: dict[int, Failure] = {}
        if not failed:
            return found
        owner = [place for place, step in enumerate(steps) for _message in step.messages]
        first = [number == 0 for step in steps for number in range(len(step.messages))]
        for place, failure in failed.items():
            grouped = isinstance(steps[owner[place]].change.object, Link) and not first[place]
            if first[place] or (failure.number != errno.ESRCH and not (grouped and failure.number in _GONE)):
                found.setdefault(owner[place], failure)
        return found

    def _judge(
        self, visit: Visit, netns: str, steps: Sequence[_Step], failures: dict[int, Failure], refreshed: set[str], done: Done
    ) -> list[Change]:
        """What must be tried again. Errors: KernelError for the first failure that nothing cures."""
        again: list[Change] = []
        error: KernelError | None = None
        for place, step in enumerate(steps):
            failure = failures.get(place)
            if failure is None:
                done.append((netns, self._noted(netns, step.change)))
                continue
            cure = self._cure(visit, netns, step, failure, refreshed)
            if isinstance(cure, KernelError):
                error = error or cure
                if isinstance(step.change.object, Link) and step.change.op == "add":
                    self.book.unplug((netns, step.change.object.name))
                continue
            again += cure
        if error is not None:
            raise error
        return again

    def _noted(self, netns: str, change: Change) -> Change:
        """Keep the book; the change with what it really overwrote, so that it can be undone."""
        item = change.object
        kind = type(item)
        if kind is not Link and kind is not LinkMtu:
            return change
        if isinstance(item, Link) and change.op == "add" and item.peer is not None:
            self.book.plug((netns, item.name), (item.peer.netns, item.peer.name), item.mtu_bytes or DEFAULT_MTU)
        elif isinstance(item, Link) and change.op == "remove":
            self.book.unplug((netns, item.name))
        elif isinstance(item, LinkMtu) and change.op != "remove":
            before = self.book.mtu(netns, item.name)
            self.book.set_mtu(netns, item.name, item.mtu_bytes)
            if before and change.op == "add":
                return Change("replace", item, LinkMtu(item.name, before))
        return change

    def _cure(self, visit: Visit, netns: str, step: _Step, failure: Failure, refreshed: set[str]) -> list[Change] | KernelError:
        """Changes to make instead, none when all is well; or the error."""
        change, item = step.change, step.change.object
        name = item.name if isinstance(item, Link) else link_of(item)
        if failure.number == errno.ENODEV and name is not None and netns not in refreshed:
            refreshed.add(netns)
            self.read_links(visit, netns)
            if self.book.index(netns, name) not in (None, step.index):
                return [change]
        if change.op == "remove" and failure.number in _GONE:
            return []
        if failure.number in _TAKEN and change.op != "remove":
            if isinstance(item, Link):
                return self._clear_way(visit, netns, change, item, failure)
            if isinstance(item, Rule):
                return []
            if isinstance(item, Route | Addr):
                return self._overwrite(visit, netns, change, item)
        return _refusal(netns, change, failure)

    def _clear_way(self, visit: Visit, netns: str, change: Change, item: Link, failure: Failure) -> list[Change] | KernelError:
        """A name or an index is taken: on our side a leftover goes first, on the other side it stays."""
        assert item.peer is not None
        for space in dict.fromkeys((netns, item.peer.netns)):
            self.read_links(visit, space)
        if self.book.index(netns, item.name) is not None:
            return [Change("remove", Link(item.name)), change]
        if self.book.index(item.peer.netns, item.peer.name) is not None:
            return KernelError("add", item.peer.netns, f"link {item.peer.name}", errno.EEXIST)
        return [change] if failure.number in _TAKEN else _refusal(netns, change, failure)

    def _overwrite(self, visit: Visit, netns: str, change: Change, item: Route | Addr) -> list[Change]:
        """Something of that key is there: fine if equal, else it is overwritten with its old value known."""
        self.read_links(visit, netns)
        try:
            state: Sequence[KernelObject] = observe.rtnetlink(visit.socket(netns))
        except OSError as error:
            raise KernelError("read", netns, item.text, error.errno or 0, str(error)) from error
        key = canonical(item).key
        there = next((found for found in state if found.key == key), None)
        if there is None:
            return [change]
        if matches(there, item):
            return []
        if isinstance(item, Route):
            return [Change("replace", item, there)]
        if isinstance(there, Addr) and there.connected_route != item.connected_route and matches(
            Addr(there.link, there.address, there.prefixlen, there.family, there.broadcast, there.scope, item.connected_route), item
        ):
            return [Change("replace", item, there)]
        return [Change("remove", there), Change("add", item)]


def _makes_link(change: Change) -> bool:
    return change.op == "add" and type(change.object) is Link


def _addr_shapes(change: Change, item: Addr, index: int) -> list[Shaped]:
    """An address; without its connected route, that one is taken away again (it is made at once while the link is up)."""
    before = change.before
    toggled = change.op == "replace" and isinstance(before, Addr) and before.connected_route != item.connected_route
    itself = rtnl_encode.addr(item, "remove" if change.op == "remove" else "add", index)
    if not toggled and (change.op == "remove" or item.connected_route or item.prefixlen == (32 if item.family == "inet" else 128)):
        return [itself]
    network = str(ip_interface(f"{item.address}/{item.prefixlen}").network)
    source = item.address if item.family == "inet" else None
    connected = Route(network, item.link, family=item.family, scope="link", src=source, protocol="kernel")
    if toggled:
        return [rtnl_encode.route(connected, "add" if item.connected_route else "remove", index)]
    return [itself, rtnl_encode.route(connected, "remove", index)]


def _refusal(netns: str, change: Change, failure: Failure) -> KernelError:
    return KernelError(change.op, netns, change.object.text, failure.number, failure.reason)
