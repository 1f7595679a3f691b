"""Random small VPCs on real namespaces, and many probes at once: what packets say, for verdicts to be compared with."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from builders_cloud import ALL_OUT, entry, with_acl, with_eni, with_group, with_node, with_prefix_list, with_subnet, with_table, with_vpc
from builders_vpn import VGW, propagating, with_site, with_vgw, with_vpn
from fabric_world import World, _checksum, settle

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.explain.desired import desired_world
from labnet.explain.explain import End, explain
from labnet.explain.verdict import Explanation
from labnet.model.cloud import CloudState, Eni, PrivateAddress, SecurityGroupRule
from labnet.model.cloud_vpc import AclEntry, Peering, PeeringSide
from labnet.model.netstate import Addr
from labnet.model.zones import ZoneFailure, ZoneLink, ZoneLinkSpec
from labnet.trace.world import Role
from labnet.trace.world import World as States

TCP_PORTS, UDP_PORTS = (80, 443), (53, 443)
INTERNET = "8.8.8.8"
OFFICE, OFFICE_BLOCK = "192.168.10.20", "192.168.0.0/16"
MOST_S, LEAST_S = 3.0, 0.12
"""How long answers that a verdict promises are waited for, and those that it denies."""
AGAIN_S = (0.5, 1.5)
"""When what was not answered is sent once more: a busy machine may lose one."""
SPOOFED = "10.10.1.200"
SUBNETS = {"subnet-a": "10.10.0", "subnet-b": "10.10.1", "subnet-c": "10.10.2"}
EVERYWHERE, PEERING = "0.0.0.0/0", "pcx-00000000000000001"
RULE_PORTS: dict[str, tuple[tuple[int | None, int | None], ...]] = {
    "tcp": ((80, 80), (443, 443), (1, 1000), (None, None)), "udp": ((53, 53), (0, 65535)), "icmp": ((-1, -1), (8, 0), (8, -1), (0, 0)),
}


@dataclass(frozen=True)
class Case:
    """One flow: its ends, what it is, and the destination that packets name."""

    source: End
    target: End
    protocol: str
    port: int | None


# ---- a VPC ----------------------------------------------------------------------------------------------------------------


def a_small_vpc(lab: str, dice: random.Random) -> CloudState:
    """Three subnets, four nodes, two of them with a second ENI; a NAT gateway; a peer with one node; an office. All of it open."""
    cloud = with_vpc(CloudState(lab), "vpc-1", "10.10.0.0/16")
    for place, (key, base) in enumerate(SUBNETS.items()):
        cloud = with_subnet(cloud, key, "vpc-1", f"{base}.0/24", f"us-west-2{'abc'[place]}")
    for number in range(1, 5):
        subnet = dice.choice(list(SUBNETS))
        cloud = with_node(cloud, f"n{number}", f"{SUBNETS[subnet]}.{10 * number}", subnet=subnet)
        if number <= 2:
            cloud = with_eni(cloud, f"n{number}", 1, *(f"{SUBNETS[subnet]}.{10 * number + more}" for more in (1, 2)), subnet=subnet)
    first = cloud.enis["eni-n1-0"]
    pod = PrivateAddress(first.primary.rpartition(".")[0] + ".15")
    cloud = replace(cloud, enis={**cloud.enis, first.id: replace(first, addresses=(*first.addresses, pod))})
    cloud = with_subnet(with_vpc(cloud, "vpc-2", "10.20.0.0/16", igw=False, name="peer"), "subnet-m", "vpc-2", "10.20.0.0/24")
    cloud = with_node(cloud, "m1", "10.20.0.10", subnet="subnet-m")
    sides = (PeeringSide(vpc, cloud.account_id, cloud.region) for vpc in ("vpc-1", "vpc-2"))
    cloud = replace(cloud, peerings={PEERING: Peering(PEERING, *sides, state="active")})
    for subnet in (*SUBNETS, "subnet-m"):
        cloud = with_acl(cloud, f"acl-{subnet}", entry(100), entry(100, out=True), subnets=(subnet,), vpc_id=cloud.subnets[subnet].vpc_id)
    return _with_nat(with_vpn(with_vgw(with_site(cloud, "office", OFFICE_BLOCK, OFFICE)), "office", OFFICE_BLOCK))


def _with_nat(cloud: CloudState) -> CloudState:
    context = Context(0.0, limits.load())
    cloud, address = execute(cloud, "AllocateAddress", {}, context)
    params = {"SubnetId": "subnet-c", "AllocationId": address["AllocationId"], "ClientToken": "nat", "PrivateIpAddress": "10.10.2.250"}
    return execute(cloud, "CreateNatGateway", params, context)[0]


def shuffled(cloud: CloudState, dice: random.Random) -> CloudState:
    """The same machines with other groups, checks, public addresses, routes and ACLs."""
    for key in ("sg-1", "sg-2", "sg-3"):
        cloud = with_group(cloud, key, "vpc-1", _rules(dice, 3), _rules(dice, 3) if dice.random() < 0.4 else (ALL_OUT,))
    cloud = with_prefix_list(cloud, "pl-1", *dice.choice(((), ("10.10.0.0/24",), ("10.10.1.0/24", "10.20.0.0/16"))))
    blocks = dice.choice(((), ("8.8.0.0/16",), ("8.8.8.0/24", "1.1.1.1/32"), ("0.0.0.0/0", "10.20.0.0/17")))
    cloud = with_prefix_list(cloud, ROUTED, *blocks)
    enis: dict[str, Eni] = {}
    for number, eni in enumerate(cloud.enis.values()):
        enis[eni.id] = eni if eni.interface_type == "nat_gateway" else _shuffled_eni(eni, number, dice)
    cloud = replace(cloud, enis=enis)
    for subnet in (*SUBNETS, "subnet-m"):
        cloud = with_acl(cloud, f"acl-{subnet}", *_entries(dice), subnets=(subnet,), vpc_id=cloud.subnets[subnet].vpc_id)
    nat = next(iter(cloud.nat_gateways))
    for subnet in SUBNETS:
        cloud = with_table(cloud, f"rtb-{subnet}", "vpc-1", _routes(dice, subnet, nat), subnet)
        cloud = propagating(cloud, f"rtb-{subnet}", *([VGW] if dice.random() < 0.5 else []))
    cloud = with_table(cloud, "rtb-vpc-1", "vpc-1", {}, main=True)
    cloud = with_vgw(cloud, None if dice.random() < 0.1 else "vpc-1")
    cloud = with_vpn(cloud, "office", *dice.choice((*[(OFFICE_BLOCK,)] * 4, ("192.168.10.0/24",), ("192.168.11.0/24",), ())))
    cloud = with_table(cloud, "rtb-vpc-2", "vpc-2", dice.choice(({}, {"10.10.0.0/16": PEERING}, {EVERYWHERE: PEERING})), main=True)
    return _with_zones(cloud, random.Random(dice.random()))


def _with_zones(cloud: CloudState, dice: random.Random) -> CloudState:
    """Now and then a zone that has failed, or two between which nothing passes."""
    zones = sorted({subnet.availability_zone for subnet in cloud.subnets.values()})
    failed = {zone: ZoneFailure(zone) for zone in zones if dice.random() < 0.1}
    link = ZoneLinkSpec(tuple(dice.sample(zones, 2)), loss_percent=100)
    return replace(cloud, zone_failures=failed, zone_links={link.id: ZoneLink(link)} if dice.random() < 0.4 else {})


def _shuffled_eni(eni: Eni, number: int, dice: random.Random) -> Eni:
    if eni.vpc_id == "vpc-2":
        return replace(eni, source_dest_check=dice.random() < 0.75)
    groups = tuple(dice.sample(["sg-1", "sg-2", "sg-3", *["sg-open-vpc-1"] * 3], dice.choice((1, 1, 2))))
    addresses = tuple(
        replace(item, public=f"198.18.{number}.{place + 1}" if dice.random() < 0.6 else None) for place, item in enumerate(eni.addresses)
    )
    return replace(eni, security_groups=tuple(dict.fromkeys(groups)), source_dest_check=dice.random() < 0.7, addresses=addresses)


ROUTED = "pl-2"
"""A prefix list that routes lead to."""


def _routes(dice: random.Random, subnet: str, nat: str) -> dict[str, str]:
    """A way out, to the peer, and round a middlebox; some lead nowhere."""
    gateway, box = "igw-vpc-1", dice.choice(("eni-n3-0", "eni-n4-0"))
    found = {EVERYWHERE: dice.choice((gateway, gateway, gateway, nat, nat, "igw-gone", box, ""))}
    found["10.20.0.0/16"] = dice.choice((PEERING, PEERING, ""))
    found[OFFICE_BLOCK] = dice.choice(("", *[VGW] * 6, gateway, box))
    found["8.8.8.0/24"] = dice.choice(("", "", "", "", gateway, nat, "eni-gone"))
    other = dice.choice([base for key, base in SUBNETS.items() if key != subnet])
    found[f"{other}.0/24"] = dice.choice(("", "", "", box))
    found[ROUTED] = dice.choice(("", gateway, nat, PEERING, "eni-gone"))
    return {destination: target for destination, target in found.items() if target}


def _rules(dice: random.Random, most: int) -> tuple[SecurityGroupRule, ...]:
    return tuple(dict.fromkeys(_rule(dice) for _ in range(dice.randint(0, most))))


def _rule(dice: random.Random) -> SecurityGroupRule:
    protocol = dice.choice(("-1", "tcp", "tcp", "udp", "icmp", "icmp"))
    low, high = dice.choice(RULE_PORTS.get(protocol, ((None, None),)))
    if dice.random() < 0.15:
        return SecurityGroupRule(protocol, low, high, prefix_list_id="pl-1")
    group = dice.choice(("sg-1", "sg-2", "sg-3")) if dice.random() < 0.4 else None
    blocks = (EVERYWHERE, "10.10.0.0/16", "10.10.0.0/24", "10.10.1.0/24", "8.8.8.8/32", "198.18.0.0/16", OFFICE_BLOCK)
    cidr = None if group else dice.choice(blocks)
    return SecurityGroupRule(protocol, low, high, cidr, group)


def _entries(dice: random.Random) -> tuple[AclEntry, ...]:
    """Mostly open ones. Ports are cut where the verdict's range begins, at 1024."""
    everything = tuple(entry(100, out=out) for out in (True, False))
    if dice.random() < 0.65:
        return everything
    found: list[AclEntry] = []
    for out in (True, False):
        for number in sorted(dice.sample(range(1, 200), dice.randint(1, 3))):
            action = dice.choice(("allow", "allow", "deny"))
            cidr = dice.choice((EVERYWHERE, "10.10.0.0/24", "10.10.1.0/24", "10.10.0.0/16"))
            kind = dice.choice(("-1", "6", "17", "1"))
            more: dict[str, int] = {}
            if kind in ("6", "17"):
                low, high = dice.choice(((80, 80), (443, 443), (1, 1023), (1024, 65535), (0, 65535)))
                more = {"from_port": low, "to_port": high}
            if kind == "1":
                more = {"icmp_type": dice.choice((-1, 8, 0)), "icmp_code": -1}
            found.append(entry(number, action, out=out, protocol=kind, cidr=cidr, **more))
        if dice.random() < 0.7:
            found.append(entry(300, out=out))
    return tuple(found)


# ---- on the kernel --------------------------------------------------------------------------------------------------------


class Proof:
    """A fabric whose packets are compared with verdicts."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        cloud = a_small_vpc(world.lab, dice)
        world.cloud = replace(world.cloud, sites=cloud.sites)
        world.fabric.begin(world.cloud)
        world.go(cloud)
        self.ends: dict[str, End] = {}
        for number in (1, 2):
            eni = world.cloud.enis[f"eni-n{number}-1"]
            router = eni.primary.rpartition(".")[0] + ".1"
            world.second_link(f"n{number}", 1, eni.primary, 24, router)
            self._end(f"n{number}b", eni.primary, world.node(f"n{number}"))
            self._end(f"p{number}", eni.addresses[1].address, world.pod(f"p{number}", f"n{number}", eni.addresses[1].address, table=2))
        first = world.cloud.enis["eni-n1-0"].addresses[1].address
        self._end("p0", first, world.pod("p0", "n1", first))
        for number in range(1, 5):
            self._end(f"n{number}", world.cloud.enis[f"eni-n{number}-0"].primary, world.node(f"n{number}"))
        self._end("m1", "10.20.0.10", world.node("m1"))
        world.also(world.node("n4"), Addr("lo", SPOOFED, 32))
        self.spoofer = End("n4 as another", SPOOFED, world.node("n4"))
        self.internet = End("internet", INTERNET, internet=True)
        self.office = End("office", OFFICE, site="office")
        self._udp: list[socket.socket] = []
        self._listen()
        settle(world.kernel)

    def _end(self, name: str, address: str, netns: str) -> None:
        self.ends[name] = End(name, address, netns)

    def _netns(self, end: End) -> str:
        return end.netns or f"{self.world.lab}-{'onprem' if end.site else 'internet'}"

    def _listen(self) -> None:
        for end in (*self.ends.values(), self.spoofer, self.internet, self.office):
            for port in TCP_PORTS:
                self.world.listen(self._netns(end), port, end.address)
            for port in UDP_PORTS:
                sock = self.world.socket(self._netns(end), socket.SOCK_DGRAM)
                sock.bind((end.address, port))
                sock.setblocking(False)
                self._udp.append(sock)

    def states(self) -> States:
        """What nodes and pods shall hold, by the claims alone."""
        book, lab = self.world.book, self.world.lab
        netns = {end.netns for end in self.ends.values()}
        roles: dict[str, Role] = {name: "pod" if name.startswith(f"{lab}-p") else "node" for name in netns}
        owners = {name: name.removeprefix(f"{lab}-") for name in netns}
        vpcs = (f"{lab}-vpc", f"{lab}-vpc.peer")
        return desired_world({name: book.desired(name) for name in netns}, roles, owners, [(name, book.desired(name)) for name in vpcs])

    def cases(self, count: int) -> list[Case]:
        everyone = [*self.ends.values(), self.internet, self.office]
        found = []
        while len(found) < count:
            source = self.dice.choice([*everyone, self.spoofer])
            target = self.dice.choice([*everyone, self.internet, self.internet, self.office, self.office])
            if source is target or (not source.netns and not target.netns):
                continue
            protocol, port = self.dice.choice((("icmp", None), *(("tcp", port) for port in TCP_PORTS), *(("udp", port) for port in UDP_PORTS)))
            found.append(Case(source, target, protocol, port))
        return found

    def verdicts(self, cases: Sequence[Case]) -> list[Explanation]:
        states = self.states()
        return [explain(self.world.cloud, states, case.source, case.target, case.protocol, case.port) for case in cases]

    def destination(self, case: Case) -> str:
        """What the packets name: from the Internet the public address, where there is one."""
        if not case.source.internet:
            return case.target.address
        found = (item.public for eni in self.world.cloud.enis.values() for item in eni.addresses if item.address == case.target.address)
        return next(found, None) or case.target.address

    def probe(self, cases: Sequence[Case], promised: Sequence[bool]) -> list[bool]:
        """Send one packet a case, all at once; which of them were answered."""
        probes = [_Probe(self.world, self._netns(case.source), case, self.destination(case)) for case in cases]
        began_s = time.monotonic()
        resend_s = [0.0, *AGAIN_S]
        while (passed_s := time.monotonic() - began_s) < MOST_S:
            missing = [one for one, wanted in zip(probes, promised, strict=True) if wanted and not one.answered]
            if not missing and passed_s > LEAST_S:
                break
            if resend_s and passed_s >= resend_s[0]:
                resend_s.pop(0)
                for one in probes:
                    one.send()
            self._echo()
            for one in probes:
                one.look()
            time.sleep(0.005)
        for one in probes:
            one.close()
        return [one.answered for one in probes]

    def _echo(self) -> None:
        """What UDP servers would do."""
        for sock in select.select(self._udp, [], [], 0)[0]:
            data, sender = sock.recvfrom(2048)
            sock.sendto(data, sender)


class _Probe:
    def __init__(self, world: World, netns: str, case: Case, dst: str) -> None:
        kinds = {"icmp": (socket.SOCK_RAW, socket.IPPROTO_ICMP), "tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0)}
        self.sock = world.socket(netns, *kinds[case.protocol])
        self.sock.setblocking(False)
        self.sock.bind((case.source.address, 0))
        self.case, self.dst = case, dst
        self.answered = self.sent = False
        self.ident = random.randbytes(2)

    def send(self) -> None:
        if self.answered or (self.case.protocol == "tcp" and self.sent):
            return  # TCP sends its SYN again by itself
        self.sent = True
        with contextlib.suppress(OSError):  # no route there: no answer either
            self._send()

    def _send(self) -> None:
        if self.case.protocol == "icmp":
            head = struct.pack("!BBH2sH", 8, 0, 0, self.ident, 1)
            self.sock.sendto(head[:2] + struct.pack("!H", _checksum(head)) + head[4:], (self.dst, 0))
            return
        assert self.case.port is not None
        self.sock.connect_ex((self.dst, self.case.port))
        if self.case.protocol == "udp":
            self.sock.send(self.ident)

    def look(self) -> None:
        """Has an answer come?"""
        looks: dict[str, Callable[[], bool]] = {"icmp": self._icmp, "tcp": self._tcp, "udp": self._datagram}
        self.answered = self.answered or looks[self.case.protocol]()

    def _tcp(self) -> bool:
        try:
            self.sock.getpeername()
        except OSError:
            return False
        return True

    def _datagram(self) -> bool:
        try:
            return bool(select.select([self.sock], [], [], 0)[0]) and self.sock.recv(64) == self.ident
        except OSError:
            return False

    def _icmp(self) -> bool:
        while select.select([self.sock], [], [], 0)[0]:
            packet = self.sock.recv(2048)
            icmp = packet[(packet[0] & 15) * 4 :]
            if icmp[0] == 0 and icmp[4:6] == self.ident and socket.inet_ntoa(packet[12:16]) == self.dst:
                return True
        return False

    def close(self) -> None:
        self.sock.close()
