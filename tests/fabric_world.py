"""A fabric on real namespaces, and small probes that need no program: raw sockets opened inside the namespaces."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from labnet.fabric.reconcile import Fabric
from labnet.kernel.door import LinuxKernel
from labnet.kernel.slices import SliceBook
from labnet.model.cloud import CloudState
from labnet.model.netstate import Addr, KernelObject, Link, LinkUp, Neigh, Route, Rule, Slice, VethPeer

ANSWER_S = 2.0
TRIES = 3
SILENCE_S = 0.25
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 0x8914, 0x1, 0x40
AT_ONCE = struct.pack("ii", 1, 0)
"""A connection ends with its socket, also where rules have cut it: an end that waits for an answer would keep the namespace."""
HOST_MAC = "02:aa:00:00:00:01"
POD_MAC = "02:aa:00:00:00:02"


@dataclass(frozen=True, slots=True)
class Icmp:
    """An ICMP message that came: who sent it, its TTL, type and code, and the MTU that a frag-needed names."""

    source: str
    ttl: int
    type: int
    code: int
    mtu: int = 0


def settle(kernel: LinuxKernel) -> None:
    """Wait until every link that is up runs: the kernel's link watch, a task of its own, starts a veth's queue some milliseconds
    after its peer came up, and what is sent before is lost.
    """
    deadline = time.monotonic() + ANSWER_S
    links = [(netns, link) for netns in kernel.known for link in kernel.links(netns)]
    waiting = links
    while waiting and time.monotonic() < deadline:
        waiting = [(netns, link) for netns, link in waiting if _starts(kernel, netns, link)]
    if links:
        _pass_through_the_lock(kernel, *links[-1])


def _starts(kernel: LinuxKernel, netns: str, link: str) -> bool:
    with kernel.open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = _flags(sock, link)
    return bool(flags & IFF_UP) and not flags & IFF_RUNNING


def _flags(sock: socket.socket, link: str) -> int:
    answer = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sH14x", link.encode(), 0))
    return int(struct.unpack("16xH14x", answer)[0])


def _pass_through_the_lock(kernel: LinuxKernel, netns: str, link: str) -> None:
    """A link says that it runs a moment before its queue starts, both under one lock: who took that lock afterwards has waited for both."""
    with kernel.open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", link.encode(), _flags(sock, link)))


class World:
    """One lab's fabric, driven from cloud state to cloud state."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.kernel = LinuxKernel()
        self.book = SliceBook(self.kernel)
        self.fabric = Fabric(lab, self.kernel, self.book)
        self.cloud = CloudState(lab)
        self.extra: list[str] = []
        self.open: list[socket.socket] = []

    @property
    def vpc(self) -> str:
        return f"{self.lab}-vpc"

    def node(self, name: str) -> str:
        return f"{self.lab}-{name}"

    def go(self, cloud: CloudState) -> None:
        self.fabric(self.cloud, cloud)
        self.cloud = cloud
        settle(self.kernel)

    def close(self) -> None:
        for sock in self.open:
            sock.close()
        try:
            names = {*self.fabric.namespaces(self.cloud), *self.extra, *self.kernel.known}
            self.kernel.remove_netns(names)
        finally:
            self.kernel.close()

    def dropped(self, comment: str, netns: str | None = None) -> int:
        return self.kernel.counters(netns or self.vpc).get(comment, 0)

    def drops(self, count: int, comment: str, netns: str | None = None) -> bool:
        """Are so many dropped for that reason? What was sent last may still wait, for a second, for its next hop's MAC."""
        end_s = time.monotonic() + ANSWER_S
        while self.dropped(comment, netns) < count and time.monotonic() < end_s:
            time.sleep(0.02)
        return self.dropped(comment, netns) == count

    def socket(self, netns: str, kind: int, proto: int = 0, family: int = socket.AF_INET) -> socket.socket:
        sock = self.kernel.open_socket(netns, family, kind, proto)
        self.open.append(sock)
        return sock

    # --- what a daemon or a CNI would leave

    def second_link(self, name: str, index: int, address: str, bits: int, router: str) -> None:
        """A secondary ENI as ipamd leaves it: up, address, table index + 1, rule 32765."""
        link, table = f"eth{index}", index + 1
        self.book.set([(self.node(name), Slice(f"ipamd:{index}", (
            LinkUp(link), Addr(link, address, bits, connected_route=False),
            Route(f"{router}/32", dev=link, scope="link", table=table), Route("default", dev=link, via=router, table=table),
            Rule(32765, table, src=f"{address}/32"),
        )))])  # fmt: skip

    def pod(self, name: str, node: str, address: str, table: int | None = None) -> str:
        """A pod as the VPC CNI leaves it; its namespace's name."""
        netns, host = f"{self.lab}-{name}", f"eni{name}"
        self.kernel.create_netns([netns])
        self.extra.append(netns)
        rules = (Rule(512, dst=f"{address}/32"), *((Rule(1536, table, src=f"{address}/32"),) if table else ()))
        self.book.set([
            (self.node(node), Slice(f"cni:{name}", (
                Link(host, HOST_MAC, peer=VethPeer(netns, "eth0", POD_MAC)), LinkUp(host),
                Route(f"{address}/32", dev=host, scope="link"), *rules,
            ))),
            (netns, Slice(f"cni:{name}", (
                Link("eth0", POD_MAC, made_by="peer"), LinkUp("eth0"), Addr("eth0", address, 32),
                Route("169.254.1.1/32", dev="eth0", scope="link"), Route("default", dev="eth0", via="169.254.1.1"),
                Neigh("eth0", "169.254.1.1", HOST_MAC),
            ))),
        ])  # fmt: skip
        return netns

    def also(self, netns: str, *objects: KernelObject) -> None:
        """More addresses, routes or rules in a namespace, as a user's hands would put them there; none takes them away."""
        self.book.set([(netns, Slice("test", objects))])

    # --- probes

    def ping(
        self, netns: str, dst: str, *, src: str | None = None, ttl: int = 64, size: int = 56, dont_fragment: bool = False,
        silence: bool = False,
    ) -> Icmp | None:  # fmt: skip
        """One echo request; the answer, or the ICMP error that it raised, or None. `silence` says that none is expected: the wait is short."""
        with self.kernel.open_socket(netns, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
            if src:
                sock.bind((src, 0))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.setsockopt(socket.IPPROTO_IP, 10, 3 if dont_fragment else 0)  # IP_MTU_DISCOVER: PROBE or DONT
            ident = os.urandom(2)
            head = struct.pack("!BBH2sH", 8, 0, 0, ident, 1)
            payload = bytes(size)
            request = head[:2] + struct.pack("!H", _checksum(head + payload)) + head[4:] + payload
            for _attempt in range(1 if silence else TRIES):  # a link that came up just now may lose the first one
                sock.sendto(request, (dst, 0))
                found = _await_icmp(sock, ident, SILENCE_S if silence else ANSWER_S / TRIES)
                if found is not None:
                    return found
        return None

    def listen(self, netns: str, port: int, address: str = "0.0.0.0") -> socket.socket:
        sock = self.socket(netns, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        sock.bind((address, port))
        sock.listen(8)
        sock.settimeout(ANSWER_S)
        return sock

    def connect(self, netns: str, address: str, port: int, *, silence: bool = False) -> socket.socket | None:
        """A TCP connection, or None when nothing answers."""
        sock = self.socket(netns, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        sock.settimeout(SILENCE_S if silence else ANSWER_S)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            return None
        return sock

    def raw(self, netns: str, link: str, protocol: int = 0x0003) -> socket.socket:
        """A packet socket on one link, for whole frames."""
        sock = self.socket(netns, socket.SOCK_RAW, socket.htons(protocol), socket.AF_PACKET)
        sock.bind((link, protocol))
        sock.settimeout(ANSWER_S)
        return sock

    def arp(
        self, netns: str, link: str, target: str, *, sender: str, mac: str, daddr: str = "ff:ff:ff:ff:ff:ff", sha: str | None = None,
        silence: bool = False,
    ) -> str | None:  # fmt: skip
        """The MAC that an ARP request gets as answer, or None."""
        sock = self.raw(netns, link, 0x0806)
        frame = mac_bytes(daddr) + mac_bytes(mac) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        sock.send(frame + mac_bytes(sha or mac) + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target))
        for answer in _frames(sock, SILENCE_S if silence else ANSWER_S):
            if answer[20:22] == b"\0\x02" and answer[28:32] == socket.inet_aton(target):
                assert answer[6:12] == answer[22:28], "frame and ARP body name one MAC"
                return answer[22:28].hex(":")
        return None


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def udp_frame(src_mac: str, dst_mac: str, src: str, dst: str, sport: int, dport: int, data: bytes = b"x", ttl: int = 64) -> bytes:
    """A whole Ethernet frame with UDP inside."""
    udp = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, ttl, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return mac_bytes(dst_mac) + mac_bytes(src_mac) + b"\x08\x00" + head + udp


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frames(sock: socket.socket, wait_s: float) -> Iterator[bytes]:
    end = time.monotonic() + wait_s
    while (left := end - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            yield sock.recv(65535)


def _await_icmp(sock: socket.socket, ident: bytes, wait_s: float) -> Icmp | None:
    for packet in _frames(sock, wait_s):
        icmp = packet[(packet[0] & 15) * 4 :]
        kind, code = icmp[0], icmp[1]
        mine = icmp[4:6] if kind == 0 else icmp[8 + (icmp[8] & 15) * 4 + 4 :][:2] if kind in (3, 11) else b""
        if mine == ident:
            return Icmp(socket.inet_ntoa(packet[12:16]), packet[8], kind, code, struct.unpack("!H", icmp[6:8])[0] if kind == 3 else 0)
    return None
