"""Is the way back the way there, reversed? Same nodes, same ENIs, same ports of the fabric (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from labnet.model.packet import Hop, Path, Symmetry
from labnet.trace.correlate import Place
from labnet.trace.dissect import frame_of
from labnet.trace.identity import Identified

Stop = tuple[str, str]
"""A namespace and one of its links."""


def answer_places(parts: Iterable[Identified]) -> tuple[Place, ...]:
    """Where answers to the probe were seen, in order of time."""
    return tuple((frame.netns, frame.link, frame.direction) for part, frame in parts if part in ("answer", "refusal"))


def way_back(there: Path, parts: Sequence[Identified], owners: Mapping[str, str]) -> Path | None:
    """The answer's own way as a path: the frames that were seen, each with whose namespace it was in; None where there was no answer.

    It has no decisions: an answer goes by the flow that connection tracking and NAT keep, not by rules for a new packet.
    """
    own = [frame for part, frame in parts if part == "probe"]
    back = [frame for part, frame in parts if part in ("answer", "refusal")]
    first = there.hops[0].frame if there.hops else None
    if not own or not back or first is None:
        return None
    offset_ns = own[0].time_ns - first.time_ns
    hops = tuple(
        Hop(n, one.netns, owners.get(one.netns, one.netns), one.link, one.direction, frame_of(one.data, one.time_ns - offset_ns))
        for n, one in enumerate(back, 1)
    )
    head = hops[0].frame
    assert head is not None, "what is known as an answer is IPv4"
    probe = replace(
        there.probe, src=head.src, dst=head.dst, src_port=head.src_port, dst_port=head.dst_port, ttl=head.ttl, length=head.length,
    )
    notes = ("the answer itself, as it was seen: it goes by the flow that NAT and connection tracking keep",)
    return Path(there.target, there.source, probe, there.answer == "arrived", hops, there.answer_drop, there.lost, notes)


def symmetry(there: Path, back: Sequence[Place]) -> Symmetry | None:
    """Compare the hops of a path with the places of its way back; None where nothing came back, or not all the way."""
    forth = [(hop.netns, hop.link) for hop in there.hops if hop.frame is not None]
    home = list(dict.fromkeys((netns, link) for netns, link, _direction in back))
    if not forth or not home or home[-1][0] != forth[0][0]:
        return None
    forward, expected = list(dict.fromkeys(forth)), list(dict.fromkeys(reversed(forth)))
    owners = {hop.netns: hop.owner for hop in there.hops}
    shown = _shown(forward, owners), _shown(home, owners)
    for wanted, seen in zip_longest(expected, home):
        if wanted != seen:
            return Symmetry(False, _difference(wanted, seen, owners), *shown)
    return Symmetry(True, "the way back is the way there, reversed", *shown)


def _difference(wanted: Stop | None, seen: Stop | None, owners: dict[str, str]) -> str:
    if wanted is None and seen is not None:
        return f"the way back goes on by {_name(seen, owners)}, where the way there never was"
    if seen is None and wanted is not None:
        return f"the way there was by {_name(wanted, owners)}, the way back is not"
    assert wanted is not None and seen is not None
    if wanted[0] == seen[0]:
        return f"{owners.get(wanted[0], wanted[0])}: the way there was by {wanted[1]}, the way back is by {seen[1]}"
    return f"the way there was by {_name(wanted, owners)}, the way back is by {_name(seen, owners)}"


def _name(stop: Stop, owners: dict[str, str]) -> str:
    return f"{owners.get(stop[0], stop[0])} {stop[1]}"


def _shown(stops: Sequence[Stop], owners: dict[str, str]) -> str:
    return " → ".join(_name(stop, owners) for stop in stops)
