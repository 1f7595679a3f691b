"""Where an answer ended that was seen and then lost: the namespace that had it last is asked what it does with it (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from labnet.model.packet import Drop, Frame, Path
from labnet.trace.dissect import Captured, frame_of
from labnet.trace.flight import InFlight
from labnet.trace.hooks import Netfilter
from labnet.trace.memory import Memory, Remembering, Tracked
from labnet.trace.predict import Ended, Walker
from labnet.trace.world import Host, World


def with_lost_answer(world: World, path: Path, answers: Sequence[Captured]) -> Path:
    """The path with the reason why its answer, seen on its way, did not come back; a counter that said so already is kept."""
    if path.answer != "lost" or path.answer_drop is not None or not answers:
        return path
    last = max(answers, key=lambda frame: frame.time_ns)
    place = (last.netns, last.link) if last.direction == "in" else world.wires.get((last.netns, last.link))
    frame = frame_of(last.data, last.time_ns)
    if place is None or frame is None or place[0] not in world.states:
        return path
    walker = _Back(world, remembered(path))
    try:
        walker.take(*place, _in_flight(frame))
    except Ended:
        pass
    owner, drop = world.owner(place[0]), walker.dropped
    if drop is not None and not drop.counter:  # one that has a counter would have counted
        return replace(path, answer_drop=replace(drop, hop=len(path.hops), owner=owner, link=place[1]))
    text = f"it was last seen {last.direction} on {last.link} of {world.owner(last.netns)}"
    text += f", and {owner} takes it for itself" if walker.delivered else ""
    return replace(path, answer_drop=Drop(len(path.hops), "unknown", text, owner=owner, link=place[1]))


def remembered(path: Path) -> Memory:
    """What connection tracking holds in each namespace after the way there, by the frames that were seen."""
    memory = Memory()
    for netns in dict.fromkeys(hop.netns for hop in path.hops):
        seen = [hop for hop in path.hops if hop.netns == netns and hop.frame is not None]
        frames = [hop.frame for hop in seen if hop.frame is not None]
        if not frames:
            continue
        flows = [hop.decision.conntrack.after for hop in seen if hop.decision is not None and hop.decision.conntrack is not None]
        mark = next((flow.mark for flow in flows if flow is not None), 0)
        memory.flows[netns] = [Tracked(_in_flight(frames[0]), replace(_in_flight(frames[-1]), ct_mark=mark))]
    return memory


def _in_flight(frame: Frame) -> InFlight:
    return InFlight(
        frame.src, frame.dst, frame.protocol, frame.src_port, frame.dst_port, frame.ttl, frame.length, frame.src_mac, frame.dst_mac,
    )


class _Back(Walker):
    """A walk whose namespaces know the flow."""

    def __init__(self, world: World, memory: Memory) -> None:
        super().__init__(world)
        self._memory = memory

    def visit(self, netns: str) -> tuple[Host, Netfilter]:
        if netns not in self._visited:
            host = Host(self.world, netns)
            self._visited[netns] = (host, Remembering(host, self._memory))
        return self._visited[netns]
