"""Which slices may differ between two states of the cloud (pure): by the ids of the objects that they follow from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from labnet.ec2.rules.prefix_lists import uses
from labnet.fabric.gateway import public_addresses
from labnet.fabric.places import is_alive, is_plugged
from labnet.fabric.routing import unchecked_vpcs
from labnet.fabric.security import Profile, in_use, naming, profile_of
from labnet.fabric.vpn import gateways_touched
from labnet.fabric.zones import concerns, is_busy
from labnet.model.cloud import CloudState, Eni

T = TypeVar("T")


@dataclass(slots=True)
class Touched:
    """Ids of the objects whose slices may differ between two states."""

    vpcs: set[str] = field(default_factory=set)
    gateways: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)  # VPCs whose groups' rules may differ
    acls: set[str] = field(default_factory=set)  # VPCs whose ACLs may judge otherwise
    enis: set[str] = field(default_factory=set)
    instances: set[str] = field(default_factory=set)
    internet: bool = False
    nats: set[str] = field(default_factory=set)
    peerings: set[str] = field(default_factory=set)
    vgws: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)  # VPCs whose routes may differ
    zones: set[str] = field(default_factory=set)  # VPCs between whose zones something may differ


def _changed(old: Mapping[str, T], new: Mapping[str, T]) -> Iterator[tuple[str, T | None, T | None]]:
    """(id, before, after) of each object that is not the same Python object in both."""
    if old is new:
        return
    added = 0
    for key, item in new.items():
        before = old.get(key)
        if before is not item:
            added += before is None
            yield key, before, item
    if len(old) + added > len(new):
        yield from ((key, item, None) for key, item in old.items() if key not in new)


def touched_by(old: CloudState, new: CloudState) -> Touched:
    """What may differ in the kernel when one state follows another; only what changed is looked at."""
    touched = Touched()
    touched.vpcs |= {key for key, _, _ in _changed(old.vpcs, new.vpcs)}
    for _, was_subnet, is_subnet in _changed(old.subnets, new.subnets):
        touched.vpcs |= {subnet.vpc_id for subnet in (was_subnet, is_subnet) if subnet is not None}
        touched.acls |= {subnet.vpc_id for subnet in (was_subnet, is_subnet) if subnet is not None}
    for _, was_acl, is_acl in _changed(old.network_acls, new.network_acls):
        touched.acls |= {acl.vpc_id for acl in (was_acl, is_acl) if acl is not None}
    _touch_gateways(old, new, touched)
    for key, was_node, is_node in _changed(old.instances, new.instances):
        if is_alive(was_node) != is_alive(is_node) or (was_node and is_node and was_node.name != is_node.name):
            touched.instances.add(key)
    if touched.instances:
        both = (eni for cloud in (old, new) for eni in cloud.enis.values())
        touched.enis |= {eni.id for eni in both if eni.attachment and eni.attachment.instance_id in touched.instances}
    for key, was_eni, is_eni in _changed(old.enis, new.enis):
        touched.enis.add(key)
        if is_eni is None or was_eni is None or was_eni.attachment is not is_eni.attachment:
            touched.instances |= {eni.attachment.instance_id for eni in (was_eni, is_eni) if _is_primary(eni) and eni and eni.attachment}
    _touch_groups(old, new, touched)
    _touch_routes(old, new, touched)
    if is_busy(old) or is_busy(new):
        _touch_zones(old, new, touched)
    return touched


def _is_primary(eni: Eni | None) -> bool:
    return eni is not None and eni.attachment is not None and eni.attachment.device_index == 0


def _touch_gateways(old: CloudState, new: CloudState, touched: Touched) -> None:
    """A gateway's slices follow from its VPC too; when it comes or goes, so do all public addresses of the VPC."""
    moved = {key: {item.vpc_id for item in (was, now) if item and item.vpc_id} for key, was, now in
             _changed(old.internet_gateways, new.internet_gateways)}  # fmt: skip
    touched.gateways |= moved.keys()
    touched.gateways |= {gateway.id for gateway in new.internet_gateways.values() if gateway.vpc_id in touched.vpcs}
    vpcs = set().union(*moved.values())
    if vpcs:
        touched.internet = True
        both = (eni for cloud in (old, new) for eni in cloud.enis.values())
        touched.enis |= {eni.id for eni in both if eni.vpc_id in vpcs and public_addresses(eni)}


def _touch_routes(old: CloudState, new: CloudState, touched: Touched) -> None:
    """NAT gateways and peerings follow from their VPCs too; routes from all that they may lead to."""
    for key, was_nat, is_nat in _changed(old.nat_gateways, new.nat_gateways):
        touched.nats.add(key)
        touched.routes |= {nat.vpc_id for nat in (was_nat, is_nat) if nat is not None}
    touched.nats |= {key for cloud in (old, new) for key, nat in cloud.nat_gateways.items() if nat.vpc_id in touched.vpcs}
    for key, _was, _is in _changed(old.peerings, new.peerings):
        touched.peerings.add(key)
    came_or_went = old.vpcs.keys() ^ new.vpcs.keys()
    for key, peering in {**old.peerings, **new.peerings}.items():
        sides = {peering.requester.vpc_id, peering.accepter.vpc_id}
        if sides & came_or_went:
            touched.peerings.add(key)
        if key in touched.peerings:
            touched.routes |= sides
    for _, was_table, is_table in _changed(old.route_tables, new.route_tables):
        touched.routes |= {table.vpc_id for table in (was_table, is_table) if table is not None}
    for _, was_gateway, is_gateway in _changed(old.internet_gateways, new.internet_gateways):
        touched.routes |= {gateway.vpc_id for gateway in (was_gateway, is_gateway) if gateway is not None and gateway.vpc_id}
    for list_id, _, _ in _changed(old.prefix_lists, new.prefix_lists):
        touched.routes |= {table.vpc_id for table in new.route_tables.values() if uses(list_id, table.routes)}
    touched.routes |= touched.vpcs | touched.acls | _vpcs_with_moved_targets(old, new, touched) | unchecked_vpcs(old, new, touched.enis)
    for gateway in gateways_touched(old, new, touched.vpcs):
        touched.vgws.add(gateway.id)
        touched.routes |= {gateway.vpc_id} if gateway.vpc_id is not None else set()


def _vpcs_with_moved_targets(old: CloudState, new: CloudState, touched: Touched) -> set[str]:
    """VPCs with a route to an ENI that changed, or whose instance did."""
    nodes = {key for key, _was, _is in _changed(old.instances, new.instances)}
    if not touched.enis and not nodes:
        return set()
    found: set[str] = set()
    for cloud in (old, new):
        for table in cloud.route_tables.values():
            targets = {route.target for route in table.routes if route.target.startswith("eni-")}
            plugs = (eni.attachment for target in targets if (eni := cloud.enis.get(target)) is not None)
            if targets & touched.enis or any(plug is not None and plug.instance_id in nodes for plug in plugs):
                found.add(table.vpc_id)
    return found


def _touch_zones(old: CloudState, new: CloudState, touched: Touched) -> None:
    """What is set for zones follows from itself, from the subnets, and from the ports of a zone that has failed."""
    if (old.zone_links, old.zone_failures) != (new.zone_links, new.zone_failures):
        touched.zones |= old.vpcs.keys() | new.vpcs.keys()
        touched.routes |= touched.zones  # whether packets carry the numbers of their subnets at all
    touched.zones |= touched.vpcs
    for cloud in (old, new):
        touched.zones |= {eni.vpc_id for eni_id in touched.enis if (eni := cloud.enis.get(eni_id)) is not None and concerns(cloud, eni)}
        if cloud.zone_failures:
            touched.zones |= {nat.vpc_id for nat_id in touched.nats if (nat := cloud.nat_gateways.get(nat_id)) is not None}


def _touch_groups(old: CloudState, new: CloudState, touched: Touched) -> None:
    """The rules in the kernel follow from the groups and from the combinations of them that ports use."""
    for _, was, now in _changed(old.security_groups, new.security_groups):
        touched.groups |= {group.vpc_id for group in (was, now) if group is not None}
    for list_id, _, _ in _changed(old.prefix_lists, new.prefix_lists):
        touched.groups |= naming(new, list_id)
    for eni_id in touched.enis:
        was_eni, is_eni = old.enis.get(eni_id), new.enis.get(eni_id)
        before, after = _judged(old, was_eni), _judged(new, is_eni)
        if before == after:
            continue
        if was_eni and before is not None and was_eni.vpc_id not in touched.groups and not in_use(new, was_eni.vpc_id, before):
            touched.groups.add(was_eni.vpc_id)
        if is_eni and after is not None and is_eni.vpc_id not in touched.groups and not in_use(old, is_eni.vpc_id, after):
            touched.groups.add(is_eni.vpc_id)


def _judged(cloud: CloudState, eni: Eni | None) -> Profile | None:
    """The profile by which the port of an ENI is judged, if it has one."""
    return profile_of(eni.security_groups) if eni is not None and is_plugged(cloud, eni) else None
