"""The words of a scenario file about VPCs (pure)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from labnet.lab.scenario_schema_base import Cidr, Mapping, Name, Protocol


class CidrReservation(Mapping, frozen=True):
    """A part of a subnet from which EC2 chooses prefixes only (`prefix`), or nothing by itself (`explicit`)."""

    cidr: Annotated[str, Meta(description="A block inside the subnet", examples=["10.10.0.64/26"])]
    reservation_type: Annotated[Literal["prefix", "explicit"], Meta(description="AWS's ReservationType", examples=["prefix"])]
    description: str = ""


class NetworkInterface(Mapping, frozen=True):
    """An ENI that no node of the lab has, as a load balancer or a database has one: it takes up these addresses."""

    private_ip_addresses: Annotated[list[str], Meta(description="Addresses of the subnet, its primary one first", examples=["[10.10.0.20]"])]
    description: str = ""


class Subnet(Mapping, frozen=True):
    """A subnet of a VPC: /16 to /28, inside the VPC; nodes are placed in it by its name."""

    name: Annotated[str, Meta(description="Unique in the scenario", examples=["public-a"])]
    cidr: Annotated[str, Meta(description="Its block; AWS keeps the first four addresses and the last", examples=["10.10.0.0/19"])]
    availability_zone: Annotated[str, Meta(description="Its zone", examples=["us-west-2a"])] = "us-west-2a"
    map_public_ip_on_launch: Annotated[bool, Meta(description="Do nodes here get a public address?")] = False
    route_table: Annotated[str | None, Meta(description="Name of one of `routeTables`; absent = the main one")] = None
    cidr_reservations: Annotated[list[CidrReservation], Meta(description="Subnet CIDR reservations")] = field(default_factory=list)
    network_interfaces: Annotated[list[NetworkInterface], Meta(description="ENIs of others, made first")] = field(default_factory=list)
    network_acl: Annotated[str, Meta(description="Name of a network ACL of the VPC; `default` lets everything pass")] = "default"


class Route(Mapping, frozen=True):
    """A route of a table, beside the local ones that every table has."""

    destination: Annotated[str, Meta(
        description="The block that it leads to, the longest prefix wins; or the name of a prefix list", examples=["0.0.0.0/0"],
    )]
    target: Annotated[str, Meta(
        description="internetGateway, vpnGateway, or the name of a NAT gateway, a peering or a node (its first ENI)",
        examples=["internetGateway"],
    )]


class RouteTable(Mapping, frozen=True):
    """A route table: it decides where packets of the subnets that use it go."""

    name: Annotated[str, Meta(description="Unique in its VPC", examples=["private"])]
    main: Annotated[bool, Meta(description="Is it the main one, for subnets that name none?")] = False
    routes: list[Route] = field(default_factory=list)
    propagate: Annotated[bool, Meta(
        description="Does it learn what the VPC's vpnGateway knows the way to (EnableVgwRoutePropagation)?",
    )] = False


class NatGateway(Mapping, frozen=True):
    """A NAT gateway with an Elastic IP of its own; routes name it as their target."""

    name: Annotated[str, Meta(description="Unique in the scenario", examples=["nat-a"])]
    subnet: Annotated[str, Meta(description="A subnet of this VPC whose route table leads to the internet gateway", examples=["public-a"])]


class Peering(Mapping, frozen=True):
    """A peering connection with another VPC of the scenario; both need a route to it."""

    name: Annotated[str, Meta(description="Unique in the scenario; route tables of both VPCs name it", examples=["to-blue"])]
    peer: Annotated[str, Meta(description="Name of the other VPC", examples=["blue"])] = field(name="with")


class SecurityGroupRule(Mapping, frozen=True):
    """One permission: protocol and ports (none = all), and the other side: a block, a security group or a prefix list."""

    protocol: Protocol
    from_port: Annotated[int | None, Meta(description="First port, or ICMP type")] = None
    to_port: Annotated[int | None, Meta(description="Last port, or ICMP code; absent = the first")] = None
    cidr: Cidr | None = None
    group: Annotated[str | None, Meta(description="Name of a security group of the same VPC")] = None
    prefix_list: Annotated[str | None, Meta(description="Name of one of the lab's `prefixLists`")] = None


class SecurityGroup(Mapping, frozen=True):
    """A security group: what it lists is allowed. Without `egress` everything may leave, as on AWS."""

    name: Annotated[str, Meta(description="Unique in its VPC; `default` is always there", examples=["web"])]
    ingress: list[SecurityGroupRule] = field(default_factory=list)
    egress: list[SecurityGroupRule] | None = None


class NetworkAclEntry(Mapping, frozen=True):
    """One entry of a network ACL: what it allows or denies; of those that fit, the one with the lowest number decides."""

    rule_number: Annotated[int, Meta(description="1 to 32766", examples=["100"])]
    rule_action: Annotated[Literal["allow", "deny"], Meta(description="AWS's RuleAction", examples=["allow"])]
    protocol: Protocol = "-1"
    from_port: Annotated[int | None, Meta(description="First port, or ICMP type; absent = all")] = None
    to_port: Annotated[int | None, Meta(description="Last port, or ICMP code; absent = the first port, or all codes")] = None
    cidr: Cidr = "0.0.0.0/0"


class NetworkAcl(Mapping, frozen=True):
    """A stateless filter at the border of subnets: what no entry allows is denied, answers too."""

    name: Annotated[str, Meta(description="Unique in its VPC; `default` is always there", examples=["web"])]
    ingress: Annotated[list[NetworkAclEntry], Meta(description="What may enter the subnet")] = field(default_factory=list)
    egress: Annotated[list[NetworkAclEntry], Meta(description="What may leave the subnet")] = field(default_factory=list)


class PrefixListEntry(Mapping, frozen=True):
    """One block of a prefix list."""

    cidr: Cidr
    description: str = ""


class PrefixList(Mapping, frozen=True):
    """A managed prefix list: blocks under one name, for rules of security groups and for routes, which count as many as it has room for."""

    name: Annotated[str, Meta(description="Unique in the scenario", examples=["offices"])]
    entries: Annotated[list[PrefixListEntry], Meta(description="Its blocks")] = field(default_factory=list)
    max_entries: Annotated[int | None, Meta(description="For how many blocks it has room; absent = for these")] = None


class ZoneLink(Mapping, frozen=True):
    """What packets of a VPC meet between two availability zones, in both directions."""

    between: Annotated[list[str] | None, Meta(
        description="Two zones; absent = between any two that have no entry of their own", examples=["[us-west-2a, us-west-2b]"],
    )] = None
    round_trip_ms: Annotated[float, Meta(
        description="Milliseconds that a round trip takes longer, half of them each way", extra_json_schema={"minimum": 0, "maximum": 1_000},
    )] = 0.0
    loss_percent: Annotated[float, Meta(
        description="So many of a hundred packets are lost, by chance", extra_json_schema={"minimum": 0, "maximum": 100},
    )] = 0.0


class Dns(Mapping, frozen=True):
    """DNS inside the VPC: AWS's two attributes, at AWS's defaults."""

    support: Annotated[bool, Meta(description="enableDnsSupport: does the VPC's resolver answer?")] = True
    hostnames: Annotated[bool, Meta(description="enableDnsHostnames: have public addresses names?")] = False


class Vpc(Mapping, frozen=True):
    """A VPC: one namespace on the machine that routes as AWS does."""

    name: Annotated[str, Meta(description="Needed where there are several", examples=["blue"])] = ""
    cidr: Annotated[str | None, Meta(description="Its block, /16 to /28", examples=["10.10.0.0/16"])] = None
    cidrs: Annotated[list[str] | None, Meta(description="Its blocks, the primary one first; instead of `cidr`")] = None
    subnets: list[Subnet] = field(default_factory=list)
    internet_gateway: Annotated[bool, Meta(description="Is there a way to the internet?")] = False
    vpn_gateway: Annotated[bool, Meta(
        description="Is there a virtual private gateway, for `onPremises`? Without route tables the VPC's own ones learn its routes",
    )] = False
    security_groups: list[SecurityGroup] = field(default_factory=list)
    dns: Annotated[Dns, Meta(description="DNS inside the VPC")] = field(default_factory=Dns)
    route_tables: Annotated[list[RouteTable], Meta(
        description="None = subnets that map public addresses get the default route to the internet gateway",
    )] = field(default_factory=list)
    nat_gateways: list[NatGateway] = field(default_factory=list)
    peerings: Annotated[list[Peering], Meta(description="Named in one of the two VPCs")] = field(default_factory=list)
    network_acls: Annotated[list[NetworkAcl], Meta(description="Network ACLs; subnets name them")] = field(default_factory=list)


class OnPremisesHost(Mapping, frozen=True):
    """A host of a network outside of AWS. It answers ping, HTTP on 80 and 8080 (who asked), UDP echo on 7."""

    name: Annotated[Name, Meta(description="Nodes, pods and hosts share one space of names", examples=["db"])]
    address: Annotated[str, Meta(description="An address of the network", examples=["192.168.10.20"])]


class OnPremises(Mapping, frozen=True):
    """A network outside of AWS behind a VPC's virtual private gateway: one namespace with all its hosts."""

    name: Annotated[Name, Meta(description="What trace and exec call it", examples=["office"])]
    cidr: Annotated[str | None, Meta(description="Its block", examples=["192.168.0.0/16"])] = None
    cidrs: Annotated[list[str] | None, Meta(description="Its blocks, instead of `cidr`")] = None
    hosts: Annotated[list[OnPremisesHost], Meta(description="None = one that has the network's name and the block's first address")] = field(
        default_factory=list
    )
    connection: Annotated[Literal["vpn", "direct-connect"], Meta(
        description="vpn: a Site-to-Site VPN with static routes; direct-connect: a private virtual interface, which announces the blocks",
    )] = "vpn"
    vpc: Annotated[str | None, Meta(description="The VPC that it is connected with; absent = the first", examples=["blue"])] = None
    mtu: Annotated[int | None, Meta(
        description="Of the connection: vpn at most 1446, the default; direct-connect 1500, the default, or 8500",
    )] = None
