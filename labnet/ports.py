"""The ports: what the parts ask of the kernel, the cloud, time and the disk, as protocols (pure).

`lab` alone chooses who stands behind a port. The in-memory stand-ins (`kernel.fake`, `sim.clock`, `MemoryStore`) pass
the same contract tests as the real ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from labnet.model.values import frozen

if TYPE_CHECKING:  # a command that reads a scenario names ports and makes no kernel state
    import asyncio
    import socket
    from concurrent.futures import Future

    from labnet.model.cluster import EniConfig
    from labnet.model.flow import Flow
    from labnet.model.netstate import Batch, Change, KernelObject, KernelState, Route, Slice
    from labnet.model.packet import FlowTuple, TrackedFlow


class Clock(Protocol):
    """Time for everything that acts. While a lab comes up it is virtual: it jumps to the next wake-up when nothing is in flight."""

    def now_s(self) -> float:
        """Seconds since the epoch, never going back."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long by this clock."""

    def busy(self) -> AbstractContextManager[None]:
        """While inside, work is in flight (a program, a thread): virtual time must not jump."""


class Events(Protocol):
    """Where actors tell what happened, as Kubernetes events do."""

    def record(self, object: str, reason: str, message: str) -> None:  # noqa: A002 - the field's own word
        """`object` is ``kind/name`` (``pod/default/web``, ``node/node1``), `reason` a CamelCase word."""


class Store(Protocol):
    """Documents that outlive the lab's process. A write is safe from the end of the process when `flush` returns, or when
    the loop has turned; reading sees it at once.
    """

    def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Write one document."""

    def remove(self, kind: str, key: str) -> None:
        """Forget one document; unknown is fine."""

    def load(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind by key, in order of first writing."""

    def append(self, stream: str, record: Mapping[str, Any]) -> None:
        """Add one record to a ledger (`events`, `ec2-calls`)."""

    def read(self, stream: str) -> list[dict[str, Any]]:
        """The records of a ledger, oldest first."""

    def flush(self) -> None:
        """Everything written so far is safe now: called between a journal's entry and its effect."""


class Ec2Api(Protocol):
    """The EC2 API as one caller sees it; who calls is fixed when the client is made."""

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One action, in boto3's shapes: ``call("AttachNetworkInterface", {"DeviceIndex": 1, …})`` → the response members.

        Errors: Ec2Error with AWS's code.
        """


class Imds(Protocol):
    """The metadata service as one instance sees it, without tokens: in process, from the same state as the EC2 API."""

    async def get(self, path: str) -> str:
        """The text at a path below ``/latest/`` (``meta-data/mac``). Errors: ImdsError(404)."""


@frozen
class RouteAnswer:
    """The kernel's own routing decision: `error` is an errno (0 = routed); `route` the table's own entry, where that was asked for."""

    table: int = 0
    dev: str = ""
    via: str = ""
    src: str = ""
    type: str = "unicast"
    error: int = 0
    route: Route | None = None


@frozen
class PacketSign:
    """By what a packet is known whatever NAT does: protocol number, IP identification, and four bytes in or behind its transport header."""

    protocol: int
    ip_id: int
    word: int
    offset_bytes: int


@frozen
class RuleEvent:
    """A rule (or with `number` 0 a chain's policy) that the kernel says a packet matched. `family` is nf_tables' or ``legacy``."""

    family: str
    table: str
    chain: str
    number: int
    handle: int
    verdict: str


class RuleFollower(Protocol):
    """A context: while it is entered the kernel tells of the rules that a packet matches; nothing stays afterwards."""

    missing: dict[str, str]

    def __enter__(self) -> RuleFollower: ...

    def __exit__(self, *_: object) -> None: ...

    def events(self) -> dict[str, tuple[RuleEvent, ...]]:
        """What was told so far by namespace, in order; a namespace that is not in it could not be followed (`missing` says why)."""


@frozen
class ProgramResult:
    """How a program in a namespace ended."""

    exit_code: int
    stdout: str
    stderr: str


class Kernel(Protocol):
    """The one door to the kernel: namespaces, their state, and sockets and programs inside them.

    A namespace is spoken of by its name; what was opened elsewhere (a runtime's CNI_NETNS) gets a name by `adopt`.
    Everything is synchronous and quick; errors are KernelError.
    """

    def create_netns(self, names: Sequence[str]) -> None:
        """Make namespaces under /run/netns, `lo` up in each. Errors: EEXIST when a name is taken; then none is left."""

    def finish_preparing(self) -> None:
        """End whatever helped while much was to be made: what was prepared and never asked for is removed."""

    def remove_netns(self, names: Iterable[str]) -> None:
        """Drop namespaces with all that is in them; returns when the kernel has really let go. Unknown names are fine."""

    def exists(self, netns: str) -> bool:
        """Is there a namespace of that name that this door may touch?"""

    def links(self, netns: str) -> frozenset[str]:
        """The names of a namespace's links, as they are now. Errors: KernelError."""

    def addresses(self, netns: str, link: str) -> frozenset[str]:
        """The IPv4 addresses on a link, without masks: one quick question. Errors: KernelError ENODEV."""

    def adopt(self, descriptor: int) -> str:
        """The name for an opened namespace: a known one's own, else a new one that stays valid until `remove_netns`."""

    def apply(self, batches: Sequence[Batch]) -> None:
        """Make changes, batch by batch in order. All or nothing: a failure undoes what was done and raises."""

    def submit(self, jobs: Sequence[Sequence[Batch]]) -> Future[list[Exception | None]]:
        """Apply jobs in order in the background, each all or nothing; for each the error that `apply` would raise, or None."""

    def observe(
        self, netns: str, sysctls: Iterable[str] = (), *, packet_filter: bool = True, routing: bool = True
    ) -> KernelState:
        """Read a namespace back; of the sysctls those asked for (paths as in Sysctl) that exist. `packet_filter` False = quicker, without
        iptables and nftables; `routing` False = quicker, without addresses, routes and neighbours.
        """

    def expect(self, netns: str, objects: Iterable[KernelObject]) -> None:
        """Tell what an earlier process applied there, so that `observe` says it in the plan's words; touches nothing."""

    def route_get(
        self, netns: str, dst: str, src: str = "", iif: str = "", mark: int = 0, *, matched: bool = False,
        transport: tuple[str, int, int] | None = None,
    ) -> RouteAnswer:
        """Ask the kernel where it would send a packet; `matched`: by which route of which table.

        `transport` (protocol, source and destination port) counts where a policy rule asks for it.
        """

    def tracked(self, netns: str, protocol: str, flows: Sequence[FlowTuple]) -> list[TrackedFlow | None]:
        """The conntrack entry of each flow, by either of its directions (icmp: the identifier as source port)."""

    def follow_rules(self, places: Mapping[str, Sequence[str]], sign: PacketSign) -> RuleFollower:
        """Follow a packet through the netfilter rules of namespaces; for each the links at whose ingress it may be met first."""

    def counters(self, netns: str) -> dict[str, int]:
        """Packets by counter, for every nftables rule with a counter and a comment: comment → packets (summed)."""

    def forget_flows(self, netns: str, addresses: Iterable[str]) -> int:
        """Delete every conntrack entry that names one of the addresses in either direction; how many went."""

    def forget_flows_where(self, netns: str, ended: Callable[[Flow], bool]) -> int:
        """Delete every IPv4 conntrack entry of which `ended` says so; how many went."""

    def open_socket(self, netns: str, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002
        """A socket of that namespace, usable from anywhere for ever."""

    def open_sockets(self, netns: str, kinds: Sequence[tuple[int, int, int]]) -> list[socket.socket]:
        """Several at once: (family, type, protocol) each. All or none."""

    def listen(self, netns: str, ports: Sequence[tuple[str, int]]) -> list[socket.socket]:
        """A socket for each port ("tcp" or "udp", number) on every IPv4 address of the namespace, not blocking: connections queue from now
        on, and a datagram tells to which address it was sent. All or none. Errors: KernelError (EADDRINUSE).
        """

    def run(
        self, netns: str, command: Sequence[str], stdin: str = "", timeout_s: float = 30.0, env: Mapping[str, str] | None = None
    ) -> ProgramResult:
        """Run a program inside the namespace (no mount view) and wait for it. Errors: KernelError ENOENT, ETIMEDOUT."""


class NodeObjects(Protocol):
    """What the daemon of one node reads of Kubernetes: its own Node, and the ENIConfigs."""

    def max_pods(self) -> int:
        """`status.capacity.pods`. Errors: NotFoundError without the Node."""

    def unschedulable(self) -> bool:
        """Has the node the taint ``node.kubernetes.io/unschedulable:NoSchedule``?"""

    def eni_config(self, annotation_key: str, label_key: str) -> EniConfig:
        """The ENIConfig for the node's new ENIs: named by its label ``vpc.amazonaws.com/externalEniConfig``, else by the annotation,
        else by the label of these keys, else ``default``. Errors: NotFoundError naming what is missing.
        """


class PodAnnotations(Protocol):
    """Annotations of pods, as a daemon writes them with ANNOTATE_POD_IP."""

    def read(self, namespace: str, pod: str, key: str) -> str | None:
        """One annotation, None when the pod has it not. Errors: NotFoundError when there is no such pod."""

    def write(self, namespace: str, pod: str, key: str, value: str) -> None:
        """Set one annotation. Errors: NotFoundError."""


class NodeLog(Protocol):
    """A log on a node. Messages are one line each; a level that is off costs a comparison."""

    def debug(self, message: str) -> None:
        """What only somebody who looks for a fault reads."""

    def info(self, message: str) -> None:
        """What happened."""

    def warn(self, message: str) -> None:
        """What is not as it should be and was coped with."""

    def error(self, message: str) -> None:
        """What failed."""


class NoLog:
    """A log that nobody keeps: the NodeLog of plans."""

    def debug(self, message: str) -> None:
        """Nothing."""

    def info(self, message: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Nothing."""

    def error(self, message: str) -> None:
        """Nothing."""


OpenLog = Callable[[str, str], NodeLog]
"""The log of a plugin: a path in the node's view (or `stderr`, or nothing, which is the same) and a level → the log."""


class Slices(Protocol):
    """Desired state by actor: who claims what in which namespace. Actors change the kernel through this and no other way."""

    def set(self, parts: Sequence[tuple[str, Slice]]) -> None:
        """Make each (namespace, slice) what it says now: the difference to what that slice claimed before is applied,
        part by part in order, all or nothing. An empty slice gives up its claims; what another slice of that namespace
        still claims stays. Errors: KernelError, with everything as before.
        """

    def set_soon(self, parts: Sequence[tuple[str, Slice]]) -> Awaitable[None]:
        """As `set`, in the background together with what others ask for in this turn of the loop. The claims stand at once; a failure
        takes them back. `set` in the same namespace waits for it.
        """

    def set_ahead(self, parts: Sequence[tuple[str, Slice]]) -> asyncio.Future[None]:
        """As `set_soon`, begun now, for who has more to plan meanwhile; nobody may cancel what he gets."""

    def settle(self) -> None:
        """Wait until nothing of `set_soon` and `set_ahead` is under way any more."""

    def claimed(self, netns: str, name: str) -> Slice | None:
        """What the slice claims now, or None."""

    def observe(
        self, netns: str, *, packet_filter: bool = True, routing: bool = True, sysctls: Iterable[str] | None = None
    ) -> KernelState:
        """The namespace as the kernel holds it now, in the words of the claims where both mean the same; of the sysctls those named, or
        (None) those that somebody claims; the rest as the Kernel port's. Errors: KernelError.
        """

    def addresses(self, netns: str, link: str) -> frozenset[str]:
        """The IPv4 addresses on a link, without masks. Errors: KernelError ENODEV."""

    def assume(self, netns: str, part: Slice) -> None:
        """Record a slice without touching the kernel: what is there already, or, with an empty slice, what is left standing unclaimed."""

    def drop(self, netns: str) -> None:
        """Forget all claims of a namespace that is gone; nothing is applied. Unknown is fine."""


__all__ = [
    "Batch", "Change", "Clock", "Ec2Api", "Events", "Imds", "Kernel", "KernelState", "NoLog", "NodeLog", "NodeObjects", "OpenLog",
    "PodAnnotations", "ProgramResult", "RouteAnswer", "Slice", "Slices", "Store",
]
