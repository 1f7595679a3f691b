"""The EC2 query protocol: what boto3 sends comes in as it was meant, what goes out boto3 reads, and only our keys sign."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from builders_ec2_http import KEY, SECRET, Running

from labnet.ec2 import wire
from labnet.errors import Ec2Error

IMAGE = "ami-0123456789abcdef0"


@pytest.fixture(scope="module")
def translator() -> wire.Wire:
    return wire.Wire()


# ---- forms ----------------------------------------------------------------------------------------------------------------


def test_a_form_becomes_what_the_caller_wrote(translator: wire.Wire) -> None:
    form = (
        b"Action=CreateNetworkInterface&Version=2016-11-15&SubnetId=subnet-1&SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2"
        b"&TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b+c"
        b"&SecondaryPrivateIpAddressCount=3&DryRun=false"
    )
    assert translator.parse(form) == ("CreateNetworkInterface", {
        "SubnetId": "subnet-1", "Groups": ["sg-1", "sg-2"], "SecondaryPrivateIpAddressCount": 3, "DryRun": False,
        "TagSpecifications": [{"ResourceType": "network-interface", "Tags": [{"Key": "a", "Value": "b c"}]}],
    })


def test_lists_are_read_by_their_numbers(translator: wire.Wire) -> None:
    _action, params = translator.parse(b"Action=DescribeVpcs&VpcId.10=c&VpcId.2=b&VpcId.1=a")
    assert params == {"VpcIds": ["a", "b", "c"]}


@pytest.mark.parametrize("form, code", [
    (b"", "MissingAction"), (b"Version=2016-11-15", "MissingAction"), (b"Action=Frobnicate", "InvalidAction"),
    (b"Action=DescribeVpcs&Version=2012-01-01", "NoSuchVersion"), (b"Action=DescribeVpcs&Colour=red", "UnknownParameter"),
    (b"Action=CreateVpc&CidrBlock=a&CidrBlock=b", "InvalidParameterValue"), (b"Action=DescribeVpcs&VpcId=a", "InvalidParameterValue"),
    (b"Action=DescribeVpcs&VpcId.0=a", "InvalidParameterValue"), (b"Action=DescribeVpcs&VpcId.x=a", "InvalidParameterValue"),
    (b"Action=CreateVpc&CidrBlock.1=a", "InvalidParameterValue"), (b"Action=DescribeVpcs&Filter=x", "InvalidParameterValue"),
    (b"Action=CreateVpc&CidrBlock=a&CidrBlock.b=c", "InvalidParameterCombination"),
    (b"Action=DescribeVpcs&DryRun=perhaps", "InvalidParameterValue"), (b"Action=DescribeVpcs&MaxResults=many", "InvalidParameterValue"),
    (b"Action=DeleteVpc", "MissingParameter"), (b"\xff\xfe", "MalformedQueryString"), (b"Action", "MalformedQueryString"),
])
def test_what_is_no_request_is_refused_in_awss_words(translator: wire.Wire, form: bytes, code: str) -> None:
    with pytest.raises(Ec2Error) as caught:
        translator.parse(form)
    assert caught.value.code == code


# ---- the real client ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    one = Running()
    yield one
    one.close()


def test_boto3_makes_a_node_with_two_enis(running: Running) -> None:
    ec2 = running.client()
    vpc = ec2.create_vpc(CidrBlock="10.10.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "a&<b>"}]}])
    vpc_id = vpc["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.10.0.0/24", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]
    instance = ec2.run_instances(ImageId=IMAGE, InstanceType="t3.small", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]
    eni = ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=2)["NetworkInterface"]["NetworkInterfaceId"]
    attachment = ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance["InstanceId"], DeviceIndex=1)["AttachmentId"]
    change = {"AttachmentId": attachment, "DeleteOnTermination": True}
    assert ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Attachment=change)["ResponseMetadata"]["HTTPStatusCode"] == 200
    found = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}])
    assert [item["Attachment"]["DeviceIndex"] for item in found["NetworkInterfaces"]] == [0, 1]
    assert [item["Primary"] for item in found["NetworkInterfaces"][1]["PrivateIpAddresses"]] == [True, False, False]
    assert ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"][0]["Tags"] == [{"Key": "Name", "Value": "a&<b>"}]
    seen = ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert abs(seen["LaunchTime"].timestamp() - instance["LaunchTime"].timestamp()) < 1
    calls = [record for record in running.store.read("ec2-calls") if record["action"] == "RunInstances"]
    assert calls[-1]["caller"] == KEY, "the ledger says who called"


def test_pages_come_one_after_the_other(running: Running) -> None:
    ec2 = running.client()
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    made = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{n}.0/24", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"] for n in range(7)]
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    pages = list(ec2.get_paginator("describe_subnets").paginate(Filters=filters, PaginationConfig={"PageSize": 5}))
    assert [len(page["Subnets"]) for page in pages] == [5, 2]
    assert {item["SubnetId"] for page in pages for item in page["Subnets"]} == set(made)


def test_errors_carry_awss_code_and_status(running: Running) -> None:
    ec2 = running.client()
    with pytest.raises(ClientError) as caught:
        ec2.describe_vpcs(VpcIds=["vpc-11111111111111111"])
    assert caught.value.response["Error"]["Code"] == "InvalidVpcID.NotFound"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["ResponseMetadata"]["RequestId"]
    with pytest.raises(ClientError) as caught:
        ec2.create_vpc(CidrBlock="10.30.0.0/16", DryRun=True)
    assert caught.value.response["Error"]["Code"] == "DryRunOperation"
    with pytest.raises(ClientError) as caught:
        ec2.describe_volumes()
    assert caught.value.response["Error"]["Code"] == "InvalidAction", "what labnet has not is no silent success"


@pytest.mark.parametrize("key, secret", [(KEY, "another secret"), ("AKIAAAAAAAAAAAAAAAAA", SECRET)])
def test_other_keys_are_refused(running: Running, key: str, secret: str) -> None:
    before = running.service.state
    with pytest.raises(ClientError) as caught:
        running.client(key, secret).create_vpc(CidrBlock="10.40.0.0/16")
    assert caught.value.response["Error"]["Code"] == "AuthFailure"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert running.service.state is before


def test_a_fault_of_ours_is_an_internal_error_and_in_the_log(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_words: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(running.service, "acall", fails)
    with pytest.raises(ClientError) as caught:
        running.client().describe_vpcs()
    assert caught.value.response["Error"]["Code"] == "InternalError"
    assert running.logged == ["EC2 API: ZeroDivisionError: boom"]
