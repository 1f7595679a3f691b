"""AWS objects of a VPC beside subnets and ENIs, as frozen values: routes, public addresses, NAT gateways, ACLs, peerings (pure).

What follows from other objects is never stored: whether a route is a blackhole, whether a peering has expired, on which instance
an Elastic IP sits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from labnet.model.values import frozen

LOCAL = "local"


@frozen
class VpcRoute:
    """One route: `target` is the id of a gateway, NAT gateway, ENI or peering connection, `destination` a block or a prefix list's id;
    `propagated` = a virtual private gateway's.
    """

    destination: str
    target: str
    propagated: bool = False

    @property
    def prefix_list_id(self) -> str | None:
        """The prefix list that it leads to, if it is one."""
        return self.destination if self.destination.startswith("pl-") else None


@frozen
class RouteAssociation:
    """A subnet that uses a route table; `subnet_id` None = the table is the VPC's main one."""

    id: str
    subnet_id: str | None = None


@frozen
class RouteTable:
    """A route table. The local routes are not listed, they follow from the VPC's blocks; one that is, replaces the local one.

    `propagating` are virtual private gateways: what they know the way to are routes too, as long as they are attached.
    """

    id: str
    vpc_id: str
    routes: tuple[VpcRoute, ...] = ()
    associations: tuple[RouteAssociation, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    client_token: str = ""
    request_digest: str = ""
    propagating: tuple[str, ...] = ()

    @property
    def is_main(self) -> bool:
        """Do subnets without a table of their own use it?"""
        return any(one.subnet_id is None for one in self.associations)


@frozen
class AddressAssociation:
    """Where an Elastic IP is: `replaced_auto` = it took the place of an address that came with a launch."""

    id: str
    eni_id: str
    private_address: str
    replaced_auto: bool = False


@frozen
class ElasticAddress:
    """An Elastic IP; its id is the allocation's."""

    id: str
    public_ip: str
    association: AddressAssociation | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class NatGateway:
    """A NAT gateway and its one address; a failed one has a code and a message, and no ENI."""

    id: str
    vpc_id: str
    subnet_id: str
    connectivity: Literal["public", "private"] = "public"
    state: Literal["available", "failed", "deleted"] = "available"
    eni_id: str = ""
    private_address: str = ""
    allocation_id: str = ""
    association_id: str = ""
    public_ip: str = ""
    failure_code: str = ""
    failure_message: str = ""
    created_at_s: float = 0.0
    ended_at_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    client_token: str = ""
    request_digest: str = ""


@frozen
class AclEntry:
    """One rule of a network ACL: `protocol` is a number as text, -1 = all; ports for TCP and UDP, type and code for ICMP."""

    number: int
    egress: bool
    protocol: str
    action: Literal["allow", "deny"]
    cidr: str
    from_port: int | None = None
    to_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@frozen
class AclAssociation:
    """A subnet that a network ACL filters: every subnet has exactly one."""

    id: str
    subnet_id: str


@frozen
class NetworkAcl:
    """A stateless filter between subnets: its entries by number, without the implicit deny at the end."""

    id: str
    vpc_id: str
    is_default: bool = False
    entries: tuple[AclEntry, ...] = ()
    associations: tuple[AclAssociation, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    client_token: str = ""
    request_digest: str = ""


@frozen
class PeeringSide:
    """One VPC of a peering connection, as it was asked for: owner and region may be of an account that does not exist here."""

    vpc_id: str
    owner_id: str
    region: str


@frozen
class Peering:
    """A VPC peering connection. Whether a pending one has expired follows from the time."""

    id: str
    requester: PeeringSide
    accepter: PeeringSide
    state: Literal["pending-acceptance", "active", "failed", "rejected", "deleted"]
    created_at_s: float = 0.0
    ended_at_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class DhcpOptions:
    """A DHCP options set: option name → its values, in the order of the request."""

    id: str
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class CidrReservation:
    """A part of a subnet from which no address is chosen: `prefix` keeps it for prefixes, `explicit` for who names addresses."""

    id: str
    subnet_id: str
    cidr: str
    type: Literal["prefix", "explicit"]
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@frozen
class PrefixListEntry:
    """One block of a managed prefix list."""

    cidr: str
    description: str = ""


@frozen
class PrefixList:
    """A managed prefix list: `versions` holds the entries of every version, the current one last; `max_entries` is its room."""

    id: str
    name: str
    max_entries: int
    versions: tuple[tuple[PrefixListEntry, ...], ...] = ((),)
    state: Literal["create-complete", "modify-complete", "restore-complete", "delete-failed"] = "create-complete"
    state_message: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    client_token: str = ""
    request_digest: str = ""

    @property
    def version(self) -> int:
        """The number of the current version, from 1."""
        return len(self.versions)

    @property
    def entries(self) -> tuple[PrefixListEntry, ...]:
        """The entries of the current version."""
        return self.versions[-1]
