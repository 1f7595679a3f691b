"""Limits of all instance types: as many ENIs on each network card and addresses on each ENI as the table says, and not one more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from builders_ec2 import IMAGE

from labnet.ec2 import limits
from labnet.ec2.cloud import execute
from labnet.ec2.rules.request import Context
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState

CONTEXT = Context(1_700_000_000.0, limits.load(), "test")
TYPES = sorted(limits.load())
MOST = max(sum(room for _card, room in kind.network_cards) for kind in limits.load().values())


class Account:
    """Calls without the checks of `Cloud`, which would take minutes over the whole table."""

    def __init__(self, state: CloudState) -> None:
        self.state = state

    def call(self, name: str, /, **params: Any) -> dict[str, Any]:
        self.state, answer = execute(self.state, name, params, CONTEXT)
        return answer

    def refused(self, name: str, /, **params: Any) -> tuple[str, str]:
        with pytest.raises(Ec2Error) as caught:
            execute(self.state, name, params, CONTEXT)
        return caught.value.code, caught.value.message


@pytest.fixture(scope="module")
def network() -> tuple[CloudState, str]:
    account = Account(CloudState(lab="t", seed=7))
    vpc = account.call("CreateVpc", CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = account.call("CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/16", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]
    return account.state, subnet


@pytest.fixture(scope="module")
def stocked(network: tuple[CloudState, str]) -> tuple[CloudState, str, list[str]]:
    """As many ENIs as any type takes lie ready: a state never changes, so every test may use them."""
    account, subnet = Account(network[0]), network[1]
    for _ in range(MOST):
        account.call("CreateNetworkInterface", SubnetId=subnet)
    return account.state, subnet, list(account.state.enis)


def slots(name: str) -> Iterator[tuple[int, int]]:
    """(network card, device index) of every ENI that a type takes, but the primary one."""
    return ((card, index) for card, room in limits.load()[name].network_cards for index in range(room) if (card, index) != (0, 0))


@pytest.mark.parametrize("name", TYPES)
def test_enis_and_addresses_up_to_the_limit_and_one_beyond(stocked: tuple[CloudState, str, list[str]], name: str) -> None:
    kind = limits.load()[name]
    state, subnet, ready = stocked
    account = Account(state)
    launched = account.call("RunInstances", ImageId=IMAGE, InstanceType=name, MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]
    node, primary = launched["InstanceId"], launched["NetworkInterfaces"][0]["NetworkInterfaceId"]
    full = account.call("CreateNetworkInterface", SubnetId=subnet, SecondaryPrivateIpAddressCount=kind.ipv4_per_eni - 1)
    over = account.call("CreateNetworkInterface", SubnetId=subnet, SecondaryPrivateIpAddressCount=kind.ipv4_per_eni)
    full_id, over_id = (one["NetworkInterface"]["NetworkInterfaceId"] for one in (full, over))

    places = list(slots(name))
    if places:
        card, index = places[0]
        where = {"InstanceId": node, "DeviceIndex": index, "NetworkCardIndex": card}
        assert account.refused("AttachNetworkInterface", NetworkInterfaceId=over_id, **where) == (
            "PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.",
        )  # fmt: skip
        account.call("AttachNetworkInterface", NetworkInterfaceId=full_id, **where)
        code, _text = account.refused("AssignPrivateIpAddresses", NetworkInterfaceId=full_id, SecondaryPrivateIpAddressCount=1)
        assert code == "PrivateIpAddressLimitExceeded"
    for eni, (card, index) in zip(ready, places[1:], strict=False):
        account.call("AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId=node, DeviceIndex=index, NetworkCardIndex=card)

    assert len(account.state.enis_of(node)) == 1 + len(places)
    spare = ready[-1]
    for card, room in kind.network_cards:
        said = account.refused("AttachNetworkInterface", NetworkInterfaceId=spare, InstanceId=node, DeviceIndex=99, NetworkCardIndex=card)
        assert said == ("AttachmentLimitExceeded", f"Interface count {room + 1} exceeds the limit for {name}")
    beyond = len(kind.network_cards)
    code, text = account.refused("AttachNetworkInterface", NetworkInterfaceId=spare, InstanceId=node, DeviceIndex=1, NetworkCardIndex=beyond)
    assert code == "InvalidParameterValue" and str(beyond) in text

    room = kind.ipv4_per_eni - 1
    if room:
        account.call("AssignPrivateIpAddresses", NetworkInterfaceId=primary, SecondaryPrivateIpAddressCount=room)
    code, _text = account.refused("AssignPrivateIpAddresses", NetworkInterfaceId=primary, Ipv4PrefixCount=1)
    assert code == "PrivateIpAddressLimitExceeded"


def test_the_regions_limit_of_enis(network: tuple[CloudState, str], monkeypatch: pytest.MonkeyPatch) -> None:
    account, subnet = Account(network[0]), network[1]
    monkeypatch.setattr("labnet.ec2.rules.enis.ENIS_PER_REGION", 3)
    for _ in range(3):
        account.call("CreateNetworkInterface", SubnetId=subnet)
    assert account.refused("CreateNetworkInterface", SubnetId=subnet)[0] == "NetworkInterfaceLimitExceeded"


def test_a_full_subnet_and_a_subnet_without_an_aligned_block_are_told_apart(network: tuple[CloudState, str]) -> None:
    state, subnet = network
    used = frozenset(range(10 << 24, (10 << 24) + (1 << 16), 16))  # one address of every block
    account = Account(replace(state, taken={subnet: used}))
    assert account.refused("CreateNetworkInterface", SubnetId=subnet, Ipv4PrefixCount=1)[0] == "InsufficientCidrBlocks"
    account.call("CreateNetworkInterface", SubnetId=subnet)
    account = Account(replace(state, taken={subnet: frozenset(range(10 << 24, (10 << 24) + (1 << 16)))}))
    assert account.refused("CreateNetworkInterface", SubnetId=subnet)[0] == "InsufficientFreeAddressesInSubnet"
    assert account.refused("CreateNetworkInterface", SubnetId=subnet, Ipv4PrefixCount=1)[0] == "InsufficientFreeAddressesInSubnet"
