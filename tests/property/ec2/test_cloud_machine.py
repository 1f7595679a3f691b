"""Any sequence of requests: no address twice, counts true, limits kept, a refusal has a code and changes nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

from builders_ec2 import IMAGE, Cloud
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from labnet.errors import Ec2Error
from labnet.model import codec
from labnet.model.addressing import usable_count
from labnet.model.cloud import CloudState

TYPES = st.sampled_from(["t3.nano", "t3.small", "m5.large", "p4d.24xlarge"])
NUMBER = st.integers(0, 40)
OFFSET = st.integers(0, 70)


class CloudMachine(RuleBasedStateMachine):
    """Two small subnets in two zones, so that they fill up, and everything that can happen to ENIs in them."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud = Cloud()

    @initialize()
    def networks(self) -> None:
        vpc = self.cloud.vpc()
        self.subnets = [self.cloud.subnet(vpc, "10.10.0.0/26"), self.cloud.subnet(vpc, "10.10.1.0/27", "us-west-2b")]
        self.cloud.call("ModifySubnetAttribute", SubnetId=self.subnets[0], MapPublicIpOnLaunch={"Value": True})

    def tried(self, name: str, **params: Any) -> None:
        """A request that may be refused; then with a code, and with nothing changed (`Cloud.call` asserts both)."""
        try:
            self.cloud.call(name, **params)
        except Ec2Error as error:
            assert error.code and error.code[0].isupper() and error.code != "InternalError"
            assert 400 <= error.status < 500

    def eni(self, number: int) -> str:
        ids = list(self.cloud.state.enis)
        return ids[number % len(ids)] if ids else "eni-0123456789abcdef0"

    def instance(self, number: int) -> str:
        ids = list(self.cloud.state.instances)
        return ids[number % len(ids)] if ids else "i-0123456789abcdef0"

    @rule(kind=TYPES, where=st.booleans(), count=st.integers(1, 3))
    def run(self, kind: str, where: bool, count: int) -> None:
        self.tried("RunInstances", ImageId=IMAGE, InstanceType=kind, MinCount=1, MaxCount=count, SubnetId=self.subnets[where])

    @rule(number=NUMBER)
    def terminate(self, number: int) -> None:
        self.tried("TerminateInstances", InstanceIds=[self.instance(number)])

    @rule(where=st.booleans(), count=st.integers(-1, 12))
    def create(self, where: bool, count: int) -> None:
        self.tried("CreateNetworkInterface", SubnetId=self.subnets[where], SecondaryPrivateIpAddressCount=count)

    @rule(where=st.booleans(), count=st.integers(0, 2))
    def create_with_prefixes(self, where: bool, count: int) -> None:
        self.tried("CreateNetworkInterface", SubnetId=self.subnets[where], Ipv4PrefixCount=count)

    @rule(where=st.booleans(), offset=OFFSET, others=st.lists(OFFSET, max_size=3))
    def create_named(self, where: bool, offset: int, others: list[int]) -> None:
        addresses = [{"PrivateIpAddress": f"10.10.{int(where)}.{one}"} for one in others]
        params: dict[str, Any] = {"PrivateIpAddresses": addresses} if addresses else {}
        self.tried("CreateNetworkInterface", SubnetId=self.subnets[where], PrivateIpAddress=f"10.10.{int(where)}.{offset}", **params)

    @rule(number=NUMBER, node=NUMBER, index=st.integers(0, 4), card=st.integers(0, 4))
    def attach(self, number: int, node: int, index: int, card: int) -> None:
        self.tried(
            "AttachNetworkInterface", NetworkInterfaceId=self.eni(number), InstanceId=self.instance(node), DeviceIndex=index,
            NetworkCardIndex=card
        )

    @rule(number=NUMBER)
    def detach(self, number: int) -> None:
        eni = self.cloud.state.enis.get(self.eni(number))
        self.tried("DetachNetworkInterface", AttachmentId=eni.attachment.id if eni and eni.attachment else "eni-attach-0")

    @rule(number=NUMBER)
    def delete(self, number: int) -> None:
        self.tried("DeleteNetworkInterface", NetworkInterfaceId=self.eni(number))

    @rule(number=NUMBER, count=st.integers(-1, 10))
    def assign(self, number: int, count: int) -> None:
        self.tried("AssignPrivateIpAddresses", NetworkInterfaceId=self.eni(number), SecondaryPrivateIpAddressCount=count)

    @rule(number=NUMBER, where=st.booleans(), offsets=st.lists(OFFSET, min_size=1, max_size=3), move=st.booleans())
    def assign_named(self, number: int, where: bool, offsets: list[int], move: bool) -> None:
        addresses = [f"10.10.{int(where)}.{one}" for one in offsets]
        self.tried("AssignPrivateIpAddresses", NetworkInterfaceId=self.eni(number), PrivateIpAddresses=addresses, AllowReassignment=move)

    @rule(number=NUMBER, count=st.integers(0, 2))
    def assign_prefixes(self, number: int, count: int) -> None:
        self.tried("AssignPrivateIpAddresses", NetworkInterfaceId=self.eni(number), Ipv4PrefixCount=count)

    @rule(number=NUMBER, base=st.integers(0, 8))
    def assign_named_prefix(self, number: int, base: int) -> None:
        self.tried("AssignPrivateIpAddresses", NetworkInterfaceId=self.eni(number), Ipv4Prefixes=[f"10.10.0.{base * 8}/28"])

    @rule(number=NUMBER, some=st.integers(0, 7), foreign=st.booleans())
    def unassign(self, number: int, some: int, foreign: bool) -> None:
        eni = self.cloud.state.enis.get(self.eni(number))
        addresses = [item.address for n, item in enumerate(eni.addresses[1:]) if some >> n & 1] if eni else []
        self.tried("UnassignPrivateIpAddresses", NetworkInterfaceId=self.eni(number), PrivateIpAddresses=addresses + ["10.10.0.9"] * foreign)

    @rule(number=NUMBER)
    def unassign_prefix(self, number: int) -> None:
        eni = self.cloud.state.enis.get(self.eni(number))
        self.tried("UnassignPrivateIpAddresses", NetworkInterfaceId=self.eni(number), Ipv4Prefixes=list(eni.prefixes[:1]) if eni else [])

    @rule(number=NUMBER, keep=st.booleans())
    def delete_on_termination(self, number: int, keep: bool) -> None:
        eni = self.cloud.state.enis.get(self.eni(number))
        attachment = {"AttachmentId": eni.attachment.id if eni and eni.attachment else "eni-attach-0", "DeleteOnTermination": not keep}
        self.tried("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=self.eni(number), Attachment=attachment)

    @precondition(lambda self: self.cloud.state.subnets)
    @invariant()
    def free_counts_are_true(self) -> None:
        for subnet in self.cloud.state.subnets.values():
            used = sum(len(eni.addresses) + 16 * len(eni.prefixes) for eni in self.cloud.state.enis.values() if eni.subnet_id == subnet.id)
            assert self.cloud.free(subnet.id) == usable_count(subnet.cidr) - used >= 0

    @invariant()
    def everything_can_be_described(self) -> None:
        assert len(self.cloud.call("DescribeNetworkInterfaces")["NetworkInterfaces"]) == len(self.cloud.state.enis)
        launches = self.cloud.call("DescribeInstances")["Reservations"]
        assert [one["InstanceId"] for each in launches for one in each["Instances"]] == list(self.cloud.state.instances)

    def teardown(self) -> None:
        state = self.cloud.state
        again = codec.from_document(codec.to_document(state), CloudState)
        assert again == state
        assert all(getattr(again, field.name) is not None for field in dataclasses.fields(again))


CloudMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestCloudMachine = CloudMachine.TestCase
