"""Addresses of subnets: the reserved five, none twice, and a count that is the truth."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from labnet.ec2.probe.check import Refusal, expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Addresses")
SMALLEST = "10.77.1.0/28"
USABLE = [f"10.77.1.{number}" for number in range(4, 15)]
FULL = "The specified subnet does not have enough free addresses to satisfy the request."
FULL_CODES = "InsufficientFreeAddressesInSubnet InvalidParameterValue"  # CreateNetworkInterface tells it in two ways
FULL_TEXTS = (FULL, "There aren't sufficient free Ipv4 addresses or prefixes")


@check("reserved addresses")
def free_count_of_sizes(at: Site) -> None:
    """A /28 has 11 addresses, a /24 has 251."""
    vpc = at.vpc()
    for cidr, count in (("10.77.1.0/28", 11), ("10.77.2.0/24", 251), ("10.77.16.0/20", 4091)):
        same(at.free(at.subnet(cidr, vpc)), count, f"AvailableIpAddressCount of a new {cidr}")


@check("reserved addresses")
def reserved_named(at: Site) -> None:
    """The first four addresses and the last one can not be asked for."""
    subnet = at.subnet(SMALLEST)
    for number in (0, 1, 2, 3, 15):
        at.refused("CreateNetworkInterface", "InvalidParameterValue", SubnetId=subnet, PrivateIpAddress=f"10.77.1.{number}")


@check("reserved addresses")
def fill_with_enis(at: Site) -> None:
    """ENIs fill a /28 with its eleven addresses, each once; the twelfth is refused."""
    subnet = at.subnet(SMALLEST)
    made = [at.call("CreateNetworkInterface", SubnetId=subnet)["NetworkInterface"]["PrivateIpAddress"] for _ in USABLE]
    same(sorted(made, key=ip_address), USABLE, "the addresses handed out")
    at.refused("CreateNetworkInterface", FULL_CODES, FULL_TEXTS, SubnetId=subnet)


@check("subnet exhausted")
def fill_by_assign(at: Site) -> None:
    """AssignPrivateIpAddresses fills the subnet and then says InsufficientFreeAddressesInSubnet."""
    subnet = at.subnet(SMALLEST)
    eni = at.eni(subnet)
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=len(USABLE) - 1)
    same(sorted(at.addresses(eni), key=ip_address), USABLE, "the addresses handed out")
    wanted = {"NetworkInterfaceId": eni, "SecondaryPrivateIpAddressCount": 1}
    at.refused("AssignPrivateIpAddresses", "InsufficientFreeAddressesInSubnet", FULL, **wanted)


@check("subnet exhausted")
def all_or_nothing(at: Site) -> None:
    """Who asks for more than there is gets none of it."""
    subnet = at.subnet(SMALLEST)
    at.refused("CreateNetworkInterface", FULL_CODES, FULL_TEXTS, SubnetId=subnet, SecondaryPrivateIpAddressCount=len(USABLE))
    same(at.free(subnet), len(USABLE), "AvailableIpAddressCount after the refusal")


@check("subnet exhausted")
def run_in_a_full_subnet(at: Site) -> None:
    """RunInstances in a full subnet says InsufficientFreeAddressesInSubnet."""
    subnet = at.subnet(SMALLEST)
    at.eni(subnet, SecondaryPrivateIpAddressCount=len(USABLE) - 1)
    params = {"ImageId": at.endpoint.image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    at.refused("RunInstances", "InsufficientFreeAddressesInSubnet", FULL, **params)


@check("AvailableIpAddressCount")
def free_count_follows(at: Site) -> None:
    """Drops by one with each private address, primary or secondary, and comes back."""
    subnet = at.subnet()
    eni = at.eni(subnet)
    same(at.free(subnet), 250, "with one ENI")
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=3)
    same(at.free(subnet), 247, "with three secondary addresses more")
    gone = [one for one in at.addresses(eni) if one != at.see_eni(eni)["PrivateIpAddress"]][:2]
    at.call("UnassignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddresses=gone)
    same(at.free(subnet), 249, "with two addresses less")
    at.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    same(at.free(subnet), 251, "with nothing")


@check("AvailableIpAddressCount")
def free_count_of_a_prefix(at: Site) -> None:
    """Drops by sixteen with a /28 prefix."""
    subnet = at.subnet()
    eni = at.eni(subnet)
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    same(at.free(subnet), 250 - 16, "with one ENI and one prefix")


@check("AvailableIpAddressCount")
def free_count_never_negative(at: Site) -> None:
    """Is never below zero, whatever is asked for."""
    subnet = at.subnet(SMALLEST)
    for _ in range(16):
        try:
            at.call("CreateNetworkInterface", SubnetId=subnet, SecondaryPrivateIpAddressCount=2)
        except Refusal:
            break
    expect(0 <= at.free(subnet) < 3, f"AvailableIpAddressCount is {at.free(subnet)}")


@check("given address taken")
def named_taken(at: Site) -> None:
    """InvalidIPAddress.InUse."""
    subnet = at.subnet()
    at.eni(subnet, PrivateIpAddress="10.77.1.50")
    texts = ("Address 10.77.1.50 is in use.", "The specified address is already in use.")
    at.refused("CreateNetworkInterface", "InvalidIPAddress.InUse", texts, SubnetId=subnet, PrivateIpAddress="10.77.1.50")


@check("given address taken")
def named_taken_by_a_secondary(at: Site) -> None:
    """A secondary address is taken too, and RunInstances is told so."""
    subnet = at.subnet()
    listed = [{"PrivateIpAddress": "10.77.1.50", "Primary": True}, {"PrivateIpAddress": "10.77.1.51", "Primary": False}]
    at.eni(subnet, PrivateIpAddresses=listed)
    params = {"ImageId": at.endpoint.image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    at.refused("RunInstances", "InvalidIPAddress.InUse", PrivateIpAddress="10.77.1.51", **params)


@check("given address outside the subnet")
def named_outside(at: Site) -> None:
    """InvalidParameterValue: invalid value for parameter address."""
    subnet = at.subnet()
    for address in ("10.77.2.9", "192.0.2.1"):
        text = f"invalid value for parameter address: {address}"
        at.refused("CreateNetworkInterface", "InvalidParameterValue", text, SubnetId=subnet, PrivateIpAddress=address)


@check("given address outside the subnet")
def assigned_outside(at: Site) -> None:
    """AssignPrivateIpAddresses takes none of elsewhere either."""
    eni = at.eni(at.subnet())
    at.refused("AssignPrivateIpAddresses", "InvalidParameterValue", NetworkInterfaceId=eni, PrivateIpAddresses=["10.77.2.9"])


@check("addresses handed out")
def handed_out(at: Site) -> None:
    """All lie in the subnet, none is reserved, none comes twice."""
    subnet = at.subnet("10.77.1.0/27")
    found = [one for eni in (at.eni(subnet, SecondaryPrivateIpAddressCount=7) for _ in range(3)) for one in at.addresses(eni)]
    same(len(found), 24, "addresses of three ENIs with eight each")
    same(len(set(found)), 24, "different ones among them")
    block = ip_network("10.77.1.0/27")
    wrong = [one for one in found if ip_address(one) not in block or one in (str(block[n]) for n in (0, 1, 2, 3, -1))]
    same(wrong, [], "addresses that nobody may have")


@check("address moves")
def reassignment(at: Site) -> None:
    """A secondary address of another ENI comes only with AllowReassignment."""
    subnet = at.subnet()
    one, other = at.eni(subnet), at.eni(subnet)
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=one, PrivateIpAddresses=["10.77.1.60"])
    wanted = {"NetworkInterfaceId": other, "PrivateIpAddresses": ["10.77.1.60"]}
    at.refused("AssignPrivateIpAddresses", "InvalidIPAddress.InUse InvalidParameterValue", **wanted)
    at.call("AssignPrivateIpAddresses", AllowReassignment=True, **wanted)
    same(["10.77.1.60" in at.addresses(one), "10.77.1.60" in at.addresses(other)], [False, True], "who has it (old, new)")


@check("unassign a foreign address")
def unassign_foreign(at: Site) -> None:
    """InvalidParameterValue."""
    eni = at.eni(at.subnet())
    wanted = {"NetworkInterfaceId": eni, "PrivateIpAddresses": ["10.77.1.99"]}
    at.refused("UnassignPrivateIpAddresses", "InvalidParameterValue", **wanted)


@check("unassign a foreign address")
def unassign_primary(at: Site) -> None:
    """The primary address can not be taken away."""
    eni = at.eni(at.subnet())
    primary = at.see_eni(eni)["PrivateIpAddress"]
    at.refused("UnassignPrivateIpAddresses", "InvalidParameterValue", NetworkInterfaceId=eni, PrivateIpAddresses=[primary])
    same(at.addresses(eni), [primary], "the ENI's addresses")


@check("addresses per ENI")
def over_the_limit(at: Site) -> None:
    """A t3.small has four; one more is PrivateIpAddressLimitExceeded."""
    instance = at.instance(at.subnet())
    eni = at.primary(instance)["NetworkInterfaceId"]
    wanted = {"NetworkInterfaceId": eni, "SecondaryPrivateIpAddressCount": 4}
    text = "Number of private addresses will exceed limit."
    at.refused("AssignPrivateIpAddresses", "PrivateIpAddressLimitExceeded", text, **wanted)
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=3)
    at.refused("AssignPrivateIpAddresses", "PrivateIpAddressLimitExceeded", text, NetworkInterfaceId=eni, PrivateIpAddresses=["10.77.1.200"])
    same(len(at.addresses(eni)), 4, "addresses of the ENI")


@check("addresses per ENI")
def assign_names(at: Site) -> None:
    """The answer of AssignPrivateIpAddresses names what it assigned."""
    eni = at.eni(at.subnet())
    before = set(at.addresses(eni))
    answer = at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    named = {item["PrivateIpAddress"] for item in answer.get("AssignedPrivateIpAddresses", [])}
    same(named, set(at.addresses(eni)) - before, "the addresses named")


@check("CIDR reservations")
def reservation_explicit(at: Site) -> None:
    """What is reserved explicitly is handed out only to who names it."""
    subnet = at.subnet("10.77.1.0/27")
    at.call("CreateSubnetCidrReservation", SubnetId=subnet, Cidr="10.77.1.16/28", ReservationType="explicit")
    eni = at.eni(subnet, SecondaryPrivateIpAddressCount=11)
    block = ip_network("10.77.1.16/28")
    same([one for one in at.addresses(eni) if ip_address(one) in block], [], "addresses handed out of the reservation")
    wanted = {"NetworkInterfaceId": eni, "SecondaryPrivateIpAddressCount": 1}
    at.refused("AssignPrivateIpAddresses", "InsufficientFreeAddressesInSubnet", FULL, **wanted)
    at.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddresses=["10.77.1.20"])


@check("CIDR reservations")
def reservation_overlap(at: Site) -> None:
    """A reservation lies in its subnet and overlaps no other."""
    subnet = at.subnet()
    made = {"SubnetId": subnet, "ReservationType": "prefix"}
    at.call("CreateSubnetCidrReservation", Cidr="10.77.1.64/27", **made)
    text = "Reservation CIDR 10.77.1.80/28 has overlap with existing reserved CIDR block"
    at.refused("CreateSubnetCidrReservation", "InvalidParameterValue", text, Cidr="10.77.1.80/28", **made)
    at.refused("CreateSubnetCidrReservation", "InvalidParameterValue", Cidr="10.77.2.0/28", **made)
    found = at.call("GetSubnetCidrReservations", SubnetId=subnet)["SubnetIpv4CidrReservations"]
    same([(one["Cidr"], one["ReservationType"]) for one in found], [("10.77.1.64/27", "prefix")], "the reservations")


@check("CIDR reservations")
def reservation_prefix(at: Site) -> None:
    """Prefixes come out of a reservation for prefixes, single addresses do not."""
    subnet = at.subnet("10.77.1.0/26")
    at.call("CreateSubnetCidrReservation", SubnetId=subnet, Cidr="10.77.1.32/28", ReservationType="prefix")
    eni = at.eni(subnet, Ipv4PrefixCount=1)
    same(at.prefixes(eni), ["10.77.1.32/28"], "the prefix")
