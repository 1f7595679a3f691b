"""The AWS CLI at labnet's server: what people type, and the words that they read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tools.ec2_servers import client_environment

Aws = Callable[..., Any]
IMAGE = "ami-0123456789abcdef0"


@pytest.fixture(scope="module")
def run(labnet_ec2: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`aws ec2 …`, with a home of its own and none of the machine's AWS settings."""
    home = tmp_path_factory.mktemp("home")
    program = str(Path(sys.executable).parent / "aws")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", program, "ec2", *words]
        return subprocess.run(command, env=client_environment(labnet_ec2, home), capture_output=True, text=True, timeout=60, check=False)

    return call


@pytest.fixture(scope="module")
def aws(run: Callable[..., subprocess.CompletedProcess[str]]) -> Aws:
    """The answer of a call that has to go well."""

    def call(*words: str) -> Any:
        done = run(*words, "--output", "json")
        assert done.returncode == 0, f"aws ec2 {' '.join(words)}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else {}

    return call


@pytest.fixture(scope="module")
def subnet(aws: Aws) -> str:
    tags = "ResourceType=subnet,Tags=[{Key=Name,Value=cli-public-a}]"
    vpc = aws("create-vpc", "--cidr-block", "10.60.0.0/16")["Vpc"]["VpcId"]
    made = aws("create-subnet", "--vpc-id", vpc, "--cidr-block", "10.60.1.0/24", "--tag-specifications", tags)
    return str(made["Subnet"]["SubnetId"])


def test_attach_beyond_the_limit_reads_as_it_does_at_aws(run: Any, aws: Aws, labnet_ec2: dict[str, str], subnet: str) -> None:
    launched = aws("run-instances", "--image-id", IMAGE, "--instance-type", "t3.small", "--subnet-id", subnet)
    instance = launched["Instances"][0]["InstanceId"]
    python = boto3.session.Session(labnet_ec2["AWS_ACCESS_KEY_ID"], labnet_ec2["AWS_SECRET_ACCESS_KEY"], None, "us-west-2")
    ec2 = python.client("ec2", endpoint_url=labnet_ec2["AWS_ENDPOINT_URL_EC2"], config=Config(proxies={}))
    second = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=instance, DeviceIndex=1)
    attach = ("attach-network-interface", "--instance-id", instance, "--network-interface-id")
    third = aws("create-network-interface", "--subnet-id", subnet, "--query", "NetworkInterface.NetworkInterfaceId")
    assert aws(*attach, third, "--device-index", "2")["AttachmentId"].startswith("eni-attach-")
    fourth = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    done = run(*attach, fourth, "--device-index", "3")
    text = "An error occurred (AttachmentLimitExceeded) when calling the AttachNetworkInterface operation: "
    assert text + "Interface count 4 exceeds the limit for t3.small" in done.stderr
    assert done.returncode == 255, "the CLI's own exit code for an error"
    query = "NetworkInterfaces[].Attachment.DeviceIndex"
    found = aws("describe-network-interfaces", "--filters", f"Name=attachment.instance-id,Values={instance}", "--query", query)
    assert sorted(found) == [0, 1, 2]


def test_the_cli_turns_the_pages(aws: Aws, subnet: str) -> None:
    vpc = aws("describe-subnets", "--subnet-ids", subnet, "--query", "Subnets[0].VpcId")
    other = aws("create-subnet", "--vpc-id", vpc, "--cidr-block", "10.60.2.0/24", "--query", "Subnet.SubnetId")
    launch = ("run-instances", "--image-id", IMAGE, "--instance-type", "t3.small", "--subnet-id", other, "--count", "6")
    made = set(aws(*launch, "--query", "Instances[].NetworkInterfaces[].NetworkInterfaceId"))
    assert len(made) == 6
    wanted = ("describe-network-interfaces", "--filters", f"Name=subnet-id,Values={other}")
    found = aws(*wanted, "--page-size", "5")["NetworkInterfaces"]
    assert {one["NetworkInterfaceId"] for one in found} == made
    first = aws(*wanted, "--max-items", "5")
    assert len(first["NetworkInterfaces"]) == 5
    rest = aws(*wanted, "--starting-token", first["NextToken"])
    assert {one["NetworkInterfaceId"] for one in (*first["NetworkInterfaces"], *rest["NetworkInterfaces"])} == made


@pytest.mark.parametrize(("pattern", "count"), [("cli-public-*", 1), ("cli-public-?", 1), ("cli-p?", 0), ("CLI-*", 0)])
def test_filters_take_wildcards(aws: Aws, subnet: str, pattern: str, count: int) -> None:
    found = aws("describe-subnets", "--filters", f"Name=tag:Name,Values={pattern}", "--query", "Subnets[].SubnetId")
    assert found == [subnet] * count


def test_text_output_and_query(run: Any, subnet: str) -> None:
    query = "Subnets[0].[CidrBlock,AvailableIpAddressCount > `0`]"
    done = run("describe-subnets", "--subnet-ids", subnet, "--query", query, "--output", "text")
    assert done.stdout == "10.60.1.0/24\tTrue\n"


def test_a_dry_run_and_an_unknown_id(run: Any, subnet: str) -> None:
    done = run("create-network-interface", "--subnet-id", subnet, "--dry-run")
    assert "An error occurred (DryRunOperation) when calling the CreateNetworkInterface operation: Request would have" in done.stderr
    done = run("describe-network-interfaces", "--network-interface-ids", "eni-0123456789abcdef0")
    assert "(InvalidNetworkInterfaceID.NotFound)" in done.stderr
