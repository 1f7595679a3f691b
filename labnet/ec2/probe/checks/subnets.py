"""VPCs and subnets: their ranges, what may overlap, what must be empty first."""

from __future__ import annotations

from labnet.ec2.probe.check import expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("VPCs and subnets")
UNKNOWN = "0123456789abcdef0"
RESTRICTED = "192.168.0.0/16"
FURTHER = ("100.64.0.0/16", "100.65.0.0/16", "100.66.0.0/16", "100.67.0.0/16", "100.68.0.0/16")
VPCS_PER_REGION = 5
CIDRS_PER_VPC = 5


@check("VPC range")
def vpc_range(at: Site) -> None:
    """A VPC is /16 to /28: a /15 and a /29 are InvalidVpc.Range."""
    for cidr in ("10.76.0.0/15", "10.77.0.0/29"):
        at.refused("CreateVpc", "InvalidVpc.Range", CidrBlock=cidr)


@check("VPC range")
def vpc_no_cidr(at: Site) -> None:
    """What is no CIDR block is InvalidParameterValue."""
    for cidr in ("10.77.0.0/33", "10.77.0/16", "somewhere"):
        at.refused("CreateVpc", "InvalidParameterValue", CidrBlock=cidr)


@check("CIDR is canonicalised")
def vpc_canonical(at: Site) -> None:
    """Host bits are cleared: 10.77.3.9/16 makes 10.77.0.0/16."""
    vpc = at.vpc("10.77.3.9/16")
    same(at.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"][0]["CidrBlock"], "10.77.0.0/16", "the VPC's block")


@check("CIDR is canonicalised")
def subnet_canonical(at: Site) -> None:
    """Host bits are cleared: 10.77.1.9/24 makes 10.77.1.0/24."""
    subnet = at.subnet("10.77.1.9/24")
    same(at.call("DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]["CidrBlock"], "10.77.1.0/24", "the subnet's block")


@check("subnet range")
def subnet_range(at: Site) -> None:
    """A subnet is /16 to /28: a /29 is InvalidSubnet.Range."""
    at.refused("CreateSubnet", "InvalidSubnet.Range", "The CIDR '10.77.1.0/29' is invalid.", VpcId=at.vpc(), CidrBlock="10.77.1.0/29")


@check("subnet range")
def subnet_outside_the_vpc(at: Site) -> None:
    """A subnet lies inside one block of its VPC, else InvalidSubnet.Range."""
    vpc = at.vpc("10.77.0.0/20")
    for cidr in ("10.78.1.0/24", "10.77.0.0/19"):
        at.refused("CreateSubnet", "InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.", VpcId=vpc, CidrBlock=cidr)


@check("subnet conflict")
def subnet_conflict(at: Site) -> None:
    """Subnets of a VPC do not overlap: InvalidSubnet.Conflict."""
    vpc = at.vpc()
    at.subnet("10.77.1.0/24", vpc)
    for cidr in ("10.77.1.0/24", "10.77.1.128/25", "10.77.0.0/20"):
        at.refused("CreateSubnet", "InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet", VpcId=vpc, CidrBlock=cidr)


@check("subnet zone")
def subnet_zone(at: Site) -> None:
    """A subnet lies in one zone of the region; another one's is InvalidParameterValue."""
    vpc = at.vpc()
    subnet = at.subnet("10.77.2.0/24", vpc, zone=1)
    same(at.call("DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]["AvailabilityZone"], at.zone(1), "the subnet's zone")
    at.refused("CreateSubnet", "InvalidParameterValue", VpcId=vpc, CidrBlock="10.77.3.0/24", AvailabilityZone="mars-north-1a")


@check("unknown VPC")
def unknown_vpc(at: Site) -> None:
    """InvalidVpcID.NotFound."""
    at.refused("DescribeVpcs", "InvalidVpcID.NotFound", VpcIds=[f"vpc-{UNKNOWN}"])
    at.refused("CreateSubnet", "InvalidVpcID.NotFound", VpcId=f"vpc-{UNKNOWN}", CidrBlock="10.77.1.0/24")


@check("unknown subnet")
def unknown_subnet(at: Site) -> None:
    """InvalidSubnetID.NotFound."""
    at.refused("DescribeSubnets", "InvalidSubnetID.NotFound", SubnetIds=[f"subnet-{UNKNOWN}"])
    at.refused("CreateNetworkInterface", "InvalidSubnetID.NotFound", SubnetId=f"subnet-{UNKNOWN}")


@check("delete subnet in use")
def subnet_in_use(at: Site) -> None:
    """A subnet with an ENI in it stays: DependencyViolation."""
    subnet = at.subnet()
    eni = at.eni(subnet)
    text = f"The subnet '{subnet}' has dependencies and cannot be deleted."
    at.refused("DeleteSubnet", "DependencyViolation", text, SubnetId=subnet)
    at.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    at.call("DeleteSubnet", SubnetId=subnet)


@check("delete VPC in use")
def vpc_in_use(at: Site) -> None:
    """A VPC with a subnet in it stays: DependencyViolation."""
    vpc = at.vpc()
    subnet = at.subnet(vpc=vpc)
    at.refused("DeleteVpc", "DependencyViolation", VpcId=vpc)
    at.call("DeleteSubnet", SubnetId=subnet)
    at.call("DeleteVpc", VpcId=vpc)
    at.refused("DescribeVpcs", "InvalidVpcID.NotFound", VpcIds=[vpc])


@check("VPCs per region")
def vpc_limit(at: Site) -> None:
    """Five; the next is VpcLimitExceeded."""
    present = len(at.call("DescribeVpcs")["Vpcs"])
    for number in range(present, VPCS_PER_REGION):
        at.vpc(f"10.{80 + number}.0.0/16")
    text = "The maximum number of VPCs has been reached."
    at.refused("CreateVpc", "VpcLimitExceeded", text, CidrBlock="10.90.0.0/16")


@check("secondary CIDRs")
def further_block(at: Site) -> None:
    """100.64.0.0/10 may join every VPC, and subnets lie in it."""
    vpc = at.vpc()
    at.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=FURTHER[0])

    def associated() -> bool:
        blocks = at.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"][0]["CidrBlockAssociationSet"]
        return any(item["CidrBlock"] == FURTHER[0] and item["CidrBlockState"]["State"] == "associated" for item in blocks)

    at.until(associated, "associated")
    at.subnet("100.64.7.0/24", vpc)


@check("secondary CIDRs")
def further_blocks_limit(at: Site) -> None:
    """Five blocks a VPC, the first counted; the sixth is refused."""
    vpc = at.vpc()
    for cidr in FURTHER[: CIDRS_PER_VPC - 1]:
        at.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=cidr)
    at.refused("AssociateVpcCidrBlock", "CidrLimitExceeded VpcCidrLimitExceeded", VpcId=vpc, CidrBlock=FURTHER[CIDRS_PER_VPC - 1])


@check("secondary CIDRs")
def further_block_overlaps(at: Site) -> None:
    """A block that overlaps one of the VPC is refused."""
    vpc = at.vpc()
    for cidr in ("10.77.0.0/16", "10.77.8.0/24"):
        at.refused("AssociateVpcCidrBlock", "InvalidVpc.Range InvalidVpc.Conflict CidrConflict", VpcId=vpc, CidrBlock=cidr)


@check("secondary CIDRs")
def further_block_restricted(at: Site) -> None:
    """A 10.0.0.0/8 VPC takes no block of 192.168.0.0/16, and none takes 198.19.0.0/16."""
    vpc = at.vpc()
    for cidr in (RESTRICTED, "172.18.0.0/16", "198.19.0.0/16"):
        at.refused("AssociateVpcCidrBlock", "InvalidVpc.Range", VpcId=vpc, CidrBlock=cidr)


@check("a VPC's own objects")
def vpc_comes_with(at: Site) -> None:
    """A new VPC has a default group, a main route table and a default ACL."""
    mine = [{"Name": "vpc-id", "Values": [at.vpc()]}]
    same([one["GroupName"] for one in at.call("DescribeSecurityGroups", Filters=mine)["SecurityGroups"]], ["default"], "its groups")
    tables = at.call("DescribeRouteTables", Filters=mine)["RouteTables"]
    same([[item["Main"] for item in one["Associations"]] for one in tables], [[True]], "its route tables (main)")
    same([one["IsDefault"] for one in at.call("DescribeNetworkAcls", Filters=mine)["NetworkAcls"]], [True], "its ACLs (default)")


@check("DNS attributes")
def vpc_dns(at: Site) -> None:
    """A new VPC has DNS support and no DNS host names; both are changed one at a time."""
    vpc = at.vpc()

    def seen() -> list[bool]:
        support = at.call("DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsSupport")["EnableDnsSupport"]["Value"]
        return [support, at.call("DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]]

    same(seen(), [True, False], "support and host names")
    at.call("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    at.until(lambda: seen() == [True, True], "host names on")


@check("zones and regions")
def zones(at: Site) -> None:
    """The region has zones of its name, each available and with an id."""
    region = at.endpoint.region
    found = at.call("DescribeAvailabilityZones")["AvailabilityZones"]
    expect(len(found) > 1, f"{len(found)} zones in {region}")
    for zone in found:
        expect(zone["ZoneName"].startswith(region) and zone["State"] == "available" and "-az" in zone["ZoneId"], f"a zone is {zone}")
    names = [one["RegionName"] for one in at.call("DescribeRegions")["Regions"]]
    expect(region in names, f"{region} is none of the regions {names}")
