"""Routes to prefix lists: as legal as a route to each block of the list, counted as many as it has room for, and described by its id."""

from __future__ import annotations

import pytest
from builders_ec2 import Cloud

from labnet.ec2.rules.routes import ways


class Net:
    """A VPC with a gateway, a subnet, and a table of its own."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.subnet = self.cloud.subnet(self.vpc)
        self.gateway = self.cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self.cloud.call("AttachInternetGateway", InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.table = self.cloud.call("CreateRouteTable", VpcId=self.vpc)["RouteTable"]["RouteTableId"]

    def make(self, *cidrs: str, size: int = 5, name: str = "far") -> str:
        entries = {"Entries": [{"Cidr": cidr} for cidr in cidrs]} if cidrs else {}
        made = self.cloud.call("CreateManagedPrefixList", PrefixListName=name, MaxEntries=size, AddressFamily="IPv4", **entries)
        return str(made["PrefixList"]["PrefixListId"])

    def route(self, destination: str, **target: str) -> None:
        self.cloud.call("CreateRoute", RouteTableId=self.table, DestinationPrefixListId=destination, **(target or {"GatewayId": self.gateway}))

    def refused(self, code: str, action: str, **more: object) -> str:
        return self.cloud.refused(code, action, RouteTableId=self.table, **more)

    def block_targets(self) -> dict[str, str]:
        state = self.cloud.state
        return {block: route.target for block, route in ways(state, state.route_tables[self.table]).items()}


@pytest.fixture
def net() -> Net:
    return Net()


def test_one_is_made_replaced_and_deleted_by_the_id_of_the_list(net: Net) -> None:
    far = net.make("198.18.0.0/16", "198.19.0.0/16")
    net.route(far)
    asked = [{"Name": "route.destination-prefix-list-id", "Values": [far]}]
    (shown,) = net.cloud.call("DescribeRouteTables", Filters=asked)["RouteTables"]
    assert shown["Routes"][1:] == [
        {"DestinationPrefixListId": far, "GatewayId": net.gateway, "Origin": "CreateRoute", "State": "active"}
    ]
    said = net.refused("RouteAlreadyExists", "CreateRoute", DestinationPrefixListId=far, GatewayId=net.gateway)
    assert far in said
    eni = net.cloud.call("CreateNetworkInterface", SubnetId=net.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    net.cloud.call("ReplaceRoute", RouteTableId=net.table, DestinationPrefixListId=far, NetworkInterfaceId=eni)
    assert net.block_targets() == {"10.10.0.0/16": "local", "198.18.0.0/16": eni, "198.19.0.0/16": eni}
    net.cloud.call("DeleteRoute", RouteTableId=net.table, DestinationPrefixListId=far)
    assert net.block_targets() == {"10.10.0.0/16": "local"}
    said = net.refused("InvalidRoute.NotFound", "DeleteRoute", DestinationPrefixListId=far)
    assert said == f"no route with destination-prefix-list-id {far} in route table {net.table}"
    net.refused("InvalidRoute.NotFound", "ReplaceRoute", DestinationPrefixListId=far, GatewayId=net.gateway)


def test_a_request_names_one_destination(net: Net) -> None:
    far = net.make("198.18.0.0/16")
    for action in ("CreateRoute", "ReplaceRoute"):
        net.refused("MissingParameter", action, GatewayId=net.gateway)
        both = {"DestinationPrefixListId": far, "DestinationCidrBlock": "0.0.0.0/0"}
        net.refused("InvalidParameterCombination", action, GatewayId=net.gateway, **both)
    net.refused("MissingParameter", "DeleteRoute")
    net.refused("InvalidPrefixListID.NotFound", "CreateRoute", GatewayId=net.gateway, DestinationPrefixListId="pl-0123456789abcdef0")
    net.refused("InvalidPrefixListId.Malformed", "CreateRoute", GatewayId=net.gateway, DestinationPrefixListId="pl-x")


def test_each_block_must_be_one_to_which_a_route_may_lead(net: Net) -> None:
    for block in ("169.254.169.0/24", "10.10.0.0/16", "10.10.0.0/24", "10.10.7.0/24"):
        listed = net.make("198.18.0.0/16", block, name=block)
        assert block in net.refused("InvalidParameterValue", "CreateRoute", DestinationPrefixListId=listed, GatewayId=net.gateway)


def test_a_route_of_its_own_comes_first_and_then_the_older_list(net: Net) -> None:
    eni = net.cloud.call("CreateNetworkInterface", SubnetId=net.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    net.route(net.make("198.18.0.0/16", "198.19.0.0/16", "10.10.0.0/16"), NetworkInterfaceId=eni)
    net.route(net.make("198.19.0.0/16", "198.20.0.0/16", name="second"))
    net.cloud.call("CreateRoute", RouteTableId=net.table, DestinationCidrBlock="198.18.0.0/16", GatewayId=net.gateway)
    assert net.block_targets() == {
        "10.10.0.0/16": "local", "198.18.0.0/16": net.gateway, "198.19.0.0/16": eni, "198.20.0.0/16": net.gateway,
    }


def test_one_counts_as_many_routes_as_its_list_has_room_for(net: Net) -> None:
    big, small = net.make(size=45, name="big"), net.make(size=6)
    net.route(big)
    net.refused("RouteLimitExceeded", "CreateRoute", DestinationPrefixListId=small, GatewayId=net.gateway)
    net.cloud.call("ModifyManagedPrefixList", PrefixListId=small, MaxEntries=5)
    net.route(small)
    net.refused("RouteLimitExceeded", "CreateRoute", DestinationCidrBlock="0.0.0.0/0", GatewayId=net.gateway)
    net.cloud.refused("RouteLimitExceeded", "ModifyManagedPrefixList", PrefixListId=small, MaxEntries=6)
    net.cloud.call("ModifyManagedPrefixList", PrefixListId=small, MaxEntries=4)
    net.cloud.call("CreateRoute", RouteTableId=net.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=net.gateway)


def test_a_list_that_a_route_names_is_not_deleted(net: Net) -> None:
    far = net.make("198.18.0.0/16")
    net.route(far)
    said = net.cloud.call("DeleteManagedPrefixList", PrefixListId=far)["PrefixList"]
    assert said["State"] == "delete-failed" and net.table in said["StateMessage"]
    net.cloud.call("DeleteRoute", RouteTableId=net.table, DestinationPrefixListId=far)
    assert net.cloud.call("DeleteManagedPrefixList", PrefixListId=far)["PrefixList"]["State"] == "delete-complete"


def test_a_new_block_of_the_vpc_must_not_cover_a_listed_one(net: Net) -> None:
    net.route(net.make("10.20.1.0/24"))
    net.cloud.refused("InvalidVpc.Conflict", "AssociateVpcCidrBlock", VpcId=net.vpc, CidrBlock="10.20.0.0/16")
