"""VPCs, subnets, gateways, instance types, security groups and tags: rules, refusals, descriptions."""

from __future__ import annotations

import pytest
from builders_ec2 import Cloud

from labnet.ec2 import limits
from labnet.ec2.cloud import ACTIONS, execute
from labnet.ec2.rules.request import Context
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_vpc_blocks_from_16_to_28_host_bits_cleared(cloud: Cloud) -> None:
    assert cloud.call("CreateVpc", CidrBlock="10.10.3.4/16")["Vpc"]["CidrBlock"] == "10.10.0.0/16"
    for wrong in ("10.0.0.0/15", "10.0.0.0/29"):
        assert cloud.refused("InvalidVpc.Range", "CreateVpc", CidrBlock=wrong) == f"The CIDR '{wrong}' is invalid."
    for wrong in ("10.0.0.0", "10.0.0.0/x", "10.0.0.300/16", "fd00::/16"):
        cloud.refused("InvalidParameterValue", "CreateVpc", CidrBlock=wrong)


def test_subnets_lie_in_one_block_of_the_vpc_and_apart(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    cloud.call("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="100.64.0.0/16")
    cloud.refused("InvalidVpc.Conflict", "AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.10.128.0/17")
    assert cloud.subnet(vpc, "100.64.1.0/24")
    cloud.subnet(vpc, "10.10.0.0/24")
    said = cloud.refused("InvalidSubnet.Conflict", "CreateSubnet", VpcId=vpc, CidrBlock="10.10.0.128/25")
    assert said == "The CIDR '10.10.0.128/25' conflicts with another subnet"
    for wrong in ("10.11.0.0/24", "10.10.0.0/15", "10.10.9.0/29", "10.8.0.0/13"):
        cloud.refused("InvalidSubnet.Range", "CreateSubnet", VpcId=vpc, CidrBlock=wrong)
    cloud.refused("InvalidParameterValue", "CreateSubnet", VpcId=vpc, CidrBlock="10.10.2.0/24", AvailabilityZone="eu-west-1a")
    cloud.refused("InvalidVpcID.NotFound", "CreateSubnet", VpcId="vpc-0123456789abcdef0", CidrBlock="10.10.2.0/24")


@pytest.mark.parametrize(("cidr", "free"), [("10.10.0.0/28", 11), ("10.10.0.0/24", 251), ("10.10.0.0/19", 8187), ("10.10.0.0/16", 65531)])
def test_five_addresses_of_a_subnet_are_reserved(cloud: Cloud, cidr: str, free: int) -> None:
    assert cloud.free(cloud.subnet(cloud.vpc(), cidr)) == free


def test_what_is_in_use_cannot_be_deleted(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    gateway = cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    cloud.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.refused("Resource.AlreadyAssociated", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    eni = cloud.interface(subnet)
    said = cloud.refused("DependencyViolation", "DeleteSubnet", SubnetId=subnet)
    assert said == f"The subnet '{subnet}' has dependencies and cannot be deleted."
    cloud.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    cloud.refused("DependencyViolation", "DeleteInternetGateway", InternetGatewayId=gateway)
    cloud.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    cloud.call("DeleteSubnet", SubnetId=subnet)
    cloud.call("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.refused("Gateway.NotAttached", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.call("DeleteInternetGateway", InternetGatewayId=gateway)
    cloud.call("DeleteVpc", VpcId=vpc)
    assert not (cloud.state.vpcs or cloud.state.subnets or cloud.state.security_groups or cloud.state.internet_gateways)


def test_a_gateway_with_mapped_addresses_stays(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    cloud.call("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    gateway = cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    cloud.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.node(subnet)
    said = cloud.refused("DependencyViolation", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    assert "mapped public address" in said


def test_one_gateway_a_vpc(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    one, other = (cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"] for _ in range(2))
    cloud.call("AttachInternetGateway", InternetGatewayId=one, VpcId=vpc)
    cloud.refused("InvalidParameterValue", "AttachInternetGateway", InternetGatewayId=other, VpcId=vpc)
    shown = cloud.call("DescribeInternetGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])["InternetGateways"]
    assert [item["InternetGatewayId"] for item in shown] == [one]


def test_describe_subnets_as_the_vpc_cni_asks(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    one = cloud.subnet(vpc)
    cloud.subnet(vpc, "10.10.1.0/24", "us-west-2b")
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "availability-zone", "Values": ["us-west-2a"]}]
    (shown,) = cloud.call("DescribeSubnets", Filters=filters)["Subnets"]
    assert (shown["SubnetId"], shown["AvailabilityZoneId"], shown["AvailableIpAddressCount"]) == (one, "usw2-az1", 251)
    assert [item["VpcId"] for item in cloud.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"]] == [vpc]


def test_every_instance_type_of_the_table(cloud: Cloud) -> None:
    shown = {item["InstanceType"]: item for item in cloud.call("DescribeInstanceTypes")["InstanceTypes"]}
    assert len(shown) == 1391 == len(limits.load())
    info = shown["t3.small"]["NetworkInfo"]
    assert (info["MaximumNetworkInterfaces"], info["Ipv4AddressesPerInterface"]) == (3, 4)
    cards = shown["p5.48xlarge"]["NetworkInfo"]["NetworkCards"]
    assert len(cards) == 32 and cards[0] == {"NetworkCardIndex": 0, "MaximumNetworkInterfaces": 2}
    assert shown["t3.small"]["Hypervisor"] == "nitro" and shown["t2.micro"]["Hypervisor"] == "xen"
    said = cloud.refused("InvalidInstanceType", "DescribeInstanceTypes", InstanceTypes=["t3.smal"])
    assert said == "The following supplied instance types do not exist: [t3.smal]"


def test_limits_of_the_table_and_suggestions() -> None:
    types = limits.load()
    assert (types["m5.large"].enis, types["m5.large"].ipv4_per_eni, types["m5.large"].max_pods) == (3, 10, 29)
    assert types["t3.nano"].pod_addresses == 2
    assert "t3.small" in limits.suggest("t3.smal", types)
    assert limits.suggest("quite-another-thing", types) == []
    assert "t3.smal" not in types and types.get("t3.smal") is None


def test_the_default_group(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    (group,) = cloud.call("DescribeSecurityGroups", Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    assert group["GroupName"] == "default"
    assert group["IpPermissions"][0]["UserIdGroupPairs"] == [{"GroupId": group["GroupId"], "UserId": "111122223333"}]
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    said = cloud.refused("CannotDelete", "DeleteSecurityGroup", GroupId=group["GroupId"])
    assert said == f'the specified group: "{group["GroupId"]}" name: "default" cannot be deleted by a user'


def permission(low: int, high: int | None = None, cidr: str = "0.0.0.0/0", protocol: str = "tcp") -> dict[str, object]:
    return {"IpProtocol": protocol, "FromPort": low, "ToPort": low if high is None else high, "IpRanges": [{"CidrIp": cidr}]}


def test_groups_rules_and_their_refusals(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    web = cloud.call("CreateSecurityGroup", GroupName="web", Description="d", VpcId=vpc)["GroupId"]
    cloud.refused("InvalidGroup.Duplicate", "CreateSecurityGroup", GroupName="web", Description="d", VpcId=vpc)
    cloud.call("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[permission(80), permission(443)])
    cloud.refused("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[permission(80)])
    cloud.refused("InvalidPermission.NotFound", "RevokeSecurityGroupIngress", GroupId=web, IpPermissions=[permission(81)])
    cloud.call("RevokeSecurityGroupIngress", GroupId=web, IpPermissions=[permission(80)])
    cloud.call("RevokeSecurityGroupEgress", GroupId=web, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    cloud.call("AuthorizeSecurityGroupEgress", GroupId=web, IpPermissions=[{"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1,
                                                                            "UserIdGroupPairs": [{"GroupId": web}]}])
    (shown,) = cloud.call("DescribeSecurityGroups", GroupIds=[web])["SecurityGroups"]
    assert [(one["IpProtocol"], one.get("FromPort")) for one in shown["IpPermissions"]] == [("tcp", 443)]
    assert shown["IpPermissionsEgress"][0]["UserIdGroupPairs"][0]["GroupId"] == web
    for wrong in (permission(90, 80), permission(0, 70000), permission(1, protocol="tpc"), permission(1, cidr="10.0.0.0/33")):
        cloud.refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[wrong])
    said = cloud.refused("InvalidGroup.NotFound", "DescribeSecurityGroups", GroupIds=["sg-0123456789abcdef0"])
    assert said == "The security group 'sg-0123456789abcdef0' does not exist"


def test_sixty_rules_a_direction(cloud: Cloud) -> None:
    group = cloud.call("CreateSecurityGroup", GroupName="g", Description="d", VpcId=cloud.vpc())["GroupId"]
    cloud.call("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[permission(port) for port in range(60)])
    said = cloud.refused("RulesPerSecurityGroupLimitExceeded", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[permission(61)])
    assert said == "The maximum number of rules per security group has been reached."


def test_a_group_that_is_named_somewhere_stays(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    one, other = (cloud.call("CreateSecurityGroup", GroupName=name, Description="d", VpcId=vpc)["GroupId"] for name in ("a", "b"))
    pair = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": one}]}]
    cloud.call("AuthorizeSecurityGroupIngress", GroupId=other, IpPermissions=pair)
    said = cloud.refused("DependencyViolation", "DeleteSecurityGroup", GroupId=one)
    assert said == f"resource {one} has a dependent object"
    cloud.call("RevokeSecurityGroupIngress", GroupId=other, IpPermissions=pair)
    eni = cloud.interface(cloud.subnet(vpc), Groups=[one])
    cloud.refused("DependencyViolation", "DeleteSecurityGroup", GroupId=one)
    cloud.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    cloud.call("DeleteSecurityGroup", GroupId=one)


def test_tags_of_every_kind(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    node = cloud.node(subnet)
    eni = cloud.primary(node).id
    group = next(iter(cloud.state.security_groups))
    gateway = cloud.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    everything = [vpc, subnet, node, eni, group, gateway]
    cloud.call("CreateTags", Resources=everything, Tags=[{"Key": "team", "Value": "net"}])
    shown = cloud.call("DescribeTags", Filters=[{"Name": "key", "Values": ["team"]}])["Tags"]
    assert {one["ResourceId"] for one in shown} == set(everything)
    assert {one["ResourceType"] for one in shown} == {"vpc", "subnet", "instance", "network-interface", "security-group", "internet-gateway"}
    before = cloud.state
    cloud.call("CreateTags", Resources=[eni], Tags=[{"Key": "team", "Value": "net"}])
    assert cloud.state is before
    cloud.call("DeleteTags", Resources=[eni], Tags=[{"Key": "team", "Value": "other"}])
    assert cloud.state is before
    cloud.call("DeleteTags", Resources=[eni], Tags=[{"Key": "team"}])
    assert cloud.state.enis[eni].tags == {}
    cloud.refused("InvalidID", "CreateTags", Resources=["eni-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])
    cloud.refused("InvalidParameterValue", "CreateTags", Resources=[eni], Tags=[{"Key": "aws:x", "Value": "b"}])
    cloud.refused("InvalidParameterValue", "CreateTags", Resources=[eni], Tags=[{"Key": "k" * 128, "Value": "b"}])
    cloud.refused("TagLimitExceeded", "CreateTags", Resources=[eni], Tags=[{"Key": f"k{n}", "Value": "b"} for n in range(51)])


def test_unknown_actions_parameters_and_dry_runs(cloud: Cloud) -> None:
    assert "DescribeVolumes" in cloud.refused("InvalidAction", "DescribeVolumes")
    assert "InstanceTenancy" in cloud.refused("UnknownParameter", "CreateVpc", CidrBlock="10.0.0.0/16", InstanceTenancy="default")
    assert "CidrBlock" in cloud.refused("MissingParameter", "CreateVpc")
    with pytest.raises(Ec2Error) as caught:
        cloud.call("CreateVpc", CidrBlock="10.0.0.0/16", DryRun=True)
    assert (caught.value.code, caught.value.status) == ("DryRunOperation", 412)
    assert not cloud.state.vpcs


def test_a_dry_run_of_what_would_be_refused_is_refused(cloud: Cloud) -> None:
    cloud.refused("InvalidVpc.Range", "CreateVpc", CidrBlock="10.0.0.0/8", DryRun=True)


def test_ids_and_addresses_follow_from_seed_and_lab() -> None:
    def made(seed: int, lab: str) -> CloudState:
        cloud = Cloud(CloudState(lab=lab, seed=seed))
        cloud.node(cloud.subnet(cloud.vpc()))
        return cloud.state

    assert made(1, "a") == made(1, "a")
    assert made(1, "a").instances.keys() != made(2, "a").instances.keys()
    assert made(1, "a").enis.keys() != made(1, "b").enis.keys()


def test_ids_are_never_used_again(cloud: Cloud) -> None:
    vpc = cloud.vpc()
    seen: set[str] = set()
    for _ in range(3):
        subnet = cloud.call(
            "CreateSubnet", VpcId=vpc, CidrBlock="10.10.0.0/24", TagSpecifications=[{"ResourceType": "subnet", "Tags": [{"Key": "Name",
            "Value": "a"}]}]
        )["Subnet"]["SubnetId"]
        cloud.call("DeleteSubnet", SubnetId=subnet)
        assert subnet not in seen
        seen.add(subnet)


def test_every_action_has_a_rule_and_only_known_parameters() -> None:
    from builders_ec2 import ec2_model

    for name, entry in ACTIONS.items():
        shape = ec2_model().operation_model(name).input_shape
        assert shape is not None and entry.parameters <= set(shape.members), name
        assert set(entry.required) <= entry.parameters
        if not entry.mutates and not entry.required:
            after, _ = execute(state := CloudState(lab="x"), name, {}, Context(0.0, limits.load()))
            assert after is state
