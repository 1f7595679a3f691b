"""What a new daemon takes over from the checkpoint: which entries hold, what becomes of the rules of pods, and the file afterwards."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders_ipamd import NODE, Node

from labnet.cni.vpc.plan import slice_name
from labnet.errors import BadCheckpoint
from labnet.ipamd.datastore import AttachmentKey
from labnet.ipamd.restore import pod_slice
from labnet.model.names import host_link
from labnet.model.netstate import TABLE_MAIN, Change, Link, Rule, Slice

Make = Callable[..., Node]


def entry(address: str, pod: str, container: str = "", namespace: str = "default") -> dict[str, Any]:
    return {
        "networkName": "aws-cni", "containerID": container or f"c-{pod}", "ifName": "eth0", "ipv4": address,
        "allocationTimestamp": 1_699_999_999_000_000_000,
        "metadata": {"k8sPodNamespace": namespace, "k8sPodName": pod, "interfacesCount": 1},
    }


def put(path: Path, *entries: dict[str, Any], version: str = "vpc-cni-ipam/1") -> None:
    path.write_text(json.dumps({"version": version, "allocations": list(entries)}))


def addresses(path: Path) -> list[str]:
    return [one["ipv4"] for one in json.loads(path.read_text())["allocations"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ipam.json"


def again(one: Node) -> Node:
    """The next daemon of the same node."""
    one.ipamd = one.daemon()
    one.do(one.ipamd.start())
    return one


def test_a_missing_file_is_empty(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    assert one.ipamd.state()["assigned"] == 0
    assert not path.exists()


def test_entries_keep_their_time_and_the_file_its_form(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    one.veth("pod1")
    first = one.aws("DescribeNetworkInterfaces")["NetworkInterfaces"][0]["PrivateIpAddresses"][1]["PrivateIpAddress"]
    put(path, entry(first, "pod1"))
    path.chmod(0o644)
    again(one)
    assert json.loads(path.read_text()) == {"version": "vpc-cni-ipam/1", "allocations": [entry(first, "pod1")]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "and it is written anew"
    assert [item.name for item in path.parent.iterdir()] == ["ipam.json"]


def test_a_pod_without_veth_loses_its_address_and_its_rules(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    gone, there = one.pods(2)
    mine = [
        Rule(512, TABLE_MAIN, dst=f"{gone}/32"), Rule(1536, 2, src=f"{gone}/32", dst="10.10.0.0/16"), Rule(1536, 3, src=f"{gone}/32"),
    ]
    others = [Rule(512, TABLE_MAIN, dst=f"{there}/32"), Rule(512, 7, dst=f"{gone}/32"), Rule(900, 2, src=f"{gone}/32")]
    one.kernel.apply([(NODE, tuple(Change("add", rule) for rule in (*mine, *others)))])
    veth = next(name for name in one.kernel.links(NODE) if name == host_link_of("pod0"))
    one.kernel.apply([(NODE, (Change("remove", Link(veth)),))])
    again(one)
    assert addresses(path) == [there]
    assert not set(mine) & set(one.rules())
    assert set(others) <= set(one.rules())
    assert ("CheckpointPruned", "1 addresses of the checkpoint are gone") in one.events.told


def test_rules_that_the_plugin_claims_are_given_up_with_the_rest_of_its_slice(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    address, _other = one.pods(2)
    rules = (Rule(512, TABLE_MAIN, dst=f"{address}/32"), Rule(1536, 2, src=f"{address}/32"))
    part = Slice(slice_name("aws-cni/c-pod0/eth0"), (Link(host_link_of("pod0")), *rules))
    assert part.name == pod_slice(AttachmentKey("aws-cni", "c-pod0", "eth0")), "plugin and daemon name it alike"
    one.kernel.apply([(NODE, tuple(Change("add", rule) for rule in rules))])
    one.book.assume(NODE, part)
    one.kernel.apply([(NODE, (Change("remove", Link(host_link_of("pod0"))),))])
    again(one)
    assert one.book.claimed(NODE, part.name) is None
    assert not set(rules) & set(one.rules())
    assert not [change for name, change in one.book.drift(NODE) if name == part.name], "and nothing wants it back"


def test_an_entry_without_a_pod_needs_no_veth(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    address = one.pods(1)[0]
    put(path, {**entry(address, "nobody"), "metadata": {}})
    assert again(one).ipamd.state()["assigned"] == 1


def test_another_prefix_of_veths_does_not_matter(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    one.add("pod1")
    one.veth("pod1", "veth")
    assert again(one).ipamd.state()["assigned"] == 1


def test_an_address_of_no_eni_is_dropped(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    one.veth("pod1")
    put(path, entry("10.99.0.1", "pod1"))
    assert again(one).ipamd.state()["assigned"] == 0
    assert addresses(path) == []


def test_two_entries_with_one_address_are_fatal(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    address = one.pods(2)[0]
    put(path, entry(address, "pod0"), entry(address, "pod1"))
    with pytest.raises(BadCheckpoint, match=f"the checkpoint gives {address} twice"):
        again(one)


def test_two_entries_with_one_address_are_none_when_one_pod_is_gone(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    address = one.pods(1)[0]
    put(path, entry(address, "long-gone"), entry(address, "pod0"))
    assert again(one).ipamd.state()["assigned"] == 1


def test_another_version_is_fatal_and_the_file_stays(node: Make, path: Path) -> None:
    one = node(checkpoint=path)
    put(path, version="vpc-cni-ipam/2")
    before = path.read_text()
    with pytest.raises(BadCheckpoint, match="vpc-cni-ipam/2"):
        one.do(one.ipamd.start())
    assert path.read_text() == before


# ---- the rules of pods ----------------------------------------------------------------------------------------------------


def from_pod(one: Node, address: str) -> list[Rule]:
    return [rule for rule in one.rules() if rule.src == f"{address}/32"]


@pytest.mark.parametrize(
    "there",
    [
        [Rule(1536, 2, src="POD", dst="10.10.0.0/16"), Rule(1536, 2, src="POD", dst="192.168.0.0/16")], [Rule(900, 2, src="POD")],
        [Rule(1536, 7, src="POD"), Rule(1537, 2, src="POD")], [Rule(1536, 2, src="POD")],
    ],
)
def test_rules_from_a_pod_become_one_with_the_table_of_the_last(node: Make, path: Path, there: list[Rule]) -> None:
    one = node(checkpoint=path).start()
    address = one.pods(1)[0]
    real = [Rule(rule.priority, rule.table, src=f"{address}/32", dst=rule.dst) for rule in there]
    one.kernel.apply([(NODE, tuple(Change("add", rule) for rule in real))])
    again(one)
    assert from_pod(one, address) == [Rule(1536, 2, src=f"{address}/32")]
    again(one)
    assert from_pod(one, address) == [Rule(1536, 2, src=f"{address}/32")], "twice is as once"


def test_a_pod_without_rules_gets_none(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    address = one.pods(1)[0]
    assert from_pod(again(one), address) == []


def test_what_the_plugin_claims_is_mended_in_its_slice(node: Make, path: Path) -> None:
    one = node(checkpoint=path).start()
    address = one.pods(1)[0]
    planned, moved = Rule(1536, 2, src=f"{address}/32"), Rule(1500, 2, src=f"{address}/32")
    one.book.set([(NODE, Slice(slice_name("aws-cni/c-pod0/eth0"), (planned,)))])
    one.kernel.apply([(NODE, (Change("remove", planned), Change("add", moved)))])  # somebody's doing: not as it was claimed
    again(one)
    assert from_pod(one, address) == [planned]
    claimed = one.book.claimed(NODE, slice_name("aws-cni/c-pod0/eth0"))
    assert claimed is not None and claimed.objects == (planned,)


@pytest.mark.parametrize(
    ("env", "blocks"),
    [
        ({}, ["10.10.0.0/16"]), ({"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "192.168.0.0/16"}, ["10.10.0.0/16", "192.168.0.0/16"]),
        ({"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"}, [None]),
    ],
)
def test_release_1_6_writes_one_rule_for_every_block(node: Make, path: Path, env: dict[str, str], blocks: list[str | None]) -> None:
    one = node(checkpoint=path, env=env, dialect="1.6").start()
    address = one.pods(1)[0]
    one.kernel.apply([(NODE, (Change("add", Rule(1536, 2, src=f"{address}/32", dst="10.99.0.0/16")),))])
    again(one)
    assert sorted(str(rule.dst) for rule in from_pod(one, address)) == sorted(map(str, blocks))
    assert {(rule.priority, rule.table) for rule in from_pod(one, address)} == {(1536, 2)}


# ---- small things ---------------------------------------------------------------------------------------------------------


def host_link_of(pod: str) -> str:
    return host_link("default", pod)
