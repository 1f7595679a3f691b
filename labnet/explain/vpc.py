"""A flow through the VPCs, component by component, from an ENI or the Internet to an ENI, the Internet or where it stops (pure).

The order is AWS's: source check, groups of the sender, ACL out, route, gateways, ACL in, groups of the receiver, destination check.
Inside a subnet neither ACL nor route table is asked. Source: docs/sources.md#explanation-codes
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import NoReturn

from labnet.explain import codes, facts
from labnet.explain.filters import acl_of, group_that_allows, judge_acl, rule_that_allows, rules_of
from labnet.explain.verdict import TRANSLATED, Component, Flow, Way
from labnet.fabric.gateway import INTERNET_ADDRESSES, MTU_BYTES
from labnet.fabric.places import gateway_of, is_plugged
from labnet.model.addressing import contains
from labnet.model.cloud import CloudState, Eni, Subnet
from labnet.model.cloud_vpc import LOCAL, NatGateway
from labnet.model.values import frozen
from labnet.model.zones import link_between

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
SHARED = "100.64.0.0/10"
GATEWAY_PORT = "gateway"
MAX_TURNS = 16
"""So often the router takes a flow before its routes are taken for a loop."""


class Stopped(Exception):
    """The flow goes no further; the component that stops it is noted."""


@frozen
class Arrival:
    """Where a flow comes out of the VPCs: at an ENI, in the Internet (`eni` None), in a network outside, or a service (`served`: to whom)."""

    flow: Flow
    eni: Eni | None = None
    served: Eni | None = None
    site: str = ""


@frozen
class Known:
    """What groups and NAT gateways remember of the way there."""

    legs: set[tuple[str, str]] = field(default_factory=set)
    translated: list[tuple[str, Flow, Flow]] = field(default_factory=list)
    """NAT gateway, the flow as it came, and as it left."""


@frozen
class Sender:
    """Who puts a flow on a subnet's way: a gateway has no ENI of which groups speak."""

    port: str
    subnet: Subnet
    eni: Eni | None = None


class Walk:
    """One direction. `components` grows; a stop raises Stopped with its component noted."""

    def __init__(self, cloud: CloudState, way: Way, known: Known, components: list[Component]) -> None:
        self.cloud, self.way, self.known, self.components = cloud, way, known, components
        self.turns = 0

    # ---- from an ENI ----

    def leave(self, eni: Eni, flow: Flow) -> Arrival:
        """An instance sends by its ENI. Errors: Stopped."""
        subnet = self.cloud.subnets[eni.subnet_id]
        self.zone(eni.availability_zone, "leaves", flow)
        if eni.source_dest_check and not facts.owns(eni, flow.src):
            text = f"{flow.src} is no address of it, and its source/destination check is on"
            self.stop("eni", eni.id, text, codes.ENI_SOURCE_DEST_CHECK_RESTRICTION, flow)
        self.passes("eni", eni.id, "sends one of its own addresses" if facts.owns(eni, flow.src) else "its check is off", flow)
        if facts.is_service(self.cloud, eni.vpc_id, flow.dst):
            self.passes("vpc", eni.vpc_id, f"{flow.dst} is a service of the VPC, which no group filters", flow)
            return Arrival(flow, served=eni)
        if facts.is_resolver(self.cloud, eni.vpc_id, flow.dst):
            text = f"{flow.dst} is the address of its resolver, and DNS resolution is off (enableDnsSupport)"
            self.stop("vpc", eni.vpc_id, text, codes.NO_POSSIBLE_DESTINATION, flow)
        self.group_out(eni, flow)
        return self.from_subnet(Sender(eni.id, subnet, eni), flow)

    def from_subnet(self, sender: Sender, flow: Flow) -> Arrival:
        """The VPC's router takes the flow in the sender's subnet."""
        subnet = sender.subnet
        self.turns += 1
        if self.turns > MAX_TURNS:
            self.stop("vpc", subnet.vpc_id, "still on its way: the routes make a loop", codes.NO_POSSIBLE_DESTINATION, flow)
        near = facts.owner(self.cloud, subnet.vpc_id, flow.dst)
        if near is not None and near.subnet_id == subnet.id:
            return self.into(near, sender, flow)
        self.acl(subnet, True, flow)
        choice = facts.choose(self.cloud, subnet, flow.dst)
        table = choice.table.id if choice.table else "main"
        if choice.route is None:
            self.stop("route-table", table, f"has no route to {flow.dst}", codes.NO_ROUTE_TO_DESTINATION, flow)
        target, text = choice.route.target, f"{choice.destination} → {choice.route.target}"
        if not choice.active:
            words = f"{text} is a blackhole: its target is not there"
            self.stop("route-table", table, words, codes.BAD_STATE_ROUTE, flow, choice.route.destination)
        self.passes("route-table", table, text, flow, choice.route.destination, target)
        if target == LOCAL:
            return self.into(self.owner(subnet.vpc_id, flow), sender, flow)
        if target.startswith("igw-"):
            return self.out_of_igw(subnet.vpc_id, flow)
        if target.startswith("vgw-"):
            return self.out_of_vgw(subnet.vpc_id, target, flow)
        if target.startswith("nat-"):
            return self.into_nat(self.cloud.nat_gateways[target], sender, flow)
        if target.startswith("pcx-"):
            return self.over_peering(target, sender, flow)
        return self.into(self.cloud.enis[target], sender, flow)

    def owner(self, vpc_id: str, flow: Flow) -> Eni:
        """The ENI that has the destination. Errors: Stopped."""
        eni = facts.owner(self.cloud, vpc_id, flow.dst)
        if eni is None:
            self.stop("vpc", vpc_id, f"nothing in it has the address {flow.dst}", codes.NO_POSSIBLE_DESTINATION, flow)
        return eni

    # ---- to an ENI ----

    def into(self, eni: Eni, sender: Sender | None, flow: Flow) -> Arrival:
        """The flow comes to an ENI, from a subnet or (`sender` None) from a gateway at the VPC's edge."""
        self.between(sender, self.cloud.subnets[eni.subnet_id], flow)
        if sender is None or sender.subnet.id != eni.subnet_id:
            self.acl(self.cloud.subnets[eni.subnet_id], False, flow)
        nat = facts.nat_of(self.cloud, eni)
        if nat is not None:
            self.zone(eni.availability_zone, "enters", flow)
            return self.back_through_nat(nat, flow)
        if not is_plugged(self.cloud, eni):
            self.stop("eni", eni.id, "is on no running instance", codes.BAD_STATE_ATTACHMENT, flow)
        self.group_in(eni, sender, flow)
        self.zone(eni.availability_zone, "enters", flow)
        if eni.source_dest_check and not facts.owns(eni, flow.dst):
            text = f"{flow.dst} is no address of it, and its source/destination check is on"
            self.stop("eni", eni.id, text, codes.ENI_SOURCE_DEST_CHECK_RESTRICTION, flow)
        self.passes("eni", eni.id, "receives what is for one of its addresses" if facts.owns(eni, flow.dst) else "its check is off", flow)
        return Arrival(flow, eni)

    # ---- filters ----

    def group_out(self, eni: Eni, flow: Flow) -> None:
        """The groups of the sender."""
        receiver = self.receiver(eni, flow)
        port = receiver.id if receiver is not None else GATEWAY_PORT
        if self.is_known(eni, receiver, eni.id, port):
            return self.passes("security-group", ",".join(eni.security_groups), "answers of a flow that was let pass leave", flow)
        groups = receiver.security_groups if receiver is not None else ()
        return self.judge_groups(eni, True, flow, groups, (eni.id, port))

    def group_in(self, eni: Eni, sender: Sender | None, flow: Flow) -> None:
        """The groups of the receiver."""
        peer = sender.eni if sender is not None else None
        port = sender.port if sender is not None and sender.eni is not None else GATEWAY_PORT
        if self.is_known(eni, peer, port, eni.id):
            return self.passes("security-group", ",".join(eni.security_groups), "answers of a flow that was let pass come in", flow)
        groups = peer.security_groups if peer is not None else ()
        return self.judge_groups(eni, False, flow, groups, (port, eni.id))

    def is_known(self, one: Eni, other: Eni | None, sending: str, receiving: str) -> bool:
        """Groups are stateful. A flow that touches an ENI without source/destination check is remembered for each leg of its way."""
        if self.way == "there":
            return False
        checked = one.source_dest_check and (other is None or other.source_dest_check)
        return checked or (receiving, sending) in self.known.legs

    def judge_groups(self, eni: Eni, egress: bool, flow: Flow, peer_groups: tuple[str, ...], leg: tuple[str, str]) -> None:
        """Does any rule allow the flow? Errors: Stopped."""
        allowing = group_that_allows(self.cloud, eni, egress, flow, peer_groups)
        word = "outbound" if egress else "inbound"
        if not allowing:
            has_any = any(rules_of(self.cloud, group_id, egress) for group_id in eni.security_groups)
            text = f"no {word} rule of {eni.id}'s groups allows {service(flow)} {'to ' + flow.dst if egress else 'from ' + flow.src}"
            code = codes.ENI_SG_RULES_MISMATCH if has_any else codes.SG_HAS_NO_RULES
            self.stop("security-group", ",".join(eni.security_groups), text if has_any else f"has no {word} rules", code, flow)
        self.known.legs.add(leg)
        rule = rule_that_allows(self.cloud, allowing, egress, flow, peer_groups)
        self.passes("security-group", allowing, f"an {word} rule allows {service(flow)}", flow, rule)

    def receiver(self, eni: Eni, flow: Flow) -> Eni | None:
        """The ENI to which the VPC will give what an ENI sends: rules that name a group speak of its groups."""
        subnet = self.cloud.subnets[eni.subnet_id]
        near = facts.owner(self.cloud, eni.vpc_id, flow.dst)
        if near is not None and near.subnet_id == subnet.id:
            return near
        choice = facts.choose(self.cloud, subnet, flow.dst)
        if choice.route is None or not choice.active:
            return None
        if choice.route.target == LOCAL:
            return near
        if choice.route.target.startswith("pcx-"):
            return facts.owner(self.cloud, self.other_vpc(choice.route.target, eni.vpc_id), flow.dst)
        return self.cloud.enis.get(choice.route.target)

    def acl(self, subnet: Subnet, egress: bool, flow: Flow) -> None:
        """The network ACL of a subnet, where it has one. Errors: Stopped."""
        acl = acl_of(self.cloud, subnet.id)
        if acl is None:
            return
        verdict, word = judge_acl(acl, egress, flow), "outbound" if egress else "inbound"
        if not verdict.allows:
            text = f"{word} {verdict.reason} ({service(flow)}, subnet {subnet.id})"
            self.stop("network-acl", acl.id, text, codes.SUBNET_ACL_RESTRICTION, flow, verdict.reason.split()[1])
        self.passes("network-acl", acl.id, f"{word} {verdict.reason}", flow, verdict.reason.split()[1])

    # ---- zones ----

    def zone(self, zone: str, verb: str, flow: Flow) -> None:
        """A zone that has failed. AWS has no code for it. Errors: Stopped."""
        if zone in self.cloud.zone_failures:
            self.stop("zone", zone, f"has failed: no packet {verb} its network interfaces", "", flow)

    def between(self, sender: Sender | None, there: Subnet, flow: Flow) -> None:
        """What is set between the zones of two subnets of one VPC. Errors: Stopped, where all is lost."""
        if sender is None or sender.subnet.vpc_id != there.vpc_id:
            return
        link = link_between(self.cloud.zone_links, sender.subnet.availability_zone, there.availability_zone)
        if link is None:
            return
        name = f"{sender.subnet.availability_zone} → {there.availability_zone}"
        if link.loss_percent >= 100:
            self.stop("zone", name, "every packet between these zones is lost on purpose", "", flow)
        words = [f"{link.loss_percent:g} % of packets are lost on purpose"] if link.loss_percent else []
        words += [f"{link.round_trip_ms / 2:g} ms are added on purpose"] if link.round_trip_ms else []
        self.passes("zone", name, ", ".join(words) or "nothing is set", flow)

    # ---- gateways ----

    def out_of_igw(self, vpc_id: str, flow: Flow) -> Arrival:
        """An internet gateway: one private address is one public one, what has none ends."""
        gateway = gateway_of(self.cloud, vpc_id)
        name = gateway.id if gateway else "internet gateway"
        self.fits(name, flow)
        public = facts.public_of(self.cloud, vpc_id, flow.src)
        if public is None:
            text = f"{flow.src} has no public address"
            self.stop("internet-gateway", name, text, codes.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS, flow)
        if any(contains(block, flow.dst) for block in PRIVATE):
            code = codes.IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS
            self.stop("internet-gateway", name, f"{flow.dst} is a private address", code, flow)
        if contains(SHARED, flow.dst):
            code = codes.IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS
            self.stop("internet-gateway", name, f"{flow.dst} is a shared address", code, flow)
        out = replace(flow, src=public)
        self.passes("internet-gateway", name, f"{flow.src} becomes {public}", out, target=f"{flow.src} → {public}")
        return self.internet(out)

    def fits(self, name: str, flow: Flow) -> None:
        """An internet gateway carries 1500 bytes. Source: docs/sources.md#mtu"""
        if flow.length > MTU_BYTES:
            self.stop("internet-gateway", name, f"{flow.length} bytes do not fit through it (MTU {MTU_BYTES}), and may not be cut", "", flow)

    def internet(self, flow: Flow) -> Arrival:
        """The Internet takes a flow to whoever has its destination. Errors: Stopped."""
        if flow.dst in INTERNET_ADDRESSES:
            self.passes("internet", flow.dst, "answers in this lab's Internet", flow)
            return Arrival(flow)
        found = facts.private_of(self.cloud, flow.dst)
        vpcs = [found[0].vpc_id] if found else []
        gateway = gateway_of(self.cloud, vpcs[0]) if vpcs else None
        if found is None or gateway is None:
            of_a_vpc = any(facts.inside(self.cloud, vpc_id, flow.dst) for vpc_id in self.cloud.vpcs)
            text = f"{flow.dst} is no public address" if of_a_vpc else f"nothing has the address {flow.dst} there"
            code = codes.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS if found or of_a_vpc else codes.NO_POSSIBLE_DESTINATION
            self.stop("internet", flow.dst, text, code, flow)
        eni, private = found
        if facts.inside(self.cloud, eni.vpc_id, flow.src):
            text = f"{flow.src} is an address of the VPC behind it"
            self.stop("internet-gateway", gateway.id, text, codes.GATEWAY_REJECTS_SPOOFED_TRAFFIC, flow)
        self.fits(gateway.id, flow)
        inward = replace(flow, dst=private)
        self.passes("internet-gateway", gateway.id, f"{flow.dst} becomes {private}", inward, target=f"{flow.dst} → {private}")
        return self.into(eni, None, inward)

    def out_of_vgw(self, vpc_id: str, gateway_id: str, flow: Flow) -> Arrival:
        """A virtual private gateway: from an address of its VPC to one behind a connection that has somebody at its other end."""
        if not facts.inside(self.cloud, vpc_id, flow.src):
            text = f"{flow.src} is outside its VPC: it connects the VPC and nothing behind it"
            self.stop("vpn-gateway", gateway_id, text, "", flow)
        found = facts.way_out(self.cloud, gateway_id, flow.dst)
        if found is None or facts.inside(self.cloud, vpc_id, flow.dst):
            self.stop("vpn-gateway", gateway_id, f"knows no way to {flow.dst}", codes.NO_ROUTE_TO_DESTINATION, flow)
        destination, way = found
        if way.site is None:
            self.stop("vpn-gateway", gateway_id, f"nobody is at the other end of {way.id}", codes.BAD_STATE_VPN, flow)
        self.passes("vpn-gateway", gateway_id, f"{destination} → {way.id}", flow)
        if all(host.address != flow.dst for host in way.site.hosts):
            self.stop("network", way.site.name, f"nothing has the address {flow.dst} there", codes.NO_POSSIBLE_DESTINATION, flow)
        self.passes("network", way.site.name, f"{flow.dst} is a host of it", flow)
        return Arrival(flow, site=way.site.name)

    def from_site(self, site: str, flow: Flow) -> Arrival:
        """A network outside sends to what it knows by its connections: blocks of VPCs."""
        found = facts.way_in(self.cloud, site, flow.dst)
        if found is None:
            self.stop("network", site, f"knows no way to {flow.dst}", codes.NO_ROUTE_TO_DESTINATION, flow)
        way, gateway_id, vpc_id = found
        self.passes("network", site, f"sends it by {way.id}", flow)
        if facts.inside(self.cloud, vpc_id, flow.src):
            text = f"{flow.src} is an address of the VPC behind it"
            self.stop("vpn-gateway", gateway_id, text, codes.GATEWAY_REJECTS_SPOOFED_TRAFFIC, flow)
        self.passes("vpn-gateway", gateway_id, f"leads into {vpc_id}", flow)
        return self.into(self.owner(vpc_id, flow), None, flow)

    def into_nat(self, nat: NatGateway, sender: Sender, flow: Flow) -> Arrival:
        """A NAT gateway takes a flow of its VPC and sends it on as its own."""
        subnet = self.cloud.subnets[nat.subnet_id]
        self.between(sender, subnet, flow)
        if sender.subnet.id != subnet.id:
            self.acl(subnet, False, flow)
        self.zone(subnet.availability_zone, "enters", flow)
        if not facts.inside(self.cloud, nat.vpc_id, flow.src):
            self.stop("nat-gateway", nat.id, f"{flow.src} is outside its VPC", codes.NGW_REQUIRES_SOURCE_IN_VPC, flow)
        ports = TRANSLATED if flow.protocol in ("tcp", "udp") else flow.src_ports
        out = replace(flow, src=nat.private_address, src_ports=ports)
        self.known.translated.append((nat.id, flow, out))
        self.passes("nat-gateway", nat.id, f"{flow.src} becomes {nat.private_address}", out, target=f"{flow.src} → {nat.private_address}")
        return self.from_subnet(Sender(GATEWAY_PORT, subnet), out)

    def back_through_nat(self, nat: NatGateway, flow: Flow) -> Arrival:
        """What comes to a NAT gateway's own address: answers go back to who asked, all else ends."""
        for name, came, left in reversed(self.known.translated):
            if self.way == "back" and name == nat.id and (left.src, left.dst) == (flow.dst, flow.src):
                out = replace(flow, dst=came.src, dst_ports=came.src_ports)
                self.passes("nat-gateway", nat.id, f"{flow.dst} becomes {came.src} again", out)
                return self.from_subnet(Sender(GATEWAY_PORT, self.cloud.subnets[nat.subnet_id]), out)
        return self.stop("nat-gateway", nat.id, "takes only answers to flows that began behind it", codes.NO_POSSIBLE_DESTINATION, flow)

    def over_peering(self, peering_id: str, sender: Sender, flow: Flow) -> Arrival:
        """A peering connection: from an address of the one VPC to one of the other."""
        here = sender.subnet.vpc_id
        there = self.other_vpc(peering_id, here)
        for vpc_id, address in ((there, flow.dst), (here, flow.src)):
            if vpc_id not in self.cloud.vpcs or not facts.inside(self.cloud, vpc_id, address):
                text = f"{address} is outside of {vpc_id}: peering connects the two VPCs and nothing behind them"
                self.stop("peering", peering_id, text, codes.PCX_REQUIRES_ADDRESS_IN_VPC_CIDR, flow)
        self.passes("peering", peering_id, f"leads to {there}", flow)
        return self.into(self.owner(there, flow), sender, flow)

    def other_vpc(self, peering_id: str, vpc_id: str) -> str:
        """The other side of a peering connection."""
        sides = self.cloud.peerings[peering_id]
        return sides.accepter.vpc_id if sides.requester.vpc_id == vpc_id else sides.requester.vpc_id

    # ---- notes ----

    def passes(self, kind: str, name: str, reason: str, flow: Flow, rule: str = "", target: str = "") -> None:
        """Note a component that lets the flow pass."""
        self.components.append(Component(self.way, kind, name, True, reason, packet=flow.ends, rule=rule, target=target))

    def stop(self, kind: str, name: str, reason: str, code: str, flow: Flow, rule: str = "") -> NoReturn:
        """Note the component that stops the flow, and stop. Errors: Stopped."""
        self.components.append(Component(self.way, kind, name, False, reason, code, flow.ends, rule))
        raise Stopped


def service(flow: Flow) -> str:
    """``TCP 443``, ``TCP 32768-60999``, ``ICMP``."""
    low, high = flow.dst_ports
    ports = "" if flow.protocol == "icmp" or not high else f" {low}" if low == high else f" {low}-{high}"
    return f"{flow.protocol.upper()}{ports}"
