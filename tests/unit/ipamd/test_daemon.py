"""The daemon of one node against the real EC2 rules: start-up, the plugin's two calls, checkpoint, end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from builders_ipamd import NODE, Node

from labnet.errors import Ec2Error, IpamError, UnknownAttachment
from labnet.ipamd.metadata import MACS
from labnet.model.netstate import Addr, IptChain, LinkMtu, Route
from labnet.ports import Imds

Make = Callable[..., Node]


def test_a_new_eni_carries_the_description_the_tags_and_the_groups_of_the_first(node: Make) -> None:
    one = node(env={"CLUSTER_NAME": "prod", "ADDITIONAL_ENI_TAGS": '{"team": "net"}'}).start()
    one.add()
    one.wait(6)
    first, second = (one.ec2.state.enis[eni] for eni in one.enis())
    assert second.description == f"aws-K8S-{one.instance}"
    assert second.tags.pop("node.k8s.amazonaws.com/createdAt").endswith("Z")  # type: ignore[attr-defined]
    assert second.tags == {
        "node.k8s.amazonaws.com/instance_id": one.instance, "cluster.k8s.amazonaws.com/name": "prod", "eks:eni:owner": "amazon-vpc-cni",
        "team": "net",
    }
    assert first.tags == second.tags, "the first gets all but the time"
    assert second.security_groups == first.security_groups
    assert second.attachment is not None and second.attachment.delete_on_termination


def test_the_second_eni_is_wired_and_its_pods_are_told_its_table(node: Make) -> None:
    one = node().start()
    replies = [one.add(f"pod{n}").allocations[0] for n in range(3)]
    one.wait(6)
    fourth = one.add("pod3").allocations[0]
    assert {(reply.device_number, reply.route_table_id) for reply in replies} == {(0, 254)}
    assert (fourth.device_number, fourth.route_table_id) == (1, 2)
    state = one.kernel.observe(NODE)
    primary = one.ec2.state.enis[one.enis()[1]].primary
    assert [(item.address, item.prefixlen) for item in state.all(Addr) if item.link == "eth1"] == [(primary, 24)]
    assert {(item.dst, item.via) for item in state.all(Route) if item.table == 2} == {("10.10.0.1/32", None), ("default", "10.10.0.1")}
    assert LinkMtu("eth1", 9001) in state
    assert [(rule.priority, rule.src, rule.table) for rule in one.rules() if rule.src] == [(32765, f"{primary}/32", 2)]


def test_add_is_repeatable_and_wants_its_three_words(node: Make) -> None:
    one = node().start()
    assert one.add() == one.add()
    assert one.ipamd.state()["assigned"] == 1
    for missing in ("container_id", "if_name", "network_name"):
        assert one.add("other", **{missing: ""}).success is False


def test_a_full_node_says_no_without_a_reason(node: Make) -> None:
    one = node(env={"MAX_ENI": "1"}).start()
    one.pods(3)
    reply = one.wait(20).add("pod9")
    assert reply.success is False and reply.allocations == ()
    assert one.pool == (1, 3), "MAX_ENI holds"


def test_an_address_cools_down_before_another_pod_gets_it(node: Make) -> None:
    one = node(env={"MAX_ENI": "1"}).start()
    one.pods(3)
    freed = one.delete("pod1").allocations[0].ipv4_addr
    assert one.wait(29).add("next").success is False
    assert one.wait(2).add("next").allocations[0].ipv4_addr == freed


def test_del_of_a_stranger_is_the_unknown_pod(node: Make) -> None:
    with pytest.raises(UnknownAttachment, match="datastore: unknown pod"):
        node().start().delete("nobody")


@pytest.mark.parametrize("env, external, cidrs", [
    ({}, False, ("10.10.0.0/16",)),
    ({"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "192.168.0.0/16"}, False, ("10.10.0.0/16", "192.168.0.0/16")),
    ({"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true", "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "192.168.0.0/16"}, True, ("10.10.0.0/16",)),
])
def test_the_plugin_is_told_the_blocks(node: Make, env: dict[str, str], external: bool, cidrs: tuple[str, ...]) -> None:
    reply = node(env=env).start().add()
    assert (reply.use_external_snat, reply.vpc_v4_cidrs) == (external, cidrs)


def test_a_new_block_of_the_vpc_reaches_plugin_and_rules(node: Make) -> None:
    one = node().start()
    one.aws("AssociateVpcCidrBlock", VpcId=one.vpc, CidrBlock="10.99.0.0/16")
    assert one.add().vpc_v4_cidrs == ("10.10.0.0/16", "10.99.0.0/16")
    one.wait(36)
    chain = next(item for item in one.kernel.observe(NODE).all(IptChain) if item.name == "AWS-SNAT-CHAIN-0")
    assert any("10.99.0.0/16" in rule for rule in chain.rules)


class Hiding:
    """A metadata service that has not heard of ENIs that came since."""

    def __init__(self, real: Imds, shown: set[str]) -> None:
        self._real, self._shown = real, shown

    async def get(self, path: str) -> str:
        text = await self._real.get(path)
        if path != MACS:
            return text
        return "\n".join(word for word in text.split() if word.strip("/") in self._shown)


def test_blocks_and_groups_are_watched_while_a_step_of_the_pool_waits(node: Make) -> None:
    one = node()
    one.imds = Hiding(one.imds, {eni.mac for eni in one.ec2.state.enis.values()})
    one.ipamd = one.daemon()
    one.start()
    one.add()
    one.wait(6)  # the second ENI is attached and never listed: its step waits for minutes
    one.aws("AssociateVpcCidrBlock", VpcId=one.vpc, CidrBlock="10.99.0.0/16")
    group = one.aws("CreateSecurityGroup", GroupName="g", Description="g", VpcId=one.vpc)["GroupId"]
    one.aws("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=one.enis()[0], Groups=[group])
    asked = one.calls().count("ModifyNetworkInterfaceAttribute")
    one.wait(31)
    chain = next(item for item in one.kernel.observe(NODE).all(IptChain) if item.name == "AWS-SNAT-CHAIN-0")
    assert any("10.99.0.0/16" in rule for rule in chain.rules)
    assert one.calls().count("ModifyNetworkInterfaceAttribute") == asked + 1
    assert one.pool[0] == 1, "and it waits still"


def test_changed_groups_of_the_first_eni_reach_the_others(node: Make) -> None:
    one = node().start()
    one.add()
    one.wait(6)
    group = one.aws("CreateSecurityGroup", GroupName="g", Description="g", VpcId=one.vpc)["GroupId"]
    first, second = one.enis()
    one.aws("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=first, Groups=[group])
    one.wait(36)
    assert one.ec2.state.enis[second].security_groups == (group,)


# ---- checkpoint -----------------------------------------------------------------------------------------------------------


def test_a_new_daemon_knows_who_has_what(node: Make, tmp_path: Path) -> None:
    one = node(checkpoint=tmp_path / "ipam.json").start()
    had = one.pods(5)
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    assert [one.add(f"pod{n}").allocations[0].ipv4_addr for n in range(5)] == had
    assert one.ipamd.state()["assigned"] == 5


def test_what_ec2_took_meanwhile_is_dropped_from_the_checkpoint(node: Make, tmp_path: Path) -> None:
    path = tmp_path / "ipam.json"
    one = node(checkpoint=path).start()
    first, second = one.pods(2)
    one.aws("UnassignPrivateIpAddresses", NetworkInterfaceId=one.enis()[0], PrivateIpAddresses=[first])
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    assert [entry["ipv4"] for entry in json.loads(path.read_text())["allocations"]] == [second]
    assert "CheckpointPruned" in one.events.reasons()


def test_an_address_that_cannot_be_written_down_is_not_given(node: Make, tmp_path: Path) -> None:
    place = tmp_path / "dir"
    one = node(checkpoint=place / "ipam.json").start()
    place.write_text("no directory")
    with pytest.raises(IpamError, match="cannot be written"):
        one.add()
    assert one.ipamd.state()["assigned"] == 0
    place.unlink()
    assert one.add().success
    (place / "ipam.json").unlink()
    place.rmdir()
    place.write_text("again none")
    with pytest.raises(IpamError, match="cannot be written"):
        one.delete()
    assert one.ipamd.state()["assigned"] == 1, "and one that cannot be struck off stays"


def test_a_damaged_checkpoint_stops_the_start(node: Make, tmp_path: Path) -> None:
    path = tmp_path / "ipam.json"
    path.write_text('{"version": "vpc-cni-ipam/2", "allocations": []}')
    one = node(checkpoint=path)
    with pytest.raises(IpamError, match="vpc-cni-ipam/2"):
        one.do(one.ipamd.start())


# ---- start-up -------------------------------------------------------------------------------------------------------------


def test_without_a_first_address_the_daemon_does_not_start(node: Make) -> None:
    one = node()
    one.api.refusals["AssignPrivateIpAddresses"] = (Ec2Error("UnauthorizedOperation", "You are not authorized"), None)
    with pytest.raises(IpamError, match=r"^error while trying to increase datastore pool: UnauthorizedOperation"):
        one.do(one.ipamd.start())


def test_prefix_delegation_needs_nitro(node: Make) -> None:
    one = node("t2.micro", {"ENABLE_PREFIX_DELEGATION": "true"}).start()
    assert "PrefixDelegationOff" in one.events.reasons()
    assert "/" not in one.add().allocations[0].ipv4_addr and not one.ipamd.state()["enis"][0]["prefixes"]


def test_prefixes_serve_sixteen_pods_each(node: Make) -> None:
    one = node("t3.small", {"ENABLE_PREFIX_DELEGATION": "true"}, max_pods=110).start()
    assert one.pool == (1, 16)
    addresses = one.pods(17)
    assert one.pool[1] >= 32 and len(set(addresses)) == 17


def test_turning_prefixes_on_frees_idle_single_addresses(node: Make) -> None:
    one = node().start()
    kept = one.pods(1)
    one.settings = one.settings.from_env({"ENABLE_PREFIX_DELEGATION": "true"}, "1.23")
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    eni = one.ec2.state.enis[one.enis()[0]]
    assert len(eni.prefixes) == 1
    assert [item.address for item in eni.addresses[1:]] == []  # without a checkpoint nobody is known to have one
    assert kept


def test_what_is_marked_stays_alone(node: Make) -> None:
    one = node()
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "node.k8s.amazonaws.com/no_manage", "Value": "true"}]}]
    made = one.aws("CreateNetworkInterface", SubnetId=one.subnet, TagSpecifications=tags)["NetworkInterface"]["NetworkInterfaceId"]
    one.aws("AttachNetworkInterface", NetworkInterfaceId=made, InstanceId=one.instance, DeviceIndex=1)
    one.start()
    one.pods(6)
    one.wait(20)
    assert made not in one.enis() and one.pool == (2, 6), "it takes one of the three places"


def test_after_the_end_the_cloud_is_left_alone_and_the_plugin_answered(node: Make) -> None:
    one = node().start()
    one.do(one.ipamd.stop())
    before = one.calls()
    assert one.add().success
    one.wait(200)
    assert one.calls() == before
