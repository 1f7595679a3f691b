"""What `capacity` says of a subnet is what EC2's rules allow: as many nodes get all they hold, and one more does not."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.errors import Ec2Error
from labnet.model.addressing import bounds, free_addresses, free_prefixes, to_text
from labnet.model.capacity import UPGRADE_ADDRESSES, Holding, nodes_that_fit, subnet_room
from labnet.model.cloud import CloudState

SIZES = st.integers(22, 28).map(lambda bits: f"10.10.4.0/{bits}")
SINGLES = st.builds(lambda enis, each: Holding(enis, enis * each, 0), st.integers(1, 4), st.integers(2, 15))
PREFIXES = st.builds(lambda enis, extra: Holding(enis, enis, enis + extra), st.integers(1, 3), st.integers(0, 6))
REFUSED = {"InsufficientFreeAddressesInSubnet", "InsufficientCidrBlocks"}


class Subnet:
    """One subnet of the EC2 rules, filled ENI by ENI."""

    def __init__(self, cidr: str) -> None:
        self.cidr, self.state = cidr, CloudState(lab="t", seed=1)
        vpc = self.call("CreateVpc", CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
        self.id = self.call("CreateSubnet", VpcId=vpc, CidrBlock=cidr, AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]

    def call(self, action: str, **params):  # type: ignore[no-untyped-def]
        self.state, answer = execute(self.state, action, params, Context(0.0, limits.load(), "test"))
        return answer

    @property
    def free(self) -> int:
        found = self.call("DescribeSubnets", SubnetIds=[self.id])["Subnets"][0]["AvailableIpAddressCount"]
        assert isinstance(found, int)
        return found

    @property
    def taken(self) -> frozenset[int]:
        return self.state.taken.get(self.id, frozenset())

    def eni(self, own: str | None, addresses: int, prefixes: int) -> None:
        """An ENI: its own address (None = EC2 chooses), so many secondary addresses, so many prefixes."""
        params = {} if own is None else {"PrivateIpAddress": own}
        made = self.call("CreateNetworkInterface", SubnetId=self.id, **params)["NetworkInterface"]["NetworkInterfaceId"]
        if addresses:
            self.call("AssignPrivateIpAddresses", NetworkInterfaceId=made, SecondaryPrivateIpAddressCount=addresses)
        if prefixes:
            self.call("AssignPrivateIpAddresses", NetworkInterfaceId=made, Ipv4PrefixCount=prefixes)

    def packed(self) -> str | None:
        """A free address in a block that is broken anyway; else the last one of all, which leaves the lowest blocks whole."""
        whole = {number for prefix in free_prefixes(self.cidr, self.taken) for number in range(bounds(prefix)[0], bounds(prefix)[1] + 1)}
        free = list(free_addresses(self.cidr, self.taken))
        broken = [number for number in free if number not in whole]
        return to_text((broken or free)[-1]) if free else None

    def scattered(self) -> str | None:
        """A free address that breaks a whole block, if there is one left."""
        whole = next(iter(free_prefixes(self.cidr, self.taken)), None)
        if whole is not None:
            return whole.partition("/")[0]
        return next((to_text(number) for number in free_addresses(self.cidr, self.taken)), None)


def enis_of(each: Holding) -> Iterator[tuple[int, int]]:
    """(secondary addresses, prefixes) of each ENI of a node, as evenly as it goes."""
    for n in range(each.enis):
        prefixes = each.prefixes // each.enis + (1 if n < each.prefixes % each.enis else 0)
        yield each.addresses // each.enis - 1, prefixes


def filled(cidr: str, each: Holding, nodes: int, order: str) -> bool:
    """Do so many nodes get everything, with an upgrade's addresses left? Own addresses are placed as `order` says."""
    subnet = Subnet(cidr)
    plan = [item for _ in range(nodes) for item in enis_of(each)]
    try:
        if order == "lowest":  # node by node, all by EC2's own choice
            for addresses, prefixes in plan:
                subnet.eni(None, addresses, prefixes)
        else:  # all own addresses first, then the prefixes
            enis = []
            for _ in plan:
                own = subnet.packed() if order == "packed" else subnet.scattered()
                if own is None:
                    return False
                made = subnet.call("CreateNetworkInterface", SubnetId=subnet.id, PrivateIpAddress=own)
                enis.append(made["NetworkInterface"]["NetworkInterfaceId"])
            for eni, (addresses, prefixes) in zip(enis, plan, strict=True):
                if addresses:
                    subnet.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=addresses)
                if prefixes:
                    subnet.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=prefixes)
    except Ec2Error as error:
        assert error.code in REFUSED, error
        return False
    return nodes == 0 or subnet.free >= UPGRADE_ADDRESSES


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SIZES, SINGLES)
def test_single_addresses(cidr: str, each: Holding) -> None:
    nodes = nodes_that_fit(subnet_room(cidr), each)
    assert nodes == nodes_that_fit(subnet_room(cidr), each, scattered=True)
    assert filled(cidr, each, nodes, "lowest")
    assert not filled(cidr, each, nodes + 1, "lowest")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SIZES, PREFIXES)
def test_prefixes_with_single_addresses_packed(cidr: str, each: Holding) -> None:
    nodes = nodes_that_fit(subnet_room(cidr), each)
    assert filled(cidr, each, nodes, "packed")
    assert not filled(cidr, each, nodes + 1, "packed")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SIZES, PREFIXES)
def test_prefixes_with_single_addresses_scattered(cidr: str, each: Holding) -> None:
    nodes = nodes_that_fit(subnet_room(cidr), each, scattered=True)
    assert filled(cidr, each, nodes, "scattered")
    assert not filled(cidr, each, nodes + 1, "scattered")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SIZES, PREFIXES)
def test_what_ec2_chooses_lies_between(cidr: str, each: Holding) -> None:
    room = subnet_room(cidr)
    assert filled(cidr, each, nodes_that_fit(room, each, scattered=True), "lowest")
    assert not filled(cidr, each, nodes_that_fit(room, each) + 1, "lowest")
