"""The cloud changed → the kernel follows: the effects of the EC2 service (acts through the Kernel and Slices ports)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Literal

from labnet.errors import TeardownError
from labnet.fabric.acls import plan_acls
from labnet.fabric.gateway import plan_igw, plan_internet, plan_public, public_addresses
from labnet.fabric.nat import plan_nat
from labnet.fabric.peering import plan_peering
from labnet.fabric.places import gateway_of, igw_netns_of, instance_of, is_plugged, namespaces, vpc_netns_of
from labnet.fabric.plan import NodeSysctls, Part, plan_nodes, plan_parts, plan_vpc
from labnet.fabric.port import delivered, plan_eni
from labnet.fabric.routing import plan_routes
from labnet.fabric.security import plan_groups
from labnet.fabric.touched import Touched, touched_by
from labnet.fabric.untracked import interrupted
from labnet.fabric.vpn import plan_site, plan_vgw
from labnet.fabric.zones import plan_zones
from labnet.model.cloud import CloudState, Eni
from labnet.model.names import internet_netns
from labnet.model.netstate import Key, Link, LinkUp, Slice, Sysctl
from labnet.ports import Kernel, Slices

OnNamespace = Callable[[str, Literal["made", "gone", "held"]], None]
Retire = Callable[[tuple[str, ...]], tuple[str, ...]]
Parts = Mapping[tuple[str, str], Part]
"""Parts by namespace and name of the slice, in the order in which they can be applied."""


class Fabric:
    """Keeps namespaces and slices of the VPCs, gateways and nodes as the cloud's objects say.

    `on_namespace` hears of every namespace right after it is made and right after it is gone (`held`: its name is). `sysctls` are those that
    the scenario sets on nodes, by node name. `retire` hears which namespaces nobody needs any more and answers which of them
    shall go at once: the others are its own to remove when what runs in them has ended.
    """

    def __init__(
        self, lab: str, kernel: Kernel, slices: Slices, on_namespace: OnNamespace | None = None, sysctls: NodeSysctls | None = None,
        retire: Retire | None = None,
    ) -> None:
        self.lab = lab
        self._kernel, self._slices = kernel, slices
        self._tell: OnNamespace = on_namespace or (lambda name, what: None)
        self._sysctls: NodeSysctls = sysctls or {}
        self._retire: Retire = retire or tuple
        self._under_way: set[tuple[str, str]] = set()

    def namespaces(self, cloud: CloudState) -> tuple[str, ...]:
        """The namespaces that a cloud's objects need."""
        return namespaces(cloud)

    def begin(self, cloud: CloudState) -> None:
        """Make the networks outside of AWS: they are there before anything in it, and until the end. Errors: KernelError."""
        sites = [plan_site(cloud, site) for site in cloud.sites]
        if sites:
            self._kernel.create_netns([netns for netns, _ in sites])
            for netns, _ in sites:
                self._tell(netns, "made")
            self._slices.set(sites)

    def assume(self, cloud: CloudState) -> None:
        """Record what an earlier process made for this cloud, touching nothing."""
        for netns, part in plan_parts(cloud, self._sysctls):
            self._slices.assume(netns, part)

    def __call__(self, old: CloudState, new: CloudState) -> None:
        """Make the kernel follow from `old` to `new`; only what changed is planned. Errors: KernelError, with everything as before."""
        if old is new:
            return
        made, gone = _namespace_changes(old, new)
        touched = touched_by(old, new)
        before, after = self._parts(old, touched), self._parts(new, touched)
        with ExitStack() as undo:
            self._make(made, undo)
            self._set(_steps(before, after, gone), undo)
            for netns, addresses in _revoked(old, new, touched, gone):
                self._kernel.forget_flows(netns, addresses)
            for netns, ended in interrupted(old, new, touched.groups, touched.enis):
                self._kernel.forget_flows_where(netns, ended)
            self._set(_ends(before, after, gone), undo)
            undo.pop_all()
        at_once = self._retire(gone) if gone else ()
        for name in gone:
            self._slices.drop(name)
        self._drop(at_once)

    def ahead(self, old: CloudState, new: CloudState) -> asyncio.Future[None] | None:
        """As a call, begun in the background; None, and nothing has happened, where it does more than add.

        Parts of one `settle` touch no slice twice. If it fails, a call the other way round takes away what else it made.
        Errors: KernelError, now (then nothing has happened) or when awaited.
        """
        made, gone = _namespace_changes(old, new)
        touched = touched_by(old, new)
        before, after = self._parts(old, touched), self._parts(new, touched)
        changed = {key: part for key, part in after.items() if part[1].objects and before.get(key) != part}
        if gone or not _only_adds(before, after) or not self._under_way.isdisjoint(changed) or _ends_flows(old, new, touched):
            return None
        with ExitStack() as undo:
            self._make(made, undo)
            begun = self._slices.set_ahead(list(changed.values()))
            undo.pop_all()
        self._under_way |= changed.keys()
        return begun

    def settle(self) -> None:
        """Wait until nothing that was begun is under way any more."""
        self._slices.settle()
        self._under_way.clear()

    def _parts(self, cloud: CloudState, touched: Touched) -> Parts:
        return dict(_index(_plan(cloud, touched, self._sysctls)))

    def _make(self, names: tuple[str, ...], undo: ExitStack) -> None:
        """Make namespaces, and note how to take them back."""
        if not names:
            return
        self._kernel.create_netns(names)
        undo.callback(self._drop, names)
        for name in names:
            self._tell(name, "made")

    def _set(self, parts: list[Part], undo: ExitStack) -> None:
        """Set slices, and note how to set them back."""
        if not parts:
            return
        standing = [(netns, self._slices.claimed(netns, part.name) or Slice(part.name)) for netns, part in parts]
        self._slices.set(parts)
        undo.callback(self._slices.set, _once(reversed(standing)))

    def _drop(self, names: tuple[str, ...]) -> None:
        """Let namespaces go, and what was claimed in them; where something still holds one, the change that it followed from stands."""
        if not names:
            return
        what: Literal["gone", "held"] = "gone"
        try:
            self._kernel.remove_netns(names)
        except TeardownError:
            what = "held"
        for name in names:
            self._slices.drop(name)
            self._tell(name, what)


def _plan(cloud: CloudState, touched: Touched, sysctls: NodeSysctls) -> list[Part]:
    """The slices of the touched objects as one state has them, in the order in which they can be applied."""
    parts: list[Part] = [plan_vpc(cloud, vpc_id) for vpc_id in cloud.vpcs if vpc_id in touched.vpcs]
    if touched.internet and any(gateway.vpc_id in cloud.vpcs for gateway in cloud.internet_gateways.values()):
        parts.append((internet_netns(cloud.lab), plan_internet(cloud)))
    for gateway_id in _present(touched.gateways, cloud.internet_gateways):
        parts += plan_igw(cloud, gateway_id)
    parts += [(vpc_netns_of(cloud, vpc_id), plan_groups(cloud, vpc_id)) for vpc_id in _present(touched.groups, cloud.vpcs)]
    parts += [(vpc_netns_of(cloud, vpc_id), plan_acls(cloud, vpc_id)) for vpc_id in _present(touched.acls, cloud.vpcs)]
    enis = _present(touched.enis, cloud.enis)
    for eni_id in enis:
        parts += plan_eni(cloud, eni_id)
    for nat_id in _present(touched.nats, cloud.nat_gateways):
        parts += plan_nat(cloud, nat_id)
    for peering_id in _present(touched.peerings, cloud.peerings):
        parts += plan_peering(cloud, peering_id)
    for vgw_id in _present(touched.vgws, cloud.vpn_gateways):
        parts += plan_vgw(cloud, vgw_id)
    parts += [(vpc_netns_of(cloud, vpc_id), plan_zones(cloud, vpc_id)) for vpc_id in _present(touched.zones, cloud.vpcs)]
    parts += [plan_routes(cloud, vpc_id) for vpc_id in _present(touched.routes, cloud.vpcs)]
    parts += plan_nodes(cloud, _present(touched.instances, cloud.instances), sysctls)
    for eni_id in enis:
        parts += plan_public(cloud, eni_id)
    return parts


def _present(touched: set[str], objects: Mapping[str, object]) -> list[str]:
    """The touched ids that are there, in a fixed order without walking over all objects."""
    return sorted(key for key in touched if key in objects)


def _index(parts: Iterable[Part]) -> Iterator[tuple[tuple[str, str], Part]]:
    return (((netns, part.name), (netns, part)) for netns, part in parts)


def _steps(before: Parts, after: Parts, gone: tuple[str, ...]) -> list[Part]:
    """What to set, in order: slices that end, last made first; slices less what another one takes over; all as it shall be.

    A slice that ends keeps its bare link for now: everything on a link's far end goes with it, and that cannot be undone.
    """
    ended = [(netns, _bare(part)) for netns, part in _ended(before, after, gone)]
    changed = {key: part for key, part in after.items() if part[1].objects and before.get(key) != part}
    standing = {key: before[key] for key in changed if _stays(before.get(key))}
    given_up = {key: _keys(part) - _keys(changed[key]) for key, part in standing.items()}
    taken: set[tuple[str, Key]] = set()
    for key, part in changed.items() if any(given_up.values()) else ():
        taken |= _keys(part) - _keys(standing.get(key))
    yielding: list[Part] = []
    for key, given in given_up.items():
        netns, was = standing[key]
        if given & taken:
            yielding.append((netns, Slice(was.name, tuple(item for item in was.objects if (netns, item.key) not in given))))
    return [*ended, *yielding, *changed.values()]


def _ends(before: Parts, after: Parts, gone: tuple[str, ...]) -> list[Part]:
    """The slices that end, now without their links."""
    return [(netns, Slice(part.name)) for netns, part in _ended(before, after, gone) if _bare(part).objects]


def _ended(before: Parts, after: Parts, gone: tuple[str, ...]) -> list[Part]:
    """The slices that are no more in namespaces that stay, last made first."""
    return [part for key, part in reversed(tuple(before.items())) if not _stays(after.get(key)) and part[0] not in gone]


def _only_adds(before: Parts, after: Parts) -> bool:
    """Does every slice keep all that it has?"""
    return all(not part[1].objects or _keys(part) <= _keys(after.get(key)) for key, part in before.items())


def _ends_flows(old: CloudState, new: CloudState, touched: Touched) -> bool:
    """Does conntrack have to forget anything?"""
    return any(_revoked(old, new, touched, ())) or any(interrupted(old, new, touched.groups, touched.enis))


def _bare(part: Slice) -> Slice:
    return Slice(part.name, tuple(item for item in part.objects if isinstance(item, Link | LinkUp | Sysctl)))


def _stays(part: Part | None) -> bool:
    return part is not None and bool(part[1].objects)


def _keys(part: Part | None) -> set[tuple[str, Key]]:
    return {(part[0], item.key) for item in part[1].objects} if part is not None else set()


def _once(parts: Iterable[Part]) -> list[Part]:
    """Of several claims of one slice the last one: undoing needs only what stood first."""
    return list(dict(_index(parts)).values())


def _revoked(old: CloudState, new: CloudState, touched: Touched, gone: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(namespace, addresses) whose flows must be forgotten: no longer delivered, delivered elsewhere, or translated otherwise."""
    lost: dict[str, set[str]] = {}
    for eni_id in touched.enis:
        was, now = old.enis.get(eni_id), new.enis.get(eni_id)
        if was is None or was.vpc_id not in new.vpcs:
            continue
        fabric = vpc_netns_of(old, was.vpc_id)
        stays = set(delivered(now)) if now is not None and _node_of(old, was) == _node_of(new, now) else set()
        if is_plugged(old, was) and not stays.issuperset(delivered(was)):
            lost.setdefault(fabric, set()).update(set(delivered(was)) - stays)
    for eni_id in touched.enis:
        for netns, addresses in _retranslated(old, new, eni_id):
            lost.setdefault(netns, set()).update(addresses)
    for netns, found in lost.items():
        if netns not in gone:
            yield netns, tuple(sorted(found))


def _node_of(cloud: CloudState, eni: Eni) -> str | None:
    instance = instance_of(cloud, eni)
    return None if instance is None else instance.id


def _retranslated(old: CloudState, new: CloudState, eni_id: str) -> Iterator[tuple[str, set[str]]]:
    """Both addresses of each association that came or went: in the gateway, and in the fabric where it went.

    An ENI that comes with its association had no flows, and nothing untranslated is ever confirmed: no need to look.
    """
    was, now = old.enis.get(eni_id), new.enis.get(eni_id)
    if was is None or was.vpc_id not in new.vpcs or gateway_of(new, was.vpc_id) is None:
        return
    had, has = set(public_addresses(was).items()), set(public_addresses(now).items() if now else ())
    if had != has:
        yield igw_netns_of(new, was.vpc_id), {address for pair in had ^ has for address in pair}
    if had - has:
        yield vpc_netns_of(new, was.vpc_id), {address for pair in had - has for address in pair}


def _namespace_changes(old: CloudState, new: CloudState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(made, gone), both in order."""
    shelves = ((old.vpcs, new.vpcs), (old.instances, new.instances), (old.internet_gateways, new.internet_gateways),
               (old.nat_gateways, new.nat_gateways), (old.vpn_gateways, new.vpn_gateways))  # fmt: skip
    if all(was is now for was, now in shelves):
        return (), ()
    was, now = namespaces(old), namespaces(new)
    had, has = set(was), set(now)
    return tuple(name for name in now if name not in had), tuple(name for name in was if name not in has)
