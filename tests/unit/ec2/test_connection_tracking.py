"""Idle timeouts of an ENI's flows: set when it is made, launched or changed, shown where they were set, AWS's limits, kept by the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from builders_ec2 import IMAGE, Cloud
from builders_ec2_http import Running

from labnet.ec2.coverage import coverage, kind_of
from labnet.ec2.rules import enis
from labnet.model import codec
from labnet.model.cloud import CloudState, ConnectionTracking

ALL = {"TcpEstablishedTimeout": 350, "UdpStreamTimeout": 120, "UdpTimeout": 45}
LIMITS = {"TcpEstablishedTimeout": (60, 432_000), "UdpStreamTimeout": (60, 180), "UdpTimeout": (30, 60)}


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def subnet(cloud: Cloud) -> str:
    return cloud.subnet(cloud.vpc())


def shown(cloud: Cloud, eni: str) -> Any:
    """What DescribeNetworkInterfaces says; None = nothing."""
    return cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])["NetworkInterfaces"][0].get("ConnectionTrackingConfiguration")


def modify(cloud: Cloud, eni: str, **timeouts: int) -> None:
    cloud.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, ConnectionTrackingSpecification=timeouts)


def launch(cloud: Cloud, interface: dict[str, Any]) -> dict[str, Any]:
    answer = cloud.call(
        "RunInstances", ImageId=IMAGE, InstanceType="m5.large", MinCount=1, MaxCount=1, NetworkInterfaces=[{"DeviceIndex": 0, **interface}]
    )
    found: dict[str, Any] = answer["Instances"][0]["NetworkInterfaces"][0]
    return found


# ---- set and shown --------------------------------------------------------------------------------------------------------


def test_what_was_never_set_is_not_shown(cloud: Cloud, subnet: str) -> None:
    assert shown(cloud, cloud.interface(subnet)) is None
    assert shown(cloud, cloud.interface(subnet, ConnectionTrackingSpecification={})) is None
    assert "ConnectionTrackingConfiguration" not in launch(cloud, {"SubnetId": subnet})


def test_a_new_eni_shows_what_was_set(cloud: Cloud, subnet: str) -> None:
    answer = cloud.call("CreateNetworkInterface", SubnetId=subnet, ConnectionTrackingSpecification=ALL)["NetworkInterface"]
    assert answer["ConnectionTrackingConfiguration"] == ALL == shown(cloud, answer["NetworkInterfaceId"])
    assert shown(cloud, cloud.interface(subnet, ConnectionTrackingSpecification={"UdpTimeout": 60})) == {"UdpTimeout": 60}


def test_a_change_leaves_what_it_does_not_name(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    modify(cloud, eni, TcpEstablishedTimeout=350)
    modify(cloud, eni, UdpStreamTimeout=120)
    assert shown(cloud, eni) == {"TcpEstablishedTimeout": 350, "UdpStreamTimeout": 120}
    modify(cloud, eni, **ALL)
    assert shown(cloud, eni) == ALL
    before = cloud.state
    modify(cloud, eni, **ALL)
    assert cloud.state is before


def test_a_launch_sets_them_and_the_instance_shows_them(cloud: Cloud, subnet: str) -> None:
    made = launch(cloud, {"SubnetId": subnet, "ConnectionTrackingSpecification": ALL})
    assert made["ConnectionTrackingConfiguration"] == ALL == shown(cloud, made["NetworkInterfaceId"])


# ---- refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", LIMITS)
def test_the_limits(cloud: Cloud, subnet: str, member: str) -> None:
    least, most = LIMITS[member]
    eni = cloud.interface(subnet, ConnectionTrackingSpecification={member: least})
    modify(cloud, eni, **{member: most})
    assert shown(cloud, eni) == {member: most}
    words = {"ImageId": IMAGE, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    for value in (least - 1, most + 1, 0, -1):
        spec = {"ConnectionTrackingSpecification": {member: value}}
        for said in (
            cloud.refused("InvalidParameterValue", "CreateNetworkInterface", SubnetId=subnet, **spec),
            cloud.refused("InvalidParameterValue", "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, **spec),
            cloud.refused("InvalidParameterValue", "RunInstances", NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, **spec}], **words),
        ):
            assert said == f"Value ({value}) for parameter {member} is invalid. It must be between {least} and {most}."


def test_nothing_is_ignored(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet)
    strange = {"ConnectionTrackingSpecification": {"IcmpTimeout": 30}}
    for action, where in (("CreateNetworkInterface", {"SubnetId": subnet}), ("ModifyNetworkInterfaceAttribute", {"NetworkInterfaceId": eni})):
        assert "ConnectionTrackingSpecification.IcmpTimeout" in cloud.refused("UnknownParameter", action, **where, **strange)
    empty: dict[str, Any] = {"NetworkInterfaceId": eni, "ConnectionTrackingSpecification": {}}
    cloud.refused("MissingParameter", "ModifyNetworkInterfaceAttribute", **empty)
    two = {"ConnectionTrackingSpecification": ALL, "Description": {"Value": "d"}}
    cloud.refused("InvalidParameterCombination", "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, **two)
    known = {"DeviceIndex": 0, "NetworkInterfaceId": eni, "ConnectionTrackingSpecification": ALL}
    said = cloud.refused(
        "InvalidParameterCombination", "RunInstances", ImageId=IMAGE, InstanceType="m5.large", MinCount=1, MaxCount=1, NetworkInterfaces=[known]
    )
    assert "ConnectionTrackingSpecification" in said and shown(cloud, eni) is None


# ---- kept, and called what it is ------------------------------------------------------------------------------------------


def test_the_store_keeps_them_and_reads_what_was_written_before_there_were_any(cloud: Cloud, subnet: str) -> None:
    eni = cloud.interface(subnet, ConnectionTrackingSpecification={"UdpTimeout": 45})
    assert cloud.state.enis[eni].connection_tracking == ConnectionTracking(udp_timeout_s=45)
    document = json.loads(json.dumps(codec.to_document(cloud.state)))
    assert codec.decode(document, CloudState) == cloud.state
    del document["enis"][eni]["connection_tracking"]
    assert codec.decode(document, CloudState).enis[eni].connection_tracking is None


def test_coverage_calls_them_state_only_in_actions_that_act() -> None:
    rows = {row["action"]: row for row in coverage(["CreateNetworkInterface"])["actions"]}
    for action, parameter in (
        ("CreateNetworkInterface", "ConnectionTrackingSpecification"), ("RunInstances", "NetworkInterfaces.ConnectionTrackingSpecification"),
        ("ModifyNetworkInterfaceAttribute", "ConnectionTrackingSpecification"),
    ):
        assert (rows[action]["kind"], rows[action]["stateOnlyParameters"]) == ("acts", [parameter])
        assert parameter.partition(".")[0] in rows[action]["parameters"]
    assert kind_of(enis.ACTIONS["CreateNetworkInterface"]) == "acts" and rows["CreateTags"]["stateOnlyParameters"] == []


# ---- on the wire ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[Running]:
    server = Running()
    yield server
    server.close()


def test_boto3_sends_and_reads_them(running: Running) -> None:
    ec2 = running.client()
    vpc = ec2.create_vpc(CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.10.0.0/24")["Subnet"]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet, ConnectionTrackingSpecification={"UdpTimeout": 45})["NetworkInterface"]
    eni = made["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, ConnectionTrackingSpecification={"TcpEstablishedTimeout": 350})
    seen = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
    assert made["ConnectionTrackingConfiguration"] == {"UdpTimeout": 45}
    assert seen["ConnectionTrackingConfiguration"] == {"TcpEstablishedTimeout": 350, "UdpTimeout": 45}
    with pytest.raises(ClientError) as caught:
        ec2.create_network_interface(SubnetId=subnet, ConnectionTrackingSpecification={"UdpTimeout": 61})
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
