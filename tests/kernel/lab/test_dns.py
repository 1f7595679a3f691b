"""DNS with real packets from pods, nodes and the Internet; resolv.conf by DHCP options; what is changed in EC2 acts at once."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import dns.message
import dns.rcode
import pytest
from botocore.session import Session

from labnet.kernel import netns
from tests.lab_runner import LIMIT_S, Labs

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ANSWER_S, SILENCE_S = 10.0, 0.4
DOMAIN = "us-west-2.compute.internal"
SCENARIO = """
apiVersion: labnet/v1
kind: Lab
metadata: {name: names}
vpcs:
  - name: main
    cidrs: [10.10.0.0/16, 100.64.0.0/16]
    internetGateway: true
    dns: {hostnames: true}
    securityGroups: [{name: closed, egress: []}]
    subnets:
      - {name: a, cidr: 10.10.0.0/24, availabilityZone: us-west-2a, mapPublicIpOnLaunch: true}
      - {name: b, cidr: 10.10.1.0/24, availabilityZone: us-west-2b, mapPublicIpOnLaunch: true}
  - name: other
    cidr: 10.20.0.0/16
    subnets: [{name: c, cidr: 10.20.0.0/24, availabilityZone: us-west-2a}]
nodes:
  - {name: node1, instanceType: t3.small, subnet: a}
  - {name: node2, instanceType: t3.small, subnet: b, securityGroups: [closed]}
  - {name: node3, instanceType: t3.small, subnet: c}
cni: {kind: vpc}
pods:
  - {name: pod1, node: node1}
  - {name: pod2, node: node2}
  - {name: pod3, node: node3}
"""


class Names:
    """A lab whose names are asked for, by sockets opened inside its namespaces."""

    def __init__(self, labs: Labs) -> None:
        self.labs = labs
        labs.up("-", stdin=SCENARIO)
        env = json.loads(labs.run("--lab", labs.name, "env", "-o", "json").stdout)
        env = env.get("env", env)
        self.ec2 = Session().create_client(
            "ec2", region_name=env["AWS_DEFAULT_REGION"], endpoint_url=env["AWS_ENDPOINT_URL_EC2"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        self.vpcs = {one["Tags"][0]["Value"]: one["VpcId"] for one in self.ec2.describe_vpcs()["Vpcs"]}

    def close(self) -> None:
        self.ec2.close()

    def socket(self, target: str, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        descriptor = os.open(f"/run/netns/{self.labs.name}-{target}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return netns.open_sockets(descriptor, [(socket.AF_INET, kind, 0)])[0]
        finally:
            os.close(descriptor)

    def ask(self, target: str, name: str, kind: str = "A", server: str = "10.10.0.2", *, wait_s: float = ANSWER_S) -> dns.message.Message:
        """One datagram and its answer. Errors: TimeoutError."""
        query = dns.message.make_query(name, kind)
        with self.socket(target) as sock:
            sock.settimeout(wait_s)
            sock.sendto(query.to_wire(), (server, 53))
            data, (source, port) = sock.recvfrom(65_535)
        assert (source, port) == (server, 53)
        answer = dns.message.from_wire(data)
        assert query.is_response(answer)
        return answer

    def values(self, target: str, name: str, kind: str = "A", server: str = "10.10.0.2") -> list[str]:
        answer = self.ask(target, name, kind, server)
        if answer.rcode() != dns.rcode.NOERROR:
            return [dns.rcode.to_text(answer.rcode())]
        return [item.to_text() for rrset in answer.answer for item in rrset]

    def silent(self, target: str, server: str, name: str = "example.com") -> bool:
        try:
            self.ask(target, name, server=server, wait_s=SILENCE_S)
        except TimeoutError:
            return True
        return False

    def getent(self, target: str, *words: str) -> list[str]:
        done = self.labs.run("--lab", self.labs.name, "exec", target, "--", "getent", *words, ok=(0, 2))
        return done.stdout.split()

    def resolv_conf(self, target: str) -> str:
        return self.labs.run("--lab", self.labs.name, "exec", target, "--", "cat", "/etc/resolv.conf").stdout

    def modify(self, vpc: str, **attribute: bool) -> None:
        (name, value), = attribute.items()
        self.ec2.modify_vpc_attribute(VpcId=self.vpcs[vpc], **{name: {"Value": value}})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    user = Labs(tmp_path_factory.mktemp("n"))
    try:
        with closing(Names(user)) as names:
            yield names
    finally:
        user.close()


def ip(lab: Names, node: str) -> str:
    return str(lab.labs.node(node)["ip"])


@pytest.mark.parametrize("server", ["10.10.0.2", "169.254.169.253"])
@pytest.mark.parametrize("target", ["pod1", "node1", "pod2", "node2"])
def test_both_addresses_answer_pods_and_nodes_of_each_subnet_whatever_the_groups_say(lab: Names, target: str, server: str) -> None:
    """Nothing may leave pod2's node by its group, and the resolver is no member of it."""
    assert lab.values(target, "example.com", server=server) == ["192.0.2.10"]
    address = ip(lab, "node1")
    assert lab.values(target, f"ip-{address.replace('.', '-')}.{DOMAIN}", server=server) == [address]
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    assert lab.values(target, reverse, "PTR", server) == [f"ip-{address.replace('.', '-')}.{DOMAIN}."]
    assert lab.values(target, "nowhere.test", server=server) == ["NXDOMAIN"]


def test_other_plus_twos_are_no_resolver(lab: Names) -> None:
    """The base plus two of a further subnet, of a further block, and of another VPC."""
    for server in ("10.10.1.2", "100.64.0.2", "10.20.0.2"):
        assert lab.silent("node1", server), server
    assert lab.values("pod3", "example.com", server="10.20.0.2") == ["192.0.2.10"]


def test_tcp(lab: Names) -> None:
    query = dns.message.make_query("example.com", "A").to_wire()
    with lab.socket("pod1", socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        sock.connect(("10.10.0.2", 53))
        for _ in range(2):
            sock.sendall(struct.pack("!H", len(query)) + query)
            size = struct.unpack("!H", sock.recv(2, socket.MSG_WAITALL))[0]
            assert "192.0.2.10" in dns.message.from_wire(sock.recv(size, socket.MSG_WAITALL)).to_text()


def test_rubbish_does_no_harm(lab: Names) -> None:
    with lab.socket("pod1") as sock:
        for data in (b"", b"x", os.urandom(500), b"\0" * 12, b"\xab\xcd\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"):
            sock.sendto(data, ("10.10.0.2", 53))
    assert lab.values("pod1", "example.com") == ["192.0.2.10"]


def test_public_names_inside_and_outside(lab: Names) -> None:
    public = str(lab.labs.node("node1")["publicIp"])
    name = f"ec2-{public.replace('.', '-')}.us-west-2.compute.amazonaws.com"
    assert lab.values("pod2", name) == [ip(lab, "node1")]
    assert lab.values("pod3", name, server="10.20.0.2") == lab.values("internet", name, server="8.8.8.8") == [public]
    assert lab.values("pod1", name, server="1.1.1.1") == [public], "who asks over the internet gateway is outside"
    private = f"ip-{ip(lab, 'node1').replace('.', '-')}.{DOMAIN}"
    assert lab.values("pod3", private, server="10.20.0.2") == lab.values("internet", private, server="8.8.8.8") == ["NXDOMAIN"]


def test_the_resolvers_of_the_internet(lab: Names) -> None:
    for server in ("1.1.1.1", "8.8.8.8"):
        assert lab.values("pod1", "dns.google", server=server) == lab.values("internet", "dns.google", server=server) == ["8.8.8.8"]
    assert lab.silent("pod3", "8.8.8.8"), "its VPC has no gateway"
    assert lab.silent("internet", "192.0.2.10")


def test_programs_resolve_as_the_machines_own_do(lab: Names) -> None:
    address = ip(lab, "node1")
    name = f"ip-{address.replace('.', '-')}"
    assert lab.getent("pod1", "hosts", "example.com") == ["192.0.2.10", "example.com"]
    assert lab.getent("pod1", "hosts", name)[:2] == [address, f"{name}.{DOMAIN}"], "by the search list"
    assert lab.getent("node2", "hosts", "ec2.us-west-2.amazonaws.com") == ["169.254.169.200", "ec2.us-west-2.amazonaws.com"]
    assert lab.getent("pod1", "hosts", "nowhere.test") == []
    assert lab.getent("internet", "hosts", "one.one.one.one") == ["1.1.1.1", "one.one.one.one"]


def test_the_ec2_api_by_its_name(lab: Names) -> None:
    code = "import socket; print(socket.create_connection(('ec2.us-west-2.amazonaws.com', 80), 10).getpeername()[0])"
    said = lab.labs.run("--lab", lab.labs.name, "exec", "pod1", "--", sys.executable, "-c", code).stdout
    assert said.strip() == "169.254.169.200"


def test_resolv_conf_is_what_dhcp_gives(lab: Names) -> None:
    main, other = (f"search {DOMAIN}\nnameserver {server}\n" for server in ("10.10.0.2", "10.20.0.2"))
    assert [lab.resolv_conf(target) for target in ("node1", "pod1", "node3", "pod3")] == [main, main, other, other]


def test_dns_support_off_is_silence_at_once_and_on_again(lab: Names) -> None:
    lab.modify("other", EnableDnsSupport=False)
    try:
        for server in ("10.20.0.2", "169.254.169.253"):
            assert lab.silent("pod3", server) and lab.silent("node3", server)
        with lab.socket("pod3", socket.SOCK_STREAM) as sock:
            sock.settimeout(SILENCE_S)
            with pytest.raises(OSError):
                sock.connect(("10.20.0.2", 53))
        assert lab.values("pod1", "example.com") == ["192.0.2.10"], "the other VPC goes on"
    finally:
        lab.modify("other", EnableDnsSupport=True)
    for server in ("10.20.0.2", "169.254.169.253"):
        assert lab.values("pod3", "example.com", server=server) == ["192.0.2.10"]


def test_host_names_off_takes_public_names_away_at_once(lab: Names) -> None:
    public = str(lab.labs.node("node1")["publicIp"])
    name = f"ec2-{public.replace('.', '-')}.us-west-2.compute.amazonaws.com"
    lab.modify("main", EnableDnsHostnames=False)
    try:
        assert lab.values("pod2", name) == lab.values("internet", name, server="8.8.8.8") == ["NXDOMAIN"]
    finally:
        lab.modify("main", EnableDnsHostnames=True)
    assert lab.values("pod2", name) == [ip(lab, "node1")]


def test_a_vpc_that_is_made_and_ended_while_the_lab_runs(lab: Names) -> None:
    vpc = lab.ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    subnet = lab.ec2.create_subnet(VpcId=vpc, CidrBlock="10.30.5.0/24")["Subnet"]["SubnetId"]
    instance = launch(lab, "late", subnet)
    assert lab.values("late", "example.com", server="10.30.0.2") == ["192.0.2.10"]
    assert lab.resolv_conf("late") == f"search {DOMAIN}\nnameserver 10.30.0.2\n"
    lab.ec2.terminate_instances(InstanceIds=[instance])
    wait_until(lab, "late", there=False)
    lab.ec2.delete_subnet(SubnetId=subnet)
    lab.ec2.delete_vpc(VpcId=vpc)
    wait_until(lab, f"vpc.{vpc}", there=False)


def test_dhcp_options_reach_nodes_when_they_start(lab: Names) -> None:
    asked = [{"Key": "domain-name", "Values": ["example.com"]}, {"Key": "domain-name-servers", "Values": ["8.8.8.8", "AmazonProvidedDNS"]}]
    before = lab.ec2.describe_vpcs(VpcIds=[lab.vpcs["main"]])["Vpcs"][0]["DhcpOptionsId"]
    made = lab.ec2.create_dhcp_options(DhcpConfigurations=asked)["DhcpOptions"]["DhcpOptionsId"]
    subnet = lab.ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["a"]}])["Subnets"][0]["SubnetId"]
    lab.ec2.associate_dhcp_options(VpcId=lab.vpcs["main"], DhcpOptionsId=made)
    try:
        instance = launch(lab, "later", subnet)
        assert lab.resolv_conf("later") == "search example.com\nnameserver 8.8.8.8\nnameserver 10.10.0.2\n"
        assert lab.getent("later", "hosts", "www")[:2] == ["192.0.2.10", "www.example.com"]
        assert "10.10.0.2" in lab.resolv_conf("node1") and "8.8.8.8" not in lab.resolv_conf("node1"), "not before it starts again"
        lab.ec2.terminate_instances(InstanceIds=[instance])
        wait_until(lab, "later", there=False)
    finally:
        lab.ec2.associate_dhcp_options(VpcId=lab.vpcs["main"], DhcpOptionsId=before)
    lab.ec2.delete_dhcp_options(DhcpOptionsId=made)


def test_pods_copy_what_their_node_has_when_they_start(lab: Names) -> None:
    mine, kept = "nameserver 8.8.8.8\n", lab.resolv_conf("node1")
    lab.labs.run("--lab", lab.labs.name, "exec", "node1", "--", "sh", "-c", f"printf '{mine}' >/etc/resolv.conf")
    show = '{name: show, command: [sh, -c, "cat /etc/resolv.conf; exec sleep 600"]}'
    lab.labs.up("-", stdin=SCENARIO + f"  - {{name: copy, node: node1}}\n  - {{name: prints, node: node1, containers: [{show}]}}\n")
    assert (lab.resolv_conf("copy"), lab.resolv_conf("prints"), lab.resolv_conf("pod1")) == (mine, mine, kept)
    assert lab.labs.run("--lab", lab.labs.name, "logs", "prints").stdout == mine
    lab.labs.run("--lab", lab.labs.name, "exec", "node1", "--", "sh", "-c", f"printf '{kept}' >/etc/resolv.conf")
    lab.labs.up("-", stdin=SCENARIO)
    lab.labs.up("-", stdin=SCENARIO + "  - {name: copy, node: node1}\n")
    assert lab.resolv_conf("copy") == kept, "another pod of that name"
    lab.labs.up("-", stdin=SCENARIO)


def launch(lab: Names, name: str, subnet: str) -> str:
    answer: dict[str, Any] = lab.ec2.run_instances(
        ImageId="ami-0123456789abcdef0", InstanceType="t3.small", MinCount=1, MaxCount=1, SubnetId=subnet,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
    )
    wait_until(lab, name, there=True)
    return str(answer["Instances"][0]["InstanceId"])


def wait_until(lab: Names, target: str, *, there: bool) -> None:
    path = f"/run/netns/{lab.labs.name}-{target}"
    wanted = "" if there else "!"
    script = f"for n in $(seq 200); do [ {wanted} -e {path} ] && exit 0; sleep 0.1; done; exit 1"
    assert subprocess.run(["sh", "-c", script], check=False, timeout=LIMIT_S).returncode == 0
