"""AWS objects as frozen values: what EC2 knows of a lab (pure).

A `CloudState` is one account in one region. Rules (`ec2.rules`) make a new state from an old one and a request; objects
that did not change are the same Python objects, so that a reader finds what changed by identity. Field names are AWS's
in snake case. Mappings are never changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from labnet.model.cloud_vpc import CidrReservation, DhcpOptions, ElasticAddress, NatGateway, NetworkAcl, Peering, PrefixList, RouteTable
from labnet.model.cloud_vpn import CustomerGateway, Site, VirtualInterface, VpnConnection, VpnGateway
from labnet.model.values import frozen
from labnet.model.zones import ZoneFailure, ZoneLink

Tags = Mapping[str, str]
DEFAULT_REGION = "us-west-2"
NO_DHCP_OPTIONS = "default"
"""In place of a DHCP options set's id: none is associated, in the API's own word."""


@frozen
class InstanceType:
    """Limits of one instance type: `enis` of the default network card, `ipv4_per_eni` with the primary address."""

    name: str
    enis: int
    ipv4_per_eni: int
    max_pods: int
    default_network_card: int
    network_cards: tuple[tuple[int, int], ...]
    hypervisor: str
    bare_metal: bool
    trunking: bool | None = None
    branch_enis: int | None = None

    @property
    def pod_addresses(self) -> int:
        """Addresses that pods of a node can have: ENIs × (IPv4 per ENI − 1)."""
        return self.enis * (self.ipv4_per_eni - 1)


@frozen
class Vpc:
    """A VPC: its first CIDR is the primary one; `cidr_ids` has the id of each CIDR's association."""

    id: str
    cidrs: tuple[str, ...]
    tags: Tags = field(default_factory=dict)
    cidr_ids: Tags = field(default_factory=dict)
    dns_support: bool = True
    dns_hostnames: bool = False
    dhcp_options_id: str = NO_DHCP_OPTIONS

    @property
    def name(self) -> str:
        """The tag Name, or the id."""
        return self.tags.get("Name", self.id)


@frozen
class Subnet:
    """A subnet of one VPC in one availability zone."""

    id: str
    vpc_id: str
    cidr: str
    availability_zone: str
    map_public_ip_on_launch: bool = False
    tags: Tags = field(default_factory=dict)


@frozen
class InternetGateway:
    """An internet gateway, attached to at most one VPC."""

    id: str
    vpc_id: str | None = None
    tags: Tags = field(default_factory=dict)


@frozen
class SecurityGroupRule:
    """One permission: `protocol` -1, tcp, udp, icmp or a number; ports None = all; the other side a CIDR, a group id or a prefix list's id.

    Packets feel `permission` alone; `id`, `description` and `tags` are what people and the API call it by.
    """

    protocol: str
    from_port: int | None = None
    to_port: int | None = None
    cidr: str | None = None
    group_id: str | None = None
    id: str = ""
    description: str = ""
    tags: Tags = field(default_factory=dict, hash=False)
    prefix_list_id: str | None = None

    @property
    def permission(self) -> tuple[str, int | None, int | None, str | None]:
        """What it allows: a group has no two rules with the same one. No block looks like an id."""
        return self.protocol, self.from_port, self.to_port, self.cidr or self.group_id or self.prefix_list_id


@frozen
class SecurityGroup:
    """A stateful filter: what it lists is allowed, everything else is not."""

    id: str
    name: str
    vpc_id: str
    description: str = ""
    ingress: tuple[SecurityGroupRule, ...] = ()
    egress: tuple[SecurityGroupRule, ...] = ()
    tags: Tags = field(default_factory=dict)


@frozen
class PrivateAddress:
    """A private address of an ENI, and the public one that the internet gateway gives it, if any."""

    address: str
    primary: bool = False
    public: str | None = None


@frozen
class Attachment:
    """Where an ENI is plugged in."""

    id: str
    instance_id: str
    device_index: int
    network_card_index: int = 0
    delete_on_termination: bool = False
    attached_at_s: float = 0.0
    status: Literal["attaching", "attached", "detaching"] = "attached"


@frozen
class ConnectionTracking:
    """After how many seconds without a packet a tracked flow is forgotten, as set for one ENI; None = as AWS has it by itself."""

    tcp_established_timeout_s: int | None = None
    udp_stream_timeout_s: int | None = None
    udp_timeout_s: int | None = None


@frozen
class Eni:
    """A network interface: its primary address comes first in `addresses`; `prefixes` are /28 blocks."""

    id: str
    vpc_id: str
    subnet_id: str
    availability_zone: str
    mac: str
    addresses: tuple[PrivateAddress, ...]
    prefixes: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    source_dest_check: bool = True
    attachment: Attachment | None = None
    description: str = ""
    interface_type: str = "interface"
    requester_managed: bool = False
    tags: Tags = field(default_factory=dict)
    created_at_s: float = 0.0
    client_token: str = ""
    request_digest: str = ""
    connection_tracking: ConnectionTracking | None = None

    @property
    def primary(self) -> str:
        """The primary private address."""
        return self.addresses[0].address

    @property
    def slots_used(self) -> int:
        """What counts against the instance type's IPv4 addresses per ENI: each address and each prefix is one."""
        return len(self.addresses) + len(self.prefixes)


@frozen
class MetadataOptions:
    """How an instance's metadata service answers: `hop_limit` is the TTL of the answer to a token PUT."""

    http_tokens: Literal["optional", "required"] = "optional"
    hop_limit: int = 1
    http_endpoint: Literal["enabled", "disabled"] = "enabled"
    instance_tags: Literal["enabled", "disabled"] = "disabled"


@frozen
class Instance:
    """An EC2 instance.

    `node_name` is fixed at launch: the tag Name where it is a free name, else the id. Tags may change, a node's name does not.
    """

    id: str
    instance_type: str
    image_id: str
    vpc_id: str
    subnet_id: str
    availability_zone: str
    state: Literal["pending", "running", "shutting-down", "terminated"] = "running"
    tags: Tags = field(default_factory=dict)
    launched_at_s: float = 0.0
    metadata: MetadataOptions = MetadataOptions()
    client_token: str = ""
    request_digest: str = ""
    node_name: str = ""
    launch_index: int = 0
    reservation_id: str = ""
    terminated_at_s: float | None = None

    @property
    def name(self) -> str:
        """The name of its node."""
        return self.node_name or self.id


@frozen
class CloudState:
    """One account in one region: every object by its id, and what deterministic ids follow from.

    `counters` counts made objects by kind, `taken` holds the used addresses of each subnet as integers (prefixes
    expanded), `public_taken` the public addresses in use. All are part of the state so that rules stay pure.
    """

    lab: str
    seed: int = 0
    region: str = DEFAULT_REGION
    account_id: str = "111122223333"
    vpcs: Mapping[str, Vpc] = field(default_factory=dict)
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    internet_gateways: Mapping[str, InternetGateway] = field(default_factory=dict)
    security_groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    enis: Mapping[str, Eni] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    route_tables: Mapping[str, RouteTable] = field(default_factory=dict)
    addresses: Mapping[str, ElasticAddress] = field(default_factory=dict)
    nat_gateways: Mapping[str, NatGateway] = field(default_factory=dict)
    network_acls: Mapping[str, NetworkAcl] = field(default_factory=dict)
    peerings: Mapping[str, Peering] = field(default_factory=dict)
    cidr_reservations: Mapping[str, CidrReservation] = field(default_factory=dict)
    prefix_lists: Mapping[str, PrefixList] = field(default_factory=dict)
    dhcp_options: Mapping[str, DhcpOptions] = field(default_factory=dict)
    vpn_gateways: Mapping[str, VpnGateway] = field(default_factory=dict)
    customer_gateways: Mapping[str, CustomerGateway] = field(default_factory=dict)
    vpn_connections: Mapping[str, VpnConnection] = field(default_factory=dict)
    virtual_interfaces: Mapping[str, VirtualInterface] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    """Networks outside of AWS by name, as the lab's scenario has them: no request changes them, and no store keeps them."""
    zone_links: Mapping[str, ZoneLink] = field(default_factory=dict)
    zone_failures: Mapping[str, ZoneFailure] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    taken: Mapping[str, frozenset[int]] = field(default_factory=dict)
    public_taken: frozenset[str] = frozenset()
    _attached: dict[str, tuple[Eni, ...]] = field(default_factory=dict, init=False, repr=False, compare=False, hash=False)
    """What `enis_of` answers, worked out when it is first asked: one walk over all ENIs for each state instead of one a question."""

    def enis_of(self, instance_id: str) -> tuple[Eni, ...]:
        """The ENIs attached to an instance, by network card and device index."""
        if not self._attached:
            found: dict[str, list[Eni]] = {}
            for eni in self.enis.values():
                if eni.attachment is not None:
                    found.setdefault(eni.attachment.instance_id, []).append(eni)
            self._attached.update((key, tuple(sorted(enis, key=_slot))) for key, enis in found.items())
        return self._attached.get(instance_id, ())

    def elastic(self, public_ip: str | None) -> ElasticAddress | None:
        """The Elastic IP with that address: None for an address that came with a launch. There are only few."""
        return next((one for one in self.addresses.values() if one.public_ip == public_ip), None) if self.addresses else None


SHELVES: Mapping[str, type] = {
    "vpcs": Vpc, "subnets": Subnet, "internet_gateways": InternetGateway, "security_groups": SecurityGroup, "enis": Eni,
    "instances": Instance, "route_tables": RouteTable, "addresses": ElasticAddress, "nat_gateways": NatGateway,
    "network_acls": NetworkAcl, "peerings": Peering, "cidr_reservations": CidrReservation,
    "prefix_lists": PrefixList,
    "dhcp_options": DhcpOptions,
    "vpn_gateways": VpnGateway, "customer_gateways": CustomerGateway, "vpn_connections": VpnConnection,
    "virtual_interfaces": VirtualInterface,
    "zone_links": ZoneLink,
    "zone_failures": ZoneFailure,
}
"""Every field of `CloudState` that holds objects by id, and what they are."""


def _slot(eni: Eni) -> tuple[int, int]:
    assert eni.attachment is not None
    return eni.attachment.network_card_index, eni.attachment.device_index
