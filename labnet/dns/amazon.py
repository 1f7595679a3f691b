"""The names that AWS gives, from EC2's state at the moment of the question (pure).

::

    ip-10-10-0-4.us-west-2.compute.internal               an address of the asker's VPC that an ENI has
    ec2-203-0-113-1.us-west-2.compute.amazonaws.com       that ENI's private address inside its VPC, the public one elsewhere
    4.0.10.10.in-addr.arpa, 1.113.0.203.in-addr.arpa      the same backwards
    ec2.us-west-2.amazonaws.com                           the lab's EC2 API

All else is asked of the Internet. Source: docs/sources.md#dns
"""

from __future__ import annotations

import re
from collections.abc import Callable

from labnet.dns import internet
from labnet.dns.records import Record, Reply, no_such_name, reply_of
from labnet.ec2.rules.shapes import private_dns, private_domain, public_dns, public_domain
from labnet.fabric.tables import EC2_API_ADDRESS
from labnet.model.addressing import contains, to_int
from labnet.model.cloud import CloudState, Eni, Vpc

_LABEL = re.compile(r"(?:ip|ec2)-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})")
_REVERSE = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa")
ANYWHERE = ""
"""In place of a VPC's id: who asks is outside every VPC."""


def resolver_of(cloud: Callable[[], CloudState], vpc_id: str) -> Callable[[str, str], Reply | None]:
    """A lookup for who is in a VPC, or `ANYWHERE`: it reads the state whenever it is asked. None while the VPC has DNS support off."""
    def ask(name: str, kind: str) -> Reply | None:
        state = cloud()
        if vpc_id != ANYWHERE and (vpc_id not in state.vpcs or not state.vpcs[vpc_id].dns_support):
            return None
        return lookup(state, vpc_id, name, kind)

    return ask


def lookup(cloud: CloudState, vpc_id: str, name: str, kind: str) -> Reply:
    """What is known of a name where `vpc_id` is."""
    vpc = cloud.vpcs.get(vpc_id)
    private, public = private_domain(cloud), public_domain(cloud)
    if name == private or name.endswith(f".{private}"):
        return _in_zone(name, kind, private, _private(cloud, vpc, name))
    if name == public or name.endswith(f".{public}"):
        return _in_zone(name, kind, public, _public(cloud, vpc, name))
    if name == f"ec2.{cloud.region}.amazonaws.com":
        return _in_zone(name, kind, f"{cloud.region}.amazonaws.com", (Record(name, "A", EC2_API_ADDRESS),))
    backwards = _reverse(cloud, vpc, name)
    return reply_of((backwards,), kind, _soa("in-addr.arpa")) if backwards is not None else internet.lookup(name, kind)


def _soa(zone: str) -> Record:
    return Record(zone, "SOA", f"ns0.{zone}. hostmaster.amazon.com. 2012103100 3600 3600 3600 60")


def _in_zone(name: str, kind: str, zone: str, found: tuple[Record, ...]) -> Reply:
    soa = _soa(zone)
    if name == zone:
        return reply_of((soa,), kind, soa)
    return reply_of(found, kind, soa) if found else no_such_name(soa)


def _address(parts: tuple[str, ...]) -> str | None:
    """Four numbers as an address, if they are written as one is: no zeros in front, none above 255."""
    good = all(int(part) <= 255 and str(int(part)) == part for part in parts)
    return ".".join(parts) if good else None


def _of_label(name: str) -> str | None:
    found = _LABEL.fullmatch(name.partition(".")[0])
    return _address(found.groups()) if found else None


def _private(cloud: CloudState, vpc: Vpc | None, name: str) -> tuple[Record, ...]:
    address = _of_label(name)
    if vpc is None or address is None or name != private_dns(cloud, address) or not _is_assigned(cloud, vpc, address):
        return ()
    return (Record(name, "A", address),)


def _is_assigned(cloud: CloudState, vpc: Vpc, address: str) -> bool:
    """Has an ENI of the VPC this address, by itself or in a prefix?"""
    subnet = next((one for one in cloud.subnets.values() if one.vpc_id == vpc.id and contains(one.cidr, address)), None)
    return subnet is not None and to_int(address) in cloud.taken.get(subnet.id, ())


def _public(cloud: CloudState, vpc: Vpc | None, name: str) -> tuple[Record, ...]:
    address = _of_label(name)
    owner = _owner(cloud, address) if address is not None and name == public_dns(cloud, address) else None
    if owner is None or address is None:
        return ()
    eni, inside = owner
    return (Record(name, "A", inside if vpc is not None and eni.vpc_id == vpc.id else address),)


def _owner(cloud: CloudState, public: str) -> tuple[Eni, str] | None:
    """The ENI that a public address leads to and its private address there, if its VPC gives host names."""
    if public not in cloud.public_taken:
        return None
    for eni in cloud.enis.values():
        for item in eni.addresses:
            if item.public == public:
                return (eni, item.address) if cloud.vpcs[eni.vpc_id].dns_hostnames else None
    return None


def _reverse(cloud: CloudState, vpc: Vpc | None, name: str) -> Record | None:
    found = _REVERSE.fullmatch(name)
    address = _address(tuple(reversed(found.groups()))) if found else None
    if address is None:
        return None
    if vpc is not None and _is_assigned(cloud, vpc, address):
        return Record(name, "PTR", f"{private_dns(cloud, address)}.")
    return Record(name, "PTR", f"{public_dns(cloud, address)}.") if _owner(cloud, address) is not None else None
