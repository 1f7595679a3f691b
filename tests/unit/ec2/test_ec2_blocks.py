"""Blocks of VPCs, reservations in subnets, zones and regions, attributes and limits of VPCs; what goes with a VPC; tags of it all."""

from __future__ import annotations

import pytest
from builders_ec2 import Cloud

from labnet.ec2.cloud import ACTIONS
from labnet.model.cloud import CloudState


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.mark.parametrize(("first", "legal", "restricted"), [
    ("10.10.0.0/16", ("10.11.0.0/16", "100.64.0.0/16", "44.0.0.0/16"), ("172.16.0.0/16", "192.168.0.0/24", "198.19.0.0/16", "127.0.0.0/16")),
    ("172.20.0.0/16", ("172.21.0.0/16", "100.65.0.0/16"), ("10.0.0.0/16", "192.168.7.0/24", "198.19.3.0/24")),
    ("192.168.0.0/20", ("192.168.16.0/20",), ("10.0.0.0/16", "172.31.0.0/16")),
    ("100.64.0.0/16", ("100.65.0.0/16", "44.0.0.0/16"), ("10.0.0.0/16", "172.16.0.0/16", "192.168.0.0/16", "198.19.0.0/16")),
    ("10.1.0.0/16", ("10.2.0.0/16",), ("10.0.0.0/16",)),
])
def test_further_blocks_are_of_the_first_ones_family(cloud: Cloud, first: str, legal: tuple[str, ...], restricted: tuple[str, ...]) -> None:
    vpc = cloud.vpc(first)
    for wrong in restricted:
        said = cloud.refused("InvalidVpc.Range", "AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=wrong)
        assert said.startswith(f"The CIDR '{wrong}' is restricted.")
    for right in legal:
        cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=right)


def test_five_blocks_a_vpc(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    for number in range(11, 15):
        cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=f"10.{number}.0.0/16")
    cloud.refused("CidrLimitExceeded", "AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.15.0.0/16")


def test_a_block_covers_no_route_that_leads_elsewhere(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    table = cloud.call("DescribeRouteTables")["RouteTables"][0]["RouteTableId"]
    eni = cloud.interface(cloud.subnet(vpc))
    cloud.call("CreateRoute", RouteTableId=table, DestinationCidrBlock="10.99.3.0/24", NetworkInterfaceId=eni)
    cloud.refused("InvalidVpc.Conflict", "AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.99.0.0/16")
    cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.99.3.0/25")


def test_blocks_go_when_nothing_is_in_them_but_never_the_first(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    made = cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="100.64.0.0/16")["CidrBlockAssociation"]
    subnet = cloud.subnet(vpc, "100.64.0.0/24")
    blocks = cloud.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"][0]["CidrBlockAssociationSet"]
    assert [one["CidrBlock"] for one in blocks] == ["10.10.0.0/16", "100.64.0.0/16"] and blocks[1] == made
    said = cloud.refused("InvalidCidrBlock.InUse", "DisassociateVpcCidrBlock", AssociationId=made["AssociationId"])
    assert said == f"The vpc {vpc} currently has a subnet within CIDR block 100.64.0.0/16"
    cloud.call("DeleteSubnet", SubnetId=subnet)
    gone = cloud.call("DisassociateVpcCidrBlock", AssociationId=made["AssociationId"])["CidrBlockAssociation"]
    assert gone["CidrBlockState"] == {"State": "disassociating"}
    said = cloud.refused("OperationNotPermitted", "DisassociateVpcCidrBlock", AssociationId=blocks[0]["AssociationId"])
    assert said.endswith("It is the primary IPv4 CIDR block of the VPC")
    cloud.refused("InvalidVpcCidrBlockAssociationID.NotFound", "DisassociateVpcCidrBlock", AssociationId=made["AssociationId"])
    again = cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="100.64.0.0/16")["CidrBlockAssociation"]
    assert again["AssociationId"] != made["AssociationId"]
    found = cloud.call("DescribeVpcs", Filters=[{"Name": "cidr-block-association.association-id", "Values": [again["AssociationId"]]}])
    assert [one["VpcId"] for one in found["Vpcs"]] == [vpc]


def test_five_vpcs_and_five_gateways_a_region(cloud: Cloud) -> None:
    for number in range(5):
        cloud.vpc(f"10.{number}.0.0/16", f"v{number}")
        cloud.call("CreateInternetGateway")
    said = cloud.refused("VpcLimitExceeded", "CreateVpc", CidrBlock="10.9.0.0/16")
    assert said == "The maximum number of VPCs has been reached."
    cloud.refused("InternetGatewayLimitExceeded", "CreateInternetGateway")


def test_what_came_with_a_vpc_goes_with_it_and_nothing_else(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    table = cloud.call("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    cloud.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    cloud.call("DeleteRouteTable", RouteTableId=table)
    acl = cloud.call("CreateNetworkAcl", VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    cloud.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    cloud.call("DeleteNetworkAcl", NetworkAclId=acl)
    cloud.call("DeleteVpc", VpcId=vpc)
    assert not (cloud.state.vpcs or cloud.state.route_tables or cloud.state.network_acls or cloud.state.security_groups)


def test_attributes_of_a_vpc(cloud: Cloud) -> None:
    vpc = cloud.vpc(hostnames=False)

    def value(name: str) -> bool:
        return bool(cloud.call("DescribeVpcAttribute", VpcId=vpc, Attribute=name)[name[0].upper() + name[1:]]["Value"])

    assert (value("enableDnsSupport"), value("enableDnsHostnames"), value("enableNetworkAddressUsageMetrics")) == (True, False, False)
    cloud.call("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert value("enableDnsHostnames")
    cloud.call("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": False})
    cloud.call("ModifyVpcAttribute", VpcId=vpc, EnableDnsSupport={"Value": False})
    assert not value("enableDnsSupport")
    cloud.refused("InvalidParameterValue", "ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    cloud.refused("InvalidParameterCombination", "ModifyVpcAttribute", VpcId=vpc)
    both = {"EnableDnsHostnames": {"Value": False}, "EnableDnsSupport": {"Value": True}}
    cloud.refused("InvalidParameterCombination", "ModifyVpcAttribute", VpcId=vpc, **both)
    cloud.refused("InvalidParameterValue", "DescribeVpcAttribute", VpcId=vpc, Attribute="enableAnything")


# ---- reservations ---------------------------------------------------------------------------------------------------------


def reserve(cloud: Cloud, subnet: str, cidr: str, kind: str) -> str:
    made = cloud.call("CreateSubnetCidrReservation", SubnetId=subnet, Cidr=cidr, ReservationType=kind, Description="d")
    return str(made["SubnetCidrReservation"]["SubnetCidrReservationId"])


def next_address(cloud: Cloud, subnet: str, **more: str) -> str:
    eni = cloud.interface(subnet, **more)
    return cloud.state.enis[eni].primary


def test_no_address_is_chosen_from_a_reservation(cloud: Cloud) -> None:
    subnet = cloud.subnet(cloud.vpc(), "10.10.0.0/26")
    reserve(cloud, subnet, "10.10.0.16/28", "prefix")
    reserve(cloud, subnet, "10.10.0.6/31", "explicit")
    chosen = [next_address(cloud, subnet) for _ in range(10)]
    assert chosen == [f"10.10.0.{number}" for number in (4, 5, *range(8, 16))]
    assert next_address(cloud, subnet) == "10.10.0.32"
    assert next_address(cloud, subnet, PrivateIpAddress="10.10.0.6") == "10.10.0.6"
    eni = cloud.interface(subnet)
    cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    assert [item.address for item in cloud.state.enis[eni].addresses] == ["10.10.0.33", "10.10.0.34", "10.10.0.35"]


def test_prefixes_come_from_their_reservations_first_and_never_from_explicit_ones(cloud: Cloud) -> None:
    subnet = cloud.subnet(cloud.vpc(), "10.10.0.0/25")
    reserve(cloud, subnet, "10.10.0.64/27", "prefix")
    reserve(cloud, subnet, "10.10.0.16/30", "explicit")
    eni = cloud.interface(subnet)
    given = cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, Ipv4PrefixCount=4)["AssignedIpv4Prefixes"]
    assert [one["Ipv4Prefix"] for one in given] == ["10.10.0.64/28", "10.10.0.80/28", "10.10.0.32/28", "10.10.0.48/28"]


def test_a_subnet_whose_rest_is_full_has_no_address_left(cloud: Cloud) -> None:
    subnet = cloud.subnet(cloud.vpc(), "10.10.0.0/27")
    kept = reserve(cloud, subnet, "10.10.0.16/28", "prefix")
    for _ in range(12):
        cloud.interface(subnet)
    cloud.refused("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface", SubnetId=subnet)
    gone = cloud.call("DeleteSubnetCidrReservation", SubnetCidrReservationId=kept)["DeletedSubnetCidrReservation"]
    assert gone["SubnetCidrReservationId"] == kept
    assert next_address(cloud, subnet) == "10.10.0.16"


def test_reservations_are_listed_refused_and_go_with_their_subnet(cloud: Cloud) -> None:
    subnet = cloud.subnet(cloud.vpc())
    one, other = reserve(cloud, subnet, "10.10.0.16/28", "prefix"), reserve(cloud, subnet, "10.10.0.32/30", "explicit")
    shown = cloud.call("GetSubnetCidrReservations", SubnetId=subnet)["SubnetIpv4CidrReservations"]
    assert [(it["SubnetCidrReservationId"], it["Cidr"], it["ReservationType"], it["Description"]) for it in shown] == [
        (one, "10.10.0.16/28", "prefix", "d"), (other, "10.10.0.32/30", "explicit", "d")
    ]
    filters = [{"Name": "reservationType", "Values": ["explicit"]}]
    assert len(cloud.call("GetSubnetCidrReservations", SubnetId=subnet, Filters=filters)["SubnetIpv4CidrReservations"]) == 1
    for code, cidr, kind in (
        ("InvalidParameterValue", "10.11.0.0/28", "prefix"), ("InvalidParameterValue", "10.10.0.64/29", "prefix"),
        ("InvalidParameterValue", "10.10.0.64/28", "mine"), ("InvalidParameterValue", "10.10.0.0/27", "explicit"),
        ("InvalidParameterValue", "10.10.0.64", "explicit"),
    ):
        cloud.refused(code, "CreateSubnetCidrReservation", SubnetId=subnet, Cidr=cidr, ReservationType=kind)
    gone = "scr-0123456789abcdef0"
    cloud.refused("InvalidSubnetCidrReservationID.NotFound", "DeleteSubnetCidrReservation", SubnetCidrReservationId=gone)
    cloud.call("DeleteSubnet", SubnetId=subnet)
    assert not cloud.state.cidr_reservations


# ---- zones and regions ----------------------------------------------------------------------------------------------------


def test_the_zones_of_the_labs_region(cloud: Cloud) -> None:
    shown = cloud.call("DescribeAvailabilityZones")["AvailabilityZones"]
    assert [(one["ZoneName"], one["ZoneId"]) for one in shown] == [(f"us-west-2{x}", f"usw2-az{n}") for n, x in enumerate("abcd", 1)]
    assert shown[0]["RegionName"] == "us-west-2" and shown[0]["State"] == "available"
    (one,) = cloud.call("DescribeAvailabilityZones", ZoneIds=["usw2-az2"])["AvailabilityZones"]
    assert one["ZoneName"] == "us-west-2b"
    found = cloud.call("DescribeAvailabilityZones", Filters=[{"Name": "zone-name", "Values": ["*c"]}])["AvailabilityZones"]
    assert [it["ZoneName"] for it in found] == ["us-west-2c"]
    cloud.refused("InvalidParameterValue", "DescribeAvailabilityZones", ZoneNames=["us-west-2e"])
    tokyo = Cloud(CloudState(lab="t", region="ap-northeast-1")).call("DescribeAvailabilityZones")["AvailabilityZones"]
    assert tokyo[0]["ZoneId"] == "apne1-az1"


def test_subnets_are_in_zones_of_the_region(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    said = cloud.refused("InvalidParameterValue", "CreateSubnet", VpcId=vpc, CidrBlock="10.10.0.0/24", AvailabilityZone="us-west-2e")
    assert said.endswith("following availability zones: us-west-2a, us-west-2b, us-west-2c, us-west-2d.")
    made = cloud.call("CreateSubnet", VpcId=vpc, CidrBlock="10.10.0.0/24", AvailabilityZoneId="usw2-az3")["Subnet"]
    assert made["AvailabilityZone"] == "us-west-2c"
    call = {"VpcId": vpc, "CidrBlock": "10.10.1.0/24", "AvailabilityZone": "us-west-2a", "AvailabilityZoneId": "usw2-az1"}
    cloud.refused("InvalidParameterCombination", "CreateSubnet", **call)


def test_regions_and_what_an_account_may_have(cloud: Cloud) -> None:
    names = [one["RegionName"] for one in cloud.call("DescribeRegions")["Regions"]]
    assert len(names) == 17 and "us-west-2" in names and "af-south-1" not in names
    every = {one["RegionName"]: one for one in cloud.call("DescribeRegions", AllRegions=True)["Regions"]}
    assert every["af-south-1"]["OptInStatus"] == "not-opted-in"
    (one,) = cloud.call("DescribeRegions", RegionNames=["eu-west-1"])["Regions"]
    assert one["Endpoint"] == "ec2.eu-west-1.amazonaws.com"
    cloud.refused("InvalidParameterValue", "DescribeRegions", RegionNames=["mars-north-1"])
    shown = cloud.call("DescribeAccountAttributes", AttributeNames=["vpc-max-elastic-ips"])["AccountAttributes"]
    assert shown == [{"AttributeName": "vpc-max-elastic-ips", "AttributeValues": [{"AttributeValue": "5"}]}]
    cloud.refused("InvalidParameterValue", "DescribeAccountAttributes", AttributeNames=["x"])


# ---- all of it ------------------------------------------------------------------------------------------------------------


def test_every_new_kind_takes_tags(cloud: Cloud) -> None:
    vpc, peer = cloud.vpc(), cloud.vpc("10.20.0.0/16", "peer")
    subnet = cloud.subnet(vpc)

    def specs(kind: str) -> list[dict[str, object]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "made", "Value": kind}]}]

    kinds = {
        "route-table": cloud.call("CreateRouteTable", VpcId=vpc, TagSpecifications=specs("route-table"))["RouteTable"]["RouteTableId"],
        "elastic-ip": cloud.call("AllocateAddress", TagSpecifications=specs("elastic-ip"))["AllocationId"],
        "natgateway": cloud.call(
            "CreateNatGateway", SubnetId=subnet, ConnectivityType="private", TagSpecifications=specs("natgateway")
        )["NatGateway"]["NatGatewayId"],
        "network-acl": cloud.call("CreateNetworkAcl", VpcId=vpc, TagSpecifications=specs("network-acl"))["NetworkAcl"]["NetworkAclId"],
        "vpc-peering-connection": cloud.call(
            "CreateVpcPeeringConnection", VpcId=vpc, PeerVpcId=peer, TagSpecifications=specs("vpc-peering-connection")
        )["VpcPeeringConnection"]["VpcPeeringConnectionId"],
        "subnet-cidr-reservation": cloud.call(
            "CreateSubnetCidrReservation", SubnetId=subnet, Cidr="10.10.0.16/28", ReservationType="prefix",
            TagSpecifications=specs("subnet-cidr-reservation"),
        )["SubnetCidrReservation"]["SubnetCidrReservationId"],
    }
    cloud.call("CreateTags", Resources=list(kinds.values()), Tags=[{"Key": "team", "Value": "net"}])
    shown = cloud.call("DescribeTags", Filters=[{"Name": "key", "Values": ["made"]}])["Tags"]
    assert {one["ResourceType"]: one["ResourceId"] for one in shown} == kinds and all(one["Value"] == one["ResourceType"] for one in shown)
    assert len(cloud.call("DescribeTags", Filters=[{"Name": "key", "Values": ["team"]}])["Tags"]) == 6
    cloud.call("DeleteTags", Resources=list(kinds.values()))
    assert not [one for one in cloud.call("DescribeTags")["Tags"] if one["ResourceId"] in kinds.values()]


def test_what_packets_do_not_feel_yet_says_so() -> None:
    state_only = {name for name, entry in ACTIONS.items() if not entry.acts}
    assert {"CreateNetworkAclEntry", "AllocateAddress"} <= state_only
    felt = {"AssociateAddress", "DisassociateAddress", "CreateSubnetCidrReservation", "AssociateVpcCidrBlock", "ModifyVpcAttribute"}
    assert not state_only & (felt | {"CreateRoute", "CreateNatGateway", "AcceptVpcPeeringConnection", "AssociateDhcpOptions"})
