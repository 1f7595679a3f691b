"""Network ACLs as one nftables table of a VPC (pure).

An ACL judges what crosses the border of a subnet, in each direction and every packet by itself: connection tracking is never
asked, so a change counts for flows that are under way. Two maps tell the subnet on either side of the router (one element a
port and direction, chain `border` of table `vpc`); where no ACL of the VPC filters, packets go past that chain. This table has the
entries themselves, a chain for each ACL and direction that can refuse anything. It is replaced whole, in one transaction, and only
when an ACL or an association changes. A subnet whose ACL allows everything has nothing here, so a packet pays for the entries of at
most two ACLs, however many ENIs there are.

What the router itself answers (metadata, the EC2 API, DHCP) never crosses a border. Source: docs/sources.md#network-acls
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labnet.fabric import tables
from labnet.fabric.security import class_text, mark_text
from labnet.model.addressing import bounds
from labnet.model.cloud import CloudState, Subnet
from labnet.model.cloud_vpc import AclEntry, NetworkAcl
from labnet.model.netstate import NftElement, NftTable, Slice

SLICE = "acls"
TABLE = "acl"
ALL, ICMP = "-1", "1"
EVERYWHERE = "0.0.0.0/0"
PORTS = {"6": "tcp", "17": "udp"}
ALL_PORTS = (0, 65_535)


def subnet_number(subnet: Subnet) -> int:
    """The number of a subnet on packets: its address in units of a /28, the smallest subnet, so no two are equal (28 bits)."""
    return bounds(subnet.cidr)[0] >> 4


def border_elements(port: str, subnet: Subnet) -> tuple[NftElement, NftElement]:
    """What makes a port of the fabric one of a subnet: what comes by it leaves the subnet, what goes by it enters it."""
    number = subnet_number(subnet)
    return (
        NftElement(tables.TABLE, tables.BORDER_FROM, (port,), ("ifname", "mark"), mark_text(number), family="ip"),
        NftElement(tables.TABLE, tables.BORDER_TO, (port,), ("ifname", "classid"), class_text(number), family="ip"),
    )


def plan_acls(cloud: CloudState, vpc_id: str) -> Slice:
    """The ACLs of a VPC's subnets. Shape: slice ``acls``, with one table or, where every ACL allows everything, nothing."""
    acls = [acl for acl in cloud.network_acls.values() if acl.vpc_id == vpc_id]
    pairs = [(acl, cloud.subnets[one.subnet_id]) for acl in acls for one in acl.associations if one.subnet_id in cloud.subnets]
    leaving = sorted((subnet_number(subnet), acl.id) for acl, subnet in pairs if filters(acl, egress=True))
    entering = sorted((subnet_number(subnet), acl.id) for acl, subnet in pairs if filters(acl, egress=False))
    if not leaving and not entering:
        return Slice(SLICE)
    lines = [*_cross(leaving, entering), *_sides(leaving, entering)]
    for egress, used in ((True, leaving), (False, entering)):
        for acl_id in sorted({acl_id for _, acl_id in used}):
            lines += _chain(cloud.network_acls[acl_id], egress)
    return Slice(SLICE, (NftTable("ip", TABLE, "\n".join(lines) + "\n"),))


def filters(acl: NetworkAcl, *, egress: bool) -> bool:
    """Can the ACL refuse anything in this direction? Not where its first entry allows everything."""
    first = next(iter(entries(acl, egress=egress)), None)
    return first is None or first.action == "deny" or not _is_everything(first)


def filters_any(cloud: CloudState, vpc_id: str) -> bool:
    """Can any ACL of a VPC's subnets refuse anything, in either direction?"""
    used = (acl for acl in cloud.network_acls.values() if acl.vpc_id == vpc_id and acl.associations)
    return any(filters(acl, egress=egress) for acl in used for egress in (True, False))


def entries(acl: NetworkAcl, *, egress: bool) -> tuple[AclEntry, ...]:
    """The entries of one direction in the order in which they are tried, lowest number first, up to one that fits everything."""
    found: list[AclEntry] = []
    for entry in sorted((one for one in acl.entries if one.egress == egress), key=lambda one: one.number):
        found.append(entry)
        if _is_everything(entry):
            break
    return tuple(found)


def drop_comment(acl_id: str, number: int | str, *, egress: bool) -> str:
    """The comment of the counter of an entry that refuses; number ``*`` is the deny at the end."""
    return f"network ACL {acl_id}: {'outbound' if egress else 'inbound'} rule {number}"


def _is_everything(entry: AclEntry) -> bool:
    return entry.protocol == ALL and entry.cidr == EVERYWHERE


Used = list[tuple[int, str]]
"""(subnet's number, id of its ACL), sorted."""


def _cross(leaving: Used, entering: Used) -> Iterator[str]:
    """The base chain: after chain `border` has written both subnets on the packet, before the receiver's security groups."""
    yield f"  chain cross {{ type filter hook forward priority {tables.PRIORITY_ACL}; policy accept;"
    if leaving:
        marks = ((mark, number) for number, _ in leaving for mark in _marks(number))
        yield f"    meta mark vmap {{ {', '.join(f'{mark} : jump from_{number:07x}' for mark, number in marks)} }}"
    if entering:
        yield f"    meta priority vmap {{ {', '.join(f'{class_text(number)} : jump to_{number:07x}' for number, _ in entering)} }}"
    yield "  }"


def _sides(leaving: Used, entering: Used) -> Iterator[str]:
    """A chain for each subnet and direction: what stays inside the subnet is nobody's business."""
    for number, acl_id in leaving:
        yield f"  chain from_{number:07x} {{"
        yield f"    meta priority {class_text(number)} return"
        yield f"    jump out_{acl_id}"
        yield "  }"
    for number, acl_id in entering:
        yield f"  chain to_{number:07x} {{"
        yield f"    meta mark {{ {', '.join(_marks(number))} }} return"
        yield f"    jump in_{acl_id}"
        yield "  }"


def _marks(number: int) -> tuple[str, str]:
    """A subnet's number as it stands on a packet, and on one that arrived with TTL 255."""
    return mark_text(number), mark_text(number | tables.TTL_255_BIT)


def _chain(acl: NetworkAcl, egress: bool) -> Iterator[str]:
    """The entries of one direction, one rule each."""
    yield f"  chain {'out' if egress else 'in'}_{acl.id} {{"
    tried = entries(acl, egress=egress)
    for entry in tried:
        verdict = "return" if entry.action == "allow" else f'counter drop comment "{drop_comment(acl.id, entry.number, egress=egress)}"'
        yield "    " + " ".join([*_fits(entry), verdict])
    if not tried or not _is_everything(tried[-1]):
        yield f'    counter drop comment "{drop_comment(acl.id, "*", egress=egress)}"'
    yield "  }"


def _fits(entry: AclEntry) -> Iterable[str]:
    """The conditions of an entry: the far side is the destination of what leaves, and the source of what enters."""
    if entry.cidr != EVERYWHERE:
        yield f"ip {'daddr' if entry.egress else 'saddr'} {entry.cidr}"
    if entry.protocol == ALL:
        return
    if entry.protocol == ICMP:
        yield f"meta l4proto {ICMP}"
        if entry.icmp_type is not None and entry.icmp_type >= 0:
            yield f"th sport {_type_and_code(entry.icmp_type, entry.icmp_code)}"
    elif entry.protocol in PORTS and entry.from_port is not None and entry.to_port is not None:
        low, high = entry.from_port, entry.to_port
        yield f"meta l4proto {entry.protocol}" if (low, high) == ALL_PORTS else f"{PORTS[entry.protocol]} dport {_span(low, high)}"
    else:
        yield f"meta l4proto {entry.protocol}"


def _type_and_code(icmp_type: int, code: int | None) -> str:
    """Type and code stand in the first two bytes, where TCP and UDP have the source port."""
    low = icmp_type << 8
    return _span(low, low | 255) if code is None or code < 0 else str(low | code)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"
