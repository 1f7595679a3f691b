"""The cloud of a lab: journal before effect, a ledger of every call, a state that outlives the process."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from typing import Any

import pytest
from builders_ec2 import Cloud

from labnet.ec2 import limits, zone_faults
from labnet.ec2.imds import InProcessImds
from labnet.ec2.service import Ec2Service, restore
from labnet.errors import Ec2Error, ImdsError, KernelError
from labnet.lab.store import MemoryStore
from labnet.model.cloud import SHELVES, CloudState
from labnet.model.zones import ZoneLink, ZoneLinkSpec
from labnet.ports import Ec2Api, Imds
from labnet.sim.clock import LabClock


class Kernel:
    """Effects that can fail, and what they saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[CloudState, CloudState]] = []
        self.stored: list[int] = []
        self.fault: Exception | None = None
        self.store = MemoryStore()

    def __call__(self, old: CloudState, new: CloudState) -> None:
        if self.fault is not None:
            raise self.fault
        self.seen.append((old, new))
        self.stored.append(len(self.store.load("ec2/enis")))


def place() -> tuple[Ec2Service, Kernel, str]:
    cloud = Cloud()
    subnet = cloud.subnet(cloud.vpc())
    kernel = Kernel()
    service = Ec2Service(CloudState(lab="t", seed=7), limits.load(), LabClock(1_700_000_000.0), kernel.store, kernel)
    vpc = service.call("up", "CreateVpc", {"CidrBlock": "10.10.0.0/16"})["Vpc"]["VpcId"]
    subnet = service.call("up", "CreateSubnet", {"VpcId": vpc, "CidrBlock": "10.10.0.0/24"})["Subnet"]["SubnetId"]
    return service, kernel, subnet


def test_the_journal_is_written_before_the_effect() -> None:
    service, kernel, subnet = place()
    service.call("up", "CreateNetworkInterface", {"SubnetId": subnet})
    assert kernel.stored[-1] == 1
    old, new = kernel.seen[-1]
    assert (len(old.enis), len(new.enis)) == (0, 1)
    assert old.subnets is new.subnets


def test_a_refusing_kernel_leaves_state_and_store_as_they_were() -> None:
    service, kernel, subnet = place()
    eni = service.call("up", "CreateNetworkInterface", {"SubnetId": subnet})["NetworkInterface"]["NetworkInterfaceId"]
    before, stored = service.state, {kind: kernel.store.load(f"ec2/{kind}") for kind in ("enis", "meta")}
    kernel.fault = KernelError("set", "t-vpc", "route 10.10.0.5", errno.ENOMEM)
    for action, params in (
        ("AssignPrivateIpAddresses", {"NetworkInterfaceId": eni, "SecondaryPrivateIpAddressCount": 1}),
        ("CreateNetworkInterface", {"SubnetId": subnet}),
        ("DeleteNetworkInterface", {"NetworkInterfaceId": eni}),
    ):
        with pytest.raises(Ec2Error) as caught:
            service.call("up", action, params)
        assert (caught.value.code, caught.value.status) == ("InternalError", 500)
        assert "route 10.10.0.5" in caught.value.message and "ENOMEM" in caught.value.message
        assert service.state is before
        assert {kind: kernel.store.load(f"ec2/{kind}") for kind in ("enis", "meta")} == stored
    kernel.fault = None
    assert service.call("up", "CreateNetworkInterface", {"SubnetId": subnet})


def test_a_fault_of_ours_is_not_dressed_up_and_leaves_the_store_as_it_was() -> None:
    service, kernel, subnet = place()
    kernel.fault = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        service.call("up", "CreateNetworkInterface", {"SubnetId": subnet})
    assert not kernel.store.load("ec2/enis") and not service.state.enis


def test_what_reads_or_is_refused_has_no_effect() -> None:
    service, kernel, _ = place()
    count = len(kernel.seen)
    service.call("up", "DescribeSubnets", {})
    with pytest.raises(Ec2Error):
        service.call("up", "DeleteNetworkInterface", {"NetworkInterfaceId": "eni-0123456789abcdef0"})
    with pytest.raises(Ec2Error):
        service.call("up", "CreateVpc", {"CidrBlock": "10.0.0.0/16", "DryRun": True})
    assert len(kernel.seen) == count


def test_the_ledger_knows_every_call() -> None:
    service, kernel, subnet = place()
    api: Ec2Api = service.client("node1")
    asyncio.run(api.call("DescribeSubnets", {"SubnetIds": [subnet]}))
    with pytest.raises(Ec2Error):
        asyncio.run(api.call("CreateNetworkInterface", {"SubnetId": "subnet-0123456789abcdef0"}))
    with pytest.raises(Ec2Error):
        asyncio.run(api.call("Frobnicate", {}))
    rows = kernel.store.read("ec2-calls")[-3:]
    assert [(row["caller"], row["action"], row["result"]) for row in rows] == [
        ("node1", "DescribeSubnets", "OK"), ("node1", "CreateNetworkInterface", "InvalidSubnetID.NotFound"), ("node1", "Frobnicate",
        "InvalidAction"),
    ]
    assert rows[0]["time"] == 1_700_000_000.0
    assert len({row["digest"] for row in rows}) == 3


def busy(service: Ec2Service, subnet: str) -> None:
    service.call("up", "ModifySubnetAttribute", {"SubnetId": subnet, "MapPublicIpOnLaunch": {"Value": True}})
    for name in ("node1", "node2"):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        params = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
        made = service.call("up", "RunInstances", {**params, "TagSpecifications": tags, "ClientToken": name})["Instances"][0]
        eni = service.call("up", "CreateNetworkInterface", {"SubnetId": subnet, "Ipv4PrefixCount": 1})["NetworkInterface"]["NetworkInterfaceId"]
        service.call("up", "AttachNetworkInterface", {"NetworkInterfaceId": eni, "InstanceId": made["InstanceId"], "DeviceIndex": 1})
    gone = service.call("up", "CreateNetworkInterface", {"SubnetId": subnet})["NetworkInterface"]["NetworkInterfaceId"]
    service.call("up", "DeleteNetworkInterface", {"NetworkInterfaceId": gone})
    gateway = service.call("up", "CreateInternetGateway", {})["InternetGateway"]["InternetGatewayId"]
    service.call("up", "CreateTags", {"Resources": [gateway], "Tags": [{"Key": "a", "Value": "b"}]})


def vpc_objects(service: Ec2Service, subnet: str) -> None:
    """One object of every kind that a VPC has beside subnets and ENIs, Elastic IPs with and without a place."""
    vpc = service.state.subnets[subnet].vpc_id
    gateway = next(iter(service.state.internet_gateways))
    service.call("up", "AttachInternetGateway", {"InternetGatewayId": gateway, "VpcId": vpc})
    table = service.call("up", "CreateRouteTable", {"VpcId": vpc, "ClientToken": "t"})["RouteTable"]["RouteTableId"]
    service.call("up", "CreateRoute", {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway})
    service.call("up", "AssociateRouteTable", {"RouteTableId": table, "SubnetId": subnet})
    service.call("up", "AssociateVpcCidrBlock", {"VpcId": vpc, "CidrBlock": "100.64.0.0/16"})
    one, _, natted = (service.call("up", "AllocateAddress", {})["AllocationId"] for _ in range(3))
    service.call("up", "AssociateAddress", {"AllocationId": one, "NetworkInterfaceId": next(iter(service.state.enis))})
    service.call("up", "CreateNatGateway", {"SubnetId": subnet, "AllocationId": natted})
    acl = service.call("up", "CreateNetworkAcl", {"VpcId": vpc})["NetworkAcl"]["NetworkAclId"]
    entry = {"NetworkAclId": acl, "RuleNumber": 100, "Protocol": "6", "RuleAction": "deny", "Egress": True, "CidrBlock": "10.0.0.0/8"}
    service.call("up", "CreateNetworkAclEntry", {**entry, "PortRange": {"From": 1, "To": 2}})
    peer = service.call("up", "CreateVpc", {"CidrBlock": "10.20.0.0/16"})["Vpc"]["VpcId"]
    service.call("up", "CreateVpcPeeringConnection", {"VpcId": vpc, "PeerVpcId": peer})
    params = {"SubnetId": subnet, "Cidr": "10.10.0.128/28", "ReservationType": "explicit"}
    service.call("up", "CreateSubnetCidrReservation", params)
    lists = {"PrefixListName": "corp", "MaxEntries": 5, "AddressFamily": "IPv4", "Entries": [{"Cidr": "10.1.0.0/16", "Description": "x"}]}
    made = service.call("up", "CreateManagedPrefixList", lists)["PrefixList"]["PrefixListId"]
    service.call("up", "ModifyManagedPrefixList", {"PrefixListId": made, "CurrentVersion": 1, "AddEntries": [{"Cidr": "10.2.0.0/16"}]})
    private = service.call("up", "CreateVpnGateway", {"Type": "ipsec.1"})["VpnGateway"]["VpnGatewayId"]
    service.call("up", "AttachVpnGateway", {"VpnGatewayId": private, "VpcId": vpc})
    service.call("up", "EnableVgwRoutePropagation", {"GatewayId": private, "RouteTableId": table})
    customer = service.call("up", "CreateCustomerGateway", {"Type": "ipsec.1", "IpAddress": "192.0.2.201"})["CustomerGateway"]
    wanted = {"Type": "ipsec.1", "VpnGatewayId": private, "CustomerGatewayId": customer["CustomerGatewayId"]}
    wanted["Options"] = {"StaticRoutesOnly": True}
    vpn = service.call("up", "CreateVpnConnection", wanted)["VpnConnection"]["VpnConnectionId"]
    service.call("up", "CreateVpnConnectionRoute", {"VpnConnectionId": vpn, "DestinationCidrBlock": "192.168.0.0/16"})
    interface = {"virtualInterfaceName": "plant", "virtualGatewayId": private, "vlan": 101, "asn": 65_000}
    service.call("up", "directconnect:CreatePrivateVirtualInterface", {"connectionId": "dxcon-1", "newPrivateVirtualInterface": interface})
    group = next(iter(service.state.security_groups))
    rule = {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": made}]}
    service.call("up", "AuthorizeSecurityGroupIngress", {"GroupId": group, "IpPermissions": [rule]})


def test_what_no_call_does_is_carried_out_like_one_or_not_at_all() -> None:
    service, kernel, _ = place()
    heard: list[CloudState] = []
    service.observers.append(lambda old, new: heard.append(new))
    service.change(lambda state: state)
    assert not heard
    service.change(lambda state: zone_faults.fail_zone(state, "us-west-2b", 5.0))
    assert kernel.seen[-1][1] is service.state is heard[-1] and list(kernel.store.load("ec2/zone_failures")) == ["us-west-2b"]
    kernel.fault = KernelError("set", "t-vpc", "table", errno.ENOMEM)
    with pytest.raises(KernelError):
        service.change(lambda state: zone_faults.clear(state, ["us-west-2b"]))
    assert list(service.state.zone_failures) == list(kernel.store.load("ec2/zone_failures")) == ["us-west-2b"]


def test_every_shelf_is_restored() -> None:
    service, kernel, subnet = place()
    busy(service, subnet)
    vpc_objects(service, subnet)
    service.change(lambda state: zone_faults.set_link(zone_faults.fail_zone(state, "us-west-2b", 5.0), ZoneLink(ZoneLinkSpec((), 2.0, 1.5))))
    again = restore(kernel.store, CloudState(lab="t", seed=7))
    assert again == service.state
    assert all(getattr(again, shelf) for shelf in SHELVES), "a kind of object that the test does not make"
    other = Ec2Service(again, limits.load(), LabClock(1_700_000_000.0))
    assert other.call("up", "AllocateAddress", {}) == service.call("up", "AllocateAddress", {})


def test_ids_are_new_even_where_the_counters_are_lost() -> None:
    service, kernel, subnet = place()
    busy(service, subnet)
    vpc_objects(service, subnet)
    forgetful = Ec2Service(replace(restore(kernel.store, CloudState(lab="t", seed=7)), counters={}), limits.load(), LabClock(0.0))
    before = forgetful.state
    for _ in range(2):
        forgetful.call("up", "CreateNatGateway", {"SubnetId": subnet, "ConnectivityType": "private"})
        forgetful.call("up", "AllocateAddress", {})
        forgetful.call("up", "CreateRouteTable", {"VpcId": before.subnets[subnet].vpc_id})
    assert len(forgetful.state.nat_gateways) == 3 and len(forgetful.state.addresses) == 5 and len(forgetful.state.route_tables) == 5


def test_restored_it_is_the_same_state_and_goes_on_the_same() -> None:
    service, kernel, subnet = place()
    busy(service, subnet)
    again = restore(kernel.store, CloudState(lab="t", seed=7))
    assert again == service.state
    assert list(again.instances) == list(service.state.instances)
    other = Ec2Service(again, limits.load(), LabClock(1_700_000_000.0))

    def next_of(one: Ec2Service) -> dict[str, Any]:
        return one.call("up", "CreateNetworkInterface", {"SubnetId": subnet})["NetworkInterface"]

    assert next_of(other)["NetworkInterfaceId"] == next_of(service)["NetworkInterfaceId"]


def test_metadata_in_process_follows_the_state() -> None:
    service, _, subnet = place()
    busy(service, subnet)
    instance = next(iter(service.state.instances))
    imds: Imds = InProcessImds(service, instance)

    def get(path: str) -> str:
        return asyncio.run(imds.get(path))

    assert get("meta-data/instance-id") == instance
    assert len(get("meta-data/network/interfaces/macs").split()) == 2
    second = service.state.enis_of(instance)[1]
    assert second.attachment is not None
    service.call("up", "DetachNetworkInterface", {"AttachmentId": second.attachment.id})
    assert len(get("meta-data/network/interfaces/macs").split()) == 1
    service.call("up", "TerminateInstances", {"InstanceIds": [instance]})
    with pytest.raises(ImdsError) as caught:
        get("meta-data/mac")
    assert caught.value.status == 404


def ask_at_once(service: Ec2Service, asked: list[tuple[str, str, dict[str, Any]]]) -> list[Any]:
    """Answers or errors of (caller, action, parameters) that are asked in one turn of the loop."""

    async def main() -> list[Any]:
        calls = [service.acall(caller, action, params) for caller, action, params in asked]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(main())


def test_what_several_add_in_one_turn_reaches_the_kernel_in_one_go_and_each_is_decided_on_what_the_one_before_left() -> None:
    service, kernel, subnet = place()
    create: dict[str, Any] = {"SubnetId": subnet, "SecondaryPrivateIpAddressCount": 2}
    count = len(kernel.seen)
    wrong = {"SubnetId": "subnet-0123456789abcdef0"}
    answers = ask_at_once(service, [(f"node{n}", "CreateNetworkInterface", create if n != 1 else wrong) for n in range(4)])
    assert isinstance(answers[1], Ec2Error) and answers[1].code == "InvalidSubnetID.NotFound"
    addresses = [one["PrivateIpAddress"] for n in (0, 2, 3) for one in answers[n]["NetworkInterface"]["PrivateIpAddresses"]]
    assert len(set(addresses)) == 9
    assert len(kernel.seen) == count + 1 and len(kernel.seen[-1][1].enis) == 3 == kernel.stored[-1]
    rows = kernel.store.read("ec2-calls")[-4:]
    assert [(row["caller"], row["result"]) for row in rows] == [
        ("node0", "OK"), ("node1", "InvalidSubnetID.NotFound"), ("node2", "OK"), ("node3", "OK"),
    ]


def test_one_after_the_other_they_have_the_same_addresses_and_ids_as_together() -> None:
    together, apart = place(), place()
    asked = [(f"node{n}", "CreateNetworkInterface", {"SubnetId": place_[2]}) for place_ in (together,) for n in range(3)]
    found = ask_at_once(together[0], asked)
    assert found == [apart[0].call(caller, action, params) for caller, action, params in asked]


def test_when_the_kernel_refuses_one_of_several_the_others_are_carried_out() -> None:
    service, kernel, subnet = place()

    class Choosy(Kernel):
        def __call__(self, old: CloudState, new: CloudState) -> None:
            if any(eni.description == "bad" for eni in new.enis.values()):
                raise KernelError("set", "t-vpc", "link vpbad", errno.ENOMEM)

    service._effects = Choosy()
    asked = [("a", "CreateNetworkInterface", {"SubnetId": subnet, "Description": word}) for word in ("one", "bad", "two")]
    one, bad, two = ask_at_once(service, asked)
    assert isinstance(bad, Ec2Error) and bad.code == "InternalError" and "vpbad" in bad.message
    ids = {answer["NetworkInterface"]["NetworkInterfaceId"] for answer in (one, two)}
    assert service.state.enis.keys() == ids == kernel.store.load("ec2/enis").keys()


def test_a_change_waits_for_what_was_asked_before_it_and_who_reads_does_not() -> None:
    service, _kernel, subnet = place()
    seen: list[int] = []

    async def main() -> None:
        waiting = asyncio.create_task(service.acall("a", "CreateNetworkInterface", {"SubnetId": subnet}))
        await asyncio.sleep(0)  # it has joined the queue, which is served when the loop turns
        seen.append(len(service.call("b", "DescribeNetworkInterfaces", {})["NetworkInterfaces"]))
        service.call("b", "CreateTags", {"Resources": [subnet], "Tags": [{"Key": "a", "Value": "b"}]})
        seen.append(len(service.call("b", "DescribeNetworkInterfaces", {})["NetworkInterfaces"]))
        await waiting

    asyncio.run(main())
    assert seen == [0, 1]


def test_a_caller_who_has_gone_before_his_turn_has_asked_for_nothing() -> None:
    service, _kernel, subnet = place()

    async def main() -> None:
        first, second = (asyncio.create_task(service.acall(who, "CreateNetworkInterface", {"SubnetId": subnet})) for who in "ab")
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first, second})

    asyncio.run(main())
    assert len(service.state.enis) == 1
