"""Any sequence of EC2 requests, for hypothesis, with the fabric following each: what `tests/property` runs on the in-memory kernel
and `tests/kernel/ec2` on the real one.

After every step: no address twice, free counts true, limits kept, a refusal has a code and changes nothing, and what the kernel
holds is what the API says.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from builders_ec2 import IMAGE, Cloud
from fabric_truth import expected, observed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from labnet.errors import Ec2Error
from labnet.fabric.reconcile import Fabric
from labnet.kernel.door import LinuxKernel
from labnet.kernel.fake import FakeKernel
from labnet.kernel.slices import SliceBook
from labnet.model import codec
from labnet.model.addressing import usable_count
from labnet.model.cloud import CloudState

TYPES = st.sampled_from(["t3.nano", "t3.small", "m5.large", "p4d.24xlarge"])
NUMBER = st.integers(0, 40)
OFFSET = st.integers(0, 70)


class FollowedCloud(Cloud):
    """A cloud whose every change is made true in a kernel, as EC2's service does."""

    def __init__(self, lab: str, kernel: FakeKernel | LinuxKernel) -> None:
        super().__init__(CloudState(lab=lab, seed=7))
        self.kernel = kernel
        self.fabric = Fabric(lab, kernel, SliceBook(kernel))

    def call(self, name: str, /, **params: Any) -> dict[str, Any]:
        before = self.state
        answer = super().call(name, **params)
        self.fabric(before, self.state)
        return answer


class CloudMachine(RuleBasedStateMachine):
    """Two small subnets in two zones, so that they fill up, and everything that can happen to ENIs in them."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud = self.make()

    def make(self) -> FollowedCloud:
        """A cloud of no objects on a kernel of its own."""
        raise NotImplementedError

    def clear(self) -> None:
        """Take away what the machine made."""

    @initialize()
    def networks(self) -> None:
        vpc = self.vpc = self.cloud.vpc()
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

    def group(self, number: int) -> str:
        ids = list(self.cloud.state.security_groups)
        return ids[number % len(ids)]

    def instance(self, number: int) -> str:
        ids = list(self.cloud.state.instances)
        return ids[number % len(ids)] if ids else "i-0123456789abcdef0"

    @rule(kind=TYPES, where=st.booleans(), count=st.integers(1, 3))
    def run(self, kind: str, where: bool, count: int) -> None:
        self.tried("RunInstances", ImageId=IMAGE, InstanceType=kind, MinCount=1, MaxCount=count, SubnetId=self.subnets[where])

    @rule(kind=TYPES, where=st.booleans(), secondary=st.integers(0, 3), index=st.integers(0, 2), card=st.integers(0, 1), keep=st.booleans())
    def run_with_two(self, kind: str, where: bool, secondary: int, index: int, card: int, keep: bool) -> None:
        """Two interfaces at launch; the second stays or goes at the end, and may be refused."""
        subnet = self.subnets[where]
        two = [
            {"DeviceIndex": 0, "SubnetId": subnet, "SecondaryPrivateIpAddressCount": secondary},
            {"DeviceIndex": index, "NetworkCardIndex": card, "SubnetId": subnet, "DeleteOnTermination": not keep, "Ipv4PrefixCount": 1},
        ]
        self.tried("RunInstances", ImageId=IMAGE, InstanceType=kind, MinCount=1, MaxCount=1, NetworkInterfaces=two)

    @rule(number=NUMBER, node=NUMBER)
    def run_with_a_ready_eni(self, number: int, node: int) -> None:
        params = {"ImageId": IMAGE, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
        self.tried("RunInstances", **params, NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": self.eni(number)}])

    @rule(name=st.sampled_from(["a", "b", "default"]))
    def create_group(self, name: str) -> None:
        self.tried("CreateSecurityGroup", GroupName=name, Description="d", VpcId=self.vpc)

    @rule(number=NUMBER)
    def delete_group(self, number: int) -> None:
        self.tried("DeleteSecurityGroup", GroupId=self.group(number))

    @rule(
        number=NUMBER, way=st.sampled_from(["Ingress", "Egress"]), give=st.booleans(), peer=st.integers(0, 4),
        service=st.sampled_from([("tcp", 20, 30), ("tcp", 80, 80), ("udp", 0, 65535), ("icmp", 8, -1), ("icmp", -1, -1), ("-1", None, None)]),
    )
    def permit(self, number: int, way: str, give: bool, peer: int, service: tuple[str, int | None, int | None]) -> None:
        """A rule comes or goes: for a range of addresses or for a group."""
        item: dict[str, Any] = {"IpProtocol": service[0]}
        if service[1] is not None:
            item |= {"FromPort": service[1], "ToPort": service[2]}
        if peer < 3:
            item["IpRanges"] = [{"CidrIp": ("0.0.0.0/0", "10.10.0.0/24", "203.0.113.9/32")[peer], "Description": "d"}]
        else:
            item["UserIdGroupPairs"] = [{"GroupId": self.group(peer)}]
        self.tried(f"{'Authorize' if give else 'Revoke'}SecurityGroup{way}", GroupId=self.group(number), IpPermissions=[item])

    @rule(number=NUMBER, some=st.lists(NUMBER, min_size=1, max_size=3))
    def regroup(self, number: int, some: list[int]) -> None:
        groups = list(dict.fromkeys(self.group(one) for one in some))
        self.tried("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=self.eni(number), Groups=groups)

    @rule(number=NUMBER, on=st.booleans())
    def source_dest_check(self, number: int, on: bool) -> None:
        self.tried("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=self.eni(number), SourceDestCheck={"Value": on})

    @rule(number=NUMBER)
    def reset_check(self, number: int) -> None:
        self.tried("ResetNetworkInterfaceAttribute", NetworkInterfaceId=self.eni(number), SourceDestCheck="true")

    @rule(hours=st.integers(1, 3))
    def time_passes(self, hours: int) -> None:
        self.cloud.now_s += hours * 1800.0

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
        shown = [one.id for one in self.cloud.state.instances.values() if self.cloud.now_s - (one.terminated_at_s or self.cloud.now_s) <= 3600]
        assert [one["InstanceId"] for each in launches for one in each["Instances"]] == shown

    @precondition(lambda self: self.cloud.state.subnets)
    @invariant()
    def the_kernel_is_what_the_api_says(self) -> None:
        lab = self.cloud.state.lab
        wanted, there = expected(self.cloud.state), observed(self.cloud.kernel, lab, self.cloud.kernel.known)
        assert there == wanted, f"only in the API: {sorted(map(str, wanted - there))}; only in the kernel: {sorted(map(str, there - wanted))}"

    def teardown(self) -> None:
        self.clear()
        state = self.cloud.state
        again = codec.from_document(codec.to_document(state), CloudState)
        assert again == state
        assert all(getattr(again, field.name) is not None for field in dataclasses.fields(again))
