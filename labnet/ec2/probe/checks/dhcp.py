"""DHCP options sets: what a VPC begins with, and what keeps a set alive."""

from __future__ import annotations

from typing import Any

from labnet.ec2.probe.check import expect, of_group, same
from labnet.ec2.probe.site import Site

check = of_group("DHCP options")
UNKNOWN = "dopt-0123456789abcdef0"
WANTED = {"domain-name": ["probe.example"], "domain-name-servers": ["10.77.0.10", "10.77.0.11"], "ntp-servers": ["10.77.0.12"]}


def _make(at: Site) -> str:
    asked = [{"Key": key, "Values": values} for key, values in WANTED.items()]
    return str(at.call("CreateDhcpOptions", DhcpConfigurations=asked)["DhcpOptions"]["DhcpOptionsId"])


def _options(at: Site, made: str) -> dict[str, list[str]]:
    shown = at.call("DescribeDhcpOptions", DhcpOptionsIds=[made])["DhcpOptions"][0]["DhcpConfigurations"]
    return {str(one["Key"]): [str(item["Value"]) for item in one["Values"]] for one in shown}


def _of(at: Site, vpc: str) -> str:
    found: dict[str, Any] = at.call("DescribeVpcs", VpcIds=[vpc])["Vpcs"][0]
    return str(found["DhcpOptionsId"])


@check("the set of a new VPC")
def default_set(at: Site) -> None:
    """Amazon's own resolver, and a domain of the region."""
    options = _options(at, _of(at, at.vpc()))
    same(options["domain-name-servers"], ["AmazonProvidedDNS"], "domain-name-servers")
    expect(options["domain-name"][0].endswith(".internal"), f"domain-name is {options['domain-name'][0]}")


@check("a new set")
def set_described(at: Site) -> None:
    """Its options are what was asked for."""
    same(_options(at, _make(at)), WANTED, "the options")


@check("the set of a VPC")
def set_associated(at: Site) -> None:
    """AssociateDhcpOptions puts another one in its place, and `default` none at all."""
    vpc, made = at.vpc(), _make(at)
    at.call("AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId=made)
    same(_of(at, vpc), made, "the VPC's DhcpOptionsId")
    at.call("AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId="default")
    same(_of(at, vpc), "default", "the VPC's DhcpOptionsId")


@check("delete a set in use")
def set_in_use(at: Site) -> None:
    """One that a VPC has is DependencyViolation; without it, it goes."""
    vpc, made = at.vpc(), _make(at)
    at.call("AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId=made)
    text = f"The dhcpOptions '{made}' has dependencies and cannot be deleted."
    at.refused("DeleteDhcpOptions", "DependencyViolation", text, DhcpOptionsId=made)
    at.call("AssociateDhcpOptions", VpcId=vpc, DhcpOptionsId="default")
    at.call("DeleteDhcpOptions", DhcpOptionsId=made)
    at.refused("DescribeDhcpOptions", "InvalidDhcpOptionID.NotFound InvalidDhcpOptionsID.NotFound", DhcpOptionsIds=[made])


@check("unknown set")
def unknown_set(at: Site) -> None:
    """InvalidDhcpOptionID.NotFound, in one of its two spellings."""
    codes = "InvalidDhcpOptionID.NotFound InvalidDhcpOptionsID.NotFound"
    at.refused("DescribeDhcpOptions", codes, DhcpOptionsIds=[UNKNOWN])
    at.refused("AssociateDhcpOptions", codes, VpcId=at.vpc(), DhcpOptionsId=UNKNOWN)
    at.refused("DeleteDhcpOptions", codes, DhcpOptionsId=UNKNOWN)
