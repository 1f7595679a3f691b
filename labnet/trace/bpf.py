"""Classic BPF programs for packet sockets, which the kernel runs on every frame before it is kept (pure).

A program is a list of (code, jump if true, jump if false, number). One that loads beyond a frame's end refuses the frame.
Source: docs/sources.md#capture
"""

from __future__ import annotations

from collections.abc import Sequence

from labnet.model.addressing import to_int
from labnet.model.packet import Probe
from labnet.trace.dissect import ETHERNET_BYTES, ETHERTYPE_IPV4, ICMP, ICMP_ERRORS, PROTOCOL_WORDS, TAG

Step = tuple[int, int, int, int]
Program = tuple[Step, ...]

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
LOAD_WORD_BEHIND, LOAD_HALF_BEHIND, LOAD_BYTE_BEHIND = 0x40, 0x48, 0x50
"""At X, the length of the IPv4 header, and the number."""
HEADER_LENGTH = 0xB1
EQUAL, RETURN = 0x15, 0x06
WHOLE = 0x00040000
AT_LINK_INDEX, AT_LINK_TYPE = 0xFFFFF008, 0xFFFFF01C
"""What the kernel knows of a frame beside its bytes: SKF_AD_OFF and an offset."""
LINK_TYPES = (1, 772)
"""ARPHRD_ETHER and ARPHRD_LOOPBACK: what has an Ethernet header."""
MAX_LINKS, MAX_ADDRESSES = 200, 100
PORTS_BYTES = 8
ACCEPT, DROP, NEXT = "accept", "drop", "next"

EVERYTHING: Program = ((RETURN, 0, 0, WHOLE),)
NOTHING: Program = ((RETURN, 0, 0, 0),)
IPV4_ONLY: Program = ((LOAD_HALF, 0, 0, 12), (EQUAL, 0, 1, ETHERTYPE_IPV4), (RETURN, 0, 0, WHOLE), (RETURN, 0, 0, 0))


def probe_filter(probe: Probe, answered_from: Sequence[int] = ()) -> Program:
    """What `dissect.part_of` may know as the probe's: frames with its identity, and ICMP errors, which may quote it.

    Addresses and ports are not asked for, as NAT changes them; but answers over UDP need not carry the identity: what comes from one
    of the ports `answered_from` is kept too.
    """
    number = {word: kind for kind, word in PROTOCOL_WORDS.items()}[probe.protocol]
    ident = probe.ident & 0xFFFFFFFF
    errors = [(EQUAL, kind, ACCEPT, NEXT) for kind in sorted(ICMP_ERRORS)]
    if probe.protocol == "tcp":
        behind = ETHERNET_BYTES + 4
        own = [
            (LOAD_WORD_BEHIND, behind, NEXT, NEXT), (EQUAL, ident, ACCEPT, NEXT),
            (LOAD_WORD_BEHIND, behind + 4, NEXT, NEXT), (EQUAL, (ident + 1) & 0xFFFFFFFF, ACCEPT, DROP),
        ]
    else:
        by_port = list(answered_from)[:MAX_LINKS] if probe.protocol == "udp" else []
        own = [(LOAD_HALF_BEHIND, ETHERNET_BYTES, NEXT, NEXT), *((EQUAL, port, ACCEPT, NEXT) for port in by_port)] if by_port else []
        own += [(LOAD_WORD_BEHIND, ETHERNET_BYTES + PORTS_BYTES + len(TAG), NEXT, NEXT), (EQUAL, ident, ACCEPT, DROP)]
    icmp = [(LOAD_BYTE_BEHIND, ETHERNET_BYTES, NEXT, NEXT), *errors]
    head = [
        (LOAD_HALF, 12, NEXT, NEXT), (EQUAL, ETHERTYPE_IPV4, NEXT, DROP), (HEADER_LENGTH, ETHERNET_BYTES, NEXT, NEXT),
        (LOAD_BYTE, ETHERNET_BYTES + 9, NEXT, NEXT),
    ]
    if number == ICMP:
        return _assembled([*head, (EQUAL, ICMP, NEXT, DROP), *icmp, *own])
    return _assembled([*head, (EQUAL, number, len(icmp) + 2, NEXT), (EQUAL, ICMP, NEXT, DROP), *icmp, (RETURN, 0, NEXT, NEXT), *own])


def of_addresses(addresses: Sequence[str]) -> Program:
    """IPv4 from or to one of these addresses. Errors: ValueError for more than 100 of them."""
    if len(addresses) > MAX_ADDRESSES:
        raise ValueError(f"{len(addresses)} addresses are more than {MAX_ADDRESSES}")
    numbers = [to_int(address) for address in addresses]
    count = len(numbers)
    source = [(EQUAL, number, count - place + 1 + count, NEXT) for place, number in enumerate(numbers)]
    target = [(EQUAL, number, ACCEPT, NEXT) for number in numbers]
    return _assembled([
        (LOAD_HALF, 12, NEXT, NEXT), (EQUAL, ETHERTYPE_IPV4, NEXT, DROP),
        (LOAD_WORD, ETHERNET_BYTES + 12, NEXT, NEXT), *source, (LOAD_WORD, ETHERNET_BYTES + 16, NEXT, NEXT), *target, (RETURN, 0, NEXT, NEXT),
    ])


def ethernet_only(program: Program) -> Program:
    """The program, for links with an Ethernet header alone: any other's first bytes would be misread."""
    return _among(AT_LINK_TYPE, LINK_TYPES) + program


def on_links(program: Program, indexes: Sequence[int]) -> Program:
    """The program, for these links of a namespace alone. Errors: ValueError for more than 200 of them."""
    if len(indexes) > MAX_LINKS:
        raise ValueError(f"{len(indexes)} links are more than {MAX_LINKS}")
    return _among(AT_LINK_INDEX, indexes) + program


def _among(where: int, numbers: Sequence[int]) -> Program:
    """Goes on behind it when the number there is one of these."""
    return (
        (LOAD_WORD, 0, 0, where),
        *((EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)),
        (RETURN, 0, 0, 0),
    )


def _assembled(lines: Sequence[tuple[int, int, str | int, str | int]]) -> Program:
    """Steps whose jumps are words, or counts of steps; behind them stand accept and drop."""
    accept = len(lines)

    def jump(word: str | int, line: int) -> int:
        ends = {ACCEPT: accept - line - 1, DROP: accept - line, NEXT: 0}
        return ends[word] if isinstance(word, str) else word

    steps = tuple((code, jump(yes, line), jump(no, line), number) for line, (code, number, yes, no) in enumerate(lines))
    return (*steps, (RETURN, 0, 0, WHOLE), (RETURN, 0, 0, 0))
