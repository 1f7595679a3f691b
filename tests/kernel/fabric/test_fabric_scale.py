"""Many ENIs: no rule and no chain for each but the two hooks of its port, and packets that go all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders_cloud import a_cloud, entry, with_acl, with_node
from fabric_world import World

from labnet.model.cloud import Attachment, CloudState, Eni, PrivateAddress
from labnet.model.netstate import IptChain, IptRule, Link, NftElement, NftPortChain, NftTable, Rule

MANY = 2000
PER_NODE = 8


def with_enis(cloud: CloudState, count: int) -> CloudState:
    """Nodes with eight ENIs each, in turn in both subnets; the ENIs are `eni-0` and so on."""
    for node in range(-(-count // PER_NODE)):
        cloud = with_node(cloud, f"n{node}", "10.10.31.250", subnet=("subnet-a", "subnet-b")[node % 2])
        del cloud.enis[f"eni-n{node}-0"]
    zones = {key: subnet.availability_zone for key, subnet in cloud.subnets.items()}
    enis = dict(cloud.enis)
    for number in range(count):
        node, device = divmod(number, PER_NODE)
        subnet, third = (("subnet-a", 0), ("subnet-b", 32))[node % 2]
        address = f"10.10.{third + number // 200}.{number % 200 + 10}"
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        enis[f"eni-{number}"] = Eni(
            f"eni-{number}", "vpc-1", subnet, zones[subnet], mac, (PrivateAddress(address, True),), (), ("sg-open-vpc-1",), True,
            Attachment(f"eni-attach-{number}", f"i-n{node}", device),
        )  # fmt: skip
    return replace(cloud, enis=enis)


def weighed(world: World) -> dict[str, int]:
    """How many objects of each kind that judge packets one by one the VPC has, beside elements, ports and their hooks."""
    state = world.kernel.observe(world.vpc)
    kinds = (IptChain, IptRule, Rule, NftTable)
    found = {kind.__name__: len(state.all(kind)) for kind in kinds}
    rules = world.kernel.run(world.vpc, ["nft", "-a", "list", "ruleset"]).stdout.splitlines()
    ports = len(state.all(NftPortChain))
    chains = len([line for line in rules if line.startswith("\tchain ")])
    lines = len([line for line in rules if line.startswith("\t\t") and "# handle" in line])
    return {**found, "chains": chains - ports, "rules": lines - ports}


def test_rules_and_chains_stay_as_many_whatever_the_number_of_enis(world: World) -> None:
    filtering = with_acl(a_cloud(world.lab), "acl-x", entry(100, out=True, cidr="10.10.0.0/16"), subnets=("subnet-a", "subnet-b"))
    world.go(with_enis(filtering, 2))
    few = weighed(world)
    assert few["rules"] > 50 and few["chains"] > 20, "they are counted"
    world.go(with_enis(filtering, 100))
    assert weighed(world) == few
    state = world.kernel.observe(world.vpc)
    assert len(state.all(NftPortChain)) == 2 * len([link for link in state.all(Link) if link.name.startswith("p")]) == 200
    of_groups = [item for item in state.all(NftElement) if item.set.startswith("sg_")]
    assert len(of_groups) == 2, "one profile, so one element each way"


@pytest.mark.slow
def test_two_thousand_enis_and_a_packet_from_the_first_to_the_last(world: World) -> None:
    cloud = with_enis(a_cloud(world.lab), MANY)
    world.go(replace(cloud, enis={}))
    world.go(cloud)
    last = cloud.enis[f"eni-{(MANY // PER_NODE - 1) * PER_NODE}"]
    assert world.ping(world.node("n0"), last.primary)
    world.go(replace(world.cloud, enis={key: eni for key, eni in cloud.enis.items() if key != last.id}))
    assert world.ping(world.node("n0"), last.primary, silence=True) is None
    world.go(cloud)
    assert world.ping(world.node("n0"), last.primary)
