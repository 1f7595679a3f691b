"""Which names there are, and what they mean where one stands: decided from EC2's state alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labnet.dns import amazon, internet
from labnet.dns.amazon import ANYWHERE
from labnet.dns.records import Record, Reply
from labnet.model.cloud import CloudState
from tests.builders_ec2 import Cloud

DOMAIN = "us-west-2.compute.internal"
PUBLIC = "us-west-2.compute.amazonaws.com"


class Site:
    """A VPC with a node that has a public address and a prefix, and another VPC."""

    def __init__(self, region: str = "us-west-2") -> None:
        self.cloud = Cloud(CloudState("t", region=region))
        zone = f"{region}a"
        self.vpc, self.other = self.cloud.vpc(), self.cloud.vpc("10.20.0.0/16", "other")
        self.subnet = self.cloud.subnet(self.vpc, "10.10.0.0/24", zone)
        self.cloud.call("ModifySubnetAttribute", SubnetId=self.subnet, MapPublicIpOnLaunch={"Value": True})
        self.node = self.cloud.node(self.subnet)
        self.eni = self.cloud.primary(self.node)
        self.public = str(self.eni.addresses[0].public)

    def ask(self, name: str, kind: str = "A", where: str | None = None) -> Reply:
        return amazon.lookup(self.cloud.state, self.vpc if where is None else where, name, kind)

    def values(self, name: str, kind: str = "A", where: str | None = None) -> list[str]:
        return [one.value for one in self.ask(name, kind, where).answers]


@pytest.fixture
def site() -> Site:
    return Site()


def dashed(address: str) -> str:
    return address.replace(".", "-")


def backwards(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def test_private_names_of_the_vpc_and_of_no_other(site: Site) -> None:
    name = f"ip-10-10-0-4.{DOMAIN}"
    assert site.ask(name) == Reply("NOERROR", (Record(name, "A", "10.10.0.4", 60),))
    assert site.ask(name, where=site.other).code == site.ask(name, where=ANYWHERE).code == "NXDOMAIN"
    assert site.ask(f"ip-10-10-0-5.{DOMAIN}").code == "NXDOMAIN", "nobody has that address"


def test_addresses_come_and_go_at_once_prefixes_too(site: Site) -> None:
    spare = site.cloud.interface(site.subnet, PrivateIpAddress="10.10.0.9")
    assert site.values(f"ip-10-10-0-9.{DOMAIN}") == ["10.10.0.9"]
    site.cloud.call("DeleteNetworkInterface", NetworkInterfaceId=spare)
    assert site.ask(f"ip-10-10-0-9.{DOMAIN}").code == "NXDOMAIN"
    site.cloud.call("AssignPrivateIpAddresses", NetworkInterfaceId=site.eni.id, Ipv4PrefixCount=1)
    prefix = site.cloud.primary(site.node).prefixes[0]
    inside = prefix.rpartition(".")[0] + "." + str(int(prefix.rpartition(".")[2].partition("/")[0]) + 5)
    assert site.values(f"ip-{dashed(inside)}.{DOMAIN}") == [inside]


def test_public_names_lead_to_the_private_address_inside_and_to_the_public_one_elsewhere(site: Site) -> None:
    name = f"ec2-{dashed(site.public)}.{PUBLIC}"
    assert site.values(name) == ["10.10.0.4"]
    assert site.values(name, where=site.other) == site.values(name, where=ANYWHERE) == [site.public]
    assert site.ask(f"ec2-203-0-113-77.{PUBLIC}").code == "NXDOMAIN"


def test_public_names_are_there_while_the_vpc_gives_host_names(site: Site) -> None:
    name = f"ec2-{dashed(site.public)}.{PUBLIC}"
    site.cloud.call("ModifyVpcAttribute", VpcId=site.vpc, EnableDnsHostnames={"Value": False})
    for where in (site.vpc, site.other, ANYWHERE):
        assert site.ask(name, where=where).code == site.ask(backwards(site.public), "PTR", where).code == "NXDOMAIN"
    assert site.values(f"ip-10-10-0-4.{DOMAIN}") == ["10.10.0.4"], "private ones in any case"


def test_backwards(site: Site) -> None:
    assert site.values(backwards("10.10.0.4"), "PTR") == [f"ip-10-10-0-4.{DOMAIN}."]
    assert site.values(backwards(site.public), "PTR") == [f"ec2-{dashed(site.public)}.{PUBLIC}."]
    assert site.ask(backwards("10.10.0.4"), "PTR", site.other).code == "NXDOMAIN"
    assert site.values(backwards("8.8.8.8"), "PTR") == ["dns.google."]
    assert site.ask(backwards("10.10.0.200"), "PTR").code == "NXDOMAIN"


def test_the_first_region_has_names_of_its_own() -> None:
    site = Site("us-east-1")
    assert site.values("ip-10-10-0-4.ec2.internal") == ["10.10.0.4"]
    assert site.values(f"ec2-{dashed(site.public)}.compute-1.amazonaws.com") == ["10.10.0.4"]
    assert site.values("ec2.us-east-1.amazonaws.com") == ["169.254.169.200"]


def test_a_name_without_records_of_a_type_is_no_missing_name(site: Site) -> None:
    for name in (f"ip-10-10-0-4.{DOMAIN}", DOMAIN, "example.com", "com", "", "ec2.us-west-2.amazonaws.com", backwards("10.10.0.4")):
        reply = site.ask(name, "AAAA")
        assert (reply.code, reply.answers, reply.authority[0].type) == ("NOERROR", (), "SOA"), name
    assert site.values(DOMAIN, "SOA") == [f"ns0.{DOMAIN}. hostmaster.amazon.com. 2012103100 3600 3600 3600 60"]
    assert site.ask("no.such.name").authority == (internet.ROOT_SOA,)


@pytest.mark.parametrize(
    "label", ["ip-10-10-0-04", "ip-10-10-0-256", "ip-10-10-0", "ip-10-10-0-4-5", "ec2-10-10-0-4", "x", "ip-10-10-0-4x", "ip-1000-0-0-4"]
)
def test_what_only_looks_like_a_name_is_none(site: Site, label: str) -> None:
    assert site.ask(f"{label}.{DOMAIN}").code == "NXDOMAIN"
    assert site.ask(f"a.ip-10-10-0-4.{DOMAIN}").code == "NXDOMAIN"
    assert site.ask("004.0.10.10.in-addr.arpa", "PTR").code == site.ask("999.0.10.10.in-addr.arpa", "PTR").code == "NXDOMAIN"


def test_the_internet_has_few_names() -> None:
    found = {name: internet.lookup(name, "A").answers[0].value for name in internet.ADDRESSES}
    assert found == {"example.com": "192.0.2.10", "www.example.com": "192.0.2.10", "one.one.one.one": "1.1.1.1", "dns.google": "8.8.8.8"}
    assert internet.lookup("github.com", "A").code == "NXDOMAIN"


def test_a_resolver_reads_the_state_of_the_moment_and_is_silent_without_dns_support(site: Site) -> None:
    ask = amazon.resolver_of(lambda: site.cloud.state, site.vpc)
    everywhere = amazon.resolver_of(lambda: site.cloud.state, ANYWHERE)
    assert ask("example.com", "A") is not None
    site.cloud.state = replace(site.cloud.state, vpcs={})
    assert ask("example.com", "A") is None, "the VPC is gone"
    assert everywhere("example.com", "A") is not None
    site = Site()
    ask = amazon.resolver_of(lambda: site.cloud.state, site.vpc)
    site.cloud.call("ModifyVpcAttribute", VpcId=site.vpc, EnableDnsSupport={"Value": False})
    assert ask("example.com", "A") is None
