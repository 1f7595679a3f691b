"""The Internet goes with the last gateway and comes with the next one: what answers there answers again, and nothing is left between."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.session import Session

from tests.lab_runner import Labs

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: later}
vpc: {cidr: 10.10.0.0/16, internetGateway: GATEWAY, subnets: [{name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a}]}
nodes: [{name: node1, instanceType: t3.small, subnet: a}]
cni: {kind: none}
"""
ASK_DNS = """
import dns.message, dns.query, sys
answer = dns.query.udp(dns.message.make_query("example.com", "A"), sys.argv[1], timeout=2)
print(answer.answer[0][0])
"""


def client(labs: Labs) -> BaseClient:
    env: dict[str, Any] = json.loads(labs.run("--lab", labs.name, "env", "-o", "json").stdout)
    env = env.get("env", env)
    return Session().create_client(
        "ec2", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_EC2"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def asked(labs: Labs, *words: str) -> str:
    """What a program on node1 prints, tried a few times."""
    said = ""
    for _ in range(8):
        said = labs.inside("node1", *words)
        if said:
            break
        time.sleep(0.5)
    return said


def silent(labs: Labs) -> list[str]:
    """Who does not answer node1 as it should: HTTP and DNS at each address of the Internet."""

    wrong = []
    for address in ("1.1.1.1", "8.8.8.8", "192.0.2.10"):
        page = asked(labs, "curl", "-s", "-m2", f"http://{address}/")
        if not page or json.loads(page)["me"] != "internet" or json.loads(page)["address"] != address:
            wrong.append(f"HTTP {address}: {page!r}")
    for address in ("1.1.1.1", "8.8.8.8"):
        if asked(labs, sys.executable, "-c", ASK_DNS, address).strip() != "192.0.2.10":
            wrong.append(f"DNS {address}")
    return wrong


class Cloud:
    """EC2 of a lab, as its user speaks to it: one gateway, one Elastic IP, one node."""

    def __init__(self, ec2: BaseClient, *, has_gateway: bool) -> None:
        self.ec2 = ec2
        self.vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        gateways = ec2.describe_internet_gateways()["InternetGateways"]
        assert bool(gateways) == has_gateway
        made = gateways[0] if has_gateway else ec2.create_internet_gateway()["InternetGateway"]
        self.gateway = made["InternetGatewayId"]
        self.address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.eni = ec2.describe_network_interfaces()["NetworkInterfaces"][0]["NetworkInterfaceId"]

    def route(self) -> None:
        table = self.ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)

    def attach(self) -> None:
        self.ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)

    def detach(self) -> None:
        self.ec2.detach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)

    def map(self) -> str:
        """The node's public address; returns the association."""
        return str(self.ec2.associate_address(AllocationId=self.address, NetworkInterfaceId=self.eni)["AssociationId"])


@pytest.mark.parametrize("there_at_first", [True, False])
def test_what_answers_in_the_internet_comes_and_goes_with_the_last_gateway(labs: Labs, there_at_first: bool) -> None:
    labs.up("-", stdin=SCENARIO.replace("GATEWAY", str(there_at_first).lower()))
    with closing(client(labs)) as ec2:
        cloud = Cloud(ec2, has_gateway=there_at_first)
        for turn in range(3):
            if turn or not there_at_first:
                cloud.attach()
            if not turn:
                cloud.route()
            mapped = cloud.map()
            assert silent(labs) == []
            ec2.disassociate_address(AssociationId=mapped)
            cloud.detach()
            assert f"{labs.name}-internet" not in labs.namespaces()
    assert "ActorFailed" not in labs.run("--lab", labs.name, "events", "-o", "json").stdout
