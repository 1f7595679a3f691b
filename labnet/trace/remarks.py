"""Words for a capture file: whose an interface is, and what decided over a traced frame (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from labnet.model.packet import Decision, Hop, Path
from labnet.trace.dissect import Part
from labnet.trace.world import End, Role

ANSWERS: dict[Part, str] = {"answer": "answer of the target", "refusal": "refusal (RST)", "error": "ICMP error that quotes the probe"}


def described(
    end: End, owners: Mapping[str, str], roles: Mapping[str, Role], wires: Mapping[End, End], enis: Mapping[End, str] | None = None
) -> str:
    """Whose an interface is: ``pod2 eth0``, ``node1 eth1``, ``vpc port of node1's eth1``, ``node1 eni0123, to pod2 eth0``.

    `enis` adds the id of the ENI behind a node's link and behind its port.
    """
    netns, link = end
    own = f"{owners.get(netns, netns)} {link}"
    far = wires.get(end)
    eni = (enis or {}).get(end)
    named = f" ({eni})" if eni else ""
    if far is None:
        return own + named
    far_owner = owners.get(far[0], far[0])
    role, far_role = roles.get(netns), roles.get(far[0])
    if role == "vpc":
        whose = f"{far_owner}'s {far[1]}" if far_role in ("node", "vpc") else far_owner
        return f"{owners.get(netns, netns)} port of {whose}{named}"
    if role == "pod" or (role == "node" and far_role == "vpc"):
        return own + named
    return f"{own}, to {far_owner} {far[1]}{named}"


def remark(hop: Hop, path: Path) -> str:
    """What a trace says of the frame at a hop: ``hop 2 of 8, node1 eth1 out: rule 1536 → table 2 → default via …``."""
    said = _decided(hop.decision) if hop.decision is not None else []
    if path.drop is not None and path.drop.hop == hop.n:
        said.append(f"dropped: {path.drop.check}: {path.drop.text}")
    elif path.drop is None and hop.n == len(path.hops):
        said.append("delivered")
    head = f"hop {hop.n} of {len(path.hops)}, {hop.owner} {hop.link} {hop.direction}"
    return f"{head}: {'; '.join(said)}" if said else head


def _decided(decision: Decision) -> list[str]:
    way = [f"rule {decision.rule.priority} ({decision.rule.text})"] if decision.rule is not None else []
    way += [f"table {decision.table}"] if decision.table is not None else []
    way += [decision.route] if decision.route else []
    said = [" → ".join(way)] if way else []
    said += [f"neighbour {decision.neighbour}"] if decision.neighbour else []
    said += [f"netfilter {rule}" for rule in decision.netfilter]
    said += [decision.nat] if decision.nat else []
    return said
