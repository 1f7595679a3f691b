"""What a node asks of EC2, call by call, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from builders_ipamd import NODE, Node

from labnet.errors import Ec2Error, ImdsError, IpamError
from labnet.ipamd.routes import eni_slice
from labnet.model.behaviour import DenySpec
from labnet.model.names import eni_link
from labnet.model.netstate import Link

Make = Callable[..., Node]
FIRST = ["DescribeNetworkInterfaces", "CreateTags", "DescribeSubnets", "ModifyNetworkInterfaceAttribute", "AssignPrivateIpAddresses"]
SECOND = [
    "DescribeSubnets", "CreateNetworkInterface", "DescribeInstances", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute",
    "DescribeSubnets",
]


def asked(one: Node, action: str) -> list[Any]:
    return [params for name, params in one.api.asked if name == action]


def test_a_fresh_node_and_its_first_pod(node: Make) -> None:
    one = node().start()
    assert one.calls() == FIRST
    one.add()
    one.wait(6)
    assert one.calls() == FIRST + SECOND
    one.wait(50)
    assert one.calls() == FIRST + SECOND, "the new ENI has its groups already"


@pytest.mark.parametrize("dialect, env", [("1.23", {"ENABLE_SUBNET_DISCOVERY": "false"}), ("1.6", {})])
def test_without_subnet_discovery_no_subnet_is_looked_up(node: Make, dialect: str, env: dict[str, str]) -> None:
    one = node(env=env, dialect=dialect).start()
    one.add()
    one.wait(6)
    assert one.calls() == [call for call in FIRST + SECOND if call != "DescribeSubnets"]


def test_at_the_start_every_managed_eni_gets_the_groups_once(node: Make) -> None:
    one = node().start()
    one.add()
    one.wait(6)
    one.api.asked.clear()
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    given = asked(one, "ModifyNetworkInterfaceAttribute")
    assert [params["NetworkInterfaceId"] for params in given] == one.enis()
    assert all(params["Groups"] == list(one.ec2.state.enis[one.enis()[0]].security_groups) for params in given)
    assert len(asked(one, "DescribeSubnets")) == len(one.enis()) == 2


def test_the_words_of_a_new_eni(node: Make) -> None:
    one = node(env={"CLUSTER_NAME": "prod", "ADDITIONAL_ENI_TAGS": '{"team": "net", "node.k8s.amazonaws.com/x": "no"}'}).start()
    one.add()
    one.wait(6)
    created, attached = asked(one, "CreateNetworkInterface")[0], asked(one, "AttachNetworkInterface")[0]
    first, second = (one.ec2.state.enis[eni] for eni in one.enis())
    tags = created.pop("TagSpecifications")
    token = created.pop("ClientToken")
    assert created == {
        "Description": f"aws-K8S-{one.instance}", "Groups": list(first.security_groups), "SubnetId": one.subnet,
        "SecondaryPrivateIpAddressCount": 3,
    }
    assert len(token) == 36 and second.client_token == token
    own = ["node.k8s.amazonaws.com/createdAt", "node.k8s.amazonaws.com/instance_id"]
    names = ["cluster.k8s.amazonaws.com/name", "eks:eni:owner", *own, "team"]
    assert [tag["Key"] for tag in tags[0]["Tags"]] == names and tags[0]["ResourceType"] == "network-interface"
    assert attached == {"DeviceIndex": 1, "InstanceId": one.instance, "NetworkInterfaceId": second.id, "NetworkCardIndex": 0}
    last = asked(one, "ModifyNetworkInterfaceAttribute")[-1]
    assert last["Attachment"]["DeleteOnTermination"] is True


def test_two_new_enis_have_two_tokens(node: Make) -> None:
    one = node().start()
    one.pods(5)
    one.wait(20)
    tokens = [params["ClientToken"] for params in asked(one, "CreateNetworkInterface")]
    assert len(tokens) == len(set(tokens)) == 2


def test_tags_that_are_there_are_not_set_again(node: Make) -> None:
    one = node().start()
    before = one.calls().count("CreateTags")
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    assert (before, one.calls().count("CreateTags")) == (1, 1)


def test_a_denied_action_is_told_by_its_name(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "2"}).start()
    one.ec2.behaviour.deny(DenySpec("AssignPrivateIpAddresses"))
    one.add()
    one.wait(6)
    assert ("MissingIAMPermissions", "ec2:AssignPrivateIpAddresses is denied to the node's role") in one.events.told


# ---- creation that goes wrong ---------------------------------------------------------------------------------------------


def test_an_eni_without_a_device_index_is_deleted(node: Make) -> None:
    one = node().start()
    real = one.api.call

    async def full(action: str, params: Any) -> dict[str, Any]:
        answer = await real(action, params)
        if action == "DescribeInstances":
            taken = [{"Attachment": {"DeviceIndex": index, "NetworkCardIndex": 0}} for index in range(100)]
            answer["Reservations"][0]["Instances"][0]["NetworkInterfaces"] = taken
        return answer

    one.api.call = full  # type: ignore[method-assign]
    one.add()
    one.wait(4)
    assert len(one.ec2.state.enis) == 1 and "AttachNetworkInterface" not in one.calls()
    assert ("EniNotAdded", f"{one.instance} has no free device index on network card 0") in one.events.told


def test_an_eni_that_cannot_be_deleted_after_all_is_left_to_the_sweep(node: Make) -> None:
    one = node(sweeps=True).start()
    one.ec2.behaviour.fail("AttachNetworkInterface", "AttachmentLimitExceeded", times=1)
    one.ec2.behaviour.fail("DeleteNetworkInterface", "OperationNotPermitted", times=12)
    one.add()
    one.wait(600)
    assert one.calls().count("DeleteNetworkInterface") == 12
    assert one.events.told[1] == ("EniNotAdded", "AttachmentLimitExceeded: Interface count exceeds the limit for the instance type")
    assert [eni.attachment is None for eni in one.ec2.state.enis.values()] == [False, True, False]
    one.wait(3900)
    assert all(eni.attachment is not None for eni in one.ec2.state.enis.values())


def test_an_eni_that_cannot_be_changed_goes_and_is_waited_for_in_vain(node: Make) -> None:
    """`DeleteOnTermination` is refused: the ENI is freed, but no error comes back, so 12 looks are made for nothing."""
    one = node().start()
    one.ec2.behaviour.fail("ModifyNetworkInterfaceAttribute", "InvalidParameterValue", times=1)
    one.add()
    one.wait(162)
    assert "EniNotAdded" not in one.events.reasons() and one.pool == (1, 3)
    assert one.calls()[-3:] == ["DescribeNetworkInterfaces", "DetachNetworkInterface", "DeleteNetworkInterface"]
    one.wait(10)
    assert one.events.told[1] == ("EniNotAdded", "the new ENI could not be changed and was freed again")
    one.wait(10)
    assert one.pool == (2, 6)


@pytest.mark.parametrize("delay_s, took_s", [(0.3, 2), (20, 30)])
def test_the_metadata_comes_late(node: Make, delay_s: float, took_s: float) -> None:
    one = node().start()
    one.ec2.behaviour.imds_delay_s = delay_s
    one.add()
    one.wait(2.5 + delay_s - 0.1)
    assert one.pool == (1, 3)
    one.wait(took_s)
    assert one.pool == (2, 6) and "EniFound" not in one.events.reasons()


def test_metadata_that_comes_too_late_leaves_the_eni_to_reconcile(node: Make) -> None:
    one = node().start()
    one.ec2.behaviour.imds_delay_s = 170
    one.add()
    one.wait(168)
    assert "EniNotAdded" in one.events.reasons() and one.pool == (1, 3)
    attached = [eni.id for eni in one.ec2.state.enis.values() if eni.attachment is not None]
    assert len(attached) >= 2, "it stays attached"
    one.until(lambda: "EniFound" in one.events.reasons())
    assert attached[1] in one.enis()


def test_an_eni_with_some_of_its_addresses_is_taken(node: Make) -> None:
    one = node().start()
    real = one.api.call

    async def fewer(action: str, params: Any) -> dict[str, Any]:
        if action == "CreateNetworkInterface":
            params = {**params, "SecondaryPrivateIpAddressCount": 1}
        return await real(action, params)

    one.api.call = fewer  # type: ignore[method-assign]
    one.add()
    one.wait(160)
    assert one.pool == (1, 3)
    one.wait(10)
    assert one.pool[0] == 2 and one.pool[1] >= 4, "one of three addresses, after all the looks"


# ---- an end that goes wrong -----------------------------------------------------------------------------------------------


def emptied(node: Make) -> Node:
    one = node().start()
    one.pods(1)
    one.wait(6)
    one.delete("pod0")
    return one


def test_twelve_detaches_fail_and_the_eni_comes_back(node: Make) -> None:
    one = emptied(node)
    second = one.enis()[1]
    one.ec2.behaviour.fail("DetachNetworkInterface", "OperationNotPermitted", times=12)
    one.wait(280)
    assert one.calls().count("DetachNetworkInterface") == 12 and "DeleteNetworkInterface" not in one.calls()
    assert second not in one.enis() and one.ec2.state.enis[second].attachment is not None
    assert [rule.priority for rule in one.rules() if rule.src] == [32765], "its rules stay"
    assert one.book.claimed(NODE, eni_slice(second)) is not None, "and so does the rest: it is there still"
    assert "PoolStepFailed" in one.events.reasons()
    one.wait(120)
    assert "EniFound" in one.events.reasons()
    one.wait(120)
    assert one.pool == (1, 3) and len(one.ec2.state.enis) == 1, "and goes at the next try"
    assert [rule.priority for rule in one.rules() if rule.src] == []


def test_twelve_deletes_fail_and_the_rules_stay(node: Make) -> None:
    one = emptied(node)
    second = one.enis()[1]
    one.ec2.behaviour.fail("DeleteNetworkInterface", "OperationNotPermitted", times=12)
    one.wait(500)
    assert one.calls().count("DeleteNetworkInterface") == 12
    assert one.ec2.state.enis[second].attachment is None and one.pool == (1, 3)
    assert [rule.priority for rule in one.rules() if rule.src] == [32765]
    assert one.book.claimed(NODE, eni_slice(second)) is None, "claimed by nobody: the rest went with the link"
    one.add()
    one.wait(6)
    assert one.pool == (2, 6), "eth1 is free for the next one"


def test_two_seconds_lie_between_detach_and_delete(node: Make) -> None:
    one = emptied(node)
    one.until(lambda: "EniFreed" in one.events.reasons())
    times = {record["action"]: record["time"] for record in one.ledger.read("ec2-calls")}
    assert times["DeleteNetworkInterface"] - times["DetachNetworkInterface"] == 2


def test_an_eni_that_is_gone_already_is_freed(node: Make) -> None:
    one = emptied(node)
    second = one.ec2.state.enis[one.enis()[1]]
    assert second.attachment is not None
    one.wait(45)
    one.aws("DetachNetworkInterface", AttachmentId=second.attachment.id)
    one.aws("DeleteNetworkInterface", NetworkInterfaceId=second.id)
    one.wait(20)
    assert "EniFreed" in one.events.reasons() and "DetachNetworkInterface" not in one.calls()


# ---- what EC2 does not know -----------------------------------------------------------------------------------------------


def test_unknown_enis_are_taken_out_of_the_question(node: Make) -> None:
    one = node().start()
    known = one.enis()[0]
    cloud = one.ipamd._cloud
    strange = [f"eni-{number:017x}" for number in range(3)]
    found = one.do(cloud.described([*strange, known]))
    assert list(found) == [known]
    with pytest.raises(Ec2Error, match="NotFound"):
        one.do(cloud.described([f"eni-{number:017x}" for number in range(13)]))
    assert one.do(cloud.described(strange)) == {}


def test_no_block_of_the_vpc_no_start(node: Make) -> None:
    one = node()
    real = one.imds

    class Blank:
        async def get(self, path: str) -> str:
            return "" if path.endswith("vpc-ipv4-cidr-blocks") else await real.get(path)

    one.imds = Blank()
    with pytest.raises(IpamError, match="no block of the VPC"):
        one.do(one.daemon().start())
    one.settings = one.settings.from_env({"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"}, "1.23")
    one.do(one.daemon().start())


def test_the_metadata_has_no_newlines_and_the_link_has_its_mac(node: Make) -> None:
    one = node().start()
    mac = one.do(one.imds.get("meta-data/mac"))
    for name in ("interface-id", "subnet-id", "vpc-id", "local-ipv4s"):
        text = one.do(one.imds.get(f"meta-data/network/interfaces/macs/{mac}/{name}"))
        assert text == text.strip() != ""
    link = next(item for item in one.kernel.observe(NODE).all(Link) if item.name == eni_link(0))
    assert mac == mac.lower() == link.mac
    with pytest.raises(ImdsError):
        one.do(one.imds.get(f"meta-data/network/interfaces/macs/{mac}/ipv4-prefix"))


