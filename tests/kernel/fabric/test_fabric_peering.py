"""VPC peering with real packets: both tables needed, not transitive, no way through to a peer's gateway, no hop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from builders_cloud import a_cloud, with_node, with_subnet, with_table, with_vpc
from fabric_world import World

from labnet.fabric import tables
from labnet.model.cloud import CloudState
from labnet.model.cloud_vpc import Peering, PeeringSide
from labnet.model.names import peering_port
from labnet.model.netstate import Addr, Link

pytestmark = pytest.mark.kernel
BLUE, GREEN = "pcx-0000000000blue001", "pcx-00000000green0002"


def peered(cloud: CloudState, key: str, one: str, other: str, state: str = "active") -> CloudState:
    peering = Peering(key, *(PeeringSide(vpc, cloud.account_id, cloud.region) for vpc in (one, other)), state=state)  # type: ignore[arg-type]
    return replace(cloud, peerings={**cloud.peerings, key: peering})


def routed(cloud: CloudState, vpc_id: str, routes: Mapping[str, str]) -> CloudState:
    return with_table(cloud, f"rtb-{vpc_id}", vpc_id, dict(routes), main=True)


@pytest.fixture
def three(world: World) -> World:
    """Three VPCs in a row, vpc-1 – blue – green, one node each, all peered and routed."""
    cloud = with_node(a_cloud(world.lab), "red", "10.10.0.10")
    for name, block in (("blue", "10.20"), ("green", "10.30")):
        cloud = with_vpc(cloud, f"vpc-{name}", f"{block}.0.0/16", name=name)
        cloud = with_subnet(cloud, f"subnet-{name}", f"vpc-{name}", f"{block}.0.0/24")
        cloud = with_node(cloud, name, f"{block}.0.10", subnet=f"subnet-{name}")
    cloud = peered(peered(cloud, BLUE, "vpc-1", "vpc-blue"), GREEN, "vpc-blue", "vpc-green")
    cloud = routed(cloud, "vpc-1", {"10.20.0.0/16": BLUE, "10.30.0.0/16": BLUE})
    cloud = routed(cloud, "vpc-blue", {"10.10.0.0/16": BLUE, "10.30.0.0/16": GREEN, "0.0.0.0/0": "igw-vpc-blue"})
    world.go(routed(cloud, "vpc-green", {"10.10.0.0/16": GREEN, "10.20.0.0/16": GREEN}))
    return world


def test_peers_reach_each_other_and_it_is_no_hop(three: World) -> None:
    for one, other in (("red", "10.20.0.10"), ("blue", "10.10.0.10"), ("blue", "10.30.0.10")):
        answer = three.ping(three.node(one), other, ttl=1)
        assert answer is not None
        assert (answer.source, answer.ttl) == (other, 64)
    assert three.ping(three.node("red"), "10.20.0.10", size=8900, dont_fragment=True), "9001 bytes, as within a VPC"


def test_both_route_tables_are_needed(three: World) -> None:
    both = three.cloud
    for vpc, routes in (("vpc-1", {}), ("vpc-blue", {"10.30.0.0/16": GREEN})):
        three.go(routed(both, vpc, routes))
        assert three.ping(three.node("red"), "10.20.0.10", silence=True) is None
    three.go(both)
    assert three.ping(three.node("red"), "10.20.0.10")


def test_it_is_not_transitive(three: World) -> None:
    assert three.ping(three.node("red"), "10.30.0.10", silence=True) is None
    assert three.dropped(tables.DROP_TRANSIT, f"{three.lab}-vpc.blue") == 1


def test_a_peers_gateway_is_not_ones_own(three: World) -> None:
    three.go(routed(three.cloud, "vpc-1", {"0.0.0.0/0": BLUE}))
    assert three.ping(three.node("red"), "8.8.8.8", silence=True) is None
    assert three.dropped(tables.DROP_TRANSIT, f"{three.lab}-vpc.blue") == 1


def test_only_sources_inside_the_vpc_pass(three: World) -> None:
    cloud = with_node(three.cloud, "box", "10.10.0.20", check=False)
    three.go(cloud)
    three.also(three.node("box"), Addr("lo", "192.168.7.7", 32))
    assert three.ping(three.node("box"), "10.20.0.10", src="192.168.7.7", silence=True) is None
    assert three.dropped(tables.DROP_PEER_SOURCE) == 1


@pytest.mark.parametrize("state", ["pending-acceptance", "deleted", "rejected"])
def test_only_an_active_connection_carries(three: World, state: str) -> None:
    active = three.cloud
    three.go(peered(active, BLUE, "vpc-1", "vpc-blue", state))
    assert three.ping(three.node("red"), "10.20.0.10", silence=True) is None, "blackhole"
    assert three.ping(three.node("green"), "10.20.0.10"), "others are not touched"
    assert peering_port(BLUE) not in {link.name for link in three.kernel.observe(three.vpc).all(Link)}
    three.go(active)
    assert three.ping(three.node("red"), "10.20.0.10")
