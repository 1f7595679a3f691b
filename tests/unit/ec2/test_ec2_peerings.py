"""VPC peering connections: their states, who may stand beside whom, and how long they wait."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud

DAY_S = 86_400.0


class Net:
    """Two VPCs that can be peered."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.a, self.b = self.cloud.vpc("10.10.0.0/16", "a"), self.cloud.vpc("10.20.0.0/16", "b")

    def create(self, peer: str | None = None, **more: Any) -> str:
        made = self.cloud.call("CreateVpcPeeringConnection", VpcId=self.a, PeerVpcId=peer or self.b, **more)["VpcPeeringConnection"]
        assert made["Status"]["Code"] == "initiating-request"
        return str(made["VpcPeeringConnectionId"])

    def state(self, peering: str) -> str:
        (shown,) = self.cloud.call("DescribeVpcPeeringConnections", VpcPeeringConnectionIds=[peering])["VpcPeeringConnections"]
        return str(shown["Status"]["Code"])

    def call(self, verb: str, peering: str) -> dict[str, Any]:
        return self.cloud.call(f"{verb}VpcPeeringConnection", VpcPeeringConnectionId=peering)

    def refused(self, verb: str, peering: str) -> str:
        return self.cloud.refused("InvalidStateTransition", f"{verb}VpcPeeringConnection", VpcPeeringConnectionId=peering)


@pytest.fixture
def net() -> Net:
    return Net()


def test_asked_for_accepted_deleted_and_its_routes(net: Net) -> None:
    peering = net.create()
    assert net.state(peering) == "pending-acceptance"
    tables = net.cloud.call("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [net.a]}])["RouteTables"]
    table = tables[0]["RouteTableId"]
    net.cloud.call("CreateRoute", RouteTableId=table, DestinationCidrBlock="10.20.0.0/16", VpcPeeringConnectionId=peering)

    def route() -> str:
        (shown,) = net.cloud.call("DescribeRouteTables", RouteTableIds=[table])["RouteTables"]
        return str(shown["Routes"][1]["State"])

    assert route() == "blackhole"
    accepted = net.call("Accept", peering)["VpcPeeringConnection"]
    assert accepted["Status"]["Code"] == "provisioning" and accepted["AccepterVpcInfo"]["CidrBlock"] == "10.20.0.0/16"
    assert (net.state(peering), route()) == ("active", "active")
    assert "pending-acceptance" not in net.refused("Accept", peering)
    net.refused("Reject", peering)
    for vpc in (net.a, net.b):
        net.cloud.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    assert net.call("Delete", peering) == {"Return": True}
    assert (net.state(peering), route()) == ("deleted", "blackhole")
    net.refused("Delete", peering)
    net.cloud.call("DeleteVpc", VpcId=net.b)
    net.cloud.now_s += 2 * DAY_S
    assert net.cloud.call("DescribeVpcPeeringConnections")["VpcPeeringConnections"] == []


def test_rejected(net: Net) -> None:
    peering = net.create()
    assert net.call("Reject", peering) == {"Return": True}
    assert net.state(peering) == "rejected"
    net.refused("Accept", peering)
    assert net.state(net.create()) == "pending-acceptance"


def test_nobody_accepts_after_seven_days(net: Net) -> None:
    peering = net.create()
    net.cloud.now_s += 7 * DAY_S - 1
    assert net.state(peering) == "pending-acceptance"
    net.cloud.now_s += 1
    assert net.state(peering) == "expired"
    assert "expired" in net.refused("Accept", peering)
    assert net.state(net.create()) == "pending-acceptance"


def test_what_cannot_be_peered_fails(net: Net) -> None:
    twin = net.cloud.vpc("10.30.0.0/16", "twin")
    net.cloud.call("AssociateVpcCidrBlock", VpcId=twin, CidrBlock="100.64.0.0/16")
    net.cloud.call("AssociateVpcCidrBlock", VpcId=net.a, CidrBlock="100.64.0.0/16")
    for failed in (
        net.create(twin), net.create("vpc-0123456789abcdef0"), net.create(PeerOwnerId="999988887777"), net.create(PeerRegion="eu-west-1"),
        net.create(net.a),
    ):
        assert net.state(failed) == "failed"
        net.refused("Accept", failed)
    net.cloud.now_s += 2 * 3_600
    assert net.cloud.call("DescribeVpcPeeringConnections")["VpcPeeringConnections"] == []


def test_blocks_that_overlap_by_the_time_of_acceptance_fail(net: Net) -> None:
    peering = net.create()
    for vpc in (net.a, net.b):
        net.cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="100.64.0.0/16")
    net.call("Accept", peering)
    assert net.state(peering) == "failed"


def test_a_block_of_an_active_peer_cannot_be_added(net: Net) -> None:
    net.call("Accept", net.create())
    net.cloud.call("AssociateVpcCidrBlock", VpcId=net.b, CidrBlock="100.64.0.0/16")
    net.cloud.refused("InvalidVpc.Conflict", "AssociateVpcCidrBlock", VpcId=net.a, CidrBlock="100.64.0.0/17")


def test_one_connection_a_pair(net: Net) -> None:
    peering = net.create()
    for one, other in ((net.a, net.b), (net.b, net.a)):
        net.cloud.refused("VpcPeeringConnectionAlreadyExists", "CreateVpcPeeringConnection", VpcId=one, PeerVpcId=other)
    net.call("Delete", peering)
    net.create()


def test_what_is_not_there(net: Net) -> None:
    said = net.cloud.refused(
        "InvalidVpcPeeringConnectionID.NotFound", "AcceptVpcPeeringConnection", VpcPeeringConnectionId="pcx-0123456789abcdef0"
    )
    assert said == "The vpcPeeringConnection ID 'pcx-0123456789abcdef0' does not exist"
    net.cloud.refused("MissingParameter", "CreateVpcPeeringConnection", VpcId=net.a)
    net.cloud.refused("InvalidVpcID.NotFound", "CreateVpcPeeringConnection", VpcId="vpc-0123456789abcdef0", PeerVpcId=net.a)


def test_connections_are_found_by_their_filters(net: Net) -> None:
    peering = net.create(TagSpecifications=[{"ResourceType": "vpc-peering-connection", "Tags": [{"Key": "Name", "Value": "ab"}]}])
    for name, value in (
        ("status-code", "pending-*"), ("requester-vpc-info.vpc-id", net.a), ("accepter-vpc-info.vpc-id", net.b), ("tag:Name", "a?"),
        ("accepter-vpc-info.cidr-block", "10.20.0.0/16"), ("requester-vpc-info.owner-id", "111122223333"),
    ):
        found = net.cloud.call("DescribeVpcPeeringConnections", Filters=[{"Name": name, "Values": [value]}])["VpcPeeringConnections"]
        assert [one["VpcPeeringConnectionId"] for one in found] == [peering], name
