"""Addresses of subnets: which are free, which are taken, and the public pool (pure).

`CloudState.taken` holds the addresses of each subnet as integers, prefixes expanded. The choice is always the lowest free
one, so that a scenario comes out the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from labnet.ec2.rules.request import invalid
from labnet.errors import Ec2Error
from labnet.model.addressing import PREFIX_BITS, bounds, contains, free_addresses, free_prefixes, overlap, reserved, to_int, to_text
from labnet.model.cloud import CloudState, Subnet
from labnet.model.cloud_vpc import CidrReservation

PUBLIC_POOLS = ("203.0.113.0/24", "198.51.100.0/24", "192.88.99.0/24")


def taken_in(state: CloudState, subnet: Subnet) -> frozenset[int]:
    """The used addresses of a subnet."""
    return state.taken.get(subnet.id, frozenset())


def free_count(state: CloudState, subnet: Subnet) -> int:
    """AvailableIpAddressCount: size less the reserved five and everything taken."""
    first, last = bounds(subnet.cidr)
    return last - first + 1 - 5 - len(taken_in(state, subnet))


def choose(state: CloudState, subnet: Subnet, count: int) -> list[str]:
    """The lowest free addresses that no reservation keeps. Errors: Ec2Error InsufficientFreeAddressesInSubnet."""
    found = [to_text(number) for number in islice(_choosable(state, subnet), count)]
    if len(found) < count:
        text = "The specified subnet does not have enough free addresses to satisfy the request."
        raise Ec2Error("InsufficientFreeAddressesInSubnet", text)
    return found


def choose_prefixes(state: CloudState, subnet: Subnet, count: int) -> list[str]:
    """The lowest free /28 blocks, those of prefix reservations first. Errors: Ec2Error InsufficientCidrBlocks."""
    found = list(islice(_choosable_prefixes(state, subnet), count))
    if len(found) < count:
        text = "The specified subnet does not have enough free cidr blocks to satisfy the request."
        raise Ec2Error("InsufficientCidrBlocks", text)
    return found


def _choosable(state: CloudState, subnet: Subnet) -> Iterator[int]:
    """Free addresses outside of every reservation, ascending. Source: docs/sources.md#cidr-reservations"""
    taken, start = taken_in(state, subnet), 0
    for first, last in sorted(bounds(one.cidr) for one in _reservations(state, subnet)):
        for number in free_addresses(subnet.cidr, taken, start):
            if number >= first:
                break
            yield number
        start = last + 1
    yield from free_addresses(subnet.cidr, taken, start)


def _choosable_prefixes(state: CloudState, subnet: Subnet) -> Iterator[str]:
    """Free /28 blocks: in the reservations for prefixes, then outside of all. Source: docs/sources.md#cidr-reservations"""
    kept, taken = _reservations(state, subnet), taken_in(state, subnet)
    for one in kept:
        if one.type == "prefix":
            yield from free_prefixes(subnet.cidr, taken, one.cidr)
    for prefix in free_prefixes(subnet.cidr, taken):
        if not any(overlap(prefix, one.cidr) for one in kept):
            yield prefix


def _reservations(state: CloudState, subnet: Subnet) -> list[CidrReservation]:
    return [one for one in state.cidr_reservations.values() if one.subnet_id == subnet.id]


def check_given(state: CloudState, subnet: Subnet, addresses: Sequence[str]) -> None:
    """Addresses that a request names: in the subnet, not reserved, free, each once. Errors: Ec2Error."""
    for place, address in enumerate(addresses):
        try:
            number = to_int(address)
        except ValueError:
            raise invalid(f"invalid value for parameter address: {address}") from None
        if not contains(subnet.cidr, address):
            raise invalid(f"invalid value for parameter address: {address}")
        if number in reserved(subnet.cidr):
            raise invalid(f"Address {address} is in subnet's reserved address range")
        if number in taken_in(state, subnet) or address in addresses[:place]:
            raise Ec2Error("InvalidIPAddress.InUse", f"Address {address} is in use.")


def check_given_prefixes(state: CloudState, subnet: Subnet, prefixes: Sequence[str]) -> None:
    """Prefixes that a request names: aligned /28 blocks of the subnet, wholly free. Errors: Ec2Error."""
    seen: set[int] = set()
    for prefix in prefixes:
        try:
            first, last = bounds(prefix)
            aligned = prefix == f"{to_text(first)}/{PREFIX_BITS}"
        except ValueError:
            aligned = False
        if not aligned or not contains(subnet.cidr, prefix):
            raise invalid(f"invalid value for parameter prefix: {prefix}")
        block = set(range(first, last + 1))
        if block & reserved(subnet.cidr):
            raise invalid(f"Prefix {prefix} is in subnet's reserved address range")
        if block & seen or not block.isdisjoint(taken_in(state, subnet)):
            raise Ec2Error("InvalidIPAddress.InUse", f"Prefix {prefix} is in use.")
        seen |= block


def take(state: CloudState, subnet_id: str, addresses: Iterable[str], prefixes: Iterable[str] = ()) -> CloudState:
    """Mark addresses as used."""
    return replace(state, taken=taken_with(state, subnet_id, addresses, prefixes))


def taken_with(state: CloudState, subnet_id: str, addresses: Iterable[str], prefixes: Iterable[str] = ()) -> Mapping[str, frozenset[int]]:
    """`state.taken` with addresses marked as used: for who changes more than that at once."""
    return {**state.taken, subnet_id: state.taken.get(subnet_id, frozenset()) | _numbers(addresses, prefixes)}


def give_back(state: CloudState, subnet_id: str, addresses: Iterable[str], prefixes: Iterable[str] = ()) -> CloudState:
    """Mark addresses as free."""
    return replace(state, taken={**state.taken, subnet_id: state.taken.get(subnet_id, frozenset()) - _numbers(addresses, prefixes)})


def _numbers(addresses: Iterable[str], prefixes: Iterable[str]) -> frozenset[int]:
    numbers = {to_int(address) for address in addresses}
    for prefix in prefixes:
        first, last = bounds(prefix)
        numbers.update(range(first, last + 1))
    return frozenset(numbers)


def take_public(state: CloudState) -> tuple[CloudState, str]:
    """The next public address. Errors: Ec2Error AddressLimitExceeded when all are used."""
    for pool in PUBLIC_POOLS:
        first, last = bounds(pool)
        for number in range(first + 1, last):
            address = to_text(number)
            if address not in state.public_taken:
                return replace(state, public_taken=state.public_taken | {address}), address
    raise Ec2Error("AddressLimitExceeded", "The maximum number of addresses has been reached.")


def give_back_public(state: CloudState, address: str | None) -> CloudState:
    """A public address leaves its ENI: one that came with a launch is free again, an Elastic IP stays and is associated with nothing."""
    elastic = state.elastic(address)
    if elastic is not None:
        return replace(state, addresses={**state.addresses, elastic.id: replace(elastic, association=None)})
    return state if address is None else replace(state, public_taken=state.public_taken - {address})
