"""What a kernel must hold for what EC2 says: worked out anew from the API's objects, with nothing of `labnet.fabric`'s planning.

`expected` reads a CloudState, `observed` reads namespaces; both answer the same plain facts, so that a difference names itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from labnet.model.cloud import CloudState, Eni, SecurityGroupRule
from labnet.model.netstate import Link, Neigh, NftElement, Route
from labnet.ports import Kernel

Fact = tuple[object, ...]
ROUTER = "0e:00:00:00:00:01"
SERVICES = ("169.254.169.254", "169.254.169.200")
RESOLVER = "169.254.169.253"
PROBES = (("tcp", 6, 22), ("tcp", 6, 80), ("udp", 17, 53), ("icmp", 1, 8 << 8), ("47", 47, 0))
PEERS = ("10.10.0.9", "10.10.1.9", "203.0.113.9")


def port_of(eni: Eni) -> str:
    return "p" + eni.id[-13:]


def plugged(cloud: CloudState) -> list[Eni]:
    """ENIs on a running instance."""
    return [
        eni for eni in cloud.enis.values()
        if eni.attachment is not None and cloud.instances[eni.attachment.instance_id].state == "running"
    ]  # fmt: skip


def addresses_of(eni: Eni) -> Iterator[str]:
    yield from (item.address for item in eni.addresses)
    for prefix in eni.prefixes:
        yield from (str(one) for one in IPv4Network(prefix))


# ---- from the API ---------------------------------------------------------------------------------------------------------


def expected(cloud: CloudState) -> set[Fact]:
    facts: set[Fact] = set()
    for instance in cloud.instances.values():
        if instance.state == "running":
            facts.add(("node", instance.name))
    for subnet in cloud.subnets.values():
        base = IPv4Network(subnet.cidr).network_address
        facts |= {("mapping", int(base) >> 4, address, ROUTER) for address in (str(base + 1), *SERVICES)}
        vpc = cloud.vpcs[subnet.vpc_id]
        if vpc.dns_support:
            plus_two = IPv4Network(vpc.cidrs[0]).network_address + 2
            near = (RESOLVER, str(plus_two)) if plus_two in IPv4Network(subnet.cidr) else (RESOLVER,)
            facts |= {("mapping", int(base) >> 4, address, ROUTER) for address in near}
    for eni in plugged(cloud):
        facts |= set(_of_eni(cloud, eni))
    return facts | _allowed(cloud) | _allowed_by_group(cloud)


def _of_eni(cloud: CloudState, eni: Eni) -> Iterator[Fact]:
    at = eni.attachment
    assert at is not None
    port, node = port_of(eni), cloud.instances[at.instance_id].name
    link = f"eth{at.device_index}" if at.network_card_index == 0 else f"eth{at.device_index}c{at.network_card_index}"
    mark = int(IPv4Network(cloud.subnets[eni.subnet_id].cidr).network_address) >> 4
    yield "port", port
    yield "link", node, link, eni.mac
    yield "sends with", port, eni.mac
    yield "subnet", port, mark
    yield "leaves", port, mark
    yield "enters", port, mark
    yield "router", port, str(IPv4Network(cloud.subnets[eni.subnet_id].cidr).network_address + 1)
    for item in eni.addresses:
        yield "route", f"{item.address}/32", port, None
        yield "neighbour", port, item.address, eni.mac
    for prefix in eni.prefixes:
        yield "route", prefix, port, eni.addresses[0].address
    for address in addresses_of(eni):
        yield "source", port, address
        yield "mapping", mark, address, eni.mac
    if not eni.source_dest_check:
        yield "unchecked", port, "ip"
        yield "unchecked", port, "netdev"


def _allowed(cloud: CloudState) -> set[Fact]:
    """For some packets and some of the world's addresses: which port may send or receive them by its groups' ranges of addresses."""
    facts: set[Fact] = set()
    for eni in plugged(cloud):
        groups = [cloud.security_groups[one] for one in eni.security_groups]
        for word, _number, port in PROBES:
            for peer in PEERS:
                if any(_covers(rule, word, port, peer) for group in groups for rule in group.egress):
                    facts.add(("may send", port_of(eni), word, port, peer))
                if any(_covers(rule, word, port, peer) for group in groups for rule in group.ingress):
                    facts.add(("may receive", port_of(eni), word, port, peer))
    return facts


def _allowed_by_group(cloud: CloudState) -> set[Fact]:
    """For some packets between two ports: which gate lets them pass because of the other side's groups."""
    facts: set[Fact] = set()
    enis = plugged(cloud)
    for sender in enis:
        for receiver in enis:
            egress = [rule for one in sender.security_groups for rule in cloud.security_groups[one].egress]
            ingress = [rule for one in receiver.security_groups for rule in cloud.security_groups[one].ingress]
            leaving = [rule for rule in egress if rule.group_id in receiver.security_groups]
            coming = [rule for rule in ingress if rule.group_id in sender.security_groups]
            for word, rules in (("leaves for", leaving), ("comes from", coming)):
                facts |= {
                    (word, port_of(sender), port_of(receiver), name, port)
                    for name, _number, port in PROBES if any(_serves(rule, name, port) for rule in rules)
                }  # fmt: skip
    return facts


def _covers(rule: SecurityGroupRule, protocol: str, port: int, peer: str) -> bool:
    return rule.cidr is not None and IPv4Address(peer) in IPv4Network(rule.cidr) and _serves(rule, protocol, port)


def _serves(rule: SecurityGroupRule, protocol: str, port: int) -> bool:
    if rule.protocol == "-1":
        return True
    if rule.protocol != protocol:
        return False
    if rule.from_port is None or rule.to_port is None or protocol == "47":
        return True
    if protocol == "icmp":
        return rule.from_port == port >> 8 and rule.to_port in (-1, port & 255)
    return rule.from_port <= port <= rule.to_port


# ---- from the kernel ------------------------------------------------------------------------------------------------------


def observed(kernel: Kernel, lab: str, names: Iterable[str]) -> set[Fact]:
    """The same facts, read out of the namespaces that are there."""
    facts: set[Fact] = set()
    fabric = kernel.observe(f"{lab}-vpc")
    for name in names:
        if name == f"{lab}-vpc":
            continue
        node = name.removeprefix(f"{lab}-")
        facts.add(("node", node))
        facts |= {("link", node, link.name, link.mac) for link in kernel.observe(name).all(Link) if link.name.startswith("eth")}
    ports = {link.name for link in fabric.all(Link) if link.name.startswith("p")}
    facts |= {("port", port) for port in ports}
    facts |= {("route", route.dst, route.dev, route.via) for route in fabric.all(Route) if route.dev in ports and not route.derived}
    facts |= {("neighbour", item.link, item.address, item.mac) for item in fabric.all(Neigh) if item.link in ports and not item.derived}
    elements: dict[tuple[str, str], list[NftElement]] = {}
    for element in fabric.all(NftElement):
        elements.setdefault((element.family, element.set), []).append(element)
    facts |= set(_sets(elements))
    facts |= _passed(elements) | _passed_by_group(elements)
    assert {(item.fields[0], item.fields[1], item.fields[2]) for item in elements.get(("netdev", "mapped"), ())} == {
        (*item.fields, item.value) for item in elements.get(("netdev", "mapping"), ()) if item.value != ROUTER
    }, "pairs and mapping are one"  # fmt: skip
    assert {(item.fields[0], item.fields[2]) for item in elements.get(("netdev", "sources"), ())} == {
        item.fields for item in elements.get(("ip", "eni_address"), ())
    }, "the quick way is for the sources that the check lets pass"
    return facts


def _sets(elements: dict[tuple[str, str], list[NftElement]]) -> Iterator[Fact]:
    for item in elements.get(("ip", "eni_address"), ()):
        yield "source", *item.fields
    for item in elements.get(("netdev", "mapping"), ()):
        yield "mapping", int(item.fields[0], 16), item.fields[1], item.value
    for item in elements.get(("netdev", "port_mac"), ()):
        yield "sends with", *item.fields
    for item in elements.get(("netdev", "port_subnet"), ()):
        yield "subnet", item.fields[0], int(str(item.value), 16)
    for item in elements.get(("ip", "border_from"), ()):
        yield "leaves", item.fields[0], int(str(item.value), 16)
    for item in elements.get(("ip", "border_to"), ()):
        major, _, minor = str(item.value).partition(":")
        yield "enters", item.fields[0], int(major, 16) << 16 | int(minor, 16)
    for item in elements.get(("ip", "port_router"), ()):
        yield "router", item.fields[0], item.value
    for family in ("ip", "netdev"):
        for item in elements.get((family, "nocheck"), ()):
            yield "unchecked", item.fields[0], family


def _passed(elements: dict[tuple[str, str], list[NftElement]]) -> set[Fact]:
    facts: set[Fact] = set()
    for word, owner, rules in (("may send", "port_sender", "sg_egress"), ("may receive", "port_receiver", "sg_ingress")):
        boxes: dict[str, list[NftElement]] = {}
        for item in elements.get(("ip", rules), ()):
            boxes.setdefault(item.fields[0], []).append(item)
        for port in elements.get(("ip", owner), ()):
            for protocol, number, service in PROBES:
                for peer in PEERS:
                    if any(_inside(box, number, service, peer) for box in boxes.get(str(port.value), ())):
                        facts.add((word, port.fields[0], protocol, service, peer))
    return facts


def _passed_by_group(elements: dict[tuple[str, str], list[NftElement]]) -> set[Fact]:
    facts: set[Fact] = set()
    receivers = elements.get(("ip", "port_receiver"), ())
    for word, rules in (("leaves for", "sg_egress_groups"), ("comes from", "sg_ingress_groups")):
        boxes: dict[tuple[str, str], list[NftElement]] = {}
        for item in elements.get(("ip", rules), ()):
            boxes.setdefault((item.fields[0], item.fields[1]), []).append(item)
        for sender in elements.get(("ip", "port_sender"), ()):
            for receiver in receivers:
                for box in boxes.get((str(sender.value), str(receiver.value)), ()):
                    facts |= {
                        (word, sender.fields[0], receiver.fields[0], name, port)
                        for name, number, port in PROBES if _in_range(box.fields[2], number) and _in_range(box.fields[3], port)
                    }  # fmt: skip
    return facts


def _inside(box: NftElement, protocol: int, port: int, peer: str) -> bool:
    return _in_range(box.fields[1], protocol) and _in_range(box.fields[2], port) and _in_addresses(box.fields[3], peer)


def _in_range(text: str, number: int) -> bool:
    low, _, high = text.partition("-")
    return int(low) <= number <= int(high or low)


def _in_addresses(text: str, peer: str) -> bool:
    if "-" in text:
        low, _, high = text.partition("-")
        return IPv4Address(low) <= IPv4Address(peer) <= IPv4Address(high)
    return IPv4Address(peer) in IPv4Network(text)


