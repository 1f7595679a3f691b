#!/usr/bin/env python3
"""The VPC at scale: how long its ENIs take to build, and what it costs a packet, beside a plain veth pair in the same run.

On a fabric that labnet's own reconciler makes, as the EC2 API has it: one VPC, two subnets, eight ENIs a node. Measured are

- a build of N ENIs at once, for growing N: the time an ENI must not grow. Processor time is told too, labnet's own and the kernel's
  apart: it says the same on a busy machine. The kernel looks at every link of the namespace for each hook on a port, and at every
  namespace for each sysctl, so its part does grow;
- one ENI more, one less, and one rule of a security group, with the largest N;
- round trip (UDP, one byte) and throughput (TCP, 128 KiB writes) between two nodes in different subnets, with 2 and with the
  largest N, and again with network ACLs that filter. Beside them stands a veth pair of the same MTU between two namespaces. All
  take turns in short runs, so that noise hits all alike; of each round the ratio to its own pair is taken, and of the ratios the median.

Sender and receiver are two processes of this program, each on a processor of its own, the same ones for the fabrics and the pair: else
where the scheduler puts them decides more than what is measured. Their sockets are opened inside the namespaces. Needs root.

Usage: bench_fabric.py [--json] [--enis N] [--rounds N] [--only build|changes|traffic]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from labnet.fabric.reconcile import Fabric
from labnet.kernel.door import LinuxKernel
from labnet.kernel.slices import SliceBook
from labnet.model.cloud import Attachment, CloudState, Eni, Instance, PrivateAddress, SecurityGroup, SecurityGroupRule, Subnet, Vpc
from labnet.model.cloud_vpc import AclAssociation, AclEntry, NetworkAcl, RouteAssociation, RouteTable
from labnet.model.netstate import Addr, Link, LinkUp, Slice, VethPeer

SIZES = (100, 400, 1000)
PER_NODE = 8
MTU_BYTES = 9001
WRITE_BYTES, RUN_S, PINGS, ROUNDS, CHANGES = 128 * 1024, 0.4, 1500, 9, 20
SUBNETS = {"subnet-a": "10.10.0.0/19", "subnet-b": "10.10.32.0/19"}
PORT = 7000
GOAL_THROUGHPUT, GOAL_GROWTH = "0.8", "1.5"
Row = dict[str, Any]


# ---- the cloud ------------------------------------------------------------------------------------------------------------


def a_cloud(lab: str, enis: int, *, filtering: bool = False) -> CloudState:
    """A VPC with so many ENIs, the nodes alternately in its two subnets; `filtering` gives both an ACL with entries."""
    everything = SecurityGroupRule("-1", cidr="0.0.0.0/0")
    default = SecurityGroup("sg-default", "default", "vpc-1", "", (SecurityGroupRule("-1", group_id="sg-default"),), (everything,))
    table = RouteTable("rtb-1", "vpc-1", (), (RouteAssociation("rtbassoc-1", None),))
    subnets = {key: Subnet(key, "vpc-1", cidr, f"us-west-2{key[-1]}") for key, cidr in SUBNETS.items()}
    cloud = CloudState(
        lab, vpcs={"vpc-1": Vpc("vpc-1", ("10.10.0.0/16",))}, subnets=subnets, security_groups={default.id: default},
        route_tables={table.id: table}, network_acls={"acl-1": an_acl()} if filtering else {},
    )  # fmt: skip
    found = [an_eni(cloud, number, enis) for number in range(enis)]
    nodes = {eni.attachment.instance_id: a_node(cloud, eni) for eni in found if eni.attachment is not None}
    return replace(cloud, enis={eni.id: eni for eni in found}, instances=nodes)


def an_eni(cloud: CloudState, number: int, enis: int) -> Eni:
    """The ENI of that number; with fewer than a node's full, each has a node of its own."""
    node, device = divmod(number, PER_NODE if enis > PER_NODE else 1)
    key = ("subnet-a", "subnet-b")[node % 2]
    host = number + 16
    address = f"10.10.{host // 250 + (32 if key == 'subnet-b' else 0)}.{host % 250 + 4}"
    mac = f"02:be:00:00:{number >> 8:02x}:{number & 255:02x}"
    return Eni(
        f"eni-{number:017x}", "vpc-1", key, cloud.subnets[key].availability_zone, mac, (PrivateAddress(address, True),),
        security_groups=("sg-default",), attachment=Attachment(f"eni-attach-{number}", f"i-node{node}", device),
    )  # fmt: skip


def a_node(cloud: CloudState, eni: Eni) -> Instance:
    """The node that an ENI is plugged into."""
    assert eni.attachment is not None
    key, subnet = eni.attachment.instance_id, cloud.subnets[eni.subnet_id]
    name = key.removeprefix("i-")
    zone = subnet.availability_zone
    return Instance(key, "m5.24xlarge", "ami-1", "vpc-1", eni.subnet_id, zone, tags={"Name": name}, node_name=name)


def an_acl() -> NetworkAcl:
    """Some entries that do not fit before the one that does, in both directions."""
    refused = [AclEntry(100 + number, egress, "6", "deny", f"192.0.2.{number}/32", 22, 22) for number in range(5) for egress in (True, False)]
    allowed = [AclEntry(200, egress, "-1", "allow", "10.10.0.0/16") for egress in (True, False)]
    used = tuple(AclAssociation(f"aclassoc-{key}", key) for key in SUBNETS)
    return NetworkAcl("acl-1", "vpc-1", (*refused, *allowed), used)


# ---- worlds ---------------------------------------------------------------------------------------------------------------


class World:
    """A lab's fabric in this process, and where the measured traffic goes."""

    def __init__(self, lab: str) -> None:
        self.kernel = LinuxKernel()
        self.book = SliceBook(self.kernel)
        self.fabric = Fabric(lab, self.kernel, self.book)
        self.cloud = CloudState(lab)
        self.ends: tuple[str, str] = ("", "")
        self.address = ""

    def go(self, cloud: CloudState) -> float:
        """Make it so; the seconds it took."""
        start = time.perf_counter()
        self.fabric(self.cloud, cloud)
        seconds = time.perf_counter() - start
        self.cloud = cloud
        return seconds

    def settle(self) -> None:
        """The measured traffic goes from the first node to one in the other subnet: the last of those."""
        there = [eni for eni in self.cloud.enis.values() if eni.subnet_id == "subnet-b" and eni.attachment and eni.attachment.device_index == 0]
        assert there[-1].attachment is not None
        nodes = self.cloud.instances
        lab = self.cloud.lab
        self.ends = f"{lab}-{nodes['i-node0'].name}", f"{lab}-{nodes[there[-1].attachment.instance_id].name}"
        self.address = there[-1].primary

    def plain_pair(self) -> None:
        """Not a fabric: two namespaces and a veth pair between them, with the same MTU."""
        one, other = f"{self.cloud.lab}-one", f"{self.cloud.lab}-other"
        self.kernel.create_netns([one, other])
        self.book.set([
            (one, Slice("pair", (
                Link("eth0", mtu_bytes=MTU_BYTES, peer=VethPeer(other, "eth0")), LinkUp("eth0"), Addr("eth0", "10.9.0.1", 24),
            ))),
            (other, Slice("pair", (LinkUp("eth0"), Addr("eth0", "10.9.0.2", 24)))),
        ])  # fmt: skip
        self.ends, self.address = (one, other), "10.9.0.2"

    def close(self) -> None:
        """Take all of it away."""
        try:
            self.kernel.remove_netns(list(self.kernel.known))
        finally:
            self.kernel.close()


@contextmanager
def world(lab: str) -> Iterator[World]:
    """A world that is gone at the end."""
    made = World(f"{lab}{os.getpid() % 10000}")
    try:
        yield made
    finally:
        made.close()


# ---- build and change -----------------------------------------------------------------------------------------------------


Built = tuple[float, float, float]
"""Milliseconds an ENI: by the clock, of processor time in labnet, of processor time in the kernel."""


def build(enis: int) -> Built:
    """So many at once: port, link, addresses and the node's own state; nodes are there already."""
    with world("bfb") as here:
        whole = a_cloud(here.cloud.lab, enis)
        here.go(replace(whole, enis={}))
        gc.collect()
        before = os.times()
        seconds = here.go(whole)
        after = os.times()
    return seconds / enis * 1e3, (after.user - before.user) / enis * 1e3, (after.system - before.system) / enis * 1e3


def changes(enis: int) -> list[Row]:
    """One change with so many ENIs: the median of several of each."""
    with world("bfc") as here:
        whole = a_cloud(here.cloud.lab, enis)
        here.go(whole)
        last = whole.enis[next(reversed(whole.enis))]
        more, less, rule = [], [], []
        group = whole.security_groups["sg-default"]
        for number in range(CHANGES):
            less.append(here.go(replace(whole, enis={key: eni for key, eni in whole.enis.items() if key != last.id})) * 1e3)
            more.append(here.go(replace(whole, enis={**here.cloud.enis, last.id: last})) * 1e3)
            other = replace(group, ingress=(*group.ingress, SecurityGroupRule("tcp", 8000 + number, 8000 + number, "192.0.2.0/24")))
            rule.append(here.go(replace(here.cloud, security_groups={group.id: other})) * 1e3)
            here.go(replace(here.cloud, security_groups={group.id: group}))
    where = f"beside {enis - 1} others"
    return [
        row(f"one ENI more, {where}", statistics.median(more), "ms"),
        row(f"one ENI less, {where}", statistics.median(less), "ms"),
        row(f"one rule of a security group, {enis} ENIs", statistics.median(rule), "ms"),
    ]


def builds(largest: int) -> list[Row]:
    """Build times, each the better of two, and how they grow."""
    sizes = [size for size in SIZES if size < largest] + [largest]
    build(min(sizes))  # warms up
    times = {size: min(build(size) for _ in range(2)) for size in sizes}
    rows: list[Row] = []
    for size, (clock, own, kernel) in times.items():
        rows.append(row(f"fabric: {size} ENIs at once, an ENI", clock, "ms"))
        rows += [row("  of it processor time in labnet", own, "ms"), row("  of it processor time in the kernel", kernel, "ms")]
    first, last = times[sizes[0]], times[largest]
    return [
        *rows,
        row(f"  an ENI of {largest} against one of {sizes[0]}, labnet's own time", last[1] / first[1], "times", GOAL_GROWTH),
        row(f"  an ENI of {largest} against one of {sizes[0]}, all processor time", sum(last[1:]) / sum(first[1:]), "times"),
    ]


# ---- traffic --------------------------------------------------------------------------------------------------------------


@contextmanager
def processor(place: int) -> Iterator[None]:
    """This process is on one processor inside: 0 = the first that it may use, 1 = the second, if there is one."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[place % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def apart(work: Callable[[], None]) -> int:
    """Run something in a process of its own, on the second processor; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            with processor(1):
                work()
        finally:
            os._exit(0)
    return pid


def gigabits(here: World) -> float:
    """One short TCP transfer: payload that arrived, in Gbit/s."""
    listener = here.kernel.open_socket(here.ends[1], socket.AF_INET, socket.SOCK_STREAM)
    sender = here.kernel.open_socket(here.ends[0], socket.AF_INET, socket.SOCK_STREAM)
    with listener, sender:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", PORT))
        listener.listen(1)
        listener.settimeout(5)
        sender.settimeout(5)
        pid = apart(lambda: _send_all(sender, listener, here.address))
        try:
            receiver, _peer = listener.accept()
            sender.close()
            with receiver, processor(0):
                return _received(receiver)
        finally:
            os.waitpid(pid, 0)


def _send_all(sender: socket.socket, listener: socket.socket, address: str) -> None:
    listener.close()
    sender.connect((address, PORT))
    data = bytes(WRITE_BYTES)
    end = time.monotonic() + RUN_S + 0.1
    while time.monotonic() < end:
        sender.sendall(data)


def _received(receiver: socket.socket) -> float:
    """The first tenth of a second is left out: windows grow there."""
    buffer = bytearray(1 << 20)
    begin = time.monotonic() + 0.1
    total, start, last = 0, 0.0, 0.0
    while size := receiver.recv_into(buffer):
        last = time.monotonic()
        if not start:
            start = last if last >= begin else 0.0
        else:
            total += size
    return total * 8 / (last - start) / 1e9


def round_trip_us(here: World) -> float:
    """The median of many UDP round trips of one byte, in microseconds."""
    echo = here.kernel.open_socket(here.ends[1], socket.AF_INET, socket.SOCK_DGRAM)
    asking = here.kernel.open_socket(here.ends[0], socket.AF_INET, socket.SOCK_DGRAM)
    with echo, asking:
        echo.bind(("0.0.0.0", PORT))
        pid = apart(lambda: _echo(echo))
        try:
            asking.settimeout(2)
            asking.connect((here.address, PORT))
            times = []
            with processor(0):
                for _ in range(PINGS):
                    start = time.perf_counter()
                    asking.send(b"x")
                    asking.recv(16)
                    times.append(time.perf_counter() - start)
            asking.send(b"")
        finally:
            os.waitpid(pid, 0)
    return statistics.median(times) * 1e6


def _echo(echo: socket.socket) -> None:
    """Until an empty datagram comes, or nothing for two seconds."""
    echo.settimeout(2)
    while True:
        data, peer = echo.recvfrom(16)
        if not data:
            return
        echo.sendto(data, peer)


def traffic(largest: int, rounds: int) -> list[Row]:
    """Throughput and round trip of each fabric, as ratios to the plain pair of the same round."""
    with world("bfp") as plain, world("bf2") as few, world("bfn") as many, world("bfa") as filtered:
        plain.plain_pair()
        few.go(a_cloud(few.cloud.lab, 2))
        many.go(a_cloud(many.cloud.lab, largest))
        filtered.go(a_cloud(filtered.cloud.lab, largest, filtering=True))
        fabrics = {"2 ENIs": few, f"{largest} ENIs": many, f"{largest} ENIs and network ACLs": filtered}
        for here in fabrics.values():
            here.settle()
        everybody = {"a plain veth pair": plain, **fabrics}
        rates: dict[str, list[float]] = {name: [] for name in everybody}
        trips: dict[str, list[float]] = {name: [] for name in everybody}
        for number in range(rounds + 1):
            for name, here in everybody.items():
                rate, trip = gigabits(here), round_trip_us(here)
                if number:  # the first round warms up: neighbours, connection tracking, windows
                    rates[name].append(rate)
                    trips[name].append(trip)
    return [*_compared("TCP throughput", rates, "Gbit/s", GOAL_THROUGHPUT), *_compared("round trip, p50", trips, "µs", "")]


def _compared(what: str, found: dict[str, list[float]], unit: str, goal: str) -> list[Row]:
    plain = found["a plain veth pair"]
    rows = [row(f"{what}, a plain veth pair", statistics.median(plain), unit)]
    for name, values in found.items():
        if values is plain:
            continue
        ratio = statistics.median(value / beside for value, beside in zip(values, plain, strict=True))
        rows.append(row(f"{what}, {name}", statistics.median(values), unit))
        rows.append(row("  against the plain pair of the same round", ratio, "times", goal))
    return rows


# ---- report ---------------------------------------------------------------------------------------------------------------


def row(what: str, value: float, unit: str, goal: str = "") -> Row:
    """One line of the report, as tools/bench.py has it."""
    return {"what": what, "value": round(value, 3), "unit": unit, "goal": goal}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--enis", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=("build", "changes", "traffic"))
    options = parser.parse_args()
    parts: dict[str, Callable[[], list[Row]]] = {
        "build": lambda: builds(options.enis),
        "changes": lambda: changes(options.enis),
        "traffic": lambda: traffic(options.enis, options.rounds),
    }
    rows = [one for name, part in parts.items() if options.only in (None, name) for one in part()]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for one in rows:
            goal = f"   goal {one['goal']}" if one.get("goal") else ""
            print(f"{one['what']:<78} {one['value']:>9.2f} {one['unit']:<8}{goal}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
