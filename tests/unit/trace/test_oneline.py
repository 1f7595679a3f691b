"""One line for a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labnet.trace.oneline import oneline


def made(build: str) -> bytes:
    from scapy.layers import inet, l2  # the frames are built by somebody else than who reads them
    from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

    names = {**vars(inet), **vars(l2), "IPv6": IPv6, "ICMPv6EchoRequest": ICMPv6EchoRequest}
    return bytes(eval(build, names))


IP = "Ether()/IP(src='10.0.0.1',dst='8.8.8.8',ttl=63)/"


@pytest.mark.parametrize(("build", "said"), [
    (IP + "ICMP(id=7,seq=2)/b'abcd'", "10.0.0.1 > 8.8.8.8: icmp echo request id 7 seq 2, ttl 63, length 32"),
    (IP + "ICMP(type=3,code=3)/b'abcd'", "10.0.0.1 > 8.8.8.8: icmp port unreachable, ttl 63, length 32"),
    (IP + "ICMP(type=11,code=0)/b'abcd'", "10.0.0.1 > 8.8.8.8: icmp time exceeded, ttl 63, length 32"),
    (IP + "UDP(sport=1,dport=53)/b'abcd'", "10.0.0.1.1 > 8.8.8.8.53: udp 4, ttl 63, length 32"),
    (IP + "TCP(sport=1,dport=80,flags='S',seq=5,window=9)", "10.0.0.1.1 > 8.8.8.8.80: tcp [S] seq 5 win 9 payload 0, ttl 63, length 40"),
    (
        IP + "TCP(sport=1,dport=80,flags='PA',seq=5,ack=6,window=9)/b'abc'",
        "10.0.0.1.1 > 8.8.8.8.80: tcp [P.] seq 5 ack 6 win 9 payload 3, ttl 63, length 43",
    ),
    (
        "Ether()/IP(src='10.0.0.1',dst='8.8.8.8',ttl=63,frag=2,proto=17)/b'abcd'",
        "10.0.0.1 > 8.8.8.8: fragment of protocol 17 at 16, ttl 63, length 24",
    ),
    ("Ether()/IP(src='10.0.0.1',dst='8.8.8.8',ttl=63,proto=47)/b'abcd'", "10.0.0.1 > 8.8.8.8: protocol 47, ttl 63, length 24"),
    ("Ether()/ARP(op=1,psrc='10.0.0.1',pdst='10.0.0.2')", "arp who-has 10.0.0.2 tell 10.0.0.1"),
    ("Ether()/ARP(op=2,psrc='10.0.0.1',hwsrc='02:00:00:00:00:09',pdst='10.0.0.2')", "arp 10.0.0.1 is-at 02:00:00:00:00:09"),
    ("Ether()/IPv6(src='fe80::1',dst='ff02::2',hlim=9)/ICMPv6EchoRequest()", "fe80::1 > ff02::2: ip6 next header 58, hop limit 9, length 8"),
    (
        "Ether(src='02:00:00:00:00:01',dst='ff:ff:ff:ff:ff:ff',type=0x88b5)/b'abc'",
        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff: Ethernet type 0x88b5, length 3",
    ),
])
def test_what_a_frame_carries(build: str, said: str) -> None:
    assert oneline(made(build)) == said


@given(st.sampled_from([b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x12\x34"]), st.binary(max_size=60), st.integers(0, 74))
def test_no_frame_is_too_broken(kind: bytes, body: bytes, size: int) -> None:
    assert oneline((bytes(12) + kind + body)[:size])
