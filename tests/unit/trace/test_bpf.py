"""Filters run by the kernel itself: on a pair of unix sockets, which needs no right and no network."""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import replace

import pytest
from test_trace_frames import on_wire

from labnet.model.packet import Frame, Probe
from labnet.trace.bpf import EVERYTHING, IPV4_ONLY, NOTHING, Program, of_addresses, on_links, probe_filter
from labnet.trace.dissect import part_of
from labnet.trace.probe import craft

IDENT = 0x01020304
NATTED = Frame("02:00:00:00:00:01", "02:00:00:00:00:02", "52.1.1.1", "8.8.8.8", "", 1_024, 53, 60, 0)


def passes(program: Program, data: bytes) -> bool:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        far.setblocking(False)
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
        far.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(program), ctypes.addressof(code)))
        try:
            near.send(data)
            return bool(far.recv(1 << 16))
        except (BlockingIOError, PermissionError):  # a unix socket tells its sender that the filter refused
            return False


def icmp_error(quoted: bytes) -> bytes:
    body = struct.pack("!BBHI", 3, 1, 0, 0) + quoted
    return on_wire(NATTED, Probe("icmp", "", ""))[:14] + struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 1, 0, socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
    ) + body


@pytest.mark.parametrize("protocol", ["icmp", "udp", "tcp"])
def test_a_probe_its_answer_and_errors_pass_whatever_nat_made_of_their_addresses(protocol: str) -> None:
    probe = Probe(protocol, "10.0.0.1", "10.0.0.2", 20_000, 53, IDENT)  # type: ignore[arg-type]
    other = Probe(protocol, "10.0.0.1", "10.0.0.2", 20_000, 53, IDENT + 7)  # type: ignore[arg-type]
    program = probe_filter(probe)
    own = on_wire(NATTED, probe)
    wanted = [own, on_wire(NATTED, probe, "answer"), icmp_error(own[14:])]
    wanted += [on_wire(NATTED, probe, "refusal")] if protocol == "tcp" else []
    assert all(part_of(frame, probe) is not None for frame in wanted[:1] + wanted[2:])
    assert [passes(program, frame) for frame in wanted] == [True] * len(wanted)
    refused = [on_wire(NATTED, other), on_wire(NATTED, other, "answer"), own[:30], b"\xff" * 14, own[:12] + b"\x86\xdd" + own[14:]]
    for word in {"icmp", "udp", "tcp"} - {protocol}:
        refused.append(on_wire(NATTED, Probe(word, "", "", ident=IDENT)))  # type: ignore[arg-type]
    assert [passes(program, frame) for frame in refused] == [False] * len(refused)


def test_an_ip_header_with_options_is_stepped_over() -> None:
    probe = Probe("udp", "10.0.0.1", "10.0.0.2", 20_000, 53, IDENT)
    plain = on_wire(NATTED, probe)
    longer = plain[:14] + bytes([0x46]) + plain[15:34] + b"\x01\x01\x01\x00" + plain[34:]
    assert part_of(longer, probe) == "probe" and passes(probe_filter(probe), longer)


def test_addresses_at_either_end() -> None:
    program = of_addresses(["10.0.0.9", "52.1.1.1", "10.0.0.4"])
    probe = Probe("udp", "", "", ident=IDENT)

    def between(src: str, dst: str) -> bytes:
        return on_wire(replace(NATTED, src=src, dst=dst), probe)

    ends = [("52.1.1.1", "8.8.8.8"), ("8.8.8.8", "10.0.0.4"), ("10.0.0.9", "10.0.0.4"), ("8.8.8.8", "8.8.4.4"), ("10.0.0.8", "10.0.0.5")]
    assert [passes(program, between(*both)) for both in ends] == [True, True, True, False, False]
    assert not passes(program, b"\xff" * 12 + b"\x08\x06" + bytes(28))
    assert passes(of_addresses(["10.0.0.9"]), between("10.0.0.9", "1.1.1.1")) and len(of_addresses([f"10.0.{n}.1" for n in range(100)])) < 256
    many = of_addresses([f"10.0.{n}.1" for n in range(100)])
    assert passes(many, between("10.0.0.1", "8.8.8.8")) and passes(many, between("8.8.8.8", "10.0.99.1"))
    with pytest.raises(ValueError, match="more than 100"):
        of_addresses([f"10.0.{n}.1" for n in range(101)])


def test_all_nothing_and_ipv4() -> None:
    arp, ip = b"\xff" * 12 + b"\x08\x06" + bytes(28), b"\xff" * 12 + b"\x08\x00" + bytes(28)
    assert [passes(program, arp) for program in (EVERYTHING, IPV4_ONLY, NOTHING)] == [True, False, False]
    assert [passes(program, ip) for program in (EVERYTHING, IPV4_ONLY, NOTHING)] == [True, True, False]


def test_more_links_than_a_jump_reaches_are_refused() -> None:
    assert len(on_links(EVERYTHING, range(200))) == 203
    with pytest.raises(ValueError, match="more than 200"):
        on_links(EVERYTHING, range(201))


def test_answers_over_udp_pass_by_the_port_they_come_from() -> None:
    """A server's answer need not hold anything of the question."""
    probe = Probe("udp", "10.0.0.1", "10.0.0.2", 40_000, 53, ident=7)
    ethernet = b"\xff" * 12 + b"\x08\x00"

    def answer(port: int, protocol: int = 17) -> bytes:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 60, 1, 0, 64, protocol, 0) + bytes(8)
        return ethernet + head + struct.pack("!HHHH", port, 40_000, 40, 0) + b"nothing of what was asked, but enough"

    program = probe_filter(probe, [53, 5_353])
    assert [passes(program, answer(port)) for port in (53, 5_353, 54)] == [True, True, False]
    assert passes(program, ethernet + craft(probe)) and not passes(program, answer(53, protocol=6))
    assert not passes(probe_filter(probe), answer(53))
