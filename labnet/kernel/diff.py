"""Two lists of kernel objects → the ordered changes that turn the one into the other (pure).

Order of the result: what goes, dependents first; then what comes or changes, foundations first. So a revoke takes the
nftables sets away before route and neighbour, and a grant puts route and neighbour there before the sets.
Where chains or rules of iptables go, all of iptables comes first, together.

What is no change:
- what the kernel makes itself (`derived`), and the far end of a veth (`made_by` "peer"): the near end makes and takes it;
- a sysctl or an MTU that nobody wants any more: the kernel has no "unset", the last value stays; an optional sysctl that is not there;
- `lo` that is up although nobody says so.
What disappears together with a removed link is listed all the same, before the link, so that undoing brings it back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface

from labnet.kernel.ruleorder import out_of_place
from labnet.model.netstate import (
    Addr,
    Change,
    IptChain,
    IptRule,
    KernelObject,
    Key,
    Link,
    LinkMtu,
    LinkUp,
    Neigh,
    NftElement,
    NftPortChain,
    NftTable,
    Route,
    Rule,
    Sysctl,
)

FULL_MASK = 0xFFFFFFFF
IPV6_DEFAULT_METRIC = 1024
"""What an IPv6 route gets that names no metric (`ip -6 route`; IP6_RT_PRIO_USER in linux/ipv6_route.h)."""

_RANKS: dict[type, int] = {
    Link: 0, Sysctl: 1, LinkMtu: 2, LinkUp: 3, Addr: 4, Neigh: 5, Route: 6, Rule: 8, NftTable: 9, NftPortChain: 10, NftElement: 11,
    IptChain: 12, IptRule: 13,
}
_SPELLED = frozenset({Rule, Sysctl, Route})


def canonical(item: KernelObject) -> KernelObject:
    """The one spelling of an object for which several exist: a full mark mask, dotted sysctls, IPv6 metric and scope."""
    kind = type(item)  # asking each for all kinds is slow, and a pod's objects are spelled some forty times
    if kind not in _SPELLED:
        return item
    if kind is Rule and isinstance(item, Rule) and item.fwmask == FULL_MASK:
        return replace(item, fwmask=None)
    if kind is Sysctl and isinstance(item, Sysctl) and "/" not in item.path:
        return replace(item, path=sysctl_path(item.path))
    if kind is Route and isinstance(item, Route) and item.family == "inet6" and (item.scope != "global" or item.metric == IPV6_DEFAULT_METRIC):
        return replace(item, scope="global", metric=0 if item.metric == IPV6_DEFAULT_METRIC else item.metric)
    return item


def sysctl_path(path: str) -> str:
    """A sysctl's path below /proc/sys with slashes; in a dotted one no part may hold a dot."""
    return path if "/" in path else path.replace(".", "/")


def matches(have: KernelObject, want: KernelObject) -> bool:
    """Does the kernel hold what is wanted? Both of one key; what a wanted value leaves to the kernel (None) is not compared."""
    if have is want:
        return True
    have, want = canonical(have), canonical(want)
    if isinstance(have, Link) and isinstance(want, Link):
        settled = _settled(have.mac, want.mac) and _settled(have.txqlen, want.txqlen) and _settled(have.mtu_bytes, want.mtu_bytes)
        return settled and not _must_be_remade(have, want)
    if isinstance(have, Addr) and isinstance(want, Addr):
        return have.connected_route == want.connected_route and not _must_be_remade(have, want)
    if isinstance(have, Route) and isinstance(want, Route) and want.dev is None:
        return replace(have, dev=None) == want
    if isinstance(have, Sysctl) and isinstance(want, Sysctl):
        return have.value == want.value
    return have == want


def _settled(have: object, want: object) -> bool:
    return want is None or have == want


def _must_be_remade(have: KernelObject, want: KernelObject) -> bool:
    """What is fixed at birth: a link's type and peer (an observed link does not tell its peer), an address's scope and broadcast."""
    if isinstance(have, Link) and isinstance(want, Link):
        return have.type != want.type or (have.peer is not None and want.peer is not None and have.peer != want.peer)
    if isinstance(have, Addr) and isinstance(want, Addr):
        return have.scope != want.scope or not _settled(have.broadcast, want.broadcast)
    return False


def removable(item: KernelObject) -> bool:
    """Can a plan take this away at all?"""
    if isinstance(item, Sysctl | LinkMtu):
        return False
    if isinstance(item, LinkUp):
        return item.name != "lo"
    if isinstance(item, Link):
        return item.made_by == "here" and not item.derived
    return not item.derived


def rank(item: KernelObject) -> int:
    """The place of an object among others when all are added: the lower first."""
    place = _RANKS[type(item)]
    return place + 1 if type(item) is Route and item.via is not None else place


def index(items: Iterable[KernelObject]) -> dict[Key, KernelObject]:
    """Objects by the key of their canonical spelling; a later one of the same key counts."""
    return {(canonical(item) if type(item) in _SPELLED else item).key: item for item in items}


def diff(have: Iterable[KernelObject], want: Iterable[KernelObject]) -> tuple[Change, ...]:
    """Everything to do so that `have` becomes `want`, in an order in which it can be applied."""
    return diff_indexed(index(have), index(want))


def diff_indexed(there: Mapping[Key, KernelObject], wanted: Mapping[Key, KernelObject]) -> tuple[Change, ...]:
    """As `diff`, for objects by the key of their canonical spelling (`index`)."""
    if not there:
        return _added(wanted.values())
    gone = [item for key, item in there.items() if key not in wanted and removable(item)]
    return _ordered(gone, there, wanted, out_of_place(there, wanted))


def _added(items: Iterable[KernelObject]) -> tuple[Change, ...]:
    """Everything where nothing was."""
    come = [item for item in items if not item.derived and (type(item) is not Link or item.made_by == "here")]
    come.sort(key=rank)
    return tuple([Change("add", item) for item in come])


def missing(have: Iterable[KernelObject], want: Iterable[KernelObject], moved: Collection[Key] = ()) -> tuple[Change, ...]:
    """As `diff` of an observation, but what `have` holds beyond `want` stays: what a repair does. `moved`: rules `out_of_place`."""
    there, wanted = index(have), index(want)
    absent = {key for key, item in wanted.items() if isinstance(item, Sysctl) and item.optional and key not in there}
    return _ordered([], there, {key: item for key, item in wanted.items() if key not in absent}, moved)


def surplus(have: Iterable[KernelObject], want: Iterable[KernelObject]) -> tuple[KernelObject, ...]:
    """What `have` holds beyond `want` and a plan could take away, in `have`'s order. The far end of a veth counts if no plan names it."""
    wanted = index(want)
    return tuple(item for item in have if canonical(item).key not in wanted and removable(item))


def _ordered(
    gone: list[KernelObject], there: Mapping[Key, KernelObject], wanted: Mapping[Key, KernelObject], moved: Collection[Key]
) -> tuple[Change, ...]:
    mtus = {item.name for item in wanted.values() if isinstance(item, LinkMtu)} if there else set()
    come: list[Change] = []
    kept: dict[Key, Change] = {}
    gone = list(gone)
    for key, item in wanted.items():
        if item.derived:
            continue
        before = there.get(key)
        if before is None:
            if not isinstance(item, Link) or item.made_by == "here":
                come.append(Change("add", item))
            continue
        # an MTU that has an object of its own is compared there, not with the one at creation
        asked = replace(item, mtu_bytes=None) if isinstance(item, Link) and item.name in mtus else item
        if key not in moved and matches(before, asked):
            kept[key] = Change("add", item, before)
        elif key in moved or _must_be_remade(before, item):
            gone.append(before)
            come.append(Change("add", item))
        else:
            kept[key] = Change("replace", item, before)
    lost = _lost(gone, there, kept) if gone else set()
    for key, change in kept.items():
        if key in lost:
            gone.append(there[key])
            come.append(Change("add", change.object))
        elif change.op == "replace":
            come.append(change)
    gone.sort(key=rank, reverse=True)
    come.sort(key=lambda change: rank(change.object))
    return (*(Change("remove", item) for item in gone), *come) if not any(map(_in_iptables, gone)) else _iptables_first(gone, come)


def _iptables_first(gone: Iterable[KernelObject], come: Sequence[Change]) -> tuple[Change, ...]:
    """All of iptables in one go: a chain can only go together with the rules that jump to it, and those may be in a chain that changes."""
    changes = [*(Change("remove", item) for item in gone), *come]
    return tuple(sorted(changes, key=lambda change: not _in_iptables(change.object)))


def _in_iptables(item: KernelObject) -> bool:
    return isinstance(item, IptChain | IptRule)


def _lost(gone: Iterable[KernelObject], there: Mapping[Key, KernelObject], kept: Mapping[Key, Change]) -> set[Key]:
    """Keys of what the kernel takes along with removed objects although it is wanted: it goes with them and comes again.

    What is lost goes too, and may take more along: so it is asked until nothing more is lost.
    """
    going, lost = list(gone), set[Key]()
    while more := _taken_along(going, there, {key: change for key, change in kept.items() if key not in lost}):
        lost |= more
        going += [there[key] for key in more]
    return lost


def _taken_along(gone: Iterable[KernelObject], there: Mapping[Key, KernelObject], kept: Mapping[Key, Change]) -> set[Key]:
    """What goes by itself when `gone` goes.

    A removed link takes everything on it. The last address of a link takes the link's routes along, a primary address its
    secondaries (fib_inetaddr_event, __inet_del_ifa). A route that changes is not overwritten where its old value needs what
    goes: then it could not be put back. A route that names only a gateway may lead over any link.
    """
    links = {item.name for item in gone if isinstance(item, Link)}
    addrs = [item for item in gone if isinstance(item, Addr) and item.family == "inet"]
    staying = {item.link for key, item in there.items() if isinstance(item, Addr) and item.family == "inet" and key in kept}
    bared = {addr.link for addr in addrs} - staying
    networks = {(addr.link, _network(addr)) for addr in addrs}
    shaken = links | {addr.link for addr in addrs} | {item.name for item in gone if isinstance(item, LinkUp)}

    def is_lost(before: KernelObject, op: str) -> bool:
        if isinstance(before, Route) and before.type == "unicast":
            endangered = shaken if op == "replace" else bared | links
            if before.dev in endangered or (before.dev is None and endangered):
                return True
        if isinstance(before, Addr) and (before.link, _network(before)) in networks:
            return True
        return link_of(before) in links and not isinstance(before, Link)

    return {key for key, change in kept.items() if is_lost(there[key], change.op)}


def _network(addr: Addr) -> object:
    return ip_interface(f"{addr.address}/{addr.prefixlen}").network


def link_of(item: KernelObject) -> str | None:
    """The link without which the object cannot be; None for what stands alone."""
    finder = _LINK_OF.get(type(item))
    return finder(item) if finder is not None else None


_LINK_OF: dict[type, Callable[..., str | None]] = {
    LinkUp: lambda item: item.name,
    LinkMtu: lambda item: item.name,
    Addr: lambda item: item.link,
    Neigh: lambda item: item.link,
    Route: lambda item: item.dev,
    NftPortChain: lambda item: item.device,
}
