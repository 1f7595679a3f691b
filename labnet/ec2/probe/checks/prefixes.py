"""Prefixes of ENIs: aligned /28 blocks, each counted as one address."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

from labnet.ec2.probe.check import expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Prefixes")
NONE_FREE = "The specified subnet does not have enough free cidr blocks to satisfy the request."


@check("prefix count")
def prefix_count(at: Site) -> None:
    """Ipv4PrefixCount is honoured when an ENI is made and when prefixes are assigned."""
    subnet = at.subnet()
    eni = at.eni(subnet, Ipv4PrefixCount=2)
    same(len(at.prefixes(eni)), 2, "prefixes of a new ENI")
    answer = at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    named = [item["Ipv4Prefix"] for item in answer.get("AssignedIpv4Prefixes", [])]
    same(len(named), 1, "prefixes named by the answer")
    expect(named[0] in at.prefixes(eni) and len(at.prefixes(eni)) == 3, f"the ENI has {at.prefixes(eni)}")


@check("prefix alignment")
def prefix_aligned(at: Site) -> None:
    """Prefixes are aligned /28 blocks of the subnet, none of them twice."""
    subnet = at.subnet()
    found = [one for eni in (at.eni(subnet, Ipv4PrefixCount=3) for _ in range(2)) for one in at.prefixes(eni)]
    same(len(set(found)), 6, "different prefixes of two ENIs with three each")
    for prefix in found:
        block = IPv4Network(prefix)  # a ValueError where host bits are set
        expect(block.prefixlen == 28 and IPv4Network("10.77.1.0/24").supernet_of(block), f"{prefix} is no /28 of 10.77.1.0/24")


@check("prefix alignment")
def prefix_named_badly(at: Site) -> None:
    """A named prefix that is not aligned, not a /28 or elsewhere is InvalidParameterValue."""
    eni = at.eni(at.subnet())
    for prefix in ("10.77.1.24/28", "10.77.1.32/27", "10.77.2.16/28"):
        at.refused("AssignPrivateIpAddresses", "InvalidParameterValue", NetworkInterfaceId=eni, Ipv4Prefixes=[prefix])


@check("prefix takes addresses")
def prefix_is_taken(at: Site) -> None:
    """An address of a prefix is nobody else's."""
    subnet = at.subnet("10.77.1.0/26")
    eni = at.eni(subnet, Ipv4Prefixes=[{"Ipv4Prefix": "10.77.1.16/28"}])
    same(at.prefixes(eni), ["10.77.1.16/28"], "the ENI's prefixes")
    codes = "InvalidIPAddress.InUse InvalidParameterValue"
    at.refused("CreateNetworkInterface", codes, SubnetId=subnet, PrivateIpAddress="10.77.1.20")
    other = at.eni(subnet, SecondaryPrivateIpAddressCount=30)
    inside = [one for one in at.addresses(other) if ip_address(one) in ip_network("10.77.1.16/28")]
    same(inside, [], "addresses of the prefix on another ENI")


@check("prefix takes addresses")
def prefix_in_use(at: Site) -> None:
    """A block with one address in use is no prefix."""
    subnet = at.subnet()
    eni = at.eni(subnet, PrivateIpAddress="10.77.1.40")
    codes = "InvalidIPAddress.InUse InvalidParameterValue InsufficientCidrBlocks"
    at.refused("AssignPrivateIpAddresses", codes, NetworkInterfaceId=eni, Ipv4Prefixes=["10.77.1.32/28"])


@check("no aligned /28")
def prefix_none_free(at: Site) -> None:
    """A /26 has two free blocks, the ends are reserved; the third is InsufficientCidrBlocks."""
    subnet = at.subnet("10.77.1.0/26")
    eni = at.eni(subnet, PrivateIpAddress="10.77.1.4", Ipv4PrefixCount=2)
    same(sorted(at.prefixes(eni)), ["10.77.1.16/28", "10.77.1.32/28"], "the two prefixes")
    at.refused("AssignPrivateIpAddresses", "InsufficientCidrBlocks", NONE_FREE, NetworkInterfaceId=eni, Ipv4PrefixCount=1)


@check("no aligned /28")
def prefix_fragmented(at: Site) -> None:
    """Fragmented: 50 and more addresses are free, no block is."""
    subnet = at.subnet("10.77.1.0/26")
    eni = at.eni(subnet, PrivateIpAddress="10.77.1.20")
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddresses=["10.77.1.40"])
    at.refused("AssignPrivateIpAddresses", "InsufficientCidrBlocks", NONE_FREE, NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    same(at.free(subnet), 57, "AvailableIpAddressCount")


@check("a prefix counts as one address")
def prefix_counts_one(at: Site) -> None:
    """A t3.small has four places: its primary address and three prefixes fill an ENI."""
    eni = at.primary(at.instance(at.subnet()))["NetworkInterfaceId"]
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=3)
    text = "Number of private addresses will exceed limit."
    for more in ({"Ipv4PrefixCount": 1}, {"SecondaryPrivateIpAddressCount": 1}):
        at.refused("AssignPrivateIpAddresses", "PrivateIpAddressLimitExceeded", text, NetworkInterfaceId=eni, **more)
    same(len(at.prefixes(eni)), 3, "prefixes of the ENI")


@check("prefix given back")
def prefix_given_back(at: Site) -> None:
    """An unassigned prefix gives its sixteen addresses back."""
    subnet = at.subnet()
    eni = at.eni(subnet, Ipv4PrefixCount=1)
    at.call("UnassignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4Prefixes=at.prefixes(eni))
    same([at.prefixes(eni), at.free(subnet)], [[], 250], "prefixes and AvailableIpAddressCount")


@check("prefix given back")
def prefix_foreign(at: Site) -> None:
    """A prefix that the ENI has not can not be unassigned: InvalidParameterValue."""
    eni = at.eni(at.subnet())
    at.refused("UnassignPrivateIpAddresses", "InvalidParameterValue", NetworkInterfaceId=eni, Ipv4Prefixes=["10.77.1.64/28"])
