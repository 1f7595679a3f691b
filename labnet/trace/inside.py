"""What the kernel is asked while a probe is under way: to tell the rules that it matches, and the tracked flow before and after."""

from __future__ import annotations

from collections.abc import Sequence

from labnet.errors import KernelError
from labnet.model.netstate import IptChain, IptRule, KernelState, NftTable
from labnet.model.packet import FlowChange, FlowTuple, Path, Probe, TrackedFlow
from labnet.ports import Kernel, PacketSign, RuleFollower
from labnet.trace.account import KernelAccount
from labnet.trace.correlate import Place, place_of
from labnet.trace.dissect import TAG, Captured, part_of
from labnet.trace.flight import PROTOCOL_NUMBERS
from labnet.trace.identity import flow_of
from labnet.trace.world import World

SEQUENCE_OFFSET_BYTES = 4
PAYLOAD_OFFSET_BYTES = 8
FILTERS = (IptChain, IptRule, NftTable)


def sign_of(probe: Probe) -> PacketSign:
    """By what the kernel knows the probe again: its ident, which stands where no translation touches it."""
    offset = SEQUENCE_OFFSET_BYTES if probe.protocol == "tcp" else PAYLOAD_OFFSET_BYTES + len(TAG)
    return PacketSign(PROTOCOL_NUMBERS[probe.protocol], probe.ident & 0xFFFF, probe.ident & 0xFFFFFFFF, offset)


def first_places(path: Path) -> list[Place]:
    """Where the packet comes into each namespace of a path, or starts."""
    found: list[Place] = []
    for place, hop in enumerate(path.hops):
        if place == 0 or hop.direction == "in":
            found.append((hop.netns, hop.link, hop.direction))
    return found


class Inside:
    """A context around the sending: the rules that the probe matches in the namespaces of its predicted path, and its flows.

    Where the kernel cannot tell (no nf_tables trace, no such right), nothing is told of that namespace.
    """

    def __init__(self, kernel: Kernel, world: World, predicted: Path) -> None:
        self._kernel, self._path = kernel, predicted
        filtered = [netns for netns in dict.fromkeys(hop.netns for hop in predicted.hops) if _filters(world.states[netns])]
        self._places = {netns: _devices(world.states[netns], netns, predicted) for netns in filtered}
        self._tracking = set(filtered)
        self._follower: RuleFollower | None = None
        self._before: dict[Place, TrackedFlow | None] = {}
        self._account = KernelAccount()

    def __enter__(self) -> Inside:
        for place, flow in self._predicted_flows().items():
            self._before[place] = self._tracked(place[0], flow)
        try:
            self._follower = self._kernel.follow_rules(self._places, sign_of(self._path.probe))
            self._follower.__enter__()
        except KernelError:
            self._follower = None
        return self

    def __exit__(self, *_: object) -> None:
        follower, self._follower = self._follower, None
        if follower is None:
            return
        try:
            self._account = KernelAccount(rules=follower.events())
        except OSError:
            pass
        finally:
            follower.__exit__(None, None, None)

    def account(self, frames: Sequence[Captured]) -> KernelAccount:
        """What was told; the flows after it are asked for by the frames that were seen."""
        flows: dict[Place, FlowChange] = {}
        for place in first_places(self._path):
            frame = next((one for one in frames if place_of(one) == place and part_of(one.data, self._path.probe) == "probe"), None)
            seen = flow_of(frame.data) if frame is not None else None
            if place[0] in self._tracking and seen is not None:
                flows[place] = FlowChange(self._before.get(place), self._tracked(place[0], seen[1]))
        return KernelAccount(rules=self._account.rules, flows=flows)

    def _predicted_flows(self) -> dict[Place, FlowTuple]:
        """The tuple with which the packet is expected at each namespace. The source's own is known; NAT may choose other ports."""
        probe = self._path.probe
        found: dict[Place, FlowTuple] = {}
        for place, hop in enumerate(self._path.hops):
            if (place == 0 or hop.direction == "in") and hop.frame is not None and hop.netns in self._tracking:
                port = probe.ident & 0xFFFF if probe.protocol == "icmp" else hop.frame.src_port
                found[hop.netns, hop.link, hop.direction] = FlowTuple(hop.frame.src, hop.frame.dst, port, hop.frame.dst_port)
        return found

    def _tracked(self, netns: str, flow: FlowTuple) -> TrackedFlow | None:
        try:
            return self._kernel.tracked(netns, self._path.probe.protocol, [flow])[0]
        except KernelError:
            return None


def _filters(state: KernelState) -> bool:
    return any(True for kind in FILTERS for _ in state.all(kind))


def _devices(state: KernelState, netns: str, path: Path) -> tuple[str, ...]:
    """The links of a namespace with netdev chains by which the packet comes in."""
    if not any(table.family == "netdev" for table in state.all(NftTable)):
        return ()
    return tuple(dict.fromkeys(hop.link for hop in path.hops if hop.netns == netns and hop.direction == "in"))
