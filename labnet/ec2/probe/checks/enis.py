"""Network interfaces: attributes, ids, attachments and the limits of instance types."""

from __future__ import annotations

import re

from labnet.ec2.probe.check import expect, of_group, same
from labnet.ec2.probe.site import Site

interface = of_group("Network interfaces")
attachment = of_group("Attachments")
UNKNOWN = "0123456789abcdef0"
OTHER = "0fedcba9876543210"
GROUPS_PER_ENI = 5


@interface("a new ENI")
def eni_defaults(at: Site) -> None:
    """Available, in its subnet's zone, source/dest check on, the VPC's default group, one primary address."""
    eni = at.see_eni(at.eni(at.subnet(zone=1), Description="labnet probe"))
    same(eni["AvailabilityZone"], at.zone(1), "AvailabilityZone")
    same([one["GroupName"] for one in eni["Groups"]], ["default"], "Groups")
    same([eni["SourceDestCheck"], eni["Description"], eni["InterfaceType"]], [True, "labnet probe", "interface"], "its attributes")
    same([item["Primary"] for item in eni["PrivateIpAddresses"]], [True], "Primary")
    expect(re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", eni["MacAddress"]) is not None, f"MacAddress is {eni['MacAddress']}")


@interface("unknown ENI")
def unknown_eni(at: Site) -> None:
    """InvalidNetworkInterfaceID.NotFound names the first missing id only."""
    text = f"The networkInterface ID 'eni-{UNKNOWN}' does not exist"
    wanted = [f"eni-{UNKNOWN}", f"eni-{OTHER}"]
    at.refused("DescribeNetworkInterfaces", "InvalidNetworkInterfaceID.NotFound", text, NetworkInterfaceIds=wanted)
    at.refused("DeleteNetworkInterface", "InvalidNetworkInterfaceID.NotFound", text, NetworkInterfaceId=wanted[0])


@interface("malformed ENI id")
def malformed_eni(at: Site) -> None:
    """InvalidNetworkInterfaceId.Malformed: Invalid id: "x" (expecting "eni-...")."""
    text = 'Invalid id: "nic-1" (expecting "eni-...")'
    at.refused("DescribeNetworkInterfaces", "InvalidNetworkInterfaceId.Malformed", text, NetworkInterfaceIds=["nic-1"])


@interface("groups per ENI")
def groups_when_made(at: Site) -> None:
    """Five when it is made; a sixth is InvalidParameterValue and says whose limit it is."""
    vpc = at.vpc()
    subnet = at.subnet(vpc=vpc)
    groups = [at.group(vpc, f"probe-{number}") for number in range(GROUPS_PER_ENI + 1)]
    text = re.compile(r"user \d+ exceeded limit 5 on the number of interface security group memberships")
    at.refused("CreateNetworkInterface", "InvalidParameterValue", text, SubnetId=subnet, Groups=groups)
    eni = at.eni(subnet, Groups=groups[:GROUPS_PER_ENI])
    same({one["GroupId"] for one in at.see_eni(eni)["Groups"]}, set(groups[:GROUPS_PER_ENI]), "the ENI's groups")


@interface("groups per ENI")
def groups_when_changed(at: Site) -> None:
    """Five when it is changed; a sixth is SecurityGroupsPerInterfaceLimitExceeded."""
    vpc = at.vpc()
    eni = at.eni(at.subnet(vpc=vpc))
    groups = [at.group(vpc, f"probe-{number}") for number in range(GROUPS_PER_ENI + 1)]
    text = "The maximum number of security groups per interface has been reached."
    wanted = {"NetworkInterfaceId": eni, "Groups": groups}
    at.refused("ModifyNetworkInterfaceAttribute", "SecurityGroupsPerInterfaceLimitExceeded", text, **wanted)
    at.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, Groups=groups[:1])
    same([one["GroupId"] for one in at.see_eni(eni)["Groups"]], groups[:1], "the ENI's groups")


@interface("groups of an ENI")
def groups_of_elsewhere(at: Site) -> None:
    """An unknown group is InvalidGroup.NotFound, one of another VPC is refused."""
    subnet = at.subnet()
    at.refused("CreateNetworkInterface", "InvalidGroup.NotFound", SubnetId=subnet, Groups=[f"sg-{UNKNOWN}"])
    foreign = at.group(at.vpc("10.78.0.0/16"))
    codes = "InvalidParameterValue InvalidParameter InvalidGroup.NotFound"
    at.refused("CreateNetworkInterface", codes, SubnetId=subnet, Groups=[foreign])


@interface("connection tracking timeouts")
def tracking_timeouts(at: Site) -> None:
    """TCP 60 to 432000 s, UDP streams 60 to 180 s, UDP 30 to 60 s; what was set is described."""
    subnet = at.subnet()
    eni = at.eni(subnet, ConnectionTrackingSpecification={"TcpEstablishedTimeout": 350})
    same(at.see_eni(eni).get("ConnectionTrackingConfiguration", {}).get("TcpEstablishedTimeout"), 350, "TcpEstablishedTimeout, made with it")
    at.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, ConnectionTrackingSpecification={"UdpTimeout": 60})
    same(at.see_eni(eni).get("ConnectionTrackingConfiguration", {}).get("UdpTimeout"), 60, "UdpTimeout, changed")
    for member, beyond in (("TcpEstablishedTimeout", 432_001), ("UdpStreamTimeout", 59), ("UdpTimeout", 61)):
        at.refused("CreateNetworkInterface", "InvalidParameterValue", SubnetId=subnet, ConnectionTrackingSpecification={member: beyond})


@interface("source/dest check")
def source_dest_check(at: Site) -> None:
    """ModifyNetworkInterfaceAttribute turns it off and on."""
    eni = at.eni(at.subnet())
    for value in (False, True):
        at.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, SourceDestCheck={"Value": value})
        same(at.see_eni(eni)["SourceDestCheck"], value, "SourceDestCheck")


@interface("source/dest check")
def source_dest_check_of_an_instance(at: Site) -> None:
    """ModifyInstanceAttribute means the instance's primary ENI."""
    instance = at.instance(at.subnet())
    at.call("ModifyInstanceAttribute", InstanceId=instance, SourceDestCheck={"Value": False})
    eni = at.primary(instance)["NetworkInterfaceId"]
    same([at.see_instance(instance)["SourceDestCheck"], at.see_eni(eni)["SourceDestCheck"]], [False, False], "of instance and ENI")


@interface("description")
def description(at: Site) -> None:
    """ModifyNetworkInterfaceAttribute changes it."""
    eni = at.eni(at.subnet(), Description="before")
    at.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, Description={"Value": "after"})
    same(at.see_eni(eni)["Description"], "after", "Description")


@interface("delete an ENI in use")
def delete_in_use(at: Site) -> None:
    """InvalidParameterValue: Network interface … is currently in use."""
    subnet = at.subnet()
    eni = at.eni(subnet)
    at.attach(eni, at.instance(subnet))
    text = f"Network interface '{eni}' is currently in use."
    at.refused("DeleteNetworkInterface", "InvalidParameterValue", text, NetworkInterfaceId=eni)
    same(at.see_eni(eni)["Status"], "in-use", "Status after the refusal")


@interface("delete an ENI")
def delete_frees(at: Site) -> None:
    """It is gone and its address free."""
    subnet = at.subnet()
    eni = at.eni(subnet, PrivateIpAddress="10.77.1.77")
    at.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
    at.refused("DescribeNetworkInterfaces", "InvalidNetworkInterfaceID.NotFound", NetworkInterfaceIds=[eni])
    at.eni(subnet, PrivateIpAddress="10.77.1.77")


@attachment("attach")
def attach_and_detach(at: Site) -> None:
    """The ENI is in use, with instance, device index and status; after detaching it is available."""
    subnet = at.subnet()
    eni, instance = at.eni(subnet), at.instance(subnet)
    made = at.attach(eni, instance)
    seen = at.see_eni(eni)
    shown = {key: seen["Attachment"][key] for key in ("AttachmentId", "InstanceId", "DeviceIndex", "DeleteOnTermination")}
    same(shown, {"AttachmentId": made, "InstanceId": instance, "DeviceIndex": 1, "DeleteOnTermination": False}, "the attachment")
    same(seen["Status"], "in-use", "Status")
    at.call("DetachNetworkInterface", AttachmentId=made)
    at.until(lambda: at.see_eni(eni)["Status"] == "available", "available")
    at.attach(eni, instance)


@attachment("attach over the type's limit")
def attach_beyond_the_type(at: Site) -> None:
    """A t3.small has three ENIs: Interface count 4 exceeds the limit for t3.small."""
    subnet = at.subnet()
    instance = at.instance(subnet)
    for index in (1, 2):
        at.attach(at.eni(subnet), instance, index)
    wanted = {"NetworkInterfaceId": at.eni(subnet), "InstanceId": instance, "DeviceIndex": 3}
    text = "Interface count 4 exceeds the limit for t3.small"
    at.refused("AttachNetworkInterface", "AttachmentLimitExceeded", text, **wanted)
    same(len(at.see_instance(instance)["NetworkInterfaces"]), 3, "ENIs of the instance")


@attachment("attach over the type's limit")
def attach_many_beyond(at: Site) -> None:
    """Eight more ENIs than a t3.small takes are refused one and all."""
    subnet = at.subnet()
    instance = at.instance(subnet)
    for index in (1, 2):
        at.attach(at.eni(subnet), instance, index)
    for index in range(3, 11):
        wanted = {"NetworkInterfaceId": at.eni(subnet), "InstanceId": instance, "DeviceIndex": index}
        at.refused("AttachNetworkInterface", "AttachmentLimitExceeded", **wanted)


@attachment("attach over a network card's limit")
def attach_beyond_the_card(at: Site) -> None:
    """An hpc7a.12xlarge takes two ENIs on each of its two cards, and has no third card."""
    subnet = at.subnet()
    instance = at.instance(subnet, "hpc7a.12xlarge")
    at.attach(at.eni(subnet), instance, 1)
    wanted = {"NetworkInterfaceId": at.eni(subnet), "InstanceId": instance}
    at.refused("AttachNetworkInterface", "AttachmentLimitExceeded", DeviceIndex=2, **wanted)
    for index in (1, 2):
        at.attach(at.eni(subnet), instance, index, NetworkCardIndex=1)
    at.refused("AttachNetworkInterface", "AttachmentLimitExceeded", DeviceIndex=3, NetworkCardIndex=1, **wanted)
    codes = "InvalidParameterValue AttachmentLimitExceeded"
    at.refused("AttachNetworkInterface", codes, DeviceIndex=2, NetworkCardIndex=2, **wanted)


@attachment("attach over the type's limit")
def attach_with_too_many_addresses(at: Site) -> None:
    """An ENI with more addresses than the type allows is not attached."""
    subnet = at.subnet()
    wanted = {"NetworkInterfaceId": at.eni(subnet, SecondaryPrivateIpAddressCount=4), "InstanceId": at.instance(subnet), "DeviceIndex": 1}
    at.refused("AttachNetworkInterface", "PrivateIpAddressLimitExceeded", **wanted)


@attachment("attach to a used device index")
def device_index_taken(at: Site) -> None:
    """InvalidParameterValue: Instance … already has an interface attached at device index '1'."""
    subnet = at.subnet()
    instance = at.instance(subnet)
    at.attach(at.eni(subnet), instance)
    text = f"Instance '{instance}' already has an interface attached at device index '1'."
    wanted = {"NetworkInterfaceId": at.eni(subnet), "InstanceId": instance, "DeviceIndex": 1}
    at.refused("AttachNetworkInterface", "InvalidParameterValue", text, **wanted)


@attachment("attach an ENI in use")
def attach_twice(at: Site) -> None:
    """InvalidNetworkInterface.InUse: Interface: [eni-…] in use."""
    subnet = at.subnet()
    eni = at.eni(subnet)
    at.attach(eni, at.instance(subnet))
    wanted = {"NetworkInterfaceId": eni, "InstanceId": at.instance(subnet), "DeviceIndex": 1}
    at.refused("AttachNetworkInterface", "InvalidNetworkInterface.InUse", f"Interface: [{eni}] in use.", **wanted)


@attachment("attach an ENI in use")
def run_with_an_eni_in_use(at: Site) -> None:
    """RunInstances says the same of one that it is to start with."""
    subnet = at.subnet()
    eni = at.eni(subnet)
    at.attach(eni, at.instance(subnet))
    params = {"ImageId": at.endpoint.image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    interfaces = [{"NetworkInterfaceId": eni, "DeviceIndex": 0}]
    at.refused("RunInstances", "InvalidNetworkInterface.InUse", f"Interface: [{eni}] in use.", NetworkInterfaces=interfaces, **params)


@attachment("attach in another zone")
def attach_in_another_zone(at: Site) -> None:
    """InvalidParameterValue."""
    vpc = at.vpc()
    eni = at.eni(at.subnet("10.77.2.0/24", vpc, zone=1))
    wanted = {"NetworkInterfaceId": eni, "InstanceId": at.instance(at.subnet(vpc=vpc)), "DeviceIndex": 1}
    at.refused("AttachNetworkInterface", "InvalidParameterValue", **wanted)


@attachment("attach to what does not run")
def attach_to_nothing(at: Site) -> None:
    """An unknown instance is InvalidInstanceID.NotFound, a terminated one in an incorrect state."""
    subnet = at.subnet()
    wanted = {"NetworkInterfaceId": at.eni(subnet), "DeviceIndex": 1}
    at.refused("AttachNetworkInterface", "InvalidInstanceID.NotFound", InstanceId=f"i-{UNKNOWN}", **wanted)
    instance = at.instance(subnet)
    at.terminate(instance)
    at.refused("AttachNetworkInterface", "IncorrectState IncorrectInstanceState", InstanceId=instance, **wanted)


@attachment("unknown attachment")
def unknown_attachment(at: Site) -> None:
    """InvalidAttachmentID.NotFound."""
    at.refused("DetachNetworkInterface", "InvalidAttachmentID.NotFound", AttachmentId=f"eni-attach-{UNKNOWN}")


@attachment("detach device 0")
def detach_the_primary(at: Site) -> None:
    """OperationNotPermitted: the primary ENI stays."""
    instance = at.instance(at.subnet())
    at.refused("DetachNetworkInterface", "OperationNotPermitted", AttachmentId=at.primary(instance)["Attachment"]["AttachmentId"])
    same(at.primary(instance)["Attachment"]["Status"], "attached", "the attachment's status")


@attachment("DeleteOnTermination")
def delete_on_termination(at: Site) -> None:
    """The ENI that RunInstances made goes with the instance, one attached later stays."""
    subnet = at.subnet()
    eni, instance = at.eni(subnet), at.instance(subnet)
    primary = at.primary(instance)
    same(primary["Attachment"]["DeleteOnTermination"], True, "DeleteOnTermination of the primary ENI")
    at.attach(eni, instance)
    at.terminate(instance)
    at.until(lambda: at.see_eni(eni)["Status"] == "available", "available: the attached ENI")
    at.refused("DescribeNetworkInterfaces", "InvalidNetworkInterfaceID.NotFound", NetworkInterfaceIds=[primary["NetworkInterfaceId"]])
    same(at.free(subnet), 250, "AvailableIpAddressCount")


@attachment("DeleteOnTermination")
def delete_on_termination_changed(at: Site) -> None:
    """Changed to true it takes the attached ENI, changed to false it spares the primary one."""
    subnet = at.subnet()
    eni, instance = at.eni(subnet), at.instance(subnet)
    primary = at.primary(instance)
    spared = primary["NetworkInterfaceId"]
    for one, identity, gone in ((eni, at.attach(eni, instance), True), (spared, primary["Attachment"]["AttachmentId"], False)):
        change = {"AttachmentId": identity, "DeleteOnTermination": gone}
        at.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=one, Attachment=change)
    at.terminate(instance)
    at.refused("DescribeNetworkInterfaces", "InvalidNetworkInterfaceID.NotFound", NetworkInterfaceIds=[eni])
    at.until(lambda: at.see_eni(spared)["Status"] == "available", "available: the primary ENI")
    at.call("DeleteNetworkInterface", NetworkInterfaceId=spared)


@attachment("DeleteOnTermination")
def given_eni_outlives(at: Site) -> None:
    """An ENI that RunInstances was given outlives the instance."""
    eni = at.eni(at.subnet())
    instance = at.instance(NetworkInterfaces=[{"NetworkInterfaceId": eni, "DeviceIndex": 0}])
    same(at.primary(instance)["NetworkInterfaceId"], eni, "the ENI at device index 0")
    same(at.primary(instance)["Attachment"]["DeleteOnTermination"], False, "DeleteOnTermination")
    at.terminate(instance)
    at.until(lambda: at.see_eni(eni)["Status"] == "available", "available")
