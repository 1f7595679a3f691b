"""A cloud for tests of the EC2 rules: every request and every answer is held against botocore's own EC2 model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from labnet.ec2 import limits
from labnet.ec2.cloud import ACTIONS, execute
from labnet.ec2.rules.request import Context
from labnet.errors import Ec2Error
from labnet.model.addressing import bounds, reserved, to_int
from labnet.model.cloud import CloudState, Eni

IMAGE = "ami-0123456789abcdef0"


@functools.lru_cache(maxsize=1)
def ec2_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")


def held_against_model(action: str, params: Mapping[str, Any], answer: Mapping[str, Any] | None) -> None:
    """Only known members, of the right types, in what boto3 would send and what it would read."""
    operation = ec2_model().operation_model(action)
    report = ParamValidator().validate(dict(params), operation.input_shape)
    assert not report.has_errors(), f"{action} request: {report.generate_report()}"
    if answer is None:
        return
    if operation.output_shape is None:
        assert answer == {}, f"{action} answers nothing, not {answer}"
        return
    report = ParamValidator().validate(dict(answer), operation.output_shape)
    assert not report.has_errors(), f"{action} answer: {report.generate_report()}"


@dataclass
class Cloud:
    """One account: `call` in boto3's words; a refused call leaves the very same state behind."""

    state: CloudState = field(default_factory=lambda: CloudState(lab="t", seed=7))
    now_s: float = 1_700_000_000.0

    def call(self, name: str, /, **params: Any) -> dict[str, Any]:
        before = self.state
        try:
            after, answer = execute(before, name, params, Context(self.now_s, limits.load(), "test"))
        except Ec2Error:
            if name in ACTIONS:
                assert self.state is before
            raise
        held_against_model(name, params, answer)
        if not ACTIONS[name].mutates:
            assert after is before, f"{name} changes something"
        self.state = after
        consistent(after)
        return answer

    def refused(self, code: str, name: str, /, **params: Any) -> str:
        """The message of a refusal with that code."""
        with pytest.raises(Ec2Error) as caught:
            self.call(name, **params)
        assert caught.value.code == code, caught.value
        return caught.value.message

    def vpc(self, cidr: str = "10.10.0.0/16", name: str = "main", *, hostnames: bool = True) -> str:
        """With names for public addresses, which AWS gives only where it is asked to."""
        tags = [{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": name}]}]
        made = str(self.call("CreateVpc", CidrBlock=cidr, TagSpecifications=tags)["Vpc"]["VpcId"])
        if hostnames:
            self.call("ModifyVpcAttribute", VpcId=made, EnableDnsHostnames={"Value": True})
        return made

    def subnet(self, vpc: str, cidr: str = "10.10.0.0/24", zone: str = "us-west-2a") -> str:
        return str(self.call("CreateSubnet", VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"])

    def node(self, subnet: str, kind: str = "t3.small", name: str = "node1", **more: Any) -> str:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        answer = self.call(
            "RunInstances", ImageId=IMAGE, InstanceType=kind, MinCount=1, MaxCount=1, SubnetId=subnet, TagSpecifications=tags, **more
        )
        return str(answer["Instances"][0]["InstanceId"])

    def interface(self, subnet: str, **more: Any) -> str:
        return str(self.call("CreateNetworkInterface", SubnetId=subnet, **more)["NetworkInterface"]["NetworkInterfaceId"])

    def attach(self, eni: str, instance: str, index: int = 1, **more: Any) -> str:
        answer = self.call("AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId=instance, DeviceIndex=index, **more)
        return str(answer["AttachmentId"])

    def primary(self, instance: str) -> Eni:
        return self.state.enis_of(instance)[0]

    def free(self, subnet: str) -> int:
        return int(self.call("DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"])


def consistent(state: CloudState) -> None:
    """What holds after every call: `taken` is what the ENIs have, nobody has an address twice, no limit is broken."""
    used: dict[str, list[int]] = {}
    public: list[str] = []
    for eni in state.enis.values():
        numbers = used.setdefault(eni.subnet_id, [])
        numbers.extend(to_int(item.address) for item in eni.addresses)
        public.extend(item.public for item in eni.addresses if item.public)
        for prefix in eni.prefixes:
            first, last = bounds(prefix)
            numbers.extend(range(first, last + 1))
        assert [item.primary for item in eni.addresses] == [True] + [False] * (len(eni.addresses) - 1)
    for subnet_id, numbers in used.items():
        assert len(numbers) == len(set(numbers)), f"an address twice in {subnet_id}"
        first, last = bounds(state.subnets[subnet_id].cidr)
        assert all(first <= one <= last for one in numbers)
        assert not set(numbers) & reserved(state.subnets[subnet_id].cidr)
        assert state.taken.get(subnet_id, frozenset()) == set(numbers)
    assert not any(numbers for subnet_id, numbers in state.taken.items() if subnet_id not in used)
    assert len(public) == len(set(public)) and set(public) <= state.public_taken
    for instance in state.instances.values():
        enis = state.enis_of(instance.id)
        kind = limits.load()[instance.instance_type]
        places = [(one.attachment.network_card_index, one.attachment.device_index) for one in enis if one.attachment]
        assert len(places) == len(set(places))
        for card, room in kind.network_cards:
            assert sum(1 for place in places if place[0] == card) <= room
        assert all(one.slots_used <= kind.ipv4_per_eni for one in enis)
        if instance.state == "terminated":
            assert not enis
