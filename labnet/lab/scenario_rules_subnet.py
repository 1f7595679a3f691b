"""What must hold for the things inside a subnet: CIDR reservations, and ENIs of others (pure).

Source: docs/sources.md#cidr-reservations
"""

from __future__ import annotations

from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.scenario_problems import Findings, Path
from labnet.model import addressing


def check_inside(subnet: vpcwords.Subnet, path: Path, findings: Findings) -> None:
    """Note everything that is wrong with what a subnet holds; its own block is known to be good."""
    _reservations(subnet, path, findings)
    taken: dict[int, str] = {}
    for n, eni in enumerate(subnet.network_interfaces):
        at: Path = (*path, "networkInterfaces", n, "privateIpAddresses")
        if not eni.private_ip_addresses:
            findings.add(at, "is empty", f"an ENI has an address: [{addressing.to_text(addressing.bounds(subnet.cidr)[0] + 20)}]")
        for m, address in enumerate(eni.private_ip_addresses):
            _address(subnet, address, (*at, m), taken, findings)


def _reservations(subnet: vpcwords.Subnet, path: Path, findings: Findings) -> None:
    good: list[str] = []
    for n, one in enumerate(subnet.cidr_reservations):
        at: Path = (*path, "cidrReservations", n, "cidr")
        try:
            canonical = addressing.canonical(one.cidr)
        except ValueError:
            findings.add(at, f"{one.cidr!r} is not an IPv4 block", f"a part of {subnet.cidr}")
            continue
        if canonical != one.cidr:
            findings.add(at, f"{one.cidr} has host bits set", f"the block is {canonical}")
        elif not addressing.contains(subnet.cidr, one.cidr):
            findings.add(at, f"{one.cidr} is outside of the subnet", f"the subnet is {subnet.cidr}")
        elif one.reservation_type == "prefix" and addressing.prefix_length(one.cidr) > addressing.PREFIX_BITS:
            findings.add(at, f"{one.cidr} has no room for a prefix", f"prefixes are /{addressing.PREFIX_BITS}")
        else:
            for other in good:
                if addressing.overlap(one.cidr, other):
                    findings.add(at, f"{one.cidr} overlaps {other}, another reservation", "reservations must not overlap")
            good.append(one.cidr)


def _address(subnet: vpcwords.Subnet, address: str, path: Path, taken: dict[int, str], findings: Findings) -> None:
    try:
        number = addressing.to_int(address)
    except ValueError:
        findings.add(path, f"{address!r} is no IPv4 address", f"one of {subnet.cidr}")
        return
    if not addressing.contains(subnet.cidr, address):
        findings.add(path, f"{address} is outside of the subnet", f"the subnet is {subnet.cidr}")
    elif number in addressing.reserved(subnet.cidr):
        findings.add(path, f"{address} is one of the five that AWS keeps", "the first four and the last are not to be had")
    elif number in taken:
        findings.add(path, f"{address} stands here twice", "each address is on one ENI")
    taken[number] = address
