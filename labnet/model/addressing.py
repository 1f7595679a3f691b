"""Arithmetic of AWS addressing: subnets, the reserved five, /28 prefixes, free blocks (pure).

Addresses are handled as integers inside and as text outside; `ipaddress` objects are too slow for 5,000 pods.
Source: docs/sources.md#subnets
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, ip_network

PREFIX_BITS = 28
PREFIX_ADDRESSES = 16
RESERVED_HEAD = 4  # network, router, DNS, future use
RESERVED_TAIL = 1  # the broadcast address, which AWS does not offer


@lru_cache(maxsize=8192)
def to_int(address: str) -> int:
    """Dotted text → integer. Errors: ValueError when it is no IPv4 address."""
    parts = address.split(".")
    if len(parts) != 4:
        raise ValueError(f"{address!r} is no IPv4 address")
    number = 0
    for part in parts:
        if not (part.isascii() and part.isdigit()) or len(part) > 3 or int(part) > 255 or (len(part) > 1 and part[0] == "0"):
            raise ValueError(f"{address!r} is no IPv4 address")
        number = number << 8 | int(part)
    return number


def is_address(text: str) -> bool:
    """Is this one IPv4 address, without a mask?"""
    try:
        to_int(text)
    except ValueError:
        return False
    return True


def to_text(number: int) -> str:
    """Integer → dotted text."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@lru_cache(maxsize=4096)
def bounds(cidr: str) -> tuple[int, int]:
    """First and last address of a block, host bits cleared. Errors: ValueError."""
    address, slash, bits = cidr.partition("/")
    if not slash or not bits.isdigit() or int(bits) > 32:
        raise ValueError(f"{cidr!r} is no CIDR block")
    size = 1 << (32 - int(bits))
    first = to_int(address) & ~(size - 1)
    return first, first + size - 1


def prefix_length(cidr: str) -> int:
    """The number behind the slash."""
    return int(cidr.rpartition("/")[2])


def canonical(cidr: str) -> str:
    """The block with its host bits cleared, as AWS stores it. Errors: ValueError."""
    return f"{to_text(bounds(cidr)[0])}/{prefix_length(cidr)}"


def contains(cidr: str, address: str) -> bool:
    """Is the address, or the whole block, inside the block?"""
    first, last = bounds(cidr)
    low, high = bounds(address if "/" in address else f"{address}/32")
    return first <= low and high <= last


def overlap(one: str, other: str) -> bool:
    """Do two blocks share an address?"""
    a, b = bounds(one), bounds(other)
    return a[0] <= b[1] and b[0] <= a[1]


def router_of(subnet_cidr: str) -> str:
    """The VPC router of a subnet: its first address but one."""
    return to_text(bounds(subnet_cidr)[0] + 1)


def resolver_of(vpc_cidr: str) -> str:
    """The resolver's address in a VPC: base plus two of its first block."""
    return to_text(bounds(vpc_cidr)[0] + 2)


def reserved(subnet_cidr: str) -> frozenset[int]:
    """The five addresses of a subnet that AWS keeps: network, router, DNS, future, last."""
    first, last = bounds(subnet_cidr)
    return frozenset((*range(first, first + RESERVED_HEAD), last))


def usable_count(subnet_cidr: str) -> int:
    """Addresses that a new subnet offers: its size less the reserved five."""
    first, last = bounds(subnet_cidr)
    return last - first + 1 - RESERVED_HEAD - RESERVED_TAIL


def prefix_addresses(prefix: str) -> tuple[str, ...]:
    """Every address of a /28 prefix, first and last too: pods may use them all."""
    first, last = bounds(prefix)
    return tuple(to_text(number) for number in range(first, last + 1))


def free_addresses(subnet_cidr: str, taken: Collection[int], start: int = 0) -> Iterator[int]:
    """Free addresses of a subnet, ascending from `start` (0 = its beginning); `taken` holds integers."""
    first, last = bounds(subnet_cidr)
    for number in range(max(first + RESERVED_HEAD, start), last):
        if number not in taken:
            yield number


def free_prefixes(subnet_cidr: str, taken: Collection[int], within: str = "") -> Iterator[str]:
    """Free aligned /28 blocks of a subnet, or of a block `within` it, ascending: none of the sixteen taken or reserved."""
    first, last = bounds(within or subnet_cidr)
    kept = reserved(subnet_cidr)
    for base in range(first, last + 1, PREFIX_ADDRESSES):
        block = range(base, base + PREFIX_ADDRESSES)
        if block[-1] <= last and not any(number in taken or number in kept for number in block):
            yield f"{to_text(base)}/{PREFIX_BITS}"


def parse_block(text: str) -> IPv4Network:
    """A CIDR block as a user writes it. Errors: ValueError that says what is off (host bits too)."""
    network = ip_network(text, strict=True)
    if not isinstance(network, IPv4Network):
        raise ValueError(f"{text} is not an IPv4 block")
    return network
