"""The one door to the kernel: the Kernel port on real network namespaces.

Changes go run by run, each to what makes it: rtnetlink, /proc/sys, nf_tables, iptables. What was made is kept in order
with what it overwrote, so that a failure is undone; every failure is a KernelError with operation, namespace, object, errno and
the kernel's own words. Calls may come from several threads, one at a time inside.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from labnet.errors import KernelError, LabnetError
from labnet.kernel import netns as namespaces
from labnet.kernel import observe, servers, teardown
from labnet.kernel.jobs import additions_only, named_in, together
from labnet.kernel.linkbook import LinkBook
from labnet.kernel.making import Maker
from labnet.kernel.netns import NETNS_DIR
from labnet.kernel.nursery import Nursery
from labnet.kernel.rtnl_apply import RtnlWriter
from labnet.kernel.spaces import Spaces, Visit
from labnet.kernel.witness import Witness
from labnet.kernel.worker import Met, NewLink, Worker
from labnet.model.netstate import (
    Batch,
    Change,
    KernelObject,
    KernelState,
    Key,
    Link,
    NftTable,
)
from labnet.ports import ProgramResult

REMOVE_TIMEOUT_S = 60.0


class LinuxKernel(Witness):
    """The Kernel port. It touches only namespaces that it made, was told of (`learn`) or was handed opened (`adopt`). Close it when done."""

    def __init__(self, netns_dir: str = NETNS_DIR, *, nursery: Nursery | None = None, worker: Worker | None = None) -> None:
        """`nursery` makes namespaces ahead, and `worker` does what is submitted, until `finish_preparing`."""
        self._spaces = Spaces(netns_dir)
        self._writer = RtnlWriter(LinkBook())
        self._tables: dict[str, dict[Key, NftTable]] = {}
        self._lock = threading.RLock()
        self._nursery = nursery
        self._worker = worker
        self._told: dict[str, int] = {}
        self._maker = Maker(self._writer, self._aside, self._note_links, self._note_tables)
        self._thread: ThreadPoolExecutor | None = None
        if worker is not None:
            worker.on_done = self._hear

    def close(self) -> None:
        """Finish what was submitted and close every descriptor; namespaces and their state stay."""
        self.finish_preparing()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        with self._lock:
            self._spaces.close()

    @property
    def known(self) -> dict[str, int]:
        """The namespaces this door owns, with their nsfs inodes."""
        return dict(self._spaces.known)

    def learn(self, names: Mapping[str, int]) -> None:
        """Own namespaces that an earlier process made: name → nsfs inode, from the lab's registry."""
        self._spaces.learn(names)

    def inode(self, name: str) -> int:
        """The nsfs inode of an owned namespace. Errors: KernelError ENOENT."""
        found = self._spaces.known.get(name)
        if found is None:
            raise KernelError("inode", name, "namespace", errno.ENOENT, "no such namespace")
        return found

    def finish_preparing(self) -> None:
        """End nursery and worker: what was submitted is done, namespaces that nobody asked for are removed. Errors: KernelError."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close()

    def prepared(self, name: str) -> bool:
        """Is a namespace of that name made ahead, so that `create_netns` will take it?"""
        return self._nursery is not None and self._nursery.promises(name)

    def create_netns(self, names: Sequence[str]) -> None:
        """Make namespaces, `lo` up. Errors: KernelError (EEXIST: name taken), then none is left."""
        ready: dict[str, int] = {}
        try:
            for name in names if self._nursery is not None else ():
                inode = self._nursery.fetch(name) if self._nursery is not None else None
                if inode is not None:
                    ready[name] = inode
            ready |= namespaces.create([name for name in names if name not in ready], self._spaces.netns_dir, self._spaces.welcome)
        except BaseException:
            for name in names:
                if name not in self._spaces.known:
                    self._spaces.discard(name)
            for name in ready:
                namespaces.remove_name(name, self._spaces.netns_dir)
            raise
        self._spaces.learn(ready)
        with Visit(self._spaces) as visit:
            self._writer.born(visit, names)

    def remove_netns(self, names: Iterable[str]) -> None:
        """Drop namespaces, wait until they are gone; unknown names are fine. Errors: TeardownError."""
        going = list(names)
        told = [name for name in going if name in self._told]
        if self._worker is not None and self._worker.alive and told:
            self._worker.submit({name: (0, []) for name in told}, []).result()  # it holds nothing of them from then on
        with self._lock:
            found: dict[str, int | None] = {}
            for name in going:
                self._told.pop(name, None)
                self._writer.book.forget(name)
                self._tables.pop(name, None)
                for sock in self._nursery.sockets(name).values() if self._nursery is not None else ():
                    sock.close()
                inode = self._spaces.forget(name)
                if inode is not None:
                    found[name] = inode
            teardown.remove(found, self._spaces.netns_dir, REMOVE_TIMEOUT_S)

    def exists(self, netns: str) -> bool:
        """Is there a namespace of that name that this door may touch?"""
        return self._spaces.exists(netns)

    def open_netns(self, netns: str) -> int:
        """A descriptor for handing the namespace on (CNI_NETNS); the caller closes it. Errors: KernelError, OwnershipError."""
        return self._spaces.open(netns)

    def adopt(self, descriptor: int) -> str:
        """The name for an opened namespace; the descriptor may be closed afterwards. Errors: KernelError."""
        with self._lock:
            return self._spaces.adopt(descriptor)

    def expect(self, netns: str, objects: Iterable[KernelObject]) -> None:
        """Remember the nftables tables that an earlier process loaded."""
        for item in objects:
            if isinstance(item, NftTable):
                self._tables.setdefault(netns, {})[item.key] = item

    def apply(self, batches: Sequence[Batch]) -> None:
        """Make changes, all or nothing. Errors: KernelError, OwnershipError, with everything undone (a note says what could not be)."""
        with self._work() as visit:
            work = self._maker.begin(visit, batches)
            self._maker.end(visit, work)
        if work.error is not None:
            raise work.error

    def submit(self, jobs: Sequence[Sequence[Batch]]) -> Future[list[Exception | None]]:
        """Apply jobs one after the other in the background, each all or nothing; for each the error that `apply` would raise, or None."""
        if self._worker is not None:
            spaces = set().union(*map(named_in, jobs))
            if self._worker.alive and all(name in self._spaces.known for name in spaces):
                return self._worker.submit(self._introduced(spaces), jobs)
            self._worker.close()  # it has ended, or cannot open what somebody else made; from here on jobs keep their order in our thread
            self._worker = None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "kernel")
        return self._thread.submit(self.submit_here, jobs)

    def _introduced(self, spaces: Iterable[str]) -> Met:
        """What the worker has to know of namespaces: the inode, and at the first time the links."""
        met: dict[str, tuple[int, list[tuple[int, str, int]]]] = {}
        for name in spaces:
            inode = self._spaces.known[name]
            met[name] = inode, [] if self._told.get(name) == inode else self._writer.book.links(name)
            self._told[name] = inode
        return met

    def _note_links(self, netns: str, changes: Iterable[Change]) -> None:
        """Links came that the worker does not know: they are told anew, else they would give away an index that is taken."""
        if self._worker is None:
            return
        for change in changes:
            if change.op == "add" and type(change.object) is Link:
                self._told.pop(netns, None)
                if change.object.peer is not None:
                    self._told.pop(change.object.peer.netns, None)

    def _hear(self, jobs: Sequence[Sequence[Batch]], outcome: Sequence[Exception | None], links: Iterable[NewLink]) -> None:
        """Note what the worker has done as if it had been done here."""
        with self._lock:
            for one, index, other, other_index, mtu_bytes in links:
                self._writer.book.put(one, index)
                self._writer.book.put(other, other_index)
                self._writer.book.plug(one, other, mtu_bytes)
            done = [batch for job, error in zip(jobs, outcome, strict=True) if error is None for batch in job]
            for netns, changes in done:
                self._note_tables(netns, changes)
                for change in changes:
                    if change.op == "remove" and isinstance(change.object, Link):
                        self._writer.book.unplug((netns, change.object.name))

    def submit_here(self, jobs: Sequence[Sequence[Batch]]) -> list[Exception | None]:
        """Jobs that only add go together, with one visit to each namespace; if anything fails, each alone, to know which it is."""
        if len(jobs) > 1 and additions_only(jobs):
            try:
                self.apply(together(jobs))
            except LabnetError:
                pass  # undone; now one by one
            else:
                return [None] * len(jobs)
        with self._work() as visit:
            return self._maker.one_by_one(visit, jobs)

    def _note_tables(self, netns: str, changes: Iterable[Change]) -> None:
        for change in changes:
            item = change.object
            if type(item) is NftTable:
                tables = self._tables.setdefault(netns, {})
                tables.pop(item.key, None)
                if change.op != "remove":
                    tables[item.key] = item

    def links(self, netns: str) -> frozenset[str]:
        """The names of a namespace's links. Errors: KernelError."""
        with self._work() as visit:
            try:
                return observe.link_names(visit.socket(netns))
            except OSError as error:
                visit.discard(netns)
                raise KernelError("read", netns, "links", error.errno or 0, str(error)) from error

    def addresses(self, netns: str, link: str) -> frozenset[str]:
        """The IPv4 addresses on a link. Errors: KernelError ENODEV."""
        with self._work() as visit:
            index = self._writer.index(visit, netns, link)
            if index is None:
                raise KernelError("read", netns, f"addresses of {link}", errno.ENODEV, f"no link {link}")
            try:
                return observe.addresses_on(visit.socket(netns), index)
            except OSError as error:
                raise KernelError("read", netns, f"addresses of {link}", error.errno or 0, str(error)) from error

    def observe(
        self, netns: str, sysctls: Iterable[str] = (), *, packet_filter: bool = True, routing: bool = True
    ) -> KernelState:
        """Read a namespace back, packet filters included if wanted. Errors: KernelError, OwnershipError."""
        from labnet.kernel import iptables, nft

        with self._work() as visit:
            try:
                found = observe.rtnetlink(visit.socket(netns), routing=routing)
                paths = tuple(sysctls)
                found += observe.read_sysctls(visit.fd(netns), paths) if paths else []
            except OSError as error:
                visit.discard(netns)
                raise KernelError("observe", netns, "state", error.errno or 0, str(error)) from error
            if packet_filter:
                found += iptables.observe(visit.fd(netns), netns)
                found += nft.observe(visit.fd(netns), netns, self._tables.get(netns, {}).values())
        return KernelState(tuple(found))

    def open_socket(self, netns: str, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002
        """A socket of that namespace; the caller closes it. Errors: KernelError."""
        return self.open_sockets(netns, [(family, type, proto)])[0]

    def open_sockets(self, netns: str, kinds: Sequence[tuple[int, int, int]]) -> list[socket.socket]:
        """Sockets (family, type, protocol) of that namespace; the caller closes them. Errors: KernelError; then none is open."""
        fd = self._spaces.open(netns)
        try:
            return namespaces.open_sockets(fd, kinds)
        except OSError as error:
            what = ", ".join(f"family {family}" for family in dict.fromkeys(kind[0] for kind in kinds))
            raise KernelError("open socket", netns, what, error.errno or 0) from error
        finally:
            os.close(fd)

    def listen(self, netns: str, ports: Sequence[tuple[str, int]]) -> list[socket.socket]:
        """Sockets on which servers are asked (see ports.Kernel); the caller closes them. Errors: KernelError; then none is open."""
        stock = self._nursery.sockets(netns) if self._nursery is not None else {}
        if stock and tuple(stock) == tuple(ports):
            return list(stock.values())
        for sock in stock.values():
            sock.close()
        fd = self._spaces.open(netns)
        try:
            with namespaces.enter(fd):
                return list(servers.opened(netns, ports).values())
        finally:
            os.close(fd)

    def run(
        self, netns: str, command: Sequence[str], stdin: str = "", timeout_s: float = 30.0, env: Mapping[str, str] | None = None
    ) -> ProgramResult:
        """Run a program in the namespace. Other calls are not held up meanwhile. Errors: KernelError ENOENT, ETIMEDOUT."""
        from labnet.kernel import command as programs

        fd = self._spaces.open(netns)
        try:
            return programs.run(fd, netns, command, stdin, timeout_s, env)
        finally:
            os.close(fd)

    @contextmanager
    def _work(self) -> Iterator[Visit]:
        with self._lock, Visit(self._spaces) as visit:
            yield visit

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """While a program works in one namespace, who works in others goes on; `SliceBook` keeps them out of this one."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
