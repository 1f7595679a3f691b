"""What connection tracking of a namespace says of translated flows."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from labnet.kernel import conntrack
from labnet.kernel.door import LinuxKernel
from labnet.model.flow import Flow
from labnet.model.netstate import Addr, Change, Link, LinkUp, Route, VethPeer

pytestmark = pytest.mark.kernel


def test_a_translated_flow_is_read_as_it_began_and_as_it_went_on(kernel: LinuxKernel, name: Callable[[str], str]) -> None:
    near, far = name("near"), name("far")
    kernel.create_netns([near, far])
    here = (Link("wire", peer=VethPeer(far, "eth0")), Addr("wire", "10.0.0.1", 24), LinkUp("wire"), Route("10.9.9.0/24", "wire", scope="link"))
    kernel.apply([
        (near, tuple(Change("add", one) for one in here)),
        (far, tuple(Change("add", one) for one in (Addr("eth0", "10.0.0.2", 24), LinkUp("eth0")))),
    ])
    for words in (("-p", "udp", "-j", "DNAT", "--to-destination", "10.0.0.2:99"), ("-p", "icmp", "-j", "DNAT", "--to-destination", "10.0.0.2")):
        done = kernel.run(near, ["iptables", "-t", "nat", "-A", "OUTPUT", "-d", "10.9.9.9", *words])
        assert done.exit_code == 0, done.stderr
    with kernel.open_socket(near, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("10.9.9.9", 80))
        port = sender.getsockname()[1]
    assert any(kernel.run(near, ["ping", "-c1", "-W1", "10.9.9.9"]).exit_code == 0 for _ in range(3))
    handle = kernel.open_netns(near)
    try:
        found = conntrack.tracked(handle, near)
    finally:
        os.close(handle)
    udp = next(one for one in found if one.began.protocol == 17)
    assert (udp.began, udp.went_on, udp.translated) == (
        Flow(17, "10.0.0.1", "10.9.9.9", port, 80), Flow(17, "10.0.0.1", "10.0.0.2", port, 99), True,
    )
    icmp = next(one for one in found if one.began.protocol == 1)
    assert icmp.began.source_port == icmp.began.destination_port == icmp.went_on.source_port > 0
    assert (icmp.began.destination, icmp.went_on.destination) == ("10.9.9.9", "10.0.0.2")
