"""Every request alike: signatures, dry runs, unknown words, filters, pages, tags; and, when told, throttling and denial."""

from __future__ import annotations

import re

from labnet.ec2.probe.check import Refusal, Wrong, expect, of_group, same
from labnet.ec2.probe.site import Site

request = of_group("Requests")
describe = of_group("Describe: filters, pages, tags")
UNKNOWN = "0123456789abcdef0"
TAGS_PER_OBJECT = 50
BURST = 400  # more than any bucket of EC2 holds
BAD_TOKEN = "InvalidNextToken InvalidPaginationToken InvalidParameterValue"
DENIED = re.compile(r"You are not authorized to perform this operation\..*", re.DOTALL)


@request("form of an error")
def error_form(at: Site) -> None:
    """A client's fault is HTTP 400 in XML with a request id."""
    refusal = at.refused("DescribeVpcs", "InvalidVpcID.NotFound", VpcIds=[f"vpc-{UNKNOWN}"])
    expect(refusal.content_type.replace(" ", "").startswith("text/xml"), f"Content-Type is {refusal.content_type!r}")
    expect(bool(refusal.request_id), "no request id")


@request("dry run")
def dry_run(at: Site) -> None:
    """Allowed: DryRunOperation with HTTP 412, and nothing is made."""
    subnet = at.subnet()
    at.refused("CreateNetworkInterface", "DryRunOperation", SubnetId=subnet, DryRun=True)
    at.refused("DeleteSubnet", "DryRunOperation", SubnetId=subnet, DryRun=True)
    same(at.free(subnet), 251, "AvailableIpAddressCount of the subnet afterwards")


@request("bad credentials")
def wrong_secret(at: Site) -> None:
    """A signature by another secret is AuthFailure with HTTP 401, and nothing is done."""
    vpc = at.vpc()
    stranger = at.endpoint.client(secret="not/the/secret/of/this/account/at/all000")
    with at.as_another(stranger):
        at.refused("DeleteVpc", "AuthFailure", VpcId=vpc)
    same(len(at.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"]), 1, "VPCs left")


@request("bad credentials")
def unknown_key(at: Site) -> None:
    """An unknown access key is AuthFailure with HTTP 401."""
    stranger = at.endpoint.client(key="AKIAXXXXXXXXXXXXXXXX")
    with at.as_another(stranger):
        at.refused("DescribeVpcs", "AuthFailure")


@request("unknown action")
def unknown_action(at: Site) -> None:
    """InvalidAction names it."""
    with at.changed("DescribeVpcs", Action="FrobnicateVpcs"):
        refusal = _refused_with_400(at)
    expect("FrobnicateVpcs" in refusal.text, f"the text is {refusal.text!r}")


def _refused_with_400(at: Site) -> Refusal:
    try:
        at.call("DescribeVpcs")
    except Refusal as refusal:
        same(refusal.code, "InvalidAction", "the code")
        expect(400 <= refusal.status < 600, f"HTTP status is {refusal.status}")
        return refusal
    raise Wrong("an action that does not exist was carried out")


@request("unknown parameter")
def unknown_parameter(at: Site) -> None:
    """UnknownParameter; it is not left out silently."""
    with at.changed("DescribeVpcs", Colour="red"):
        at.refused("DescribeVpcs", "UnknownParameter")


@request("missing parameter")
def missing_parameter(at: Site) -> None:
    """MissingParameter names it."""
    with at.changed("DeleteVpc", VpcId=None):
        refusal = at.refused("DeleteVpc", "MissingParameter", VpcId=f"vpc-{UNKNOWN}")
    expect("vpcid" in refusal.text.lower(), f"the text is {refusal.text!r}")


@request("throttled", needs="throttled")
def throttled(at: Site) -> None:
    """RequestLimitExceeded with HTTP 503, after a burst."""
    for _ in range(BURST):
        try:
            at.call("DescribeVpcs")
        except Refusal as refusal:
            same((refusal.code, refusal.text, refusal.status), ("RequestLimitExceeded", "Request limit exceeded.", 503), "the refusal")
            return
    raise Wrong(f"{BURST} calls in a row were all answered")


@request("not authorized", needs="denied")
def denied(at: Site) -> None:
    """UnauthorizedOperation with HTTP 403, for a dry run too."""
    with at.changed("DescribeVpcs", Action=at.endpoint.denied):
        for more in ({}, {"DryRun": True}):
            at.refused("DescribeVpcs", "UnauthorizedOperation", DENIED, **more)


@describe("unfiltered")
def unfiltered(at: Site) -> None:
    """Everything that is there."""
    subnet = at.subnet()
    enis = {at.eni(subnet) for _ in range(2)}
    expect(enis <= {one["NetworkInterfaceId"] for one in at.call("DescribeNetworkInterfaces")["NetworkInterfaces"]}, "an ENI is missing")
    expect(subnet in {one["SubnetId"] for one in at.call("DescribeSubnets")["Subnets"]}, "the subnet is missing")


@describe("pages")
def pages(at: Site) -> None:
    """MaxResults cuts, NextToken goes on, and each object comes once."""
    subnet = at.subnet()
    made = {at.eni(subnet) for _ in range(7)}
    filters = [{"Name": "subnet-id", "Values": [subnet]}]
    first = at.call("DescribeNetworkInterfaces", Filters=filters, MaxResults=5)
    same(len(first["NetworkInterfaces"]), 5, "ENIs on the first page")
    expect(bool(first.get("NextToken")), "the first of two pages has no NextToken")
    second = at.call("DescribeNetworkInterfaces", Filters=filters, MaxResults=5, NextToken=first["NextToken"])
    same(len(second["NetworkInterfaces"]), 2, "ENIs on the second page")
    expect(not second.get("NextToken"), "the last page has a NextToken")
    seen = {one["NetworkInterfaceId"] for page in (first, second) for one in page["NetworkInterfaces"]}
    same(seen, made, "the ENIs of both pages")


@describe("pages")
def pages_refused(at: Site) -> None:
    """Fewer than five or more than a thousand results, and an invented token, are refused."""
    for size in ("4", "1001"):  # boto3 itself would not send them
        with at.changed("DescribeSubnets", MaxResults=size):
            at.refused("DescribeSubnets", "InvalidParameterValue")
    at.refused("DescribeSubnets", BAD_TOKEN, MaxResults=5, NextToken="bm90IGEgdG9rZW4=")


@describe("pages")
def pages_and_ids(at: Site) -> None:
    """Ids and MaxResults exclude one another: InvalidParameterCombination."""
    instance = at.instance(at.subnet())
    at.refused("DescribeInstances", "InvalidParameterCombination", InstanceIds=[instance], MaxResults=5)


def _tagged(at: Site) -> dict[str, str]:
    """Three subnets of one VPC by their names."""
    vpc = at.vpc()
    subnets = {}
    for number, name in enumerate(("probe-a1", "probe-a2", "probe-b*")):
        subnets[name] = at.subnet(f"10.77.{number}.0/24", vpc)
        at.call("CreateTags", Resources=[subnets[name]], Tags=[{"Key": "Name", "Value": name}, {"Key": f"key-{number}", "Value": ""}])
    return {"vpc": vpc, **subnets}


def _names(at: Site, vpc: str, *filters: tuple[str, list[str]]) -> list[str]:
    wanted = [{"Name": "vpc-id", "Values": [vpc]}, *({"Name": name, "Values": values} for name, values in filters)]
    found = at.call("DescribeSubnets", Filters=wanted)["Subnets"]
    return sorted(tag["Value"] for one in found for tag in one["Tags"] if tag["Key"] == "Name")


@describe("filters")
def filter_wildcards(at: Site) -> None:
    """* and ? stand for letters, a backslash takes their meaning away."""
    vpc = _tagged(at)["vpc"]
    cases = {"probe-a*": ["probe-a1", "probe-a2"], "probe-??": ["probe-a1", "probe-a2", "probe-b*"], "*2": ["probe-a2"]}
    cases |= {r"probe-b\*": ["probe-b*"], r"probe-a\*": [], "probe-a": [], "PROBE-A1": []}
    for value, names in cases.items():
        same(_names(at, vpc, ("tag:Name", [value])), names, f"subnets by tag:Name {value}")


@describe("filters")
def filter_logic(at: Site) -> None:
    """Values of one filter are alternatives, filters are all to hold."""
    vpc = _tagged(at)["vpc"]
    same(_names(at, vpc, ("tag:Name", ["probe-a1", "probe-b*"])), ["probe-a1", "probe-b*"], "subnets by two values")
    both = (("tag:Name", ["probe-a*"]), ("cidr-block", ["10.77.1.0/24", "10.77.2.0/24"]))
    same(_names(at, vpc, *both), ["probe-a2"], "subnets by two filters")
    same(_names(at, vpc, ("tag-key", ["key-1"])), ["probe-a2"], "subnets by tag-key")


@describe("filters")
def filter_unknown(at: Site) -> None:
    """An unknown filter is InvalidParameterValue."""
    at.refused("DescribeSubnets", "InvalidParameterValue", Filters=[{"Name": "colour", "Values": ["red"]}])


@describe("filters")
def filter_enis(at: Site) -> None:
    """An ENI is found by group, address, attachment and status."""
    vpc = at.vpc()
    subnet, group = at.subnet(vpc=vpc), at.group(vpc)
    eni, instance = at.eni(subnet, Groups=[group], PrivateIpAddress="10.77.1.80"), at.instance(subnet)
    at.attach(eni, instance)
    for name, value in (
        ("group-id", group), ("addresses.private-ip-address", "10.77.1.80"), ("attachment.device-index", "1"), ("private-ip-address", "*.80"),
    ):
        filters = [{"Name": "subnet-id", "Values": [subnet]}, {"Name": name, "Values": [value]}]
        found = at.call("DescribeNetworkInterfaces", Filters=filters)["NetworkInterfaces"]
        same([one["NetworkInterfaceId"] for one in found], [eni], f"ENIs by {name} {value}")


@describe("tags")
def tags(at: Site) -> None:
    """They come with the object, are changed, filtered by DescribeTags and deleted."""
    subnet = at.subnet()
    spec = [{"ResourceType": "network-interface", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}]
    eni = at.eni(subnet, TagSpecifications=spec)
    at.call("CreateTags", Resources=[eni], Tags=[{"Key": "a", "Value": "3"}])
    at.call("DeleteTags", Resources=[eni], Tags=[{"Key": "b", "Value": "another value"}, {"Key": "c"}])
    filters = [{"Name": "resource-id", "Values": [eni]}]
    found = sorted((one["Key"], one["Value"], one["ResourceType"]) for one in at.call("DescribeTags", Filters=filters)["Tags"])
    same(found, [("a", "3", "network-interface"), ("b", "2", "network-interface")], "the tags")
    at.call("DeleteTags", Resources=[eni], Tags=[{"Key": "a"}, {"Key": "b", "Value": "2"}])
    same(at.see_eni(eni).get("TagSet", []), [], "the tags afterwards")


@describe("tags")
def tags_refused(at: Site) -> None:
    """Fifty an object: TagLimitExceeded; keys that begin with aws: are AWS's own."""
    subnet = at.subnet()
    at.refused("CreateTags", "InvalidParameterValue", Resources=[subnet], Tags=[{"Key": "aws:mine", "Value": ""}])
    many = [{"Key": f"key-{number}", "Value": ""} for number in range(TAGS_PER_OBJECT)]
    at.call("CreateTags", Resources=[subnet], Tags=many)
    at.refused("CreateTags", "TagLimitExceeded", Resources=[subnet], Tags=[{"Key": "more", "Value": ""}])
    at.refused("CreateTags", "InvalidSubnetID.NotFound InvalidID", Resources=[f"subnet-{UNKNOWN}"], Tags=[{"Key": "a", "Value": ""}])
