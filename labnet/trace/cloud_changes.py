"""Changes of the VPC that may let a dropped packet pass, each as the difference of two plans of the fabric (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from labnet.fabric.places import gateway_of
from labnet.fabric.plan import plan_parts
from labnet.model.addressing import contains
from labnet.model.cloud import CloudState, Eni, SecurityGroupRule
from labnet.model.cloud_vpc import AclEntry, NetworkAcl, RouteTable, VpcRoute
from labnet.model.netstate import KernelObject, Key
from labnet.model.packet import Frame, Path
from labnet.trace.flight import PROTOCOL_NUMBERS
from labnet.trace.remedy import CloudChange

FIRST_ACL_RULE = 1
SPARE_PUBLIC = "203.0.113.250"
"""A public address for trying out what an Elastic IP would change."""


def cloud_changes(cloud: CloudState, path: Path) -> Iterator[CloudChange]:
    """What could be changed in the cloud for the packet of a drop, smallest first. Errors: none; nothing where the drop is not the VPC's."""
    frame = next((hop.frame for hop in reversed(path.hops) if hop.frame is not None), None)
    if path.drop is None or frame is None:
        return
    before: dict[tuple[str, Key], KernelObject] = {}
    for text, changed in _changed(cloud, path, frame):
        before = before or _planned(cloud)
        yield _difference(text, before, _planned(changed))


def _changed(cloud: CloudState, path: Path, frame: Frame) -> Iterator[tuple[str, CloudState]]:
    assert path.drop is not None
    check = path.drop.check
    if check in ("security-group-egress", "security-group-ingress"):
        yield from _groups(cloud, frame, check == "security-group-egress")
    elif check == "acl":
        yield from _acls(cloud, frame)
    elif check == "source-dest-check":
        yield from _checks(cloud, path)
    elif check in ("no-route", "blackhole"):
        yield from _publics(cloud, frame)
        yield from _routes(cloud, path, frame)


def _planned(cloud: CloudState) -> dict[tuple[str, Key], KernelObject]:
    return {(netns, item.key): item for netns, part in plan_parts(cloud) for item in part.objects}


def _difference(text: str, before: Mapping[tuple[str, Key], KernelObject], after: Mapping[tuple[str, Key], KernelObject]) -> CloudChange:
    removed: dict[str, list[KernelObject]] = {}
    added: dict[str, list[KernelObject]] = {}
    for (netns, _key), item in before.items():
        if after.get((netns, item.key)) != item:
            removed.setdefault(netns, []).append(item)
    for (netns, _key), item in after.items():
        if before.get((netns, item.key)) != item:
            added.setdefault(netns, []).append(item)
    return CloudChange(text, removed, added)


def _owner(cloud: CloudState, address: str) -> Eni | None:
    return next((eni for eni in cloud.enis.values() if _owns(eni, address)), None)


def _owns(eni: Eni, address: str) -> bool:
    return any(address in (item.address, item.public) for item in eni.addresses) or any(contains(cidr, address) for cidr in eni.prefixes)


def _groups(cloud: CloudState, frame: Frame, egress: bool) -> Iterator[tuple[str, CloudState]]:
    eni, other = (_owner(cloud, frame.src), frame.dst) if egress else (_owner(cloud, frame.dst), frame.src)
    port = frame.dst_port if frame.protocol in ("tcp", "udp") else None
    rule = SecurityGroupRule(frame.protocol, port if port is not None else -1, port if port is not None else -1, f"{other}/32", id="sgr-tried")
    for group_id in eni.security_groups if eni is not None else ():
        group = cloud.security_groups[group_id]
        what = f"{frame.protocol} {port}" if port is not None else frame.protocol
        words = f"an outbound rule of {group_id}: {what} to {other}" if egress else f"an inbound rule of {group_id}: {what} from {other}"
        changed = replace(group, egress=(*group.egress, rule)) if egress else replace(group, ingress=(*group.ingress, rule))
        yield words, replace(cloud, security_groups={**cloud.security_groups, group_id: changed})


def _acls(cloud: CloudState, frame: Frame) -> Iterator[tuple[str, CloudState]]:
    for address, egress in ((frame.src, True), (frame.dst, False)):
        eni = _owner(cloud, address)
        acl = _acl_of(cloud, eni.subnet_id) if eni is not None else None
        if acl is None:
            continue
        other = frame.dst if egress else frame.src
        taken = {entry.number for entry in acl.entries if entry.egress == egress}
        number = next((one for one in range(FIRST_ACL_RULE, min(taken, default=100)) if one not in taken), None)
        entry = AclEntry(
            number or FIRST_ACL_RULE, egress, str(PROTOCOL_NUMBERS[frame.protocol]), "allow", f"{other}/32",
            *((frame.dst_port, frame.dst_port) if frame.protocol != "icmp" else (None, None, -1, -1)),
        )
        kept = tuple(one for one in acl.entries if (one.number, one.egress) != (entry.number, egress))
        what = f"{frame.protocol} {frame.dst_port}" if frame.protocol != "icmp" else "icmp"
        word = f"{'outbound' if egress else 'inbound'} rule {entry.number} of {acl.id}: allow {what} {'to' if egress else 'from'}"
        changed = replace(acl, entries=(entry, *kept))
        yield f"{word} {other}", replace(cloud, network_acls={**cloud.network_acls, acl.id: changed})


def _acl_of(cloud: CloudState, subnet_id: str) -> NetworkAcl | None:
    return next((acl for acl in cloud.network_acls.values() if any(one.subnet_id == subnet_id for one in acl.associations)), None)


def _checks(cloud: CloudState, path: Path) -> Iterator[tuple[str, CloudState]]:
    macs = dict.fromkeys(mac for hop in reversed(path.hops) if hop.frame is not None for mac in (hop.frame.src_mac, hop.frame.dst_mac))
    for eni in [eni for mac in macs for eni in cloud.enis.values() if eni.mac == mac and eni.source_dest_check]:
        changed = replace(eni, source_dest_check=False)
        yield f"the source/destination check of {eni.id} off", replace(cloud, enis={**cloud.enis, eni.id: changed})


def _publics(cloud: CloudState, frame: Frame) -> Iterator[tuple[str, CloudState]]:
    eni = _owner(cloud, frame.src)
    private = next((item for item in eni.addresses if item.address == frame.src), None) if eni is not None else None
    if eni is None or private is None or private.public is not None or gateway_of(cloud, eni.vpc_id) is None:
        return
    addresses = tuple(replace(item, public=SPARE_PUBLIC) if item is private else item for item in eni.addresses)
    yield f"an Elastic IP for {frame.src}", replace(cloud, enis={**cloud.enis, eni.id: replace(eni, addresses=addresses)})


def _routes(cloud: CloudState, path: Path, frame: Frame) -> Iterator[tuple[str, CloudState]]:
    macs = [hop.frame.src_mac for hop in reversed(path.hops) if hop.frame is not None]
    eni = next((eni for mac in macs for eni in cloud.enis.values() if eni.mac == mac), None)
    table = _table_of(cloud, eni) if eni is not None else None
    if eni is None or table is None:
        return
    gateway = gateway_of(cloud, eni.vpc_id)
    targets = [gateway.id] if gateway is not None else []
    targets += [nat.id for nat in cloud.nat_gateways.values() if nat.vpc_id == eni.vpc_id and nat.state == "available"]
    targets += [one.id for one in cloud.peerings.values() if eni.vpc_id in (one.requester.vpc_id, one.accepter.vpc_id)]
    for target in targets:
        routes = (*(one for one in table.routes if one.destination != f"{frame.dst}/32"), VpcRoute(f"{frame.dst}/32", target))
        changed = replace(table, routes=routes)
        yield f"a route in {table.id}: {frame.dst}/32 → {target}", replace(cloud, route_tables={**cloud.route_tables, table.id: changed})


def _table_of(cloud: CloudState, eni: Eni) -> RouteTable | None:
    tables = [table for table in cloud.route_tables.values() if table.vpc_id == eni.vpc_id]
    own = next((table for table in tables if any(one.subnet_id == eni.subnet_id for one in table.associations)), None)
    return own or next((table for table in tables if table.is_main), None)
