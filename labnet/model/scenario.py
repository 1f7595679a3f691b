"""What a scenario file says, as frozen values (pure). Reading, checking and file:line errors live in `lab.scenario_file`.

Keys are the file's in snake case; where the file allows a short form (`vpc:` for one VPC, no containers) the value here
is the long one. Kubernetes and AWS objects stay documents in their own shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from labnet.model.behaviour import Ec2Spec
from labnet.model.cluster import ContainerSpec
from labnet.model.values import sealed
from labnet.model.zones import ZoneLinkSpec


@sealed
class CidrReservationSpec:
    """A subnet CIDR reservation."""

    cidr: str
    reservation_type: Literal["prefix", "explicit"]
    description: str = ""


@sealed
class NetworkInterfaceSpec:
    """An ENI of somebody else: it takes up addresses, the first is its primary one."""

    private_ip_addresses: tuple[str, ...]
    description: str = ""


@sealed
class TaintSpec:
    """A Kubernetes taint."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule"] = "NoSchedule"


@sealed
class SubnetSpec:
    """One subnet of a VPC."""

    name: str
    cidr: str
    availability_zone: str
    map_public_ip_on_launch: bool = False
    cidr_reservations: tuple[CidrReservationSpec, ...] = ()
    network_interfaces: tuple[NetworkInterfaceSpec, ...] = ()
    route_table: str = ""
    network_acl: str = "default"


@sealed
class RouteTableSpec:
    """A route table: (destination, target) pairs, a destination is a block or a prefix list's name; `main` for subnets that name none,
    `propagate` to learn from the VPN gateway.
    """

    name: str
    main: bool = False
    routes: tuple[tuple[str, str], ...] = ()
    propagate: bool = False


@sealed
class NatGatewaySpec:
    """A NAT gateway with an Elastic IP."""

    name: str
    subnet: str


@sealed
class PeeringSpec:
    """A peering connection with the VPC named `peer`."""

    name: str
    peer: str


@sealed
class SecurityGroupSpec:
    """A security group: AWS's IpPermissions shape in `ingress` and `egress` is `{protocol, fromPort, toPort, cidr | group | prefixList}`."""

    name: str
    ingress: tuple[Mapping[str, Any], ...] = ()
    egress: tuple[Mapping[str, Any], ...] = ()


@sealed
class NetworkAclEntrySpec:
    """One entry of a network ACL; ports, or type and code of ICMP, None = all."""

    number: int
    action: Literal["allow", "deny"]
    protocol: str = "-1"
    from_port: int | None = None
    to_port: int | None = None
    cidr: str = "0.0.0.0/0"


@sealed
class NetworkAclSpec:
    """A network ACL beside the default one."""

    name: str
    ingress: tuple[NetworkAclEntrySpec, ...] = ()
    egress: tuple[NetworkAclEntrySpec, ...] = ()


@sealed
class PrefixListSpec:
    """A managed prefix list: (block, description) pairs, and for how many it has room."""

    name: str
    entries: tuple[tuple[str, str], ...]
    max_entries: int


@sealed
class VpcSpec:
    """One VPC; the first of a scenario is the lab's main one."""

    name: str
    cidrs: tuple[str, ...]
    subnets: tuple[SubnetSpec, ...] = ()
    internet_gateway: bool = False
    security_groups: tuple[SecurityGroupSpec, ...] = ()
    route_tables: tuple[RouteTableSpec, ...] = ()
    nat_gateways: tuple[NatGatewaySpec, ...] = ()
    peerings: tuple[PeeringSpec, ...] = ()
    network_acls: tuple[NetworkAclSpec, ...] = ()
    dns_support: bool = True
    dns_hostnames: bool = False
    vpn_gateway: bool = False


@sealed
class SiteSpec:
    """A network outside of AWS: (name, address) of its hosts, the name of its VPC, the MTU of its connection."""

    name: str
    cidrs: tuple[str, ...]
    hosts: tuple[tuple[str, str], ...]
    connection: Literal["vpn", "direct-connect"]
    vpc: str
    mtu_bytes: int


@sealed
class NodeSpec:
    """One node (a `count` is expanded to name-1 … name-N before this)."""

    name: str
    instance_type: str
    subnet: str
    security_groups: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    iptables: Literal["nft", "legacy", "auto"] = "auto"
    sysctls: Mapping[str, str] = field(default_factory=dict)
    public_ip: bool | None = None
    source_dest_check: bool = True
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[TaintSpec, ...] = ()


@sealed
class CniSpec:
    """Which CNI: `kind` vpc or none; dialect of the kernel state; the VPC CNI's own environment variables."""

    kind: Literal["vpc", "none"] = "vpc"
    dialect: Literal["1.6", "1.23"] = "1.23"
    env: Mapping[str, str] = field(default_factory=dict)


@sealed
class PodSpec:
    """One pod; `node` empty = the scheduler chooses."""

    name: str
    namespace: str = "default"
    node: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    containers: tuple[ContainerSpec, ...] = ()


@sealed
class PacketCheck:
    """`{from, to, protocol, port, expect, answer, source, dropAt}`: `source` is the address that the other side must see."""

    source_target: str
    target: str
    protocol: Literal["icmp", "tcp", "udp"] = "icmp"
    port: int | None = None
    expect: Literal["delivered", "dropped"] = "delivered"
    source: str | None = None
    drop_at: str | None = None
    through: str | None = None
    through_source: str | None = None
    answer: Literal["delivered", "dropped"] | None = None


@sealed
class Ec2Check:
    """`{ec2: {node, enis, addresses, prefixes}}`: None = not compared."""

    node: str
    enis: int | None = None
    addresses: int | None = None
    prefixes: int | None = None


@sealed
class KernelCheck:
    """`{kernel: {target, command, contains | equals}}`: what a command prints in the target's namespace."""

    target: str
    command: tuple[str, ...]
    contains: tuple[str, ...] = ()
    equals: str | None = None


@sealed
class PodCheck:
    """`{pod: {name, node, phase, reason, count}}`: the pod `name`, or how many pods (of a node) are as said; None = not compared."""

    name: str | None = None
    node: str | None = None
    phase: str | None = None
    reason: str | None = None
    count: int | None = None


@sealed
class EventCheck:
    """`{event: {object, reason, contains}}`: told at least once; None = any."""

    object: str | None = None
    reason: str | None = None
    contains: str | None = None


Check = PacketCheck | Ec2Check | KernelCheck | PodCheck | EventCheck


@sealed
class Caution:
    """Something to be careful about in a valid scenario: where it stands (line 0 = unknown), what, and the way out."""

    file: str
    line: int
    field: str
    message: str
    hint: str

    @property
    def text(self) -> str:
        """Everything in one line, as compilers print it."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.message} ({self.hint})"


@sealed
class Scenario:
    """A whole scenario, valid."""

    name: str
    description: str = ""
    vpcs: tuple[VpcSpec, ...] = ()
    on_premises: tuple[SiteSpec, ...] = ()
    prefix_lists: tuple[PrefixListSpec, ...] = ()
    nodes: tuple[NodeSpec, ...] = ()
    cni: CniSpec = CniSpec()
    pods: tuple[PodSpec, ...] = ()
    objects: tuple[Mapping[str, Any], ...] = ()
    """Kubernetes objects in their own shape, with the scenario's names where ids will stand."""
    checks: tuple[Check, ...] = ()
    kubelet_exec: Literal["auto", "always"] = "auto"
    time_factor: float = 1.0
    seed: int = 0
    pending_allowed: bool = False
    ec2: Ec2Spec = field(default_factory=Ec2Spec)
    zone_links: tuple[ZoneLinkSpec, ...] = ()
    source: str = ""
    """Where it was read: a path, a built-in name, or `-`."""
    cautions: tuple[Caution, ...] = field(default=(), compare=False)
    """What the advice of AWS and of the deck says against it."""
