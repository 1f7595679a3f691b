"""What was seen and what was predicted, joined to one path with a verdict (pure).

The frames tell where the packet really was; the prediction tells why it went on or ended. Where the two differ, the path
follows the frames and says so in a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from itertools import pairwise
from typing import Literal

from labnet.model.drops import DropCheck
from labnet.model.packet import Decision, Drop, Frame, Hop, KernelLookup, Path, Probe
from labnet.model.values import frozen
from labnet.trace import words
from labnet.trace.dissect import Captured, Part, datagram, frame_of, network_layer
from labnet.trace.identity import identified
from labnet.trace.predict import Walked

UNREACHABLE_TYPE, TIME_EXCEEDED_TYPE = 3, 11
Place = tuple[str, str, str]
"""Namespace, link, direction."""


@frozen
class Evidence:
    """What was gathered beside the frames.

    `lookups` by hop number: what the kernel's route lookup said. `counted` by (namespace, counter's comment): packets
    added while the probe was under way. `refused` is why the kernel would not even send it. `owners` by namespace.
    `clock_offset_ns` is taken from the frames' stamps, so that times come from the monotonic clock.
    """

    lookups: Mapping[int, KernelLookup] = field(default_factory=dict)
    counted: Mapping[tuple[str, str], int] = field(default_factory=dict)
    refused: str = ""
    lost: int = 0
    owners: Mapping[str, str] = field(default_factory=dict)
    clock_offset_ns: int = 0


def place_of(frame: Captured) -> Place:
    """Where a frame was seen."""
    return frame.netns, frame.link, frame.direction


def reached_end(walked: Walked, seen: Iterable[Place]) -> bool:
    """Was the packet seen at the last hop that is predicted?"""
    hops = walked.path.hops
    return bool(hops) and (hops[-1].netns, hops[-1].link, hops[-1].direction) in set(seen)


def correlate(walked: Walked, frames: Sequence[Captured], evidence: Evidence) -> Path:
    """One path out of prediction, frames and evidence.

    Shape:  hops are the frames in order of time with the predicted decision of their place; a probe that was never seen
            has the predicted first hop, without a frame.
    Units:  times in nanoseconds of the monotonic clock.
    """
    predicted = walked.path
    probe = predicted.probe
    parts = identified(frames, probe)
    own = [frame for part, frame in parts if part == "probe"]
    notes = list(predicted.notes)
    notes += [f"the kernel refused to send: {evidence.refused}"] if evidence.refused else []
    hops = _hops(predicted, own, evidence, notes)
    answers = [(part, frame) for part, frame in parts if part not in (None, "probe")]
    delivered, drop = _verdict(walked, own, answers, evidence, notes)
    if drop is not None:
        drop = replace(drop, hop=min(drop.hop, len(hops)) or 1)
        hops = _with_check(hops, drop)
    notes += _answer_notes(answers, evidence)
    answer, answer_drop = _answer(own, answers, evidence) if delivered else ("", None)
    notes += [f"{evidence.lost} frames were lost while listening: hops may be missing"] if evidence.lost else []
    return replace(
        predicted, delivered=delivered, hops=tuple(hops), drop=drop, lost=evidence.lost, notes=tuple(dict.fromkeys(notes)),
        answer=answer, answer_drop=answer_drop,
    )


# ---- hops -----------------------------------------------------------------------------------------------------------------


def _hops(predicted: Path, own: Sequence[Captured], evidence: Evidence, notes: list[str]) -> list[Hop]:
    waiting = list(predicted.hops)
    hops: list[Hop] = []
    for captured in own:
        frame = frame_of(captured.data, captured.time_ns - evidence.clock_offset_ns)
        match = next((hop for hop in waiting if (hop.netns, hop.link, hop.direction) == place_of(captured)), None)
        owner = match.owner if match else evidence.owners.get(captured.netns, captured.netns)
        decision = None
        if match is None:
            notes.append(f"not predicted: seen {captured.direction} on {captured.link} of {owner}")
        else:
            waiting.remove(match)
            decision = _confirmed(match, evidence)
            notes += _differences(match, frame, evidence)
        hops.append(Hop(len(hops) + 1, captured.netns, owner, captured.link, captured.direction, frame, decision))
    for hop in waiting:
        if hop.frame is not None and hops:
            notes.append(f"predicted, not seen: {hop.direction} on {hop.link} of {hop.owner}")
    if not hops and predicted.hops:
        first = predicted.hops[0]
        hops.append(replace(first, frame=None, decision=_confirmed(first, evidence)))
    return _with_nat(hops)


def _confirmed(hop: Hop, evidence: Evidence) -> Decision | None:
    if hop.decision is None:
        return None
    said = evidence.lookups.get(hop.n)
    return replace(hop.decision, kernel=said, confirmed=said.agrees if said is not None else None)


def _differences(hop: Hop, seen: Frame | None, evidence: Evidence) -> list[str]:
    """Where the frame is not as predicted. Source ports are the kernel's choice under NAT and do not count."""
    if seen is None or hop.frame is None:
        return []
    names = {"src_mac": "source MAC", "dst_mac": "destination MAC", "src": "source", "dst": "destination", "dst_port": "port", "ttl": "TTL"}
    said = []
    for name, label in names.items():
        expected, actual = getattr(hop.frame, name), getattr(seen, name)
        if expected != actual and expected != "":
            said.append(f"{hop.owner} {hop.link} {hop.direction}: {label} {actual}, predicted {expected}")
    lookup = evidence.lookups.get(hop.n)
    if lookup is not None and not lookup.agrees:
        said.append(f"{hop.owner}: the kernel's route lookup does not agree with the walk")
    return said


def _with_nat(hops: list[Hop]) -> list[Hop]:
    """NAT as the frames show it: the addresses of one namespace's incoming and next outgoing frame."""
    result = list(hops)
    for index, (hop, following) in enumerate(pairwise(hops)):
        if hop.netns != following.netns or hop.direction != "in" or following.direction != "out":
            continue
        if hop.frame is None or following.frame is None:
            continue
        nat = nat_between(hop.frame, following.frame)
        if hop.decision is not None or nat:
            result[index] = replace(hop, decision=replace(hop.decision or Decision(), nat=nat))
    return result


def nat_between(before: Frame, after: Frame) -> str:
    """What NAT did between two frames: ``SNAT a → b``, with ports where only those or they too changed."""
    said = []
    for kind, side in (("DNAT", "dst"), ("SNAT", "src")):
        old, new = getattr(before, side), getattr(after, side)
        old_port, new_port = getattr(before, f"{side}_port"), getattr(after, f"{side}_port")
        if (old, old_port) != (new, new_port):
            ports = (f":{old_port}", f":{new_port}") if old_port != new_port else ("", "")
            said.append(f"{kind} {old}{ports[0]} → {new}{ports[1]}")
    return "; ".join(said)


def _with_check(hops: list[Hop], drop: Drop) -> list[Hop]:
    """The dropping hop carries the check in its decision."""
    index = drop.hop - 1
    result = list(hops)
    result[index] = replace(hops[index], decision=replace(hops[index].decision or Decision(), check=drop.check))
    return result


# ---- verdict --------------------------------------------------------------------------------------------------------------

Answers = Sequence[tuple[Part | None, Captured]]


def _verdict(walked: Walked, own: Sequence[Captured], answers: Answers, evidence: Evidence, notes: list[str]) -> tuple[bool, Drop | None]:
    predicted = walked.path
    last = len(own) or 1
    refused = _refused(predicted.probe, answers)
    if refused and not (predicted.drop is not None and predicted.drop.check == "netfilter" and _ends_there(predicted, predicted.drop, own)):
        return False, Drop(last, "not-listening", refused)
    if any(part == "answer" for part, _ in answers):
        if not predicted.delivered:
            notes.append("the target answered although the walk predicted a drop")
        return True, None
    counted = _counted_checks(evidence)
    if predicted.delivered:
        if reached_end(walked, (place_of(frame) for frame in own)):
            return True, None
        return False, _unexplained(last, counted, own)
    assert predicted.drop is not None
    return False, _explained(predicted, predicted.drop, own, counted, evidence, notes)


def _explained(
    predicted: Path, drop: Drop, own: Sequence[Captured], counted: Mapping[DropCheck, str], evidence: Evidence, notes: list[str]
) -> Drop:
    """The predicted drop, set beside where the packet was last seen and what was counted."""
    last = len(own) or 1
    seen_beyond = len(own) > sum(1 for hop in predicted.hops if hop.frame is not None)
    end = predicted.hops[drop.hop - 1]
    if evidence.refused and not own and drop.check == "mtu":
        learned = f"the kernel refuses to send it, it has learned what is further on, at {end.owner}: {drop.text}"
        return replace(drop, hop=last, text=learned)
    ends_there = _ends_there(predicted, drop, own)
    if drop.counter:
        if any(comment == drop.counter for _, comment in evidence.counted):
            return replace(drop, hop=last)
        if counted:
            notes.append(f"predicted {drop.check} ({drop.counter}), another counter moved")
            return _unexplained(last, counted, own)
        notes.append(f"the counter {drop.counter!r} did not move")
        return replace(drop, hop=last, check="unknown", text=f"predicted: {drop.check}, but nothing was counted; {drop.text}", counter="")
    if seen_beyond or not ends_there:
        notes.append(f"predicted to end with {drop.check} on {end.link} of {end.owner}; it was last seen elsewhere")
        return _unexplained(last, counted, own)
    return replace(drop, hop=last)


def _ends_there(predicted: Path, drop: Drop, own: Sequence[Captured]) -> bool:
    """Was the packet last seen where it was predicted to end?"""
    end = predicted.hops[drop.hop - 1]
    return place_of(own[-1]) == (end.netns, end.link, end.direction) if own else end.frame is None


def _unexplained(last: int, counted: Mapping[DropCheck, str], own: Sequence[Captured]) -> Drop:
    """A drop that the walk did not foresee: a counter that moved names it, else it stays unknown."""
    for check, comment in counted.items():
        how = "chance took it" if check == "zone-loss" else "not predicted; counted"
        return Drop(last, check, f"{how}: {words.sentence_of(comment)}", comment)
    where = f"last seen {own[-1].direction} on {own[-1].link} of {own[-1].netns}" if own else "it was never seen"
    return Drop(last, "unknown", f"the walk predicts delivery or another end, but {where}")


def _counted_checks(evidence: Evidence) -> dict[DropCheck, str]:
    """The checks whose counters moved, with the counter's comment."""
    found: dict[DropCheck, str] = {}
    for (_, comment), packets in evidence.counted.items():
        check = words.check_of(comment)
        if check is not None and packets > 0:
            found.setdefault(check, comment)
    return found


ON_THE_WAY_BACK: frozenset[DropCheck] = frozenset(
    {"acl", "security-group-egress", "security-group-ingress", "source-dest-check", "zone-failure", "zone-loss"}
)
"""Checks of the VPC that may take an answer whose question passed."""


def _answer(own: Sequence[Captured], answers: Answers, evidence: Evidence) -> tuple[Literal["", "arrived", "lost"], Drop | None]:
    """What became of the answer to a probe that arrived, and what counted it where it was lost."""
    back = [frame for part, frame in answers if part == "answer"]
    if not back or not own:
        return "", None
    if any(frame.netns == own[0].netns and frame.direction == "in" for frame in back):
        return "arrived", None
    drops = [
        Drop(len(own), check, words.sentence_of(comment), comment, owner=evidence.owners.get(netns, netns))
        for (netns, comment), packets in evidence.counted.items()
        if packets > 0 and (check := words.check_of(comment)) in ON_THE_WAY_BACK
    ]
    return "lost", drops[0] if drops else None


def _refused(probe: Probe, answers: Answers) -> str:
    """Did the target say that nothing listens: RST for TCP, port unreachable for UDP."""
    for part, frame in answers:
        if part == "refusal":
            return f"the packet arrived, but nothing listens on TCP port {probe.dst_port}: {_sender(frame)} answered with RST"
        if part == "error" and probe.protocol == "udp" and _error_kind(frame) == (UNREACHABLE_TYPE, 3):
            return f"the packet arrived, but nothing listens on UDP port {probe.dst_port}: {_sender(frame)} says port unreachable"
    return ""


def _answer_notes(answers: Answers, evidence: Evidence) -> list[str]:
    said = []
    for part, frame in answers:
        if part == "error":
            kind, code = _error_kind(frame)
            word = {UNREACHABLE_TYPE: "destination unreachable", TIME_EXCEEDED_TYPE: "time exceeded"}.get(kind, f"type {kind}")
            said.append(f"ICMP {word} (code {code}) from {_sender(frame)}")
    for (netns, comment), packets in evidence.counted.items():
        if words.check_of(comment) is not None and packets > 0:
            said.append(f"counter {comment!r} in {netns}: +{packets}")
    return said


def _sender(frame: Captured) -> str:
    packet = network_layer(frame.data)
    found = datagram(packet) if packet is not None else None
    return found.src if found is not None else ""


def _error_kind(frame: Captured) -> tuple[int, int]:
    packet = network_layer(frame.data) or b""
    start = (packet[0] & 15) * 4 if packet else 0
    return packet[start], packet[start + 1]
