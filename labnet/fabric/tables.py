"""The nftables side of the fabric: tables, names of sets, comments of counters (pure).

What is in a table's body is the same in every lab; all that differs (ports, addresses, groups, ranges) are elements of
the named sets, so that a change is one batch of elements and never a program. The bodies were tried with nft 1.0.6.

A packet's way through the VPC's namespace, and what its mark says on it::

    netdev in_PORT → chain `in`    layer 2, ARP                      mark = the port's number, the port's subnet,
                                                                     then its route table (0 = on layer 2),
                                                                     bit 30 = source checked, bit 29 = no network ACL filters,
                                                                     bit 28 = every port of the VPC has its source/dest check on
    ip prerouting -310             source check, gateways; TTL + 1   mark bit 31 = arrived with TTL 255
    routing                        the subnet's table by mark; main: /32 to a port, blackholes
    ip forward -20                 the sender's groups, new flows    mark = subnet it leaves, priority = subnet it enters
    ip forward -10                 network ACLs (table `acl`)
    ip forward 0                   security groups                   mark = sender's groups, priority = receiver's
    ip postrouting -160            TTL 255 put back, destination check
    netdev out_PORT → chain `out`  MAC of the sender's ENI           mark = the port's subnet

What almost every packet does comes first and costs a single look-up at each place: a source that the mapping service knows, a flow
that is known, a destination behind the port. Only what fails there meets the rules that tell why.

Source: docs/sources.md#fabric
"""

from __future__ import annotations

from labnet.model.netstate import IptRule, NftTable

ROUTER_MAC = "0e:00:00:00:00:01"
"""The MAC of the VPC's router: one per fabric, the same on every port."""

IMDS_ADDRESS = "169.254.169.254"
EC2_API_ADDRESS = "169.254.169.200"
RESOLVER_ADDRESS = "169.254.169.253"
"""The VPC's resolver has this address and base+2 of the VPC, while `enableDnsSupport` is on."""
SERVICES = (IMDS_ADDRESS, EC2_API_ADDRESS)
"""Addresses of the fabric itself that every port reaches; no security group filters them."""
LINK_LOCAL = (*SERVICES, RESOLVER_ADDRESS)
"""Those that are on every subnet's link."""

TABLE = "vpc"
GATEWAY_TABLE = "igw"
NAT_TABLE = "natgw"
VGW_TABLE = "vgw"

# sets and maps of table `ip vpc`
ENI_ADDRESS = "eni_address"  # ifname . ipv4_addr: the addresses of the ENI behind a port
NO_CHECK = "nocheck"  # ifname: ports whose source/dest check is off (in table `netdev vpc` too: they may name any sender)
GATEWAYS = "gateways"  # ifname: ports of gateways, NAT gateways and peering connections: no security group filters there
PEERINGS = "peerings"  # ifname: those of peering connections
VPC_CIDRS = "vpc_cidrs"  # ipv4_addr, intervals
SERVICE_ADDRESS = "services"  # ipv4_addr
PORT_ROUTER = "port_router"  # ifname : ipv4_addr: the router of the port's subnet
PORT_SENDER = "port_sender"  # ifname : mark: the groups of a port when it sends
PORT_RECEIVER = "port_receiver"  # ifname : classid: the same when it receives
SG_EGRESS = "sg_egress"  # mark . inet_proto . inet_service . ipv4_addr: sender's groups, destination
SG_INGRESS = "sg_ingress"  # classid . inet_proto . inet_service . ipv4_addr: receiver's groups, source
SG_EGRESS_GROUPS = "sg_egress_groups"  # mark . classid . inet_proto . inet_service: sender's and receiver's groups
SG_INGRESS_GROUPS = "sg_ingress_groups"  # the same four, for the receiver's rules

BORDER_FROM = "border_from"  # ifname : mark: the subnet that a packet from this port leaves
BORDER_TO = "border_to"  # ifname : classid: the subnet that a packet for this port enters

# sets and maps of table `netdev vpc`
PORT_SUBNET = "port_subnet"  # ifname : mark: the subnet of a port
SUBNET_TABLE = "subnet_table"  # mark : mark: the route table of a subnet, with CHECKED_BIT, and UNFILTERED_BIT, ONCE_BIT where they hold
PORT_MAC = "port_mac"  # ifname . ether_addr: with which MAC a port may send
SOURCES = "sources"  # mark . ether_addr . ipv4_addr : mark: what each port (its number) sends as its own, and its subnet
MAPPING = "mapping"  # mark . ipv4_addr : ether_addr: the mapping service of a subnet, its router and services included
MAPPED = "mapped"  # mark . ipv4_addr . ether_addr: the same for ENIs, as pairs

# map of table `ip natgw` (iptables has `nat`) in a NAT gateway's namespace
OWN_ADDRESS = "own_address"  # ifname : ipv4_addr

# set of table `ip vgw`, beside its own `vpc_cidrs`
BEYOND = "beyond"  # ipv4_addr, intervals: what the gateway knows a way to

# maps of table `ip igw`
TO_PRIVATE = "to_private"  # ipv4_addr : ipv4_addr
TO_PUBLIC = "to_public"  # ipv4_addr : ipv4_addr

CHAIN_IN, CHAIN_OUT = "in", "out"

DROP_SOURCE_MAC = "layer 2: source MAC"
DROP_DESTINATION_MAC = "layer 2: destination MAC"
DROP_PROTOCOL = "layer 2: neither IPv4 nor ARP"
DROP_ARP_REPLY = "arp: not a request"
DROP_ARP_SENDER = "arp: sender"
DROP_ARP_UNKNOWN = "arp: no such address in the subnet"
DROP_LINK_LOCAL = "link-local: no such service"
DROP_SOURCE = "source/dest check"
DROP_DESTINATION = "source/dest check: destination"
DROP_SPOOFED = "gateway: source inside the VPC"
DROP_TRANSIT = "gateway: destination outside the VPC"
DROP_PEER_SOURCE = "peering: source outside the VPC"
DROP_ROUTER = "the VPC router answers nothing"
DROP_EGRESS = "security group: egress"
DROP_INGRESS = "security group: ingress"
DROP_IGW_SPOOFED = "internet gateway: source inside the VPC"
DROP_IGW_FOREIGN = "internet gateway: source outside the VPC"
DROP_IGW_UNKNOWN = "internet gateway: no such public address"
DROP_IGW_UNMAPPED = "internet gateway: no public address"
DROP_VGW_SPOOFED = "virtual private gateway: source inside the VPC"
DROP_VGW_TRANSIT = "virtual private gateway: destination outside the VPC"
DROP_VGW_FOREIGN = "virtual private gateway: source outside the VPC"
DROP_VGW_UNKNOWN = "virtual private gateway: no way to the destination"
DROP_NAT_PROTOCOL = "NAT gateway: protocol"
DROP_NAT_INVALID = "NAT gateway: no such flow"
DROP_NAT_INBOUND = "NAT gateway: no inbound"

TTL_255_BIT = 0x80000000
CHECKED_BIT = 0x40000000
"""On the mark of a packet whose source the mapping service knows: the source check is done."""
UNFILTERED_BIT = 0x20000000
"""On the mark of a packet for which its subnets do not matter: no network ACL of its VPC filters anything and nothing is set between
its zones, or it stays inside its subnet."""
ONCE_BIT = 0x10000000
"""On the mark of a packet in a VPC all of whose ports have their source/dest check on: each flow passes the router once, so that one
which is known is known on all of its way."""
MARK_MASK = 0x0FFFFFFF
"""The bits of a mark that number a route table or a subnet (28 bits); above are those that say something of the packet."""
PRIORITY_BORDER, PRIORITY_ACL = -20, -10
"""Where in the hook `forward` the subnets are written on a packet, and where network ACLs read them: before the security groups at 0."""
LEG_TIMEOUT = "1h"
"""How long a leg that no packet refreshes is remembered; then the flow is judged by rule again."""

_NETDEV_BODY = f"""
  map {PORT_SUBNET} {{ type ifname : mark; }}
  map {SUBNET_TABLE} {{ type mark : mark; size 32768; }}
  set {PORT_MAC} {{ type ifname . ether_addr; }}
  map {SOURCES} {{ type mark . ether_addr . ipv4_addr : mark; }}
  map {MAPPING} {{ type mark . ipv4_addr : ether_addr; }}
  set {MAPPED} {{ type mark . ipv4_addr . ether_addr; }}
  set {NO_CHECK} {{ type ifname; }}
  chain asked {{
    meta mark . arp daddr ip != @{MAPPING} counter drop comment "{DROP_ARP_UNKNOWN}"
    ether daddr {{ ff:ff:ff:ff:ff:ff, {ROUTER_MAC} }} accept
    meta mark . arp daddr ip . ether daddr @{MAPPED} meta pkttype set host accept
    counter drop comment "{DROP_DESTINATION_MAC}"
  }}
  chain ask {{
    arp operation != request counter drop comment "{DROP_ARP_REPLY}"
    iifname . arp saddr ether != @{PORT_MAC} counter drop comment "{DROP_ARP_SENDER}"
    iifname @{NO_CHECK} goto asked
    arp saddr ip != 0.0.0.0 meta mark . arp saddr ip . arp saddr ether != @{MAPPED} counter drop comment "{DROP_ARP_SENDER}"
    goto asked
  }}
  chain known {{
    meta pkttype host meta mark set meta mark map @{SUBNET_TABLE} accept
    meta mark . ip daddr . ether daddr @{MAPPED} meta pkttype set host meta mark set {CHECKED_BIT | UNFILTERED_BIT:#x} accept
    counter drop comment "{DROP_DESTINATION_MAC}"
  }}
  chain {CHAIN_IN} {{
    meta protocol ip meta mark set meta mark . ether saddr . ip saddr map @{SOURCES} goto known
    iifname . ether saddr != @{PORT_MAC} counter drop comment "{DROP_SOURCE_MAC}"
    meta mark set iifname map @{PORT_SUBNET}
    meta protocol arp goto ask
    meta protocol != ip counter drop comment "{DROP_PROTOCOL}"
    meta pkttype host meta mark set meta mark map @{SUBNET_TABLE} meta mark set meta mark & {0xFFFFFFFF ^ CHECKED_BIT:#x} accept
    meta mark . ip daddr . ether daddr @{MAPPED} meta pkttype set host meta mark set 0 accept
    ether daddr ff:ff:ff:ff:ff:ff ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    counter drop comment "{DROP_DESTINATION_MAC}"
  }}
  chain {CHAIN_OUT} {{
    meta protocol != ip goto out_arp
    ether saddr set meta mark . ip saddr map @{MAPPING}
  }}
  chain out_arp {{
    meta protocol != arp drop
    arp operation reply ether saddr set meta mark . arp saddr ip map @{MAPPING}
    arp operation reply arp saddr ether set meta mark . arp saddr ip map @{MAPPING}
  }}
"""

_TTL_CHAINS = "\n".join([
    *(f"  chain ttl_{ttl} {{ ip ttl set {ttl}; }}" for ttl in range(2, 256)),
    f"  chain ttl_kept {{ meta mark set meta mark or {TTL_255_BIT:#x}; }}",
    "  chain ttl {",
    "    ip ttl 63 ip ttl set 64 accept",
    f"    ip ttl vmap {{ {', '.join(f'{ttl} : goto ttl_{ttl + 1}' for ttl in range(1, 255))}, 255 : goto ttl_kept }}",
    "  }",
])  # fmt: skip
"""A VPC is no hop: what the kernel takes from the TTL is added before. nft has no arithmetic, hence a chain for each value; those with
which nodes and pods send come first. 255 cannot grow: a bit of the mark remembers it, and chain `postrouting` puts it back."""

_IP_BODY = f"""
  set {ENI_ADDRESS} {{ type ifname . ipv4_addr; }}
  set {NO_CHECK} {{ type ifname; }}
  set {GATEWAYS} {{ type ifname; }}
  set {PEERINGS} {{ type ifname; }}
  set {VPC_CIDRS} {{ type ipv4_addr; flags interval; }}
  set {SERVICE_ADDRESS} {{ type ipv4_addr; }}
  map {PORT_ROUTER} {{ type ifname : ipv4_addr; }}
  map {PORT_SENDER} {{ type ifname : mark; }}
  map {PORT_RECEIVER} {{ type ifname : classid; }}
  set {SG_EGRESS} {{ type mark . inet_proto . inet_service . ipv4_addr; flags interval; }}
  set {SG_INGRESS} {{ type classid . inet_proto . inet_service . ipv4_addr; flags interval; }}
  set {SG_EGRESS_GROUPS} {{ type mark . classid . inet_proto . inet_service; flags interval; }}
  set {SG_INGRESS_GROUPS} {{ type mark . classid . inet_proto . inet_service; flags interval; }}
  map {BORDER_FROM} {{ type ifname : mark; }}
  map {BORDER_TO} {{ type ifname : classid; }}
  set legs {{ typeof iifname . oifname . ct id; flags dynamic,timeout; timeout {LEG_TIMEOUT}; size 65536; }}
  chain prerouting {{ type filter hook prerouting priority -310; policy accept;
    ip daddr 169.254.0.0/16 ip daddr != @{SERVICE_ADDRESS} counter drop comment "{DROP_LINK_LOCAL}"
    meta mark & {CHECKED_BIT:#x} == {CHECKED_BIT:#x} ip ttl 64 ip ttl set 65 accept
    meta mark >= {CHECKED_BIT:#x} goto ttl
    iifname . ip saddr @{ENI_ADDRESS} goto ttl
    iifname "lo" accept
    iifname @{GATEWAYS} goto from_gateway
    iifname @{NO_CHECK} fib saddr type local drop
    iifname @{NO_CHECK} goto ttl
    ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    counter drop comment "{DROP_SOURCE}"
  }}
  chain from_gateway {{
    ip saddr @{VPC_CIDRS} counter drop comment "{DROP_SPOOFED}"
    ip daddr != @{VPC_CIDRS} counter drop comment "{DROP_TRANSIT}"
    fib saddr type local drop
    goto ttl
  }}
{_TTL_CHAINS}
  chain input {{ type filter hook input priority 0; policy drop;
    iifname "lo" accept
    iifname != @{GATEWAYS} ip daddr @{SERVICE_ADDRESS} accept
    udp sport 68 udp dport 67 accept
    counter drop comment "{DROP_ROUTER}"
  }}
  chain output {{ type filter hook output priority -160; policy accept;
    icmp type destination-unreachable icmp code {{ 2, 3 }} accept comment "of a service itself: no such protocol, no such port"
    icmp type {{ destination-unreachable, time-exceeded }} ip saddr set oifname map @{PORT_ROUTER}
  }}
  chain postrouting {{ type filter hook postrouting priority -160; policy accept;
    meta mark & {TTL_255_BIT:#x} == {TTL_255_BIT:#x} ip ttl set 255
    oifname . ip daddr @{ENI_ADDRESS} accept
    oifname "lo" accept
    oifname @{PEERINGS} ip saddr != @{VPC_CIDRS} counter drop comment "{DROP_PEER_SOURCE}"
    oifname @{GATEWAYS} accept
    oifname @{NO_CHECK} accept
    ip daddr 255.255.255.255 udp sport 67 udp dport 68 accept
    counter drop comment "{DROP_DESTINATION}"
  }}
  chain leg {{
    update @legs {{ iifname . oifname . ct id }}
    update @legs {{ oifname . iifname . ct id }}
  }}
  chain allowed {{
    iifname @{NO_CHECK} jump leg
    oifname @{NO_CHECK} jump leg
    accept
  }}
  chain egress {{
    meta l4proto {{ tcp, udp }} meta mark . meta l4proto . th dport . ip daddr @{SG_EGRESS} return
    meta l4proto {{ tcp, udp }} meta mark . meta priority . meta l4proto . th dport @{SG_EGRESS_GROUPS} return
    meta l4proto != {{ tcp, udp }} meta mark . meta l4proto . th sport . ip daddr @{SG_EGRESS} return
    meta l4proto != {{ tcp, udp }} meta mark . meta priority . meta l4proto . th sport @{SG_EGRESS_GROUPS} return
    counter drop comment "{DROP_EGRESS}"
  }}
  chain ingress {{
    meta l4proto {{ tcp, udp }} meta priority . meta l4proto . th dport . ip saddr @{SG_INGRESS} return
    meta l4proto {{ tcp, udp }} meta mark . meta priority . meta l4proto . th dport @{SG_INGRESS_GROUPS} return
    meta l4proto != {{ tcp, udp }} meta priority . meta l4proto . th sport . ip saddr @{SG_INGRESS} return
    meta l4proto != {{ tcp, udp }} meta mark . meta priority . meta l4proto . th sport @{SG_INGRESS_GROUPS} return
    counter drop comment "{DROP_INGRESS}"
  }}
  chain gates {{
    meta mark set 0
    meta priority set 0
    meta mark set iifname map @{PORT_SENDER}
    meta priority set oifname map @{PORT_RECEIVER}
    iifname != @{GATEWAYS} jump egress
    oifname != @{GATEWAYS} jump ingress
    meta priority set 0
  }}
  chain keep_255 {{
    jump gates
    meta mark set {TTL_255_BIT:#x}
    goto allowed
  }}
  chain first_out {{
    meta mark set 0
    meta priority set 0
    meta mark set iifname map @{PORT_SENDER}
    meta priority set oifname map @{PORT_RECEIVER}
    iifname != @{GATEWAYS} jump egress
  }}
  chain sides {{
    ct state new jump first_out
    meta mark set 0
    meta priority set 0
    meta mark set iifname map @{BORDER_FROM}
    meta priority set oifname map @{BORDER_TO}
  }}
  chain border_255 {{
    jump sides
    meta mark set meta mark or {TTL_255_BIT:#x}
  }}
  chain border {{ type filter hook forward priority {PRIORITY_BORDER}; policy accept;
    meta mark & {TTL_255_BIT | CHECKED_BIT | UNFILTERED_BIT:#x} == {CHECKED_BIT | UNFILTERED_BIT:#x} accept
    meta mark >= {TTL_255_BIT:#x} goto border_255
    jump sides
  }}
  chain forward {{ type filter hook forward priority 0; policy drop;
    meta mark & {ONCE_BIT:#x} == {ONCE_BIT:#x} ct state established,related accept
    meta priority set 0
    ct state established,related iifname != @{NO_CHECK} oifname != @{NO_CHECK} accept
    ct state related accept
    ct state established iifname . oifname . ct id @legs goto allowed
    meta mark >= {TTL_255_BIT:#x} goto keep_255
    jump gates
    goto allowed
  }}
"""

_GATEWAY_BODY = f"""
  set {VPC_CIDRS} {{ type ipv4_addr; flags interval; }}
  map {TO_PRIVATE} {{ type ipv4_addr : ipv4_addr; }}
  map {TO_PUBLIC} {{ type ipv4_addr : ipv4_addr; }}
  chain spoofed {{ type filter hook prerouting priority -310; policy accept;
    iifname "wan" ip saddr @{VPC_CIDRS} counter drop comment "{DROP_IGW_SPOOFED}"
    iifname "vpc" ip saddr != @{VPC_CIDRS} counter drop comment "{DROP_IGW_FOREIGN}"
  }}
  chain translate_in {{ type nat hook prerouting priority -100; policy accept;
    dnat to ip daddr map @{TO_PRIVATE}
  }}
  chain translate_out {{ type nat hook postrouting priority 100; policy accept;
    snat to ip saddr map @{TO_PUBLIC}
  }}
  chain forward {{ type filter hook forward priority 0; policy accept;
    iifname "wan" ip daddr != @{VPC_CIDRS} counter drop comment "{DROP_IGW_UNKNOWN}"
  }}
  chain unmapped {{ type filter hook postrouting priority 300; policy accept;
    ip saddr @{VPC_CIDRS} counter drop comment "{DROP_IGW_UNMAPPED}"
  }}
  chain input {{ type filter hook input priority 0; policy drop; }}
"""

_NAT_BODY = f"""
  map {OWN_ADDRESS} {{ type ifname : ipv4_addr; }}
  chain forward {{ type filter hook forward priority 0; policy accept;
    meta l4proto != {{ icmp, tcp, udp }} counter drop comment "{DROP_NAT_PROTOCOL}"
    ct state invalid meta l4proto tcp counter reject with tcp reset comment "{DROP_NAT_INVALID}"
    ct state invalid counter drop comment "{DROP_NAT_INVALID}"
  }}
  chain translate {{ type nat hook postrouting priority 100; policy accept;
    snat to oifname map @{OWN_ADDRESS}
  }}
  chain input {{ type filter hook input priority 0; policy drop;
    counter drop comment "{DROP_NAT_INBOUND}"
  }}
"""

_VGW_BODY = f"""
  set {VPC_CIDRS} {{ type ipv4_addr; flags interval; }}
  set {BEYOND} {{ type ipv4_addr; flags interval; }}
  chain cross {{ type filter hook prerouting priority -310; policy accept;
    iifname "vpc" goto from_vpc
    ip saddr @{VPC_CIDRS} counter drop comment "{DROP_VGW_SPOOFED}"
    ip daddr != @{VPC_CIDRS} counter drop comment "{DROP_VGW_TRANSIT}"
  }}
  chain from_vpc {{
    ip saddr != @{VPC_CIDRS} counter drop comment "{DROP_VGW_FOREIGN}"
    ip daddr != @{BEYOND} counter drop comment "{DROP_VGW_UNKNOWN}"
  }}
  chain input {{ type filter hook input priority 0; policy drop; }}
"""

TABLES = (NftTable("netdev", TABLE, _NETDEV_BODY), NftTable("ip", TABLE, _IP_BODY))
"""The tables of a VPC's namespace."""

GATEWAY_TABLES = (NftTable("ip", GATEWAY_TABLE, _GATEWAY_BODY),)
"""The table of an internet gateway's namespace. An unmapped packet is dropped before it is confirmed, so no flow stays untranslated."""

NAT_TABLES = (NftTable("ip", NAT_TABLE, _NAT_BODY),)
"""The table of a NAT gateway's namespace: port translation, nothing from outside, a reset for TCP flows that it does not know."""

VGW_TABLES = (NftTable("ip", VGW_TABLE, _VGW_BODY),)
"""The table of a virtual private gateway's namespace: between its VPC and the networks behind it, and nothing else; it tracks no flow."""

TTL_RULES = (
    IptRule("mangle", "PREROUTING", "-m ttl --ttl-eq 255 -j MARK --set-xmark 0x80000000/0x80000000"),
    IptRule("mangle", "PREROUTING", "-m ttl --ttl-lt 255 -j TTL --ttl-inc 1"),
    IptRule("mangle", "POSTROUTING", "-m mark --mark 0x80000000/0x80000000 -j TTL --ttl-set 255"),
)
"""An internet gateway is no hop either: the TTL leaves as it came."""
