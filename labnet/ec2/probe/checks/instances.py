"""Instances and their types: what can be started, and the numbers that the limits follow from."""

from __future__ import annotations

from labnet.ec2.probe.check import expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("Instances and types")
UNKNOWN = "0123456789abcdef0"
LIMITS = {
    "t3.nano": (2, 2), "t3.small": (3, 4), "t3.medium": (3, 6), "m5.large": (3, 10), "c5.large": (3, 10), "m5.xlarge": (4, 15),
    "c5.4xlarge": (8, 30),
}
"""Type → ENIs, IPv4 addresses of each."""
TOKEN = "labnet-probe"


@check("DescribeInstanceTypes")
def network_numbers(at: Site) -> None:
    """NetworkInfo says how many ENIs and addresses a type has."""
    answer = at.call("DescribeInstanceTypes", InstanceTypes=sorted(LIMITS))["InstanceTypes"]
    found = {one["InstanceType"]: one["NetworkInfo"] for one in answer}
    numbers = {kind: (said["MaximumNetworkInterfaces"], said["Ipv4AddressesPerInterface"]) for kind, said in found.items()}
    for kind, wanted in LIMITS.items():
        same(numbers.get(kind), wanted, f"{kind}: ENIs, addresses of each")


@check("DescribeInstanceTypes")
def network_cards(at: Site) -> None:
    """A type with two network cards names both."""
    said = at.call("DescribeInstanceTypes", InstanceTypes=["hpc7a.12xlarge"])["InstanceTypes"][0]["NetworkInfo"]
    cards = [(one["NetworkCardIndex"], one["MaximumNetworkInterfaces"]) for one in said["NetworkCards"]]
    same([said["MaximumNetworkCards"], cards], [2, [(0, 2), (1, 2)]], "cards and their ENIs")


@check("DescribeInstanceTypes")
def unknown_type(at: Site) -> None:
    """An unknown type is InvalidInstanceType."""
    at.refused("DescribeInstanceTypes", "InvalidInstanceType", InstanceTypes=["t3.gigantic"])


@check("RunInstances")
def run(at: Site) -> None:
    """An instance has a primary ENI at device index 0 in its subnet, with the address of the instance."""
    subnet = at.subnet()
    seen = at.see_instance(at.instance(subnet, PrivateIpAddress="10.77.1.30"))
    eni = seen["NetworkInterfaces"][0]
    same([seen["PrivateIpAddress"], eni["PrivateIpAddress"], eni["Attachment"]["DeviceIndex"]], ["10.77.1.30", "10.77.1.30", 0], "it")
    same(at.see_eni(eni["NetworkInterfaceId"])["Attachment"]["InstanceId"], seen["InstanceId"], "the ENI's instance")


@check("RunInstances")
def run_nothing(at: Site) -> None:
    """A type that is none is InvalidParameterValue, an image id that is none InvalidAMIID.Malformed."""
    params = {"MinCount": 1, "MaxCount": 1, "SubnetId": at.subnet()}
    at.refused("RunInstances", "InvalidParameterValue", ImageId=at.endpoint.image, InstanceType="t3.gigantic", **params)
    at.refused("RunInstances", "InvalidAMIID.Malformed", ImageId="image-1", InstanceType="t3.small", **params)


@check("RunInstances")
def run_many(at: Site) -> None:
    """MaxCount instances come at once, each with an address of its own."""
    params = {"ImageId": at.endpoint.image, "InstanceType": "t3.small", "SubnetId": at.subnet()}
    made = at.call("RunInstances", MinCount=3, MaxCount=3, **params)["Instances"]
    same([len(made), len({one["PrivateIpAddress"] for one in made})], [3, 3], "instances and different addresses")


@check("public addresses")
def public_address(at: Site) -> None:
    """An instance gets one where the subnet maps them, and none elsewhere."""
    vpc = at.vpc()
    at.gateway(vpc)
    plain, mapping = at.subnet("10.77.1.0/24", vpc), at.subnet("10.77.2.0/24", vpc)
    at.call("ModifySubnetAttribute", SubnetId=mapping, MapPublicIpOnLaunch={"Value": True})
    given = [bool(at.see_instance(at.instance(one)).get("PublicIpAddress")) for one in (plain, mapping)]
    same(given, [False, True], "public addresses (plain subnet, mapping subnet)")


@check("unknown instance")
def unknown_instance(at: Site) -> None:
    """InvalidInstanceID.NotFound; InvalidInstanceID.Malformed for what is no id."""
    text = f"The instance ID 'i-{UNKNOWN}' does not exist"
    at.refused("DescribeInstances", "InvalidInstanceID.NotFound", text, InstanceIds=[f"i-{UNKNOWN}"])
    at.refused("TerminateInstances", "InvalidInstanceID.NotFound", InstanceIds=[f"i-{UNKNOWN}"])
    at.refused("DescribeInstances", "InvalidInstanceID.Malformed", InstanceIds=["node-1"])


@check("terminated instances")
def terminated(at: Site) -> None:
    """They are described for a while, without ENIs; their addresses are free."""
    subnet = at.subnet()
    instance = at.instance(subnet)
    same(at.free(subnet), 250, "AvailableIpAddressCount with the instance")
    at.terminate(instance)
    same(at.see_instance(instance).get("NetworkInterfaces", []), [], "its ENIs")
    same(at.free(subnet), 251, "AvailableIpAddressCount without it")


@check("ClientToken")
def run_idempotent(at: Site) -> None:
    """The same RunInstances again starts nothing, with other parameters it is IdempotentParameterMismatch."""
    subnet = at.subnet()
    params = {"ImageId": at.endpoint.image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "ClientToken": f"{TOKEN}-{subnet}"}
    one, other = (at.call("RunInstances", SubnetId=subnet, **params)["Instances"][0]["InstanceId"] for _ in range(2))
    same(other, one, "the instance of the second request")
    at.refused("RunInstances", "IdempotentParameterMismatch", SubnetId=subnet, **{**params, "InstanceType": "t3.medium"})


@check("ClientToken")
def eni_idempotent(at: Site) -> None:
    """The same for CreateNetworkInterface."""
    subnet = at.subnet()
    params = {"SubnetId": subnet, "ClientToken": f"{TOKEN}-{subnet}"}
    one, other = (at.call("CreateNetworkInterface", **params)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(2))
    same(other, one, "the ENI of the second request")
    same(at.free(subnet), 250, "AvailableIpAddressCount")
    at.refused("CreateNetworkInterface", "IdempotentParameterMismatch", SecondaryPrivateIpAddressCount=2, **params)


@check("metadata options")
def metadata_options(at: Site) -> None:
    """Hop limit and tokens are changed by ModifyInstanceMetadataOptions, within 1 to 64."""
    instance = at.instance(at.subnet())
    at.call("ModifyInstanceMetadataOptions", InstanceId=instance, HttpPutResponseHopLimit=2, HttpTokens="required")
    seen = at.see_instance(instance)["MetadataOptions"]
    expect((seen["HttpPutResponseHopLimit"], seen["HttpTokens"]) == (2, "required"), f"MetadataOptions are {seen}")
    at.refused("ModifyInstanceMetadataOptions", "InvalidParameterValue", InstanceId=instance, HttpPutResponseHopLimit=65)
