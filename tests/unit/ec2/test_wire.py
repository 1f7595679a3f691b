"""The EC2 query protocol: what boto3 sends comes in as it was meant, what goes out boto3 reads, and only our keys sign."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from labnet.ec2 import limits, wire
from labnet.ec2.http import Ec2Server
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error
from labnet.lab.store import MemoryStore
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "a-secret-that-opens-nothing"
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
    (b"Action=DescribeVpcs&Version=2012-01-01", "InvalidParameterValue"), (b"Action=DescribeVpcs&Colour=red", "UnknownParameter"),
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


class Running:
    """An API on 127.0.0.1, in a loop of its own."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.logged: list[str] = []
        self.service = Ec2Service(CloudState(lab="t", seed=7), limits.load(), LabClock(), self.store)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.server = Ec2Server(self.service, {KEY: SECRET}, self.logged.append)
        self.wait(self.server.start([listener]))

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def client(self, key: str = KEY, secret: str = SECRET) -> Any:
        return boto3.session.Session().client(
            "ec2", endpoint_url=self.url, region_name="us-west-2", aws_access_key_id=key, aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    def close(self) -> None:
        self.wait(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


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


# ---- signatures -----------------------------------------------------------------------------------------------------------


def signed(body: bytes, at_s: float) -> dict[str, str]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("POST", "http://127.0.0.1:9/", {"Host": "127.0.0.1:9"}, body)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    auth = SigV4Auth(Credentials(KEY, SECRET), "ec2", "us-west-2")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    names = auth.signed_headers(auth.headers_to_sign(request))
    scope = auth.scope(request)
    value = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={auth.signature(text, request)}"
    return {**{name.lower(): word for name, word in request.headers.items()}, "authorization": value}


def test_a_good_signature_names_its_key() -> None:
    now_s = 1_700_000_000.0
    assert wire.signer("POST", "/", "", signed(b"Action=X", now_s), b"Action=X", {KEY: SECRET}, now_s + 60) == KEY


@pytest.mark.parametrize("change, code", [
    ({"authorization": ""}, "AuthFailure"), ({"authorization": "Bearer x"}, "AuthFailure"), ({"x-amz-date": "yesterday"}, "AuthFailure"),
    ({"host": "elsewhere"}, "AuthFailure"), ({"x-amz-date": "20200101T000000Z"}, "RequestExpired"),
])
def test_what_was_changed_on_the_way_is_noticed(change: dict[str, str], code: str) -> None:
    now_s = 1_700_000_000.0
    with pytest.raises(Ec2Error) as caught:
        wire.signer("POST", "/", "", {**signed(b"Action=X", now_s), **change}, b"Action=X", {KEY: SECRET}, now_s)
    assert caught.value.code == code


def test_another_body_than_signed_and_no_signature_at_all() -> None:
    now_s = 1_700_000_000.0
    with pytest.raises(Ec2Error, match="AuthFailure"):
        wire.signer("POST", "/", "", signed(b"Action=X", now_s), b"Action=Y", {KEY: SECRET}, now_s)
    with pytest.raises(Ec2Error, match="MissingAuthenticationToken"):
        wire.signer("POST", "/", "", {"host": "x"}, b"", {KEY: SECRET}, now_s)
