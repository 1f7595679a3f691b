"""What would have let a dropped packet pass: candidate changes, each tried by walking a copy of the state anew (pure).

Nothing is claimed that was not walked: of the changes that are tried, smallest first, the first one with which the packet is
delivered is told. That none of them helps is an answer too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from labnet.model.netstate import (
    IptChain,
    IptPolicy,
    IptRule,
    KernelObject,
    KernelState,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    NftTable,
    Route,
    Rule,
    Sysctl,
)
from labnet.model.packet import Counterfactual, Drop, Hop, Path, Probe
from labnet.model.values import frozen
from labnet.trace.predict import predict
from labnet.trace.routing import END_TYPES, table_name
from labnet.trace.world import World

FULL_TTL = 64
MAX_TRIED = 40
"""A walk takes a millisecond or two; a lab has few changes that could matter, a broken one perhaps hundreds."""
LOOSE, OFF = 2, 0
FORWARDING = "net/ipv4/ip_forward"
NOT_TO_BE_TRIED = frozenset({"not-listening", "unknown"})


@frozen
class CloudChange:
    """A change of the VPC: words, and what it takes away from and adds to the state of namespaces."""

    text: str
    removed: Mapping[str, Sequence[KernelObject]]
    added: Mapping[str, Sequence[KernelObject]]


@frozen
class Candidate:
    """One change: the world and the probe with it."""

    text: str
    world: World
    probe: Probe


class Changed(Mapping[str, KernelState]):
    """States with some replaced; the others are read where they are asked for."""

    def __init__(self, base: Mapping[str, KernelState], changed: Mapping[str, KernelState]) -> None:
        self._base, self._changed = base, changed

    def __getitem__(self, netns: str) -> KernelState:
        return self._changed[netns] if netns in self._changed else self._base[netns]

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def __contains__(self, netns: object) -> bool:
        return netns in self._base


def with_remedy(world: World, start: str, path: Path, changes: Callable[[Path], Iterable[CloudChange]] | None = None) -> Path:
    """The path whose drop says what caused it and what would have let the packet pass."""
    drop = path.drop
    if drop is None:
        return path
    drop = replace(drop, state=causes(path, drop))
    if drop.check not in NOT_TO_BE_TRIED:
        predicted = predict(world, start, path.probe)
        if predicted.drop is not None and predicted.drop.check == drop.check:
            drop = replace(drop, counterfactual=counterfactual(world, start, predicted, changes(path) if changes is not None else ()))
    return replace(path, drop=drop)


def counterfactual(world: World, start: str, predicted: Path, changes: Iterable[CloudChange] = ()) -> Counterfactual:
    """Try single changes until one lets the packet of a predicted drop pass."""
    tried = 0
    for candidate in _candidates(world, predicted, changes):
        if tried == MAX_TRIED:
            break
        tried += 1
        if predict(candidate.world, start, candidate.probe).delivered:
            return Counterfactual(candidate.text, f"would pass with {candidate.text}", tried)
    return Counterfactual("", f"no single change of the {tried} that were tried lets it pass", tried)


def causes(path: Path, drop: Drop) -> tuple[str, ...]:
    """The facts behind a drop, as the decision of its namespace tells them, one a line."""
    if not path.hops:
        return ()
    end = path.hops[min(drop.hop, len(path.hops)) - 1]
    decided = next((hop for hop in reversed(path.hops[: drop.hop]) if hop.netns == end.netns and hop.decision is not None), end)
    said, found = decided.decision, [f"{end.owner} ({end.netns}), {end.direction} {end.link}" if end.link else f"{end.owner} ({end.netns})"]
    if said is None:
        return tuple(found)
    found += [f"rule {said.rule.priority}: {said.rule.text}"] if said.rule else []
    found += [f"table {table_name(said.table)}: {said.route}"] if said.table is not None and said.route else []
    if said.rp_filter is not None and drop.check == "rp-filter":
        found.append(f"net.ipv4.conf.{said.rp_filter.link}.rp_filter = {said.rp_filter.value}")
    found += [f"neighbour {said.neighbour}"] if said.neighbour and drop.check == "neighbour" else []
    found += [f"MTU of the way out: {said.mtu_bytes} bytes"] if said.mtu_bytes and drop.check == "mtu" else []
    if drop.check in ("netfilter", "acl", "security-group-egress", "security-group-ingress", "source-dest-check") and said.matched:
        last = said.matched[-1]
        found.append(f"{last.family} {last.table} {last.chain}, rule {last.number}: {last.text}")
    return tuple(found)


# ---- candidates -----------------------------------------------------------------------------------------------------------


def _candidates(world: World, path: Path, changes: Iterable[CloudChange]) -> Iterator[Candidate]:
    """Smallest first: the packet, then settings, entries, rules and routes where it ended, then the same where it was sent from."""
    assert path.drop is not None
    end = path.hops[path.drop.hop - 1]
    yield from _of_probe(world, path, path.drop)
    state = world.states[end.netns]
    yield from _of_settings(world, path.probe, end, state, path.drop)
    yield from _of_filters(world, path.probe, end, state, path)
    yield from _of_neighbours(world, path)
    seen: set[str] = set()
    for hop in reversed(path.hops[: path.drop.hop]):
        if hop.netns not in seen and world.roles.get(hop.netns) in ("node", "pod"):
            yield from _of_routing(world, path, hop)
        seen.add(hop.netns)
    for change in changes:
        states = {
            netns: without(world.states[netns], change.removed.get(netns, ()), change.added.get(netns, ()))
            for netns in (*change.removed, *change.added) if netns in world.states
        }
        yield Candidate(change.text, _with(world, states), path.probe)
    if world.roles.get(end.netns) not in ("node", "pod"):
        yield from _of_routing(world, path, end)


def _of_probe(world: World, path: Path, drop: Drop) -> Iterator[Candidate]:
    if drop.check == "ttl" and path.probe.ttl < FULL_TTL:
        yield Candidate(f"a TTL of {FULL_TTL}", world, replace(path.probe, ttl=FULL_TTL))
    if drop.check == "mtu":
        narrow = min((hop.decision.mtu_bytes for hop in path.hops if hop.decision is not None and hop.decision.mtu_bytes), default=0)
        if 0 < narrow < path.probe.length:
            yield Candidate(f"an MTU of {narrow} at the sender: packets of {narrow} bytes", world, replace(path.probe, length=narrow))


def _of_settings(world: World, probe: Probe, end: Hop, state: KernelState, drop: Drop) -> Iterator[Candidate]:
    """Sysctls, links that are down, MTUs of the namespace where it ended."""
    link = end.link
    if drop.check == "rp-filter":
        for value in (LOOSE, OFF):
            names = ("all", link) if value == OFF else (link,)
            objects = [Sysctl(f"net/ipv4/conf/{name}/rp_filter", str(value)) for name in names]
            yield _candidate(world, probe, f"rp_filter={value} on {' and '.join(names)} of {end.owner}", end.netns, objects)
    if drop.check == "forwarding-off":
        objects = [Sysctl(f"net/ipv4/conf/{link}/forwarding", "1"), Sysctl(FORWARDING, "1")]
        yield _candidate(world, probe, f"net.ipv4.ip_forward=1 on {end.owner}", end.netns, objects)
    if link and link not in {item.name for item in state.all(LinkUp)}:
        yield _candidate(world, probe, f"{link} of {end.owner} up", end.netns, [LinkUp(link)])
    if drop.check == "neighbour":
        yield from _of_far_ends(world, probe, end, state)
    if drop.check == "mtu":
        routes = [replace(route, mtu_bytes=None) for route in state.all(Route) if route.mtu_bytes]
        mtus = [LinkMtu(item.name, max(item.mtu_bytes, probe.length)) for item in state.all(LinkMtu)]
        yield _candidate(world, probe, f"an MTU of {probe.length} on every link of {end.owner}", end.netns, [*routes, *mtus])


def _of_far_ends(world: World, probe: Probe, end: Hop, state: KernelState) -> Iterator[Candidate]:
    """The other ends of the namespace's veths, where they are down."""
    for link in state.all(Link):
        peer = world.wires.get((end.netns, link.name))
        if peer is None or peer[0] not in world.states:
            continue
        if peer[1] not in {item.name for item in world.states[peer[0]].all(LinkUp)}:
            yield _candidate(world, probe, f"{peer[1]} of {world.owner(peer[0])} up", peer[0], [LinkUp(peer[1])])


def _of_filters(world: World, probe: Probe, end: Hop, state: KernelState, path: Path) -> Iterator[Candidate]:
    """Without the rule that decided last; without each rule that changed the packet, also where it came through before."""
    visited = {hop.netns: hop for hop in path.hops if world.roles.get(hop.netns) in ("node", "pod")}
    for netns, hop in reversed(visited.items()):
        state = world.states[netns]
        for rule in reversed([rule for one in path.hops if one.netns == netns and one.decision for rule in one.decision.matched]):
            if rule.verdict.startswith(("jump", "goto", "ACCEPT", "accept", "RETURN", "return", "continue")):
                continue
            if rule.backend == "nft":
                gone: list[KernelObject] = [item for item in state.all(NftTable) if (item.family, item.name) == (rule.family, rule.table)]
                text = f"the nft table {rule.family} {rule.table} gone from {hop.owner}"
                yield Candidate(text, _with(world, {netns: without(state, gone)}), probe)
                continue
            if not rule.number:
                policies = [one for one in state.all(IptPolicy) if (one.table, one.chain) == (rule.table, rule.chain)]
                text = f"the policy of {rule.table} {rule.chain} of {hop.owner} ACCEPT"
                yield Candidate(text, _with(world, {netns: without(state, policies)}), probe)
                continue
            rules = [one for one in state.all(IptRule) if (one.table, one.chain, one.spec) == (rule.table, rule.chain, rule.text)]
            chains = [one for one in state.all(IptChain) if (one.table, one.name) == (rule.table, rule.chain) and rule.text in one.rules]
            shorter = [replace(one, rules=tuple(text for text in one.rules if text != rule.text)) for one in chains]
            text = f"this rule gone from {rule.table} {rule.chain} of {hop.owner}: {rule.text}"
            yield Candidate(text, _with(world, {netns: without(state, [*rules[:1], *chains], shorter)}), probe)


def _of_neighbours(world: World, path: Path) -> Iterator[Candidate]:
    """The MAC that the other end of a wire really has, or none, so that it is asked for."""
    assert path.drop is not None
    if path.drop.check != "neighbour":
        return
    for hop in reversed(path.hops[: path.drop.hop]):
        state = world.states[hop.netns]
        for entry in [one for one in state.all(Neigh) if hop.direction == "out" and one.link == hop.link and one.family == "inet"]:
            words = f"{entry.address} on {entry.link} of {hop.owner}"
            peer = world.wires.get((hop.netns, entry.link))
            behind = next((link.mac for link in world.states[peer[0]].all(Link) if link.name == peer[1]), None) if peer else None
            if behind and behind != entry.mac:
                text = f"the neighbour {words} at {behind} (it is at {entry.mac or 'no MAC'})"
                yield _candidate(world, path.probe, text, hop.netns, [replace(entry, mac=behind, state="permanent")])
            text = f"the neighbour {words} learned anew (it is at {entry.mac or 'no MAC'})"
            yield Candidate(text, _with(world, {hop.netns: without(state, [entry])}), path.probe)


def _of_routing(world: World, path: Path, hop: Hop) -> Iterator[Candidate]:
    """A rule to another table, the route that ends it gone, or a default route of another table: where it was last, and before."""
    said = next((one.decision for one in path.hops if one.netns == hop.netns and one.decision is not None and one.decision.rules), None)
    if said is None:
        return
    state, frame = world.states[hop.netns], next((one.frame for one in path.hops if one.netns == hop.netns and one.frame), None)
    source = frame.src if frame is not None else path.probe.src
    target = frame.dst if frame is not None else path.probe.dst
    where = f"on {hop.owner}"
    for route in state.all(Route):
        if route.table == said.table and route.type in END_TYPES and said.routes and said.routes[0].text in route.text:
            yield Candidate(f"the route gone {where}: {route.text}", _with(world, {hop.netns: without(state, [route])}), path.probe)
    for rule in state.all(Rule):
        if said.rule is not None and not _born_with(rule) and rule.text == f"{said.rule.priority}: {said.rule.text}":
            yield Candidate(f"the rule gone {where}: {rule.text}", _with(world, {hop.netns: without(state, [rule])}), path.probe)
    priority = max(0, (said.rule.priority if said.rule else FIRST_FREE) - 1)
    tables = list(dict.fromkeys(route.table for route in state.all(Route) if route.family == "inet" and route.type == "unicast"))
    for table in tables:
        if table != said.table:
            rule = Rule(priority, table, src=f"{source}/32")
            yield _candidate(world, path.probe, f"a rule {where}: from {source} lookup {table_name(table)}", hop.netns, [rule])
    for route in [one for one in state.all(Route) if one.family == "inet" and one.dst == "default" and one.type == "unicast"]:
        if said.table is None or route.table != said.table:
            copied = replace(route, table=said.table if said.table is not None else MAIN, dst=f"{target}/32")
            yield _candidate(world, path.probe, f"a route {where}: {copied.text}", hop.netns, [copied])
    for link in [one for one in state.all(Link) if one.type != "loopback" and hop.link != one.name]:
        direct = Route(f"{target}/32", link.name, scope="link", table=said.table if said.table is not None else MAIN)
        yield _candidate(world, path.probe, f"a route {where}: {direct.text}", hop.netns, [direct])


FIRST_FREE, MAIN = 32_766, 254


def _born_with(rule: Rule) -> bool:
    return rule.derived and rule.action == "lookup"


def _candidate(world: World, probe: Probe, text: str, netns: str, objects: Sequence[KernelObject]) -> Candidate:
    """The world with objects put in place of those with the same key."""
    return Candidate(text, _with(world, {netns: without(world.states[netns], (), objects)}), probe)


def _with(world: World, states: Mapping[str, KernelState]) -> World:
    return replace(world, states=Changed(world.states, states))


def without(state: KernelState, gone: Sequence[KernelObject], added: Sequence[KernelObject] = ()) -> KernelState:
    """A state with some objects less and others in place of those with their key."""
    keys = {item.key for item in (*gone, *added)}
    return KernelState((*(item for item in state.objects if item.key not in keys), *added))
