"""Route tables and routes: what comes with a VPC, what is legal, what is a blackhole, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from builders_ec2 import Cloud


class Net:
    """A VPC with a gateway, two subnets and a table of its own."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.vpc = self.cloud.vpc()
        self.a, self.b = self.cloud.subnet(self.vpc), self.cloud.subnet(self.vpc, "10.10.1.0/24", "us-west-2b")
        self.gateway = self.cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self.cloud.call("AttachInternetGateway", InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.main = self.tables()[0]["RouteTableId"]
        self.own = self.cloud.call("CreateRouteTable", VpcId=self.vpc)["RouteTable"]["RouteTableId"]

    def tables(self, **filters: str) -> list[dict[str, Any]]:
        asked = [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        found: list[dict[str, Any]] = self.cloud.call("DescribeRouteTables", Filters=asked)["RouteTables"]
        return found

    def route(self, destination: str, **target: str) -> None:
        self.cloud.call("CreateRoute", RouteTableId=self.own, DestinationCidrBlock=destination, **target)

    def routes(self, table: str = "") -> dict[str, tuple[str, str]]:
        (shown,) = self.cloud.call("DescribeRouteTables", RouteTableIds=[table or self.own])["RouteTables"]
        members = ("GatewayId", "NatGatewayId", "VpcPeeringConnectionId", "NetworkInterfaceId")
        return {
            one["DestinationCidrBlock"]: (next(one[member] for member in members if member in one), one["State"]) for one in shown["Routes"]
        }


@pytest.fixture
def net() -> Net:
    return Net()


def test_a_vpc_comes_with_its_main_table(net: Net) -> None:
    (shown,) = net.tables(association__main="true")
    assert shown["Associations"][0]["Main"] is True and "SubnetId" not in shown["Associations"][0]
    assert shown["Routes"] == [
        {"DestinationCidrBlock": "10.10.0.0/16", "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}
    ]
    said = net.cloud.refused("DependencyViolation", "DeleteRouteTable", RouteTableId=net.main)
    assert said == f"The routeTable '{net.main}' has dependencies and cannot be deleted."
    main = shown["Associations"][0]["RouteTableAssociationId"]
    net.cloud.refused("InvalidParameterValue", "DisassociateRouteTable", AssociationId=main)


def test_every_block_has_a_local_route_in_every_table_for_as_long_as_it_is_there(net: Net) -> None:
    made = net.cloud.call("AssociateVpcCidrBlock", VpcId=net.vpc, CidrBlock="100.64.0.0/16")["CidrBlockAssociation"]
    for table in (net.main, net.own):
        assert net.routes(table) == {"10.10.0.0/16": ("local", "active"), "100.64.0.0/16": ("local", "active")}
    net.cloud.call("DisassociateVpcCidrBlock", AssociationId=made["AssociationId"])
    for table in (net.main, net.own):
        assert list(net.routes(table)) == ["10.10.0.0/16"]


def test_a_table_that_a_subnet_uses_stays_and_one_subnet_uses_one_table(net: Net) -> None:
    made = net.cloud.call("AssociateRouteTable", RouteTableId=net.own, SubnetId=net.a)
    assert made["AssociationState"] == {"State": "associated"}
    net.cloud.refused("DependencyViolation", "DeleteRouteTable", RouteTableId=net.own)
    other = net.cloud.call("CreateRouteTable", VpcId=net.vpc)["RouteTable"]["RouteTableId"]
    said = net.cloud.refused("Resource.AlreadyAssociated", "AssociateRouteTable", RouteTableId=other, SubnetId=net.a)
    assert said == f"the specified association for route table {other} conflicts with an existing association"
    moved = net.cloud.call("ReplaceRouteTableAssociation", AssociationId=made["AssociationId"], RouteTableId=other)["NewAssociationId"]
    assert moved != made["AssociationId"]
    assert [one["RouteTableId"] for one in net.tables(association__subnet_id=net.a)] == [other]
    net.cloud.refused("InvalidAssociationID.NotFound", "DisassociateRouteTable", AssociationId=made["AssociationId"])
    net.cloud.call("DisassociateRouteTable", AssociationId=moved)
    net.cloud.call("DeleteRouteTable", RouteTableId=other)
    net.cloud.call("DeleteRouteTable", RouteTableId=net.own)
    assert [one["RouteTableId"] for one in net.tables()] == [net.main]


def test_another_table_can_become_the_main_one(net: Net) -> None:
    main = net.tables(association__main="true")[0]["Associations"][0]["RouteTableAssociationId"]
    net.cloud.call("ReplaceRouteTableAssociation", AssociationId=main, RouteTableId=net.own)
    assert [one["RouteTableId"] for one in net.tables(association__main="true")] == [net.own]
    net.cloud.call("DeleteRouteTable", RouteTableId=net.main)
    net.cloud.refused("DependencyViolation", "DeleteRouteTable", RouteTableId=net.own)


def test_a_deleted_subnet_leaves_its_table(net: Net) -> None:
    net.cloud.call("AssociateRouteTable", RouteTableId=net.own, SubnetId=net.a)
    net.cloud.call("DeleteSubnet", SubnetId=net.a)
    net.cloud.call("DeleteRouteTable", RouteTableId=net.own)


def test_tables_and_subnets_of_two_vpcs_do_not_mix(net: Net) -> None:
    foreign = net.cloud.subnet(net.cloud.vpc("10.20.0.0/16", "other"), "10.20.0.0/24")
    said = net.cloud.refused("InvalidParameterValue", "AssociateRouteTable", RouteTableId=net.own, SubnetId=foreign)
    assert said == f"route table {net.own} and subnet {foreign} belong to different networks"
    theirs = net.tables(vpc_id=net.cloud.state.subnets[foreign].vpc_id)[0]["RouteTableId"]
    made = net.cloud.call("AssociateRouteTable", RouteTableId=net.own, SubnetId=net.a)["AssociationId"]
    net.cloud.refused("InvalidParameterValue", "ReplaceRouteTableAssociation", AssociationId=made, RouteTableId=theirs)
    eni, node = net.cloud.interface(foreign), net.cloud.node(foreign)
    gateway = net.cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    for target in ({"NetworkInterfaceId": eni}, {"InstanceId": node}, {"GatewayId": gateway}):
        call = {"RouteTableId": net.own, "DestinationCidrBlock": "0.0.0.0/0", **target}
        assert "belong to different networks" in net.cloud.refused("InvalidParameterValue", "CreateRoute", **call)


def test_the_default_route_follows_its_gateway(net: Net) -> None:
    net.route("0.0.0.0/0", GatewayId=net.gateway)
    assert net.routes()["0.0.0.0/0"] == (net.gateway, "active")
    net.cloud.call("DetachInternetGateway", InternetGatewayId=net.gateway, VpcId=net.vpc)
    assert net.routes()["0.0.0.0/0"] == (net.gateway, "blackhole")
    net.cloud.call("AttachInternetGateway", InternetGatewayId=net.gateway, VpcId=net.vpc)
    assert net.routes()["0.0.0.0/0"][1] == "active"


def test_a_route_to_an_instance_is_one_to_its_eni(net: Net) -> None:
    node = net.cloud.node(net.a)
    eni = net.cloud.primary(node).id
    net.route("192.168.0.0/16", InstanceId=node)
    (shown,) = net.tables(route__instance_id=node)
    route = next(one for one in shown["Routes"] if one["DestinationCidrBlock"] == "192.168.0.0/16")
    assert (route["InstanceId"], route["InstanceOwnerId"], route["NetworkInterfaceId"]) == (node, "111122223333", eni)
    assert (route["Origin"], route["State"]) == ("CreateRoute", "active")
    net.cloud.attach(net.cloud.interface(net.a), node)
    call = {"RouteTableId": net.own, "DestinationCidrBlock": "172.16.0.0/12", "InstanceId": node}
    assert "multiple interfaces attached" in net.cloud.refused("InvalidInstanceID", "CreateRoute", **call)
    net.cloud.call("TerminateInstances", InstanceIds=[node])
    assert net.routes()["192.168.0.0/16"] == (eni, "blackhole")
    net.cloud.refused("IncorrectInstanceState", "CreateRoute", **call)


def test_a_route_to_an_eni_is_a_blackhole_while_the_eni_is_unplugged(net: Net) -> None:
    eni, node = net.cloud.interface(net.a), net.cloud.node(net.a)
    net.route("192.168.0.0/16", NetworkInterfaceId=eni)
    assert net.routes()["192.168.0.0/16"] == (eni, "blackhole")
    at = net.cloud.attach(eni, node)
    assert net.routes()["192.168.0.0/16"] == (eni, "active")
    net.cloud.call("DetachNetworkInterface", AttachmentId=at)
    net.cloud.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    assert net.routes()["192.168.0.0/16"] == (eni, "blackhole")


def test_routes_inside_the_vpc_cover_a_subnet_and_lead_to_an_eni(net: Net) -> None:
    eni = net.cloud.interface(net.b)

    def refused(destination: str, **target: str) -> str:
        return net.cloud.refused("InvalidParameterValue", "CreateRoute", RouteTableId=net.own, DestinationCidrBlock=destination, **target)

    assert "can target only an interface or an instance" in refused("10.10.0.0/24", GatewayId=net.gateway)
    assert "equals no subnet" in refused("10.10.0.0/25", NetworkInterfaceId=eni)
    assert "equals no subnet" in refused("10.10.5.0/24", NetworkInterfaceId=eni)
    net.route("10.10.0.0/24", NetworkInterfaceId=eni)
    net.route("10.0.0.0/8", GatewayId=net.gateway)


def test_link_local_services_cannot_be_led_elsewhere(net: Net) -> None:
    for wrong in ("169.254.168.0/22", "169.254.169.254/32"):
        call = {"RouteTableId": net.own, "DestinationCidrBlock": wrong, "GatewayId": net.gateway}
        assert "169.254.168.0/22" in net.cloud.refused("InvalidParameterValue", "CreateRoute", **call)
    net.route("169.254.0.0/16", GatewayId=net.gateway)


def test_local_routes_can_lead_elsewhere_and_back_but_never_go(net: Net) -> None:
    table, eni = {"RouteTableId": net.own, "DestinationCidrBlock": "10.10.0.0/16"}, net.cloud.interface(net.a)
    assert net.cloud.refused("InvalidParameterValue", "DeleteRoute", **table).startswith("cannot remove local route 10.10.0.0/16")
    net.cloud.refused("RouteAlreadyExists", "CreateRoute", **table, GatewayId=net.gateway)
    net.cloud.refused("InvalidParameterValue", "ReplaceRoute", **table, GatewayId=net.gateway)
    net.cloud.refused("InvalidParameterValue", "ReplaceRoute", **table, GatewayId="local")
    net.cloud.call("ReplaceRoute", **table, NetworkInterfaceId=eni)
    assert net.routes() == {"10.10.0.0/16": (eni, "blackhole")}
    net.cloud.refused("InvalidParameterValue", "DeleteRoute", **table)
    net.cloud.refused("InvalidParameterCombination", "ReplaceRoute", **table, LocalTarget=True, NetworkInterfaceId=eni)
    net.cloud.call("ReplaceRoute", **table, LocalTarget=True)
    assert net.routes() == {"10.10.0.0/16": ("local", "active")}
    net.route("0.0.0.0/0", GatewayId=net.gateway)
    net.cloud.refused("InvalidParameterValue", "ReplaceRoute", RouteTableId=net.own, DestinationCidrBlock="0.0.0.0/0", LocalTarget=True)


def test_routes_are_replaced_and_deleted_by_destination(net: Net) -> None:
    call = {"RouteTableId": net.own, "DestinationCidrBlock": "192.168.7.7/16"}
    eni = net.cloud.interface(net.a)
    said = net.cloud.refused("InvalidRoute.NotFound", "ReplaceRoute", **call, GatewayId=net.gateway)
    assert said == f"no route with destination-cidr-block 192.168.0.0/16 in route table {net.own}"
    net.route("192.168.7.7/16", GatewayId=net.gateway)
    said = net.cloud.refused("RouteAlreadyExists", "CreateRoute", **call, NetworkInterfaceId=eni)
    assert said == "The route identified by 192.168.0.0/16 already exists."
    net.cloud.call("ReplaceRoute", **call, NetworkInterfaceId=eni)
    assert net.routes()["192.168.0.0/16"] == (eni, "blackhole")
    net.cloud.call("DeleteRoute", **call)
    net.cloud.refused("InvalidRoute.NotFound", "DeleteRoute", **call)


def test_a_route_has_exactly_one_target_that_is_there(net: Net) -> None:
    call = {"RouteTableId": net.own, "DestinationCidrBlock": "0.0.0.0/0"}
    net.cloud.refused("MissingParameter", "CreateRoute", **call)
    net.cloud.refused("InvalidParameterCombination", "CreateRoute", **call, GatewayId=net.gateway, NatGatewayId="nat-0123456789abcdef0")
    for code, target in (
        ("InvalidGatewayID.NotFound", {"GatewayId": "igw-0123456789abcdef0"}),
        ("InvalidNatGatewayID.NotFound", {"NatGatewayId": "nat-0123456789abcdef0"}),
        ("InvalidNetworkInterfaceID.NotFound", {"NetworkInterfaceId": "eni-0123456789abcdef0"}),
        ("InvalidInstanceID.NotFound", {"InstanceId": "i-0123456789abcdef0"}),
        ("InvalidVpcPeeringConnectionID.NotFound", {"VpcPeeringConnectionId": "pcx-0123456789abcdef0"}),
    ):
        net.cloud.refused(code, "CreateRoute", **call, **target)
    for wrong in ("0.0.0.0", "10.0.0.0/33", "x"):
        net.cloud.refused("InvalidParameterValue", "CreateRoute", RouteTableId=net.own, DestinationCidrBlock=wrong, GatewayId=net.gateway)
    table = "rtb-0123456789abcdef0"
    said = net.cloud.refused("InvalidRouteTableID.NotFound", "CreateRoute", **{**call, "RouteTableId": table}, GatewayId=net.gateway)
    assert said == f"The routeTable ID '{table}' does not exist"
    net.cloud.refused("UnknownParameter", "CreateRoute", **call, TransitGatewayId="tgw-0123456789abcdef0")


def test_fifty_routes_a_table_and_two_hundred_tables_a_vpc(net: Net) -> None:
    for number in range(50):
        net.route(f"172.16.{number}.0/24", GatewayId=net.gateway)
    call = {"RouteTableId": net.own, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": net.gateway}
    assert net.cloud.refused("RouteLimitExceeded", "CreateRoute", **call) == "The maximum number of routes has been reached."
    for _ in range(198):
        net.cloud.call("CreateRouteTable", VpcId=net.vpc)
    net.cloud.refused("RouteTableLimitExceeded", "CreateRouteTable", VpcId=net.vpc)


def test_a_client_token_makes_one_table(net: Net) -> None:
    tags = [{"ResourceType": "route-table", "Tags": [{"Key": "Name", "Value": "r"}]}]
    one, again = (net.cloud.call("CreateRouteTable", VpcId=net.vpc, ClientToken="t", TagSpecifications=tags) for _ in range(2))
    assert one == again and one["RouteTable"]["Tags"] == [{"Key": "Name", "Value": "r"}] and one["ClientToken"] == "t"
    net.cloud.refused("IdempotentParameterMismatch", "CreateRouteTable", VpcId=net.vpc, ClientToken="t")


def test_tables_are_found_by_what_is_in_them_in_pages_of_a_hundred(net: Net) -> None:
    net.route("0.0.0.0/0", GatewayId=net.gateway)
    for filters in ({"route__gateway_id": net.gateway}, {"route__destination_cidr_block": "0.0.0.0/*"}, {"route__origin": "CreateRoute"}):
        assert [one["RouteTableId"] for one in net.tables(**filters)] == [net.own]
    assert net.tables(route__state="blackhole") == [] and len(net.tables(owner_id="111122223333", vpc_id=net.vpc)) == 2
    net.cloud.refused("InvalidParameterValue", "DescribeRouteTables", MaxResults=101)
    for _ in range(5):
        net.cloud.call("CreateRouteTable", VpcId=net.vpc)
    first = net.cloud.call("DescribeRouteTables", MaxResults=5)
    rest = net.cloud.call("DescribeRouteTables", MaxResults=5, NextToken=first["NextToken"])
    assert (len(first["RouteTables"]), len(rest["RouteTables"]), "NextToken" in rest) == (5, 2, False)
